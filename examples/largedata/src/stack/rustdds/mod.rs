//! `--stack rustdds`: ROS 2 messages through RustDDS, with shared memory for its endpoints; `--stack stock-rustdds`: as
//! it comes.
//!
//! ```text
//!   write / loan, fill, publish ─▶ RustDDS (a descriptor) ─▶ reader ─▶ mio Poll ─▶ take, time ─▶ next()
//!                       └────────▶ shared memory (the sample) ────────────────────────┘
//! ```
//! A publisher that shares memory leaves when all was taken. By UDP it leaves when all was acknowledged, and a subscriber may lack its
//! last samples all the same: of a writer that leaves, a reliable reader of RustDDS 0.15.1 gives no more of what it had acknowledged
//! and not yet given.
//!
//! One thread waits on all readers, takes what has come and verifies it; RustDDS's own threads receive meanwhile.
//!
//! With `--path udp`, and as the baseline of comparison, the endpoints are RustDDS's own: the same messages, with `serde_bytes` so that
//! their payload is serialized in one piece, and socket buffers as large as the kernel grants. What differs besides is how much a
//! reader keeps, since RustDDS's own drops what it has no room for where through shared memory a reliable writer waits. A payload
//! cannot be filled or read in place then; so `--loan` and `--view` are refused with `--path udp`.

mod inlet;
mod outlet;
mod party;

use super::{
    Arrival, ByPath, Mark, OpenError, Publication, PublishError, StackOptions, Subscription, Written,
};
use crate::clock;
use crate::messages::{Image, PointCloud2, UInt8MultiArray};
use crate::samples::{Message, Sample};
use crate::stamp::Stamp;
use inlet::Inlet;
use outlet::Outlet;
pub(super) use party::{OWN_CACHE_LEN_MAX, own_cache_len};
use party::{Party, failed};
use rustdds::dds::{WriteError, WriteResult};
use rustdds::mio1::{Events, Poll, Token};
use std::collections::VecDeque;
use std::time::Instant;

/// A writer for each kind of sample that is published.
pub(crate) struct RustddsPublication {
    /// `None` when it has said goodbye.
    endpoints: Option<Outlets>,
    options: StackOptions,
}

/// Endpoints before the participant, so that they go first.
struct Outlets {
    clouds: Option<Box<dyn Outlet<PointCloud2>>>,
    images: Option<Box<dyn Outlet<Image>>>,
    bytes: Option<Box<dyn Outlet<UInt8MultiArray>>>,
    party: Party,
}

impl RustddsPublication {
    /// Joins the domain.
    ///
    /// # Errors
    /// [`OpenError`] where RustDDS refuses.
    pub(crate) fn open(options: &StackOptions) -> Result<Self, OpenError> {
        let party = Party::open(options)?;
        let endpoints = Outlets {
            clouds: outlet::open(&party, options)?,
            images: outlet::open(&party, options)?,
            bytes: outlet::open(&party, options)?,
            party,
        };
        Ok(Self { endpoints: Some(endpoints), options: options.clone() })
    }
}

impl Publication for RustddsPublication {
    fn matched(&mut self) -> usize {
        self.endpoints.as_mut().map_or(0, |endpoints| endpoints.party.settled())
    }

    fn publish(&mut self, sample: &Sample, mark: Mark) -> Result<(), PublishError> {
        let Mark { publisher, sequence, touch } = mark;
        let published_ns = clock::monotonic_ns();
        let stamp = Stamp { publisher, sequence, published_ns, touch, payload_sum: sample.payload_sum };
        let outlets = self.endpoints.as_ref();
        let published = match &sample.message {
            Message::Cloud(cloud) => publish(outlets.and_then(|of| of.clouds.as_deref()), cloud, stamp),
            Message::Image(image) => publish(outlets.and_then(|of| of.images.as_deref()), image, stamp),
            Message::Bytes(bytes) => publish(outlets.and_then(|of| of.bytes.as_deref()), bytes, stamp),
        };
        published.map_err(|error| outlet::refused(error, &self.options))
    }

