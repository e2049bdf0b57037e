//! Topics with a key: instances, their ends, their histories, loans and streams, all by shared memory.

mod parties;

use bytes::Bytes;
use futures::StreamExt;
use futures::executor::block_on;
use parties::{PATIENCE, Party, eventually, pattern, unique};
use rustdds::dds::sampleinfo::{InstanceState, ViewState};
use rustdds::dds::{WriteError, WriteResult};
use rustdds::policy::{Durability, History, ResourceLimits};
use rustdds::with_key::Sample;
use rustdds::{
    Keyed, QosPolicies, QosPolicyBuilder, ReadCondition, SampleInfo, SelectByKey, Topic, TopicKind,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::mpsc;
use zerodds_rustdds::with_key::{DataReader, DataWriter};

/// A tile of a map: the newest of each place counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Tile {
    place: u32,
    version: u32,
    #[serde(with = "zerodds_rustdds::bytes")]
    data: Bytes,
}

impl Tile {
    fn new(place: u32, version: u32) -> Self {
        Self { place, version, data: pattern(version ^ place, LEN).into() }
    }

    fn is_intact(&self) -> bool {
        self.data == pattern(self.version ^ self.place, LEN)
    }
}

impl Keyed for Tile {
    type K = u32;

    fn key(&self) -> u32 {
        self.place
    }
}

const LEN: usize = 20_000;
/// Not a place of any test.
const NOWHERE: u32 = u32::MAX;

fn qos(depth: i32) -> QosPolicies {
    let many = 1 << 16;
    // RustDDS's topic cache knows no instances: without limits it keeps 64 samples of all of them together.
    let limits = ResourceLimits { max_samples: many, max_instances: many, max_samples_per_instance: many };
    QosPolicyBuilder::new()
        .reliable(PATIENCE.into())
        .history(History::KeepLast { depth })
        .durability(Durability::Volatile)
        .resource_limits(limits)
        .build()
}

fn topic(party: &Party, name: &str) -> Topic {
    let none = QosPolicies::qos_none();
    party.participant.create_topic(name.into(), "Tile".into(), &none, TopicKind::WithKey).expect("a topic")
}

/// A writer here and readers there that have met.
struct Scene {
    here: Party,
    there: Party,
    writer: DataWriter<Tile>,
    reader: DataReader<Tile>,
}

impl Scene {
    fn new(name: &str, qos: &QosPolicies) -> Self {
        let (here, there) = (Party::new(), Party::new());
        let name = unique(name);
        let publisher = here.zerodds.create_publisher(qos).expect("a publisher");
        let writer = publisher
            .create_datawriter_cdr::<Tile>(&topic(&here, &name), Some(qos.clone()))
            .expect("a writer");
        let subscriber = there.zerodds.create_subscriber(qos).expect("a subscriber");
        let reader = subscriber
            .create_datareader_cdr::<Tile>(&topic(&there, &name), Some(qos.clone()))
            .expect("a reader");
        let mut scene = Self { here, there, writer, reader };
        scene.meet();
        scene
    }

    fn meet(&mut self) {
        eventually("samples go by shared memory", || {
            let before = self.here.zerodds.stats().shared_samples;
            // Before the links are up a reader cannot say that it made room.
            let _ = self.writer.write(Tile::new(NOWHERE, 0), None);
            let shared = self.here.zerodds.stats().shared_samples > before;
            let has_come = self.is_acknowledged() && !self.take().is_empty();
            shared && has_come
        });
    }

    fn is_acknowledged(&self) -> bool {
        self.writer.wait_for_acknowledgments(PATIENCE).expect("it waits")
    }

    fn write(&self, place: u32, version: u32) {
        self.writer.write(Tile::new(place, version), None).expect("written");
    }

    fn take(&mut self) -> Vec<(Sample<Tile, u32>, SampleInfo)> {
        let taken = self.reader.take(usize::MAX, ReadCondition::any()).expect("taken");
        taken
            .into_iter()
            .map(|sample| (sample.sample_info().clone(), sample))
            .map(|(info, sample)| (sample.into_value(), info))
            .collect()
    }

