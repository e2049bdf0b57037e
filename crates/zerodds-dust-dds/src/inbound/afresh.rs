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

use super::Inbound;
use crate::discovery;
use crate::estate::{GRAVE, PARTICIPANTS_MAX};
use crate::reassembly::Request;
use crate::rtps::{Data, EntityId, Guid, GuidPrefix, MessageWriter, pid};
use std::collections::HashMap;
use std::time::{Duration, Instant};
use zerodds_core::{Endianness, Locator};

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
    pub(super) fn begin_afresh(&mut self, prefix: GuidPrefix, data: &Data<'_>, now: Instant) {
        let Some(own) = self.own else { return };
        let locators = discovery::discovery_locators(data.payload);
        self.answers.push(gone(own, prefix, locators.clone()));
        self.returning.told(prefix, locators, now);
        self.estates.bury(prefix, now);
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

/// Between two times that the same is told.
const INTERVAL: Duration = Duration::from_millis(250);
/// For how long it is repeated: what is sent last is there before we hear of the participant again.
const REPEATED: Duration = GRAVE.saturating_sub(Duration::from_millis(500));
