//! With a reader of another vendor: Cyclone DDS, as its Python package has it.
//!
//! It is looked for in a virtual environment beside the build's output, `<target directory>/cyclonedds`, and then
//! wherever `python3` looks. Nothing is installed from here: tests need no network.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod parties;

use dust_dds::infrastructure::listener::NO_LISTENER;
use dust_dds::infrastructure::qos::{DataWriterQos, QosKind};
use dust_dds::infrastructure::qos_policy::{HistoryQosPolicy, HistoryQosPolicyKind};
use dust_dds::infrastructure::status::NO_STATUS;
use dust_dds::infrastructure::time::DurationKind;
use dust_dds::infrastructure::type_support::DdsType;
use parties::{Guard, PATIENCE, Stack, random_domain};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

const LENS: [usize; 6] = [0, 1_000, 100_000, 300_001, 1 << 20, 4 << 20];

/// What the reader checks: octet `at` of the data is `31 * at + number`, modulo 256.
#[derive(Clone, Debug, DdsType)]
struct Chunk {
    writer: u32,
    number: u32,
    data: Vec<u8>,
    last: bool,
}

fn chunk(writer: u32, number: u32, len: usize) -> Chunk {
    let data = (0..len as u32).map(|at| at.wrapping_mul(31).wrapping_add(number) as u8).collect();
    Chunk { writer, number, data, last: true }
}

#[test]
fn cyclone_reads_what_we_write() {
    cyclone_reads(Stack::Ours);
}

#[test]
fn cyclone_reads_what_we_write_when_datagrams_are_lost() {
    cyclone_reads(Stack::OursLossy(50));
}

fn cyclone_reads(stack: Stack) {
    let domain = random_domain();
    let Some((_reader, said)) = start_reader(domain, "chunks") else { return };
    let party = stack.join(domain);
    let default = QosKind::Default;
    let topic =
        party.participant.create_topic::<Chunk>("chunks", "Chunk", default, NO_LISTENER, NO_STATUS).unwrap();
    let publisher = party.participant.create_publisher(QosKind::Default, NO_LISTENER, NO_STATUS).unwrap();
    let history = HistoryQosPolicy { kind: HistoryQosPolicyKind::KeepLast(LENS.len() as u32) };
    let mut qos = DataWriterQos { history, ..Default::default() };
    qos.reliability.max_blocking_time = DurationKind::Finite(PATIENCE.into());
    let qos = QosKind::Specific(qos);
    let writer = publisher.create_datawriter(&topic, qos, NO_LISTENER, NO_STATUS).unwrap();
    let deadline = Instant::now() + PATIENCE;
    // What is written before it knows the writer is not for it.
    while said.recv_timeout(Duration::from_millis(20)).is_err() {
        assert!(Instant::now() < deadline, "it hears nothing");
        writer.write(chunk(0, 0, 0), None).unwrap();
    }
    for (number, &len) in (1..).zip(&LENS) {
        writer.write(chunk(1, number, len), None).unwrap();
        let taken = said.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{len} bytes do not arrive"));
        assert_eq!(taken, format!("=> {number}"));
    }
    party.leave();
}

/// A reader of this topic and what it says, if there is Cyclone DDS. It ends with its input.
fn start_reader(domain: i32, topic: &str) -> Option<(Guard, Receiver<String>)> {
    let Some(python) = python() else {
        println!(
            "SKIPPED: Cyclone DDS is not installed: python3 -m venv target/cyclonedds && \
             target/cyclonedds/bin/pip install cyclonedds==11.0.1"
        );
        return None;
    };
    const READER: &str = include_str!("../../zerodds-rustdds/tests/foreign/cyclone_reader.py");
    let mut child = Command::new(python)
        .args(["-c", READER, &domain.to_string(), topic])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (says, said) = mpsc::channel();
    std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| says.send(line)));
    let reader = Guard(child);
    assert_eq!(said.recv_timeout(PATIENCE).as_deref(), Ok("=> ready"));
    Some((reader, said))
}

fn python() -> Option<PathBuf> {
    let exe = std::env::current_exe().unwrap();
    // <target directory>/<profile>/deps/<binary>
    let beside = exe.ancestors().nth(3).map(|target| target.join("cyclonedds/bin/python"));
    beside.into_iter().chain([PathBuf::from("python3")]).find(|python| {
        let found = Command::new(python).args(["-c", "import cyclonedds"]).output();
        found.is_ok_and(|output| output.status.success())
    })
}
