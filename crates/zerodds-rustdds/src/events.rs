//! The participant's status events, for everybody who wants them.
//!
//! RustDDS has one queue of them for each participant, and the session reads it. So it hands them on, after
//! it has acted on them itself: a writer that was told of a match uses shared memory for it, if there is any.

use crate::delegate::{evented, source};
use crate::signal::Signal;
use flume::r#async::RecvStream;
use flume::{Receiver, Sender, TrySendError};
use futures::Stream;
use futures::stream::FusedStream;
use parking_lot::Mutex;
use rustdds::{DomainParticipant, DomainParticipantStatusEvent, StatusEvented};
use std::io;
use std::os::fd::RawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

/// A subscription to a participant's status events.
///
/// The first one of a session begins with what came before it, the first 2,048 events since the participant was made; any other
/// with what comes next. It holds up to [`Events::CAPACITY`] events that were not looked at; later ones are dropped and
/// [`missed`](Self::missed) counts them.
///
/// As RustDDS's `DomainParticipantStatusListener` it is a source for mio 1.2, evented for mio 0.6, a source for mio 0.8 with
/// the feature `mio_08`, and [`StatusEvented`]. It is readable while events wait, however they are taken; and whoever is told of edges and
/// takes one event is told again if there is another. And it keeps the participant.
///
/// ```
/// use rustdds::mio1::{self, Interest, Poll, Token};
/// use zerodds_rustdds::{Config, ZeroDds};
///
/// # let domain = 1 + (std::process::id() % 100) as u16;
/// let participant = rustdds::DomainParticipant::new(domain)?;
/// let zerodds = ZeroDds::attach(&participant, Config::from_env()?)?;
/// let mut events = zerodds.events();
/// let mut poll = Poll::new()?;
/// poll.registry().register(&mut events, Token(0), Interest::READABLE)?;
/// poll.poll(&mut mio1::Events::with_capacity(8), Some(std::time::Duration::from_millis(10)))?;
/// while let Some(event) = events.try_next() {
///     println!("{event:?}");
/// }
/// if events.missed() > 0 {
///     println!("{} came while {} were waiting", events.missed(), zerodds_rustdds::Events::CAPACITY);
/// }
/// println!("then: {:?}", events.next_within(std::time::Duration::from_millis(10)));
/// // Or, async, all until the session ends.
/// let stream = events.stream();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Events {
    receiver: Receiver<DomainParticipantStatusEvent>,
    shared: Arc<Shared>,
    /// Last: whoever drops it may end the participant. The session holds no subscription.
    _participant: DomainParticipant,
}

/// What a subscription and its broadcast share.
#[derive(Debug, Default)]
struct Shared {
    missed: AtomicU64,
    signal: Signal,
}

impl Events {
    /// Events that wait for a subscriber: several times what RustDDS's own queue holds.
    pub const CAPACITY: usize = 16_384;

    /// Events that are kept for the first subscriber of a session: as many as RustDDS's own queue holds.
    const BACKLOG: usize = 2_048;

