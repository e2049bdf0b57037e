//! A transport in a soak: it sends to some peers, or to all, what it is told, as often as it is told, and checks all that it
//! gets.
//!
//! Reliable streams are numbered without gaps: a message that was not accepted gives its number to the next one. Best
//! effort streams count every attempt, so that what is missing at the other end must be what the transport counted as lost.

use crate::census::{Census, resident};
use crate::child::{PATIENCE, hear, tell};
use crate::node::{self, Node};
use crate::parcel::{self, LEN_MIN, Parcel};
use crate::random::Random;
use rustix::time::{ClockId, clock_gettime};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use zerodds_core::{Delivery, Incoming, Locator, Message, Receiver, Transport};
use zerodds_transport_shm::{ShmMessage, ShmTransport};

/// Members with numbers below this live as long as the soak; their links with each other must not end.
pub(super) const ELDERS: u64 = 10;

/// What a member has done; numbers of messages are of those to and from elders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Account {
    /// Reliable messages accepted.
    pub(super) sure_sent: u64,
    /// Best-effort messages tried.
    pub(super) loose_sent: u64,
    /// Best-effort messages that the transport says were lost.
    pub(super) lost: u64,
    /// Reliable messages received.
    pub(super) sure_received: u64,
    /// Best-effort messages received.
    pub(super) loose_received: u64,
    /// Private memory in bytes.
    pub(super) memory: u64,
    /// Descriptors.
    pub(super) descriptors: u64,
    /// Mappings of the transport's objects.
    pub(super) maps: u64,
    /// The latency that 99 of 100 messages since the last account did not exceed, in nanoseconds; 0 without messages.
    pub(super) p99_ns: u64,
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            sure_sent,
            loose_sent,
            lost,
            sure_received,
            loose_received,
            memory,
            descriptors,
            maps,
            p99_ns,
        } = self;
        write!(
            f,
            "account {sure_sent} {loose_sent} {lost} {sure_received} {loose_received} {memory} {descriptors} {maps} {p99_ns}"
        )
    }
}

impl FromStr for Account {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let bad = || format!("{line:?} is no account");
        let numbers = line.strip_prefix("account ").ok_or_else(bad)?.split(' ').map(str::parse::<u64>);
        let numbers: Vec<u64> = numbers.collect::<Result<_, _>>().map_err(|_| bad())?;
        let &[sure_sent, loose_sent, lost, sure_received, loose_received, memory, descriptors, maps, p99_ns] =
            numbers.as_slice()
        else {
            return Err(bad());
        };
        Ok(Self {
            sure_sent,
            loose_sent,
            lost,
            sure_received,
            loose_received,
            memory,
            descriptors,
            maps,
            p99_ns,
        })
    }
}

/// What the threads share.
struct State {
    transport: ShmTransport,
    elders: HashSet<Locator>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    account: Account,
    peers: Vec<Locator>,
    latencies_ns: Vec<u64>,
    /// Messages per second; none: it has finished sending.
    rate_hz: u64,
    /// Bytes of the largest.
    len_max: u64,
    is_over: bool,
}

/// To whom a member sends.
enum Targets {
    /// To everybody it has a link with, and without insisting.
    All,
    /// To these, of which a reliable message must be taken.
    These(Vec<(Locator, bool)>),
}

/// Plays the role: `member <domain> <number> <seed> <all | r2,b4>`.
///
/// # Errors
/// There is no shared memory, or no such role.
pub(super) fn play(domain: u32, number: u64, seed: u64, to: &str) -> Result<(), String> {
    let node = Node::open(domain, number)?;
    let elders = (1..ELDERS).map(|elder| node::locator(&node.transport, elder)).collect();
    let is_elder = number < ELDERS;
    let inner = Inner { rate_hz: 100, len_max: 1_000, ..Inner::default() };
    let state = Arc::new(State { transport: node.transport.clone(), elders, inner: Mutex::new(inner) });
    let targets = state.targets(to)?;
    let (receiving, sending) = (Arc::clone(&state), Arc::clone(&state));
    std::thread::spawn(move || receive(&receiving, node, is_elder));
    tell("open");
    // Elders begin when all of them are there.
    let mut sender = Some(move || send(&sending, &targets, Random::new(seed)));
    let begin = |sender: &mut Option<_>| sender.take().map(std::thread::spawn);
    let mut thread = if is_elder { None } else { begin(&mut sender) };
    while let Some(line) = hear() {
        let words: Vec<&str> = line.split(' ').collect();
        let value = words.get(1).and_then(|word| word.parse().ok()).unwrap_or(0);
        match words[0] {
            "begin" => thread = begin(&mut sender),
            "rate" => state.inner().rate_hz = value,
            "size" => state.inner().len_max = value,
            "finish" => {
                state.inner().is_over = true;
                if let Some(thread) = thread.take() {
                    thread.join().map_err(|_| "the sender has panicked")?;
                }
                tell("finished");
            }
            "account" => tell(state.account()),
            other => return Err(format!("told to {other:?}")),
        }
    }
    state.inner().is_over = true;
    state.transport.close();
    Ok(())
}

/// Says what went wrong, and ends.
fn fail(fault: &str) -> ! {
    tell(format_args!("fault {fault}"));
    std::process::exit(1)
}

impl State {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn targets(&self, text: &str) -> Result<Targets, String> {
        if text == "all" {
            // Everybody who is there already; who comes later begins it.
            drop(self.transport.neighbours());
            return Ok(Targets::All);
        }
        let target = |word: &str| {
            let is_sure = word.starts_with('r');
            let number = word[1..].parse().map_err(|_| format!("{word:?} is no target, such as r2 or b4"))?;
            Ok((node::locator(&self.transport, number), is_sure))
        };
        let words = text.split(',').filter(|word| word.len() > 1);
        words.map(target).collect::<Result<_, String>>().map(Targets::These)
    }

