//! Participants of Dust DDS and RustDDS, by `largedata`: for each stack a publisher and a subscriber that stay, and others that
//! come and go; some of those are participants as they come, without this project.

use super::{Log, PATIENCE};
use crate::census::resident;
use crate::child::{Process, Said};
use crate::random::Random;
use rustix::process::Signal;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// All of it.
pub(super) struct Stacks {
    stacks: Vec<Stack>,
    max: usize,
}

/// One DDS in a domain of its own.
struct Stack {
    program: PathBuf,
    name: &'static str,
    domain: u32,
    publisher: Party,
    subscriber: Party,
    guests: Vec<Party>,
    leavers: Vec<Leaver>,
    /// Memory of publisher and subscriber, by window.
    windows: Vec<[u64; 2]>,
    /// What the subscriber had said last when the window before ended.
    last: String,
    /// Windows in which nothing came.
    silent: u64,
    guests_so_far: u64,
    starved: u64,
    checked: u64,
}

struct Party {
    process: Process,
    what: String,
    /// As the stack comes: what dies without a word is missed only when its lease ends.
    is_stock: bool,
    frozen_until: Option<Instant>,
    last: String,
    /// The DDS gave up before it began: it wants answers from its own threads within a time.
    was_starved: bool,
}

/// A party that was told to leave: a publisher of a DDS without this project waits for the acknowledgements of the dead first.
struct Leaver {
    party: Party,
    /// When it must have.
    by: Instant,
    is_unacknowledged: bool,
    /// Samples that it says it received intact.
    received: u64,
}

impl Stacks {
    /// No DDS at all.
    pub(super) const fn none() -> Self {
        Self { stacks: Vec::new(), max: 0 }
    }

    /// Starts a pair of each.
    pub(super) fn open(largedata: &Path, max: usize) -> Result<Self, String> {
        let base = std::process::id() % 100;
        let names = ["dust", "rustdds"].into_iter().zip([base, 100 + base]);
        let stacks = names.map(|(name, domain)| Stack::open(largedata, name, domain));
        Ok(Self { stacks: stacks.collect::<Result<_, _>>()?, max })
    }

    /// Somebody of one of them comes, goes, dies or freezes.
    pub(super) fn act(&mut self, random: &mut Random, log: &mut Log) -> Result<(), String> {
        if self.stacks.is_empty() {
            return Ok(());
        }
        let which = random.below(self.stacks.len() as u64) as usize;
        self.stacks[which].act(self.max, random, log)
    }

    /// Hears what all have to say.
    pub(super) fn look(&mut self) -> Result<(), String> {
        self.stacks.iter_mut().try_for_each(Stack::look)
    }

    /// Looks at those that stay; one line about it.
    pub(super) fn window(&mut self) -> Result<Option<String>, String> {
        let lines: Vec<String> = self.stacks.iter_mut().map(Stack::window).collect();
        Ok((!lines.is_empty()).then(|| lines.join("; ")))
    }

    /// All leave; what the subscribers that stayed have to say.
    pub(super) fn end(self, log: &mut Log) -> Result<String, String> {
        let lines = self.stacks.into_iter().map(|stack| stack.end(log));
        lines.collect()
    }
}

impl Stack {
    fn open(program: &Path, name: &'static str, domain: u32) -> Result<Self, String> {
        let subscriber = Party::start(program, &format!("sub --stack {name} --domain {domain}"))?;
        let options =
            format!("pub --stack {name} --domain {domain} --kind cloud --points 100..20000 --rate 20");
        let publisher = Party::start(program, &options)?;
        Ok(Self {
            program: program.to_owned(),
            name,
            domain,
            publisher,
            subscriber,
            guests: Vec::new(),
            leavers: Vec::new(),
            windows: Vec::new(),
            last: String::new(),
            silent: 0,
            guests_so_far: 0,
            starved: 0,
            checked: 0,
        })
    }