    /// The next event within this time; `None` if there is none, or the session has ended.
    ///
    /// ```
    /// use rustdds::{DomainParticipant, DomainParticipantStatusEvent, RTPSEntity};
    /// use std::time::Duration;
    /// use zerodds_rustdds::{Config, ZeroDds};
    ///
    /// # let domain = 1 + (std::process::id() % 100) as u16;
    /// let participant = DomainParticipant::new(domain)?;
    /// let zerodds = ZeroDds::attach(&participant, Config::default())?;
    /// let events = zerodds.events();
    /// let other = DomainParticipant::new(domain)?;
    /// let mut is_there = false;
    /// while !is_there {
    ///     let event = events.next_within(Duration::from_secs(10)).ok_or("nothing happened")?;
    ///     println!("{event:?}");
    ///     let DomainParticipantStatusEvent::ParticipantDiscovered { dpd } = event else { continue };
    ///     is_there = dpd.guid == other.guid();
    /// }
    /// assert_eq!(events.missed(), 0, "whoever reads them misses none");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn next_within(&self, timeout: Duration) -> Option<DomainParticipantStatusEvent> {
        self.taking(|receiver| receiver.recv_timeout(timeout).ok())
    }

    /// An event that is there already.
    #[must_use]
    pub fn try_next(&self) -> Option<DomainParticipantStatusEvent> {
        self.taking(|receiver| receiver.try_recv().ok())
    }

    /// All events, for any async runtime; ends with the session: see [`EventStream`].
    pub fn stream(&self) -> EventStream<'_> {
        EventStream { inner: self.receiver.stream(), events: self }
    }

    /// Events that came while [`Self::CAPACITY`] of them were waiting: what is known of others is out of date if there
    /// are any.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.shared.missed.load(Ordering::Relaxed)
    }

    /// What is polled. Events that came before there was anything to poll are said now.
    fn polled(&self) -> io::Result<RawFd> {
        let descriptor = self.shared.signal.open()?;
        self.say_what_waits();
        Ok(descriptor)
    }

    /// Takes something, after which what is polled is readable if something still waits, and says so anew: for whoever is told
    /// of edges, and takes one event at a time.
    fn taking<T>(&self, take: impl FnOnce(&Receiver<DomainParticipantStatusEvent>) -> T) -> T {
        // First: what comes from here on is said after it has come.
        self.shared.signal.lower();
        let taken = take(&self.receiver);
        self.say_what_waits();
        taken
    }

    fn say_what_waits(&self) {
        if !self.receiver.is_empty() {
            self.shared.signal.raise();
        }
    }
}

/// All status events, as they come; ends with the session.
///
/// ```
/// use futures::StreamExt;
/// use futures::executor::block_on;
/// use rustdds::DomainParticipant;
/// use zerodds_rustdds::{Config, ZeroDds};
///
/// # let domain = 1 + (std::process::id() % 100) as u16;
/// # // A bound against hanging, nothing else.
/// # std::thread::spawn(|| {
/// #     std::thread::sleep(std::time::Duration::from_secs(60));
/// #     std::process::exit(1)
/// # });
/// let participant = DomainParticipant::new(domain)?;
/// let zerodds = ZeroDds::attach(&participant, Config::default())?;
/// let events = zerodds.events();
/// let mut stream = events.stream();
/// let other = DomainParticipant::new(domain)?;
/// let first = block_on(stream.next()).ok_or("no session")?;
/// println!("{first:?}");
/// // Nobody else holds the session: that ends it.
/// drop(zerodds);
/// let rest = block_on(stream.count());
/// println!("and {rest} more");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct EventStream<'a> {
    inner: RecvStream<'a, DomainParticipantStatusEvent>,
    events: &'a Events,
}

impl Stream for EventStream<'_> {
    type Item = DomainParticipantStatusEvent;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { inner, events } = &mut *self;
        events.taking(|_| Pin::new(inner).poll_next(context))
    }
}

impl FusedStream for EventStream<'_> {
    fn is_terminated(&self) -> bool {
        self.inner.is_terminated()
    }
}

impl<'a> StatusEvented<'a, DomainParticipantStatusEvent, EventStream<'a>> for Events {
    fn as_status_evented(&mut self) -> &dyn rustdds::mio::Evented {
        self
    }

    #[cfg(feature = "mio_08")]
    fn as_status_source(&mut self) -> &mut dyn mio_08::event::Source {
        self
    }

    fn as_status_source_mio1(&mut self) -> &mut dyn rustdds::mio1::event::Source {
        self
    }

    fn as_async_status_stream(&'a self) -> EventStream<'a> {
        self.stream()
    }

    fn try_recv_status(&self) -> Option<DomainParticipantStatusEvent> {
        self.try_next()
    }
}

