//! Everything that the report shows, as one list of sessions. What is compared with each other is in one session.
//!
//! | Part | Compares |
//! |---|---|
//! | transport | the transport with the ideal ring: latency filled and untouched, at full rate and at 10 Hz, throughput |
//! | fan | one to many and many to one |
//! | dds | RustDDS and Dust DDS with this project and without, same measurements |
//! | net | Dust DDS with this project and without, between two hosts |
//! | crowd | a small topic of RustDDS with this project among many, and a raw futex beside them |
//! | peers | what other workspaces bring, beside the limits and this project |
//! | rest | processes that do nothing, and links that nothing, or something, went through |
//! | calls | system calls for a message; of root, with perf |

use crate::calls;
use crate::crew::Shape;
use crate::crowd::PROCESSES;
use crate::limits::memory::{Bandwidth, SIZES};
use crate::median::Case;
use crate::placement::{Placement, pin};
use crate::record::Kind;
use crate::report::machine::{Described, Machine};
use crate::sample::Touch;
use crate::session::{self, Session};
use crate::system::System;
use std::collections::BTreeSet;
use std::error::Error;
use std::fs::{self, File};
use std::path::Path;
use std::time::Instant;

/// A part of the suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    Transport,
    Fan,
    Dds,
    Net,
    Crowd,
    Peers,
    Rest,
    Calls,
}

/// Which systems, and what of them.
struct Entry {
    part: Part,
    systems: &'static [&'static str],
    /// Whether systems that are not ours take part.
    with_peers: bool,
    session: Session,
}

/// Measures the parts and appends to what is in the folder.
pub(crate) fn run(
    systems: &[Box<dyn System>],
    is_quick: bool,
    parts: &[Part],
    into: &Path,
) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(into)?;
    let extent = if is_quick { "quick" } else { "full" };
    let of: Vec<String> = parts.iter().map(|part| format!("{part:?}").to_lowercase()).collect();
    let parts_said = if of.is_empty() { "all parts".to_owned() } else { of.join(", ") };
    note_machine(systems, into, format!("{extent}, {parts_said}"))?;
    let mut results = File::options().append(true).create(true).open(into.join("results.jsonl"))?;
    let start = Instant::now();
    for entry in entries(is_quick) {
        if !parts.is_empty() && !parts.contains(&entry.part) {
            continue;
        }
        if entry.part == Part::Calls
            && let Err(why) = calls::availability()
        {
            eprintln!("{why}");
            continue;
        }
        let mut chosen: Vec<&dyn System> = systems
            .iter()
            .map(AsRef::as_ref)
            .filter(|system| entry.systems.contains(&system.name()))
            .collect();
        if entry.with_peers {
            let peers = systems.iter().map(AsRef::as_ref).filter(|system| !is_ours(system.name()));
            let before = chosen.len();
            chosen.extend(peers);
            if chosen.len() == before {
                continue;
            }
        }
        let Session { kind, shape, placement, rate_hz, touch, .. } = entry.session;
        eprintln!(
            "at {:3} s: {kind:?}, {shape:?}, {placement}, {touch:?}, {rate_hz:?} Hz: {} systems",
            start.elapsed().as_secs(),
            chosen.len()
        );
        entry.session.measure(&chosen, &mut |record| Ok(record.append(&mut results)?))?;
    }
    Ok(())
}

/// Whether a system is one of this workspace's.
pub(crate) fn is_ours(name: &str) -> bool {
    ["ideal-", "zerodds-", "rustdds-", "plain-", "dust"].iter().any(|start| name.starts_with(start))
}

/// Every case of the full suite, whatever the machine can measure of it; those of systems that are not ours as of [`A_PEER`].
pub(crate) fn planned() -> BTreeSet<Case> {
    entries(false).iter().flat_map(Entry::cases).collect()
}

impl Entry {
    fn cases(&self) -> impl Iterator<Item = Case> {
        let peers = self.with_peers.then_some(A_PEER);
        let systems = self.systems.iter().copied().chain(peers);
        systems
            .flat_map(move |system| self.session.sizes.iter().map(move |&len| self.session.case(system, len)))
    }
}

fn note_machine(systems: &[Box<dyn System>], into: &Path, extent: String) -> Result<(), Box<dyn Error>> {
    let described = systems
        .iter()
        .map(|system| Described { name: system.name().to_owned(), set_up: system.set_up() })
        .collect();
    // On a thread of its own, because whom a process starts is pinned as it is.
    let bandwidths = std::thread::spawn(|| pin(0).map(|()| SIZES.map(Bandwidth::measure).to_vec()));
    let bandwidths = bandwidths.join().map_err(|_| "measuring memory panicked")??;
    let path = into.join("machine.json");
    let mut machine = Machine::here(extent, described, bandwidths)?;
    // Other programs may have measured other systems before.
    if let Some(before) = fs::read_to_string(&path).ok().and_then(|text| serde_json::from_str(&text).ok()) {
        machine.merge(before);
    }
    Ok(fs::write(path, serde_json::to_string_pretty(&machine)?)?)
}

