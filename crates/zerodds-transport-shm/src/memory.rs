//! What memory the ring has, and how much more it may take.
//!
//! ```text
//!   0           present until            end of what is live
//!   ├─ in memory ────┼─ ─ ─ lent, sent, free ─ ─ ┼ ─ ─ nobody's ─ ─
//! ```
//! Pages come when they are touched, which may be long after the look at the limits, or never: whoever lends a length that is a
//! bound leaves most of it untouched. So what counts is not what was found affordable once but what is in memory, of which the kernel
//! says (holes.rs). What else there is up to the end of the last live record may be filled yet: for all of that the limits are looked at
//! before a record is lent beyond what is in memory, unless that was found affordable a moment ago, since to look is to read files.
//!
//! Rejected: books of what was written so far (a loan may be sent that was never filled).

use crate::arena::RecordId;
use crate::crash;
use crate::holes;
use crate::limits::{self, Exceeded};
use crate::outbound::Outbound;
use crate::segment;
use crate::shared::Shared;
use crate::sys;
use parking_lot::MutexGuard;
use std::ops::Range;
use std::time::{Duration, Instant};

/// The memory of one ring.
pub(crate) struct Memory {
    /// Ring bytes, from its start, that are in memory. There may be more.
    present_until: u64,
    /// A stretch of ring bytes beyond those that is in memory, too: where what is lent now lies. To go over it takes time (holes.rs).
    beyond: Range<u64>,
    /// Ring bytes, from its start, that were found to be affordable, and until when that is taken for granted.
    granted: Option<(u64, Instant)>,
    /// The most that ever were.
    reserved: u64,
    /// No more was, when it was last asked for.
    pub(crate) shortage: Option<Shortage>,
    /// A page that is not to be had is a SIGBUS (`vm.overcommit_memory=2`), by the last look.
    is_strict: bool,
    /// How the limits are looked at.
    look: fn(u64) -> Result<bool, Exceeded>,
}

/// A limit that stood in the way of more memory.
pub(crate) struct Shortage {
    /// Where what was live ended.
    pub(crate) end: u64,
    /// Bytes that were not in memory before that.
    pub(crate) needed: u64,
    pub(crate) limit: Exceeded,
    /// It is not asked for again before: to ask is to read files, and memory is short for others, too.
    pub(crate) until: Instant,
}

/// Why a record may not have its memory.
#[derive(Debug)]
pub(crate) struct NotAffordable {
    pub(crate) needed: u64,
    pub(crate) limit: Exceeded,
    /// The lock was given up meanwhile.
    pub(crate) was_seen: bool,
}

impl Default for Memory {
    fn default() -> Self {
        let look = limits::check;
        Self {
            present_until: 0,
            beyond: 0..0,
            granted: None,
            reserved: 0,
            shortage: None,
            is_strict: false,
            look,
        }
    }
}

impl Memory {
    #[inline]
    pub(crate) const fn present_until(&self) -> u64 {
        self.present_until
    }

    pub(crate) const fn reserved(&self) -> u64 {
        self.reserved
    }

    /// Beyond this memory was short when it was last asked for.
    pub(crate) const fn affordable(&self) -> u64 {
        if self.shortage.is_some() { self.present_until } else { u64::MAX }
    }

    fn is_granted(&self, end: u64, now: Instant) -> bool {
        self.granted.is_some_and(|(granted, until)| end <= granted && now < until)
    }

    /// What stood in the way of so much, or less, lately.
    fn refusal(&self, end: u64, now: Instant) -> Option<NotAffordable> {
        let standing = self.shortage.as_ref().filter(|shortage| now < shortage.until);
        standing.filter(|shortage| end >= shortage.end).map(|shortage| NotAffordable {
            needed: shortage.needed,
            limit: shortage.limit.clone(),
            was_seen: false,
        })
    }

    fn note(
        &mut self,
        (end, needed): (u64, u64),
        looked: Result<bool, Exceeded>,
        now: Instant,
    ) -> Result<(), NotAffordable> {
        let until = now + FOR_GRANTED;
        match looked {
            Ok(is_strict) => {
                self.is_strict = is_strict;
                // More may have been found affordable meanwhile.
                if !self.is_granted(end, now) {
                    self.granted = Some((end, until));
                }
                self.reserved = self.reserved.max(end);
                self.shortage.take_if(|shortage| shortage.until <= now);
                Ok(())
            }
            Err(limit) => {
                self.granted = None;
                self.shortage = Some(Shortage { end, needed, limit: limit.clone(), until });
                Err(NotAffordable { needed, limit, was_seen: true })
            }
        }
    }
}