source!(rustdds::mio1, [] Events, |events| &mut rustdds::mio1::unix::SourceFd(&events.polled()?));
#[cfg(feature = "mio_08")]
source!(mio_08, [] Events, |events| &mut mio_08::unix::SourceFd(&events.polled()?));
evented!([] Events, |events| &rustdds::mio::unix::EventedFd(&events.polled()?));

/// All subscriptions.
#[derive(Debug, Default)]
pub(crate) struct Broadcast(Mutex<Audience>);

#[derive(Debug, Default)]
struct Audience {
    subscribers: Vec<Subscriber>,
    /// Somebody has subscribed, now or before.
    has_begun: bool,
    /// No more will come, whoever subscribes.
    is_over: bool,
    /// What came before that, as RustDDS's queue keeps it, and how much it had no room for.
    backlog: Vec<DomainParticipantStatusEvent>,
    missed: u64,
}

#[derive(Debug)]
struct Subscriber {
    sender: Sender<DomainParticipantStatusEvent>,
    shared: Arc<Shared>,
}

impl Audience {
    /// For whoever subscribes first.
    fn keep(&mut self, event: &DomainParticipantStatusEvent) {
        if self.backlog.len() < Events::BACKLOG {
            self.backlog.push(event.clone());
        } else {
            self.missed += 1;
        }
    }
}

impl Broadcast {
    /// The first one has what came before, too. It keeps the participant.
    pub(crate) fn subscribe(&self, participant: DomainParticipant) -> Events {
        let (sender, receiver) = flume::bounded(Events::CAPACITY);
        let mut audience = self.0.lock();
        audience.has_begun = true;
        for event in std::mem::take(&mut audience.backlog) {
            // It is smaller than what there is room for.
            let _ = sender.try_send(event);
        }
        let missed = AtomicU64::new(std::mem::take(&mut audience.missed));
        let shared = Arc::new(Shared { missed, ..Shared::default() });
        if !audience.is_over {
            audience.subscribers.push(Subscriber { sender, shared: Arc::clone(&shared) });
        }
        drop(audience);
        Events { receiver, shared, _participant: participant }
    }

