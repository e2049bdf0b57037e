//! Writing for both kinds of topics: the same steps, whether the caller waits in a thread or in an executor.

use crate::cdr::{self, Frame};
use crate::protocol::SampleKey;
use crate::writing::{Outlet, Parcel, Post, Refused, Transit};
use ::bytes::Bytes;
use futures::channel::oneshot;
use rustdds::{SampleIdentity, WriteOptions};
use serde::Serialize;
use std::sync::Arc;
use std::time::Instant;

/// What samples are handed to: the writer of RustDDS, which differs by the kind of topic.
pub(crate) trait Carrier {
    /// Whatever identifies the instance; `()` where there are none.
    type Key;

    fn carry(&self, post: Post, key: &Self::Key, options: WriteOptions) -> Result<SampleIdentity, Refused>;

    fn carry_async(
        &self,
        post: Post,
        key: &Self::Key,
        options: WriteOptions,
    ) -> impl Future<Output = Result<SampleIdentity, Refused>>;
}

/// A writer of RustDDS with what makes it share.
pub(crate) struct Writer<C> {
    pub(crate) outlet: Arc<Outlet>,
    pub(crate) carrier: C,
}

/// What is written: a value to be serialized, or a sample that was filled in place.
enum Draft {
    Plain(Bytes),
    Shared(Parcel),
}

impl<C: Carrier> Writer<C> {
    pub(crate) fn write<D: Serialize>(
        &self,
        sample: &D,
        instance: u64,
        key: &C::Key,
        options: &WriteOptions,
    ) -> Result<SampleIdentity, Refused> {
        let deadline = self.outlet.deadline();
        self.outlet.wait_for_room(deadline)?;
        let len = cdr::serialized_len(sample)?;
        let parcel = if self.outlet.shares(len, options) {
            self.outlet.parcel(len, instance, deadline)?
        } else {
            None
        };
        let draft = draft(sample, len, parcel)?;
        self.publish(draft, key, options, deadline)
    }

    pub(crate) async fn write_async<D: Serialize>(
        &self,
        sample: &D,
        instance: u64,
        key: &C::Key,
        options: &WriteOptions,
    ) -> Result<SampleIdentity, Refused> {
        let deadline = self.outlet.deadline();
        self.wait_for_room_async(deadline).await?;
        let len = cdr::serialized_len(sample)?;
        let parcel = if self.outlet.shares(len, options) {
            self.parcel_async(len, instance, deadline).await?
        } else {
            None
        };
        let draft = draft(sample, len, parcel)?;
        self.publish_async(draft, key, options, deadline).await
    }

    /// Room for a sample that is to be filled in place; `None`: it will not be shared.
    pub(crate) fn loan(&self, frame: &Frame, instance: u64) -> Result<Option<Parcel>, Refused> {
        let len = frame.sample_len();
        if !self.outlet.shares(len, &WriteOptions::default()) {
            return Ok(None);
        }
        self.outlet.parcel(len, instance, self.outlet.deadline())
    }

    pub(crate) async fn loan_async(&self, frame: &Frame, instance: u64) -> Result<Option<Parcel>, Refused> {
        let len = frame.sample_len();
        if !self.outlet.shares(len, &WriteOptions::default()) {
            return Ok(None);
        }
        self.parcel_async(len, instance, self.outlet.deadline()).await
    }

    /// Publishes a sample that was filled in place.
    pub(crate) fn publish_filled(
        &self,
        sample: Result<Parcel, Bytes>,
        key: &C::Key,
        options: &WriteOptions,
    ) -> Result<SampleIdentity, Refused> {
        let deadline = self.outlet.deadline();
        self.outlet.wait_for_room(deadline)?;
        let draft = sample.map_or_else(Draft::Plain, Draft::Shared);
        self.publish(draft, key, options, deadline)
    }

    pub(crate) async fn publish_filled_async(
        &self,
        sample: Result<Parcel, Bytes>,
        key: &C::Key,
        options: &WriteOptions,
    ) -> Result<SampleIdentity, Refused> {
        let deadline = self.outlet.deadline();
        self.wait_for_room_async(deadline).await?;
        let draft = sample.map_or_else(Draft::Plain, Draft::Shared);
        self.publish_async(draft, key, options, deadline).await
    }

    pub(crate) async fn wait_for_room_async(&self, deadline: Instant) -> Result<(), Refused> {
        if self.outlet.has_room() {
            return Ok(());
        }
        let outlet = Arc::clone(&self.outlet);
        elsewhere(move || outlet.wait_for_room(deadline)).await?
    }

