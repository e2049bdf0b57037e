//! What carries samples: the one trait that a system under test implements.
//!
//! ```text
//!   System ── a name and a set-up, made in parent and children alike
//!     └ join(seat) ──▶ Party ── one process's share of it: sends on one lane, receives on another
//! ```
//! A system is looked up by its name in the children, which are the same program; nothing of it travels. The lanes are
//! named "forth" and "back": a ping-pong uses both, a stream the first only. A party has one sending and one receiving
//! half at most, so that a stack can make one participant of it.

use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;
use thiserror::Error;

/// A system under test.
pub trait System: Send + Sync {
    /// Its name on the command line and in reports: lower-case words with dashes, unique.
    fn name(&self) -> &str;

    /// How it is set up, in one line, for whoever reads the report.
    fn set_up(&self) -> String;

    /// Whether it uses processor time while nothing is sent: then it is not kept open while others are measured.
    fn is_busy_when_idle(&self) -> bool {
        false
    }

    /// Whether it never sleeps: then it is not measured with both processes on one processor, where it would spin for
    /// what cannot come meanwhile.
    fn spins(&self) -> bool {
        false
    }

    /// Kernel objects that all processes of a run share, made in the parent; empty for systems that find their own.
    ///
    /// # Errors
    /// What the kernel says.
    fn objects(&self) -> io::Result<Vec<OwnedFd>> {
        Ok(Vec::new())
    }

    /// Takes part in a run, in a process that does nothing else.
    ///
    /// # Errors
    /// [`Failure`]: [`Failure::Unsupported`] where the system cannot play this part.
    fn join(&self, seat: Seat) -> Result<Box<dyn Party>, Failure>;
}

/// One process's share of a system.
pub trait Party {
    /// Whether everybody whom the seat names is there and can be sent to or heard. Asked until it says yes.
    ///
    /// # Errors
    /// [`Failure`] where that will never be.
    fn is_complete(&mut self) -> Result<bool, Failure>;

    /// Whether [`receive`](Self::receive) heeds its `until`.
    fn can_stop_waiting(&self) -> bool {
        true
    }

    /// Bytes of payload that it has written to memory so far, once or more for a message, if it counts them.
    fn written_bytes(&self) -> Option<u64> {
        None
    }

    /// Sends one message of `len` bytes that `fill` writes: where the receivers will read it if the system can do
    /// that, else into a buffer that is then copied. Waits while there is no room; loses nothing.
    ///
    /// # Errors
    /// [`Failure`] where the message is not sent.
    fn send(&mut self, len: usize, fill: &mut dyn FnMut(&mut [u8])) -> Result<(), Failure>;

    /// Waits for a message, as this system waits, and shows it to `read`; then shows what else has arrived, if it comes
    /// in batches. How many messages that were: 0 after `until` only (`None`: wait for ever). What is there is
    /// taken even if `until` is past.
    ///
    /// # Errors
    /// [`Failure`] where nothing can be received any more.
    fn receive(&mut self, until: Option<Instant>, read: &mut dyn FnMut(&[u8])) -> Result<usize, Failure>;
}

/// A process's place in a run.
#[derive(Debug, Serialize, Deserialize)]
pub struct Seat {
    /// The run: no two that overlap have the same. For names of topics and services.
    pub run: u32,
    /// Its DDS domain, in which no other run is.
    pub domain: u32,
    /// This process, from 0.
    pub index: u32,
    /// Where it sends; `None` if it does not.
    pub writes: Option<Lane>,
    /// Where it receives; `None` if it does not.
    pub reads: Option<Lane>,
    /// No message is longer, in bytes.
    pub message_max: usize,
    /// What [`System::objects`] made, in that order.
    #[serde(skip)]
    pub objects: Vec<OwnedFd>,
}

/// A topic with the parties at its other end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Lane {
    /// "forth" or "back".
    pub topic: String,
    /// The indices of those who read what this process writes, or write what it reads.
    pub peers: Vec<u32>,
}

/// Why a system cannot go on.
#[derive(Debug, Error)]
pub enum Failure {
    /// It has no such thing.
    #[error("not supported: {0}")]
    Unsupported(String),
    /// It said so itself.
    #[error("{what}: {why}")]
    Stack {
        /// The operation.
        what: &'static str,
        /// What it said.
        why: String,
    },
    /// The kernel said so.
    #[error(transparent)]
    System(#[from] io::Error),
    /// A sample arrived that was not sent like this.
    #[error(transparent)]
    Corrupt(#[from] crate::sample::Damage),
}

impl Failure {
    /// A failure of an operation, in the system's own words.
    pub fn of(what: &'static str, why: impl std::fmt::Display) -> Self {
        Self::Stack { what, why: why.to_string() }
    }
}