    /// Everything written before has arrived: takes it.
    fn take_all(&mut self) -> Vec<(Sample<Tile, u32>, SampleInfo)> {
        assert!(self.is_acknowledged());
        self.take()
    }

    fn assert_all_shared_and_nothing_held(&self, samples: u64, before: u64) {
        let (here, there) = (self.here.zerodds.stats(), self.there.zerodds.stats());
        assert_eq!(here.shared_samples - before, samples, "all went by shared memory");
        assert_eq!((there.gone_samples, there.held_samples, there.strange_messages), (0, 0, 0), "{there:?}");
    }
}

#[test]
fn an_instance_is_born_disposed_of_and_reborn() {
    let mut scene = Scene::new("reborn", &qos(8));
    let before = scene.here.zerodds.stats().shared_samples;
    scene.write(1, 1);
    scene.write(2, 1);
    scene.writer.dispose(&1, None).expect("disposed");
    let seen = scene.take_all();
    assert_eq!(seen.len(), 3);
    for (sample, info) in &seen {
        let of_1 = matches!(sample, Sample::Dispose(1) | Sample::Value(Tile { place: 1, .. }));
        let state = if of_1 { InstanceState::NotAliveDisposed } else { InstanceState::Alive };
        assert_eq!((info.instance_state(), info.view_state()), (state, ViewState::New));
        assert!(
            matches!(sample, Sample::Dispose(1)) || matches!(sample, Sample::Value(tile) if tile.is_intact())
        );
    }
    assert!(matches!(seen[2].0, Sample::Dispose(1)), "in order");

    scene.write(1, 2);
    scene.write(2, 2);
    let seen = scene.take_all();
    let of: BTreeMap<u32, &SampleInfo> = seen
        .iter()
        .map(|(sample, info)| match sample {
            Sample::Value(tile) => (tile.place, info),
            Sample::Dispose(place) => panic!("{place} is not disposed of twice"),
        })
        .collect();
    assert_eq!((of[&1].instance_state(), of[&1].disposed_generation_count()), (InstanceState::Alive, 1));
    assert_eq!((of[&1].view_state(), of[&2].view_state()), (ViewState::New, ViewState::NotNew));
    assert_eq!(of[&2].disposed_generation_count(), 0);
    scene.assert_all_shared_and_nothing_held(4, before);
}

#[test]
fn many_instances_that_keep_one_sample_each_all_have_their_last() {
    const PLACES: u32 = 1_000;
    const VERSIONS: u32 = 3;
    let mut scene = Scene::new("last", &qos(1));
    let before = scene.here.zerodds.stats().shared_samples;
    for version in 1..=VERSIONS {
        (0..PLACES).for_each(|place| scene.write(place, version));
    }
    let newest: BTreeMap<u32, Tile> = scene
        .take_all()
        .into_iter()
        .filter_map(|(sample, _)| sample.value())
        .map(|tile| (tile.place, tile))
        .collect();
    let missing: Vec<u32> =
        (0..PLACES).filter(|place| newest.get(place).is_none_or(|tile| tile.version != VERSIONS)).collect();
    assert!(missing.is_empty(), "{} of {PLACES} places have not their last: {missing:?}", missing.len());
    assert!(newest.values().all(Tile::is_intact));
    scene.assert_all_shared_and_nothing_held(u64::from(PLACES * VERSIONS), before);
}

/// Writes one instance once and another often; both have their last.
fn busy_and_quiet(name: &str, quiet: u32, busy: u32) {
    let mut scene = Scene::new(name, &qos(1));
    scene.write(quiet, 1);
    (1..=400).for_each(|version| scene.write(busy, version));
    let kept: Vec<_> = scene
        .take_all()
        .into_iter()
        .filter_map(|(sample, _)| sample.value())
        .map(|tile| (tile.place, tile.version))
        .collect();
    assert_eq!(kept, [(quiet, 1), (busy, 400)], "of {quiet:#x} and {busy:#x}");
}

