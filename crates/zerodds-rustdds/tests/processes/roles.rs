//! What child processes do.

use super::child::{commands, role, tell};
use super::following::{Follower, join, qos, settle, write};
use super::possessions::cpu_ns;
use crate::parties::{CHUNK, Chunk, PATIENCE, Party, pattern, prefix_of};
use rustdds::{DomainParticipant, QosPolicies, TopicKind};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::sync::mpsc::Receiver;
use std::time::Duration;
use zerodds_rustdds::no_key;

/// Plays the role that this process was started with; without one it does nothing.
pub(crate) fn play() {
    let Some(words) = role() else { return };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let number = |word: &str| word.parse().expect("a number");
    match words.as_slice() {
        ["read", domain, topic, qos] => read(number(domain), topic, qos),
        ["devour", domain, topic, qos] => devour(number(domain), topic, qos),
        ["write", domain, topic, qos, id] => {
            publish(&join(number(domain)), &commands(), topic, qos, number(id).into())
        }
        ["both", _, topic, qos, domain, back, back_qos, id] => {
            let (party, commands) = (join(number(domain)), commands());
            let _follower = settle_reader(&party, topic, qos);
            publish(&party, &commands, back, back_qos, number(id).into());
        }
        ["pour", domain, topic, qos, id, way] => {
            pour(number(domain), topic, qos, number(id).into(), *way == "loan")
        }
        ["mute", domain, topic, qos, name] => mute(number(domain), topic, qos, name),
        ["idle", domain, topic, kind] => idle(number(domain), topic, *kind == "shared"),
        other => panic!("no such role: {other:?}"),
    }
}

/// Settles with one writer, then obeys: `take N` and `keep N` take the next N, one by one, the latter to keep them;
/// `rest` takes what is there. After `starve` this process can open nothing any more.
fn read(domain: u16, topic: &str, qos: &str) {
    let (party, commands) = (join(domain), commands());
    let mut follower = settle_reader(&party, topic, qos);
    let mut kept = Vec::new();
    let mut opened = Vec::new();
    for command in commands {
        let (verb, count) = command.split_once(' ').unwrap_or((&command, "0"));
        if verb == "starve" {
            let limit = Rlimit { current: Some(256), ..getrlimit(Resource::Nofile) };
            setrlimit(Resource::Nofile, limit).expect("less than before");
            opened.extend(std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()));
            tell("starved");
            continue;
        }
        let mut chunks = Vec::new();
        match count.parse().expect("a number") {
            0 => chunks = follower.take(),
            count => wait_for(|| {
                chunks.extend(follower.take_up_to(1));
                chunks.len() == count
            }),
        }
        tell(format_args!("{} {}", chunks.len(), chunks.last().map_or(0, |chunk| chunk.number)));
        if verb == "keep" {
            kept.append(&mut chunks);
        }
    }
}

/// A process that listens as a session does, under this name with its own incarnation, and answers nobody: it reads by RTPS,
/// and dies before there is a link.
fn mute(domain: u16, topic: &str, qos_word: &str, name: &str) {
    let commands = commands();
    let participant = DomainParticipant::new(domain).expect("a participant");
    let _listener = crate::rendezvous::listen_mutely(name, prefix_of(&participant));
    let (none, qos) = (QosPolicies::qos_none(), qos(qos_word));
    let subscriber = participant.create_subscriber(&qos).expect("a subscriber");
    let topic =
        participant.create_topic(topic.into(), CHUNK.into(), &none, TopicKind::NoKey).expect("a topic");
    let mut reader = subscriber.create_datareader_no_key_cdr::<Chunk>(&topic, Some(qos)).expect("a reader");
    wait_for(|| matches!(reader.take_next_sample(), Ok(Some(_))));
    tell("matched");
    commands.iter().for_each(drop);
}

/// A reader that has settled with one writer.
fn settle_reader(party: &Party, topic: &str, qos: &str) -> Follower {
    let mut follower = Follower::new(party, topic, qos);
    wait_for(|| {
        follower.take();
        follower.heard()
    });
    tell("matched");
    wait_for(|| {
        follower.take();
        follower.has_settled()
    });
    tell("settled");
    follower
}

/// Takes everything, and holds the last few.
fn devour(domain: u16, topic: &str, qos: &str) {
    let (party, _commands) = (join(domain), commands());
    let mut follower = Follower::of_strangers(&party, topic, qos);
    let mut held = Vec::new();
    tell("ready");
    loop {
        let chunks = follower.take();
        if chunks.is_empty() {
            std::thread::park_timeout(Duration::from_micros(200));
        }
        held.extend(chunks);
        held.drain(..held.len().saturating_sub(4));
    }
}

