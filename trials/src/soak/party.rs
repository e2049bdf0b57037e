//! A participant of a soak's DDS: a process of `largedata`, what it says, and how it leaves.

use super::PATIENCE;
use crate::census::{descriptors, resident};
use crate::child::{Process, Said};
use rustix::process::Signal;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// One that is there.
pub(super) struct Party {
    process: Process,
    /// Its words on the command line.
    pub(super) what: String,
    /// As the stack comes: what dies without a word is missed only when its lease ends.
    pub(super) is_stock: bool,
    /// The DDS gave up before it began: it wants answers from its own threads within a time.
    pub(super) was_starved: bool,
    begun: Instant,
    frozen_until: Option<Instant>,
    frozen: Duration,
    /// Its line of the second before.
    last: String,
    /// It left samples that nobody acknowledged.
    is_unacknowledged: bool,
    /// Samples that it says it received intact, in the end.
    received: u64,
}

/// One that was told to leave: a publisher of a DDS without this project waits for the acknowledgements of the dead first.
pub(super) struct Leaver {
    party: Party,
    told: Instant,
}

impl Party {
    /// Starts `largedata` with these words.
    pub(super) fn start(program: &Path, words: &str) -> Result<Self, String> {
        let process = Process::start_other(program, &words.split(' ').map(str::to_owned).collect::<Vec<_>>())
            .map_err(|error| format!("{}: {error}", program.display()))?;
        Ok(Self::of(process, words))
    }

    fn of(process: Process, words: &str) -> Self {
        Self {
            process,
            what: words.to_owned(),
            is_stock: words.contains("stock-"),
            was_starved: false,
            begun: Instant::now(),
            frozen_until: None,
            frozen: Duration::ZERO,
            last: String::new(),
            is_unacknowledged: false,
            received: 0,
        }
    }

    /// Its line of the second before.
    pub(super) fn last(&self) -> &str {
        self.last.trim()
    }

    /// The samples that it has counted by then: what it publishes, or gets from all.
    pub(super) fn count(&self) -> &str {
        self.last.split_whitespace().next().unwrap_or_default()
    }

    /// Its memory in bytes.
    pub(super) fn memory(&self) -> u64 {
        resident(self.process.id())
    }

    /// Its descriptors.
    pub(super) fn descriptors(&self) -> usize {
        descriptors(self.process.id())
    }

    /// Stops it, until a look that finds that time over.
    pub(super) fn freeze(&mut self, time: Duration) {
        self.process.signal(Signal::STOP);
        self.frozen_until = Some(Instant::now() + time);
        self.frozen += time;
    }

    /// Ends it by SIGKILL.
    pub(super) fn kill(mut self) -> Result<(), String> {
        self.process.signal(Signal::KILL);
        self.process.bury().map(drop).map_err(|error| error.to_string())
    }

    /// Thaws it where it is time for that, and hears what it has to say.
    pub(super) fn look(&mut self) -> Result<(), String> {
        if self.frozen_until.is_some_and(|until| until <= Instant::now()) {
            self.frozen_until = None;
            self.process.signal(Signal::CONT);
        }
        if self.hear()? && !self.was_starved { Err(format!("{} has ended", self.what)) } else { Ok(()) }
    }

    /// Ends it by Ctrl-C.
    pub(super) fn leave(mut self) -> Leaver {
        self.process.signal(Signal::CONT);
        self.process.signal(Signal::INT);
        // It may have said so of a sample before.
        self.is_unacknowledged = false;
        Leaver { party: self, told: Instant::now() }
    }

    /// Hears what it has to say; whether it has ended.
    fn hear(&mut self) -> Result<bool, String> {
        loop {
            match self.process.hear(Instant::now()) {
                Said::Nothing => return Ok(false),
                Said::End => return Ok(true),
                Said::Error(line) if line.contains("panicked") => {
                    return Err(format!("{}: {line}", self.what));
                }
                Said::Error(line) => self.was_starved |= STARVED.iter().any(|text| line.contains(text)),
                Said::Line(line) => self.note(line)?,
            }
        }
    }

    /// Nothing reliable may be lost, nothing corrupt.
    fn note(&mut self, line: String) -> Result<(), String> {
        if line.starts_with("corrupt") {
            return Err(format!("CORRUPT: {}: {line}", self.what));
        }
        self.is_unacknowledged |= line.starts_with(UNACKNOWLEDGED);
        if let Some(count) = line.strip_prefix("received ").and_then(|rest| rest.split(' ').next()) {
            self.received = count.replace(',', "").parse().unwrap_or(0);
        }
        if line.contains(" lost ") && !line.contains("lost 0 ") && !line.contains("lost 0,") {
            return Err(format!("LOST: {}: {line}", self.what));
        }
        if line.contains(" Hz ") {
            self.last = line;
        }
        Ok(())
    }
}