fn entries(is_quick: bool) -> Vec<Entry> {
    let sizes = |quick: &[usize], full: &[usize]| if is_quick { quick.to_vec() } else { full.to_vec() };
    let all_sizes =
        sizes(&[64, 16 * KI, MI, 8 * MI], &[64, KI, 16 * KI, 64 * KI, 256 * KI, MI, 4 * MI, 8 * MI, 16 * MI]);
    let stream_sizes =
        sizes(&[64, 64 * KI, MI, 8 * MI], &[64, KI, 16 * KI, 64 * KI, 256 * KI, MI, 4 * MI, 8 * MI, 16 * MI]);
    let dds_sizes =
        sizes(&[64, 64 * KI, MI, 4 * MI], &[64, KI, 16 * KI, 64 * KI, 256 * KI, MI, 4 * MI, 8 * MI]);
    let peers_sizes = sizes(&[64, MI, 8 * MI], &[64, KI, 16 * KI, 64 * KI, 256 * KI, MI, 4 * MI, 8 * MI]);
    let (mut entries, began) = (Vec::new(), session::now());
    for placement in [Placement::Same, Placement::Apart] {
        let session =
            |kind, shape, sizes: &[usize]| session_of(is_quick, placement, kind, shape, sizes.to_vec());
        let latency = |sizes: &[usize]| session(Kind::Latency, Shape::PingPong, sizes);
        let stream = |shape, sizes: &[usize]| session(Kind::Throughput, shape, sizes);
        // The first wake of a core that slept: what robots see. Few samples a run, so runs are long.
        let rare = |ms| Session { rate_hz: Some(10.0), ms, ..latency(&[64]) };
        let mut add = |part, systems, session| {
            let session = Session { name: format!("{part:?} {began}").to_lowercase(), ..session };
            entries.push(Entry { part, systems, with_peers: part == Part::Peers, session });
        };
        add(Part::Transport, TRANSPORT, latency(&all_sizes));
        add(Part::Transport, WAITING, Session { touch: Touch::None, ..latency(&[64, MI, 8 * MI]) });
        add(Part::Transport, WAITING, rare(if is_quick { 1000 } else { 2000 }));
        // How much of a processor waiting takes at a pace.
        add(
            Part::Transport,
            WAITING,
            Session { rate_hz: Some(10_000.0), ms: if is_quick { 200 } else { 500 }, ..latency(&[64]) },
        );
        add(Part::Transport, TRANSPORT, stream(Shape::FanOut(1), &stream_sizes));
        for readers in if is_quick { vec![3] } else { vec![2, 3, 8] } {
            add(Part::Fan, FAN, stream(Shape::FanOut(readers), &sizes(&[MI], &[64, 64 * KI, MI])));
        }
        for writers in if is_quick { vec![4] } else { vec![4, 16] } {
            add(Part::Fan, FAN, stream(Shape::ManyToOne(writers), &[64, MI]));
        }
        // What suits large samples, such as room for two of them, would be tried on small ones too in a session of both.
        let (small, large) = dds_sizes.split_at(1);
        add(Part::Dds, DDS, latency(small));
        add(Part::Dds, DDS, latency(large));
        // From the call that publishes to the sample in the reader's hand: what is done there takes time of its own.
        add(Part::Dds, RUSTDDS, Session { touch: Touch::None, ..latency(&[64 * KI, MI, 4 * MI]) });
        add(Part::Dds, DDS, Session { runs: 3, ..rare(2000) });
        add(Part::Dds, DDS, stream(Shape::FanOut(1), small));
        add(Part::Dds, DDS, stream(Shape::FanOut(1), large));
        add(Part::Dds, VIEWS, stream(Shape::FanOut(3), &[4 * MI]));
        // What Dust is without any setting; with large samples it comes to no end. By itself, since the others have other sizes beside.
        add(Part::Dds, DUST, latency(&[64, 64 * KI]));
        add(Part::Dds, DUST, stream(Shape::FanOut(1), &[64, 64 * KI]));
        add(Part::Peers, BESIDE_PEERS, latency(&peers_sizes));
        add(Part::Peers, BESIDE_PEERS, stream(Shape::FanOut(1), &stream_sizes));
        add(Part::Peers, BESIDE_PEERS, stream(Shape::FanOut(3), &[MI]));
        add(Part::Calls, CALLS, Session { runs: 3, ..session(Kind::Calls, Shape::PingPong, &[64, MI]) });
        let rest =
            Session { ms: if is_quick { 1500 } else { 5000 }, ..session(Kind::Rest, Shape::PingPong, &[64]) };
        if placement == Placement::Apart {
            resting(rest).into_iter().for_each(|(systems, session)| add(Part::Rest, systems, session));
            continue;
        }
        // Neither is pinned: a network and a crowd have work for all processors.
        let cable = Session {
            placement: Placement::Hosts,
            warm_up_ms: 300,
            ms: if is_quick { 700 } else { 2000 },
            ..stream(Shape::FanOut(1), &[MI])
        };
        add(Part::Net, ACROSS, cable);
        let crowd = Session {
            placement: Placement::Free,
            runs: 1,
            ms: if is_quick { 10_000 } else { 60_000 },
            ..session(Kind::Crowd, Shape::Crowd(PROCESSES), &[64])
        };
        add(Part::Crowd, CROWD, crowd);
    }
    entries
}