/// Settles with its readers, as it is told that they are matched; then `write N` writes N, which are then
/// acknowledged, and `pour` goes on with that for ever.
fn publish(party: &Party, commands: &Receiver<String>, topic: &str, qos_word: &str, id: u32) {
    let writer = party.writer(topic, &qos(qos_word));
    settle_as_told(party, &writer, commands);
    tell("settled");
    let mut number = 0;
    let mut write_some = |count| {
        write(&writer, id, number..number + count, 100_000);
        number += count;
        assert!(writer.wait_for_acknowledgments(PATIENCE).expect("reliable"));
        tell(number);
    };
    for command in commands {
        match command.split_once(' ') {
            Some((_, count)) => write_some(count.parse().expect("a number")),
            None => loop {
                write_some(5);
            },
        }
    }
}

fn settle_as_told(party: &Party, writer: &no_key::DataWriter<Chunk>, commands: &Receiver<String>) {
    let mut matched = false;
    settle(party, writer, || {
        matched |= commands.try_recv().is_ok_and(|command| command == "matched");
        matched
    });
}

/// Writes at full rate to whoever reads, by copying or in place.
fn pour(domain: u16, topic: &str, qos_word: &str, id: u32, loans: bool) {
    let (party, _commands) = (join(domain), commands());
    let writer = party.writer(topic, &qos(qos_word));
    tell("ready");
    for number in 0.. {
        let len = 9_000 + (number as usize * 631) % 20_000;
        if !loans {
            write(&writer, id, number..number + 1, len);
            continue;
        }
        let sample = |data| Chunk { writer: id, number, data, last: true };
        let mut loan = writer.loan(len, sample).expect("room in time");
        loan.copy_from_slice(&pattern(number, len));
        writer.publish(loan, None).expect("published in time");
    }
}

/// Two participants exchange something, by shared memory or not, and then have nothing to do. Told to `measure`, it says
/// the CPU time that went by meanwhile, of the process and of the threads of ours in it.
fn idle(domain: u16, topic: &str, shared: bool) {
    let commands = commands();
    let qos_word = "last:4";
    let parties = shared.then(|| (join(domain), join(domain)));
    let endpoints = parties.as_ref().map(|(here, there)| {
        let (writer, mut follower) =
            (here.writer(topic, &qos(qos_word)), Follower::new(there, topic, qos_word));
        settle(here, &writer, || {
            follower.take();
            follower.heard()
        });
        (writer, follower)
    });
    let plain = (!shared).then(|| exchange_plainly(domain, topic));
    tell("idle");
    for command in commands {
        assert_eq!(command, "measure");
        let before = cpu_ns();
        std::thread::sleep(Duration::from_secs(3));
        let after = cpu_ns();
        // What a thread has spent is not counted any more when it has ended.
        let spent = |after: u64, before| after.saturating_sub(before);
        tell(format_args!("{} {}", spent(after.process, before.process), spent(after.ours, before.ours)));
    }
    drop((endpoints, plain, parties));
}

/// The same with RustDDS alone; what has to be kept for it to go on.
fn exchange_plainly(domain: u16, topic: &str) -> impl Sized {
    let participants = [0; 2].map(|_| DomainParticipant::new(domain).expect("a participant"));
    let qos = qos("last:4");
    let [topic_here, topic_there] = participants.each_ref().map(|participant| {
        participant.create_topic(topic.into(), CHUNK.into(), &qos, TopicKind::NoKey).expect("a topic")
    });
    let publisher = participants[0].create_publisher(&qos).expect("a publisher");
    let writer = publisher.create_datawriter_no_key_cdr::<Chunk>(&topic_here, None).expect("a writer");
    let subscriber = participants[1].create_subscriber(&qos).expect("a subscriber");
    let mut reader = subscriber.create_datareader_no_key_cdr::<Chunk>(&topic_there, None).expect("a reader");
    wait_for(|| {
        writer.write(Chunk::new(1, 0, 16 << 10), None).expect("written");
        std::thread::sleep(Duration::from_millis(3));
        reader.take_next_sample().expect("taken").is_some()
    });
    (participants, writer, reader)
}

fn wait_for(is_so: impl FnMut() -> bool) {
    crate::parties::eventually("what the parent wants", is_so);
}
