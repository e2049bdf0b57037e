//! Real processes that are killed and stopped at any moment: the others go on, lose nothing, and keep nothing.
//!
//! RustDDS by itself takes a participant for dead 50 s after it was heard last: it announces a lease of five times
//! the 10 s between two announcements. Whatever is bounded by [`AT_ONCE`] here was not freed by that.
#![cfg(target_os = "linux")]

mod parties;
/// Where sessions listen.
#[path = "parties/rendezvous.rs"]
mod rendezvous;

mod processes {
    /// Other processes.
    pub(crate) mod child;
    /// Readers that check, and writers that wait for everybody.
    pub(crate) mod following;
    /// What a process has.
    pub(crate) mod possessions;
    /// What children do.
    pub(crate) mod roles;
}

use futures::executor::block_on;
use parties::{Chunk, Finally, PATIENCE, Party, eventually, fresh_domain, unique, write_when_there_is_room};
use processes::child::{Process, alone, is_root, skip};
use processes::following::{Follower, STRANGERS, join, patient, patient_last, qos, settle, write};
use processes::possessions::possessions;
use processes::roles;
use rustdds::dds::WriteError;
use rustdds::{DomainParticipant, QosPolicyBuilder};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};
use zerodds_rustdds::{Config, Options, WhenFull, ZeroDds, no_key};

/// Far more than it takes, and far less than a lease.
const AT_ONCE: Duration = Duration::from_secs(20);

/// Not a test: a child process, when it is one.
#[test]
fn child_process() {
    roles::play();
}

type Writer = no_key::DataWriter<Chunk>;

/// A writer and a reader in two participants of this process, to whose topic other processes come.
struct Scene {
    /// "<domain> <topic> <QoS>": what children are told.
    place: String,
    here: Party,
    there: Party,
    writer: Writer,
    near: Follower,
}

impl Scene {
    fn new(name: &str, qos_word: &str) -> Self {
        let (domain, topic) = (fresh_domain(), unique(name));
        let (here, there) = (join(domain), join(domain));
        let writer = here.writer(&topic, &qos(qos_word));
        let near = Follower::new(&there, &topic, qos_word);
        Self { place: format!("{domain} {topic} {qos_word}"), here, there, writer, near }
    }

    /// A process that reads the topic.
    fn subscriber(&self) -> Process {
        Process::start(&format!("read {}", self.place), &[])
    }

    /// One with a QoS of its own.
    fn subscriber_with(&self, qos_word: &str) -> Process {
        let (place, _) = self.place.rsplit_once(' ').expect("a QoS");
        Process::start(&format!("read {place} {qos_word}"), &[])
    }

    /// Settles the writer with the reader and with new children.
    fn settle(&mut self, children: &mut [&mut Process]) {
        let mut matched = vec![false; children.len()];
        self.near.forget();
        settle(&self.here, &self.writer, || {
            for (matched, child) in matched.iter_mut().zip(children.iter_mut()) {
                *matched |= child.try_hear().is_some_and(|line| line == "matched");
            }
            self.near.take();
            self.near.heard() && matched.iter().all(|matched| *matched)
        });
        eventually("the reader has settled", || {
            self.near.take();
            self.near.has_settled()
        });
        children.iter_mut().for_each(|child| child.expect("settled"));
    }
}

/// Settles a new child that writes with a reader of this process.
fn settle_with_publisher(child: &mut Process, follower: &mut Follower) {
    follower.forget();
    eventually("it is matched", || {
        follower.take();
        follower.heard()
    });
    child.tell("matched");
    eventually("it has settled", || {
        follower.take();
        follower.has_settled()
    });
    child.expect("settled");
}

