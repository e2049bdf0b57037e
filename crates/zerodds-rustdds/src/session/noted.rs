//! What is left to the attendant of what RustDDS has reported: all that plans do not take into account.

use super::registry::Errand;
use rustdds::DomainParticipantStatusEvent;

/// What waits for the attendant; nothing, once it has gone.
#[derive(Debug, Default)]
pub(super) struct Noted {
    errands: Vec<Errand>,
    events: Vec<DomainParticipantStatusEvent>,
    is_over: bool,
}

impl Noted {
    pub(super) fn add(
        &mut self,
        errands: impl IntoIterator<Item = Errand>,
        events: impl IntoIterator<Item = DomainParticipantStatusEvent>,
    ) {
        if !self.is_over {
            self.errands.extend(errands);
            self.events.extend(events);
        }
    }

    pub(super) fn take(&mut self) -> (Vec<Errand>, Vec<DomainParticipantStatusEvent>) {
        (std::mem::take(&mut self.errands), std::mem::take(&mut self.events))
    }

    /// There is no attendant any more.
    pub(super) fn end(&mut self) {
        *self = Self { is_over: true, ..Self::default() };
    }
}
