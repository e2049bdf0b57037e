//! What RustDDS reports of the participant, by the only queue that it has for that.
//!
//! ```text
//!   RustDDS ──▶ queue ── whoever writes, or the attendant ──▶ registry, plans ──▶ attendant: errands, events
//! ```
//! RustDDS's listener keeps the participant, and with it everything in the domain that others know of it. A session lives in each of
//! its endpoints, and these keep no participant in RustDDS: a thread that holds a reader while `main` returns must not be
//! why the participant's end is never said. So there is a listener only for as long as the queue is read, and what was read is thought
//! about without it. Even so a thread that writes at the very moment at which the last handle goes may be the one that ends the
//! participant, inside `write`.

use super::registry::Registry;
use super::{DOUBTED, Session};
use parking_lot::Mutex;
use rustdds::dds::CreateResult;
use rustdds::{
    DomainParticipant, DomainParticipantStatusEvent, DomainParticipantStatusListener, QosPolicies,
    StatusEvented, Subscriber,
};

/// The queue of a participant, which is not kept.
pub(super) struct Reports {
    /// What RustDDS has that knows its participant and does not keep it.
    through: Subscriber,
    /// What was read and is not in the registry yet. Whoever reads the queue locks it, and whoever must not be overtaken by who does.
    pub(super) unnoted: Mutex<Unnoted>,
}

#[derive(Default)]
pub(super) struct Unnoted {
    events: Vec<DomainParticipantStatusEvent>,
    /// The queue was full when it was read: there may have been more.
    was_full: bool,
}

impl Reports {
    pub(super) fn new(participant: &DomainParticipant) -> CreateResult<Self> {
        let through = participant.create_subscriber(&QosPolicies::qos_none())?;
        Ok(Self { through, unnoted: Mutex::default() })
    }

    /// `None`: the participant is gone. Whoever drops what this gives may have the last of the participant, and end it: nothing is
    /// to be locked then.
    pub(super) fn listener(&self) -> Option<DomainParticipantStatusListener> {
        Some(self.through.participant()?.status_listener())
    }
}

impl Unnoted {
    /// What one look at the queue has found.
    fn add(&mut self, read: impl Iterator<Item = DomainParticipantStatusEvent>) {
        let before = self.events.len();
        self.events.extend(read);
        self.was_full |= self.events.len() - before >= REPORTS_MAX;
    }
}

impl Session {
    /// Whatever RustDDS has reported up to now is in all plans when this returns.
    ///
    /// RustDDS reports a reader before it matches it. So whoever looks after it has handed a sample to RustDDS knows
    /// everybody who may get that sample.
    pub(crate) fn look(&self) {
        if self.note() > 0 {
            self.call();
        }
    }

    /// As [`look`](Self::look); how many reports there were. Where some are lost, all that is known of others may be wrong, for good:
    /// RustDDS has no other place where it says who is matched with whom.
    pub(super) fn note(&self) -> usize {
        self.note_if(|_| true, Registry::doubt)
    }

    /// What was reported before there was this session. Readers that were found by then may be gone, and RustDDS's queue may have had no
    /// room for that. Those that are there it reports anew to each writer that comes. Nor may there have been room for the return of a
    /// participant that was lost.
    pub(super) fn note_the_past(&self) {
        let matters = |event: &DomainParticipantStatusEvent| {
            !matches!(event, DomainParticipantStatusEvent::ReaderDetected { .. })
        };
        while self.note_if(matters, Registry::doubt_losses) > 0 {}
    }

    fn note_if(
        &self,
        matters: impl Fn(&DomainParticipantStatusEvent) -> bool,
        doubt: impl FnOnce(&mut Registry) -> bool,
    ) -> usize {
        if !self.read() {
            return 0;
        }
        let mut unnoted = self.reports.unnoted.lock();
        let Unnoted { events, was_full } = std::mem::take(&mut *unnoted);
        let count = events.len();
        let mut is_plain = false;
        // Another thread may have noted them.
        if count > 0 {
            let mut registry = self.registry.lock();
            let errands: Vec<_> =
                events.iter().filter(|event| matters(event)).flat_map(|event| registry.note(event)).collect();
            is_plain = was_full && doubt(&mut registry);
            registry.replan();
            if self.watch.is_on() {
                self.watch.meet(registry.participants());
            }
            drop(registry);
            self.noted.lock().add(errands, events);
        }
        drop(unnoted);
        if is_plain {
            tracing::warn!("{DOUBTED}; its samples go by UDP from here on");
        }
        count
    }

    /// Reads what RustDDS's queue holds, which drops what it has no room for; whether anything is to be noted.
    fn read(&self) -> bool {
        let mut unnoted = self.reports.unnoted.lock();
        let listener = self.reports.listener();
        let next = || listener.as_ref()?.try_recv_status();
        unnoted.add(std::iter::from_fn(next).take(EVENTS_MAX));
        let is_any = !unnoted.events.is_empty();
        drop(unnoted);
        // Perhaps with the participant: nothing is locked.
        drop(listener);
        is_any
    }
}

/// Reports that are read at once: as many as RustDDS's queue holds, twice.
pub(super) const EVENTS_MAX: usize = 4096;
/// For so many reports RustDDS's queue has room.
const REPORTS_MAX: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::domains;
    use crate::session::ZeroDds;
    use rustdds::GUID;
    use rustdds::dds::statusevents::LostReason;
    use zerodds_core::Reason;

    fn reports(count: usize) -> impl Iterator<Item = DomainParticipantStatusEvent> {
        let guid = GUID::from_bytes([9; 16]);
        let report = DomainParticipantStatusEvent::ReaderLost { guid, reason: LostReason::Disposed };
        std::iter::repeat_n(report, count)
    }

    #[test]
    fn a_session_shares_with_nobody_once_rustdds_may_have_had_no_room_for_a_report() {
        let participant = DomainParticipant::new(domains::domain()).expect("a participant");
        let zerodds = ZeroDds::attach(&participant, Config::default()).expect("a session");
        let session = &zerodds.0.session;
        let Ok(()) = zerodds.availability() else { return };
        for _ in 0..2 {
            session.reports.unnoted.lock().add(reports(REPORTS_MAX - 1));
            session.look();
            assert_eq!(zerodds.availability(), Ok(()), "it has read all that there were");
        }
        session.reports.unnoted.lock().add(reports(REPORTS_MAX));
        session.look();
        assert_eq!(zerodds.availability(), Err(Reason::Unavailable(DOUBTED.to_owned())));
    }
}
