//! Wake-ups that get lost, and system calls that signals interrupt.

use crate::shims;
use crate::support::child::{hear, tell};
use crate::support::roles::{echo, send_numbered, until_echoed};
use crate::support::{Node, PATIENCE, deadline, fresh_domain, pair, pair_with, reliable, scaled};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::time::{Duration, Instant};
use zerodds_core::{Delivery, Incoming, Peer, Receiver, Refusal, Transport, Wake};
use zerodds_transport_shm::{Config, ShmReceiver, WaitStrategy};

/// Plays the roles of this module.
pub(crate) fn play(words: &[&str]) -> bool {
    match words {
        ["interrupted", domain] => interrupted(domain.parse().expect("a domain")),
        _ => return false,
    }
    true
}

/// Any delay from none to some 20 µs, so that the other side is caught at every step of going to sleep.
struct Delays(u64);

impl Delays {
    fn next(&mut self) {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        for _ in 0..self.0 % 4_000 / (1 + self.0 % 13) {
            std::hint::spin_loop();
        }
    }
}

/// The next message, waited for in poll on the receiver's descriptor; without a deadline: a lost wake hangs here.
fn polled(receiver: &mut ShmReceiver) -> u64 {
    loop {
        while receiver.arm() == Wake::Ready {
            if let Some(Incoming::Message(message)) = receiver.try_receive() {
                return u64::from_le_bytes(message[..8].try_into().expect("8 bytes"));
            }
        }
        let fds = receiver.readiness();
        let patience = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
        assert_eq!(poll(&mut [PollFd::new(&fds[0], PollFlags::IN)], Some(&patience)), Ok(1), "woken");
    }
}

fn parked(receiver: &mut ShmReceiver) -> u64 {
    loop {
        if let Incoming::Message(message) = receiver.receive(Some(deadline())).expect("woken") {
            return u64::from_le_bytes(message[..8].try_into().expect("8 bytes"));
        }
    }
}

#[test]
fn f39_what_came_before_the_receiver_lay_down_does_not_let_it_sleep() {
    let (a, mut b) = pair();
    for round in 0..100u64 {
        while b.receiver.try_receive().is_some() {}
        // After the last look, before the bell is armed: nobody rings for this.
        let _ = a.send(b.locator(), &round.to_le_bytes(), reliable());
        assert_eq!(b.receiver.wait(Some(deadline()), &[]), Wake::Ready);
    }
}

#[test]
fn f39_no_wake_up_is_lost_whatever_the_moment() {
    for (wait, seed) in [(parked as fn(&mut ShmReceiver) -> u64, 1), (polled, 2)] {
        // Whoever spins a little finds the message as a rule, and does not sleep.
        let (mut a, b) = pair_with(&Config::default().wait(WaitStrategy::Park).expect("no time"));
        let (to_a, to_b) = (a.locator(), b.locator());
        let Node { transport, mut receiver } = b;
        let total = scaled(20_000, 5_000_000);
        let echo = std::thread::spawn(move || {
            let mut delays = Delays(0x9e37_79b9 + seed);
            for round in 0..total {
                assert_eq!(wait(&mut receiver), round);
                delays.next();
                let message = round.to_le_bytes();
                let _ = transport.send_bytes(&message, &[Peer::new(&[to_a])], reliable());
            }
        });
        let mut delays = Delays(0x7f4a_7c15 + seed);
        for round in 0..total {
            let _ = a.send(to_b, &round.to_le_bytes(), reliable());
            assert_eq!(wait(&mut a.receiver), round);
            delays.next();
        }
        echo.join().expect("every one was woken");
    }
}

/// Waits, sends to somebody who has no room, and sends everything back, while every system call is interrupted.
fn interrupted(domain: u32) {
    let mut node = Node::open(domain);
    tell("ready");
    let begun = Instant::now();
    let in_a_while = begun + Duration::from_millis(300);
    while let Some(found) = node.receiver.receive(Some(in_a_while)) {
        assert!(!matches!(found, Incoming::Message(_)), "nothing was sent");
    }
    assert!(Instant::now() >= in_a_while, "with the time that was left, not less");
    let (full, reader) = pair();
    loop {
        let deadline = Instant::now() + Duration::from_millis(200);
        let sent = send_numbered(&full, reader.locator(), 0, 4 << 20, Delivery::Reliable { deadline });
        if let Some(unserved) = sent.unserved.into_iter().next() {
            assert!(matches!(unserved.why, Refusal::Full) && Instant::now() >= deadline);
            break;
        }
    }
    assert!(begun.elapsed() < PATIENCE, "and not for ever");
    tell("waited");
    echo(&mut node);
    hear();
}

/// Signals that are caught, as /proc shows them.
fn caught() -> String {
    let status = std::fs::read_to_string("/proc/self/status").expect("proc");
    status.lines().find(|line| line.starts_with("SigCgt")).expect("it says").to_owned()
}

#[test]
fn f41_signals_ten_thousand_times_a_second_change_nothing() {
    let domain = fresh_domain();
    let before = caught();
    let mut node = Node::open(domain);
    let count = shims::scratch("signals");
    let role = format!("interrupted {domain}");
    let mut child = shims::start_with(shims::SIGNALS, &role, &[("ZERODDS_TEST_SIGNALS", &count)]);
    assert_eq!(child.hear(), "ready");
    let peer = node.transport.neighbours()[0];
    assert_eq!(child.hear(), "waited");
    node.link_to(peer);
    let total = scaled(1_000, 100_000);
    until_echoed(&mut node, &mut child, peer, total);
    assert_eq!(caught(), before, "no handler of ours");
    let handled = std::fs::read(&count).expect("the shim counts");
    let _ = std::fs::remove_file(&count);
    let handled = u64::from_ne_bytes(handled[..8].try_into().expect("8 bytes"));
    assert!(handled > total, "{handled} signals were handled: more than there were messages");
    assert!(child.finish());
}
