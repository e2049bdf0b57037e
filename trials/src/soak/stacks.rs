//! Participants of Dust DDS and RustDDS, by `largedata`: for each stack a publisher and a subscriber that stay, and others that
//! come and go; some of those are participants as they come, without this project.

use super::accounts::SETTLING;
use super::drift::thirds;
use super::party::{Leaver, Party};
use super::{LOOK, Log, PATIENCE};
use crate::domain::Domain;
use crate::random::Random;
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
    domain: Domain,
    publisher: Party,
    subscriber: Party,
    guests: Vec<Party>,
    leavers: Vec<Leaver>,
    /// When somebody was killed last.
    killed: Option<Instant>,
    /// Descriptors of publisher and subscriber while there was nobody else.
    baseline: [usize; 2],
    /// Memory of publisher and subscriber, by window.
    windows: Vec<[u64; 2]>,
    /// What the two had counted when the window before ended, and the end of the one in which that was new.
    counts: [(String, Instant); 2],
    /// Windows in which one of them counted nothing.
    silent: [u64; 2],
    guests_so_far: u64,
    starved: u64,
    checked: u64,
}

impl Stacks {
    /// No DDS at all.
    pub(super) const fn none() -> Self {
        Self { stacks: Vec::new(), max: 0 }
    }

    /// Starts a pair of each.
    pub(super) fn open(largedata: &Path, max: usize) -> Result<Self, String> {
        let stacks = ["dust", "rustdds"].into_iter().map(|name| Stack::open(largedata, name));
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

    /// Notes what those that stay have while there is nobody else: as soon as samples flow, and it is the same for a while.
    pub(super) fn baseline(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let before: Vec<[usize; 2]> = self.stacks.iter().map(Stack::descriptors).collect();
            std::thread::sleep(SETTLING);
            self.look()?;
            let is_settled = self.stacks.iter().map(Stack::descriptors).eq(before.iter().copied());
            if is_settled && self.stacks.iter().all(Stack::flows) {
                for (stack, descriptors) in self.stacks.iter_mut().zip(before) {
                    (stack.baseline, stack.counts) =
                        (descriptors, stack.counted().map(|count| (count, Instant::now())));
                }
                return Ok(());
            }
            if Instant::now() >= deadline {
                let names: Vec<_> = self.stacks.iter().map(|stack| stack.name).collect();
                return Err(format!(
                    "HANG: a pair of {} does not begin, or does not settle",
                    names.join(" or ")
                ));
            }
        }
    }

    /// Hears what all have to say.
    pub(super) fn look(&mut self) -> Result<(), String> {
        self.stacks.iter_mut().try_for_each(Stack::look)
    }

    /// Looks at those that stay; one line about it.
    pub(super) fn window(&mut self) -> Result<Option<String>, String> {
        self.look()?;
        let lines: Vec<String> = self.stacks.iter_mut().map(Stack::window).collect();
        Ok((!lines.is_empty()).then(|| lines.join("; ")))
    }

    /// All leave; what the subscribers that stayed have to say.
    pub(super) fn end(mut self, log: &mut Log) -> Result<String, String> {
        self.stacks.iter_mut().for_each(|stack| stack.dismiss(log));
        while self.stacks.iter().any(|stack| !stack.leavers.is_empty()) {
            self.look()?;
            std::thread::sleep(LOOK);
        }
        // What was closed by then may still be on its way out.
        let deadline = Instant::now() + PATIENCE;
        while let Some(fault) = self.stacks.iter().find_map(Stack::leak) {
            if Instant::now() >= deadline {
                return Err(fault);
            }
            self.look()?;
            std::thread::sleep(LOOK);
        }
        self.stacks.into_iter().map(Stack::end).collect()
    }
}

impl Stack {
    fn open(program: &Path, name: &'static str) -> Result<Self, String> {
        let domain = Domain::own();
        let number = domain.number();
        let subscriber = Party::start(program, &format!("sub --stack {name} --domain {number}"))?;
        let options =
            format!("pub --stack {name} --domain {number} --kind cloud --points 100..20000 --rate 20");
        let publisher = Party::start(program, &options)?;
        Ok(Self {
            program: program.to_owned(),
            name,
            domain,
            publisher,
            subscriber,
            guests: Vec::new(),
            leavers: Vec::new(),
            killed: None,
            baseline: [0; 2],
            windows: Vec::new(),
            counts: [(); 2].map(|()| (String::new(), Instant::now())),
            silent: [0; 2],
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
                self.guests.swap_remove(which).kill()?;
                self.killed = Some(Instant::now());
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
                guest.freeze(time);
            }
        }
        Ok(())
    }

