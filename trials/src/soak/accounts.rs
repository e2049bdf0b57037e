//! The elders among the bare transports, and what they must be able to account for.
//!
//! | elder | sends to | |
//! |---|---|---|
//! | 1, 2 | each other, reliable | never frozen: their latency is looked at |
//! | 3 | 4, best effort | what is missing at 4 must be what 3 has counted as lost |
//! | 4 | nobody | frozen now and then |
//! | 5 | 4, reliable | nothing may be missing |

use super::drift::thirds;
use super::member::Account;
use super::{Log, ask, hear_line};
use crate::child::{PATIENCE, Process};
use crate::random::Random;
use rustix::process::Signal;
use std::path::Path;
use std::time::{Duration, Instant};

/// The elders and their windows.
pub(super) struct Accounts {
    elders: Vec<Process>,
    windows: Vec<Vec<Account>>,
    baseline: Vec<Account>,
    frozen_until: Option<Instant>,
    rates_hz: Vec<u64>,
}

const TARGETS: [&str; 5] = ["r2", "r1", "b4", "-", "r4"];
/// Which of them is frozen.
const FROZEN: usize = 3;

impl Accounts {
    /// Starts them and lets them find each other.
    pub(super) fn open(program: &Path, domain: u32) -> Result<Self, String> {
        let mut elders = Vec::new();
        for (number, to) in (1..).zip(TARGETS) {
            let words =
                ["member".into(), domain.to_string(), number.to_string(), number.to_string(), to.into()];
            let mut elder =
                Process::start(program, &words).map_err(|error| format!("{}: {error}", program.display()))?;
            elder.expect("open")?;
            elders.push(elder);
        }
        elders.iter_mut().for_each(|elder| elder.tell("begin"));
        Ok(Self {
            windows: Vec::new(),
            baseline: Vec::new(),
            frozen_until: None,
            rates_hz: vec![100; elders.len()],
            elders,
        })
    }

    /// Notes what they have while there is nobody else: as soon as all have sent and received, and have the same for a
    /// while. Of two sockets by which two of them met at once, one may still be on its way out.
    pub(super) fn baseline(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        let mut before = self.accounts()?;
        loop {
            std::thread::sleep(SETTLING);
            let accounts = self.accounts()?;
            let is_settled = accounts.iter().map(held).eq(before.iter().map(held));
            let flows = accounts[0].sure_received > 0
                && accounts[1].sure_received > 0
                && accounts[3].loose_received > 0
                && accounts[3].sure_received > 0;
            if flows && is_settled {
                self.baseline = accounts;
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(format!(
                    "HANG: the elders do not hear of each other, or do not settle: {accounts:?}"
                ));
            }
            before = accounts;
        }
    }

    /// Freezes elder 4, or changes what an elder sends.
    pub(super) fn act(&mut self, random: &mut Random, log: &mut Log) -> Result<(), String> {
        match random.below(3) {
            0 if self.frozen_until.is_none() => {
                let time = Duration::from_millis(random.one_of(&[1, 30, 300, 1_500, 5_000]));
                self.elders[FROZEN].signal(Signal::STOP);
                self.frozen_until = Some(Instant::now() + time);
                log.say(&format!("elder {} is frozen for {time:?}", FROZEN + 1));
            }
            1 => {
                let which = random.below(self.elders.len() as u64) as usize;
                self.rates_hz[which] = random.one_of(&[20, 50, 100, 200]);
                let order = format!("rate {}", self.rates_hz[which]);
                log.say(&format!("elder {}: {order}", which + 1));
                self.elders[which].tell(&order);
            }
            _ => {
                let which = random.below(self.elders.len() as u64) as usize;
                let order = format!("size {}", random.one_of(&[100, 1_000, 10_000, 50_000, 200_000]));
                log.say(&format!("elder {}: {order}", which + 1));
                self.elders[which].tell(&order);
            }
        }
        Ok(())
    }

    /// Thaws whom it is time for; hears whether somebody has something to complain about.
    pub(super) fn look(&mut self) -> Result<(), String> {
        if self.frozen_until.is_some_and(|until| until <= Instant::now()) {
            self.thaw();
        }
        for elder in &mut self.elders {
            if let Some(line) = hear_line(elder, Instant::now())? {
                return Err(format!("{} said {line:?}", elder.name()));
            }
        }
        Ok(())
    }

    /// Looks at all of them; one line about it.
    pub(super) fn window(&mut self) -> Result<String, String> {
        self.thaw();
        let accounts = self.accounts()?;
        let text: Vec<String> = accounts
            .iter()
            .map(|account| {
                let Account { memory, descriptors, maps, p99_ns, .. } = account;
                format!("{} KiB, {descriptors} fds, {maps} maps, p99 {} us", memory >> 10, p99_ns / 1000)
            })
            .collect();
        self.windows.push(accounts);
        Ok(format!("elders: {}", text.join("; ")))
    }