impl Shared {
    /// Whether the ring may have the memory of this record. The lock is given up while files are read.
    pub(crate) fn reserve(
        &self,
        outbound: &mut MutexGuard<'_, Outbound>,
        id: RecordId,
    ) -> Result<(), NotAffordable> {
        let record = outbound.arena.record(id);
        let (start, end, now) = (record.start, record.end(), Instant::now());
        let memory = &mut outbound.memory;
        let is_granted = memory.is_granted(end, now);
        if (is_granted && !memory.is_strict) || self.is_present(memory, start, end) {
            return Ok(());
        }
        if !is_granted {
            self.look(outbound, now)?;
        }
        if outbound.memory.is_strict {
            let at = start as usize & !(sys::page_size() - 1);
            let len = end as usize - at;
            let populate = || segment::populate(&self.ring, Some(&self.ring_fd), at, len);
            MutexGuard::unlocked(outbound, populate).map_err(|_| NotAffordable {
                needed: len as u64,
                limit: limits::unpromised(0),
                was_seen: true,
            })?;
        }
        Ok(())
    }

    /// Looks at the limits for all that is live, without the lock. Whatever comes to be live meanwhile is looked at with what is now.
    fn look(&self, outbound: &mut MutexGuard<'_, Outbound>, now: Instant) -> Result<(), NotAffordable> {
        let end = outbound.arena.live_end().next_multiple_of(RESERVE_STEP).min(self.ring.len() as u64);
        if let Some(refusal) = outbound.memory.refusal(end, now) {
            return Err(refusal);
        }
        crash::step("grow");
        let (present_until, look) = (outbound.memory.present_until, outbound.memory.look);
        let (needed, looked) = MutexGuard::unlocked(outbound, || {
            let needed = holes::missing(&self.ring_fd, present_until, end);
            (needed, look(needed))
        });
        outbound.memory.note((end, needed), looked, Instant::now())?;
        crash::step("grown");
        Ok(())
    }

    /// Whether these bytes of the ring are in memory. What once was there stays, or comes back from swap.
    fn is_present(&self, memory: &mut Memory, start: u64, end: u64) -> bool {
        let next_hole = |at| holes::next_hole(&self.ring_fd, at);
        memory.present_until = next_hole(memory.present_until);
        if end <= memory.present_until {
            return true;
        }
        // There begins a hole.
        if start <= memory.present_until {
            return false;
        }
        let beyond = &mut memory.beyond;
        if !beyond.contains(&start) {
            *beyond = start..next_hole(start);
        } else if end > beyond.end {
            beyond.end = next_hole(beyond.end);
        }
        end <= beyond.end
    }
}

