//! Many endpoints on a DDS: participants in processes of their own, each with writers and readers of topics of its own,
//! all matched, every sample by shared memory, and what each process pays for that.
//!
//! ```text
//!   participant 0: writes 0/0 0/1 … ──┐   each topic has one writer and one reader; the readers of a
//!   participant 1: writes 1/0 1/1 … ──┼─▶ participant take from all the others in turn, so that everybody
//!   …                                 │   is linked with everybody
//!   participant n: writes n/0 n/1 … ──┘
//! ```
//! Whether endpoints are matched no side says; that a sample of this round has come does. A round is told by the one that
//! started them all, and repeated until everybody has heard everybody in one round.

mod dust;
pub mod idle;
mod rust;

use crate::census::object_lengths;
use crate::child::{Process, Said, hear, tell};
use crate::domain::Domain;
use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// A DDS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Stack {
    /// Dust DDS.
    Dust,
    /// RustDDS.
    Rustdds,
}

impl fmt::Display for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dust => "dust",
            Self::Rustdds => "rustdds",
        })
    }
}

/// What it came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Links of each participant.
    pub links: u64,
    /// Rounds until everybody had heard everybody.
    pub rounds: u64,
    /// Samples of the last round that came by shared memory.
    pub shared: u64,
    /// Most links, descriptors and mappings of the shared-memory transport in one process: sockets, pidfds; and what is mapped.
    pub sockets_max: u64,
    /// Descriptors of peers' processes.
    pub pidfds_max: u64,
    /// Mappings of the transport's objects.
    pub maps_max: u64,
    /// Memory in bytes of the largest link object.
    pub link_len_max: u64,
    /// Resident memory in bytes, without shared memory, of the largest process.
    pub resident_max: u64,
}

/// One participant with its endpoints.
trait Participant {
    /// Writes sample `round` on every topic of its own; `false` if there was no room on one.
    fn write(&mut self, round: u64) -> Result<bool, String>;

    /// How many readers have had the sample of this round, by now.
    fn heard(&mut self, round: u64) -> Result<u64, String>;

    /// Samples that came by shared memory so far, and links there are.
    fn shared(&self) -> (u64, u64);
}

/// Which endpoints a participant has.
#[derive(Clone, Copy, Debug)]
struct Place {
    domain: u32,
    number: u64,
    participants: u64,
    endpoints: u64,
}

impl Place {
    fn writes(self) -> impl Iterator<Item = String> {
        (0..self.endpoints / 2).map(move |nth| format!("topic-{}-{nth}", self.number))
    }

    /// Whose topics it reads: of each topic of another participant one reads, and it is another one for the next topic.
    fn others(self) -> impl Iterator<Item = u64> {
        let other = move |nth| (self.number + 1 + nth % (self.participants - 1)) % self.participants;
        (0..self.endpoints / 2).map(other)
    }

    fn reads(self) -> impl Iterator<Item = String> {
        self.others().enumerate().map(|(nth, other)| format!("topic-{other}-{nth}"))
    }
}

/// The sample of a round: every byte depends on the round and on its place.
fn sample(round: u64, len: usize) -> Vec<u8> {
    let mut bytes = round.to_le_bytes().to_vec();
    bytes.extend((8..len).map(|at| (at as u64).wrapping_mul(31).wrapping_add(round) as u8));
    bytes
}

/// Of which round this is.
fn round_of(bytes: &[u8]) -> Result<u64, String> {
    let head = bytes.get(..8).and_then(|head| head.try_into().ok()).map(u64::from_le_bytes);
    let round = head.ok_or("a sample of less than 8 bytes")?;
    if bytes == sample(round, bytes.len()) {
        Ok(round)
    } else {
        Err(format!("corrupt: the sample of round {round}"))
    }
}

/// Participants that were started together.
struct Company {
    all: Vec<Process>,
    participants: u64,
    endpoints: u64,
    /// Whether every sample is to come by shared memory.
    is_shared: bool,
    /// Rounds so far.
    rounds: u64,
    /// Until the others have left it.
    _domain: Domain,
}

