//! What memory the ring has, and how much more it may take.
//!
//! ```text
//!   0           present until            reserved until
//!   ├─ in memory ────┼─ ─ ─ lent or not yet ─ ─ ┼ ─ ─ not asked for ─ ─
//! ```
//! Pages come when they are touched, which may be long after the look at the limits, or never: whoever lends a length that is a
//! bound leaves most of it untouched. So what counts is not what was found affordable but what is in memory, of which the kernel
//! says. For all else that a record may touch the limits are looked at again, at most every so often, since that is to read files.
//!
//! Rejected: books of what was written so far (a loan may be sent that was never filled).

use crate::arena::RecordId;
use crate::crash;
use crate::layout::PAGE;
use crate::limits::{self, Exceeded};
use crate::outbound::Outbound;
use crate::segment;
use crate::shared::Shared;
use parking_lot::MutexGuard;
use std::time::{Duration, Instant};

/// The memory of one ring.
#[derive(Default)]
pub(crate) struct Memory {
    /// Ring bytes, from its start, that are in memory. There may be more.
    present_until: u64,
    /// Ring bytes, from its start, that were found to be affordable.
    reserved_until: u64,
    /// Until when that is taken for granted.
    granted_until: Option<Instant>,
    /// No more was, when it was last asked for.
    pub(crate) shortage: Option<Shortage>,
    /// A page that is not to be had is a SIGBUS (`vm.overcommit_memory=2`), by the last look.
    is_strict: bool,
}

/// A limit that stood in the way of more memory.
pub(crate) struct Shortage {
    /// Of so many bytes.
    pub(crate) needed: u64,
    pub(crate) limit: Exceeded,
    /// It is not asked for again before: to ask is to read files, and memory is short for others, too.
    pub(crate) until: Instant,
}

impl Memory {
    #[inline]
    pub(crate) const fn present_until(&self) -> u64 {
        self.present_until
    }

    pub(crate) const fn reserved_until(&self) -> u64 {
        self.reserved_until
    }

    /// Beyond this memory was short when it was last asked for.
    pub(crate) const fn affordable(&self) -> u64 {
        if self.shortage.is_some() { self.present_until } else { u64::MAX }
    }

    /// What stood in the way of so many bytes, or fewer, lately.
    fn refusal(&self, needed: u64, now: Instant) -> Option<Exceeded> {
        let standing = self.shortage.as_ref().filter(|shortage| now < shortage.until);
        standing.filter(|shortage| needed >= shortage.needed).map(|shortage| shortage.limit.clone())
    }

    fn note(&mut self, needed: u64, looked: &Result<(), Exceeded>, now: Instant) {
        let until = now + FOR_GRANTED;
        match looked {
            Ok(()) => {
                self.granted_until = Some(until);
                self.shortage.take_if(|shortage| shortage.until <= now);
            }
            Err(limit) => {
                self.granted_until = None;
                self.shortage = Some(Shortage { needed, limit: limit.clone(), until });
            }
        }
    }
}

impl Shared {
    /// Whether the ring may have the memory of this record: otherwise how many bytes it would take, and what stands in the way. The
    /// lock is given up while files are read.
    #[cold]
    pub(crate) fn reserve(
        &self,
        outbound: &mut MutexGuard<'_, Outbound>,
        id: RecordId,
    ) -> Result<(), (u64, Exceeded)> {
        let record = outbound.arena.record(id);
        let (start, end) = (record.start, record.end());
        if self.is_present(&mut outbound.memory, start, end) {
            return Ok(());
        }
        let mut affordable = 0;
        loop {
            let (memory, now) = (&mut outbound.memory, Instant::now());
            // Others may have reserved more, while this was looked for.
            let until =
                end.next_multiple_of(RESERVE_STEP).min(self.ring.len() as u64).max(memory.reserved_until);
            if until == memory.reserved_until && memory.granted_until.is_some_and(|granted| now < granted) {
                break;
            }
            // With all that was reserved before and not touched.
            let needed = until.saturating_sub(self.present());
            if needed <= affordable {
                memory.reserved_until = until;
                crash::step("grown");
                break;
            }
            if let Some(limit) = memory.refusal(needed, now) {
                return Err((needed, limit));
            }
            crash::step("grow");
            let (looked, is_strict) =
                MutexGuard::unlocked(outbound, || (limits::check(needed), limits::is_strict()));
            outbound.memory.is_strict = is_strict;
            outbound.memory.note(needed, &looked, Instant::now());
            looked.map_err(|limit| (needed, limit))?;
            affordable = needed;
        }
        if outbound.memory.is_strict {
            let at = start as usize & !(PAGE - 1);
            let len = end as usize - at;
            MutexGuard::unlocked(outbound, || segment::populate(&self.ring, at, len))
                .map_err(|_| (len as u64, limits::unpromised(0)))?;
        }
        Ok(())
    }

    /// Whether these bytes of the ring are in memory. What once was there stays, or comes back from swap.
    fn is_present(&self, memory: &mut Memory, start: u64, end: u64) -> bool {
        let missing = |from: u64| self.ring.missing(from as usize, end as usize) as u64;
        memory.present_until = missing(memory.present_until.min(end)).max(memory.present_until);
        end <= memory.present_until || (start > memory.present_until && missing(start) == end)
    }

    /// How many bytes of the ring are in memory, wherever they lie.
    fn present(&self) -> u64 {
        rustix::fs::fstat(&self.ring_fd).map_or(0, |stat| 512 * stat.st_blocks as u64)
    }
}

/// How long what was found of the limits is taken for granted.
const FOR_GRANTED: Duration = Duration::from_millis(100);
/// Memory is asked for in steps of this, since asking means reading files.
const RESERVE_STEP: u64 = 2 << 20;
