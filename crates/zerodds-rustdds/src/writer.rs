//! Writing for both kinds of topics: the same steps, whether the caller waits in a thread or in an executor.

use crate::cdr::{self, Frame};
use crate::loan::Memory;
use crate::window::{Asked, Place};
use crate::writing::{Begun, Outlet, Parcel, Post, Posts, Refused, Remains, Transit, Undescribed};
use ::bytes::Bytes;
use futures::channel::oneshot;
use futures::future::{Either, select};
use rustdds::{SampleIdentity, WriteOptions};
use serde::Serialize;
use std::borrow::Cow;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// What samples are handed to: the writer of RustDDS, which differs by the kind of topic.
pub(crate) trait Carrier {
    /// Whatever identifies the instance; `()` where there are none.
    type Key;

    /// Hands a sample to RustDDS, which waits for its window up to max_blocking_time from now.
    fn carry_blocking(
        &self,
        post: Post,
        key: &Self::Key,
        options: WriteOptions,
    ) -> Result<SampleIdentity, Refused>;

    /// Hands a sample to RustDDS, waiting for its window.
    fn carry(
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

impl Draft {
    /// The options with a source timestamp, where one is needed: what goes in RTPS is left as RustDDS has it.
    fn stamped<'a>(&self, outlet: &Outlet, options: &'a WriteOptions) -> Cow<'a, WriteOptions> {
        match self {
            Self::Plain(_) => Cow::Borrowed(options),
            Self::Shared(_) => outlet.stamped(options),
        }
    }
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
        let place = self.outlet.wait_for_place(deadline)?;
        let draft = match self.outlet.short(sample)? {
            Some(bytes) => Draft::Plain(bytes),
            None => {
                let len = self.outlet.measure(sample)?;
                let shares = self.outlet.shares(len, options);
                let parcel = if shares { self.outlet.parcel(len, instance, deadline)? } else { None };
                draft(sample, len, parcel)?
            }
        };
        Ok(self.publish(draft, place, key, options, deadline)?)
    }

    pub(crate) async fn write_async<D: Serialize>(
        &self,
        sample: &D,
        instance: u64,
        key: &C::Key,
        options: &WriteOptions,
    ) -> Result<SampleIdentity, Refused> {
        let deadline = self.outlet.deadline();
        let place = self.wait_for_place_async(deadline).await?;
        let draft = match self.outlet.short(sample)? {
            Some(bytes) => Draft::Plain(bytes),
            None => {
                let len = self.outlet.measure(sample)?;
                let shares = self.outlet.shares(len, options);
                let parcel = if shares { self.parcel_async(len, instance, deadline).await? } else { None };
                draft(sample, len, parcel)?
            }
        };
        Ok(self.publish_async(draft, place, key, options, deadline).await?)
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
        memory: Memory,
        instance: u64,
        key: &C::Key,
        options: &WriteOptions,
    ) -> Result<SampleIdentity, Unwritten> {
        let deadline = self.outlet.deadline();
        let room = self.outlet.wait_for_place(deadline).and_then(|place| {
            let parcel = match self.moves(&memory, options) {
                Some(len) => self.outlet.parcel(len, instance, deadline)?,
                None => None,
            };
            Ok((place, parcel))
        });
        let (draft, place) = self.filled(memory, room, options)?;
        Ok(self.publish(draft, place, key, options, deadline)?)
    }

    pub(crate) async fn publish_filled_async(
        &self,
        memory: Memory,
        instance: u64,
        key: &C::Key,
        options: &WriteOptions,
    ) -> Result<SampleIdentity, Unwritten> {
        let deadline = self.outlet.deadline();
        let room = async {
            let place = self.wait_for_place_async(deadline).await?;
            let parcel = match self.moves(&memory, options) {
                Some(len) => self.parcel_async(len, instance, deadline).await?,
                None => None,
            };
            Ok((place, parcel))
        };
        let room = room.await;
        let (draft, place) = self.filled(memory, room, options)?;
        Ok(self.publish_async(draft, place, key, options, deadline).await?)
    }

    /// The length of a loan that was made outside of the ring, if there is somebody to share it with by now.
    fn moves(&self, memory: &Memory, options: &WriteOptions) -> Option<usize> {
        match memory {
            Memory::Heap(bytes) if self.outlet.shares(bytes.len(), options) => Some(bytes.len()),
            _ => None,
        }
    }

    /// What a loan is published as, given a place, and room for one that moves.
    fn filled(
        &self,
        memory: Memory,
        room: Result<(Place, Option<Parcel>), Refused>,
        options: &WriteOptions,
    ) -> Result<(Draft, Place), Unwritten> {
        let (place, parcel) = match room {
            Ok(room) => room,
            Err(why) => return Err(Unwritten { why, memory: Some(memory) }),
        };
        let draft = match (memory, parcel) {
            (Memory::Ring(parcel), _) if self.outlet.may_share(options) => Draft::Shared(parcel),
            (memory @ Memory::Ring(_), _) => Draft::Plain(Bytes::copy_from_slice(memory.sample())),
            (Memory::Heap(bytes), None) => Draft::Plain(bytes.into()),
            (Memory::Heap(bytes), Some(mut parcel)) => {
                parcel.cdr_mut().copy_from_slice(&bytes);
                Draft::Shared(parcel)
            }
        };
        Ok((draft, place))
    }

    async fn wait_for_place_async(&self, deadline: Instant) -> Result<Place, Refused> {
        if let Some(place) = self.outlet.place() {
            return Ok(place);
        }
        let (outlet, mut asked) = (Arc::clone(&self.outlet), Asked::default());
        let step = move |until, is_last| answer(outlet.go_on_waiting_for_place(until, &mut asked), is_last);
        elsewhere(deadline, step).await?
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
                let step = move |until, is_last| answer(outlet.parcel(len, instance, until), is_last);
                elsewhere(deadline, step).await?
            }
            outcome => outcome,
        }
    }

    fn publish(
        &self,
        draft: Draft,
        place: Place,
        key: &C::Key,
        options: &WriteOptions,
        deadline: Instant,
    ) -> Result<SampleIdentity, NotPublished> {
        let options = &*draft.stamped(&self.outlet, options);
        let mut posts = match draft {
            Draft::Plain(bytes) => Posts::plain(bytes),
            Draft::Shared(parcel) => {
                let mut transit = self.outlet.send(parcel, options, deadline)?;
                if !transit.is_done() {
                    transit.wait(deadline);
                }
                self.outlet.dispatch(transit)?
            }
        };
        let mut round = Round::begin(&self.outlet, posts.undescribed.take(), place);
        while let Some(post) = posts.next(&self.outlet) {
            let outcome = loop {
                // The usual case: nothing has been waited for, so that RustDDS's own clock serves.
                if !round.has_begun() && self.outlet.has_not_waited(deadline) {
                    let options = post.options(options);
                    break self.carrier.carry_blocking(post.clone(), key, options);
                }
                let deadline = if round.has_begun() { self.outlet.later() } else { deadline };
                let carried = until(deadline, self.carrier.carry(post.clone(), key, post.options(options)));
                let carried = carried.unwrap_or(Err(Refused::WouldBlock));
                if !round.tries_again(&carried) {
                    break carried;
                }
            };
            match outcome {
                Ok(identity) => round.note(&post, identity),
                Err(why) => return Err(NotPublished { why, remains: Some(posts.remains(post)) }),
            }
        }
        Ok(round.outcome(&self.outlet)?)
    }

    async fn publish_async(
        &self,
        draft: Draft,
        place: Place,
        key: &C::Key,
        options: &WriteOptions,
        deadline: Instant,
    ) -> Result<SampleIdentity, NotPublished> {
        let options = &*draft.stamped(&self.outlet, options);
        let mut posts = match draft {
            Draft::Plain(bytes) => Posts::plain(bytes),
            Draft::Shared(parcel) => {
                let transit = self.outlet.send(parcel, options, deadline)?;
                self.outlet.dispatch(arrived(transit, deadline).await?)?
            }
        };
        let mut round = Round::begin(&self.outlet, posts.undescribed.take(), place);
        while let Some(post) = posts.next(&self.outlet) {
            let outcome = loop {
                let deadline = if round.has_begun() { self.outlet.later() } else { deadline };
                let carried =
                    by(deadline, self.carrier.carry(post.clone(), key, post.options(options))).await;
                let carried = carried.unwrap_or(Err(Refused::WouldBlock));
                if !round.tries_again(&carried) {
                    break carried;
                }
            };
            match outcome {
                Ok(identity) => round.note(&post, identity),
                Err(why) => return Err(NotPublished { why, remains: Some(posts.remains(post)) }),
            }
        }
        Ok(round.outcome(&self.outlet)?)
    }
}