impl Company {
    /// Starts so many participants with so many endpoints each, half of them writers.
    fn start(program: &Path, stack: Stack, participants: u64, endpoints: u64) -> Result<Self, String> {
        let domain = Domain::own();
        let all = (0..participants).map(|number| {
            let words = ["stack".to_owned(), stack.to_string()];
            let numbers = [u64::from(domain.number()), number, participants, endpoints]
                .map(|number| number.to_string());
            Process::start(program, &[&words[..], &numbers].concat())
        });
        let all = all.collect::<Result<_, _>>().map_err(|error| format!("{}: {error}", program.display()))?;
        let mut company = Self { all, participants, endpoints, is_shared: true, rounds: 0, _domain: domain };
        company.all.iter_mut().try_for_each(|process| said(process, "open"))?;
        Ok(company)
    }

    /// How many readers of this participant read from one of the first `among`.
    fn readers(&self, number: u64, among: u64) -> u64 {
        let place = Place { domain: 0, number, participants: self.participants, endpoints: self.endpoints };
        place.others().filter(|&other| other < among).count() as u64
    }

    /// Rounds until each of the first `among` has heard all the others of them in one, as it should be; the samples of that.
    fn until_heard(&mut self, among: u64) -> Result<u64, String> {
        let expected: Vec<u64> = (0..among).map(|number| self.readers(number, among)).collect();
        let everybody = expected.iter().sum();
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.rounds += 1;
            let round = self.rounds;
            let (mut heard, mut shared, mut links) = (0, 0, Vec::new());
            for (process, expected) in self.all.iter_mut().zip(&expected) {
                process.tell(&format!("round {round} {expected}"));
            }
            for process in &mut self.all[..expected.len()] {
                let line = next(process)?;
                let numbers: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
                let [own, by_shm, linked] = numbers[..] else {
                    return Err(format!("{}: {line}", process.name()));
                };
                heard += own;
                shared += by_shm;
                links.push(linked);
            }
            if heard == everybody && (shared == everybody || !self.is_shared) {
                return Ok(everybody);
            }
            if Instant::now() > deadline {
                return Err(format!(
                    "HANG: {heard} of {everybody} readers heard in round {round}, {shared} by shared memory, links {links:?}"
                ));
            }
        }
    }

    /// The first `among` write so many samples of no round on each of their topics, or until there is no room.
    fn write(&mut self, among: usize, samples: u64) {
        self.all[..among].iter_mut().for_each(|process| process.tell(&format!("write {samples}")));
    }

    /// The first `among` have written what they were told to.
    fn written(&mut self, among: usize) -> Result<(), String> {
        self.all[..among].iter_mut().try_for_each(|process| said(process, "written"))
    }
}

/// Starts so many participants with so many endpoints each, half of them writers, and ends them when all have heard all.
///
/// # Errors
/// Somebody is not heard, something goes another way, or the memory of objects cannot be looked at (which takes root).
pub fn measure(program: &Path, stack: Stack, participants: u64, endpoints: u64) -> Result<Cost, String> {
    let mut company = Company::start(program, stack, participants, endpoints)?;
    let shared = company.until_heard(participants)?;
    cost(&company.all, participants - 1, company.rounds, shared)
}

fn cost(all: &[Process], links: u64, rounds: u64, shared: u64) -> Result<Cost, String> {
    let mut cost = Cost {
        links,
        rounds,
        shared,
        sockets_max: 0,
        pidfds_max: 0,
        maps_max: 0,
        link_len_max: 0,
        resident_max: 0,
    };
    let packets = packet_sockets();
    for process in all {
        let id = process.id();
        let lens = object_lengths(id, "zerodds-link")?;
        if lens.len() as u64 != links {
            return Err(format!("{}: {} links instead of {links}", process.name(), lens.len()));
        }
        let targets: Vec<String> = fs::read_dir(format!("/proc/{id}/fd"))
            .map_err(|error| error.to_string())?
            .flatten()
            .filter_map(|fd| fs::read_link(fd.path()).ok())
            .map(|target| target.display().to_string())
            .collect();
        let count =
            |is_one: &dyn Fn(&String) -> bool| targets.iter().filter(|target| is_one(target)).count() as u64;
        let sockets = count(&|target| packets.contains(target));
        let maps = fs::read_to_string(format!("/proc/{id}/maps")).map_err(|error| error.to_string())?;
        let maps = maps.lines().filter(|line| line.contains("zerodds")).count() as u64;
        cost.sockets_max = cost.sockets_max.max(sockets);
        cost.pidfds_max = cost.pidfds_max.max(count(&|target| target.contains("pidfd")));
        cost.maps_max = cost.maps_max.max(maps);
        cost.link_len_max = cost.link_len_max.max(lens.into_iter().max().unwrap_or(0));
        cost.resident_max = cost.resident_max.max(crate::census::resident(id));
    }
    Ok(cost)
}