#[test]
fn a_reliable_writer_is_freed_at_once_by_the_death_of_a_subscriber() {
    if !alone("a_reliable_writer_is_freed_at_once_by_the_death_of_a_subscriber") {
        return;
    }
    let mut scene = Scene::new("killed-reader", &patient(16));
    scene.settle(&mut []);
    let before = possessions();
    let mut number = 0;
    for _ in 0..3 {
        let mut victim = scene.subscriber();
        scene.settle(&mut [&mut victim]);
        let Scene { here, writer, near, .. } = &mut scene;
        let end = number + 64;
        victim.tell("keep 4");
        std::thread::scope(|scope| {
            let writing = scope.spawn(|| write(writer, 1, number..end, 100_000));
            near.take_until(1, number + 16);
            victim.expect(&format!("4 {}", number + 3));
            assert!(!writing.is_finished(), "the victim has room for some twenty");
            assert!(here.zerodds.stats().pool.held_by_peers > 0);
            victim.kill();
            let killed = Instant::now();
            near.take_until(1, end);
            writing.join().expect("nobody is waited for any more");
            assert!(killed.elapsed() < AT_ONCE, "that was its lease: {:?}", killed.elapsed());
        });
        number = end;
    }
    eventually("nothing is kept for the dead", || {
        let pool = scene.here.zerodds.stats().pool;
        (pool.in_use, pool.held_by_peers, pool.unread) == (0, 0, 0) && possessions().is_no_more_than(&before)
    });
    assert_eq!(scene.there.zerodds.stats().gone_samples, 0);
}

#[test]
fn a_reliable_writer_is_freed_at_once_by_the_death_of_a_process_with_which_there_was_no_link_yet() {
    let mut scene = Scene::new("killed-early", &patient(16));
    scene.settle(&mut []);
    let name = rendezvous::name_like_that_of(&scene.here);
    let mut victim = Process::start(&format!("mute {} {name}", scene.place), &[]);
    let Scene { writer, near, .. } = &mut scene;
    let mut number = 0;
    eventually("it is matched", || {
        write(writer, 1, number..number + 1, 9_000);
        number += 1;
        near.take();
        victim.try_hear().is_some_and(|line| line == "matched")
    });
    victim.stop();
    let end = number + 64;
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| write(writer, 1, number..end, 100_000));
        near.take_until(1, number);
        assert!(!writing.is_finished(), "what is stopped acknowledges nothing");
        victim.kill();
        let killed = Instant::now();
        near.take_until(1, end);
        writing.join().expect("nobody is waited for any more");
        assert!(killed.elapsed() < AT_ONCE, "that was its lease: {:?}", killed.elapsed());
    });
}

#[test]
fn the_window_of_a_reader_that_dies_is_waited_for_no_more_whoever_may_share_memory() {
    let (domain, topic) = (fresh_domain(), unique("any-user"));
    let shm = zerodds_transport_shm::Config::default().access(zerodds_transport_shm::Access::Any);
    let participant = DomainParticipant::new(domain).expect("a participant");
    let zerodds = ZeroDds::attach(&participant, Config::default().transport(shm)).expect("a session");
    let here = Party { participant, zerodds };
    // RustDDS itself has room for thousands that nobody acknowledges.
    let writer = here.writer(&topic, &qos("last:4"));
    let mut victim = Process::start(&format!("read {domain} {topic} {}", patient(16)), &[]);
    let mut matched = false;
    settle(&here, &writer, || {
        matched |= victim.try_hear().is_some_and(|line| line == "matched");
        matched
    });
    victim.expect("settled");
    let refused = (0..64).any(|number| writer.write(Chunk::new(1, number, 9_000), None).is_err());
    assert!(refused, "it takes nothing");
    victim.kill();
    eventually("the link is over", || here.zerodds.stats().transport.links == 0);
    write(&writer, 1, 64..128, 9_000);
}

