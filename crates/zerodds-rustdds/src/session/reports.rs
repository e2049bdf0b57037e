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

use super::Session;
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
    pub(super) unnoted: Mutex<Vec<DomainParticipantStatusEvent>>,
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

    /// As [`look`](Self::look); how many reports there were.
    pub(super) fn note(&self) -> usize {
        self.note_if(|_| true)
    }

    /// What was reported before there was this session. Readers that were found by then may be gone, and RustDDS's queue may have had no
    /// room for that. Those that are there it reports anew to each writer that comes. Nor may there have been room for the return of a
    /// participant that was lost.
    pub(super) fn note_the_past(&self) {
        let matters = |event: &DomainParticipantStatusEvent| {
            !matches!(event, DomainParticipantStatusEvent::ReaderDetected { .. })
        };
        let noted: usize =
            std::iter::repeat_with(|| self.note_if(matters)).take_while(|count| *count > 0).sum();
        if noted >= REPORTS_MAX {
            self.registry.lock().doubt_losses();
        }
    }

    fn note_if(&self, matters: impl Fn(&DomainParticipantStatusEvent) -> bool) -> usize {
        if !self.read() {
            return 0;
        }
        let mut unnoted = self.reports.unnoted.lock();
        let events = std::mem::take(&mut *unnoted);
        let count = events.len();
        // Another thread may have noted them.
        if count > 0 {
            let mut registry = self.registry.lock();
            let errands: Vec<_> =
                events.iter().filter(|event| matters(event)).flat_map(|event| registry.note(event)).collect();
            registry.replan();
            if self.watch.is_on() {
                self.watch.meet(registry.participants());
            }
            drop(registry);
            self.noted.lock().add(errands, events);
        }
        count
    }

    /// Reads what RustDDS's queue holds, which drops what it has no room for; whether anything is to be noted.
    fn read(&self) -> bool {
        let mut unnoted = self.reports.unnoted.lock();
        let listener = self.reports.listener();
        let next = || listener.as_ref()?.try_recv_status();
        unnoted.extend(std::iter::from_fn(next).take(EVENTS_MAX));
        let is_any = !unnoted.is_empty();
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