/// What costs something while nothing is sent.
fn resting(rest: Session) -> Vec<(&'static [&'static str], Session)> {
    // What a peer more costs whose link nothing went through yet.
    let fresh = [2, 6].map(|readers| {
        let session = Session { shape: Shape::FanOut(readers), ..rest.clone() };
        (&["zerodds-loan-park"][..], session)
    });
    let used = [Shape::FanOut(2), Shape::PingPong].map(|shape| {
        let session = Session { shape, kind: Kind::Links, sizes: vec![64 * KI], ms: 100, ..rest.clone() };
        (LINKING, session)
    });
    fresh.into_iter().chain(used).chain([(RESTING, rest)]).collect()
}

/// As most are.
fn session_of(is_quick: bool, placement: Placement, kind: Kind, shape: Shape, sizes: Vec<usize>) -> Session {
    Session {
        name: String::new(),
        kind,
        shape,
        placement,
        sizes,
        runs: 5,
        touch: Touch::Full,
        rate_hz: None,
        warm_up_ms: if is_quick { 20 } else { 30 },
        ms: if is_quick { 50 } else { 120 },
    }
}

/// Stands for whatever another workspace brings.
pub(crate) const A_PEER: &str = "peer";
const KI: usize = 1 << 10;
const MI: usize = 1 << 20;
const TRANSPORT: &[&str] = &[
    "ideal-loan-futex",
    "ideal-copy-futex",
    "ideal-loan-spin",
    "zerodds-loan-park",
    "zerodds-copy-park",
    "zerodds-loan-adaptive",
];
const WAITING: &[&str] = &[
    "ideal-loan-futex",
    "zerodds-loan-park",
    "zerodds-loan-adaptive",
    "zerodds-loan-50us",
    "zerodds-loan-spin",
];
const FAN: &[&str] = &["ideal-loan-futex", "zerodds-loan-park"];
const DDS: &[&str] = &[
    "ideal-loan-futex",
    "ideal-copy-futex",
    "rustdds-views",
    "rustdds-copies",
    "plain-rustdds",
    "dust",
    "plain-dust-65000",
];
const RUSTDDS: &[&str] = &["rustdds-views", "rustdds-copies", "plain-rustdds"];
const VIEWS: &[&str] = &["ideal-loan-futex", "rustdds-views"];
const DUST: &[&str] = &["plain-dust"];
const ACROSS: &[&str] = &["dust", "plain-dust-65000"];
const CROWD: &[&str] = &["ideal-loan-futex", "zerodds-loan-park", "rustdds-views"];
const BESIDE_PEERS: &[&str] =
    &["ideal-loan-futex", "ideal-copy-futex", "zerodds-loan-park", "zerodds-copy-park", "rustdds-views"];
const LINKING: &[&str] = &["zerodds-loan-park", "rustdds-views", "dust"];
const CALLS: &[&str] = &[
    "ideal-loan-futex",
    "zerodds-loan-park",
    "zerodds-loan-adaptive",
    "rustdds-views",
    "plain-rustdds",
    "dust",
    "plain-dust-65000",
];
const RESTING: &[&str] = &[
    "zerodds-loan-park",
    "zerodds-loan-adaptive",
    "rustdds-views",
    "plain-rustdds",
    "dust",
    "plain-dust-65000",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quick_suite_measures_nothing_that_the_full_one_does_not() {
        let full: BTreeSet<Case> = planned().iter().map(Case::of_any_session).collect();
        for case in entries(true).iter().flat_map(Entry::cases) {
            assert!(full.contains(&case.of_any_session()), "{case:?}");
        }
    }
}
