//! The participant's status events, for everybody who wants them.
//!
//! RustDDS has one queue of them for each participant, and the session reads it. So it hands them on, after
//! it has acted on them itself: a writer that was told of a match uses shared memory for it, if there is any.

use flume::{Receiver, Sender, TrySendError};
use futures::Stream;
use parking_lot::Mutex;
use rustdds::DomainParticipantStatusEvent;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A subscription to a participant's status events.
///
/// It holds up to [`Events::CAPACITY`] events that were not looked at; later ones are dropped and
/// [`missed`](Self::missed) counts them.
#[derive(Debug)]
pub struct Events {
    receiver: Receiver<DomainParticipantStatusEvent>,
    missed: Arc<AtomicU64>,
}

impl Events {
    /// Events that wait for a subscriber: several times what RustDDS's own queue holds.
    pub const CAPACITY: usize = 16_384;

    /// The next event within this time; `None` if there is none, or the session has ended.
    #[must_use]
    pub fn next_within(&self, timeout: Duration) -> Option<DomainParticipantStatusEvent> {
        self.receiver.recv_timeout(timeout).ok()
    }

    /// An event that is there already.
    #[must_use]
    pub fn try_next(&self) -> Option<DomainParticipantStatusEvent> {
        self.receiver.try_recv().ok()
    }

    /// All events, for any async runtime; ends with the session.
    pub fn stream(&self) -> impl Stream<Item = DomainParticipantStatusEvent> + '_ {
        self.receiver.stream()
    }

    /// Events that came while [`Self::CAPACITY`] of them were waiting.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }
}

/// All subscriptions.
#[derive(Debug, Default)]
pub(crate) struct Broadcast(Mutex<Vec<Subscriber>>);

#[derive(Debug)]
struct Subscriber {
    sender: Sender<DomainParticipantStatusEvent>,
    missed: Arc<AtomicU64>,
}

impl Broadcast {
    pub(crate) fn subscribe(&self) -> Events {
        let (sender, receiver) = flume::bounded(Events::CAPACITY);
        let missed = Arc::default();
        self.0.lock().push(Subscriber { sender, missed: Arc::clone(&missed) });
        Events { receiver, missed }
    }

    /// Whoever is woken by that may do anything, also subscribe: nothing is locked meanwhile. One thread tells.
    pub(crate) fn tell(&self, event: &DomainParticipantStatusEvent) {
        let mut told = std::mem::take(&mut *self.0.lock());
        told.retain(|subscriber| match subscriber.sender.try_send(event.clone()) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                subscriber.missed.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(TrySendError::Disconnected(_)) => false,
        });
        self.0.lock().append(&mut told);
    }

    /// No more will come.
    pub(crate) fn end(&self) {
        // Whoever waits is woken, as above.
        let told = std::mem::take(&mut *self.0.lock());
        drop(told);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;
    use rustdds::GUID;
    use rustdds::dds::statusevents::LostReason;
    use std::task::{Context, Wake, Waker};

    /// Whoever is woken subscribes at once.
    struct Subscribes(Arc<Broadcast>);

    impl Wake for Subscribes {
        fn wake(self: Arc<Self>) {
            drop(self.0.subscribe());
        }
    }

    #[test]
    fn whoever_is_told_may_subscribe_in_its_waker() {
        let broadcast = Arc::new(Broadcast::default());
        let events = broadcast.subscribe();
        let mut stream = std::pin::pin!(events.stream());
        let waker = Waker::from(Arc::new(Subscribes(Arc::clone(&broadcast))));
        let mut context = Context::from_waker(&waker);
        assert!(stream.poll_next_unpin(&mut context).is_pending());
        let guid = GUID::from_bytes([1; 16]);
        let event = DomainParticipantStatusEvent::ReaderLost { guid, reason: LostReason::Disposed };
        broadcast.tell(&event);
        assert!(stream.poll_next_unpin(&mut context).is_ready());
        assert!(stream.poll_next_unpin(&mut context).is_pending());
        broadcast.end();
        assert!(stream.poll_next_unpin(&mut context).is_ready());
    }
}