/// Unix sockets of packets, of which this project alone has some, as /proc/<pid>/fd calls them.
fn packet_sockets() -> HashSet<String> {
    let table = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let lines = table.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    lines
        .filter(|words| words.get(4) == Some(&"0005"))
        .map(|words| format!("socket:[{}]", words[6]))
        .collect()
}

fn next(process: &mut Process) -> Result<String, String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match process.hear(deadline) {
            Said::Line(line) => return Ok(line),
            // Both stacks log there.
            Said::Error(line) if !line.contains("panicked") => {}
            other => return Err(format!("{}: {other:?}", process.name())),
        }
    }
}

fn said(process: &mut Process, expected: &str) -> Result<(), String> {
    let line = next(process)?;
    if line == expected { Ok(()) } else { Err(format!("{} said {line:?}", process.name())) }
}

/// Plays the role that this process was started with: `stack <name> <domain> <number> <participants> <endpoints>`.
///
/// # Errors
/// What went wrong.
pub fn play(words: &[String]) -> Result<(), String> {
    let number = |at: usize| {
        let word = words.get(at).ok_or("a word is missing")?;
        word.parse::<u64>().map_err(|_| format!("{word:?} is no number"))
    };
    let place = Place {
        domain: number(2)? as u32,
        number: number(3)?,
        participants: number(4)?,
        endpoints: number(5)?,
    };
    let mut participant: Box<dyn Participant> = match words.get(1).map(String::as_str) {
        Some("dust") => Box::new(dust::Party::open(place)?),
        Some("rustdds") => Box::new(rust::Party::open(place)?),
        other => return Err(format!("no such stack: {other:?}")),
    };
    tell("open");
    while let Some(line) = hear() {
        let numbers: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
        match (line.split(' ').next(), &numbers[..]) {
            (Some("round"), &[round, expected]) => {
                let before = participant.shared().0;
                participant.write(round)?;
                let until = Instant::now() + patience(place, round);
                let mut heard = 0;
                while heard < expected && Instant::now() < until {
                    std::thread::sleep(LOOK);
                    heard = participant.heard(round)?;
                }
                let (after, links) = participant.shared();
                tell(format_args!("{heard} {} {links}", after - before));
            }
            (Some("write"), &[samples]) => {
                // Numbers of no round.
                for nth in 0..samples {
                    if !participant.write(u64::MAX - nth)? {
                        break;
                    }
                }
                tell("written");
            }
            _ => return Err(format!("not understood: {line:?}")),
        }
    }
    Ok(())
}

/// How long a sample of one round is waited for before the next one is written: what is written before its readers are known never
/// comes, and they are known the sooner the fewer endpoints there are.
fn patience(place: Place, round: u64) -> Duration {
    let endpoints = u32::try_from(place.participants * place.endpoints).unwrap_or(u32::MAX);
    let first = AN_ENDPOINT.saturating_mul(endpoints).max(Duration::from_secs(1));
    let doubled = u32::try_from(round).unwrap_or(u32::MAX).saturating_sub(1);
    ROUND_MAX.min(first.saturating_mul(2u32.saturating_pow(doubled)))
}

const AN_ENDPOINT: Duration = Duration::from_millis(20);
const ROUND_MAX: Duration = Duration::from_secs(40);
const LOOK: Duration = Duration::from_millis(100);
/// Discovery of thousands of endpoints takes a while; what takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(600);
