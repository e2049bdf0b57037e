//! Writing for both kinds of topics: the same steps, whether the caller waits in a thread or in an executor.

use crate::cdr::{self, Frame};
use crate::loan::Memory;
use crate::posts::{Post, Remains, Unwritten};
use crate::round::Round;
use crate::waiting::{answer, by, elsewhere, until, woken};
use crate::window::{Asked, Place};
use crate::writing::{Measured, Outlet, Parcel, Refused, Transit};
use ::bytes::Bytes;
use rustdds::{SampleIdentity, WriteOptions};
use serde::Serialize;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

/// What samples are handed to: the writer of RustDDS, which differs by the kind of topic.
pub(crate) trait Carrier {
    /// Whatever identifies the instance; `()` where there are none.
    type Key;

    /// The hash of an instance's key, the same for every writer of the topic.
    fn instance(key: &Self::Key) -> u64;

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
    /// What goes in RTPS, and whether that was meant for shared memory.
    Plain(Bytes, bool),
    Shared(Parcel),
}

impl Draft {
    /// The options with a source timestamp, where one is needed: what goes in RTPS is left as RustDDS has it.
    fn stamped<'a>(&self, outlet: &Outlet, options: &'a WriteOptions) -> Cow<'a, WriteOptions> {
        match self {
            Self::Plain(..) => Cow::Borrowed(options),
            Self::Shared(_) => outlet.stamped(options),
        }
    }
}

impl<C: Carrier> Writer<C> {
    pub(crate) fn write<D: Serialize>(
        &self,
        sample: &D,
        key: &C::Key,
        options: &WriteOptions,
    ) -> Result<SampleIdentity, Refused> {
        let measured = self.outlet.measure(sample)?;
        let deadline = self.outlet.deadline();
        let shared = self.shared_len(&measured, options);
        let (place, parcel) = self.room(shared, key, deadline)?;
        let draft = draft(sample, measured, parcel, shared.is_some())?;
        Ok(self.publish(draft, place, key, options, deadline)?)
    }

    pub(crate) async fn write_async<D: Serialize>(
        &self,
        sample: &D,
        key: &C::Key,
        options: &WriteOptions,
    ) -> Result<SampleIdentity, Refused> {
        let measured = self.outlet.measure(sample)?;
        let deadline = self.outlet.deadline();
        let shared = self.shared_len(&measured, options);
        let (place, parcel) = self.room_async(shared, key, deadline).await?;
        let draft = draft(sample, measured, parcel, shared.is_some())?;
        Ok(self.publish_async(draft, place, key, options, deadline).await?)
    }

    /// Room for a sample that is to be filled in place; `None`: it will not be shared.
    pub(crate) fn loan(&self, frame: &Frame, key: &C::Key) -> Result<Option<Parcel>, Refused> {
        let Some(len) = self.lent_len(frame) else { return Ok(None) };
        self.outlet.parcel(len, C::instance(key), self.outlet.deadline())
    }

    pub(crate) async fn loan_async(&self, frame: &Frame, key: &C::Key) -> Result<Option<Parcel>, Refused> {
        let Some(len) = self.lent_len(frame) else { return Ok(None) };
        let (instance, deadline) = (C::instance(key), self.outlet.deadline());
        match self.parcel_now(len, instance, deadline) {
            Some(outcome) => outcome,
            None => self.parcel_later(len, instance, deadline).await,
        }
    }

    /// The length of a sample that is to be filled in place, and shared.
    fn lent_len(&self, frame: &Frame) -> Option<usize> {
        Some(frame.sample_len()).filter(|&len| self.outlet.shares(len, &WriteOptions::default()))
    }

    /// Publishes a sample that was filled in place.
    pub(crate) fn publish_filled(
        &self,
        memory: Memory,
        key: &C::Key,
        options: &WriteOptions,
    ) -> Result<SampleIdentity, Unwritten> {
        let deadline = self.outlet.deadline();
        let moves = self.moves(&memory, options);
        let room = self.room(moves, key, deadline);
        let (draft, place) = self.filled(memory, room, moves.is_some(), options)?;
        self.publish(draft, place, key, options, deadline)
    }

