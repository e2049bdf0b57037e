//! Matches: which come, how often, and what reaches a reader before the writer's side has heard of it.
//!
//! ```text
//!  reader made ──▶ SEDP ──▶ writer's event loop: reader proxy ──▶ status event ──▶ session: "plain reader!"
//!                                                └── undirected descriptors reach it from here on ──┘
//! ```

use std::time::Duration;

use rustdds::{DomainParticipantStatusEvent as Event, GUID, RTPSEntity};

use super::domains::fresh_domain;
use super::party::{
    PATIENCE, Party, Pen, matches_reader, matches_writer, reliable, settle, take, take_plain, until,
};

/// Matches to look at in one run.
const ROUNDS: usize = 1000;
/// How many samples a reader gets after its match was heard of, before the next round.
const AFTERWARDS: u64 = 5;

#[derive(Debug, Default)]
struct Window {
    /// Readers that received what was written before their match was heard of.
    early_readers: usize,
    /// How much of it, at most.
    most: u64,
    total: u64,
}

impl Window {
    fn note(&mut self, early: u64) {
        self.early_readers += usize::from(early > 0);
        self.most = self.most.max(early);
        self.total += early;
    }
}

/// Writes while a reader appears: descriptors until its match is heard of, then bodies.
///
/// Gives how many samples were written before that, and what `take` gave, an error as `None`.
fn appear(
    writing: &Party,
    pen: &Pen,
    reader: GUID,
    take: &mut dyn FnMut() -> Vec<Option<u64>>,
) -> (u64, Vec<Option<u64>>) {
    let mut heard = None;
    let mut taken = Vec::new();
    until("the reader has samples from after its match", || {
        if heard.is_none() && writing.count(|event| matches_reader(event, pen.writer.guid(), reader)) > 0 {
            heard = Some(pen.written());
        }
        match heard {
            None => pen.write(1),
            Some(_) => pen.write_inline(1),
        }
        taken.extend(take().into_iter().map(|number| number.map(|number| pen.nth(number))));
        let last = taken.last().copied().flatten();
        heard.is_some_and(|heard| last >= Some(heard + AFTERWARDS)).then_some(())
    });
    (heard.unwrap(), taken)
}

fn assert_unbroken(taken: &[u64]) {
    assert!(taken.windows(2).all(|two| two[1] == two[0] + 1), "nothing lost, repeated or swapped: {taken:?}");
}

#[test]
fn a_plain_reader_errs_for_descriptors_on_their_way_at_its_match_and_loses_nothing_written_after() {
    let domain = fresh_domain();
    let (writing, reading) = (Party::join(domain), Party::join(domain));
    let qos = reliable(8192, PATIENCE).build();
    let mut window = Window::default();
    for round in 0..ROUNDS {
        // A topic each: what lies in the topic cache from one round would be read in the next.
        let name = format!("first_{round}");
        let writer = writing.writer(&writing.topic(&name, &qos));
        let pen = Pen::new(&writer);
        pen.write(3);
        writing.forget();
        let mut reader = reading.plain_reader(&reading.topic(&name, &qos));
        let guid = reader.guid();
        let (heard, taken) = appear(&writing, &pen, guid, &mut || take_plain(&mut reader, 0));
        let values: Vec<_> = taken.iter().flatten().copied().collect();
        assert_eq!(values[0], heard);
        assert_unbroken(&values);
        window.note((taken.len() - values.len()) as u64);
    }
    println!("{ROUNDS} first readers: {window:?}");
    assert!(window.early_readers > 0, "{window:?}");
}

