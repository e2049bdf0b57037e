//! Tells who comes back after leave was taken of it that we have gone, so that both sides find each other anew.
//!
//! ```text
//!   it    announces itself ─┐         says this ─┐         and that ─┐           announces itself ──▶ heard
//!   we                      └▶ we have gone      └▶ nothing          └▶ we have gone
//!         0 s                                    < 250 ms            ≥ 250 ms, < 2.5 s                 3 s
//! ```
//! It is one datagram, which may be lost, and who has not heard it never says anything of its endpoints again. So it is repeated to
//! whoever goes on talking. One that has heard it may do so as well, but drops what we say for as long as we drop what it says,
//! and that began later; without this plug-in it forgets us once more. Rejected: to wait for a sign that it was heard, as there is
//! none. Where the one datagram is lost and the participant says nothing within that time, its endpoints do not come back until leave
//! is taken of it the next time.

use super::admit::{DUST, VENDOR};
use super::complaints::Complaint;
use super::{Fate, Inbound};
use crate::estate::{GRAVE, PARTICIPANTS_MAX};
use crate::reassembly::{Origin, Request};
use crate::rtps::{EntityId, Guid, GuidPrefix, MessageWriter, pid};
use std::collections::HashMap;
use std::time::{Duration, Instant};
use zerodds_core::{Endianness, Locator, Path};

/// Those that were told so lately.
#[derive(Debug, Default)]
pub(super) struct Returning(HashMap<GuidPrefix, Told>);

/// Where, and when for the first and the last time.
#[derive(Debug)]
struct Told {
    locators: Vec<Locator>,
    first: Instant,
    last: Instant,
}

impl Returning {
    fn told(&mut self, prefix: GuidPrefix, locators: Vec<Locator>, now: Instant) {
        self.0.retain(|_, told| told.is_lately(now));
        if self.0.len() < PARTICIPANTS_MAX {
            self.0.insert(prefix, Told { locators, first: now, last: now });
        }
    }

    /// It goes on talking: where it is to be told again, if that is due.
    fn again(&mut self, prefix: GuidPrefix, now: Instant) -> Option<Vec<Locator>> {
        let told = self.0.get_mut(&prefix).filter(|told| told.is_lately(now))?;
        (now.duration_since(told.last) >= INTERVAL).then(|| {
            told.last = now;
            told.locators.clone()
        })
    }

    /// It is no more.
    pub(super) fn forget(&mut self, prefix: GuidPrefix) {
        self.0.remove(&prefix);
    }
}

impl Told {
    fn is_lately(&self, now: Instant) -> bool {
        now.duration_since(self.first) < REPEATED
    }
}

impl Inbound {
    /// Tells a participant that has come back, and may not know that it was gone, that we have gone, and hears nothing of it for as long
    /// as it hears nothing of us. Another vendor's may not take that for a new beginning: RustDDS does not.
    pub(super) fn begin_afresh(&mut self, prefix: GuidPrefix, locators: Vec<Locator>, now: Instant) {
        let Some(own) = self.own else { return };
        self.answers.push(gone(own, prefix, locators.clone()));
        self.returning.told(prefix, locators, now);
        self.estates.bury(prefix, now);
    }

    /// Of a HEARTBEAT, or an ACKNACK, that has this count, something else may become than it would otherwise. Dust 0.16 hears one only
    /// whose count is above the last, by plain comparison: behind the largest there is none that it would hear, and the writer waits for
    /// its reader for good. Before that, both sides begin afresh: the counts of a Dust, ours too, begin with the match. So early that it is
    /// noticed here wherever our writer's HEARTBEATs run out first, since many got lost or were not answered.
    pub(super) fn counted(&mut self, origin: &Origin, count: i32, now: Instant) -> Option<Fate> {
        if count < COUNT_END {
            return None;
        }
        let prefix = origin.prefix;
        let locators = self.addresses.metatraffic(prefix);
        let is_ours = self.own == Some(prefix);
        if self.own.is_none() || (locators.is_empty() && !is_ours) || origin.header[VENDOR] != DUST {
            self.complain(Complaint::Counts);
            return None;
        }
        tracing::warn!(participant = ?prefix, "the counts of its messages come to their end; we find each other anew");
        self.take_leave_of(prefix);
        if is_ours {
            // What it has said to itself by now is from before.
            self.estates.bury(prefix, now);
        } else {
            self.begin_afresh(prefix, locators, now);
        }
        Some(Fate::Drop)
    }

    /// Whether a HEARTBEAT or ACKNACK came by UDP, where anybody could bring the counts of its participant to their end, or near it, though
    /// that has a link with us: it says so through that too.
    pub(super) fn is_doubtful(&self, origin: &Origin, count: i32) -> bool {
        let is_linked = || self.neighbourhood.linked().any(|one| one == origin.prefix);
        count >= COUNT_DOUBTFUL && origin.path == Some(Path::Udp) && is_linked()
    }

