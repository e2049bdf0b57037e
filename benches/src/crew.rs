//! The processes of a run, as their parent sees them.

use crate::child::OBJECTS_MAX;
use crate::dialogue::{Addressed, Assignment, Event, Order};
use crate::domain::Domain;
use crate::hosts;
use crate::lines::{hear, tell};
use crate::placement::Placement;
use crate::system::{Failure, Lane, Seat, System};
use crate::usage::Holdings;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, sendmsg,
    socketpair,
};
use std::collections::BTreeMap;
use std::io::{self, BufReader, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};
use thiserror::Error;

/// Who is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Process 0 pings, process 1 answers.
    PingPong,
    /// Process 0 publishes to so many subscribers.
    FanOut(u32),
    /// So many publishers, and process 0 subscribes.
    ManyToOne(u32),
    /// So many processes in a ring, each of which pings the next and answers the one before.
    Crowd(u32),
}

/// The processes of a run, ended when dropped.
pub(crate) struct Crew {
    members: Vec<Member>,
    /// Which member has each seat: a process has one, but for a crowd.
    homes: Vec<usize>,
    _domain: Domain,
    /// What each holds after joining.
    pub(crate) holdings: Vec<Holdings>,
}

struct Member {
    child: Child,
    orders: UnixStream,
    /// What is heard from each of its seats.
    events: BTreeMap<u32, Receiver<Event>>,
}

/// Why a run gave no figures.
#[derive(Debug, Error)]
pub(crate) enum CrewError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("process {index}: {text}")]
    Failed { index: usize, text: String },
    #[error("process {index} was not {what} within {seconds} s")]
    Late { index: usize, what: &'static str, seconds: u64 },
    #[error("process {index} ended, although it was to be {what}")]
    Gone { index: usize, what: &'static str },
    #[error("process {index} said {event:?}, although it was to be {what}")]
    Unexpected { index: usize, what: &'static str, event: Box<Event> },
}

impl Crew {
    /// Starts the processes and waits until all of them see each other.
    pub(crate) fn assemble(
        system: &dyn System,
        shape: Shape,
        placement: Placement,
        message_max: usize,
    ) -> Result<Self, CrewError> {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        let run = std::process::id().wrapping_mul(1000) + RUNS.fetch_add(1, Ordering::Relaxed);
        let domain = Domain::own();
        let objects = system.objects()?;
        let lanes = shape.lanes();
        let homes: Vec<usize> = (0..lanes.len()).map(|seat| shape.home(seat)).collect();
        let mut seats: BTreeMap<usize, Vec<Seat>> = BTreeMap::new();
        for (index, (writes, reads)) in lanes.into_iter().enumerate() {
            let (domain, index, objects) = (domain.number(), index as u32, Vec::new());
            let seat = Seat { run, domain, index, writes, reads, message_max, objects };
            seats.entry(homes[seat.index as usize]).or_default().push(seat);
        }
        let mut crew = Self { members: Vec::new(), homes, _domain: domain, holdings: Vec::new() };
        for seats in seats.into_values() {
            let system = system.name().to_owned();
            let assignment = Assignment { system, seats, placement, parent: std::process::id() };
            crew.members.push(Member::start(crew.members.len(), &assignment, &objects)?);
        }
        if let (Placement::Hosts, [one, other]) = (placement, crew.members.as_slice()) {
            hosts::lay_cable([one.child.id(), other.child.id()])?;
        }
        for index in 0..crew.len() {
            match crew.hear(index, "ready", JOIN_PATIENCE)? {
                Event::Ready { holdings } => crew.holdings.push(holdings),
                event => return Err(crew.unexpected(index, "ready", event)),
            }
        }
        Ok(crew)
    }

    /// How many seats there are.
    pub(crate) fn len(&self) -> usize {
        self.homes.len()
    }

    /// The processes.
    pub(crate) fn processes(&self) -> impl Iterator<Item = u32> {
        self.members.iter().map(|member| member.child.id())
    }

    /// Tells one of them what to do.
    pub(crate) fn tell(&mut self, index: usize, order: Order) -> Result<(), CrewError> {
        let order = Addressed { seat: index as u32, what: order };
        Ok(tell(&mut self.members[self.homes[index]].orders, &order)?)
    }

    /// Waits until one of them says that it listens.
    pub(crate) fn await_listening(&mut self, index: usize) -> Result<(), CrewError> {
        match self.hear(index, "listening", JOIN_PATIENCE)? {
            Event::Listening => Ok(()),
            event => Err(self.unexpected(index, "listening", event)),
        }
    }

    /// What one of them says next; it had so long.
    pub(crate) fn hear(
        &mut self,
        index: usize,
        what: &'static str,
        patience: Duration,
    ) -> Result<Event, CrewError> {
        let deadline = Instant::now() + patience;
        loop {
            let slice = deadline.saturating_duration_since(Instant::now()).min(SLICE);
            match self.members[self.homes[index]].events[&(index as u32)].recv_timeout(slice) {
                Ok(Event::Failed { text }) => return Err(CrewError::Failed { index, text }),
                Ok(event) => return Ok(event),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(self.why_another_ended().unwrap_or(CrewError::Gone { index, what }));
                }
                Err(RecvTimeoutError::Timeout) => {
                    // Who waits for one that failed waits in vain.
                    if let Some(error) = self.why_another_ended() {
                        return Err(error);
                    }
                    if Instant::now() >= deadline {
                        return Err(CrewError::Late { index, what, seconds: patience.as_secs() });
                    }
                }
            }
        }
    }

    pub(crate) fn unexpected(&self, index: usize, what: &'static str, event: Event) -> CrewError {
        CrewError::Unexpected { index, what, event: Box::new(event) }
    }

    fn why_another_ended(&mut self) -> Option<CrewError> {
        for (index, member) in self.members.iter_mut().enumerate() {
            if let Ok(Some(_)) = member.child.try_wait() {
                let mut said = member.events.values().flat_map(Receiver::try_iter);
                let text = said.find_map(|event| match event {
                    Event::Failed { text } => Some(text),
                    _ => None,
                });
                let text = text.unwrap_or_else(|| "ended without a word".to_owned());
                return Some(CrewError::Failed { index, text });
            }
        }
        None
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for member in &mut self.members {
            for &seat in member.events.keys() {
                let _ = tell(&mut member.orders, &Addressed { seat, what: Order::Exit });
            }
        }
        let deadline = Instant::now() + GOODBYE;
        for member in &mut self.members {
            while matches!(member.child.try_wait(), Ok(None)) && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(1));
            }
            // It may have ended already.
            let _ = member.child.kill();
            let _ = member.child.wait();
        }
    }
}

