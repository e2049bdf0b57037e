//! `largedata pub` and `largedata sub` by hand: any order, and either may come back.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;
use support::{Guarded, fresh_domain, signal};

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