/// A sample that RTPS did not take, and what is left of it.
struct NotPublished {
    why: Refused,
    remains: Option<Remains>,
}

/// A loan that was not published, and its memory: what it had, or a copy if that has been sent to somebody.
pub(crate) struct Unwritten {
    pub(crate) why: Refused,
    pub(crate) memory: Option<Memory>,
}

impl From<Refused> for NotPublished {
    fn from(why: Refused) -> Self {
        Self { why, remains: None }
    }
}

impl From<(Refused, Remains)> for NotPublished {
    fn from((why, remains): (Refused, Remains)) -> Self {
        Self { why, remains: Some(remains) }
    }
}

impl From<NotPublished> for Refused {
    fn from(NotPublished { why, .. }: NotPublished) -> Self {
        why
    }
}

impl From<NotPublished> for Unwritten {
    fn from(NotPublished { why, remains }: NotPublished) -> Self {
        Self { why, memory: remains.map(|remains| Memory::Heap(remains.into_vec())) }
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
async fn arrived(transit: Transit, deadline: Instant) -> Result<Transit, Refused> {
    if transit.is_done() {
        return Ok(transit);
    }
    let mut waiting = Some(transit);
    elsewhere(deadline, move |until, is_last| {
        let transit = waiting.as_mut()?;
        transit.wait(until);
        if is_last || transit.is_done() { waiting.take() } else { None }
    })
    .await
}

/// One sample on its way into RTPS, in as many posts as it takes: none of them, or all. Once somebody has it, all must
/// get it, since a writer that is told `WouldBlock` writes it again.
struct Round {
    begun: Begun,
    /// Dropped with it, where nothing was carried.
    undescribed: Option<Undescribed>,
    carried: Option<(SampleIdentity, SampleIdentity)>,
    descriptors: u64,
    tries: u32,
}

impl Round {
    fn begin(outlet: &Outlet, undescribed: Option<Undescribed>, place: Place) -> Self {
        Self {
            begun: outlet.begin(undescribed.as_ref(), place),
            undescribed,
            carried: None,
            descriptors: 0,
            tries: 0,
        }
    }

    /// Whether somebody has the sample.
    fn has_begun(&self) -> bool {
        self.carried.is_some()
    }

    fn tries_again(&mut self, outcome: &Result<SampleIdentity, Refused>) -> bool {
        let again = matches!(outcome, Err(Refused::WouldBlock)) && self.has_begun() && self.tries < TRIES_MAX;
        self.tries += u32::from(again);
        again
    }

    fn note(&mut self, post: &Post, identity: SampleIdentity) {
        let (first, _) = *self.carried.get_or_insert((identity, identity));
        self.carried = Some((first, identity));
        self.descriptors += u64::from(post.payload.is_descriptor);
    }

    fn outcome(self, outlet: &Outlet) -> Result<SampleIdentity, Refused> {
        let (first, last) = self.carried.ok_or_else(|| Refused::Internal("a sample for nobody".into()))?;
        self.begun.written(first, last);
        outlet.count(self.descriptors);
        if let (Some(undescribed), true) = (self.undescribed, self.descriptors > 0) {
            undescribed.described();
        }
        Ok(last)
    }
}

/// Polls a future on this thread until it is ready or the deadline has passed.
fn until<T>(deadline: Instant, future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(outcome) = future.as_mut().poll(&mut context) {
            return Some(outcome);
        }
        let now = Instant::now();
        if now >= deadline {
            return None;
        }
        std::thread::park_timeout(deadline - now);
    }
}

/// The same in an executor: only a future that is not ready at once needs a clock.
async fn by<T>(deadline: Instant, future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let at_once = poll_fn(|context| Poll::Ready(future.as_mut().poll(context)));
    if let Poll::Ready(outcome) = at_once.await {
        return Some(outcome);
    }
    match select(future, std::pin::pin!(alarm(deadline))).await {
        Either::Left((outcome, _)) => Some(outcome),
        Either::Right(_) => None,
    }
}

/// The deadline, for which a thread sleeps as long as somebody waits.
async fn alarm(deadline: Instant) {
    let (mut sender, receiver) = oneshot::channel::<()>();
    let sleep = move || {
        until(deadline, sender.cancellation());
    };
    if std::thread::Builder::new().name(WAITING.into()).spawn(sleep).is_ok() {
        let _ = receiver.await;
    }
}

/// Wakes a thread that waits in [`until`].
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits on a thread made for it: an executor must not, and a full ring is rare enough. It waits step by step, each until a
/// moment that it is given, and looks in between whether anybody still wants to know: a future that is dropped is not
/// waited for. The last step, until the deadline, gives an answer.
async fn elsewhere<T: Send + 'static>(
    deadline: Instant,
    mut step: impl FnMut(Instant, bool) -> Option<T> + Send + 'static,
) -> Result<T, Refused> {
    let (sender, receiver) = oneshot::channel();
    let wait = move || {
        while !sender.is_canceled() {
            let until = deadline.min(Instant::now() + STEP);
            if let Some(outcome) = step(until, until == deadline) {
                drop(sender.send(outcome));
                return;
            }
        }
    };
    std::thread::Builder::new().name(WAITING.into()).spawn(wait).map_err(Refused::Io)?;
    receiver.await.map_err(|_| Refused::Internal("the thread that waited for room is gone".into()))
}

/// What one step of waiting came to; `None`: there is time left.
fn answer<T>(outcome: Result<T, Refused>, is_last: bool) -> Option<Result<T, Refused>> {
    (is_last || !matches!(outcome, Err(Refused::WouldBlock))).then_some(outcome)
}

/// The name of threads that wait for futures.
const WAITING: &str = "zerodds-wait";
/// How long a thread goes on waiting for a future that was dropped, at most.
const STEP: Duration = Duration::from_millis(100);

/// How often a participant is tried for a sample that others have, each time as long as a write may wait.
const TRIES_MAX: u32 = 10;