    fn act(&mut self, max: usize, random: &mut Random, log: &mut Log) -> Result<(), String> {
        if self.guests.is_empty() || self.guests.len() < max && random.below(3) == 0 {
            return self.join(random, log);
        }
        let which = random.below(self.guests.len() as u64) as usize;
        let guest = &mut self.guests[which];
        let dies = !guest.is_stock && random.below(2) == 0;
        match random.below(4) {
            0 | 1 if dies => {
                log.say(&format!("{} is killed", guest.what));
                let mut guest = self.guests.swap_remove(which);
                guest.process.signal(Signal::KILL);
                guest.process.bury().map_err(|error| error.to_string())?;
            }
            0 | 1 => {
                log.say(&format!("{} leaves", guest.what));
                let guest = self.guests.swap_remove(which);
                self.leavers.push(guest.leave());
            }
            // RustDDS 0.15 ends both of its threads, with this project or without, when SIGCONT interrupts their waiting: a reader
            // that was frozen lives on, is matched, and never takes anything again, so that a reliable writer rightly waits for it.
            _ if self.name == "rustdds" => {}
            _ => {
                let time = Duration::from_millis(random.one_of(&[1, 50, 300, 1_000]));
                log.say(&format!("{} is frozen for {time:?}", guest.what));
                guest.process.signal(Signal::STOP);
                guest.frozen_until = Some(Instant::now() + time);
            }
        }
        Ok(())
    }

    fn join(&mut self, random: &mut Random, log: &mut Log) -> Result<(), String> {
        let stack = |stock: &str| format!("--stack {stock}{} --domain {}", self.name, self.domain);
        // RustDDS 0.15 as it comes serves whoever joins later than another one a part of its history, and loses what comes between
        // that and the present: seen among three of its own. So its publishers all have the plug-in.
        let publishers: &[&'static str] = if self.name == "rustdds" { &[""] } else { &["", "stock-"] };
        let words = match random.below(3) {
            0 => {
                let stack = stack(random.one_of(publishers));
                let points = random.one_of(&["10..100", "100..3000", "3000..20000"]);
                let rate = random.one_of(&[5, 10, 30]);
                format!("pub {stack} --kind cloud --points {points} --rate {rate}")
            }
            _ => format!("sub {}", stack(random.one_of(&["", "", "stock-"]))),
        };
        self.guests_so_far += 1;
        log.say(&format!("comes: {words}"));
        self.guests.push(Party::start(&self.program, &words)?);
        Ok(())
    }

    fn look(&mut self) -> Result<(), String> {
        [&mut self.publisher, &mut self.subscriber].into_iter().try_for_each(Party::look)?;
        self.guests.iter_mut().try_for_each(Party::look)?;
        let all = self.guests.len();
        self.guests.retain(|guest| !guest.was_starved);
        self.starved += (all - self.guests.len()) as u64;
        let mut here = Vec::new();
        for mut leaver in self.leavers.drain(..) {
            match leaver.received(Instant::now())? {
                Some(received) => self.checked += received,
                None => here.push(leaver),
            }
        }
        self.leavers = here;
        Ok(())
    }

    fn window(&mut self) -> String {
        let memory = [&self.publisher, &self.subscriber].map(|party| resident(party.process.id()));
        self.windows.push(memory);
        self.silent += u64::from(self.last == self.subscriber.last);
        self.last.clone_from(&self.subscriber.last);
        let [publisher, subscriber] = memory.map(|bytes| bytes >> 10);
        format!("{}: {publisher} and {subscriber} KiB; {}", self.name, self.subscriber.last.trim())
    }

    fn end(mut self, log: &mut Log) -> Result<String, String> {
        for guest in self.guests.drain(..) {
            log.say(&format!("{} leaves", guest.what));
            self.leavers.push(guest.leave());
        }
        for leaver in self.leavers {
            self.checked += leaver.wait()?;
        }
        self.publisher.leave().wait()?;
        let last = self.subscriber.last.trim().to_owned();
        let received = self.subscriber.leave().wait()?;
        if received == 0 {
            return Err(format!("{}: the subscriber that stayed got nothing", self.name));
        }
        if self.silent > 0 {
            let (silent, windows) = (self.silent, self.windows.len());
            return Err(format!("HANG: {}: nothing came in {silent} of {windows} windows", self.name));
        }
        let memory: Vec<String> =
            self.windows.iter().map(|[a, b]| format!("{}+{}", a >> 10, b >> 10)).collect();
        Ok(format!(
            "{}: {received} samples for the one that stayed, {} for others, {} guests ({} were starved at their start); lost 0, corrupt 0; memory by \
             window in KiB: {}; last second: {last}\n",
            self.name,
            self.checked,
            self.guests_so_far,
            self.starved,
            memory.join(" ")
        ))
    }
}

impl Party {
    fn start(program: &Path, words: &str) -> Result<Self, String> {
        let process = Process::start_other(program, &words.split(' ').map(str::to_owned).collect::<Vec<_>>())
            .map_err(|error| format!("{}: {error}", program.display()))?;
        let is_stock = words.contains("stock-");
        Ok(Self {
            process,
            what: words.to_owned(),
            is_stock,
            frozen_until: None,
            last: String::new(),
            was_starved: false,
        })
    }

