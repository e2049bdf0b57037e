//! The participant's status events, for everybody who wants them.
//!
//! RustDDS has one queue of them for each participant, and the session reads it. So it hands them on, after
//! it has acted on them itself: a writer that was told of a match uses shared memory for it, if there is any.
//!
//! Each subscription has a queue of its own rather than a channel: a channel wakes whoever waits under its lock, and a waker may do
//! anything, such as drop the very stream that waits, or panic. Here nothing is locked while anybody is woken.

use crate::delegate::{evented, source};
use crate::signal::Signal;
use futures::Stream;
use futures::stream::FusedStream;
use parking_lot::{Condvar, Mutex, MutexGuard};
use rustdds::{DomainParticipant, DomainParticipantStatusEvent, StatusEvented};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
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
    shared: Arc<Shared>,
    /// Last: whoever drops it may end the participant. The session holds no subscription.
    _participant: DomainParticipant,
}

/// What a subscription and its broadcast share.
#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// For threads that wait.
    came: Condvar,
    missed: AtomicU64,
    /// Raised while events wait. It is changed under the queue's lock.
    signal: Signal,
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<DomainParticipantStatusEvent>,
    /// No more will come.
    is_over: bool,
    /// Streams that there were.
    streams: u64,
    /// Those of them that wait: nobody, while events do.
    waiting: BTreeMap<u64, Waker>,
}

impl Shared {
    fn push(&self, event: DomainParticipantStatusEvent) {
        let mut queue = self.queue.lock();
        if queue.events.len() == Events::CAPACITY {
            self.missed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        queue.events.push_back(event);
        self.signal.raise();
        let waiting = std::mem::take(&mut queue.waiting);
        drop(queue);
        self.came.notify_one();
        wake(waiting);
    }

    fn end(&self) {
        let mut queue = self.queue.lock();
        queue.is_over = true;
        let waiting = std::mem::take(&mut queue.waiting);
        drop(queue);
        self.came.notify_all();
        wake(waiting);
    }
}

/// Each may do anything meanwhile. One that panics, of which the panic's hook tells, keeps nobody else from being woken, nor the session
/// from going on.
fn wake(waiting: BTreeMap<u64, Waker>) {
    for waker in waiting.into_values() {
        let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
    }
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
        self.taking(|queue| {
            self.shared.came.wait_while_for(
                queue,
                |queue| queue.events.is_empty() && !queue.is_over,
                timeout,
            );
            queue.events.pop_front()
        })
    }

    /// An event that is there already.
    #[must_use]
    pub fn try_next(&self) -> Option<DomainParticipantStatusEvent> {
        self.taking(|queue| queue.events.pop_front())
    }

    /// All events, for any async runtime; ends with the session: see [`EventStream`].
    pub fn stream(&self) -> EventStream<'_> {
        let mut queue = self.shared.queue.lock();
        queue.streams += 1;
        EventStream { events: self, id: queue.streams, is_done: false }
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
        self.taking(|_| ());
        Ok(descriptor)
    }

    /// Takes something, after which what is polled is readable if something still waits, and says so anew: for whoever is told
    /// of edges, and takes one event at a time.
    fn taking<T>(&self, take: impl FnOnce(&mut MutexGuard<'_, Queue>) -> T) -> T {
        let mut queue = self.shared.queue.lock();
        let taken = take(&mut queue);
        self.shared.signal.lower();
        if !queue.events.is_empty() {
            self.shared.signal.raise();
        }
        taken
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
    events: &'a Events,
    /// Its name among those that wait.
    id: u64,
    /// It has said that there are no more.
    is_done: bool,
}

impl Stream for EventStream<'_> {
    type Item = DomainParticipantStatusEvent;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // Cloning a waker, and dropping one, may do anything as well.
        let waker = context.waker().clone();
        let (next, _before) = self.events.taking(|queue| match queue.events.pop_front() {
            None if !queue.is_over => (Poll::Pending, queue.waiting.insert(self.id, waker)),
            next => (Poll::Ready(next), Some(waker)),
        });
        self.is_done |= matches!(next, Poll::Ready(None));
        next
    }
}

impl FusedStream for EventStream<'_> {
    fn is_terminated(&self) -> bool {
        self.is_done
    }
}