#[test]
fn fifty_publishers_that_are_killed_leave_what_they_had_sent_and_nothing_else() {
    if !alone("fifty_publishers_that_are_killed_leave_what_they_had_sent_and_nothing_else") {
        return;
    }
    let (domain, topic, qos_word) = (fresh_domain(), unique("killed-writer"), patient(64));
    let here = join(domain);
    let mut follower = Follower::new(&here, &topic, &qos_word);
    let before = possessions();
    let mut views: Vec<Chunk> = Vec::new();
    for life in 1..=50 {
        let mut child = Process::start(&format!("write {domain} {topic} {qos_word} {life}"), &[]);
        settle_with_publisher(&mut child, &mut follower);
        let arrived = here.zerodds.stats().arrived_samples;
        child.tell("pour");
        let mut new = Vec::new();
        eventually("some have come", || {
            new.extend(follower.take());
            follower.next(life).is_some_and(|next| next >= 10)
        });
        let acknowledged = child.kill().map_or(0, |line| line.parse().expect("a number"));
        follower.take_until(life, acknowledged);
        eventually("its death is known", || here.zerodds.stats().links_lost == u64::from(life));
        follower.take();
        assert!(here.zerodds.stats().arrived_samples - arrived >= 10, "by shared memory");
        assert!(new[0].writer == life && new.iter().all(Chunk::is_intact), "readable after the death");
        views = new;
    }
    assert!(views.len() >= 10 && views.iter().all(Chunk::is_intact));
    drop(views);
    eventually("nothing of the dead is kept", || {
        follower.take();
        here.zerodds.stats().held_samples == 0 && possessions().is_no_more_than(&before)
    });
    assert_eq!(here.zerodds.stats().gone_samples, 0);
}

#[test]
fn what_a_process_sent_can_be_taken_after_its_death_though_it_was_a_reader_too() {
    const SENT: u32 = 20;
    let mut scene = Scene::new("both", &patient(16));
    let (domain, back, qos_word) =
        (scene.place.split(' ').next().expect("a domain"), unique("back"), patient(64));
    let mut follower = Follower::new(&scene.here, &back, &qos_word);
    let mut victim = Process::start(&format!("both {} {domain} {back} {qos_word} 2", scene.place), &[]);
    scene.settle(&mut [&mut victim]);
    settle_with_publisher(&mut victim, &mut follower);
    victim.tell(&format!("write {SENT}"));
    victim.expect(&SENT.to_string());
    let Scene { writer, near, .. } = &mut scene;
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| write(writer, 1, 0..20, 100_000));
        near.take_until(1, 16);
        assert!(!writing.is_finished(), "the victim has room for sixteen");
        victim.kill();
        near.take_until(1, 20);
        writing.join().expect("nobody is waited for any more");
    });
    follower.take();
    assert_eq!(follower.next(2), Some(SENT), "nothing of it was taken before");
}

#[test]
fn a_reader_to_whom_no_link_can_be_had_again_is_served_by_udp_though_it_keeps_all() {
    let mut scene = Scene::new("starved", &patient(4));
    let mut far = scene.subscriber();
    scene.settle(&mut [&mut far]);
    far.tell("starve");
    far.expect("starved");
    let Scene { here, writer, near, .. } = &mut scene;
    here.zerodds.paths().iter().for_each(|peer| here.zerodds.disconnect(peer.participant));
    far.tell("take 20");
    std::thread::scope(|scope| {
        scope.spawn(|| write(writer, 1, 0..20, 20_000));
        near.take_until(1, 20);
    });
    far.expect("20 19");
}

