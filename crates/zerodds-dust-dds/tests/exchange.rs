//! Samples of every interesting size between two processes, by every path.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod parties;

use dust_dds::infrastructure::qos::{DomainParticipantQos, QosKind};
use dust_dds::infrastructure::qos_policy::UserDataQosPolicy;
use parties::{PATIENCE, Stack, child, join_as, publish, random_domain, role, subscribe, wait_for_readers};
use std::sync::mpsc;
use zerodds_dust_dds::ZeroDds;

/// Around every limit on the way: empty, a cache line, a datagram, the 16-bit length, the ring's limit.
const LENS: [usize; 16] = [
    0,
    1,
    63,
    64,
    65,
    65_400,
    65_483,
    65_507,
    65_512,
    65_516,
    65_535,
    65_536,
    65_537,
    1 << 20,
    (4 << 20) + 3,
    // With number, length and encapsulation.
    (16 << 20) - 12,
];

/// Publishes in a child process and subscribes in this one.
fn exchange(test: &str, publisher: Stack, subscriber: Stack, lens: &[usize]) -> parties::Party {
    let domain = random_domain();
    let party = subscriber.join(domain);
    let reader = party.reader(true, 64);
    let lens_text: Vec<_> = lens.iter().map(ToString::to_string).collect();
    let other = child(test, &format!("{publisher} {domain} {}", lens_text.join(" ")));
    subscribe(&reader, lens);
    other.succeed();
    party
}

/// The publisher's side, in the child.
fn play(words: &[String]) {
    let stack: Stack = words[0].parse().unwrap();
    let lens: Vec<usize> = words[2..].iter().map(|word| word.parse().unwrap()).collect();
    let party = stack.join(words[1].parse().unwrap());
    let writer = party.writer(true, 4);
    wait_for_readers(&writer, 1);
    if stack == Stack::Ours {
        party.wait_for_link();
    }
    publish(&writer, &lens);
    party.leave();
}

#[test]
fn every_size_is_intact_by_shared_memory() {
    if let Some(words) = role() {
        return play(&words);
    }
    let party = exchange("every_size_is_intact_by_shared_memory", Stack::Ours, Stack::Ours, &LENS);
    let traffic = party.monitor.as_ref().unwrap().traffic();
    assert_eq!(
        (traffic.shm.samples_received, traffic.udp.samples_received),
        (LENS.len() as u64, 0),
        "{traffic:?}"
    );
    party.leave();
}

#[test]
fn every_size_is_intact_by_udp() {
    if let Some(words) = role() {
        return play(&words);
    }
    let party = exchange("every_size_is_intact_by_udp", Stack::OursUdp, Stack::OursUdp, &LENS);
    let traffic = party.monitor.as_ref().unwrap().traffic();
    assert_eq!(
        (traffic.shm.samples_received, traffic.udp.samples_received),
        (0, LENS.len() as u64),
        "{traffic:?}"
    );
    party.leave();
}

#[test]
fn a_sample_above_the_largest_message_reaches_a_reader_of_the_same_participant() {
    let party = Stack::Ours.join(random_domain());
    let reader = party.reader(true, 64);
    let writer = party.writer(true, 1);
    wait_for_readers(&writer, 1);
    let lens = [64, (16 << 20) + 4096, 100, 40 << 20];
    std::thread::scope(|scope| {
        scope.spawn(|| subscribe(&reader, &lens));
        publish(&writer, &lens);
    });
    party.leave();
}

#[test]
fn a_participant_with_much_user_data_lives_though_datagrams_are_short_and_there_is_no_shared_memory() {
    let (done, ended) = mpsc::channel();
    std::thread::spawn(move || {
        let shm = zerodds_transport_shm::Config::default().enabled(false);
        let udp = zerodds_transport_udp::Config::default().max_datagram(1232).unwrap();
        let user_data = UserDataQosPolicy { value: vec![7; 2 << 10] };
        let qos = QosKind::Specific(DomainParticipantQos { user_data, ..Default::default() });
        let party = join_as(ZeroDds::new(shm, udp), random_domain(), qos);
        let (reader, writer) = (party.reader(true, 64), party.writer(true, 1));
        wait_for_readers(&writer, 1);
        std::thread::scope(|scope| {
            scope.spawn(|| subscribe(&reader, &[64, 10_000]));
            publish(&writer, &[64, 10_000]);
        });
        party.leave();
        done.send(()).unwrap();
    });
    ended.recv_timeout(PATIENCE).expect("Dust lives");
}

/// What crosses UDP whole or in a few fragments, and what needs many.
const LOSSY_LENS: [usize; 9] =
    [0, 64, 65_507, 200_000, 1 << 20, (4 << 20) + 3, 100, 4 << 20, (16 << 20) + 4096];

fn exchange_under_loss(test: &str, per_mille: u32) {
    if let Some(words) = role() {
        return play(&words);
    }
    let lossy = Stack::OursLossy(per_mille);
    let party = exchange(test, lossy, lossy, &LOSSY_LENS);
    let traffic = party.monitor.as_ref().unwrap().traffic();
    eprintln!("{traffic:?}");
    party.leave();
}

#[test]
fn nothing_is_lost_when_one_percent_of_the_datagrams_is() {
    exchange_under_loss("nothing_is_lost_when_one_percent_of_the_datagrams_is", 10);
}

#[test]
fn nothing_is_lost_when_five_percent_of_the_datagrams_are() {
    exchange_under_loss("nothing_is_lost_when_five_percent_of_the_datagrams_are", 50);
}

#[test]
fn nothing_is_lost_when_ten_percent_of_the_datagrams_are() {
    exchange_under_loss("nothing_is_lost_when_ten_percent_of_the_datagrams_are", 100);
}
