//! The model of lane, slots, doorbell and the end of a link: the production code on memory that a checker watches, under
//! `--cfg zerodds_model`.
//!
//! | checker | what it tries | flags |
//! |---|---|---|
//! | loom, in `interleavings` | every interleaving and every value that C11's memory model allows, of a few steps | `--cfg zerodds_model` |
//! | shuttle, in `schedules` | long schedules of many steps, drawn from a seed; sequentially consistent | the same with `--cfg zerodds_shuttle` |
//!
//! Control words are the checker's atomics. Sleeping is a condition variable that is entered only if the word still has the
//! value to wait on, as a futex is: a lost wake-up is a deadlock.
//!
//! Run with `RUSTFLAGS="--cfg zerodds_model" cargo test --release -p zerodds-transport-shm --lib model`.

#[cfg(not(zerodds_shuttle))]
mod interleavings;
#[cfg(zerodds_shuttle)]
mod schedules;

#[cfg(not(zerodds_shuttle))]
use crate::cells::Cell;
use crate::doorbell::{self, Bed};
use crate::inlink::{InLink, Taken};
use crate::layout::{Direction, doorbell as bell, lane, link, ring, slot};
use crate::region::{Broken, Region};
use crate::sync::{AtomicU32, AtomicU64, Ordering};
#[cfg(not(zerodds_shuttle))]
use loom::sync::{Condvar, Mutex};
#[cfg(zerodds_shuttle)]
use schedules::Byte;
#[cfg(zerodds_shuttle)]
use shuttle::sync::{Condvar, Mutex};
use std::collections::HashMap;

#[cfg(not(zerodds_shuttle))]
type Byte = Cell<u8>;
const WAY: Direction = Direction::FromConnector;

/// The words of one direction and of one doorbell, and the bytes of the lane.
struct Model {
    u32s: HashMap<usize, AtomicU32>,
    u64s: HashMap<usize, AtomicU64>,
    lane: Vec<Byte>,
    sleep: Mutex<()>,
    woken: Condvar,
}

const LANE_BYTES: usize = link::LANE_LEN;

impl Model {
    fn new() -> Self {
        let mut u32s: Vec<usize> = vec![bell::BELL, bell::SPACE];
        let mut u64s: Vec<usize> = vec![WAY.lane_head(), WAY.cursor(), WAY.end()];
        for slot in 0..link::SLOTS as u32 {
            let at = WAY.slot(slot);
            u64s.extend([at + slot::SEQUENCE, at + slot::MESSAGE]);
            u32s.extend([slot::OFFSET, slot::LENGTH, slot::HANDLE, slot::NEXT].map(|word| at + word));
        }
        u32s.extend((0..link::HANDLES as u32).map(|handle| WAY.released(handle)));
        for record in (0..LANE_BYTES).step_by(lane::ALIGN) {
            u32s.push(WAY.lane() + record + lane::READY);
            u64s.push(WAY.lane() + record + lane::MESSAGE);
        }
        Self {
            u32s: u32s.into_iter().map(|at| (at, AtomicU32::new(0))).collect(),
            u64s: u64s.into_iter().map(|at| (at, AtomicU64::new(0))).collect(),
            lane: (0..LANE_BYTES).map(|_| Byte::new(0)).collect(),
            sleep: Mutex::new(()),
            woken: Condvar::new(),
        }
    }

    fn wait_on(&self, word: usize, value: u32) {
        let guard = self.sleep.lock().expect("no panic");
        if self.u32(word).load(Ordering::SeqCst) == value {
            drop(self.woken.wait(guard).expect("no panic"));
        }
    }

    fn wake(&self) {
        let _guard = self.sleep.lock().expect("no panic");
        self.woken.notify_all();
    }

    /// As a sender does that remembers its last ring.
    fn ring(&self, rung: &mut u32) {
        if let Some((Bed::Futex, now)) = doorbell::ring(self, *rung) {
            self.wake();
            *rung = now;
        }
    }
}

/// Takes the next message as a receiver does.
fn take(
    incoming: &mut InLink,
    link: &Model,
    copy_out: impl Fn(usize, &mut [u8]) -> Result<(), Broken>,
    give_back: impl Fn(u32, u64),
) -> Result<Option<Taken>, Broken> {
    match incoming.take_due(link) {
        Some((bytes, frees)) => Ok(Some(Taken::Copied { bytes, frees })),
        None => incoming.take(link, copy_out, give_back),
    }
}

impl Region for Model {
    fn u32(&self, at: usize) -> &AtomicU32 {
        &self.u32s[&at]
    }

    fn u64(&self, at: usize) -> &AtomicU64 {
        &self.u64s[&at]
    }

    fn copy_in(&self, at: usize, from: &[u8]) {
        for (cell, &byte) in self.lane[at - WAY.lane()..].iter().zip(from) {
            cell.set(byte);
        }
    }

    fn copy_out(&self, at: usize, to: &mut [u8]) {
        for (cell, byte) in self.lane[at - WAY.lane()..].iter().zip(to) {
            *byte = cell.get();
        }
    }
}