impl Leaver {
    /// Samples that it received intact, if it has left; and whether it had not even begun. Somebody was killed at `killed`.
    pub(super) fn left(&mut self, killed: Option<Instant>) -> Result<Option<(u64, bool)>, String> {
        let party = &mut self.party;
        if !party.hear()? {
            let hangs = self.told.elapsed() > LEAVING_MAX;
            return if hangs { Err(format!("HANG: {} does not end", party.what)) } else { Ok(None) };
        }
        let status = party.process.bury().map_err(|error| error.to_string())?;
        if party.was_starved {
            return Ok(Some((0, true)));
        }
        // Ctrl-C in the first moment meets a program that does not listen to it yet.
        let is_early = status.signal() == Some(Signal::INT.as_raw()) && party.last.is_empty();
        // A DDS without this project is told of no death, and waits for the dead until their lease ends.
        let waited_for_the_dead = party.is_stock
            && party.is_unacknowledged
            && killed.is_some_and(|killed| killed + LEASE > self.told);
        if !(status.success() || is_early || waited_for_the_dead) {
            return Err(format!("{} left with {status}", party.what));
        }
        // One that published was there all the time.
        let awake = (self.told - party.begun).saturating_sub(party.frozen);
        if party.what.starts_with("sub") && party.received == 0 && awake > FOUND_BY {
            return Err(format!("HANG: {} got nothing in {awake:.0?}", party.what));
        }
        Ok(Some((party.received, false)))
    }

    /// The same, when it has.
    pub(super) fn wait(mut self, killed: Option<Instant>) -> Result<u64, String> {
        loop {
            match self.left(killed)? {
                Some((received, _)) => return Ok(received),
                None => std::thread::sleep(super::LOOK),
            }
        }
    }
}

/// What `largedata pub` says where it leaves before all was acknowledged.
const UNACKNOWLEDGED: &str = "a subscriber has not acknowledged";
/// What RustDDS says where the machine was too busy for it to begin.
const STARVED: [&str; 2] = ["ready handshake failed: Timeout", "Discovery thread channel error: Timeout"];
/// A write that waits and what comes after it may take `--max-blocking`, 30 s, each.
const LEAVING_MAX: Duration = Duration::from_secs(60).saturating_add(PATIENCE);
/// Of Dust DDS's participants.
const LEASE: Duration = Duration::from_secs(100);
/// A subscriber that was awake for so long has found a publisher.
const FOUND_BY: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    /// A shell that says this and ends.
    fn leaver(words: &str, script: &str) -> Leaver {
        let words_of_shell = ["-c".to_owned(), script.to_owned()];
        let process = Process::start_other(Path::new("/bin/sh"), &words_of_shell).unwrap();
        Leaver { party: Party::of(process, words), told: Instant::now() }
    }

    #[test]
    fn a_panic_of_one_that_leaves_is_seen_though_it_ends_well() {
        let fault = leaver("pub", "echo \"thread 'main' panicked at\" >&2").wait(None).unwrap_err();
        assert!(fault.contains("panicked"), "{fault}");
    }

    #[test]
    fn only_who_is_as_it_comes_leaves_unacknowledged_and_only_after_a_death_within_a_lease() {
        let script = format!("echo '{UNACKNOWLEDGED} or not taken'; exit 1");
        let now = Instant::now();
        let stock = |killed| leaver("pub --stack stock-dust", &script).wait(killed);
        assert_eq!(stock(Some(now)), Ok(0));
        assert!(stock(None).is_err() && stock(now.checked_sub(LEASE)).is_err());
        assert!(leaver("pub --stack dust", &script).wait(Some(now)).is_err());
    }

    #[test]
    fn a_subscriber_that_got_nothing_in_a_long_life_is_a_fault_unless_it_was_frozen_for_it() {
        let old = |frozen| {
            let mut leaver = leaver("sub", "echo 'received 0 samples, 0 B; lost 0, corrupt 0'");
            leaver.told = leaver.party.begun + 2 * FOUND_BY;
            leaver.party.frozen = frozen;
            leaver.wait(None)
        };
        assert!(old(Duration::ZERO).unwrap_err().contains("got nothing"));
        assert_eq!(old(FOUND_BY), Ok(0));
    }

    #[test]
    fn only_what_took_rustdds_too_long_counts_as_starved() {
        let said = |text| {
            let mut leaver =
                leaver("sub", &format!("echo 'creating the participant failed: {text}' >&2; exit 2"));
            loop {
                match leaver.left(None) {
                    Ok(None) => std::thread::sleep(super::super::LOOK),
                    left => return left,
                }
            }
        };
        assert_eq!(said("dp_event_loop ready handshake failed: Timeout"), Ok(Some((0, true))));
        assert!(said("Could not find free ParticipantId").is_err());
    }

    #[test]
    fn what_a_publisher_and_a_subscriber_have_counted_is_what_their_lines_begin_with() {
        let mut party = leaver("pub", "true").party;
        party.note("     1,020 samples    20.0 Hz   400 kB/s  CPU 3 %".to_owned()).unwrap();
        assert_eq!(party.count(), "1,020");
        party
            .note("     1,021 samples    20.0 Hz   400 kB/s  p50 1 ms  lost 0  corrupt 0".to_owned())
            .unwrap();
        assert_eq!(party.count(), "1,021");
        assert!(party.note("1,022 samples  1 Hz  lost 1  corrupt 0".to_owned()).is_err());
    }
}
