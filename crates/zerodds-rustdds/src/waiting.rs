//! Waiting in a thread for a future, and in an executor for what only a thread can wait for.

use crate::writing::Refused;
use futures::channel::oneshot;
use futures::future::{Either, select};
use std::future::poll_fn;
use std::sync::{Arc, mpsc};
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

/// Until whoever polls this has been woken: by what it was polled with before, which has its waker.
pub(crate) async fn woken() {
    let mut is_polled_again = false;
    let poll = |_: &mut Context<'_>| {
        if std::mem::replace(&mut is_polled_again, true) { Poll::Ready(()) } else { Poll::Pending }
    };
    poll_fn(poll).await;
}

/// The deadline, for which a thread sleeps as long as somebody waits; over at once where there can be no thread.
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
/// waited for. The last step, until the deadline, gives an answer; it is the only one, and waits for nothing, where that has passed, or
/// where there can be no thread: so whoever could not wait has its sample back.
pub(crate) async fn elsewhere<T: Send + 'static, F>(deadline: Instant, mut step: F) -> Result<T, Refused>
where
    F: FnMut(Instant, bool) -> Option<T> + Send + 'static,
{
    if Instant::now() >= deadline
        && let Some(outcome) = step(deadline, true)
    {
        return Ok(outcome);
    }
    let (sender, receiver) = oneshot::channel();
    let (hands, handed) = mpsc::channel::<F>();
    let wait = move || {
        let Ok(mut step) = handed.recv() else { return };
        while !sender.is_canceled() {
            let until = deadline.min(Instant::now() + STEP);
            if let Some(outcome) = step(until, until == deadline) {
                drop(sender.send(outcome));
                return;
            }
        }
    };
    let gone = || Refused::Internal("the thread that waited for room is gone".into());
    if std::thread::Builder::new().name(WAITING.into()).spawn(wait).is_err() {
        return step(Instant::now(), true).ok_or_else(gone);
    }
    hands.send(step).map_err(|_| gone())?;
    receiver.await.map_err(|_| gone())
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
    use futures::executor::block_on;
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    use std::process::Command;

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

    /// In a process of its own, that has no room for another thread's stack.
    #[test]
    #[ignore = "a role that another test starts"]
    fn without_threads() {
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
        let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")?.strip_suffix("kB"));
        let kib: u64 = size.and_then(|size| size.trim().parse().ok()).expect("a number");
        let limit = Rlimit { current: Some((kib + 512) << 10), ..getrlimit(Resource::As) };
        setrlimit(Resource::As, limit).expect("less than before");
        assert!(std::thread::Builder::new().spawn(|| ()).is_err(), "room for one");
        let an_hour = after(Duration::from_secs(3600));
        let mut sample = Some("a sample");
        let step = move |_, is_last| if is_last { sample.take() } else { None };
        assert!(matches!(block_on(elsewhere(an_hour, step)), Ok("a sample")));
        assert!(block_on(by(Some(an_hour), std::future::pending::<()>())).is_none());
    }

    #[test]
    fn who_can_have_no_thread_waits_for_nothing_and_has_its_sample_back() {
        let role = "waiting::tests::without_threads";
        let mut alone = Command::new(std::env::current_exe().expect("this test"));
        let output =
            alone.args([role, "--exact", "--ignored", "--test-threads=1"]).output().expect("a child");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
    }
}