    /// Room in the ring; it is waited for on another thread, and only if there is none now.
    pub(crate) async fn parcel_async(
        &self,
        len: usize,
        instance: u64,
        deadline: Instant,
    ) -> Result<Option<Parcel>, Refused> {
        match self.outlet.parcel(len, instance, Instant::now()) {
            Err(Refused::WouldBlock) if Instant::now() < deadline => {
                let outlet = Arc::clone(&self.outlet);
                elsewhere(move || outlet.parcel(len, instance, deadline)).await?
            }
            outcome => outcome,
        }
    }

    fn publish(
        &self,
        draft: Draft,
        key: &C::Key,
        options: &WriteOptions,
        deadline: Instant,
    ) -> Result<SampleIdentity, Refused> {
        let posts = match draft {
            Draft::Plain(bytes) => vec![Post::plain(bytes)],
            Draft::Shared(parcel) => {
                let mut transit = self.outlet.send(parcel, deadline)?;
                if !transit.is_done() {
                    transit.wait();
                }
                self.outlet.dispatch(transit)?
            }
        };
        let mut round = Round::new(&self.outlet, &posts);
        for post in posts {
            let (options, described) = (post.options(options), post.shared().is_some());
            round.note(self.carrier.carry(post, key, options), described);
        }
        round.outcome()
    }

    async fn publish_async(
        &self,
        draft: Draft,
        key: &C::Key,
        options: &WriteOptions,
        deadline: Instant,
    ) -> Result<SampleIdentity, Refused> {
        let posts = match draft {
            Draft::Plain(bytes) => vec![Post::plain(bytes)],
            Draft::Shared(parcel) => {
                let transit = self.outlet.send(parcel, deadline)?;
                self.outlet.dispatch(arrived(transit).await?)?
            }
        };
        let mut round = Round::new(&self.outlet, &posts);
        for post in posts {
            let (options, described) = (post.options(options), post.shared().is_some());
            round.note(self.carrier.carry_async(post, key, options).await, described);
        }
        round.outcome()
    }
}

/// Serializes a sample to where it goes.
fn draft<D: Serialize>(sample: &D, len: usize, parcel: Option<Parcel>) -> Result<Draft, Refused> {
    match parcel {
        None => Ok(Draft::Plain(cdr::to_bytes(sample, len)?)),
        Some(mut parcel) => {
            cdr::write_into(sample, parcel.cdr_mut())?;
            Ok(Draft::Shared(parcel))
        }
    }
}

/// A sample that everybody has whom it is waited for.
async fn arrived(mut transit: Transit) -> Result<Transit, Refused> {
    if transit.is_done() {
        return Ok(transit);
    }
    elsewhere(move || {
        transit.wait();
        transit
    })
    .await
}

/// One sample on its way into RTPS, in as many posts as it takes.
struct Round<'a> {
    outlet: &'a Outlet,
    shared: Option<SampleKey>,
    carried: Option<SampleIdentity>,
    refused: Option<Refused>,
}

impl<'a> Round<'a> {
    fn new(outlet: &'a Outlet, posts: &[Post]) -> Self {
        let shared = posts.iter().find_map(Post::shared);
        Self { outlet, shared, carried: None, refused: None }
    }

    fn note(&mut self, outcome: Result<SampleIdentity, Refused>, described: bool) {
        match outcome {
            Ok(identity) => {
                self.outlet.carried(identity, described);
                self.carried = Some(identity);
            }
            Err(refused) => self.refused = Some(refused),
        }
    }

    fn outcome(self) -> Result<SampleIdentity, Refused> {
        match (self.refused, self.carried) {
            (None, Some(identity)) => {
                self.outlet.count(self.shared.is_some());
                Ok(identity)
            }
            (Some(refused), carried) => {
                // No descriptor came out, so none will follow.
                if let (Some(key), None) = (self.shared, carried) {
                    self.outlet.forget(key);
                }
                Err(refused)
            }
            (None, None) => Err(Refused::Internal("a sample for nobody".into())),
        }
    }
}

/// Waits on a thread made for it: an executor must not, and a full ring is rare enough.
async fn elsewhere<T: Send + 'static>(wait: impl FnOnce() -> T + Send + 'static) -> Result<T, Refused> {
    let (sender, receiver) = oneshot::channel();
    std::thread::Builder::new()
        .name("zerodds-wait".into())
        .spawn(move || drop(sender.send(wait())))
        .map_err(Refused::Io)?;
    receiver.await.map_err(|_| Refused::Internal("the thread that waited for room is gone".into()))
}