#[test]
fn a_busy_instance_costs_a_quiet_one_nothing() {
    busy_and_quiet("quiet", 1, 2);
}

#[test]
fn a_busy_instance_costs_one_with_a_similar_key_nothing() {
    busy_and_quiet("similar", 0x80, 0x100);
}

#[test]
fn instances_are_read_and_taken_one_by_one() {
    let mut scene = Scene::new("one-by-one", &qos(4));
    for version in 1..=3 {
        [10, 20, 30].into_iter().for_each(|place| scene.write(place, version));
    }
    assert!(scene.is_acknowledged());
    let versions = |samples: Vec<rustdds::with_key::DataSample<Tile>>| -> Vec<(u32, u32)> {
        let tiles = samples.into_iter().filter_map(|sample| sample.into_value().value());
        tiles.inspect(|tile| assert!(tile.is_intact())).map(|tile| (tile.place, tile.version)).collect()
    };
    let reader = &mut scene.reader;
    let read = reader.read_instance(2, ReadCondition::any(), Some(20), SelectByKey::This).expect("read");
    assert_eq!(read.iter().map(|sample| sample.key()).collect::<Vec<_>>(), [20, 20]);
    let next = reader.read_instance(9, ReadCondition::not_read(), Some(10), SelectByKey::Next).expect("read");
    assert_eq!(next.len(), 1, "two of the three were read before");
    let taken = reader.take_instance(9, ReadCondition::any(), None, SelectByKey::This).expect("taken");
    assert_eq!(versions(taken), [(10, 1), (10, 2), (10, 3)], "the smallest");
    let taken = reader.take_instance(1, ReadCondition::any(), Some(30), SelectByKey::This).expect("taken");
    assert_eq!(versions(taken), [(30, 1)]);
    let rest = reader.take(9, ReadCondition::any()).expect("taken");
    assert_eq!(versions(rest), [(20, 1), (20, 2), (30, 2), (20, 3), (30, 3)]);
    let none = reader.take_instance(9, ReadCondition::any(), Some(77), SelectByKey::This).expect("taken");
    assert!(none.is_empty());
}

#[test]
fn loans_have_the_key_of_the_sample_that_they_become() {
    let mut scene = Scene::new("loans", &qos(4));
    let before = scene.here.zerodds.stats().shared_samples;
    for place in [7, 8] {
        let mut loan =
            scene.writer.loan(LEN, |data| Tile { place, version: 5, data }).expect("room in the ring");
        assert!(loan.is_shared());
        loan.copy_from_slice(&pattern(5 ^ place, LEN));
        scene.writer.publish(loan, None).expect("published");
    }
    scene.writer.dispose(&7, None).expect("disposed");
    let seen = scene.take_all();
    let tiles: Vec<_> =
        seen.iter().map(|(sample, info)| (sample.as_ref().value().cloned(), info.instance_state())).collect();
    let expected = [
        (Some(Tile::new(7, 5)), InstanceState::NotAliveDisposed),
        (Some(Tile::new(8, 5)), InstanceState::Alive),
        (None, InstanceState::NotAliveDisposed),
    ];
    assert_eq!(tiles, expected);
    scene.assert_all_shared_and_nothing_held(2, before);
}