    fn join(&mut self, random: &mut Random, log: &mut Log) -> Result<(), String> {
        let stack = |stock: &str| format!("--stack {stock}{} --domain {}", self.name, self.domain.number());
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
        for elder in [&mut self.publisher, &mut self.subscriber] {
            elder.look()?;
            if elder.was_starved {
                return Err(format!("{} was starved at its start", elder.what));
            }
        }
        self.guests.iter_mut().try_for_each(Party::look)?;
        let all = self.guests.len();
        self.guests.retain(|guest| !guest.was_starved);
        self.starved += (all - self.guests.len()) as u64;
        let mut here = Vec::new();
        for mut leaver in self.leavers.drain(..) {
            match leaver.left(self.killed)? {
                Some((received, was_starved)) => {
                    self.checked += received;
                    self.starved += u64::from(was_starved);
                }
                None => here.push(leaver),
            }
        }
        self.leavers = here;
        Ok(())
    }

    fn window(&mut self) -> String {
        let memory = [&self.publisher, &self.subscriber].map(Party::memory);
        let counts = self.counted();
        self.windows.push(memory);
        for ((silent, before), count) in self.silent.iter_mut().zip(&mut self.counts).zip(counts) {
            if before.0 == count {
                *silent += u64::from(before.1.elapsed() >= SILENCE_MIN);
            } else {
                *before = (count, Instant::now());
            }
        }
        let [publisher, subscriber] = memory.map(|bytes| bytes >> 10);
        format!("{}: {publisher} and {subscriber} KiB; {}", self.name, self.subscriber.last())
    }

    fn counted(&self) -> [String; 2] {
        [&self.publisher, &self.subscriber].map(|elder| elder.count().to_owned())
    }

    fn flows(&self) -> bool {
        self.counted().iter().all(|count| !count.is_empty())
    }

    fn descriptors(&self) -> [usize; 2] {
        [&self.publisher, &self.subscriber].map(Party::descriptors)
    }

    /// What those that stay have of those that have gone.
    fn leak(&self) -> Option<String> {
        let (now, before) = (self.descriptors(), self.baseline);
        let has_grown = now.iter().zip(before).any(|(&now, before)| now > before);
        has_grown.then(|| format!("LEAK: {}: the pair has {now:?} descriptors after {before:?}", self.name))
    }

    /// The guests are told to leave.
    fn dismiss(&mut self, log: &mut Log) {
        for guest in self.guests.drain(..) {
            log.say(&format!("{} leaves", guest.what));
            self.leavers.push(guest.leave());
        }
    }

    fn end(self) -> Result<String, String> {
        self.verdict()?;
        self.publisher.leave().wait(self.killed)?;
        let last = self.subscriber.last().to_owned();
        let received = self.subscriber.leave().wait(self.killed)?;
        if received == 0 {
            return Err(format!("{}: the subscriber that stayed got nothing", self.name));
        }
        let memory: Vec<String> =
            self.windows.iter().map(|[a, b]| format!("{}+{}", a >> 10, b >> 10)).collect();
        Ok(format!(
            "{}: {received} samples for the one that stayed, {} for others, {} guests ({} were starved at their start); lost 0, corrupt 0; \
             {:?} descriptors; memory by window in KiB: {}; last second: {last}\n",
            self.name,
            self.checked,
            self.guests_so_far,
            self.starved,
            self.baseline,
            memory.join(" ")
        ))
    }

    /// What the windows tell.
    fn verdict(&self) -> Result<(), String> {
        for (which, who) in ["publisher", "subscriber"].into_iter().enumerate() {
            let (name, silent, windows) = (self.name, self.silent[which], self.windows.len());
            if silent > 0 {
                return Err(format!(
                    "HANG: {name}: the {who} that stayed counted nothing in {silent} of {windows} windows"
                ));
            }
            let memory: Vec<u64> = self.windows.iter().map(|window| window[which]).collect();
            if let Some((early, late)) =
                thirds(&memory).filter(|(early, late)| *late > early + MEMORY_DRIFT_MAX)
            {
                return Err(format!(
                    "DRIFT: {name}: the memory of the {who} that stayed went from {early} to {late} bytes"
                ));
            }
        }
        if self.starved * STARVED_SHARE_MIN > self.guests_so_far.max(STARVED_SHARE_MIN) {
            let (name, starved, guests) = (self.name, self.starved, self.guests_so_far);
            return Err(format!("STARVED: {name}: {starved} of {guests} guests could not begin"));
        }
        Ok(())
    }
}

/// Whoever is frozen holds up a reliable publisher for a second: a short window may be silent.
const SILENCE_MIN: Duration = Duration::from_secs(5);
/// More than what RustDDS and glibc keep of large samples that go by UDP for somebody takes.
const MEMORY_DRIFT_MAX: u64 = 64 << 20;
/// One of so many guests may find the machine too busy to begin.
const STARVED_SHARE_MIN: u64 = 10;