    fn account(&self) -> Account {
        let census = Census::take();
        let mut inner = self.inner();
        let mut latencies = std::mem::take(&mut inner.latencies_ns);
        let last = latencies.len().saturating_sub(1);
        let p99_ns = match latencies.len() {
            0 => 0,
            len => *latencies.select_nth_unstable((len * 99 / 100).min(last)).1,
        };
        latencies.clear();
        inner.latencies_ns = latencies;
        Account {
            lost: self.transport.counters().lost_messages,
            memory: resident(std::process::id()),
            descriptors: census.descriptors as u64,
            maps: census.maps as u64,
            p99_ns,
            ..inner.account
        }
    }
}

/// The receiving thread.
fn receive(state: &State, mut node: Node, is_elder: bool) {
    let mut streams = parcel::Streams::default();
    while let Some(incoming) = node.receiver.receive(None) {
        match incoming {
            Incoming::Message(message) => {
                if let Err(fault) = check(state, &mut streams, &message) {
                    fail(&fault);
                }
            }
            Incoming::PeerUp(peer) => state.inner().peers.push(peer),
            Incoming::PeerDown(peer, reason) => {
                let mut inner = state.inner();
                inner.peers.retain(|&known| known != peer);
                if is_elder && state.elders.contains(&peer) && !inner.is_over {
                    fail(&format!("DISTURBED: the link with elder {peer} ended: {reason}"));
                }
                streams.forget(peer);
            }
            _ => {}
        }
    }
}

fn check(state: &State, streams: &mut parcel::Streams, message: &ShmMessage) -> Result<(), String> {
    let now = now_ns();
    let from = message.source().ok_or("a message from nowhere")?;
    let parcel = Parcel::read(message, from)?;
    let is_sure = parcel.is_reliable();
    streams.follow(from, parcel)?;
    let mut inner = state.inner();
    if state.elders.contains(&from) {
        inner.account.sure_received += u64::from(is_sure);
        inner.account.loose_received += u64::from(!is_sure);
        inner.latencies_ns.push(now.saturating_sub(parcel.note));
    }
    Ok(())
}

/// The numbers of what one peer gets.
struct Streams {
    base: u64,
    next: [u64; 2],
}

/// The sending thread.
fn send(state: &State, targets: &Targets, mut random: Random) {
    let mut streams: HashMap<Locator, Streams> = HashMap::new();
    if let Targets::These(these) = targets {
        let linked = these.iter().try_for_each(|&(to, _)| node::link_to(&state.transport, to));
        linked.unwrap_or_else(|fault| fail(&fault));
    }
    let mut due = Instant::now();
    loop {
        let (rate_hz, len_max, peers) = {
            let inner = state.inner();
            if inner.is_over {
                return;
            }
            (inner.rate_hz.max(1), inner.len_max.max(1), inner.peers.clone())
        };
        due = (due + Duration::from_nanos(1_000_000_000 / rate_hz)).max(Instant::now() - BEHIND_MAX);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let len = LEN_MIN + random.below(len_max) as usize;
        match targets {
            Targets::All if peers.is_empty() => {}
            Targets::All => {
                let (to, is_sure) = (random.one_of(&peers), random.below(2) == 0);
                if !send_to(state, &mut streams, &mut random, (to, is_sure, false), len) {
                    streams.remove(&to);
                }
            }
            Targets::These(these) => {
                for &(to, is_sure) in these {
                    if !send_to(state, &mut streams, &mut random, (to, is_sure, true), len) {
                        fail(&format!("DISTURBED: a message to elder {to} was not taken"));
                    }
                }
            }
        }
    }
}

/// Sends one message; `false` if the peer cannot be reached.
fn send_to(
    state: &State,
    streams: &mut HashMap<Locator, Streams>,
    random: &mut Random,
    (to, is_sure, insists): (Locator, bool, bool),
    len: usize,
) -> bool {
    let stream = streams.entry(to).or_insert_with(|| Streams { base: random.bits() & !1, next: [0; 2] });
    let number = stream.next[usize::from(is_sure)];
    let parcel = Parcel { stream: stream.base | u64::from(!is_sure), number, note: now_ns() };
    let patience = if insists { PATIENCE } else { A_WHILE };
    let delivery = if is_sure {
        Delivery::Reliable { deadline: Instant::now() + patience }
    } else {
        Delivery::BestEffort
    };
    let refusal = match node::send(&state.transport, &[to], parcel, len, delivery) {
        Ok(sent) => sent.unserved.into_iter().next().map(|unserved| unserved.why),
        // No loan in time, or closed: nothing was tried.
        Err(_) => return !insists || state.inner().is_over,
    };
    let mut inner = state.inner();
    match refusal {
        Some(zerodds_core::Refusal::Full) if is_sure => return !insists,
        Some(zerodds_core::Refusal::Full) | None => {}
        Some(_) => return false,
    }
    inner.account.sure_sent += u64::from(is_sure && insists);
    inner.account.loose_sent += u64::from(!is_sure && insists);
    drop(inner);
    stream.next[usize::from(is_sure)] += 1;
    true
}

/// `CLOCK_MONOTONIC` is one for all processes of a host.
fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// For how long a guest without room is waited for: it may be stopped.
const A_WHILE: Duration = Duration::from_millis(20);
/// Whoever fell behind does not catch up with a burst.
const BEHIND_MAX: Duration = Duration::from_millis(5);