#[test]
fn processes_killed_at_any_moment_cost_the_survivors_nothing() {
    if !alone("processes_killed_at_any_moment_cost_the_survivors_nothing") {
        return;
    }
    let mut scene = Scene::new("killed", &patient(64));
    scene.settle(&mut []);
    let Scene { place, here, there, writer, near } = &mut scene;
    let before = possessions();
    // A bit for each process that the reader has heard.
    let (over, heard) = (AtomicBool::new(false), AtomicU32::new(0));
    let strangers = |near: &Follower| -> u32 {
        (0..31).filter(|nth| near.next(STRANGERS + nth).is_some()).map(|nth| 1 << nth).sum()
    };
    let written = std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut number = 0;
            while !over.load(Ordering::Relaxed) {
                write(writer, 1, number..number + 1, 9_000 + (number as usize * 631) % 20_000);
                number += 1;
            }
            number
        });
        let killing = scope.spawn(|| {
            let _over = Finally(|| over.store(true, Ordering::Relaxed));
            let mut moments = Moments(0x5eed);
            let start = |nth: u32| {
                let role = match nth % 3 {
                    0 => format!("devour {place}"),
                    1 => format!("pour {place} {} copy", STRANGERS + nth),
                    _ => format!("pour {place} {} loan", STRANGERS + nth),
                };
                Process::start(&role, &[])
            };
            // Two at a time: one lives while the other comes and goes.
            let mut older = start(0);
            older.expect("ready");
            for nth in 1..=30 {
                let mut newer = start(nth);
                newer.expect("ready");
                std::thread::sleep(moments.next_below(Duration::from_millis(600)));
                // Three publishers are heard before they die, however long that takes.
                if matches!(nth - 1, 1 | 2 | 4) {
                    eventually("it is heard", || heard.load(Ordering::Relaxed) & (1 << (nth - 1)) != 0);
                }
                older.kill();
                older = newer;
            }
            older.kill();
        });
        while !writing.is_finished() {
            if near.take().is_empty() {
                std::thread::park_timeout(Duration::from_micros(200));
            } else {
                heard.store(strangers(near), Ordering::Relaxed);
            }
        }
        killing.join().expect("no panic");
        writing.join().expect("no panic")
    });
    near.take_until(1, written);
    eventually("nothing of the dead is kept", || {
        near.take();
        let (here, there) = (here.zerodds.stats(), there.zerodds.stats());
        here.pool.in_use == 0 && there.held_samples == 0 && possessions().is_no_more_than(&before)
    });
    let strangers = strangers(near).count_ones();
    println!("{written} samples beside 31 processes, {strangers} of which published");
    assert!(written > 200 && strangers >= 3, "{written} samples, {strangers} other publishers");
    let gone = there.zerodds.stats().gone_samples;
    assert!(near.left_out <= gone, "{} left out, {gone} of them counted", near.left_out);
}

/// Moments that are the same in each run: xorshift.
struct Moments(u64);

impl Moments {
    fn next_below(&mut self, bound: Duration) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        bound.mul_f64((self.0 >> 11) as f64 / (1u64 << 53) as f64)
    }
}

#[test]
fn a_stopped_best_effort_subscriber_slows_nobody() {
    slows_nobody("stopped", "best:4");
}

#[test]
fn a_stopped_best_effort_subscriber_slows_no_reliable_writer_and_none_of_its_reliable_readers() {
    slows_nobody("stopped-beside", &patient_last(4));
}

/// A best-effort subscriber that is stopped beside another, of a writer with this QoS. One wait for it would last longer than the
/// test has patience.
fn slows_nobody(name: &str, qos_word: &str) {
    let mut scene = Scene::new(name, qos_word);
    let mut other = scene.subscriber_with("best:4");
    scene.settle(&mut [&mut other]);
    let Scene { here, writer, near, .. } = &mut scene;
    let mut number = 0;
    let mut exchange = |count| {
        for _ in 0..count {
            let written = Instant::now();
            write(writer, 1, number..number + 1, 500_000);
            assert!(written.elapsed() < PATIENCE, "{number} waited for the stopped one");
            number += 1;
            near.take_until(1, number);
        }
    };
    exchange(10);
    other.stop();
    let lost = here.zerodds.stats().transport.lost_messages;
    exchange(200);
    assert!(here.zerodds.stats().transport.lost_messages > lost, "the stopped one has no room");
    assert_eq!(near.next(1), Some(number), "nothing was lost for the one that runs");
    other.kill();
    eventually("nothing is kept for it", || {
        write(writer, 1, number..number + 1, 100_000);
        number += 1;
        near.take_until(1, number);
        let pool = here.zerodds.stats().pool;
        (pool.unread, pool.held_by_peers) == (0, 0)
    });
}

#[test]
fn a_writer_that_prefers_udp_to_waiting_does_not_wait_for_a_stopped_subscriber() {
    goes_by_udp("stopped-udp", PATIENCE, WhenFull::Udp);
}

#[test]
fn a_writer_that_may_not_wait_is_refused_nothing_for_a_stopped_subscriber() {
    goes_by_udp("stopped-zero", Duration::ZERO, WhenFull::Block);
}

