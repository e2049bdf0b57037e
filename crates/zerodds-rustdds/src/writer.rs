//! Writing for both kinds of topics: the same steps, whether the caller waits in a thread or in an executor.

use crate::cdr::{self, Frame};
use crate::loan::Memory;
use crate::posts::{Post, Posts, Remains};
use crate::window::{Asked, Place};
use crate::writing::{Begun, Measured, Outlet, Parcel, Refused, Transit, Undescribed};
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
        let measured = self.outlet.measure(sample)?;
        let deadline = self.outlet.deadline();
        let (place, parcel) = self.room(self.shared_len(&measured, options), instance, deadline)?;
        let draft = draft(sample, measured, parcel)?;
        Ok(self.publish(draft, place, key, options, deadline)?)
    }

    pub(crate) async fn write_async<D: Serialize>(
        &self,
        sample: &D,
        instance: u64,
        key: &C::Key,
        options: &WriteOptions,
    ) -> Result<SampleIdentity, Refused> {
        let measured = self.outlet.measure(sample)?;
        let deadline = self.outlet.deadline();
        let room = self.room_async(self.shared_len(&measured, options), instance, deadline).await;
        let (place, parcel) = room?;
        let draft = draft(sample, measured, parcel)?;
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
        let deadline = self.outlet.deadline();
        match self.parcel_now(len, instance, deadline) {
            Some(outcome) => outcome,
            None => self.parcel_later(len, instance, deadline).await,
        }
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
        let room = self.room(self.moves(&memory, options), instance, deadline);
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
        let room = self.room_async(self.moves(&memory, options), instance, deadline).await;
        let (draft, place) = self.filled(memory, room, options)?;
        Ok(self.publish_async(draft, place, key, options, deadline).await?)
    }

    /// The length of a sample that is to be shared.
    fn shared_len(&self, measured: &Measured, options: &WriteOptions) -> Option<usize> {
        match measured {
            Measured::Long(len) if self.outlet.shares(*len, options) => Some(*len),
            _ => None,
        }
    }

    /// A place with all readers, and room in the ring for so many bytes if any are asked for. Whoever has room in the ring may wait
    /// for a place, with a loan that was filled, so nobody who has a place waits for the ring.
    fn room(
        &self,
        len: Option<usize>,
        instance: u64,
        deadline: Instant,
    ) -> Result<(Place, Option<Parcel>), Refused> {
        let place = self.outlet.wait_for_place(deadline)?;
        let Some(len) = len else { return Ok((place, None)) };
        if let Some(parcel) = self.parcel_now(len, instance, deadline) {
            return Ok((place, parcel?));
        }
        drop(place);
        let parcel = self.outlet.parcel(len, instance, deadline)?;
        Ok((self.outlet.wait_for_place(deadline)?, parcel))
    }

    async fn room_async(
        &self,
        len: Option<usize>,
        instance: u64,
        deadline: Instant,
    ) -> Result<(Place, Option<Parcel>), Refused> {
        let place = self.wait_for_place_async(deadline).await?;
        let Some(len) = len else { return Ok((place, None)) };
        if let Some(parcel) = self.parcel_now(len, instance, deadline) {
            return Ok((place, parcel?));
        }
        drop(place);
        let parcel = self.parcel_later(len, instance, deadline).await?;
        Ok((self.wait_for_place_async(deadline).await?, parcel))
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

    /// What came of asking for room in the ring, unless it is to be waited for.
    fn parcel_now(
        &self,
        len: usize,
        instance: u64,
        deadline: Instant,
    ) -> Option<Result<Option<Parcel>, Refused>> {
        let outcome = self.outlet.parcel(len, instance, Instant::now());
        let waits = matches!(outcome, Err(Refused::WouldBlock)) && Instant::now() < deadline;
        (!waits).then_some(outcome)
    }

    /// Waits for room in the ring, on another thread.
    async fn parcel_later(
        &self,
        len: usize,
        instance: u64,
        deadline: Instant,
    ) -> Result<Option<Parcel>, Refused> {
        let outlet = Arc::clone(&self.outlet);
        let step = move |until, is_last| answer(outlet.parcel(len, instance, until), is_last);
        elsewhere(deadline, step).await?
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
fn draft<D: Serialize>(sample: &D, measured: Measured, parcel: Option<Parcel>) -> Result<Draft, Refused> {
    Ok(match (measured, parcel) {
        (Measured::Short(bytes), _) => Draft::Plain(bytes),
        (Measured::Long(len), None) => Draft::Plain(cdr::to_bytes(sample, len)?),
        (Measured::Long(_), Some(mut parcel)) => {
            cdr::write_into(sample, parcel.cdr_mut())?;
            Draft::Shared(parcel)
        }
    })
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
    let waker = WAKER.try_with(Waker::clone).unwrap_or_else(|_| waker_of_this_thread());
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

thread_local! {
    /// One for all that a thread ever waits for: RustDDS keeps wakers until it has room, but each of them once.
    static WAKER: Waker = waker_of_this_thread();
}

fn waker_of_this_thread() -> Waker {
    Waker::from(Arc::new(Unpark(std::thread::current())))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_waits_again_and_again_is_one_to_whom_it_waits_for() {
        let mut wakers = Vec::new();
        for _ in 0..2 {
            let never = poll_fn(|context: &mut Context<'_>| {
                wakers.push(context.waker().clone());
                Poll::<()>::Pending
            });
            assert!(until(Instant::now(), never).is_none());
        }
        assert!(wakers[0].will_wake(&wakers[1]));
    }
}
