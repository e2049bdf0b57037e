//! Receiving and sending on tokio: woken through descriptors, never blocking the executor.
#![cfg(all(feature = "tokio", target_os = "linux", target_pointer_width = "64", not(zerodds_no_shm)))]

mod support;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use support::{deadline, pair, reliable, roles};
use tokio::runtime;
use zerodds_core::{Delivery, Incoming, SendError, Transport};
use zerodds_transport_shm::AsyncShmReceiver;

/// Not a test: a child process, when it is one.
#[test]
fn child_process() {
    roles::play();
}

#[tokio::test]
async fn messages_are_received_by_awaiting() {
    let (a, b) = pair();
    let to = [vec![b.locator()]];
    let mut receiver = b.receiver.into_async().expect("a runtime");
    let task = tokio::spawn(async move {
        let mut received = 0u64;
        while received < 500 {
            if let Some(Incoming::Message(message)) = receiver.receive().await {
                assert_eq!(message[..8], received.to_le_bytes());
                received += 1;
            }
        }
    });
    for number in 0..500u64 {
        let mut loan = a.transport.loan_async(100_000, deadline()).await.expect("loan");
        loan[..8].copy_from_slice(&number.to_le_bytes());
        let sent = a.transport.send_async(loan, &to, reliable()).await.expect("open");
        assert!(sent.unserved.is_empty());
        tokio::task::yield_now().await;
    }
    tokio::time::timeout(support::PATIENCE, task).await.expect("in time").expect("no panic");
}

#[tokio::test(flavor = "current_thread")]
async fn messages_without_end_let_other_tasks_run() {
    let (a, b) = pair();
    let to = [vec![a.locator()]];
    drop(b);
    let mut receiver = a.receiver.into_async().expect("a runtime");
    let ticks = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&ticks);
    let ticking = tokio::spawn(async move {
        loop {
            counted.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
    });
    let mut received = 0;
    while received < 10_000 {
        let loan = a.transport.loan_async(8, deadline()).await.expect("loan");
        let _ = a.transport.send_async(loan, &to, reliable()).await.expect("open");
        received += u64::from(matches!(receiver.receive().await, Some(Incoming::Message(_))));
    }
    ticking.abort();
    assert!(ticks.load(Ordering::Relaxed) > 10, "{ticks:?} in {received} messages");
}

/// On the one thread of this runtime a send that blocked would stop the ticking, and with it the test.
#[tokio::test(flavor = "current_thread")]
async fn a_send_that_has_to_wait_lets_other_tasks_run() {
    let (node, mut child, peer) = roles::with_receiver(&[]);
    child.stop();
    let transport = node.transport.clone();
    let to = [vec![peer]];
    let mut sent = 0u64;
    // Fill what the stopped receiver may have, until a send has to wait.
    loop {
        let loan = transport.loan(1 << 20).expect("room");
        let now = Delivery::Reliable { deadline: Instant::now() };
        let outcome = transport.send_async(loan, &to, now).await.expect("open");
        if !outcome.unserved.is_empty() {
            break;
        }
        sent += 1;
    }
    assert!(sent > 0);
    let waiting = tokio::spawn(async move {
        let loan = transport.loan(1 << 20).expect("room");
        transport.send_async(loan, &to, reliable()).await.expect("open").unserved.is_empty()
    });
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished(), "the receiver is stopped: the send waits, and this task runs");
    child.kill();
    let served = tokio::time::timeout(support::PATIENCE, waiting).await.expect("in time").expect("no panic");
    assert!(!served, "the receiver died: nobody was served, and nobody waits");
}

#[test]
fn a_send_that_the_runtime_drops_unfinished_leaves_nothing_in_the_ring() {
    let (a, b) = pair();
    let max = a.transport.max_message_len();
    // All but the reserve is filled: what lies there is an offer until its receiver takes it.
    let mut filling: Vec<_> = std::iter::from_fn(|| a.transport.loan(max).ok()).collect();
    drop(filling.pop());
    let in_use = || a.transport.pool().in_use;
    let before = in_use();
    let runtime = runtime::Builder::new_current_thread().build().expect("a runtime");
    let handle = runtime.handle().clone();
    runtime.shutdown_background();
    let _context = handle.enter();
    let (loan, to) = (a.transport.loan(max).expect("the reserve"), [vec![b.locator()]]);
    let sent = pin!(a.transport.send_async(loan, &to, reliable()));
    let outcome = sent.poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(outcome, Poll::Ready(Err(SendError::Closed))), "no thread is left to wait on");
    assert_eq!(in_use(), before, "the offer does not stand for ever");
}

#[test]
fn a_loan_and_a_send_that_are_given_up_keep_no_thread_and_no_room() {
    let (a, b) = pair();
    let (to, max) = ([vec![b.locator()]], a.transport.max_message_len());
    let mut filling: Vec<_> = std::iter::from_fn(|| a.transport.loan(max).ok()).collect();
    let in_use = || a.transport.pool().in_use;
    let (all, far) = (in_use(), Instant::now() + Duration::from_secs(3600));
    let threads = runtime::Builder::new_current_thread().max_blocking_threads(1).enable_time().build();
    let runtime = threads.expect("a runtime");
    // On the one thread that may block.
    let is_free = || {
        let task =
            async { tokio::time::timeout(support::PATIENCE, tokio::task::spawn_blocking(|| ())).await };
        runtime.block_on(task).is_ok()
    };
    give_up(&runtime, a.transport.loan_async(max, far));
    let after_loan = is_free();
    let loan = filling.pop().expect("room for one");
    give_up(&runtime, a.transport.send_async(loan, &to, Delivery::Reliable { deadline: far }));
    let after_send = is_free();
    runtime.shutdown_background();
    assert!(after_loan && after_send);
    assert!(in_use() < all, "what was offered is taken back");
}

/// Lets it begin to wait, and drops it.
fn give_up(runtime: &runtime::Runtime, future: impl Future) {
    let _context = runtime.enter();
    assert!(pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_pending(), "it has to wait");
}

/// Programs keep it in types of their own, so that it needs a name.
struct Holder(AsyncShmReceiver);

#[tokio::test]
async fn closing_ends_a_receive() {
    let (a, b) = pair();
    drop(a);
    let mut holder = Holder(b.receiver.into_async().expect("a runtime"));
    let task = tokio::spawn(async move { while holder.0.receive().await.is_some() {} });
    b.transport.close();
    tokio::time::timeout(support::PATIENCE, task).await.expect("in time").expect("no panic");
}
