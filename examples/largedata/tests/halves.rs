//! `largedata pub` and `largedata sub` by hand: any order, and either may come back.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;
use rustix::io::ioctl_fionbio;
use std::io::Write;
use support::{Guarded, eventually, fresh_domain, handles, is_gone, signal};

#[test]
fn a_restarted_subscriber_and_a_restarted_publisher_are_found_again() {
    let options = format!("--stack transport --domain {}", fresh_domain());
    let sending = format!("pub {options} --size 10000 --rate 100");
    let receiving = format!("sub {options}");
    let mut publisher = Guarded::start(&sending);
    publisher.until("publishing std_msgs/UInt8MultiArray");
    let mut subscriber = Guarded::start(&receiving);
    publisher.until("1 subscriber");
    subscriber.until("lost 0  corrupt 0  shm");
    drop(subscriber);
    publisher.until("no subscriber left");
    let mut subscriber = Guarded::start(&receiving);
    publisher.until("1 subscriber");
    subscriber.until("lost 0  corrupt 0  shm");
    drop(publisher);
    subscriber.until("no publisher left");
    let mut publisher = Guarded::start(&sending);
    publisher.until("1 subscriber");
    subscriber.until("1 publisher");
    subscriber.until("lost 0  corrupt 0  shm");
}

#[test]
fn ctrl_c_ends_each_half_with_a_summary() {
    let options = format!("--stack transport --domain {}", fresh_domain());
    let mut publisher = Guarded::start(&format!("pub {options} --size 10000 --rate 100"));
    let mut subscriber = Guarded::start(&format!("sub {options} --kind bytes"));
    subscriber.until("lost 0  corrupt 0");
    signal("-INT", subscriber.process.id());
    let summary = subscriber.until("received ");
    assert!(summary.contains("lost 0, corrupt 0") && summary.contains("by udp 0"), "{summary}");
    assert_eq!(subscriber.process.wait().unwrap().code(), Some(0));
    signal("-TERM", publisher.process.id());
    publisher.until("published ");
    assert_eq!(publisher.process.wait().unwrap().code(), Some(0));
}

#[test]
fn a_publisher_that_nobody_takes_from_says_what_may_be_wrong_and_ends_in_time() {
    let domain = fresh_domain();
    let publishing = format!("pub --stack transport --domain {domain} --size 1000 --seconds 6");
    let mut publisher = Guarded::start(&publishing);
    let advice = publisher.until("nobody yet");
    assert!(advice.contains(&format!("domain {domain};")) && advice.contains("--stack"), "{advice}");
    publisher.until("published 0 samples");
    assert_eq!(publisher.process.wait().unwrap().code(), Some(0));
}

#[test]
fn a_subscriber_that_nobody_publishes_for_says_what_may_be_wrong() {
    let domain = fresh_domain();
    let mut subscriber = Guarded::start(&format!("sub --stack transport --domain {domain} --seconds 6"));
    let advice = subscriber.until("nobody yet");
    assert!(advice.contains(&format!("domain {domain};")) && advice.contains("--stack"), "{advice}");
    subscriber.until("received 0 samples");
}

#[test]
fn a_publisher_that_waits_for_its_subscribers_says_at_ctrl_c_that_a_second_one_ends_it() {
    let options = format!("--path udp --history 100 --domain {}", fresh_domain());
    let sending = format!("pub {options} --size 10000 --rate 20 --samples 80");
    let (_subscriber, mut publisher) = interrupted(&format!("sub {options}"), &sending);
    signal("-INT", publisher.process.id());
    let answer = publisher.until("Ctrl-C ends it at once");
    assert!(answer.contains("--max-blocking"), "{answer}");
    signal("-INT", publisher.process.id());
    assert_eq!(publisher.process.wait().unwrap().code(), Some(130));
}

