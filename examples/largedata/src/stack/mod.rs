//! What carries the samples: one small trait for each side, implemented per stack.
//!
//! ```text
//!   publisher.rs ──publish──▶ Publication        Subscription ──next──▶ subscriber.rs
//!                                  │                   ▲
//!      --stack dust           Dust DDS over zerodds-dust-dds (shared memory, UDP)
//!      --stack rustdds        RustDDS with endpoints of zerodds-rustdds
//!      --stack transport      zerodds_core::Transport itself, loans, no DDS
//!      --stack stock-dust     Dust DDS over its own UDP transport  ┐ the baselines
//!      --stack stock-rustdds  RustDDS as it comes                  ┘ of `compare`
//! ```
//! The traits know nothing of rates, statistics or terminals, so that every stack is driven and measured by
//! the same code.

pub(crate) mod dust;
mod greeting;
mod rustdds;
mod settings;
mod transport;

use crate::messages::{Kind, RosMessage};
use crate::quantity::Size;
use crate::samples::Sample;
use crate::stamp::{Damage, Sealed, Stamp, Touch};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Add;
use std::str::FromStr;
use std::time::{Duration, Instant};
use thiserror::Error;

/// Which stack carries the samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum StackKind {
    /// Dust DDS 0.16 with the zerodds plug-in.
    Dust,
    /// The zerodds transport itself: loans, no DDS.
    Transport,
    /// RustDDS 0.15 with the endpoints of the zerodds plug-in.
    Rustdds,
    /// Dust DDS as it is, over its own UDP transport: a baseline of comparison.
    StockDust,
    /// RustDDS as it is: a baseline of comparison.
    StockRustdds,
}

/// A name of no stack.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the stacks are dust, rustdds and transport; stock-dust and stock-rustdds to compare with")]
pub(crate) struct StackNameError;

impl StackKind {
    /// The name on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Dust => "dust",
            Self::Transport => "transport",
            Self::Rustdds => "rustdds",
            Self::StockDust => "stock-dust",
            Self::StockRustdds => "stock-rustdds",
        }
    }

    /// Samples under way that suit the stack on this path, with payloads of up to this many bytes.
    pub(crate) fn history_for(self, path: PathChoice, payload_max: usize) -> u32 {
        let about_a_mebibyte = about_a_mebibyte(payload_max);
        match self {
            // Two keep both sides busy; more fill buffers, and each one lost on the way then makes Dust DDS ask for
            // all that follow it again.
            Self::Dust | Self::StockDust | Self::Transport => 2,
            // Takers have a few at once, as long as the processors' caches hold what is under way.
            Self::Rustdds if path.shares_memory() && payload_max > 2 << 20 => 2,
            Self::Rustdds if path.shares_memory() => about_a_mebibyte.clamp(4, 256),
            // What RustDDS's sockets have no buffers for is repaired at a crawl.
            Self::Rustdds | Self::StockRustdds => about_a_mebibyte.clamp(1, 256),
        }
    }
}

/// Payloads of this length that are as much.
pub(crate) fn about_a_mebibyte(payload_max: usize) -> u32 {
    ((1 << 20) / payload_max.max(1)) as u32
}

impl FromStr for StackKind {
    type Err = StackNameError;

    fn from_str(text: &str) -> Result<Self, StackNameError> {
        match text {
            "dust" => Ok(Self::Dust),
            "transport" => Ok(Self::Transport),
            "rustdds" => Ok(Self::Rustdds),
            "stock-dust" => Ok(Self::StockDust),
            "stock-rustdds" => Ok(Self::StockRustdds),
            _ => Err(StackNameError),
        }
    }
}

/// Which path the samples may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
pub(crate) enum PathChoice {
    /// Shared memory where it can be had, UDP for everyone else.
    Auto,
    /// UDP only.
    Udp,
}

impl PathChoice {
    /// The name on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Udp => "udp",
        }
    }

    /// What a person should know before reading figures of this build over this path.
    pub(crate) fn remarks(self) -> impl Iterator<Item = &'static str> {
        let no_shm = self == Self::Auto && !self.shares_memory();
        let no_shm = no_shm
            .then_some("this build has no shared memory (feature same-host-shm is off): all goes over UDP");
        let debug = cfg!(debug_assertions)
            .then_some("this is a debug build, whose figures say little: cargo run --release");
        no_shm.into_iter().chain(debug)
    }

    /// Whether shared memory may be used: by this choice, and because the build has it.
    pub(crate) const fn shares_memory(self) -> bool {
        matches!(self, Self::Auto) && cfg!(feature = "same-host-shm")
    }
}

