//! A reliable reader goes, by every way there is, and the writer goes on for those that stay.
//!
//! ```text
//!   this process: the writer ──▶ a reader that stays, in a process of its own: everything, in order
//!                            └─▶ readers that come and go, in processes of their own
//! ```
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod parties;

use dust_dds::infrastructure::sample_info::{ANY_INSTANCE_STATE, ANY_SAMPLE_STATE, ANY_VIEW_STATE};
use dust_dds::publication::data_writer::DataWriter;
use dust_dds::subscription::data_reader::DataReader;
use parties::{Blob, Guard, PATIENCE, Party, Stack, blob, child, random_domain, role, wait_for_readers};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{Read, Write};
use std::time::{Duration, Instant};

/// Longer than any moment in which a writer has to wait, shorter than any lease.
const HANG: Duration = Duration::from_secs(30);
/// The last sample: whoever stays has everything.
const END: u32 = u32::MAX;
const LEN: usize = 20_000;
/// Samples that the writer keeps.
const DEPTH_SENT: u32 = 4;
/// Samples that a reader keeps: more than are written while it is starved.
const DEPTH: u32 = 4_096;

/// How a reader goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// It is deleted, and its participant lives on.
    Reader,
    /// Everything is deleted, in order, as after Ctrl-C; then the process ends.
    Participant,
    /// The process ends with status 0 and no word.
    Exit,
    /// The process ends by a signal that it does not catch: SIGTERM, since shells have their background jobs ignore SIGINT.
    Terminate,
}

/// Plays whoever this process was started for; whether it was.
fn played() -> bool {
    let Some(words) = role() else { return false };
    let stack: Stack = words[1].parse().unwrap();
    let party = stack.join(words[2].parse().unwrap());
    let reader = party.reader(true, DEPTH);
    match words[0].as_str() {
        "stays" => stay(&reader),
        "glances" => std::thread::park_timeout(Duration::from_millis(words[3].parse().unwrap())),
        way => {
            take_until(&reader, |_| true);
            wait_for_parent();
            match way {
                "Reader" => {
                    party.delete_reader(&reader);
                    wait_for_parent();
                }
                "Exit" => std::process::exit(0),
                _ => {}
            }
        }
    }
    party.leave();
    true
}