impl Drop for EventStream<'_> {
    fn drop(&mut self) {
        let waker = self.events.shared.queue.lock().waiting.remove(&self.id);
        // Nothing is locked any more.
        drop(waker);
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
    subscribers: Vec<Weak<Shared>>,
    /// Somebody has subscribed, now or before.
    has_begun: bool,
    /// No more will come, whoever subscribes.
    is_over: bool,
    /// What came before that, as RustDDS's queue keeps it, and how much it had no room for.
    backlog: Vec<DomainParticipantStatusEvent>,
    missed: u64,
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
        let mut audience = self.0.lock();
        audience.has_begun = true;
        // It is smaller than what there is room for.
        let events = std::mem::take(&mut audience.backlog).into();
        let missed = AtomicU64::new(std::mem::take(&mut audience.missed));
        let queue = Mutex::new(Queue { events, is_over: audience.is_over, ..Queue::default() });
        let shared = Arc::new(Shared { queue, missed, ..Shared::default() });
        // Those that are gone nobody may come to tell, and after the end nobody does.
        if !audience.is_over {
            audience.subscribers.retain(|subscriber| subscriber.strong_count() > 0);
            audience.subscribers.push(Arc::downgrade(&shared));
        }
        drop(audience);
        Events { shared, _participant: participant }
    }

    /// Whoever is woken by that may do anything, also subscribe: nothing is locked meanwhile. One thread tells.
    pub(crate) fn tell(&self, event: &DomainParticipantStatusEvent) {
        let mut audience = self.0.lock();
        if !audience.has_begun {
            return audience.keep(event);
        }
        let mut told = std::mem::take(&mut audience.subscribers);
        drop(audience);
        told.retain(|subscriber| {
            subscriber.upgrade().is_some_and(|shared| {
                shared.push(event.clone());
                true
            })
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
        told.iter().filter_map(Weak::upgrade).for_each(|shared| shared.end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::BoxFuture;
    use futures::{FutureExt, StreamExt};
    use rustdds::GUID;
    use rustdds::dds::statusevents::LostReason;
    use std::task::Wake;

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

    #[test]
    fn of_subscribers_that_are_gone_or_come_after_the_end_nothing_is_kept() {
        let (broadcast, participant) = (Broadcast::default(), participant());
        let subscribers = || broadcast.0.lock().subscribers.len();
        for _ in 0..3 {
            drop(broadcast.subscribe(participant.clone()));
        }
        let _first = broadcast.subscribe(participant.clone());
        assert_eq!(subscribers(), 1);
        broadcast.end();
        let _late = broadcast.subscribe(participant);
        assert_eq!(subscribers(), 0);
    }

    #[test]
    fn a_stream_is_terminated_once_it_has_said_so() {
        let broadcast = Broadcast::default();
        let events = broadcast.subscribe(participant());
        let [mut one, other] = [(); 2].map(|()| events.stream());
        broadcast.end();
        assert!(!one.is_terminated(), "whoever selects among streams would never hear of the end");
        assert_eq!(one.next().now_or_never().map(|next| next.is_none()), Some(true));
        assert!(one.is_terminated() && !other.is_terminated());
    }

    /// What an executor has of a future; woken when the executor has gone, it is dropped.
    struct Orphan(Mutex<Option<BoxFuture<'static, ()>>>);

    impl Wake for Orphan {
        fn wake(self: Arc<Self>) {
            let future = self.0.lock().take();
            drop(future);
        }
    }

    #[test]
    fn a_stream_may_be_dropped_by_its_own_waker() {
        let broadcast = Arc::new(Broadcast::default());
        let events = broadcast.subscribe(participant());
        let orphan = Arc::new(Orphan(Mutex::default()));
        let mut future = async move { _ = events.stream().next().await }.boxed();
        let waker = Waker::from(Arc::clone(&orphan));
        assert!(future.poll_unpin(&mut Context::from_waker(&waker)).is_pending());
        *orphan.0.lock() = Some(future);
        let (done, is_done) = std::sync::mpsc::channel();
        let teller = Arc::clone(&broadcast);
        std::thread::spawn(move || {
            teller.tell(&lost());
            teller.tell(&lost());
            done.send(())
        });
        assert_eq!(is_done.recv_timeout(Duration::from_secs(60)), Ok(()), "it waits for its own stream");
        assert!(orphan.0.lock().is_none() && broadcast.0.lock().subscribers.is_empty());
    }

    struct Panics;

    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("a waker of a test");
        }
    }

    #[test]
    fn a_waker_that_panics_keeps_neither_others_from_being_told_nor_the_session_from_going_on() {
        let broadcast = Broadcast::default();
        let [bad, good] = [(); 2].map(|()| broadcast.subscribe(participant()));
        let mut stream = bad.stream();
        let waker = Waker::from(Arc::new(Panics));
        let mut poll = || stream.poll_next_unpin(&mut Context::from_waker(&waker));
        assert!(poll().is_pending());
        broadcast.tell(&lost());
        assert!(good.try_next().is_some());
        assert!(poll().is_ready() && poll().is_pending(), "its event is there");
        broadcast.end();
        assert!(matches!(poll(), Poll::Ready(None)));
    }

    #[test]
    fn a_stream_that_waits_no_more_is_not_woken() {
        let broadcast = Broadcast::default();
        let events = broadcast.subscribe(participant());
        let mut stream = events.stream();
        let waker = Waker::from(Arc::new(Panics));
        assert!(stream.poll_next_unpin(&mut Context::from_waker(&waker)).is_pending());
        drop(stream);
        assert!(events.shared.queue.lock().waiting.is_empty());
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