    fn look(&mut self) -> Result<(), String> {
        if self.frozen_until.is_some_and(|until| until <= Instant::now()) {
            self.frozen_until = None;
            self.process.signal(Signal::CONT);
        }
        loop {
            match self.process.hear(Instant::now()) {
                Said::Nothing => return Ok(()),
                Said::End if self.was_starved => return Ok(()),
                Said::Error(line) if line.contains(STARVED) => self.was_starved = true,
                Said::End => return Err(format!("{} has ended", self.what)),
                Said::Error(line) if line.contains("panicked") => {
                    return Err(format!("{}: {line}", self.what));
                }
                Said::Error(_) => {}
                Said::Line(line) => self.note(line)?,
            }
        }
    }

    /// Its line of every second: nothing reliable may be lost, nothing corrupt.
    fn note(&mut self, line: String) -> Result<(), String> {
        if line.starts_with("corrupt") {
            return Err(format!("CORRUPT: {}: {line}", self.what));
        }
        if line.contains(" lost ") {
            if !line.contains("lost 0 ") && !line.contains("lost 0,") {
                return Err(format!("LOST: {}: {line}", self.what));
            }
            self.last = line;
        }
        Ok(())
    }

    /// Ends it by Ctrl-C.
    fn leave(self) -> Leaver {
        self.process.signal(Signal::CONT);
        self.process.signal(Signal::INT);
        Leaver { party: self, by: Instant::now() + PATIENCE, is_unacknowledged: false, received: 0 }
    }
}

impl Leaver {
    /// Samples that it received intact.
    fn wait(mut self) -> Result<u64, String> {
        self.received(self.by)?.ok_or_else(|| self.hangs())
    }

    /// The same, if it has left by then.
    fn received(&mut self, until: Instant) -> Result<Option<u64>, String> {
        loop {
            match self.party.process.hear(until) {
                Said::End => break,
                Said::Nothing if Instant::now() < self.by => return Ok(None),
                Said::Nothing => return Err(self.hangs()),
                Said::Error(_) => {}
                Said::Line(line) => {
                    self.is_unacknowledged |= line.starts_with(UNACKNOWLEDGED);
                    if let Some(count) =
                        line.strip_prefix("received ").and_then(|rest| rest.split(' ').next())
                    {
                        self.received = count.replace(',', "").parse().unwrap_or(0);
                    }
                    self.party.note(line)?;
                }
            }
        }
        let status = self.party.process.bury().map_err(|error| error.to_string())?;
        // Ctrl-C in the first moment meets a program that does not listen to it yet.
        let is_early = status.signal() == Some(Signal::INT.as_raw()) && self.party.last.is_empty();
        // A DDS without this project is told of no death, and waits for the dead.
        let waited_for_the_dead = self.is_unacknowledged && self.party.is_stock;
        if status.success() || is_early || waited_for_the_dead {
            Ok(Some(self.received))
        } else {
            Err(format!("{} left with {status}", self.party.what))
        }
    }

    fn hangs(&self) -> String {
        format!("HANG: {} does not end", self.party.what)
    }
}

/// What `largedata pub` says where it leaves before all was acknowledged.
const UNACKNOWLEDGED: &str = "a subscriber has not acknowledged";
/// What `largedata` says where the machine was too busy for a DDS to begin.
const STARVED: &str = "creating the participant failed";