    /// All have sent what they send; what is missing, and what has grown. There is nobody else any more.
    pub(super) fn end(mut self, window: Duration) -> Result<String, String> {
        self.thaw();
        for elder in &mut self.elders {
            let answer = ask(elder, "finish")?;
            if answer != "finished" {
                return Err(format!("{} said {answer:?}", elder.name()));
            }
        }
        let deadline = Instant::now() + PATIENCE;
        let accounts = loop {
            let accounts = self.accounts()?;
            match self.missing(&accounts) {
                None => break accounts,
                Some(fault) if Instant::now() >= deadline => return Err(fault),
                Some(_) => std::thread::sleep(super::LOOK),
            }
        };
        self.drift(&accounts, window)?;
        for elder in &mut self.elders {
            elder.dismiss();
            let status = elder.bury().map_err(|error| error.to_string())?;
            if !status.success() {
                return Err(format!("{} ended with {status}", elder.name()));
            }
        }
        Ok(summary(&self.baseline, &accounts, &self.windows))
    }

    /// What does not add up yet.
    fn missing(&self, accounts: &[Account]) -> Option<String> {
        let [one, two, three, four, five] = accounts else { return Some("not five elders".into()) };
        let sure = [(one, two, "1 to 2"), (two, one, "2 to 1"), (five, four, "5 to 4")];
        for (from, to, which) in sure {
            if from.sure_sent != to.sure_received {
                let (sent, received) = (from.sure_sent, to.sure_received);
                return Some(format!("LOST: {received} of {sent} reliable messages came from {which}"));
            }
        }
        let missing = three.loose_sent - four.loose_received;
        if missing != three.lost {
            return Some(format!(
                "NOT COUNTED: {missing} best-effort messages are missing, {} counted",
                three.lost
            ));
        }
        let grown =
            accounts.iter().zip(&self.baseline).position(|(after, before)| held(after) != held(before));
        grown.map(|which| {
            let (after, before) = (accounts[which], self.baseline[which]);
            format!("LEAK: elder {} has {after:?} after {before:?}", which + 1)
        })
    }

    /// Memory and latency of the last windows against those of the first. In short windows the latency is a matter of luck.
    fn drift(&self, last: &[Account], window: Duration) -> Result<(), String> {
        for which in 0..last.len() {
            let of = |value: fn(&Account) -> u64| -> Vec<u64> {
                self.windows.iter().map(|window| value(&window[which])).collect()
            };
            let memory = thirds(&of(|account| account.memory));
            if let Some((early, late)) = memory.filter(|(early, late)| *late > early + MEMORY_DRIFT_MAX) {
                return Err(format!(
                    "DRIFT: the memory of elder {} went from {early} to {late} bytes",
                    which + 1
                ));
            }
            let is_telling = which < NEVER_FROZEN && window >= P99_WINDOW_MIN;
            let p99 = thirds(&of(|account| account.p99_ns)).filter(|_| is_telling);
            if let Some((early, late)) =
                p99.filter(|(early, late)| *late > P99_DRIFT_MAX * early.max(&P99_FLOOR_NS))
            {
                return Err(format!("DRIFT: the p99 of elder {} went from {early} to {late} ns", which + 1));
            }
        }
        Ok(())
    }

    fn thaw(&mut self) {
        if self.frozen_until.take().is_some() {
            self.elders[FROZEN].signal(Signal::CONT);
        }
    }

    fn accounts(&mut self) -> Result<Vec<Account>, String> {
        self.elders.iter_mut().map(|elder| ask(elder, "account")?.parse()).collect()
    }
}

fn summary(before: &[Account], after: &[Account], windows: &[Vec<Account>]) -> String {
    let mut lines = vec![format!(
        "reliable: {} and {} between the never frozen, {} to the frozen, all received; best effort: {} sent, {} lost, \
         as many as were counted",
        after[0].sure_sent, after[1].sure_sent, after[4].sure_sent, after[2].loose_sent, after[2].lost
    )];
    for (which, (before, after)) in before.iter().zip(after).enumerate() {
        let p99s: Vec<String> =
            windows.iter().map(|window| (window[which].p99_ns / 1000).to_string()).collect();
        lines.push(format!(
            "elder {}: memory {} to {} KiB, descriptors {} to {}, maps {} to {}; p99 by window in us: {}",
            which + 1,
            before.memory >> 10,
            after.memory >> 10,
            before.descriptors,
            after.descriptors,
            before.maps,
            after.maps,
            p99s.join(" ")
        ));
    }
    lines.join("\n")
}

/// What may not grow: descriptors and maps.
fn held(account: &Account) -> (u64, u64) {
    (account.descriptors, account.maps)
}

/// The first two elders.
const NEVER_FROZEN: usize = 2;
/// More than buffers for a larger message take.
const MEMORY_DRIFT_MAX: u64 = 4 << 20;
/// Neighbours on the machine, and what guests ask for, change it manifold; a queue that grows passes any bound.
const P99_DRIFT_MAX: u64 = 4;
const P99_FLOOR_NS: u64 = 5_000_000;
const P99_WINDOW_MIN: Duration = Duration::from_secs(10);
/// For so long they have to have the same.
pub(super) const SETTLING: Duration = Duration::from_secs(1);
