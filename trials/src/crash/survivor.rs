//! One of the two that live on: they exchange checked messages all the time, serve whoever comes, and keep nothing of those
//! who die.
//!
//! ```text
//!   main thread      what it is told: operate, call, settle
//!   receiver         checks every message, in order and in every byte; a link with the other survivor that ends is a fault
//!   feeder           sends newcomers what they ask for, and calls those it is told to call
//! ```

use crate::census::Census;
use crate::child::{PATIENCE, hear, tell};
use crate::node::{self, LOOK, Node, reliable};
use crate::parcel::{LEN_MIN, Parcel, Streams};
use crate::random::Random;
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use zerodds_core::{Delivery, Incoming, Locator, Message, Peer, Reach, Transport};
use zerodds_transport_shm::{ShmMessage, ShmTransport, listeners};

/// What the threads share.
struct State {
    transport: ShmTransport,
    other: OnceLock<Locator>,
    progress: Mutex<Progress>,
    changed: Condvar,
}

#[derive(Default)]
struct Progress {
    /// Messages of the other survivor.
    received: u64,
    /// The other one may leave.
    is_parting: bool,
    /// What the feeder has not finished.
    jobs: u64,
    /// The last messages of those who come and go, kept until everything settles.
    kept: VecDeque<(Parcel, ShmMessage)>,
}

enum Job {
    Feed(Locator, u64),
    Call(Locator),
}

/// Plays the role: `survivor <domain> <number>`.
///
/// # Errors
/// There is no shared memory.
pub(super) fn play(domain: u32, number: u64) -> Result<(), String> {
    let node = Node::open(domain, number)?;
    let state = Arc::new(State {
        transport: node.transport.clone(),
        other: OnceLock::new(),
        progress: Mutex::default(),
        changed: Condvar::new(),
    });
    let (jobs, queue) = channel();
    let threads = [Arc::clone(&state), Arc::clone(&state)];
    let [receiving, feeding] = threads;
    let to_feeder = jobs.clone();
    std::thread::spawn(move || receive(&receiving, node, &to_feeder));
    std::thread::spawn(move || feed(&feeding, &queue, number));
    let mut exchange = Exchange { number, sent: 0, awaited: 0, random: Random::new(number) };
    let mut baseline = None;
    tell("open");
    while let Some(line) = hear() {
        let words: Vec<&str> = line.split(' ').collect();
        let count = words.get(1).and_then(|word| word.parse().ok()).unwrap_or(0);
        let done = match words[0] {
            "join" => state.join(count),
            "operate" => exchange.operate(&state, count),
            "call" => state.order(&jobs, Job::Call(node::locator(&state.transport, count))),
            "settle" => state.settle(baseline),
            "part" => {
                state.progress().is_parting = true;
                Ok(())
            }
            "baseline" => {
                baseline = Some(Census::take());
                Ok(())
            }
            other => Err(format!("told to {other:?}")),
        };
        match done {
            Ok(()) => tell(words[0]),
            Err(fault) => fail(&fault),
        }
    }
    Ok(())
}

/// Says what went wrong, and ends: nothing that follows would mean anything.
fn fail(fault: &str) -> ! {
    tell(format_args!("fault {fault}"));
    std::process::exit(1)
}

impl State {
    fn progress(&self) -> std::sync::MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(&self, other: u64) -> Result<(), String> {
        let other = node::locator(&self.transport, other);
        node::link_to(&self.transport, other)?;
        self.other.set(other).map_err(|_| "joined twice".to_owned())
    }

    fn order(&self, jobs: &Sender<Job>, job: Job) -> Result<(), String> {
        self.progress().jobs += 1;
        jobs.send(job).map_err(|_| "the feeder has ended".to_owned())
    }

    /// Waits until nothing is left of anybody but the other survivor.
    fn settle(&self, baseline: Option<Census>) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut progress = self.progress();
            let idle = progress.jobs == 0;
            for (parcel, message) in progress.kept.drain(..) {
                let from = message.source().unwrap_or(self.transport.locators()[0]);
                if Parcel::read(&message, from)? != parcel {
                    return Err(format!("corrupt: a message that was kept from {from} has changed"));
                }
            }
            drop(progress);
            let (links, pool) = (self.transport.counters().links, self.transport.pool());
            let census = Census::take();
            if idle
                && links == 1
                && pool.in_use == 0
                && baseline.is_none_or(|before| census.is_no_more_than(&before))
            {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(format!(
                    "LEAK: after {PATIENCE:?} {links} links, {} bytes of the ring in use, {census:?} instead of {baseline:?}, \
                     idle: {idle}",
                    pool.in_use
                ));
            }
            std::thread::sleep(LOOK);
        }
    }
}

/// The exchange with the other survivor.
struct Exchange {
    number: u64,
    sent: u64,
    awaited: u64,
    random: Random,
}