#[test]
fn a_further_reader_of_a_participant_gets_all_from_the_moment_it_is_made() {
    let domain = fresh_domain();
    let (writing, reading) = (Party::join(domain), Party::join(domain));
    let qos = reliable(8192, PATIENCE).build();
    let writer = writing.writer(&writing.topic("further", &qos));
    let topic = reading.topic("further", &qos);
    let resident = reading.reader(&topic);
    writing.wait_for_match(writer.guid(), &reading, resident.guid());
    let pen = Pen::new(&writer);
    let mut window = Window::default();
    for _ in 0..100 {
        writing.forget();
        let made_at = pen.written();
        let mut reader = reading.reader(&topic);
        let guid = reader.guid();
        let (heard, taken) =
            appear(&writing, &pen, guid, &mut || take(&mut reader, 0).into_iter().map(Some).collect());
        let values: Vec<_> = taken.into_iter().flatten().filter(|nth| *nth >= made_at).collect();
        assert_eq!(values[0], made_at);
        assert_unbroken(&values);
        window.note(heard - made_at);
    }
    println!("100 further readers: {window:?}");
    assert!(window.early_readers > 0, "{window:?}");
}

#[test]
fn each_pair_is_reported_once_on_each_side() {
    let domain = fresh_domain();
    let (writing, reading) = (Party::join(domain), Party::join(domain));
    let qos = reliable(4096, PATIENCE).build();
    let (here, there) = (writing.topic("pairs", &qos), reading.topic("pairs", &qos));
    let writers = [writing.writer(&here), writing.writer(&here)];
    let readers = [reading.reader(&there), reading.reader(&there)];
    let each = |mut see: Box<dyn FnMut(GUID, GUID) + '_>| {
        for writer in &writers {
            readers.iter().for_each(|reader| see(writer.guid(), reader.guid()));
        }
    };
    each(Box::new(|writer, reader| writing.wait_for_match(writer, &reading, reader)));
    // Announced again to whoever is new, and by it.
    let third = Party::join(domain);
    let more = third.reader(&third.topic("pairs", &qos));
    writing.wait_for_match(writers[0].guid(), &third, more.guid());
    each(Box::new(|writer, reader| {
        assert_eq!(writing.count(|event| matches_reader(event, writer, reader)), 1);
        assert_eq!(reading.count(|event| matches_writer(event, reader, writer)), 1);
    }));
}

#[test]
fn a_pair_within_one_participant_is_reported_and_served_like_any_other() {
    let party = Party::join(fresh_domain());
    let topic = party.topic("local", &reliable(4096, PATIENCE).build());
    let (writer, mut reader) = (party.writer(&topic), party.reader(&topic));
    party.wait_for_match(writer.guid(), &party, reader.guid());
    let pen = Pen::new(&writer);
    pen.write(10);
    settle(&writer);
    assert_eq!(take(&mut reader, 10).len(), 10);
    // The built-in endpoints match with themselves, and that is reported too.
    let of_user = |event: &Event| {
        matches!(event, Event::RemoteReaderMatched { local_writer, .. }
            if local_writer.entity_id.entity_kind.is_user_defined())
    };
    assert_eq!(party.count(of_user), 1);
    assert!(party.count(|event| matches!(event, Event::RemoteReaderMatched { .. })) > 1);
}

#[test]
fn without_multicast_a_reader_within_the_writers_participant_gets_nothing_and_is_waited_for() {
    let domain = fresh_domain();
    let (both, reading) = (Party::join_on_loopback(domain), Party::join_on_loopback(domain));
    let qos = reliable(4096, PATIENCE).build();
    let here = both.topic("loopback", &qos);
    // Made first: a writer hears of the readers that are there, and of later ones by multicast only.
    let mut local = both.reader(&here);
    reading.wait_for(
        "the local reader is announced",
        |event| matches!(event, Event::ReaderDetected { reader } if reader.guid == local.guid()),
    );
    let writer = both.writer(&here);
    let mut remote = reading.reader(&reading.topic("loopback", &qos));
    both.wait_for("the writer matches the local reader", |event| {
        matches_reader(event, writer.guid(), local.guid())
    });
    both.wait_for_match(writer.guid(), &reading, remote.guid());
    Pen::new(&writer).write(10);
    assert_eq!(take(&mut remote, 10).len(), 10);
    assert!(!writer.wait_for_acknowledgments(Duration::from_millis(300)).unwrap());
    assert!(local.take_next_sample().unwrap().is_none());
}
