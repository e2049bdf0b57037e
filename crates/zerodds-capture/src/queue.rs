//! Messages on their way to the file: bounded, in the order in which they began, never waited for by who brings them.
//!
//! ```text
//!   begin(len) ─▶ under way ─ put ─▶ ready ─▶ next(), on the writer's thread
//!        │              │      └─ no room: given back
//!        │              └── dropped: it did not travel after all
//!        └─ no room: None
//! ```
//! Only what is ready takes room. A send that waits for its readers takes none, however large it is: the disk would be
//! idle meanwhile, and everything else not captured.
//!
//! A send is entered when it begins, and its peers are known when it ends. What came in answer meanwhile waits behind
//! it, for [`PATIENCE`] at most: so a file shows the question before the answer, and a sender that waits for room in a
//! ring holds nobody up.

use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

#[derive(Debug)]
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    /// The writer waits here.
    news: Condvar,
    /// Who wants everything written waits here.
    idle: Condvar,
    bytes_max: usize,
    /// Something found no room. The writer asks before each message, for whose lock everybody else waits.
    has_refused: AtomicBool,
}

#[derive(Debug)]
struct State<T> {
    next: u64,
    entries: BTreeMap<u64, Entry<T>>,
    /// Of what is ready.
    bytes: usize,
    writing: Option<u64>,
    stage: Stage,
    /// Somebody has waited in vain for what came before this number: nobody waits until that is written.
    given_up: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    /// What is ready is written, nothing is added.
    Closed,
    /// Nothing is written any more.
    Over,
}

#[derive(Debug)]
struct Entry<T> {
    began: Instant,
    ready: Option<T>,
    /// What it takes once it is ready.
    bytes: usize,
}

/// A place in the queue for a message that is under way.
#[derive(Debug)]
pub(crate) struct Place<T> {
    queue: Arc<Queue<T>>,
    number: u64,
    /// When the message began its way.
    pub(crate) at: SystemTime,
}

impl<T> Queue<T> {
    pub(crate) fn new(bytes_max: usize) -> Self {
        let (entries, stage) = (BTreeMap::new(), Stage::Open);
        let (next, bytes, writing, given_up) = (0, 0, None, None);
        let state = Mutex::new(State { next, entries, bytes, writing, stage, given_up });
        let [news, idle] = [(); 2].map(|()| Condvar::new());
        Self { state, news, idle, bytes_max, has_refused: AtomicBool::new(false) }
    }

    /// A place for a message of `len` bytes, if there is room for it now.
    pub(crate) fn begin(self: &Arc<Self>, len: usize) -> Option<Place<T>> {
        let mut state = self.state.lock();
        let bytes = len + OVERHEAD;
        if state.stage != Stage::Open || !self.has_room(&state, bytes) {
            return None;
        }
        let number = state.next;
        state.next += 1;
        state.entries.insert(number, Entry { began: Instant::now(), ready: None, bytes });
        Some(Place { queue: Arc::clone(self), number, at: SystemTime::now() })
    }

    /// Adds what is hardly larger than its place, behind everything that is there.
    pub(crate) fn add(&self, item: T) {
        let mut state = self.state.lock();
        if state.stage == Stage::Open {
            let number = state.next;
            state.next += 1;
            state.bytes += OVERHEAD;
            state.entries.insert(number, Entry { began: Instant::now(), ready: Some(item), bytes: OVERHEAD });
            self.news.notify_all();
        }
    }

    /// Where little waits there is room for a message of any length: some of what came meanwhile waits behind a large one.
    fn has_room(&self, state: &State<T>, bytes: usize) -> bool {
        let has_room = state.bytes <= self.bytes_max / 2 || state.bytes + bytes <= self.bytes_max;
        if !has_room {
            // ORDER: Relaxed; under the lock, which the writer takes before it asks again.
            self.has_refused.store(true, Ordering::Relaxed);
        }
        has_room
    }

    /// Whether anything has found no room so far.
    pub(crate) fn has_refused(&self) -> bool {
        // ORDER: Relaxed, as above.
        self.has_refused.load(Ordering::Relaxed)
    }