/// Whether samples may be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
pub(crate) enum Reliability {
    /// Every sample arrives; a publisher that is ahead waits.
    Reliable,
    /// A publisher never waits; what a slow subscriber missed is counted.
    BestEffort,
}

impl Reliability {
    /// The name on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Reliable => "reliable",
            Self::BestEffort => "best-effort",
        }
    }
}

/// Everything a stack needs to know before it opens.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StackOptions {
    /// Which stack.
    pub(crate) stack: StackKind,
    /// Which path.
    pub(crate) path: PathChoice,
    /// The DDS domain, 0 to 232.
    pub(crate) domain: u32,
    /// Reliable or best effort.
    pub(crate) reliability: Reliability,
    /// Samples that a reliable writer keeps until they are acknowledged.
    pub(crate) history: u32,
    /// How long a reliable write may wait.
    pub(crate) max_blocking: Duration,
    /// Bytes of a fragment of the stock transport.
    pub(crate) fragment: Size,
    /// Bytes that a payload has at most, as far as that is known: what is counted in samples stands for memory.
    pub(crate) payload_max: usize,
    /// What is done without copies.
    pub(crate) in_place: InPlace,
    /// The kinds of samples, each with its topic.
    pub(crate) kinds: BTreeSet<Kind>,
}

impl StackOptions {
    /// What a person should know of reliable samples that a subscriber lacks, if the stack loses them by itself.
    pub(crate) fn loss_remark(&self) -> Option<String> {
        let len = rustdds::own_cache_len(self)?;
        Some(format!(
            "RustDDS drops what its cache of {len} samples has no room for, acknowledged or not; `sub --size` with the payload \
             of the samples makes that up to {}",
            rustdds::OWN_CACHE_LEN_MAX
        ))
    }
}

/// What of a sample's way is done where it lies in shared memory; `--stack rustdds` can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InPlace {
    /// The publisher fills it there.
    pub(crate) loan: bool,
    /// The subscriber reads it there.
    pub(crate) view: bool,
}

/// What a publisher's stack has done, where it counts that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Written {
    /// Samples written into shared memory, once however many subscribers there are.
    pub(crate) shared_samples: u64,
    /// Samples sent in RTPS, because they are small or nobody shares memory.
    pub(crate) plain_samples: u64,
    /// Descriptors of shared samples that RTPS carried.
    pub(crate) descriptors: u64,
    /// Bytes written into shared memory.
    pub(crate) shared_bytes: u64,
    /// Samples that went over UDP for want of room.
    pub(crate) fallbacks: u64,
}

/// Messages received, by the path they came by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ByPath {
    /// Through shared memory.
    pub(crate) shm: u64,
    /// Over UDP.
    pub(crate) udp: u64,
}

impl ByPath {
    /// Whether there are some, all through shared memory.
    pub(crate) const fn is_shared(self) -> bool {
        self.shm > 0 && self.udp == 0
    }
}

impl Add for ByPath {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { shm: self.shm + other.shm, udp: self.udp + other.udp }
    }
}

impl fmt::Display for ByPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self { shm: 0, udp: 0 } => f.write_str("-"),
            Self { udp: 0, .. } => f.write_str("shm"),
            Self { shm: 0, .. } => f.write_str("udp"),
            Self { shm, udp } => write!(f, "shm {shm} + udp {udp}"),
        }
    }
}

/// A sample in the subscriber's hand.
pub(crate) struct Arrival {
    /// When it arrived, before anything was done with it; `CLOCK_MONOTONIC` in nanoseconds.
    pub(crate) received_ns: u64,
    /// When it was published by the same clock, where the stack carries that outside of the stamp.
    pub(crate) published_ns: Option<u64>,
    /// What it is.
    pub(crate) kind: Kind,
    /// Its stamp, or why it has none.
    pub(crate) stamp: Result<Sealed, Damage>,
    /// Its payload, in the memory that it arrived in.
    pub(crate) payload: Bytes,
}

/// The message as it arrived.
fn arrival<M: RosMessage>(message: M, received_ns: u64) -> Arrival {
    let is_consistent = message.is_consistent();
    let stamp = if is_consistent { Stamp::from_text(message.label()) } else { Err(Damage::Sizes) };
    let payload = if is_consistent { message.into_payload() } else { Bytes::new() };
    Arrival { received_ns, published_ns: None, kind: M::KIND, stamp, payload }
}

/// Writes what of the payload shall be written.
fn fill(body: &mut [u8], payload: &[u8], touch: Touch) {
    match touch {
        Touch::Full => body.copy_from_slice(payload),
        Touch::None => {
            let edge = payload.len().min(EDGE_LEN);
            let last = payload.len() - edge;
            body[..edge].copy_from_slice(&payload[..edge]);
            body[last..].copy_from_slice(&payload[last..]);
        }
    }
}