/// Takes until a sample is the one, which is told.
fn take_until(reader: &DataReader<Blob>, mut is_it: impl FnMut(&Blob) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let matched = || reader.get_matched_publications().map(|all| all.len());
        assert!(Instant::now() < deadline, "nothing came; writers that are matched: {:?}", matched());
        let samples = reader.take(64, ANY_SAMPLE_STATE, ANY_VIEW_STATE, ANY_INSTANCE_STATE);
        for sample in samples.into_iter().flatten().filter_map(|sample| sample.data) {
            if is_it(&sample) {
                return;
            }
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// Every sample from the first one that comes, in order and intact, up to the last.
fn stay(reader: &DataReader<Blob>) {
    let mut expected = None;
    take_until(reader, |sample| {
        if sample.number == END {
            return true;
        }
        assert_eq!(sample.number, expected.unwrap_or(sample.number));
        assert!(sample.bytes == blob(sample.number, LEN).bytes, "sample {} is corrupt", sample.number);
        expected = Some(sample.number + 1);
        false
    });
}

fn wait_for_parent() {
    let _ = std::io::stdin().read(&mut [0]);
}

/// A writer, and a reader that stays.
struct Scene {
    test: &'static str,
    domain: i32,
    party: Party,
    writer: DataWriter<Blob>,
    stays: Guard,
    next: u32,
}

impl Scene {
    fn open(test: &'static str, stays: Stack) -> Self {
        let domain = random_domain();
        Self::of(test, domain, Stack::Ours.join(domain), stays)
    }

    fn of(test: &'static str, domain: i32, party: Party, stays: Stack) -> Self {
        let writer = party.writer_blocking(true, DEPTH_SENT, HANG);
        let stays = child(test, &format!("stays {stays} {domain}"));
        wait_for_readers(&writer, 1);
        Self { test, domain, party, writer, stays, next: 0 }
    }

    fn child(&self, role: &str, stack: Stack, more: &str) -> Guard {
        child(self.test, &format!("{role} {stack} {}{more}", self.domain))
    }

    fn write(&mut self) {
        let written = self.writer.write(blob(self.next, LEN), None);
        assert!(written.is_ok(), "sample {}: {written:?}: the writer waits for who is gone", self.next);
        self.next += 1;
    }

    fn write_until(&mut self, mut is_done: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_done(self) {
            assert!(Instant::now() < deadline, "it does not come to that; {} readers", self.matched());
            self.write();
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }

    fn matched(&self) -> usize {
        self.writer.get_matched_subscriptions().unwrap().len()
    }

    /// A reader comes and goes by this way.
    fn goes(&mut self, way: Way, stack: Stack) {
        let mut other = self.child(&format!("{way:?}"), stack, "");
        self.write_until(|scene| scene.matched() == 2);
        (0..10).for_each(|_| self.write());
        if way == Way::Terminate {
            kill_process(Pid::from_child(&other.0), Signal::TERM).unwrap();
        } else {
            other.0.stdin.as_mut().unwrap().write_all(b"!").unwrap();
        }
        // The writer does not stand still, whether the other is still there or not.
        self.write_until(|scene| scene.matched() == 1);
        (0..50).for_each(|_| self.write());
        drop(other.0.stdin.take());
        self.write_until(|_| other.0.try_wait().unwrap().is_some());
    }

    /// The one that stayed has everything, and Dust writes to nobody else.
    fn end(mut self) {
        // The announcement of one that is gone already may be read yet, and its goodbye a moment after.
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.write_until(|scene| scene.matched() == 1);
            let before = self.samples_sent();
            (0..20).for_each(|_| self.write());
            match self.samples_sent() - before {
                20 => break,
                more => {
                    assert!(Instant::now() < deadline, "not only the one that stayed is written to: {more}")
                }
            }
        }
        self.writer.write(Blob { number: END, bytes: vec![] }, None).unwrap();
        self.stays.succeed();
        self.party.leave();
    }

    /// Samples that were sent, none of which is under way any more: Dust sends on a thread of its own.
    fn samples_sent(&self) -> u64 {
        let acknowledged = self.writer.wait_for_acknowledgments(HANG.into());
        assert!(acknowledged.is_ok(), "{acknowledged:?}: somebody who is gone is waited for");
        let traffic = self.party.monitor.as_ref().unwrap().traffic();
        traffic.shm.samples_sent + traffic.udp.samples_sent + traffic.unserved
    }
}

fn nobody_waits(test: &'static str, way: Way, stack: Stack) {
    if !played() {
        all_go(Scene::open(test, stack), way, stack);
    }
}

fn all_go(mut scene: Scene, way: Way, stack: Stack) {
    for _ in 0..3 {
        scene.goes(way, stack);
    }
    scene.end();
}

#[test]
fn nobody_waits_for_a_reader_that_is_deleted() {
    nobody_waits("nobody_waits_for_a_reader_that_is_deleted", Way::Reader, Stack::Ours);
}

/// What applications do that do not want to hear themselves.
#[test]
fn nobody_waits_for_a_reader_that_is_deleted_where_the_writer_s_participant_ignores_itself() {
    if played() {
        return;
    }
    let domain = random_domain();
    let party = Stack::Ours.join(domain);
    party.participant.ignore_participant(party.participant.get_instance_handle()).unwrap();
    let test = "nobody_waits_for_a_reader_that_is_deleted_where_the_writer_s_participant_ignores_itself";
    all_go(Scene::of(test, domain, party, Stack::Ours), Way::Reader, Stack::Ours);
}

#[test]
fn nobody_waits_for_a_participant_that_is_deleted() {
    nobody_waits("nobody_waits_for_a_participant_that_is_deleted", Way::Participant, Stack::Ours);
}

#[test]
fn nobody_waits_for_a_process_that_exits() {
    nobody_waits("nobody_waits_for_a_process_that_exits", Way::Exit, Stack::Ours);
}

#[test]
fn nobody_waits_for_a_process_that_is_terminated() {
    nobody_waits("nobody_waits_for_a_process_that_is_terminated", Way::Terminate, Stack::Ours);
}

#[test]
fn nobody_waits_for_a_reader_of_stock_dust_that_is_deleted() {
    let test = "nobody_waits_for_a_reader_of_stock_dust_that_is_deleted";
    nobody_waits(test, Way::Reader, Stack::Stock(1344));
}

#[test]
fn nobody_waits_for_a_participant_of_stock_dust_that_is_deleted() {
    let test = "nobody_waits_for_a_participant_of_stock_dust_that_is_deleted";
    nobody_waits(test, Way::Participant, Stack::Stock(1344));
}

#[test]
fn a_process_that_is_stopped_while_a_participant_is_deleted_has_everything_of_it_afterwards() {
    if played() {
        return;
    }
    let test = "a_process_that_is_stopped_while_a_participant_is_deleted_has_everything_of_it_afterwards";
    let mut scene = Scene::open(test, Stack::Ours);
    scene.party.wait_for_link();
    scene.write();
    scene.samples_sent();
    let process = Pid::from_child(&scene.stays.0);
    kill_process(process, Signal::STOP).unwrap();
    // As many as are kept for it.
    (1..DEPTH_SENT).for_each(|_| scene.write());
    scene.writer.write(Blob { number: END, bytes: vec![] }, None).unwrap();
    scene.party.leave();
    kill_process(process, Signal::CONT).unwrap();
    scene.stays.succeed();
}

/// Fifty that go at every moment of being discovered.
fn glances(test: &'static str, stack: Stack) {
    if played() {
        return;
    }
    let mut scene = Scene::open(test, stack);
    for moment_ms in (0..50).map(|one| one * 6) {
        let mut other = scene.child("glances", stack, &format!(" {moment_ms}"));
        scene.write_until(|_| other.0.try_wait().unwrap().is_some());
        other.succeed();
    }
    scene.end();
}

#[test]
fn nobody_waits_for_readers_that_go_while_they_are_discovered() {
    glances("nobody_waits_for_readers_that_go_while_they_are_discovered", Stack::Ours);
}

#[test]
fn nobody_waits_for_readers_of_stock_dust_that_go_while_they_are_discovered() {
    let test = "nobody_waits_for_readers_of_stock_dust_that_go_while_they_are_discovered";
    glances(test, Stack::Stock(1344));
}
