//! What a capture of RustDDS sessions has: every sample that went by shared memory, as it was delivered.
#![cfg(target_os = "linux")]

mod parties;
#[path = "processes/child.rs"]
mod processes;

use parties::{Chunk, Party, eventually, fresh_domain, keep_all, prefix, unique};
use processes::{Process, commands, role, tell};
use rustdds::DomainParticipant;
use std::path::Path;
use zerodds_capture::testing::{Contents, read, tshark};
use zerodds_rustdds::{AttachError, Config, Options, ZeroDds};

/// From next to nothing to a cloud; with what stands before it, the one of 65,460 is too large for a datagram.
const LENS: [usize; 6] = [0, 1_000, 60_000, 65_460, 100_000, 6_000_000];
/// Of samples that only show whether there is a link.
const PROBE: u32 = u32::MAX;

/// Not a test: the publisher of one, when this process is its child.
#[test]
fn child_process() {
    let Some(words) = role() else { return };
    let commands = commands();
    let party = join(words[0].parse().expect("a domain"), Config::from_env().expect("usable settings"));
    let writer = party.writer(&words[1], &keep_all(64, 60_000));
    eventually("samples go by shared memory", || {
        writer.write(Chunk::new(1, PROBE, 10), None).expect("written");
        party.zerodds.stats().descriptors > 0
    });
    for (number, len) in (0..).zip(LENS) {
        writer.write(Chunk::new(1, number, len), None).expect("written");
    }
    tell(party.zerodds.stats().shared_samples);
    let _ = commands.recv();
    drop((writer, party));
    tell("left");
}

/// A participant that shares samples of every size.
fn join(domain: u16, config: Config) -> Party {
    let participant = DomainParticipant::new(domain).expect("a participant");
    let zerodds = ZeroDds::attach(&participant, config.options(Options::default().threshold(0)));
    Party { participant, zerodds: zerodds.expect("a session") }
}

/// The samples of a capture, decoded.
fn chunks(contents: &Contents, received: bool) -> Vec<Chunk> {
    // What is no sample has no payload.
    let decoded = contents.samples(received).into_iter().map(|sample| {
        let word = |at: usize| u32::from_le_bytes(sample.payload[at..at + 4].try_into().expect("four bytes"));
        let len = word(12) as usize;
        let data = sample.payload[16..16 + len].to_vec().into();
        Chunk { writer: word(4), number: word(8), data, last: sample.payload[16 + len] == 1 }
    });
    decoded.collect()
}

/// What a reader's session said to a writer's, without the header of RTPS.
fn notes(contents: &Contents, is_inbound: bool) -> Vec<&[u8]> {
    let packets = contents.packets.iter().filter(|packet| packet.is_inbound == is_inbound);
    packets.map(|packet| &packet.rtps[20..]).collect()
}

#[test]
fn a_capture_equals_what_was_delivered_byte_for_byte_on_both_sides() {
    let folder = tempfile::tempdir().expect("a folder");
    let (sent, received) = (folder.path().join("sent.pcapng"), folder.path().join("received.pcapng"));
    let (domain, topic) = (fresh_domain(), unique("captured"));
    let capture = zerodds_capture::Config::default().file(&received);
    let party = join(domain, Config::default().capture(capture));
    // Little room: the writer hears of each sample that it was taken, and looks for that.
    let mut reader = party.reader(&topic, &keep_all(4, 60_000));
    let setting = format!("ZERODDS_CAPTURE={}", sent.display());
    let mut child = Process::start(&format!("{domain} {topic}"), &["env", &setting]);
    let mut delivered = Vec::new();
    eventually("everything is taken", || {
        while let Some(sample) = reader.take_next_sample().expect("readable") {
            delivered.push(sample.into_value());
        }
        delivered.last().is_some_and(|chunk: &Chunk| chunk.number as usize == LENS.len() - 1)
    });
    let shared: usize = child.hear().parse().expect("a number");
    let from = party.zerodds.paths().first().expect("the child").participant;
    let own = prefix(&party);
    child.tell("leave");
    child.expect("left");
    child.finish();
    drop((reader, party));

    // Probes that were sent before there was a link went by UDP.
    let by_shm = &delivered[delivered.len() - shared..];
    let (sent_contents, received_contents) = (read(&sent), read(&received));
    assert!(chunks(&sent_contents, false) == by_shm, "the sender's");
    assert!(chunks(&received_contents, true) == by_shm, "the receiver's");
    let is_from = |sample: &zerodds_capture::testing::Sample| sample.prefix == from && sample.writer[3] == 3;
    assert!(sent_contents.samples(false).iter().all(is_from), "its GUID is the writer's");
    assert_eq!(sent_contents.samples(false), received_contents.samples(true), "also where it was received");
    assert!(received_contents.packets.iter().any(|note| !note.is_inbound && note.rtps[8..20] == own));
    let mut said = notes(&received_contents, false);
    for heard in notes(&sent_contents, true) {
        let index = said.iter().position(|note| *note == heard).expect("what the other heard was said");
        said.swap_remove(index);
    }
    for (file, contents) in [(&sent, sent_contents), (&received, received_contents)] {
        let Some(lines) = tshark(file, "rtps && !_ws.malformed", &["frame.number"]) else {
            return println!("SKIPPED in part: tshark is not installed");
        };
        assert_eq!(lines.len(), contents.packets.len(), "all of it is RTPS to Wireshark");
    }
    let lines =
        tshark(&received, "rtps.reassembled.data", &["rtps.reassembled.length"]).expect("it is installed");
    assert_eq!(lines.len(), 3, "{lines:?}");
}

#[test]
fn a_capture_that_cannot_be_written_is_said_when_the_session_is_attached() {
    let participant = DomainParticipant::new(fresh_domain()).expect("a participant");
    let capture = zerodds_capture::Config::default().file(Path::new("/dev/null/capture"));
    let error = ZeroDds::attach(&participant, Config::default().capture(capture)).err().expect("no session");
    assert!(matches!(error, AttachError::Capture(_)));
    let said = error.to_string();
    assert!(said.contains("ZERODDS_CAPTURE=") && said.contains("%p"), "{said}");
    assert!(ZeroDds::attach(&participant, Config::default()).is_ok(), "the participant is not affected");
}