impl Member {
    fn start(index: usize, assignment: &Assignment, objects: &[OwnedFd]) -> io::Result<Self> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        let program = std::env::current_exe()?;
        let mut command = match assignment.placement {
            Placement::Hosts => hosts::on_its_own(index, &program)?,
            _ => Command::new(program),
        };
        let (tunables, warm) = WARM_HEAP;
        command.arg("child").env(tunables, std::env::var_os(tunables).unwrap_or_else(|| warm.into()));
        let mut child = command.stdin(Stdio::from(theirs)).stdout(Stdio::piped()).spawn()?;
        send_objects(&ours, objects)?;
        let mut orders = UnixStream::from(ours);
        tell(&mut orders, assignment)?;
        let stdout = child.stdout.take().ok_or_else(|| io::Error::other("a child without a stdout"))?;
        let (mut senders, mut events) = (BTreeMap::new(), BTreeMap::new());
        for seat in &assignment.seats {
            let (sender, receiver) = mpsc::channel();
            senders.insert(seat.index, sender);
            events.insert(seat.index, receiver);
        }
        thread::spawn(move || {
            let mut stdout = BufReader::new(stdout);
            while let Ok(Some(Addressed { seat, what })) = hear(&mut stdout) {
                if senders.get(&seat).is_none_or(|sender| sender.send(what).is_err()) {
                    return;
                }
            }
        });
        Ok(Self { child, orders, events })
    }
}