#[test]
fn a_second_ctrl_c_ends_a_publisher_whose_output_nobody_takes() {
    let (_reader, mut writer) = std::io::pipe().unwrap();
    ioctl_fionbio(&writer, true).unwrap();
    while writer.write(b"\n").is_ok() {}
    ioctl_fionbio(&writer, false).unwrap();
    let publishing = format!("pub --stack transport --domain {}", fresh_domain());
    let mut publisher = Guarded::start_unheard(&publishing, writer);
    let pid = publisher.process.id();
    eventually("Ctrl-C being watched for", || handles(SIGINT, pid));
    // Two that come at the same time are one.
    eventually("its end", || {
        signal("-INT", pid);
        is_gone(pid)
    });
    assert_eq!(publisher.process.wait().unwrap().code(), Some(130));
}

#[test]
fn a_publisher_leaves_when_all_that_it_published_is_acknowledged() {
    let options = format!("--path udp --history 100 --domain {}", fresh_domain());
    let sending = format!("pub {options} --size 300000 --rate 20 --samples 80");
    let (mut subscriber, publisher) = interrupted(&format!("sub {options} --samples 80"), &sending);
    // Most of it did not fit into the buffer of the socket, and is asked for again.
    signal("-CONT", subscriber.process.id());
    let summary = subscriber.until("received 80 samples");
    assert!(summary.contains("lost 0, corrupt 0"), "{summary}");
    let codes = [subscriber, publisher].map(|mut half| half.process.wait().unwrap().code());
    assert_eq!(codes, [Some(0), Some(0)]);
}

#[test]
fn a_publisher_whose_last_samples_nobody_acknowledges_says_so_and_its_exit_code_too() {
    for stack in ["dust --path udp", "rustdds"] {
        let options = format!("--stack {stack} --history 100 --domain {}", fresh_domain());
        let sending = format!("pub {options} --size 10000 --rate 20 --samples 80 --max-blocking 1");
        let (_subscriber, mut publisher) = interrupted(&format!("sub {options}"), &sending);
        let complaint = publisher.until("not acknowledged");
        assert!(complaint.contains("--max-blocking"), "{stack}: {complaint}");
        assert_eq!(publisher.process.wait().unwrap().code(), Some(1), "{stack}");
    }
}

#[test]
fn a_publisher_goes_on_without_a_stopped_subscriber_and_its_exit_code_tells_of_what_that_missed() {
    let options = format!("--stack transport --max-blocking 0.2 --domain {}", fresh_domain());
    let (mut stopped, mut other) =
        (Guarded::start(&format!("sub {options}")), Guarded::start(&format!("sub {options}")));
    let mut publisher = Guarded::start(&format!("pub {options} --size 300000 --rate 100"));
    for subscriber in [&mut stopped, &mut other] {
        subscriber.until("lost 0  corrupt 0");
    }
    signal("-STOP", stopped.process.id());
    for number in 1..=5 {
        publisher.until(&format!("missed it; it may be stopped or overloaded (time {number})"));
    }
    other.until("lost 0  corrupt 0");
    signal("-INT", publisher.process.id());
    publisher.until("published ");
    assert_eq!(publisher.process.wait().unwrap().code(), Some(1));
    other.until("no publisher left");
}

#[test]
fn a_subscriber_by_udp_that_died_is_forgotten_though_others_greet() {
    let options =
        format!("--stack transport --path udp --reliability best-effort --domain {}", fresh_domain());
    let mut publisher = Guarded::start(&format!("pub {options} --size 1000 --rate 20"));
    // One after the other, so that they do not greet at the same time.
    let [_one, _another, victim] = ["1 subscriber", "2 subscribers", "3 subscribers"].map(|number| {
        let subscriber = Guarded::start(&format!("sub {options}"));
        publisher.until(number);
        subscriber
    });
    drop(victim);
    publisher.until("2 subscribers");
}

const SIGINT: u32 = 2;

/// A subscriber that is stopped after its first samples, and a publisher that has published everything.
fn interrupted(receiving: &str, sending: &str) -> (Guarded, Guarded) {
    let (mut subscriber, mut publisher) = (Guarded::start(receiving), Guarded::start(sending));
    subscriber.until("lost 0  corrupt 0");
    signal("-STOP", subscriber.process.id());
    publisher.until("published ");
    (subscriber, publisher)
}