    /// The next message to be written, as soon as there is one; `None` once there will be none.
    pub(crate) fn next(&self) -> Option<T> {
        let mut state = self.state.lock();
        state.writing = None;
        self.idle.notify_all();
        loop {
            let now = Instant::now();
            let is_open = state.stage == Stage::Open;
            let is_awaited = |entry: &Entry<T>| is_open && entry.began + PATIENCE > now;
            let first = state.entries.iter().find(|(_, entry)| entry.ready.is_some() || is_awaited(entry));
            let first = first.map(|(&number, entry)| (number, entry.ready.is_some(), entry.began + PATIENCE));
            if state.given_up.is_some_and(|before| first.is_none_or(|(number, ..)| number >= before)) {
                state.given_up = None;
            }
            match first {
                Some((number, true, _)) => {
                    state.writing = Some(number);
                    let entry = state.entries.remove(&number)?;
                    state.bytes -= entry.bytes;
                    return entry.ready;
                }
                _ if !is_open => return None,
                Some((_, false, until)) => {
                    self.news.wait_until(&mut state, until);
                }
                None => self.news.wait(&mut state),
            }
        }
    }

    /// Waits until everything that is ready now is written, as long as [`wait_while`](Self::wait_while) does; whether it is.
    pub(crate) fn wait_until_written(&self) -> bool {
        self.wait_while(|state, before| {
            let is_ready = |entry: &Entry<T>| entry.ready.is_some();
            state.writing.is_some_and(|number| number < before)
                || state.entries.range(..before).any(|(_, entry)| is_ready(entry))
        })
    }

    /// Waits until the writer has ended, as long as for what is to be written.
    pub(crate) fn wait_until_over(&self) {
        self.wait_while(|_, _| true);
    }

    /// Waits for the writer while it is busy with what came before the number, that of the next message now: `PATIENCE`
    /// twenty times over at most, as a file may be on a disk that does not answer.
    fn wait_while(&self, is_busy: impl Fn(&State<T>, u64) -> bool) -> bool {
        let mut state = self.state.lock();
        let before = state.next;
        let until = Instant::now() + 20 * PATIENCE;
        loop {
            if state.stage == Stage::Over || !is_busy(&state, before) {
                return true;
            }
            if state.given_up.is_some() {
                return false;
            }
            if self.idle.wait_until(&mut state, until).timed_out() {
                state.given_up = Some(before);
            }
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.state.lock().stage == Stage::Over
    }

    /// Nothing more is added.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        if state.stage == Stage::Open {
            state.stage = Stage::Closed;
        }
        self.news.notify_all();
    }

    /// Nothing more is written; `each` hears of what was to be.
    pub(crate) fn end(&self, each: impl FnMut(&T)) {
        let mut state = self.state.lock();
        state.stage = Stage::Over;
        state.bytes = 0;
        let entries = std::mem::take(&mut state.entries);
        entries.values().filter_map(|entry| entry.ready.as_ref()).for_each(each);
        self.idle.notify_all();
        // What it takes to free them is nothing to wait for.
        drop(state);
    }
}

impl<T> Place<T> {
    /// The message has travelled. It is given back where there is no room for it now, or nothing is written any more.
    pub(crate) fn put(self, item: T) -> Result<(), T> {
        let mut state = self.queue.state.lock();
        let state = &mut *state;
        let Some(bytes) = state.entries.get(&self.number).map(|entry| entry.bytes) else { return Err(item) };
        if !self.queue.has_room(state, bytes) {
            return Err(item);
        }
        state.bytes += bytes;
        if let Some(entry) = state.entries.get_mut(&self.number) {
            entry.ready = Some(item);
        }
        Ok(())
    }
}

impl<T> Drop for Place<T> {
    /// Whether it was put or not, the writer has something to look at.
    fn drop(&mut self) {
        let mut state = self.queue.state.lock();
        if state.entries.get(&self.number).is_some_and(|entry| entry.ready.is_none()) {
            state.entries.remove(&self.number);
        }
        self.queue.news.notify_all();
    }
}