/// A writer whose samples go by UDP where a subscriber that is stopped has no room: it takes more than fit into a link.
fn goes_by_udp(name: &str, max_blocking_time: Duration, when_full: WhenFull) {
    const READY_MAX: u32 = 1_024;
    let mut scene = Scene::new(name, "last:4");
    let mut other = scene.subscriber();
    scene.settle(&mut [&mut other]);
    let Scene { here, writer: _first, near, place, .. } = &mut scene;
    let reliable = QosPolicyBuilder::new().reliable(rustdds::Duration::from_std(max_blocking_time)).build();
    let qos = qos("last:4").modify_by(&reliable);
    let publisher = here.zerodds.create_publisher(&qos).expect("a publisher");
    let publisher = publisher.with_options(Options::default().when_full(when_full));
    let topic = place.split(' ').nth(1).expect("a topic");
    let writer: Writer =
        publisher.create_datawriter_no_key_cdr(&here.topic(topic), Some(qos)).expect("a writer");
    let mut numbers = 0..;
    eventually("one descriptor reaches all", || {
        let before = here.zerodds.stats().descriptors;
        let number = numbers.next().expect("endless");
        writer.write(Chunk::new(2, number, 10_000), None).expect("written");
        near.take();
        here.zerodds.stats().descriptors == before + 1
    });
    other.stop();
    for number in 0..READY_MAX + 10 {
        let begun = Instant::now();
        writer.write(Chunk::new(1, number, 10_000), None).expect("written");
        assert!(begun.elapsed() < PATIENCE, "{number} waited for the stopped one");
        near.take_until(1, number + 1);
    }
    let stats = here.zerodds.stats();
    assert!(stats.transport.timed_out_messages > 0 && stats.fallbacks > 0, "its link was full: {stats:?}");
}

/// Writes until it is refused; when that was, and how many were accepted.
fn write_until_refused(writer: &Writer, near: &mut Follower, first: u32, len: usize) -> (u32, Duration) {
    for number in first.. {
        let begin = Instant::now();
        match writer.write(Chunk::new(1, number, len), None) {
            Ok(()) => near.take_until(1, number + 1),
            Err(WriteError::WouldBlock { data }) => {
                assert_eq!(data.number, number, "it is given back");
                return (number, begin.elapsed());
            }
            Err(other) => panic!("{other}"),
        }
        assert!(number - first < 10_000, "somewhen there is no room");
    }
    unreachable!("all numbers were accepted")
}