#[test]
fn streams_carry_samples_and_the_ends_of_instances() {
    let Scene { here, there, writer, reader } = Scene::new("streams", &qos(16));
    let mut stream = reader.async_sample_stream();
    let (took, taken) = mpsc::channel();
    // What is said of an instance's state holds when the sample is taken: so nothing is written before that.
    let writing = std::thread::spawn(move || {
        for version in 1..=50 {
            writer.write(Tile::new(version % 5, version), None).expect("written");
            taken.recv().expect("the reader goes on");
            if version % 5 == 4 {
                writer.dispose(&4, None).expect("disposed");
                taken.recv().expect("the reader goes on");
            }
        }
        (here, writer)
    });
    let (mut version, mut ends) = (0, 0);
    while (version, ends) != (50, 10) {
        let sample = block_on(stream.next()).expect("endless").expect("taken");
        let (state, generation) =
            (sample.sample_info().instance_state(), sample.sample_info().disposed_generation_count());
        match sample.into_value() {
            Sample::Value(tile) => {
                version += 1;
                assert!(tile == Tile::new(version % 5, version), "{} after {version}", tile.version);
                assert_eq!(generation, if version % 5 == 4 { ends } else { 0 });
            }
            Sample::Dispose(place) => {
                ends += 1;
                assert_eq!((place, state), (4, InstanceState::NotAliveDisposed));
            }
        }
        took.send(()).expect("the writer goes on");
    }
    drop(writing.join().expect("no panic"));
    assert_eq!(there.zerodds.stats().held_samples, 0);
}

/// Attempts until it is accepted: the news of what was taken may be under way.
fn once_there_is_room<T, D>(mut attempt: impl FnMut() -> WriteResult<T, D>) {
    eventually("there is room", || match attempt() {
        Ok(_) => true,
        Err(WriteError::WouldBlock { .. }) => false,
        Err(error) => panic!("{error}"),
    });
}

#[test]
fn a_disposal_waits_for_a_reader_that_keeps_all_and_has_no_room() {
    const ROOM: usize = 4;
    let mut scene = Scene::new("full", &parties::keep_all(ROOM as i32, 300));
    for version in 0..ROOM as u32 {
        once_there_is_room(|| scene.writer.write(Tile::new(1, version), None));
    }
    let disposed = scene.writer.dispose(&1, None);
    assert!(matches!(disposed, Err(WriteError::WouldBlock { .. })), "{disposed:?}");
    let mut taken = 0;
    eventually("all come", || {
        taken += scene.take().len();
        taken == ROOM
    });
    once_there_is_room(|| scene.writer.dispose(&1, None));
    eventually("it comes", || scene.take().iter().any(|(sample, _)| matches!(sample, Sample::Dispose(1))));
}

#[test]
fn a_burst_of_disposals_waits_for_a_reader_that_keeps_all_and_loses_it_nothing() {
    const ROOM: u32 = 4;
    let mut scene = Scene::new("disposals", &parties::keep_all(ROOM as i32, 300));
    once_there_is_room(|| scene.writer.write(Tile::new(0, 7), None));
    let is_disposed = |place: &u32| match scene.writer.dispose(place, None) {
        Ok(()) => true,
        Err(WriteError::WouldBlock { .. }) => false,
        Err(error) => panic!("{error}"),
    };
    (1..ROOM).for_each(|place| eventually("there is room", || is_disposed(&place)));
    // Far more than the reader inside keeps.
    let more = (ROOM..2_000).take_while(is_disposed).count();
    assert_eq!(more, 0, "{ROOM} are under way without them");
    let mut taken = Vec::new();
    eventually("all come", || {
        taken.extend(scene.take().into_iter().map(|(sample, _)| sample));
        taken.len() == ROOM as usize
    });
    assert!(
        matches!(&taken[0], Sample::Value(tile) if tile.version == 7),
        "the oldest is there: {:?}",
        taken[0]
    );
    once_there_is_room(|| scene.writer.dispose(&ROOM, None));
}

/// The caller's own, whatever becomes of the reader.
fn taken_by_two(reader: &mut DataReader<Tile>) -> Box<dyn Iterator<Item = Sample<Tile, u32>>> {
    let taken = reader.into_iterator().expect("taken");
    let more = reader.into_conditional_iterator(ReadCondition::any()).expect("taken");
    Box::new(taken.chain(more))
}

#[test]
fn while_what_was_taken_is_looked_at_the_reader_can_be_asked_for_more() {
    let mut scene = Scene::new("kept", &qos(4));
    scene.write(1, 7);
    eventually("it comes", || {
        taken_by_two(&mut scene.reader).any(|sample| sample.value() == Some(Tile::new(1, 7)))
    });
}
