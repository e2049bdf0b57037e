//! The hot paths, one at a time, for counting their instructions: `steps <path> <turns>`.
//!
//! Everything that counts happens within `counted`, which valgrind is told to watch (`cargo xtask instructions`), so the
//! set-up before it, which waits for threads, does not disturb the count. Both ends are in this process and nobody
//! sleeps: what is counted is what a message costs, not what waiting does.

use bytes::Bytes;
use std::hint::black_box;
use std::process::ExitCode;
use zerodds_core::{Delivery, Endianness, Incoming, Locator, Peer, Reach, Receiver, Router, Transport};
use zerodds_rustdds::cdr;
use zerodds_rustdds::msg::sensor_msgs::PointCloud2;
use zerodds_transport_shm::{Config, ShmReceiver, ShmTransport};
use zerodds_transport_udp::UdpTransport;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (name, turns) = match arguments.as_slice() {
        [name, turns] => (name.as_str(), turns.parse().unwrap_or(0)),
        _ => ("", 0u32),
    };
    let Some((_, mut step)) =
        STEPS.into_iter().find(|step| step.0 == name).map(|(name, make)| (name, make()))
    else {
        let names = STEPS.map(|step| step.0);
        eprintln!("steps {name:?}: use one of {names:?} and a number of turns");
        return ExitCode::FAILURE;
    };
    // Whatever happens once only: pages, caches of allocators.
    (0..WARM_UP).for_each(|_| step());
    counted(&mut *step, turns);
    ExitCode::SUCCESS
}

/// What valgrind counts.
#[inline(never)]
fn counted(step: &mut dyn FnMut(), turns: u32) {
    for _ in 0..turns {
        step();
    }
}

type Step = Box<dyn FnMut()>;
/// A name, and what makes a step ready.
type Named = (&'static str, fn() -> Step);

const STEPS: [Named; 6] = [
    ("send-64", send_64),
    ("send-64KiB", send_64_kib),
    ("loan-64KiB", loan_64_kib),
    ("router-64", router_64),
    ("locator", locator),
    ("cdr", cdr_into_memory),
];

/// A small message: into the lane, out of it.
fn send_64() -> Step {
    let Pair { sender, mut receiver, to, _other } = Pair::new();
    Box::new(move || {
        let _other = &_other;
        let sent = sender.send_bytes(&[7; 64], &[Peer::new(&[to])], Delivery::BestEffort);
        let _ = black_box(sent);
        take(&mut receiver);
    })
}

/// A message that is copied into the ring.
fn send_64_kib() -> Step {
    let Pair { sender, mut receiver, to, _other } = Pair::new();
    let bytes = vec![7; 64 << 10];
    Box::new(move || {
        let _other = &_other;
        let _ = black_box(sender.send_bytes(&bytes, &[Peer::new(&[to])], Delivery::BestEffort));
        take(&mut receiver);
    })
}

/// A record that nobody fills or reads.
fn loan_64_kib() -> Step {
    let Pair { sender, mut receiver, to, _other } = Pair::new();
    Box::new(move || {
        let _other = &_other;
        if let Ok(loan) = sender.loan(64 << 10) {
            let _ = black_box(sender.send(loan, &[Peer::new(&[to])], Delivery::BestEffort));
        }
        take(&mut receiver);
    })
}

/// A small message by way of the router, which has UDP to choose as well.
fn router_64() -> Step {
    let Pair { sender, mut receiver, to, _other } = Pair::new();
    let udp = UdpTransport::open(0, &zerodds_transport_udp::Config::default());
    let Ok(udp) = udp else { fail("UDP is not to be had") };
    let router = Router::new(sender, udp);
    Box::new(move || {
        let _other = &_other;
        let sent = router.send_bytes(&[7; 64], &[Peer::new(&[to])], Delivery::BestEffort);
        let _ = black_box(sent);
        take(&mut receiver);
    })
}

/// From bytes, and to bytes again.
fn locator() -> Step {
    let bytes = Pair::new().to.to_bytes(Endianness::Little);
    Box::new(move || {
        let parsed = Locator::from_bytes(black_box(&bytes), Endianness::Little);
        black_box(parsed.to_bytes(Endianness::Little));
    })
}

/// The size of a sample with a large field, and its serialization into given memory.
fn cdr_into_memory() -> Step {
    let cloud = PointCloud2 { data: Bytes::from(vec![7; 1 << 10]), ..PointCloud2::default() };
    let mut memory = vec![0; 2 << 10];
    Box::new(move || {
        let len = cdr::serialized_len(black_box(&cloud)).unwrap_or(0);
        let _ = black_box(cdr::write_into(&cloud, &mut memory[..len]));
    })
}

/// Two transports of this process with a link between them.
struct Pair {
    sender: ShmTransport,
    receiver: ShmReceiver,
    to: Locator,
    _other: ShmTransport,
}

impl Pair {
    fn new() -> Self {
        let domain = 3_500_000_000 + std::process::id();
        let (sender, other) =
            (ShmTransport::open(domain, &Config::default()), ShmTransport::open(domain, &Config::default()));
        let (Some(receiver), Some(&to)) = (other.receiver(), other.locators().first()) else {
            eprintln!("steps: shared memory is not available: {:?}", other.availability());
            std::process::exit(1);
        };
        let mut pair = Self { sender, receiver, to, _other: other };
        while !matches!(pair.sender.reach(Peer::new(&[to])), Reach::Ready(_)) {
            std::thread::yield_now();
        }
        while !matches!(pair.receiver.try_receive(), Some(Incoming::PeerUp(_))) {
            std::thread::yield_now();
        }
        pair
    }
}

/// The message that was just sent.
fn take(receiver: &mut ShmReceiver) {
    loop {
        if let Some(Incoming::Message(message)) = receiver.try_receive() {
            black_box(message.len());
            return;
        }
    }
}

fn fail(why: &str) -> ! {
    eprintln!("steps: {why}");
    std::process::exit(1);
}

const WARM_UP: u32 = 200;