/// A subscriber in another process that does not take, and then is stopped, and then dies.
fn a_subscriber_that_stands_still(qos_word: &str, len: usize, max_blocking_time: Duration) {
    let mut scene = Scene::new(&format!("still-{}", qos_word.replace(':', "-")), qos_word);
    let mut other = scene.subscriber();
    scene.settle(&mut [&mut other]);
    let Scene { writer, near, .. } = &mut scene;

    // The news of what was taken before may be under way, here and below.
    write_when_there_is_room(writer, Chunk::new(1, 0, len));
    near.take_until(1, 1);
    let (mut number, blocked) = write_until_refused(writer, near, 1, len);
    assert!(blocked >= max_blocking_time, "{number} accepted, refused after {blocked:?}");
    other.tell(&format!("take {number}"));
    other.expect(&format!("{number} {}", number - 1));
    for _ in 0..20 {
        write_when_there_is_room(writer, Chunk::new(1, number, len));
        near.take_until(1, number + 1);
        other.tell("take 1");
        other.expect(&format!("1 {number}"));
        number += 1;
    }

    other.stop();
    let (mut number, blocked) = write_until_refused(writer, near, number, len);
    assert!(blocked >= max_blocking_time, "refused after {blocked:?}");
    other.kill();
    let killed = Instant::now();
    let end = number + 50;
    while number < end {
        match writer.write(Chunk::new(1, number, len), None) {
            Ok(()) => {
                number += 1;
                near.take_until(1, number);
            }
            Err(WriteError::WouldBlock { .. }) => assert!(killed.elapsed() < AT_ONCE, "it is dead"),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_subscriber_that_keeps_all_and_stands_still_blocks_until_it_goes_on_or_dies() {
    a_subscriber_that_stands_still("all:16:300", 20_000, Duration::from_millis(300));
}

#[test]
fn an_async_write_waits_no_longer_than_it_may_for_a_process_that_acknowledges_nothing() {
    let (domain, topic) = (fresh_domain(), unique("deaf-async"));
    let here = join(domain);
    let writer = here.writer(&topic, &qos("all:16:300"));
    let mut child = Process::start(&format!("read {domain} {topic} last:4"), &[]);
    let mut matched = false;
    settle(&here, &writer, || {
        matched |= child.try_hear().is_some_and(|line| line == "matched");
        matched
    });
    child.expect("settled");
    child.stop();
    let (written, waited) = (0..100)
        .find_map(|number| {
            let begun = Instant::now();
            match block_on(writer.async_write(Chunk::new(1, number, 100), None)) {
                Ok(()) => None,
                Err(WriteError::WouldBlock { data }) => Some((data.number, begun.elapsed())),
                Err(error) => panic!("{error}"),
            }
        })
        .expect("RustDDS has room for sixteen");
    assert!(written <= 16 && waited >= Duration::from_millis(300), "{written}, refused after {waited:?}");
    assert!(waited < AT_ONCE, "that was its lease: {waited:?}");
}

/// What these tests cannot do is to let a stopped subscriber go on: an `epoll_wait` that was stopped fails with
/// EINTR, and RustDDS 0.15 ends its threads by that. To its peers such a participant is dead when its lease ends.
#[test]
fn rustdds_by_itself_does_not_survive_being_stopped() {
    let (domain, topic) = (fresh_domain(), unique("deaf"));
    let mut child = Process::start(&format!("idle {domain} {topic} plain"), &[]);
    child.expect("idle");
    let threads = || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", child.id())).expect("it runs").flatten();
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
        names.filter(|name| name.starts_with("RustDDS")).count()
    };
    assert!(threads() > 0);
    eventually("its threads end", || {
        child.stop();
        child.resume();
        threads() == 0
    });
}

#[test]
fn a_publisher_with_private_pids_and_mounts_shares_memory() {
    if !is_root() {
        skip("a_publisher_with_private_pids_and_mounts_shares_memory needs root, for namespaces");
        return;
    }
    let (domain, topic, qos_word) = (fresh_domain(), unique("namespaces"), patient(64));
    let here = join(domain);
    let mut follower = Follower::new(&here, &topic, &qos_word);
    let script = "mount -t tmpfs -o size=1m none /dev/shm && exec \"$@\"";
    let wrapper =
        ["unshare", "--mount", "--ipc", "--pid", "--fork", "--kill-child", "sh", "-c", script, "sh"];
    let mut child = Process::start(&format!("write {domain} {topic} {qos_word} 1"), &wrapper);
    settle_with_publisher(&mut child, &mut follower);
    let before = here.zerodds.stats();
    child.tell("write 20");
    follower.take_until(1, 20);
    let after = here.zerodds.stats();
    assert_eq!(after.arrived_samples - before.arrived_samples, 20, "all by shared memory");
}

#[test]
fn participants_with_nothing_to_do_use_no_more_cpu_than_without_shared_memory() {
    let (domain, topic) = (fresh_domain(), unique("idle"));
    let mut children = ["plain", "shared"].map(|kind| {
        let mut child = Process::start(&format!("idle {domain} {topic}-{kind} {kind}"), &[]);
        child.expect("idle");
        child
    });
    let tries: Vec<BTreeMap<&str, [u64; 2]>> = (0..3)
        .map(|_| {
            children.iter_mut().for_each(|child| child.tell("measure"));
            let spent = children.iter_mut().map(|child| {
                let line = child.hear();
                let (process, ours) = line.split_once(' ').expect("two numbers");
                [process, ours].map(|number| number.parse().expect("a number"))
            });
            ["plain", "shared"].into_iter().zip(spent).collect()
        })
        .collect();
    println!("CPU in 3 s, of the process and of our threads in it, in ns: {tries:?}");
    // Somebody else's participant may come and go meanwhile, and both have to look at it; not three times.
    let quiet = tries.iter().any(|spent| {
        let ([plain, _], [shared, ours]) = (spent["plain"], spent["shared"]);
        ours < 3_000_000 && shared < plain + plain / 2 + 15_000_000
    });
    assert!(
        quiet,
        "a thousandth of a CPU for us, and a little more than half as much again for all: {tries:?}"
    );
}
