//! One process of a run: joins the system and does what the parent says, until it says exit.
//!
//! A child never outlives its parent: the kernel kills it when the parent dies (`PR_SET_PDEATHSIG`), and the end of
//! its stdin ends it.

use crate::dialogue::{Addressed, Assignment, Event, Order};
use crate::latency;
use crate::lines::{hear, tell};
use crate::system::{Failure, Party, Seat, System};
use crate::throughput;
use crate::usage::{Holdings, Usage};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use std::collections::BTreeMap;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

/// Plays a part with one of these systems.
pub(crate) fn run(systems: &[Box<dyn System>]) -> ExitCode {
    match follow(systems) {
        Ok(()) => ExitCode::SUCCESS,
        Err((seat, failure)) => {
            emit(seat, Event::Failed { text: failure.to_string() });
            ExitCode::FAILURE
        }
    }
}

fn follow(systems: &[Box<dyn System>]) -> Result<(), (u32, Failure)> {
    // Before anything else reads stdin, and buffers what it reads.
    let objects = receive_objects().map_err(|error| (0, error.into()))?;
    let assignment = hear(&mut io::stdin().lock()).map_err(|error| (0, error.into()))?;
    let gone = || (0, io::Error::other("the parent process is gone").into());
    let Assignment { system, mut seats, placement, parent } = assignment.ok_or_else(gone)?;
    // What the parent shares is for one.
    let first = seats.first_mut().ok_or_else(gone)?;
    first.objects = objects;
    let index = first.index;
    let at_first = |failure| (index, failure);
    die_with(parent).and_then(|()| placement.apply(index)).map_err(|error| at_first(error.into()))?;
    let found = systems.iter().find(|known| known.name() == system);
    let found = found.ok_or_else(|| at_first(Failure::Unsupported(format!("{system} in this program"))))?;
    let mut seats = orders(seats).into_iter();
    // The first is played by this thread, as if it were the only one.
    let own = seats.next();
    thread::scope(|scope| {
        for (seat, orders) in seats {
            scope.spawn(move || play_or_end(found.as_ref(), seat, &orders));
        }
        if let Some((seat, orders)) = own {
            play_or_end(found.as_ref(), seat, &orders);
        }
    });
    Ok(())
}

/// Who cannot go on ends the process: the other seats may wait for what does not come any more.
fn play_or_end(system: &dyn System, seat: Seat, orders: &Receiver<Order>) {
    let index = seat.index;
    if let Err(failure) = play(system, seat, orders) {
        emit(index, Event::Failed { text: failure.to_string() });
        std::process::exit(FAILED);
    }
}

/// Joins at this seat and does what is said there.
fn play(system: &dyn System, seat: Seat, orders: &Receiver<Order>) -> Result<(), Failure> {
    let index = seat.index;
    let writers = seat.reads.as_ref().map_or(0, |lane| lane.peers.len());
    let mut party = system.join(seat)?;
    while !party.is_complete()? {
        thread::sleep(COMPLETE_POLL);
    }
    emit(index, Event::Ready { holdings: Holdings::now()? });
    obey(party.as_mut(), index, writers, orders)
}

fn obey(party: &mut dyn Party, seat: u32, writers: usize, orders: &Receiver<Order>) -> Result<(), Failure> {
    while let Ok(order) = orders.recv() {
        let done = match order {
            Order::Pong { len, touch } => {
                emit(seat, Event::Listening);
                Event::Ponged { usage: latency::pong(party, len, touch)? }
            }
            Order::Ping(ping) => latency::ping(party, ping)?,
            Order::Subscribe { len, touch } => {
                emit(seat, Event::Listening);
                throughput::subscribe(party, (len, touch), writers, orders)?
            }
            Order::Publish { writer, len, touch, warm_up_ms, measure_ms } => {
                throughput::publish(party, writer, (len, touch), [warm_up_ms, measure_ms])?
            }
            Order::Rest { ms } => {
                let waits = writers > 0 && party.can_stop_waiting();
                rest(party, Duration::from_millis(ms), waits)?
            }
            // Everybody had everything when this was said.
            Order::Finish { .. } => continue,
            Order::Exit => break,
        };
        emit(seat, done);
    }
    Ok(())
}

/// Waits for messages that do not come.
fn rest(party: &mut dyn Party, length: Duration, waits: bool) -> Result<Event, Failure> {
    let (before, start) = (Usage::now()?, Instant::now());
    if waits {
        party.receive(Some(start + length), &mut |_| {})?;
    }
    thread::sleep((start + length).saturating_duration_since(Instant::now()));
    let usage = Usage::now()? - before;
    Ok(Event::Rested { usage, seconds: start.elapsed().as_secs_f64(), holdings: Holdings::now()? })
}

/// What the parent sends along with the first byte.
fn receive_objects() -> io::Result<Vec<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(OBJECTS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let stdin = io::stdin();
    let received =
        recvmsg(stdin.as_fd(), &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
            .map_err(|error| io::Error::other(format!("`child` is for this program itself: {error}")))?;
    if received.bytes == 0 {
        return Err(io::Error::other("the parent process is gone"));
    }
    let messages = ancillary.drain();
    Ok(messages
        .flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => fds.collect(),
            _ => Vec::new(),
        })
        .collect())
}

/// Asks the kernel to end this process with its parent, and looks whether it is too late for that.
fn die_with(parent: u32) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let now = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get() as u32);
    if now == Some(parent) { Ok(()) } else { Err(io::Error::other("the parent process is gone")) }
}

/// The parent's orders to each seat, heard by a thread of its own, so that the end of the parent ends a process that
/// waits.
fn orders(seats: Vec<Seat>) -> Vec<(Seat, Receiver<Order>)> {
    let mut senders = BTreeMap::new();
    let with_orders = seats.into_iter().map(|seat| {
        let (sender, orders) = mpsc::channel();
        senders.insert(seat.index, sender);
        (seat, orders)
    });
    let with_orders = with_orders.collect();
    thread::spawn(move || {
        while let Ok(Some(Addressed { seat, what })) = hear(&mut io::stdin().lock()) {
            let _ = senders.get(&seat).map(|sender| sender.send(what));
        }
        std::process::exit(ABANDONED);
    });
    with_orders
}

fn emit(seat: u32, what: Event) {
    if tell(&mut io::stdout().lock(), &Addressed { seat, what }).is_err() {
        std::process::exit(ABANDONED);
    }
}

/// More descriptors than any system shares.
pub(crate) const OBJECTS_MAX: usize = 16;
/// The exit code of a child that said why it failed.
const FAILED: i32 = 1;
/// The exit code of a child whose parent is gone.
const ABANDONED: i32 = 3;
const COMPLETE_POLL: Duration = Duration::from_millis(2);