/// How long a message waits behind one that is under way.
const PATIENCE: Duration = Duration::from_millis(100);
/// What an entry costs besides its bytes.
const OVERHEAD: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering::Relaxed;

    #[test]
    fn what_began_first_comes_first_whichever_ends_first() {
        let queue = Arc::new(Queue::new(1 << 20));
        let (first, second) = (queue.begin(1).expect("room"), queue.begin(1).expect("room"));
        second.put(2).expect("room");
        first.put(1).expect("room");
        assert_eq!((queue.next(), queue.next()), (Some(1), Some(2)));
    }

    #[test]
    fn who_waits_for_long_or_never_travels_holds_nobody_up() {
        let queue = Arc::new(Queue::new(1 << 20));
        let (slow, never) = (queue.begin(1).expect("room"), queue.begin(1).expect("room"));
        queue.begin(1).expect("room").put(3).expect("room");
        drop(never);
        assert_eq!(queue.next(), Some(3), "after a while, without the first");
        slow.put(1).expect("room");
        assert_eq!(queue.next(), Some(1));
        queue.close();
        assert_eq!(queue.next(), None);
    }

    #[test]
    fn what_finds_no_room_is_refused_and_the_largest_finds_it_when_little_waits() {
        let queue = Arc::new(Queue::new(1 << 20));
        let [large, next, small, late] =
            [1 << 30, 1 << 30, 1, 1].map(|len| queue.begin(len).expect("nothing is ready"));
        small.put(2).expect("room");
        large.put(0).expect("room");
        assert!(queue.begin(1).is_none());
        assert_eq!((late.put(3), next.put(1)), (Err(3), Err(1)));
        assert_eq!((queue.next(), queue.next()), (Some(0), Some(2)));
        assert!(queue.begin(1).is_some());
    }

    #[test]
    fn a_message_as_long_as_the_room_has_it_beside_little_as_a_longer_one_has() {
        for len in [(1 << 20) - OVERHEAD, 1 << 20] {
            let queue = Arc::new(Queue::new(1 << 20));
            let large = queue.begin(len).expect("nothing waits");
            queue.begin(1).expect("room").put(1).expect("room");
            large.put(0).unwrap_or_else(|_| panic!("{len} bytes beside one"));
        }
    }

    #[test]
    fn a_large_message_that_waits_for_its_readers_takes_no_room() {
        let queue = Arc::new(Queue::new(1 << 20));
        let large = queue.begin(1 << 20).expect("nothing waits");
        queue.begin(1).expect("room").put(1).expect("room");
        assert_eq!(queue.next(), Some(1), "when it has waited for the large one for a while");
        large.put(0).expect("room");
        assert_eq!(queue.next(), Some(0));
    }

    #[test]
    fn what_is_not_written_any_more_is_heard_of() {
        let queue = Arc::new(Queue::new(1 << 20));
        let [ready, under_way] = [(); 2].map(|()| queue.begin(1).expect("room"));
        ready.put(1).expect("room");
        let mut unwritten = Vec::new();
        queue.end(|&item| unwritten.push(item));
        assert_eq!((unwritten, under_way.put(2)), (vec![1], Err(2)));
        assert!(queue.begin(1).is_none(), "it is over");
    }

    #[test]
    fn a_writer_that_does_not_answer_is_waited_for_once() {
        let queue = Arc::new(Queue::new(1 << 20));
        queue.begin(1).expect("room").put(1).expect("room");
        assert_eq!(queue.next(), Some(1), "it is being written, without end");
        let waited = |wait: &dyn Fn()| {
            let began = Instant::now();
            wait();
            began.elapsed()
        };
        let until_written = || assert!(!queue.wait_until_written());
        let first = waited(&until_written);
        queue.begin(1).expect("room").put(2).expect("room");
        assert!(waited(&until_written) + waited(&|| queue.wait_until_over()) < first);
        assert_eq!(queue.next(), Some(2), "it answers after all");
        assert_eq!(queue.state.lock().given_up, None);
    }

    #[test]
    fn who_waits_for_what_is_written_waits_for_nothing_that_came_later() {
        let queue = Arc::new(Queue::new(1 << 20));
        let add = || queue.begin(1).expect("room").put(()).expect("room");
        let is_written = AtomicBool::new(false);
        add();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| is_written.store(queue.wait_until_written(), Relaxed));
            // Something is ready at every moment until then.
            while !waiting.is_finished() {
                add();
                assert_eq!(queue.next(), Some(()));
            }
        });
        assert!(is_written.load(Relaxed), "it was not waited for in vain");
    }

    #[test]
    fn what_is_ready_is_written_though_something_before_it_is_under_way_at_the_end() {
        let queue = Arc::new(Queue::new(1 << 20));
        let _under_way = queue.begin(1).expect("room");
        queue.begin(1).expect("room").put(2).expect("room");
        queue.close();
        assert_eq!((queue.next(), queue.next()), (Some(2), None));
    }

    #[test]
    fn written_means_written() {
        let queue = Arc::new(Queue::new(1 << 20));
        queue.begin(1).expect("room").put(1).expect("room");
        let writer = std::thread::spawn({
            let queue = Arc::clone(&queue);
            move || std::iter::from_fn(|| queue.next()).count()
        });
        assert!(queue.wait_until_written());
        queue.close();
        assert_eq!(writer.join().expect("no panic"), 1);
    }
}