    pub(crate) async fn publish_filled_async(
        &self,
        memory: Memory,
        key: &C::Key,
        options: &WriteOptions,
    ) -> Result<SampleIdentity, Unwritten> {
        let deadline = self.outlet.deadline();
        let moves = self.moves(&memory, options);
        let room = self.room_async(moves, key, deadline).await;
        let (draft, place) = self.filled(memory, room, moves.is_some(), options)?;
        self.publish_async(draft, place, key, options, deadline).await
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
        key: &C::Key,
        deadline: Instant,
    ) -> Result<(Place, Option<Parcel>), Refused> {
        let place = self.outlet.wait_for_place(deadline)?;
        let Some(len) = len else { return Ok((place, None)) };
        let instance = C::instance(key);
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
        key: &C::Key,
        deadline: Instant,
    ) -> Result<(Place, Option<Parcel>), Refused> {
        let place = self.wait_for_place_async(deadline).await?;
        let Some(len) = len else { return Ok((place, None)) };
        let instance = C::instance(key);
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

    /// What a loan is published as, given a place, and room in the ring where it is to move there and there was any.
    fn filled(
        &self,
        memory: Memory,
        room: Result<(Place, Option<Parcel>), Refused>,
        moves: bool,
        options: &WriteOptions,
    ) -> Result<(Draft, Place), Unwritten> {
        let (place, parcel) = match room {
            Ok(room) => room,
            Err(why) => return Err(Unwritten { why, remains: Some(Remains::Filled(memory)) }),
        };
        let draft = match (memory, parcel) {
            (Memory::Ring(parcel), _) if self.outlet.may_share(options) => Draft::Shared(parcel),
            (memory @ Memory::Ring(_), _) => Draft::Plain(Bytes::copy_from_slice(memory.sample()), false),
            (Memory::Heap(bytes), None) => Draft::Plain(bytes.into(), moves),
            (Memory::Heap(bytes), Some(mut parcel)) => {
                parcel.cdr_mut().copy_from_slice(&bytes);
                Draft::Shared(parcel)
            }
        };
        Ok((draft, place))
    }

    /// Waits until readers that keep all have taken what was written so far; whether they have by the deadline.
    pub(crate) fn wait_until_taken(&self, deadline: Instant) -> bool {
        self.outlet.wait_until_taken(&self.outlet.so_far(), deadline, &mut Asked::default())
    }

    /// The same, waiting elsewhere.
    pub(crate) async fn wait_until_taken_async(&self, deadline: Instant) -> bool {
        let (outlet, so_far, mut asked) = (Arc::clone(&self.outlet), self.outlet.so_far(), Asked::default());
        if outlet.wait_until_taken(&so_far, Instant::now(), &mut asked) {
            return true;
        }
        let step = move |until, is_last| {
            let is_taken = outlet.wait_until_taken(&so_far, until, &mut asked);
            (is_taken || is_last).then_some(is_taken)
        };
        elsewhere(deadline, step).await.unwrap_or(false)
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
        mut place: Place,
        key: &C::Key,
        options: &WriteOptions,
        deadline: Instant,
    ) -> Result<SampleIdentity, Unwritten> {
        let options = &*draft.stamped(&self.outlet, options);
        let mut round = match draft {
            Draft::Plain(bytes, falls_back) => self.plain(bytes, falls_back, place, options),
            Draft::Shared(parcel) => {
                let mut transit = self.outlet.send(parcel, &mut place, options, deadline)?;
                if !transit.is_done() {
                    transit.wait(deadline);
                }
                self.outlet.dispatch(transit, place)?
            }
        };
        while let Some(post) = round.next(&self.outlet) {
            let outcome = if !round.has_begun() && self.outlet.has_not_waited(deadline) {
                // The usual case: nothing has been waited for, so that RustDDS's own clock serves.
                self.carrier.carry_blocking(post.clone(), key, post.options(options))
            } else {
                let deadline = if round.has_begun() { self.outlet.later() } else { deadline };
                let carried = until(deadline, self.carry_until(Some(deadline), &post, key, options));
                carried.unwrap_or(Err(Refused::WouldBlock))
            };
            round.note(post, outcome)?;
        }
        round.outcome(&self.outlet)
    }

    async fn publish_async(
        &self,
        draft: Draft,
        mut place: Place,
        key: &C::Key,
        options: &WriteOptions,
        deadline: Instant,
    ) -> Result<SampleIdentity, Unwritten> {
        let options = &*draft.stamped(&self.outlet, options);
        let mut round = match draft {
            Draft::Plain(bytes, falls_back) => self.plain(bytes, falls_back, place, options),
            Draft::Shared(parcel) => {
                let transit = self.outlet.send(parcel, &mut place, options, deadline)?;
                let transit = arrived(transit, deadline).await?;
                self.outlet.dispatch(transit, place)?
            }
        };
        while let Some(post) = round.next(&self.outlet) {
            let has_begun = round.has_begun();
            let deadline = if has_begun { Some(self.outlet.later()) } else { self.outlet.alarm(deadline) };
            let carried = by(deadline, self.carry_until(deadline, &post, key, options)).await;
            round.note(post, carried.unwrap_or(Err(Refused::WouldBlock)))?;
        }
        round.outcome(&self.outlet)
    }

    /// Hands a post to RustDDS, whose own patience is max_blocking_time: where there is more time, it goes on when RustDDS has moved on. A
    /// write that RustDDS refuses leaves its waker with it, as one that waits does.
    async fn carry_until(
        &self,
        deadline: Option<Instant>,
        post: &Post,
        key: &C::Key,
        options: &WriteOptions,
    ) -> Result<SampleIdentity, Refused> {
        loop {
            let outcome = self.carrier.carry(post.clone(), key, post.options(options)).await;
            let has_time = || deadline.is_some_and(|deadline| Instant::now() < deadline);
            if !matches!(outcome, Err(Refused::WouldBlock)) || !has_time() {
                return outcome;
            }
            woken().await;
        }
    }

    /// A sample that goes in RTPS alone.
    fn plain(&self, bytes: Bytes, falls_back: bool, place: Place, options: &WriteOptions) -> Round {
        let begun = self.outlet.begin_plain(place, options.to_single_reader());
        Round::plain(begun, bytes, falls_back)
    }
}

/// Serializes a sample to where it goes, which may not be where it was meant to go.
fn draft<D: Serialize>(
    sample: &D,
    measured: Measured,
    parcel: Option<Parcel>,
    is_shared: bool,
) -> Result<Draft, Refused> {
    Ok(match (measured, parcel) {
        (Measured::Short(bytes), _) => Draft::Plain(bytes, false),
        (Measured::Long(len), None) => Draft::Plain(cdr::to_bytes(sample, len)?, is_shared),
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

#[cfg(test)]
mod tests;
