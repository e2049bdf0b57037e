//! Bare transports that come and go: they link to everybody, send to everybody, and end in every way there is.

use super::member::ELDERS;
use super::{Log, hear_line};
use crate::child::{PATIENCE, Process, Said};
use crate::random::Random;
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Those who are there now.
pub(super) struct Guests {
    program: PathBuf,
    domain: u32,
    max: usize,
    next_number: u64,
    present: Vec<Guest>,
}

struct Guest {
    process: Process,
    number: u64,
    frozen_until: Option<Instant>,
}

impl Guests {
    /// Nobody yet; `max` at once.
    pub(super) fn new(program: &Path, domain: u32, max: usize) -> Self {
        Self { program: program.to_owned(), domain, max, next_number: ELDERS, present: Vec::new() }
    }

    /// One comes, goes, dies, freezes, or sends something else.
    pub(super) fn act(&mut self, random: &mut Random, log: &mut Log) -> Result<(), String> {
        if self.present.is_empty() || self.present.len() < self.max && random.below(3) == 0 {
            return self.join(random, log);
        }
        let which = random.below(self.present.len() as u64) as usize;
        let number = self.present[which].number;
        match random.below(6) {
            0 => {
                log.say(&format!("guest {number} is killed"));
                let mut guest = self.present.swap_remove(which);
                guest.process.signal(Signal::KILL);
                guest.process.bury().map_err(|error| error.to_string())?;
            }
            1 => {
                log.say(&format!("guest {number} leaves"));
                leave(self.present.swap_remove(which))?;
            }
            2 | 3 => {
                let time = Duration::from_millis(random.one_of(&[1, 50, 500, 3_000, 10_000]));
                log.say(&format!("guest {number} is frozen for {time:?}"));
                self.present[which].process.signal(Signal::STOP);
                self.present[which].frozen_until = Some(Instant::now() + time);
            }
            4 => self.order(which, &format!("rate {}", random.one_of(&[10, 50, 200])), log),
            _ => self.order(which, &format!("size {}", random.one_of(&[50, 2_000, 20_000, 200_000])), log),
        }
        Ok(())
    }

    fn join(&mut self, random: &mut Random, log: &mut Log) -> Result<(), String> {
        let number = self.next_number;
        self.next_number += 1;
        log.say(&format!("guest {number} comes"));
        let (domain, seed) = (self.domain.to_string(), random.bits().to_string());
        let words = ["member".into(), domain, number.to_string(), seed, "all".into()];
        let process = Process::start(&self.program, &words)
            .map_err(|error| format!("{}: {error}", self.program.display()))?;
        self.present.push(Guest { process, number, frozen_until: None });
        Ok(())
    }

    fn order(&mut self, which: usize, order: &str, log: &mut Log) {
        log.say(&format!("guest {}: {order}", self.present[which].number));
        self.present[which].process.tell(order);
    }

    /// Thaws whom it is time for; hears whether somebody has something to complain about.
    pub(super) fn look(&mut self) -> Result<(), String> {
        for guest in &mut self.present {
            if guest.frozen_until.is_some_and(|until| until <= Instant::now()) {
                guest.frozen_until = None;
                guest.process.signal(Signal::CONT);
            }
            while hear_line(&mut guest.process, Instant::now())?.is_some() {}
        }
        Ok(())
    }

    /// All leave.
    pub(super) fn end(&mut self, log: &mut Log) -> Result<(), String> {
        log.say(&format!("{} guests leave", self.present.len()));
        self.present.drain(..).try_for_each(leave)
    }
}

/// Tells it to go, and sees it go in peace.
fn leave(mut guest: Guest) -> Result<(), String> {
    guest.process.signal(Signal::CONT);
    guest.process.dismiss();
    let deadline = Instant::now() + PATIENCE;
    loop {
        match guest.process.hear(deadline) {
            Said::Line(line) if line == "open" => {}
            Said::End => break,
            other => return Err(format!("guest {} leaves and says {other:?}", guest.number)),
        }
    }
    let status = guest.process.bury().map_err(|error| error.to_string())?;
    if status.success() { Ok(()) } else { Err(format!("guest {} left with {status}", guest.number)) }
}
