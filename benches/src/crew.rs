//! The processes of a run, as their parent sees them.

use crate::child::OBJECTS_MAX;
use crate::dialogue::{Assignment, Event, Order, hear, tell};
use crate::placement::Placement;
use crate::system::{Failure, Lane, Seat, System};
use crate::usage::Holdings;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, sendmsg,
    socketpair,
};
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
}

/// The processes of a run, ended when dropped.
pub(crate) struct Crew {
    members: Vec<Member>,
    /// What each holds after joining.
    pub(crate) holdings: Vec<Holdings>,
}

struct Member {
    child: Child,
    orders: UnixStream,
    events: Receiver<Event>,
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
        let objects = system.objects()?;
        let mut crew = Self { members: Vec::new(), holdings: Vec::new() };
        for (index, (writes, reads)) in shape.lanes().into_iter().enumerate() {
            let seat = Seat { run, index: index as u32, writes, reads, message_max, objects: Vec::new() };
            let system = system.name().to_owned();
            let assignment = Assignment { system, seat, placement, parent: std::process::id() };
            crew.members.push(Member::start(&assignment, &objects)?);
        }
        for index in 0..crew.members.len() {
            match crew.hear(index, "ready", JOIN_PATIENCE)? {
                Event::Ready { holdings } => crew.holdings.push(holdings),
                event => return Err(crew.unexpected(index, "ready", event)),
            }
        }
        Ok(crew)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// Tells one of them what to do.
    pub(crate) fn tell(&mut self, index: usize, order: Order) -> Result<(), CrewError> {
        Ok(tell(&mut self.members[index].orders, &order)?)
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
            match self.members[index].events.recv_timeout(slice) {
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
                let said = member.events.try_iter().last();
                let text = match said {
                    Some(Event::Failed { text }) => text,
                    _ => "ended without a word".to_owned(),
                };
                return Some(CrewError::Failed { index, text });
            }
        }
        None
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for member in &mut self.members {
            let _ = tell(&mut member.orders, &Order::Exit);
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
    fn start(assignment: &Assignment, objects: &[OwnedFd]) -> io::Result<Self> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        let mut child = Command::new(std::env::current_exe()?)
            .arg("child")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::piped())
            .spawn()?;
        send_objects(&ours, objects)?;
        let mut orders = UnixStream::from(ours);
        tell(&mut orders, assignment)?;
        let stdout = child.stdout.take().ok_or_else(|| io::Error::other("a child without a stdout"))?;
        let (sender, events) = mpsc::channel();
        thread::spawn(move || {
            let mut stdout = BufReader::new(stdout);
            while let Ok(Some(event)) = hear(&mut stdout) {
                if sender.send(event).is_err() {
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

/// Discovery of a DDS may take some seconds.
const JOIN_PATIENCE: Duration = Duration::from_secs(30);
const GOODBYE: Duration = Duration::from_secs(3);
/// How often those are looked after who are not waited for.
const SLICE: Duration = Duration::from_millis(100);
