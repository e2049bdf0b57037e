//! The soak: processes of all kinds come, go, die, freeze, resume, and change what they send, for as long as asked.
//!
//! ```text
//!   elders   live as long as the soak, in pairs: bare transports (reliable, best effort, one of them frozen now and then),
//!            and for each DDS a publisher and a subscriber of `largedata`
//!   guests   join them, and leave by every way there is
//! ```
//! Every sample is checked by whoever gets it. What the elders have is looked at in windows: it may not grow. At the end
//! what was lost on best effort must be what was counted, and nothing reliable may be missing.

mod accounts;
mod drift;
mod guests;
mod member;
mod party;
mod stacks;

use crate::census;
use crate::child::{PATIENCE, Process, Said};
use crate::random::Random;
use accounts::Accounts;
use clap::Args;
use guests::Guests;
use stacks::Stacks;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long, and what.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// For how long.
    #[arg(long, default_value_t = 1.0)]
    pub minutes: f64,
    /// What happens, and in which order, follows from it.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// The `largedata` program, for participants of Dust DDS and RustDDS; without it bare transports only.
    #[arg(long, value_name = "FILE")]
    pub largedata: Option<PathBuf>,
    /// Guests at once, of each kind.
    #[arg(long, default_value_t = 5)]
    pub guests: usize,
    /// Does not print what happens.
    #[arg(long)]
    pub quiet: bool,
}

/// What is told to whoever watches.
struct Log {
    begun: Instant,
    quiet: bool,
    events: u64,
}

impl Log {
    fn say(&mut self, text: &str) {
        self.events += 1;
        if !self.quiet {
            println!("{:>8.1} s  {text}", self.begun.elapsed().as_secs_f64());
        }
    }
}

/// Does it.
///
/// # Errors
/// The first thing that was not as it should be, and how to do it again.
pub fn run(program: &Path, options: &Options) -> Result<(), String> {
    let Options { minutes, seed, guests, .. } = options;
    let again = format!("again: cargo xtask soak --minutes {minutes} --seed {seed} --guests {guests}");
    println!("{again}");
    soak(program, options).map_err(|fault| format!("{fault}\n{again}"))
}

fn soak(program: &Path, options: &Options) -> Result<(), String> {
    let mut log = Log { begun: Instant::now(), quiet: options.quiet, events: 0 };
    let mut random = Random::new(options.seed);
    let domain = 0x4000_0000 | std::process::id();
    let mut accounts = Accounts::open(program, domain)?;
    let mut guests = Guests::new(program, domain, options.guests);
    let mut stacks = match &options.largedata {
        Some(largedata) => Stacks::open(largedata, options.guests)?,
        None => Stacks::none(),
    };
    accounts.baseline()?;
    stacks.baseline()?;
    let end = Instant::now() + Duration::from_secs_f64(options.minutes * 60.0);
    let window = Duration::from_secs_f64((options.minutes * 60.0 / WINDOWS).clamp(2.0, 60.0));
    let mut next_window = Instant::now() + window;
    while Instant::now() < end {
        let pause = Duration::from_millis(100 + random.below(900));
        let until = (Instant::now() + pause).min(end);
        while Instant::now() < until {
            guests.look()?;
            stacks.look()?;
            accounts.look()?;
            std::thread::sleep(LOOK);
        }
        match random.below(10) {
            0..5 => guests.act(&mut random, &mut log)?,
            5..8 => stacks.act(&mut random, &mut log)?,
            _ => accounts.act(&mut random, &mut log)?,
        }
        if Instant::now() >= next_window {
            next_window = Instant::now() + window;
            log.say(&accounts.window()?);
            if let Some(line) = stacks.window()? {
                log.say(&line);
            }
        }
    }
    guests.end(&mut log)?;
    let dds = stacks.end(&mut log);
    println!("{}", accounts.end(window)?);
    print!("{}", dds?);
    let (sockets, files, children) = (census::sockets(domain), census::files(domain), census::children());
    if sockets > 0 || !files.is_empty() || !children.is_empty() {
        return Err(format!("LEAK: {sockets} sockets, files {files:?}, processes {children:?}"));
    }
    println!("{} events in {:.0} s; nothing is left behind", log.events, log.begun.elapsed().as_secs_f64());
    Ok(())
}

/// Plays the role that this process was started with.
///
/// # Errors
/// What went wrong.
pub fn play(words: &[String]) -> Result<(), String> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text:?} is no number"));
    match words.as_slice() {
        ["member", domain, own, seed, to] => {
            member::play(number(domain)? as u32, number(own)?, number(seed)?, to)
        }
        other => Err(format!("no such role: {other:?}")),
    }
}

/// What a process says must be one of these; the others are its faults.
fn hear_line(process: &mut Process, deadline: Instant) -> Result<Option<String>, String> {
    match process.hear(deadline) {
        Said::Line(line) if line.starts_with("fault ") => Err(format!("{}: {line}", process.name())),
        Said::Line(line) => Ok(Some(line)),
        Said::Error(line) => Err(format!("{}: {line}", process.name())),
        Said::End => Err(format!("{} has ended", process.name())),
        Said::Nothing => Ok(None),
    }
}

/// Its answer to an order.
fn ask(process: &mut Process, order: &str) -> Result<String, String> {
    process.tell(order);
    let answer = hear_line(process, Instant::now() + PATIENCE)?;
    answer.ok_or_else(|| format!("HANG: {} did not answer {order:?} in {PATIENCE:?}", process.name()))
}

/// Windows in which the elders are looked at, a minute each at most.
const WINDOWS: f64 = 30.0;
/// Between looks at what processes say.
const LOOK: Duration = Duration::from_millis(20);
