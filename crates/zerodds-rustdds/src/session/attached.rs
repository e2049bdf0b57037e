//! Which participants have a session: each has one at most, as the session's name follows from the participant's. And why there is none.

use super::Owner;
use crate::protocol::Prefix;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::sync::{Arc, Weak};
use thiserror::Error;

/// Why there is no session.
///
/// ```
/// use zerodds_rustdds::{AttachError, Config, ZeroDds};
///
/// # let domain = 1 + (std::process::id() % 100) as u16;
/// let participant = rustdds::DomainParticipant::new(domain)?;
/// let zerodds = ZeroDds::attach(&participant, Config::default())?;
/// let again = ZeroDds::attach(&participant, Config::default());
/// assert!(matches!(again, Err(AttachError::Attached)));
/// // A clone is the same session.
/// let handle = zerodds.clone();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AttachError {
    /// The participant has a session already; clone that one, which [`ZeroDds::of`](crate::ZeroDds::of) finds. A session ends with its last handle and endpoint: up to 100 ms
    /// later where an `async_write` or `async_loan` that waited was dropped, and a moment later where a waker of its own events
    /// dropped them.
    #[error("this participant has a session already: use a clone of it, or ZeroDds::of")]
    Attached,
    /// The participant's `status_listener()` is registered with a poll of the program's. A session reads RustDDS's only queue of
    /// status events; [`ZeroDds::events`](crate::ZeroDds::events) gives them.
    ///
    /// That is known by what mio 1 keeps at the listener, and only in a build with debug assertions: others do not notice, nor does any build
    /// what is registered with mio 0.6 or 0.8. It is kept until the listener is deregistered: a poll that was dropped before that is in the
    /// way for good. And after this refusal it is another poll, so that the program's `reregister` and `deregister` of the listener
    /// fail; its poll goes on telling of events.
    #[error(
        "the participant's status_listener() is registered with a mio::Poll already, and a session has to read it alone: \
         make the session first and register ZeroDds::events() instead, or deregister it before the poll is dropped"
    )]
    Listened,
    /// The thread that attends to the session, or the descriptors that it waits with, cannot be had. The participant makes
    /// endpoints of RustDDS's own as before.
    #[error(
        "the session cannot be started, for want of a thread or of descriptors (ulimit -n): {0}; \
         the participant works as before, over UDP"
    )]
    Thread(#[from] io::Error),
    /// The file that `ZERODDS_CAPTURE` names.
    #[error(transparent)]
    Capture(#[from] zerodds_capture::OpenError),
}

/// A participant's only session. When the attendant and the last user have dropped it, there can be another.
#[derive(Debug)]
pub(super) struct Attached(Prefix);

impl Attached {
    /// `None`: the participant has one.
    pub(super) fn new(participant: Prefix) -> Option<Self> {
        match ATTACHED.lock().entry(participant) {
            Entry::Vacant(place) => {
                place.insert(Weak::new());
                Some(Self(participant))
            }
            Entry::Occupied(_) => None,
        }
    }

    /// From here on it is found.
    pub(super) fn show(&self, owner: &Arc<Owner>) {
        ATTACHED.lock().insert(self.0, Arc::downgrade(owner));
    }

    /// The session of this participant, if anybody uses it.
    pub(super) fn owner(participant: Prefix) -> Option<Arc<Owner>> {
        ATTACHED.lock().get(&participant)?.upgrade()
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        ATTACHED.lock().remove(&self.0);
    }
}

static ATTACHED: Mutex<BTreeMap<Prefix, Weak<Owner>>> = Mutex::new(BTreeMap::new());

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::domains;
    use crate::session::ZeroDds;
    use rustdds::DomainParticipant;

    #[test]
    fn a_participant_shows_its_session_for_as_long_as_anybody_uses_that() {
        let participant = DomainParticipant::new(domains::domain()).expect("a participant");
        assert!(ZeroDds::of(&participant).is_none());
        let zerodds = ZeroDds::attach(&participant, Config::default()).expect("a session");
        let same = ZeroDds::of(&participant).expect("the same");
        assert!(Arc::ptr_eq(&zerodds.0, &same.0));
        drop(zerodds);
        assert!(ZeroDds::of(&participant).is_some());
        drop(same);
        assert!(ZeroDds::of(&participant).is_none());
        ZeroDds::attach(&participant, Config::default()).expect("another session");
    }

    #[cfg(debug_assertions)]
    #[test]
    fn a_listener_that_is_registered_already_is_said_to_be_in_the_way_and_keeps_its_reports() {
        use rustdds::{DomainParticipantStatusEvent as Report, QosPolicies, StatusEvented, TopicKind};
        let participant = DomainParticipant::new(domains::domain()).expect("a participant");
        let poll = mio::Poll::new().expect("a poll");
        let mut listener = participant.status_listener();
        let source = listener.as_status_source_mio1();
        poll.registry().register(source, mio::Token(0), mio::Interest::READABLE).expect("registered");
        let none = QosPolicies::qos_none();
        let topic = participant.create_topic("said".into(), "Bytes".into(), &none, TopicKind::NoKey);
        let subscriber = participant.create_subscriber(&none).expect("a subscriber");
        // RustDDS has reported its topic when it is made.
        let _reader = subscriber.create_datareader_no_key_cdr::<u8>(&topic.expect("a topic"), None);
        let refused = ZeroDds::attach(&participant, Config::default());
        assert!(matches!(refused, Err(AttachError::Listened)));
        let mut reports = std::iter::from_fn(|| listener.try_recv_status());
        assert!(
            reports.any(|report| matches!(report, Report::TopicDetected { name, .. } if name == "said")),
            "they are the program's"
        );
    }
}