impl Shape {
    /// What each process writes and reads.
    fn lanes(self) -> Vec<(Option<Lane>, Option<Lane>)> {
        let lane = |topic: &str, peers: Vec<u32>| Some(Lane { topic: topic.to_owned(), peers });
        match self {
            Self::PingPong => vec![
                (lane("forth", vec![1]), lane("back", vec![1])),
                (lane("back", vec![0]), lane("forth", vec![0])),
            ],
            Self::FanOut(readers) => {
                let publisher = (lane("forth", (1..=readers).collect()), None);
                let subscriber = (None, lane("forth", vec![0]));
                std::iter::once(publisher).chain((0..readers).map(|_| subscriber.clone())).collect()
            }
            Self::ManyToOne(writers) => {
                let subscriber = (None, lane("forth", (1..=writers).collect()));
                let publisher = (lane("forth", vec![0]), None);
                std::iter::once(subscriber).chain((0..writers).map(|_| publisher.clone())).collect()
            }
            // Seats 2k and 2k + 1 ping and answer each other on topics of their own.
            Self::Crowd(processes) => (0..processes)
                .flat_map(|pair| {
                    let (forth, back) = (format!("forth{pair}"), format!("back{pair}"));
                    let (ping, pong) = (2 * pair, 2 * pair + 1);
                    [
                        (lane(&forth, vec![pong]), lane(&back, vec![pong])),
                        (lane(&back, vec![ping]), lane(&forth, vec![ping])),
                    ]
                })
                .collect(),
        }
    }

    /// The process that has this seat.
    fn home(self, seat: usize) -> usize {
        match self {
            Self::Crowd(processes) => (seat / 2 + seat % 2) % processes as usize,
            _ => seat,
        }
    }

    /// Writers and readers.
    pub(crate) fn ends(self) -> (u32, u32) {
        match self {
            Self::PingPong => (1, 1),
            Self::FanOut(readers) => (1, readers),
            Self::ManyToOne(writers) => (writers, 1),
            Self::Crowd(processes) => (2 * processes, 2 * processes),
        }
    }
}

fn send_objects(socket: &OwnedFd, objects: &[OwnedFd]) -> io::Result<()> {
    let fds: Vec<BorrowedFd<'_>> = objects.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(OBJECTS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::Error::other(format!("a system shares more than {OBJECTS_MAX} descriptors")));
    }
    sendmsg(socket, &[IoSlice::new(b"o")], &mut ancillary, SendFlags::empty())?;
    Ok(())
}

impl From<Failure> for CrewError {
    fn from(failure: Failure) -> Self {
        Self::Failed { index: 0, text: failure.to_string() }
    }
}

/// Discovery of a DDS may take some seconds, and longer where sixteen processes share two processors.
const JOIN_PATIENCE: Duration = Duration::from_secs(120);
const GOODBYE: Duration = Duration::from_secs(3);
/// How often those are looked after who are not waited for.
const SLICE: Duration = Duration::from_millis(100);
/// What processes run with, unless the user sets it: glibc would give the memory of every large sample that was received
/// into memory of its own back to the kernel, and fresh pages would cost more than all else. docs/rustdds.md advises the same.
pub(crate) const WARM_HEAP: (&str, &str) =
    ("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=268435456:glibc.malloc.mmap_threshold=33554432");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_process_of_a_crowd_has_two_seats_and_answers_another() {
        let crowd = Shape::Crowd(16);
        let lanes = crowd.lanes();
        let ends = lanes.iter().map(|(writes, reads)| writes.iter().count() + reads.iter().count());
        assert_eq!((lanes.len(), ends.sum::<usize>()), (32, 64));
        for process in 0..16 {
            assert_eq!((0..32).filter(|&seat| crowd.home(seat) == process).count(), 2, "{process}");
        }
        for ping in (0..32).step_by(2) {
            let (pinging, answering) = (&lanes[ping], &lanes[ping + 1]);
            assert_eq!(
                pinging.0.as_ref().map(|lane| &lane.topic),
                answering.1.as_ref().map(|lane| &lane.topic)
            );
            assert_ne!(crowd.home(ping), crowd.home(ping + 1));
        }
    }
}
