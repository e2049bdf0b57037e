//! One round: a victim is started, talked with, interrupted; then the survivors are asked.

use super::plan::{End, Fate};
use super::report::Outcome;
use super::{Means, Role};
use crate::census::{children, files, resident, sockets};
use crate::child::{PATIENCE, Process, Said, was_killed};
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The survivors, and what there was before anybody came.
pub(super) struct Stage {
    program: PathBuf,
    domain: u32,
    survivors: [Process; 2],
    operations: u64,
    sockets: usize,
    next_number: u64,
    /// Of both survivors, once they have warmed up.
    memory: Option<u64>,
    rounds: u64,
}

/// The survivors' numbers.
const SURVIVORS: [u64; 2] = [1, 3];

impl Stage {
    /// Starts the survivors.
    ///
    /// # Errors
    /// They cannot be started, or do not find each other.
    pub(super) fn open(program: &Path, operations: u64) -> Result<Self, String> {
        let domain = fresh_domain();
        let start = |number: u64| {
            let words = ["survivor".to_owned(), domain.to_string(), number.to_string()];
            Process::start(program, &words).map_err(|error| format!("{}: {error}", program.display()))
        };
        let mut stage = Self {
            program: program.to_owned(),
            domain,
            survivors: [start(SURVIVORS[0])?, start(SURVIVORS[1])?],
            operations,
            sockets: 0,
            next_number: 10,
            memory: None,
            rounds: 0,
        };
        stage.survivors.iter_mut().try_for_each(|survivor| survivor.expect("open"))?;
        for (survivor, other) in stage.survivors.iter_mut().zip([SURVIVORS[1], SURVIVORS[0]]) {
            survivor.tell(&format!("join {other}"));
        }
        stage.survivors.iter_mut().try_for_each(|survivor| survivor.expect("join"))?;
        stage.all(&format!("operate {operations}"))?;
        stage.all("settle")?;
        stage.all("baseline")?;
        stage.sockets = sockets(domain);
        Ok(stage)
    }

    /// Plays a role through and counts the points that it passes.
    ///
    /// # Errors
    /// It does not come to its end, or passes none.
    pub(super) fn rehearse(&mut self, role: Role) -> Result<u64, String> {
        let mut points = 0;
        for _ in 0..REHEARSALS {
            let fate = Fate { role, end: End::Kill(u64::MAX) };
            let (outcome, passed) =
                self.play(&fate).map_err(|fault| format!("rehearsing {role:?}: {fault}"))?;
            debug_assert!(outcome.place.is_none());
            points = points.max(passed.unwrap_or(0));
            self.aftermath()?;
        }
        if points == 0 {
            return Err("no point was passed: crash points are in builds with debug assertions only".into());
        }
        Ok(points)
    }

    /// One life, and what follows.
    ///
    /// # Errors
    /// Somebody hangs, or has more than before, or got something wrong.
    pub(super) fn round(&mut self, fate: &Fate) -> Result<Outcome, String> {
        let (outcome, _) = self.play(fate)?;
        self.aftermath()?;
        self.rounds += 1;
        if self.rounds == WARM_UP {
            self.memory = Some(self.memory());
        }
        Ok(outcome)
    }

    /// Dismisses the survivors; by how much their memory has grown.
    ///
    /// # Errors
    /// They do not end, something is left of anybody, or their memory has grown too much.
    pub(super) fn end(mut self) -> Result<i64, String> {
        let grown = self.memory.map_or(0, |before| self.memory() as i64 - before as i64);
        if grown > GROWTH_MAX {
            return Err(format!("LEAK: the memory of the survivors grew by {grown} bytes"));
        }
        self.all("part")?;
        for survivor in &mut self.survivors {
            survivor.dismiss();
            let status = survivor.bury().map_err(|error| error.to_string())?;
            if !status.success() {
                return Err(format!("{} ended with {status}", survivor.name()));
            }
        }
        let (sockets, children) = (sockets(self.domain), children());
        if sockets != 0 || !children.is_empty() {
            return Err(format!("LEAK: {sockets} sockets, processes {children:?}"));
        }
        Ok(grown)
    }

    /// The victim's life. How it ended, and how many points it says it passed.
    fn play(&mut self, fate: &Fate) -> Result<(Outcome, Option<u64>), String> {
        let number = self.next_number;
        self.next_number += 2;
        let mut prey = if fate.role.needs_prey() { Some(self.prey(number + 1)?) } else { None };
        // They are busy with each other while it comes.
        self.tell_all(&format!("operate {}", self.operations / 10));
        let (at, means) = fate.armed();
        let mut victim = self.start(&[
            "victim".into(),
            fate.role.word(),
            self.domain.to_string(),
            number.to_string(),
            SURVIVORS[0].to_string(),
            SURVIVORS[1].to_string(),
            at.to_string(),
            means.word().to_owned(),
        ])?;
        self.hear_all("operate")?;
        let life = self.converse(fate, &mut victim, prey.as_mut(), means, number)?;
        drop(prey);
        let status = victim.bury().map_err(|error| error.to_string())?;
        let killed = was_killed(status);
        // One that was killed may have had time to say so only.
        if let Some(panic) = life.errors.iter().find(|line| line.contains("panicked")) {
            return Err(format!("the victim {panic}, and ended with {status}: {}", life.errors.join("; ")));
        }
        if !killed && !status.success() {
            return Err(format!("the victim ended with {status}: {}", life.errors.join("; ")));
        }
        Ok((Outcome { place: life.place, killed }, life.passed))
    }

