//! Waiting in a thread for a future, and in an executor for what only a thread can wait for.

use crate::writing::Refused;
use futures::channel::oneshot;
use futures::future::{Either, select};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// Polls a future on this thread until it is ready or the deadline has passed.
pub(crate) fn until<T>(deadline: Instant, future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let waker = WAKER.try_with(Waker::clone).unwrap_or_else(|_| waker_of_this_thread());
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(outcome) = future.as_mut().poll(&mut context) {
            return Some(outcome);
        }
        let now = Instant::now();
        if now >= deadline {
            return None;
        }
        std::thread::park_timeout(deadline - now);
    }
}

/// The same in an executor, without a deadline too: only a future that is not ready at once needs a clock.
pub(crate) async fn by<T>(deadline: Option<Instant>, future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let at_once = poll_fn(|context| Poll::Ready(future.as_mut().poll(context)));
    if let Poll::Ready(outcome) = at_once.await {
        return Some(outcome);
    }
    let Some(deadline) = deadline else { return Some(future.await) };
    if Instant::now() >= deadline {
        return None;
    }
    match select(future, std::pin::pin!(alarm(deadline))).await {
        Either::Left((outcome, _)) => Some(outcome),
        Either::Right(_) => None,
    }
}

/// The deadline, for which a thread sleeps as long as somebody waits.
async fn alarm(deadline: Instant) {
    let (mut sender, receiver) = oneshot::channel::<()>();
    let sleep = move || {
        until(deadline, sender.cancellation());
    };
    if std::thread::Builder::new().name(WAITING.into()).spawn(sleep).is_ok() {
        let _ = receiver.await;
    }
}

thread_local! {
    /// One for all that a thread ever waits for: RustDDS keeps wakers until it has room, but each of them once.
    static WAKER: Waker = waker_of_this_thread();
}

pub(crate) fn waker_of_this_thread() -> Waker {
    Waker::from(Arc::new(Unpark(std::thread::current())))
}

/// Wakes a thread that waits in [`until`].
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits on a thread made for it: an executor must not, and a full ring is rare enough. It waits step by step, each until a
/// moment that it is given, and looks in between whether anybody still wants to know: a future that is dropped is not
/// waited for. The last step, until the deadline, gives an answer; it is the only one, and waits for nothing, where that has passed.
pub(crate) async fn elsewhere<T: Send + 'static>(
    deadline: Instant,
    mut step: impl FnMut(Instant, bool) -> Option<T> + Send + 'static,
) -> Result<T, Refused> {
    if Instant::now() >= deadline
        && let Some(outcome) = step(deadline, true)
    {
        return Ok(outcome);
    }
    let (sender, receiver) = oneshot::channel();
    let wait = move || {
        while !sender.is_canceled() {
            let until = deadline.min(Instant::now() + STEP);
            if let Some(outcome) = step(until, until == deadline) {
                drop(sender.send(outcome));
                return;
            }
        }
    };
    std::thread::Builder::new().name(WAITING.into()).spawn(wait).map_err(Refused::Io)?;
    receiver.await.map_err(|_| Refused::Internal("the thread that waited for room is gone".into()))
}

/// What one step of waiting came to; `None`: there is time left.
pub(crate) fn answer<T>(outcome: Result<T, Refused>, is_last: bool) -> Option<Result<T, Refused>> {
    (is_last || !matches!(outcome, Err(Refused::WouldBlock))).then_some(outcome)
}

/// The moment after so long.
pub(crate) fn after(patience: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(patience).unwrap_or(now + A_YEAR)
}

/// The name of threads that wait for futures.
const WAITING: &str = "zerodds-wait";
/// How long a thread goes on waiting for a future that was dropped, at most.
const STEP: Duration = Duration::from_millis(100);

/// As good as for ever, where a time is longer than an `Instant` can say.
const A_YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_waits_again_and_again_is_one_to_whom_it_waits_for() {
        let mut wakers = Vec::new();
        for _ in 0..2 {
            let never = poll_fn(|context: &mut Context<'_>| {
                wakers.push(context.waker().clone());
                Poll::<()>::Pending
            });
            assert!(until(Instant::now(), never).is_none());
        }
        assert!(wakers[0].will_wake(&wakers[1]));
    }
}