    /// Something comes from who is not heard: it may have missed what it was told.
    pub(super) fn begin_afresh_again(&mut self, prefix: GuidPrefix, now: Instant) {
        let Some(own) = self.own else { return };
        if let Some(locators) = self.returning.again(prefix, now) {
            self.answers.push(gone(own, prefix, locators));
        }
    }
}

/// Our own goodbye, to one participant alone.
fn gone(own: GuidPrefix, to: GuidPrefix, locators: Vec<Locator>) -> Request {
    let named = Guid { prefix: own, entity: EntityId::PARTICIPANT };
    let mut message = MessageWriter::new(&own.header(), Endianness::Little, 128);
    let ids = (EntityId::SPDP_WRITER, EntityId::SPDP_READER);
    message.info_dst(to).disposed(ids, 1, pid::PARTICIPANT_GUID, named);
    Request { message: message.into_bytes(), locators }
}

/// A count by which both sides begin afresh, three quarters of those that there are: 18 days of a thousand HEARTBEATs a second.
pub(super) const COUNT_END: i32 = i32::MAX / 4 * 3;
/// From here on a count of who has a link is heard by that alone. Whatever is counted on from one below takes days to the end.
const COUNT_DOUBTFUL: i32 = COUNT_END / 2;
/// Between two times that the same is told.
const INTERVAL: Duration = Duration::from_millis(250);
/// For how long it is repeated: what is sent last is there before we hear of the participant again.
const REPEATED: Duration = GRAVE.saturating_sub(Duration::from_millis(500));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbound::tests::{Gate, SENDER, message};
    use crate::outgoing::tests::{PEER, READER, WRITER};
    use crate::rtps::{AckNackFields, Heartbeat};

    /// A participant that listens somewhere.
    fn gate() -> Gate {
        let gate = Gate::new();
        let mut payload = MessageWriter::new(&[0; 20], Endianness::Little, 64);
        let at = Locator::new(1, 7, [7; 16]).to_bytes(Endianness::Little);
        payload.verbatim(&[0, 3, 0, 0]).parameter(pid::METATRAFFIC_UNICAST_LOCATOR, &at);
        gate.inbound.addresses.announced(SENDER, &payload.parameter(pid::SENTINEL, &[]).as_bytes()[20..]);
        gate
    }

    fn acknack(count: i32) -> Vec<u8> {
        let mut said = message();
        said.acknack(AckNackFields { reader: READER, writer: WRITER, base: 1, count });
        said.into_bytes()
    }

    fn heartbeat(count: i32) -> Vec<u8> {
        let (mut said, reader, writer) = (message(), READER, WRITER);
        said.heartbeat(Heartbeat { reader, writer, first: 1, last: 7, count });
        said.into_bytes()
    }

    #[test]
    fn who_has_almost_said_as_much_as_it_can_count_is_told_to_begin_afresh_and_left() {
        for said in [acknack, heartbeat] {
            let mut gate = gate();
            assert_eq!(gate.pass(&said(COUNT_END - 1)), [said(COUNT_END - 1)]);
            assert_eq!(gate.inbound.answers(), []);
            let seen = gate.pass(&said(COUNT_END));
            assert!(!seen.is_empty() && !seen.contains(&said(COUNT_END)), "Dust lets go of it");
            let told = gone(PEER, SENDER, vec![Locator::new(1, 7, [7; 16])]);
            assert_eq!((gate.inbound.answers(), gate.inbound.estates.has(SENDER)), (vec![told], false));
        }
    }

    #[test]
    fn nobody_brings_the_counts_of_who_has_a_link_to_their_end_by_a_datagram_in_its_name() {
        for said in [acknack, heartbeat] {
            let mut gate = gate();
            gate.inbound.linked(Locator::new(Locator::KIND_SHARED_MEMORY, 0, [1; 16]), SENDER);
            let by_link = |gate: &mut Gate, count| {
                let (mut out, path) = (Vec::new(), Some(Path::SharedMemory));
                gate.inbound.message(&said(count), path, Some(PEER), gate.now, &mut out);
                out
            };
            assert_eq!(by_link(&mut gate, 1), [said(1)]);
            for (forged, next) in [(COUNT_END, 2), (COUNT_END - 1, 3), (i32::MAX, 4)] {
                assert_eq!(gate.pass(&said(forged)), [[0; 0]; 0]);
                assert_eq!(by_link(&mut gate, next), [said(next)], "as if nothing had come");
            }
            assert_eq!((gate.inbound.answers(), gate.inbound.estates.has(SENDER)), (vec![], true));
            by_link(&mut gate, COUNT_END);
            assert_eq!((gate.inbound.answers().len(), gate.inbound.estates.has(SENDER)), (1, false));
        }
    }

    #[test]
    fn of_another_vendor_whose_counts_end_dust_hears_what_it_can() {
        let mut gate = gate();
        let mut said = acknack(i32::MAX);
        said[VENDOR].copy_from_slice(&[1, 0x12]);
        assert_eq!(gate.pass(&said), [said]);
        assert!(gate.inbound.complaints.contains(&Complaint::Counts));
        assert!(gate.inbound.estates.has(SENDER));
    }
}