/// How long what was found of the limits is taken for granted.
const FOR_GRANTED: Duration = Duration::from_millis(100);
/// Memory is asked for in steps of this, since asking means reading files.
const RESERVE_STEP: u64 = 2 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doorbell::Space;
    use crate::testing::{far, fresh_domain, until};
    use crate::{Config, ShmTransport};
    use std::sync::atomic::{AtomicU32, Ordering};
    use zerodds_core::{LoanError, Transport};

    const LARGEST: usize = 24 << 20;

    fn open() -> ShmTransport {
        let config = Config::default().max_datagram(LARGEST).expect("in range");
        ShmTransport::open(fresh_domain(), &config)
    }

    /// Until the limits are looked at again, which are these now.
    fn set_look(transport: &ShmTransport, look: fn(u64) -> Result<bool, Exceeded>) {
        let memory = &mut transport.books().expect("ours").outbound.lock().memory;
        (memory.granted, memory.shortage, memory.look) = (None, None, look);
    }

    #[test]
    fn what_is_lent_and_not_filled_counts_until_it_is_given_back() {
        let transport = open();
        let a_few_mib =
            |needed: u64| if needed < 8 << 20 { Ok(false) } else { Err(limits::unpromised(8 << 20)) };
        set_look(&transport, |_| Ok(false));
        let lent = transport.loan(LARGEST).expect("affordable");
        set_look(&transport, a_few_mib);
        let refused = transport.loan(100_000).expect_err("what is lent takes more");
        assert!(matches!(refused, LoanError::NoMemory { .. }), "{refused}");
        drop(lent);
        transport.loan(100_000).expect("there is memory for that");
        let refused = transport.loan(LARGEST).expect_err("that is more");
        assert!(matches!(refused, LoanError::NoMemory { .. }), "{refused}");
    }

    #[test]
    fn what_was_found_in_memory_beyond_a_hole_is_not_gone_over_again() {
        const PART: u64 = 4 << 20;
        let transport = open();
        let shared = transport.books().expect("ours");
        let mut outbound = shared.outbound.lock();
        let memory = &mut outbound.memory;
        let touch = |part: u64| {
            shared.ring.populate((part * PART) as usize, PART as usize).expect("memory");
        };
        let mut is_present = |from: u64, until: u64| {
            let is_present = shared.is_present(memory, from, until);
            (is_present, memory.beyond.clone())
        };
        touch(2);
        assert_eq!(is_present(2 * PART, 2 * PART + 5), (true, 2 * PART..3 * PART));
        let within = is_present(2 * PART + 5, 3 * PART);
        assert_eq!(within, (true, 2 * PART..3 * PART), "otherwise it would begin there");
        assert_eq!(is_present(3 * PART - 5, 3 * PART + 5), (false, 2 * PART..3 * PART));
        touch(3);
        assert_eq!(is_present(3 * PART - 5, 3 * PART + 5), (true, 2 * PART..4 * PART), "it has grown");
        touch(5);
        assert_eq!(is_present(5 * PART, 6 * PART + 1), (false, 5 * PART..6 * PART), "another one");
        assert_eq!(is_present(2 * PART, 3 * PART), (true, 2 * PART..4 * PART));
        // What is in memory from the start on may come to meet it.
        assert!(!is_present(PART, 2 * PART).0);
        touch(0);
        touch(1);
        assert!(is_present(PART, 4 * PART).0 && memory.present_until == 4 * PART);
    }

    #[test]
    fn whoever_waits_for_room_has_that_of_a_record_for_which_there_was_no_memory() {
        static ATTEMPTS: AtomicU32 = AtomicU32::new(0);
        let transport = open();
        set_look(&transport, |_| {
            // It met the record after it had armed: it sleeps, or is about to.
            until("somebody waits", || ATTEMPTS.load(Ordering::SeqCst) >= 2);
            Err(limits::unpromised(0))
        });
        let looks = transport.clone();
        let refused = std::thread::spawn(move || looks.loan(100_000).map(drop));
        let shared = transport.books().expect("ours");
        let in_use = || shared.outbound.lock().arena.in_use().0;
        until("a record is there", || in_use() > 0);
        let far = far();
        let found = shared.wait_for_space(Space::Any, far, || {
            let found = (in_use() == 0).then_some(());
            ATTEMPTS.fetch_add(1, Ordering::SeqCst);
            found
        });
        assert!(found.is_some() && Instant::now() < far, "it slept beside free room");
        let refused = refused.join().expect("no panic").expect_err("no memory");
        assert!(matches!(refused, LoanError::NoMemory { .. }), "{refused}");
    }

    #[test]
    fn nothing_is_taken_back_for_a_record_without_memory_once_the_transport_is_closed() {
        static IS_CLOSED: AtomicU32 = AtomicU32::new(0);
        let transport = open();
        set_look(&transport, |_| {
            until("it is closed", || IS_CLOSED.load(Ordering::SeqCst) > 0);
            Err(limits::unpromised(0))
        });
        let looks = transport.clone();
        let refused = std::thread::spawn(move || looks.loan(100_000).map(drop));
        let shared = transport.books().expect("ours");
        until("a record is there", || shared.outbound.lock().arena.in_use().0 > 0);
        transport.close();
        IS_CLOSED.store(1, Ordering::SeqCst);
        let refused = refused.join().expect("no panic").expect_err("closed");
        assert!(matches!(refused, LoanError::Closed), "{refused}");
    }
}
