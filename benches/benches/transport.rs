//! Single operations of the shared-memory transport, both ends in one thread: what a message costs without any
//! waiting. Latency between processes is measured by `measure`.
#![allow(missing_docs, reason = "criterion's macros generate undocumented items")]

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rustix::event::{EventfdFlags, PollFd, PollFlags, epoll, eventfd, poll};
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};
use zerodds_core::{Delivery, Endianness, Incoming, Locator, Peer, Reach, Receiver, Router, Transport, Wake};
use zerodds_rustdds::cdr;
use zerodds_rustdds::msg::sensor_msgs::PointCloud2;
use zerodds_transport_shm::{Config, ShmReceiver, ShmTransport, WaitStrategy};
use zerodds_transport_udp::UdpTransport;

/// Two transports of this process with a link between them.
fn pair() -> (ShmTransport, ShmTransport, ShmReceiver, Locator) {
    let domain = 3_000_000_000 + std::process::id();
    // Whoever waits is to sleep.
    let config = Config::default().wait(WaitStrategy::Park).expect("no time that could be out of range");
    let (sender, other) = (ShmTransport::open(domain, &config), ShmTransport::open(domain, &config));
    let receiver = other.receiver().expect("shared memory is available");
    let to = other.locators()[0];
    while !matches!(sender.reach(Peer::new(&[to])), Reach::Ready(_)) {
        std::thread::yield_now();
    }
    (sender, other, receiver, to)
}

fn exchange(criterion: &mut Criterion) {
    let (sender, _other, mut receiver, to) = pair();
    let mut group = criterion.benchmark_group("loan, send, take, drop (payload untouched)");
    for len in [64, 1 << 10, 4 << 10, 64 << 10, 1 << 20, 8 << 20] {
        group.bench_function(BenchmarkId::from_parameter(len), |bencher| {
            bencher.iter(|| {
                let loan = sender.loan(len).expect("room");
                let _ = sender.send(loan, &[Peer::new(&[to])], Delivery::BestEffort).expect("open");
                loop {
                    if let Some(Incoming::Message(message)) = receiver.try_receive() {
                        break black_box(message.len());
                    }
                }
            });
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("send_bytes, take, read in full");
    for len in [64, 4 << 10, 64 << 10, 1 << 20, 8 << 20] {
        let bytes = vec![7; len];
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::from_parameter(len), |bencher| {
            bencher.iter(|| {
                let _ = sender.send_bytes(&bytes, &[Peer::new(&[to])], Delivery::BestEffort).expect("open");
                loop {
                    if let Some(Incoming::Message(message)) = receiver.try_receive() {
                        break black_box(message.iter().fold(0u8, |sum, byte| sum ^ byte));
                    }
                }
            });
        });
    }
    group.finish();
}

fn single_steps(criterion: &mut Criterion) {
    let (sender, _other, mut receiver, to) = pair();
    while receiver.try_receive().is_some() {}
    criterion.bench_function("loan 1 MiB and discard it", |bencher| {
        bencher.iter(|| black_box(sender.loan(1 << 20).expect("room")));
    });
    criterion.bench_function("try_receive with nothing there", |bencher| {
        bencher.iter(|| black_box(receiver.try_receive().is_none()));
    });
    criterion.bench_function("wait with a deadline that has passed", |bencher| {
        let past = Instant::now() - Duration::from_secs(1);
        bencher.iter(|| black_box(receiver.wait(Some(past), &[])));
    });
    criterion.bench_function("reach", |bencher| {
        bencher.iter(|| black_box(sender.reach(Peer::new(&[to]))));
    });
    criterion.bench_function("locator to bytes and back", |bencher| {
        bencher.iter(|| {
            let bytes = black_box(to).to_bytes(Endianness::Little);
            black_box(Locator::from_bytes(&bytes, Endianness::Little))
        });
    });
}

/// What one message goes through, each step timed by itself: lent, published (with a look whether anybody has to be woken,
/// which nobody has), taken in place, given back.
fn transitions(criterion: &mut Criterion) {
    let (sender, _other, mut receiver, to) = pair();
    let mut group = criterion.benchmark_group("one step of a message of 64 KiB in place");
    for (step, name) in ["loan", "publish", "take", "give back"].into_iter().enumerate() {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|turns| {
                let mut took = [Duration::ZERO; 4];
                for _ in 0..turns {
                    let begun = Instant::now();
                    let loan = sender.loan(64 << 10).expect("room");
                    took[0] += begun.elapsed();
                    let (to, begun) = ([to], Instant::now());
                    let peers = [Peer::new(&to)];
                    let sent = sender.send(loan, &peers, Delivery::BestEffort);
                    took[1] += begun.elapsed();
                    assert_eq!(sent.expect("open").by_shm, 1);
                    let (message, taking) = loop {
                        let begun = Instant::now();
                        if let Some(Incoming::Message(message)) = receiver.try_receive() {
                            break (message, begun.elapsed());
                        }
                    };
                    took[2] += taking;
                    let begun = Instant::now();
                    drop(message);
                    took[3] += begun.elapsed();
                }
                took[step]
            });
        });
    }
    group.finish();
}