    fn converse(
        &mut self,
        fate: &Fate,
        victim: &mut Process,
        mut prey: Option<&mut Process>,
        means: Means,
        number: u64,
    ) -> Result<LifeStory, String> {
        let mut story = LifeStory::default();
        let mut killed_at = match fate.end {
            End::After(time) => Some(Instant::now() + time),
            _ => None,
        };
        loop {
            let deadline = killed_at.unwrap_or_else(|| Instant::now() + PATIENCE);
            match victim.hear(deadline) {
                Said::Line(line) if line == "open" => self.all(&format!("call {number}"))?,
                Said::Line(line) if line == "ready" => {
                    if let Some(prey) = prey.take() {
                        // It is to have sent everything.
                        prey.expect("primed")?;
                        prey.signal(Signal::KILL);
                    }
                }
                Said::Line(line) => {
                    story.passed = line.strip_prefix("passed ").and_then(|points| points.parse().ok());
                    victim.dismiss();
                }
                Said::Error(line) => match line.strip_prefix("crash point ") {
                    Some(place) => {
                        story.place = Some(place.to_owned());
                        if means == Means::Stop && victim.until_stopped() {
                            self.meanwhile(fate, victim)?;
                        }
                    }
                    None => story.errors.push(line),
                },
                Said::End => return Ok(story),
                Said::Nothing if killed_at.take().is_some() => victim.signal(Signal::KILL),
                Said::Nothing => return Err(format!("HANG: the victim said nothing for {PATIENCE:?}")),
            }
        }
    }

    /// It is stopped: the survivors go on, then it dies, or goes on too.
    fn meanwhile(&mut self, fate: &Fate, victim: &Process) -> Result<(), String> {
        self.all(&format!("operate {}", self.operations))?;
        victim.signal(match fate.end {
            End::StopAndGoOn(_) => Signal::CONT,
            _ => Signal::KILL,
        });
        Ok(())
    }

    /// The survivors go on; nothing is left of anybody else.
    fn aftermath(&mut self) -> Result<(), String> {
        self.all(&format!("operate {}", self.operations))?;
        self.all("settle")?;
        let deadline = Instant::now() + PATIENCE;
        // The accepting end of a connection goes with its process, but after it.
        while sockets(self.domain) != self.sockets {
            if Instant::now() >= deadline {
                return Err(format!("LEAK: {} sockets instead of {}", sockets(self.domain), self.sockets));
            }
            std::thread::sleep(crate::node::LOOK);
        }
        let (files, children) = (files(self.domain), children());
        let expected = self.survivors.iter().map(Process::id).collect::<Vec<_>>();
        if !files.is_empty() || !children.iter().all(|child| expected.contains(child)) {
            return Err(format!("LEAK: files {files:?}, processes {children:?}"));
        }
        Ok(())
    }

    fn prey(&self, number: u64) -> Result<Process, String> {
        let mut prey = self.start(&["prey".into(), self.domain.to_string(), number.to_string()])?;
        prey.expect("open")?;
        Ok(prey)
    }

    fn start(&self, words: &[String]) -> Result<Process, String> {
        Process::start(&self.program, words).map_err(|error| format!("{}: {error}", self.program.display()))
    }

    fn memory(&self) -> u64 {
        self.survivors.iter().map(|survivor| resident(survivor.id())).sum()
    }

    /// Tells both survivors, and hears that they have done it.
    fn all(&mut self, order: &str) -> Result<(), String> {
        self.tell_all(order);
        self.hear_all(order.split(' ').next().unwrap_or(order))
    }

    fn tell_all(&mut self, order: &str) {
        self.survivors.iter_mut().for_each(|survivor| survivor.tell(order));
    }

    fn hear_all(&mut self, answer: &str) -> Result<(), String> {
        self.survivors.iter_mut().try_for_each(|survivor| survivor.expect(answer))
    }
}

/// What a victim said.
#[derive(Default)]
struct LifeStory {
    place: Option<String>,
    passed: Option<u64>,
    errors: Vec<String>,
}

/// A domain that nobody else on this host uses: the transport takes any number, DDS small ones only.
fn fresh_domain() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    0x8000_0000 | std::process::id() << 8 | NEXT.fetch_add(1, Ordering::Relaxed) & 0xff
}

/// Roles pass a few points more or less each time.
const REHEARSALS: usize = 3;
/// Rounds after which the memory of the survivors should have its size.
const WARM_UP: u64 = 50;
/// How much it may vary after that, both together: buffers of the largest messages, lists of peers that are gone.
const GROWTH_MAX: i64 = 8 << 20;