    fn flush(&mut self) -> Result<(), PublishError> {
        let Some(outlets) = &self.endpoints else { return Ok(()) };
        let deadline = Instant::now() + self.options.max_blocking;
        flush(outlets.clouds.as_deref(), deadline)
            .and_then(|()| flush(outlets.images.as_deref(), deadline))
            .and_then(|()| flush(outlets.bytes.as_deref(), deadline))
            .map_err(|error| outlet::refused(error, &self.options))
    }

    fn written(&self) -> Option<Written> {
        self.endpoints.as_ref()?.party.written()
    }

    fn close(&mut self) {
        self.endpoints = None;
    }
}

fn publish<M>(outlet: Option<&dyn Outlet<M>>, message: &M, stamp: Stamp) -> WriteResult<(), ()> {
    let closed = || WriteError::Internal { reason: "there is no writer of this kind any more".to_owned() };
    outlet.ok_or_else(closed)?.publish(message, stamp)
}

fn flush<M>(outlet: Option<&dyn Outlet<M>>, deadline: Instant) -> WriteResult<(), ()> {
    let left = deadline.saturating_duration_since(Instant::now());
    match outlet.map_or(Ok(true), |outlet| outlet.flush(left))? {
        true => Ok(()),
        false => Err(WriteError::WouldBlock { data: () }),
    }
}

/// A reader for each kind of sample that is wanted.
pub(crate) struct RustddsSubscription {
    /// Before the participant, so that they go first.
    inlets: Vec<Box<dyn Inlet>>,
    /// `None` when it has said goodbye.
    party: Option<Party>,
    poll: Poll,
    events: Events,
    arrivals: VecDeque<Arrival>,
    taken: u64,
}

impl RustddsSubscription {
    /// Joins the domain.
    ///
    /// # Errors
    /// [`OpenError`] where RustDDS refuses.
    pub(crate) fn open(options: &StackOptions) -> Result<Self, OpenError> {
        let party = Party::open(options)?;
        let inlets = [
            inlet::open::<PointCloud2>(&party, options)?,
            inlet::open::<Image>(&party, options)?,
            inlet::open::<UInt8MultiArray>(&party, options)?,
        ];
        let mut inlets: Vec<_> = inlets.into_iter().flatten().collect();
        let poll = Poll::new().map_err(failed("waiting for samples", options.domain))?;
        for (index, inlet) in inlets.iter_mut().enumerate() {
            inlet
                .register(poll.registry(), Token(index))
                .map_err(failed("waiting for samples", options.domain))?;
        }
        Ok(Self {
            events: Events::with_capacity(inlets.len()),
            inlets,
            party: Some(party),
            poll,
            arrivals: VecDeque::new(),
            taken: 0,
        })
    }
}

impl Subscription for RustddsSubscription {
    fn next(&mut self, deadline: Instant) -> Option<Arrival> {
        loop {
            if let Some(arrival) = self.arrivals.pop_front() {
                return Some(arrival);
            }
            for inlet in &mut self.inlets {
                self.taken += inlet.take(&mut self.arrivals) as u64;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if !self.arrivals.is_empty() {
                continue;
            }
            if left.is_zero() {
                return None;
            }
            // Interrupted: looked again. Readers that were emptied wake it for what comes after.
            let _ = self.poll.poll(&mut self.events, Some(left));
        }
    }

    fn matched(&mut self) -> usize {
        self.party.as_mut().map_or(0, Party::matched)
    }

    /// The session counts what came for readers here; each process has one reader of a topic.
    fn by_path(&self) -> ByPath {
        let stats = self.party.as_ref().and_then(|party| Some(party.session.as_ref()?.stats()));
        let Some(stats) = stats else { return ByPath { shm: 0, udp: self.taken } };
        let untaken = stats.superseded_samples + stats.overflowed_samples + stats.held_samples as u64;
        let shm = stats.arrived_samples.saturating_sub(untaken).min(self.taken);
        ByPath { shm, udp: self.taken - shm }
    }

    fn close(&mut self) {
        self.inlets.clear();
        self.party = None;
    }
}
