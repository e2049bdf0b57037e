//! A process with a transport that forks: the test binary runs the test once more with a small C library in front of the
//! system's, by which safe code can fork.

use crate::participant::{Participant, Token, hang_bound, loopback, random_domain};
use std::path::Path;
use std::process::Command;
use std::time::Instant;
use zerodds_core::{
    Delivery, LoanError, Peer, Reach, Reason, Receiver as _, Refusal, SendError, Transport as _, Wake,
};
use zerodds_transport_udp::{Patience, UdpTransport};

/// Whether the test's body is to run: `true` where [`forked`] forks. Elsewhere the test is run again, where it does.
fn can_fork(test: &str) -> bool {
    const INSIDE: &str = "ZERODDS_UDP_TEST_FORKS";
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("forking-{}.so", std::process::id()));
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/udp/forking.c");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-Wall", "-Werror", source, "-o"]).arg(&library);
    assert!(compiler.status().expect("a C compiler: Rust needs one to link, too").success());
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", test, "--nocapture"]).env(INSIDE, "").env("LD_PRELOAD", &library);
    let output = again.output().unwrap();
    std::fs::remove_file(library).unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}{stderr}");
    false
}

/// Runs `play` in a forked child and waits for its end; whether it said yes, in time.
fn forked(play: impl FnOnce() -> bool) -> bool {
    match std::os::unix::process::parent_id() {
        0 => std::process::exit(i32::from(!play())),
        ended => ended == 1,
    }
}

#[test]
fn f58_a_forked_child_sends_nothing_takes_nothing_and_closes_nothing_of_its_parents() {
    if !can_fork("forking::f58_a_forked_child_sends_nothing_takes_nothing_and_closes_nothing_of_its_parents")
    {
        return;
    }
    let (domain, token) = (random_domain(), Token::random());
    let (a, mut b) = (Participant::on_loopback(domain), Participant::on_loopback(domain));
    let untaken = UdpTransport::open(domain, &loopback()).unwrap();
    let (locators, everyone) = (b.transport.locators(), a.transport.metatraffic_multicast_locators());
    let peer = Peer::new(&locators);
    a.send(&token.message(0, 64), &locators);

    assert!(!forked(|| false), "it does fork");
    assert!(forked(|| [peer, Peer::new(&everyone)].iter().all(|&to| {
        let sent = a.transport.send_bytes(b"child", &[to], Delivery::BestEffort);
        matches!(sent, Err(SendError::Closed)) && a.transport.reach(to) == Reach::Unreachable(Reason::Closed)
    })));
    assert!(forked(|| {
        let run = a.transport.send_run(b"child", 5, peer, &mut Patience::default());
        matches!(run, Err(Refusal::Unreachable(Reason::Closed)))
    }));
    assert!(forked(|| matches!(a.transport.loan(1), Err(LoanError::Closed))));
    assert!(forked(|| a.transport.packet_payload(peer).is_none() && !a.transport.multicast_works()));
    assert!(forked(|| a.transport.locators().is_empty() && untaken.receiver().is_none()));
    let receiver = &mut b.receiver;
    assert!(forked(|| receiver.try_receive().is_none()
        && receiver.wait(None, &[]) == Wake::Closed
        && receiver.arm() == Wake::Closed
        && receiver.readiness().is_empty()));
    assert_eq!(b.next(token)[..], token.message(0, 64), "what waited is the parent's to take");

    let mut both = Some((a, b));
    assert!(forked(|| {
        let (a, b) = both.take().unwrap();
        a.transport.close();
        b.transport.close();
        true
    }));
    let (a, mut b) = both.unwrap();
    // Others may send to the same group, but not for ever.
    let deadline = hang_bound();
    while b.receiver.wait(Some(Instant::now()), &[]) == Wake::Ready {
        b.receiver.try_receive();
        assert!(deadline > Some(Instant::now()), "the child has rung the bell");
    }
    a.send(&token.message(1, 64), &locators);
    assert_eq!(b.next(token)[..], token.message(1, 64));
}
