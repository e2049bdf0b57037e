//! Single operations of the shared-memory transport, both ends in one thread: what a message costs without any
//! waiting. Latency between processes is measured by `largedata`.
#![allow(missing_docs, reason = "criterion's macros generate undocumented items")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::{Duration, Instant};
use zerodds_core::{Delivery, Endianness, Incoming, Locator, Peer, Reach, Receiver, Transport};
use zerodds_transport_shm::{Config, ShmReceiver, ShmTransport};

/// Two transports of this process with a link between them.
fn pair() -> (ShmTransport, ShmTransport, ShmReceiver, Locator) {
    let domain = 3_000_000_000 + std::process::id();
    let (sender, other) =
        (ShmTransport::open(domain, &Config::default()), ShmTransport::open(domain, &Config::default()));
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

criterion_group!(benches, exchange, single_steps);
criterion_main!(benches);
