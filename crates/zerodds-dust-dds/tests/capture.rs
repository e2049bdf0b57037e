//! What a capture of Dust participants has: exactly what was delivered, by whichever path.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod parties;

use parties::{
    Blob, Guard, ROLE, blob, join_with, publish, random_domain, role, subscribe, wait_for_readers,
    wait_for_writers,
};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use zerodds_capture::testing::{Contents, read, tshark};
use zerodds_dust_dds::ZeroDds;

/// From nothing to a cloud; with what stands around it, the one of 65,480 is too large for a datagram.
const LENS: [usize; 7] = [0, 1, 1_000, 60_000, 65_480, 100_000, 6_000_000];

/// Not a test: the publisher of one, when this process is its child.
#[test]
fn child_process() {
    let Some(words) = role() else { return };
    let ours = match ZeroDds::from_env() {
        Ok(ours) => ours,
        Err(error) => return println!("refused: {error}"),
    };
    let party = join_with(ours, words[0].parse().unwrap());
    let writer = party.writer(true, 16);
    wait_for_readers(&writer, 1);
    party.wait_for_link();
    // A reader that had not matched us would ask for all of it again.
    std::io::stdin().read_line(&mut String::new()).unwrap();
    publish(&writer, &LENS);
    let traffic = party.monitor.as_ref().unwrap().traffic();
    assert_eq!(traffic.shm.samples_sent, LENS.len() as u64);
    assert_eq!(party.monitor.as_ref().unwrap().counters().uncaptured_messages, 0);
    party.leave();
}

fn publisher(domain: i32, capture: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["child_process", "--exact", "--nocapture"]).env(ROLE, domain.to_string());
    command.env("ZERODDS_CAPTURE", capture).env("ZERODDS_CAPTURE_UDP", "on").stdin(Stdio::piped());
    command
}

/// The samples of a capture, decoded.
fn blobs(contents: &Contents, received: bool) -> Vec<Blob> {
    let samples = contents.samples(received).into_iter();
    // Those of the application: the two highest bits of their entity kinds are clear.
    let samples = samples.filter(|sample| sample.writer[3] & 0xc0 == 0);
    let decoded = samples.map(|sample| {
        let word = |at: usize| u32::from_le_bytes(sample.payload[at..at + 4].try_into().unwrap());
        Blob { number: word(4), bytes: sample.payload[12..12 + word(8) as usize].to_vec() }
    });
    decoded.collect()
}

#[test]
fn a_capture_equals_what_was_delivered_byte_for_byte_on_both_sides() {
    let folder = tempfile::tempdir().unwrap();
    let (sent, received) = (folder.path().join("sent.pcapng"), folder.path().join("received.pcapng"));
    let domain = random_domain();
    let config = zerodds_capture::Config::default().file(&received);
    let ours =
        ZeroDds::new(zerodds_transport_shm::Config::default(), zerodds_transport_udp::Config::default());
    let party = join_with(ours.capture(&config).unwrap(), domain);
    let reader = party.reader(true, 16);
    let mut child = publisher(domain, &sent).stdout(Stdio::null()).spawn().unwrap();
    wait_for_writers(&reader, 1);
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    subscribe(&reader, &LENS);
    Guard(child).succeed();
    party.leave();

    let delivered: Vec<_> = (0..).zip(LENS).map(|(number, len)| blob(number, len)).collect();
    let (sent_contents, received_contents) = (read(&sent), read(&received));
    assert!(blobs(&sent_contents, false) == delivered, "the sender's");
    assert!(blobs(&received_contents, true) == delivered, "the receiver's");
    let [shm, udp] = &sent_contents.interfaces[..] else { panic!("{:?}", sent_contents.interfaces) };
    assert!([shm, udp].iter().any(|name| name.starts_with("shm domain ")), "{shm}");
    assert!([shm, udp].iter().any(|name| name.starts_with("udp domain ")), "{udp}");
    for contents in [&sent_contents, &received_contents] {
        assert!(
            contents.statistics.keys().copied().eq(0..contents.interfaces.len() as u32),
            "how much there was"
        );
        assert!(contents.statistics.values().all(|&(seen, dropped)| seen > 0 && dropped == 0));
    }
    assert!(received_contents.interfaces.iter().all(|name| name.starts_with("shm ")), "UDP is not asked for");
    for (file, contents) in [(&sent, sent_contents), (&received, received_contents)] {
        let Some(lines) = tshark(file, "rtps && !_ws.malformed", &["frame.number"]) else {
            return println!("SKIPPED in part: tshark is not installed");
        };
        let others =
            tshark(file, "!rtps || _ws.malformed", &["frame.number", "frame.protocols", "data.data"]);
        assert_eq!(lines.len(), contents.packets.len(), "all of it is RTPS to Wireshark: {others:?}");
    }
    let lines = tshark(&received, "rtps.reassembled.data", &["rtps.reassembled.length"]).unwrap();
    assert_eq!(lines.len(), LENS.iter().filter(|&&len| len > 65_000).count(), "{lines:?}");
}

#[test]
fn a_capture_that_cannot_be_written_is_said_before_there_is_a_participant() {
    let folder = tempfile::tempdir().unwrap();
    let output = publisher(0, &folder.path().join("no/folder")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("refused: ZERODDS_CAPTURE=") && said.contains("no/folder"), "{said}");
}