impl Exchange {
    /// Sends so many messages, and waits for as many.
    fn operate(&mut self, state: &State, count: u64) -> Result<(), String> {
        let other = *state.other.get().ok_or("not joined")?;
        for _ in 0..count {
            let parcel = Parcel { stream: self.number, number: self.sent, note: 0 };
            let len = LEN_MIN + self.length();
            let sent = node::send(&state.transport, &[other], parcel, len, reliable())?;
            if let Some(unserved) = sent.unserved.first() {
                return Err(format!("DISTURBED: message {} was not taken: {:?}", self.sent, unserved.why));
            }
            self.sent += 1;
        }
        self.awaited += count;
        let complete = |progress: &mut Progress| progress.received < self.awaited;
        let (progress, waited) = state
            .changed
            .wait_timeout_while(state.progress(), PATIENCE, complete)
            .map_err(|_| "the receiver has panicked")?;
        if waited.timed_out() {
            return Err(format!(
                "HANG: {} of {} messages came in {PATIENCE:?}",
                progress.received, self.awaited
            ));
        }
        Ok(())
    }

    /// Small ones in the lane, larger ones by copy, the largest in place.
    const fn length(&mut self) -> usize {
        let span = match self.random.below(20) {
            0 => 32_000,
            1..=4 => 4_000,
            _ => 1_000,
        };
        self.random.below(span) as usize
    }
}

/// The receiving thread.
fn receive(state: &State, mut node: Node, jobs: &Sender<Job>) {
    let mut streams = Streams::default();
    loop {
        // It may be quiet for as long as the driver likes.
        let Some(incoming) = zerodds_core::Receiver::receive(&mut node.receiver, None) else { return };
        let seen = match incoming {
            Incoming::Message(message) => take(state, &mut streams, jobs, message),
            Incoming::PeerDown(peer, reason)
                if Some(&peer) == state.other.get() && !state.progress().is_parting =>
            {
                Err(format!("DISTURBED: the link with the other survivor ended: {reason}"))
            }
            Incoming::PeerDown(peer, _) => {
                streams.forget(peer);
                Ok(())
            }
            _ => Ok(()),
        };
        if let Err(fault) = seen {
            fail(&fault);
        }
    }
}

fn take(state: &State, streams: &mut Streams, jobs: &Sender<Job>, message: ShmMessage) -> Result<(), String> {
    let from = message.source().ok_or("a message from nowhere")?;
    let parcel = Parcel::read(&message, from)?;
    streams.follow(from, parcel)?;
    if state.other.get() == Some(&from) {
        drop(message);
        state.progress().received += 1;
        state.changed.notify_one();
        return Ok(());
    }
    if parcel.note > 0 {
        state.order(jobs, Job::Feed(from, parcel.note))?;
    }
    let mut progress = state.progress();
    progress.kept.push_back((parcel, message));
    if progress.kept.len() > KEPT_MAX {
        progress.kept.pop_front();
    }
    Ok(())
}

/// The feeding thread.
fn feed(state: &State, queue: &Receiver<Job>, number: u64) {
    let mut random = Random::new(number);
    while let Ok(job) = queue.recv() {
        match job {
            Job::Feed(to, count) => send_to(&state.transport, to, count, number, &mut random),
            Job::Call(to) => call(&state.transport, to),
        }
        state.progress().jobs -= 1;
    }
}

/// As many as asked for, unless it dies or stops.
fn send_to(transport: &ShmTransport, to: Locator, count: u64, stream: u64, random: &mut Random) {
    for index in 0..count {
        let loose = Parcel { stream: stream * 2 + 1, number: index, note: 0 };
        let sure = Parcel { stream: stream * 2, number: index, note: 0 };
        let mut len = || LEN_MIN + random.one_of(&[0, 100, 1_000, 2_000, 4_072, 10_000, 100_000]);
        let deadline = Instant::now() + A_WHILE;
        let _ = node::send(transport, &[to], loose, len(), Delivery::BestEffort);
        match node::send(transport, &[to], sure, len(), Delivery::Reliable { deadline }) {
            Ok(sent) if sent.unserved.is_empty() => {}
            _ => return,
        }
    }
}

/// Until there is a link, or nobody who could be linked.
fn call(transport: &ShmTransport, to: Locator) {
    let deadline = Instant::now() + PATIENCE;
    let listens = || listeners().map_or(true, |all| all.iter().any(|listener| listener.locator == to));
    while !matches!(transport.reach(Peer::new(&[to])), Reach::Ready(_))
        && listens()
        && Instant::now() < deadline
    {
        std::thread::sleep(LOOK);
    }
}

/// For how long a newcomer without room is waited for: it may be stopped.
const A_WHILE: Duration = Duration::from_millis(20);
/// Messages kept of those who come and go.
const KEPT_MAX: usize = 4;