/// Identifies the samples of one publisher: what a stack adds to a sample to make its stamp.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    /// This life of this publisher, and its boot.
    pub(crate) publisher: u64,
    /// The sample's number on its topic.
    pub(crate) sequence: u64,
    /// What of the payload was summed up.
    pub(crate) touch: Touch,
}

/// The sending half of a stack.
pub(crate) trait Publication {
    /// Subscribers of all topics together that are matched now.
    fn matched(&mut self) -> usize;

    /// Publishes `sample`: fills it, takes the time, stamps it and hands it over.
    ///
    /// # Errors
    /// [`PublishError`]; after [`PublishError::Timeout`] the same sample may be tried again.
    fn publish(&mut self, sample: &Sample, mark: Mark) -> Result<(), PublishError>;

    /// Waits until every reliable subscriber has what was published, for as long as a write may. What shared memory has
    /// taken over it delivers, whoever leaves.
    ///
    /// # Errors
    /// [`PublishError::Timeout`] where one has not.
    fn flush(&mut self) -> Result<(), PublishError> {
        Ok(())
    }

    /// What the stack has done so far, if it counts that.
    fn written(&self) -> Option<Written> {
        None
    }

    /// Says goodbye to the subscribers.
    fn close(&mut self);
}

/// The receiving half of a stack.
pub(crate) trait Subscription {
    /// The next sample that arrives before the deadline.
    fn next(&mut self, deadline: Instant) -> Option<Arrival>;

    /// Publishers of all topics together that are matched now.
    fn matched(&mut self) -> usize;

    /// Samples received so far, by path.
    fn by_path(&self) -> ByPath;

    /// Says goodbye to the publishers.
    fn close(&mut self);
}

/// Why a stack cannot be used.
#[derive(Debug, Error)]
pub(crate) enum OpenError {
    /// A setting is not usable.
    #[error(transparent)]
    Setting(zerodds_core::ConfigError),
    /// Datagrams get lost, and nobody repairs that here.
    #[error(
        "over UDP --stack transport is best effort only: use --stack dust, or add --reliability best-effort"
    )]
    Unreliable,
    /// The stack refused.
    #[error("{what} failed in domain {domain}: {why}")]
    Stack {
        /// The operation.
        what: &'static str,
        /// The domain.
        domain: u32,
        /// What the stack said.
        why: String,
    },
}

/// Why a sample was not published.
#[derive(Debug, Error)]
pub(crate) enum PublishError {
    /// A subscriber had no room for too long.
    #[error(
        "a subscriber has not acknowledged or not taken what was sent for {0:?} (--max-blocking); it may be stopped or overloaded"
    )]
    Timeout(Duration),
    /// A subscriber had no room for too long; the others have the sample.
    #[error(
        "a subscriber had no room for a sample within {0:?} (--max-blocking) and missed it; it may be stopped or overloaded"
    )]
    Missed(Duration),
    /// No path carries it in one piece.
    #[error(
        "a sample of {len} bytes with its header exceeds the {max} bytes of one message, and --stack transport does not \
         fragment; --stack dust does, and ZERODDS_SHM_MAX_DATAGRAM raises the limit of shared memory"
    )]
    TooLarge {
        /// Its length in bytes, header included.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// The stack refused.
    #[error("publishing failed: {0}")]
    Stack(String),
}

/// Opens the sending half.
///
/// # Errors
/// [`OpenError`] where the stack is not there or refuses.
pub(crate) fn open_publication(options: &StackOptions) -> Result<Box<dyn Publication>, OpenError> {
    match options.stack {
        StackKind::Dust | StackKind::StockDust => Ok(Box::new(dust::DustPublication::open(options)?)),
        StackKind::Rustdds | StackKind::StockRustdds => {
            Ok(Box::new(rustdds::RustddsPublication::open(options)?))
        }
        StackKind::Transport => Ok(Box::new(transport::TransportPublication::open(options)?)),
    }
}

/// Opens the receiving half.
///
/// # Errors
/// [`OpenError`] where the stack is not there or refuses.
pub(crate) fn open_subscription(options: &StackOptions) -> Result<Box<dyn Subscription>, OpenError> {
    match options.stack {
        StackKind::Dust | StackKind::StockDust => Ok(Box::new(dust::DustSubscription::open(options)?)),
        StackKind::Rustdds | StackKind::StockRustdds => {
            Ok(Box::new(rustdds::RustddsSubscription::open(options)?))
        }
        StackKind::Transport => Ok(Box::new(transport::TransportSubscription::open(options)?)),
    }
}

/// How much of each end of a payload is written where it is left alone otherwise.
const EDGE_LEN: usize = 64;