/// What stands before the transport: choosing a path, and serializing into memory that was lent.
fn before(criterion: &mut Criterion) {
    let (sender, _other, mut receiver, to) = pair();
    let udp = UdpTransport::open(0, &zerodds_transport_udp::Config::default()).expect("UDP is there");
    let router = Router::new(sender, udp);
    criterion.bench_function("64 bytes by way of the router, taken", |bencher| {
        bencher.iter(|| {
            let _ = router.send_bytes(&[7; 64], &[Peer::new(&[to])], Delivery::BestEffort).expect("open");
            next(&mut receiver, |_| {})
        });
    });
    let mut group = criterion.benchmark_group("PointCloud2 measured and serialized into a loan");
    for len in [1 << 10, 64 << 10, 1 << 20] {
        let cloud = PointCloud2 { data: Bytes::from(vec![7; len]), ..PointCloud2::default() };
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::from_parameter(len), |bencher| {
            bencher.iter(|| {
                let len = cdr::serialized_len(&cloud).expect("a value of CDR");
                let mut loan = router.loan(len).expect("room");
                cdr::write_into(&cloud, &mut loan).expect("as measured");
                black_box(loan.len())
            });
        });
    }
    group.finish();
}

/// There and back between two threads that wait in this way, each pair of wakes with nothing else to do.
fn wakes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("64 bytes there and back, waiting");
    for (name, wait) in [
        ("on the futex", park as fn(&mut ShmReceiver)),
        ("in poll on its descriptor", poll_descriptor),
        ("in epoll on its descriptor", epoll_descriptor),
        ("in poll beside another descriptor", poll_beside),
    ] {
        let (near, far, mut far_receiver, to_far) = pair();
        let (mut receiver, to_near) = (near.receiver().expect("not taken"), near.locators()[0]);
        let echo = std::thread::spawn(move || {
            loop {
                let len = next(&mut far_receiver, wait);
                let _ = far.send_bytes(&[7; 64][..len], &[Peer::new(&[to_near])], Delivery::BestEffort);
                if len == 0 {
                    return;
                }
            }
        });
        let mut turn = |len| {
            let _ = near.send_bytes(&[7; 64][..len], &[Peer::new(&[to_far])], Delivery::BestEffort);
            next(&mut receiver, wait)
        };
        group.bench_function(name, |bencher| bencher.iter(|| turn(64)));
        turn(0);
        echo.join().expect("it echoes");
    }
    group.finish();
}

/// The length of the next message.
fn next(receiver: &mut ShmReceiver, wait: fn(&mut ShmReceiver)) -> usize {
    loop {
        match receiver.try_receive() {
            Some(Incoming::Message(message)) => return message.len(),
            Some(_) => {}
            None => wait(receiver),
        }
    }
}

fn park(receiver: &mut ShmReceiver) {
    receiver.wait(None, &[]);
}

fn poll_descriptor(receiver: &mut ShmReceiver) {
    if receiver.arm() == Wake::TimedOut {
        let _ = poll(&mut [PollFd::new(receiver, PollFlags::IN)], None);
    }
}

/// As event loops do, which tell their epoll of a descriptor once.
fn epoll_descriptor(receiver: &mut ShmReceiver) {
    thread_local! {
        static EPOLL: OwnedFd = epoll::create(epoll::CreateFlags::CLOEXEC).expect("epoll");
    }
    EPOLL.with(|set| {
        let edges = epoll::EventFlags::IN | epoll::EventFlags::ET;
        // It is there already but for the first time.
        let _ = epoll::add(set, &*receiver, epoll::EventData::new_u64(0), edges);
        if receiver.arm() == Wake::TimedOut {
            let _ = epoll::wait(set, &mut [MaybeUninit::uninit(); 1][..], None);
        }
    });
}

fn poll_beside(receiver: &mut ShmReceiver) {
    thread_local! {
        static SILENT: OwnedFd = eventfd(0, EventfdFlags::CLOEXEC).expect("an eventfd");
    }
    SILENT.with(|silent| receiver.wait(None, &[silent.as_fd()]));
}

criterion_group!(benches, exchange, transitions, before, single_steps, wakes);
criterion_main!(benches);