    /// Whoever is woken by that may do anything, also subscribe: nothing is locked meanwhile. One thread tells.
    pub(crate) fn tell(&self, event: &DomainParticipantStatusEvent) {
        let mut audience = self.0.lock();
        if !audience.has_begun {
            return audience.keep(event);
        }
        let mut told = std::mem::take(&mut audience.subscribers);
        drop(audience);
        told.retain(|subscriber| match subscriber.sender.try_send(event.clone()) {
            Ok(()) => {
                subscriber.shared.signal.raise();
                true
            }
            Err(TrySendError::Full(_)) => {
                subscriber.shared.missed.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(TrySendError::Disconnected(_)) => false,
        });
        self.0.lock().subscribers.append(&mut told);
    }

    /// No more will come.
    pub(crate) fn end(&self) {
        // Whoever waits is woken, as above.
        let mut audience = self.0.lock();
        audience.is_over = true;
        let told = std::mem::take(&mut audience.subscribers);
        drop(audience);
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
    struct Subscribes(Arc<Broadcast>, DomainParticipant);

    fn participant() -> DomainParticipant {
        DomainParticipant::new(crate::domains::domain()).expect("a participant")
    }

    impl Wake for Subscribes {
        fn wake(self: Arc<Self>) {
            drop(self.0.subscribe(self.1.clone()));
        }
    }

    #[test]
    fn whoever_is_told_may_subscribe_in_its_waker() {
        let (broadcast, participant) = (Arc::new(Broadcast::default()), participant());
        let events = broadcast.subscribe(participant.clone());
        let mut stream = std::pin::pin!(events.stream());
        let waker = Waker::from(Arc::new(Subscribes(Arc::clone(&broadcast), participant)));
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

    #[test]
    fn whoever_subscribes_after_the_end_has_what_came_before_it_and_no_more() {
        let broadcast = Broadcast::default();
        broadcast.tell(&lost());
        broadcast.end();
        let events = broadcast.subscribe(participant());
        let mut stream = events.stream();
        let mut next = || stream.poll_next_unpin(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(next(), Poll::Ready(Some(_))));
        assert!(matches!(next(), Poll::Ready(None)));
    }

    fn lost() -> DomainParticipantStatusEvent {
        let guid = GUID::from_bytes([1; 16]);
        DomainParticipantStatusEvent::ReaderLost { guid, reason: LostReason::Disposed }
    }

    /// More than the buffer of a pair of sockets has room for octets.
    const MANY: usize = 4_000;

    #[test]
    fn whoever_is_told_of_edges_and_takes_one_event_at_a_time_is_told_of_each() {
        use rustdds::mio1::{Events as Woken, Interest, Poll, Token};
        let broadcast = Broadcast::default();
        let mut events = broadcast.subscribe(participant());
        let mut poll = Poll::new().expect("a poll");
        poll.registry().register(&mut events, Token(0), Interest::READABLE).expect("registered");
        let mut woken = Woken::with_capacity(4);
        let mut is_told = || {
            poll.poll(&mut woken, Some(Duration::ZERO)).expect("polled");
            !woken.is_empty()
        };
        for count in 0..MANY {
            broadcast.tell(&lost());
            assert!(is_told(), "of event {count}");
            assert!(events.try_next().is_some());
        }
        (0..MANY).for_each(|_| broadcast.tell(&lost()));
        for count in 0..MANY {
            assert!(is_told(), "{count} of those that came at once are taken");
            assert!(events.try_next().is_some());
        }
        assert!(!is_told(), "there is nothing more");
    }

    #[test]
    fn what_is_polled_by_level_is_readable_while_events_wait_however_they_are_taken() {
        use rustdds::mio::{Events as Woken, Poll, PollOpt, Ready, Token};
        let broadcast = Broadcast::default();
        let events = broadcast.subscribe(participant());
        let poll = Poll::new().expect("a poll");
        poll.register(&events, Token(0), Ready::readable(), PollOpt::level()).expect("registered");
        let is_readable =
            || poll.poll(&mut Woken::with_capacity(4), Some(Duration::ZERO)).expect("polled") > 0;
        let by_stream = |events: &Events| {
            let mut stream = events.stream();
            let mut context = Context::from_waker(Waker::noop());
            matches!(stream.poll_next_unpin(&mut context), std::task::Poll::Ready(Some(_)))
        };
        let ways: [&dyn Fn(&Events) -> bool; 3] = [
            &|events| events.next_within(Duration::ZERO).is_some(),
            &|events| events.try_next().is_some(),
            &by_stream,
        ];
        for take in ways {
            assert!(!is_readable());
            broadcast.tell(&lost());
            broadcast.tell(&lost());
            assert!(is_readable() && take(&events) && is_readable(), "one is left");
            assert!(take(&events) && !is_readable() && !take(&events) && !is_readable());
        }
    }

    #[test]
    fn the_first_who_asks_has_what_came_before_and_hears_how_much_there_was_no_room_for() {
        let broadcast = Broadcast::default();
        let event = |index: usize| DomainParticipantStatusEvent::ReaderLost {
            guid: GUID::from_bytes([index as u8; 16]),
            reason: LostReason::Disposed,
        };
        (0..Events::BACKLOG + 3).for_each(|index| broadcast.tell(&event(index)));
        let first = broadcast.subscribe(participant());
        assert_eq!((std::iter::from_fn(|| first.try_next()).count(), first.missed()), (Events::BACKLOG, 3));
        let second = broadcast.subscribe(participant());
        assert!(second.try_next().is_none() && second.missed() == 0, "it came later");
        broadcast.tell(&event(0));
        assert!(first.try_next().is_some() && second.try_next().is_some());
    }
}
