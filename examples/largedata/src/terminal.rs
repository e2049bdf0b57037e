//! `largedata pub` and `largedata sub`: the halves by hand, in two terminals or on two hosts.
//!
//! Each prints a line for every second and for every change of who is there. Neither minds who comes first, who
//! leaves, is killed or comes back: the publisher pauses while nobody listens and goes on.

use crate::cli::{PubArgs, SubArgs, UsageError};
use crate::input::InputError;
use crate::notices;
use crate::output::say;
use crate::publisher::{End, Published, Publisher};
use crate::quantity::{bytes_text, count_text, three_digits};
use crate::report::optional_time;
use crate::samples::Samples;
use crate::stack::{
    OpenError, Publication, PublishError, Reliability, StackKind, StackOptions, open_publication,
    open_subscription,
};
use crate::subscriber::Subscriber;
use crate::tally::Tally;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use thiserror::Error;

/// Why a half stopped.
#[derive(Debug, Error)]
pub(crate) enum TerminalError {
    /// Options contradict each other.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// A file cannot be published.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The stack is not there.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Publishing failed for good.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// Ctrl-C could not be watched for.
    #[error("cannot handle Ctrl-C: {0}")]
    Signals(#[from] ctrlc::Error),
}

/// Publishes until Ctrl-C or the end asked for; true if it knows of nobody who lacks a sample that was promised.
///
/// # Errors
/// [`TerminalError`] where it cannot begin or go on.
pub(crate) fn publish(args: &PubArgs) -> Result<bool, TerminalError> {
    let (options, source, touch, plan) = args.resolve()?;
    let stop = stop_on_ctrl_c(what_it_waits_for(&options))?;
    notices::install(|_, text| say!("{text}"));
    options.path.remarks().for_each(|remark| say!("{remark}"));
    let mut publication = open_publication(&options)?;
    let mut samples = Samples::prepare(&source, touch)?;
    let topics: Vec<&str> = samples.kinds().into_iter().map(crate::messages::Kind::topic).collect();
    say!("publishing {} on {} in domain {}", samples.describe(), topics.join(" and "), options.domain);
    say!("{}, {}, {}; Ctrl-C ends it", options.stack.name(), options.reliability.name(), plan.rate);
    let mut board = PublisherBoard::new(Arc::clone(&stop), plan.end, options.domain);
    board.wait_for_someone(publication.as_mut());
    // The time that was asked for is one of publishing, and waiting for the first may take as long before it.
    if board.matched > 0 {
        board.deadline = deadline(plan.end);
    }
    let published = Publisher::new(publication.as_mut(), &mut samples).run(
        plan,
        &stop,
        |publication, published, error| board.update(publication, published, error),
    );
    let flushed = published.and_then(|published| {
        say!("published {} samples, {}", count_text(published.samples), bytes_text(published.bytes));
        publication.flush()
    });
    publication.close();
    match flushed {
        Err(error @ PublishError::Timeout(_)) => {
            say!("{error}; it may lack the last samples");
            Ok(false)
        }
        flushed => Ok(flushed.map(|()| board.missed == 0)?),
    }
}

/// Subscribes until Ctrl-C or the end asked for; true if all samples were intact, and none lost where that was promised.
///
/// # Errors
/// [`TerminalError`] where it cannot begin.
pub(crate) fn subscribe(args: &SubArgs, started_ns: u64) -> Result<bool, TerminalError> {
    let options = args.options()?;
    let stop = stop_on_ctrl_c(None)?;
    notices::install(|_, text| say!("{text}"));
    options.path.remarks().for_each(|remark| say!("{remark}"));
    let mut subscription = open_subscription(&options)?;
    let topics: Vec<&str> = options.kinds.iter().map(|kind| kind.topic()).collect();
    say!("subscribed to {} in domain {}; Ctrl-C ends it", topics.join(", "), options.domain);
    let mut subscriber = Subscriber::new(subscription.as_mut(), started_ns);
    let mut board = SubscriberBoard::new(options.domain);
    let started = Instant::now();
    let is_over = |tally: &Tally| match args.end() {
        End::Samples(samples) => tally.received + tally.corrupt >= samples,
        End::After(time) => started.elapsed() >= time,
        End::Open => false,
    };
    while !stop.load(Ordering::Relaxed) && !is_over(&subscriber.tally) {
        if let Some(Err(flaw)) = subscriber.take(Instant::now() + POLL) {
            board.complain(&flaw.to_string());
        }
        board.update(&mut subscriber);
    }
    let received = subscriber.received();
    subscription.close();
    say!(
        "received {} samples, {}; lost {}, corrupt {}; by shm {}, by udp {}",
        count_text(received.samples),
        bytes_text(received.bytes),
        received.skipped,
        received.corrupt,
        count_text(received.by_path.shm),
        count_text(received.by_path.udp),
    );
    let complete = options.reliability == Reliability::BestEffort || received.skipped == 0;
    if let Some(remark) = options.loss_remark().filter(|_| !complete) {
        say!("{remark}");
    }
    Ok(complete && received.corrupt == 0)
}

/// What the publisher's terminal shows.
struct PublisherBoard {
    stop: Arc<AtomicBool>,
    /// When waiting is over too.
    deadline: Option<Instant>,
    domain: u32,
    was_told: bool,
    matched: usize,
    shown_at: Instant,
    shown: Published,
    timeouts: u64,
    missed: u64,
}

impl PublisherBoard {
    fn new(stop: Arc<AtomicBool>, end: End, domain: u32) -> Self {
        Self {
            stop,
            deadline: deadline(end),
            domain,
            was_told: false,
            matched: 0,
            shown_at: Instant::now(),
            shown: Published::default(),
            timeouts: 0,
            missed: 0,
        }
    }

    fn update(
        &mut self,
        publication: &mut dyn Publication,
        published: &Published,
        error: Option<PublishError>,
    ) -> Result<(), PublishError> {
        match error {
            Some(error @ PublishError::Timeout(_)) => {
                self.timeouts += 1;
                say!("{error}; trying the same sample again (time {})", self.timeouts);
            }
            Some(error @ PublishError::Missed(_)) => {
                self.missed += 1;
                say!("{error} (time {})", self.missed);
            }
            Some(error) => return Err(error),
            None => {}
        }
        if self.shown_at.elapsed() >= SECOND {
            self.show(published);
        }
        self.wait_for_someone(publication);
        Ok(())
    }

    fn show(&mut self, published: &Published) {
        let seconds = self.shown_at.elapsed().as_secs_f64();
        let samples = (published.samples - self.shown.samples) as f64 / seconds;
        let bytes = (published.bytes - self.shown.bytes) as f64 / seconds;
        say!(
            "{:>10} samples  {:>6} Hz  {:>9}/s  CPU {:.0} %",
            count_text(published.samples),
            three_digits(samples),
            bytes_text(bytes as u64),
            published.cpu_percent
        );
        (self.shown, self.shown_at) = (*published, Instant::now());
    }

    /// Says who came or went, and waits while nobody is there. At the plan's end it stops the publisher.
    fn wait_for_someone(&mut self, publication: &mut dyn Publication) {
        let alone_since = Instant::now();
        loop {
            let matched = publication.matched();
            if matched != self.matched {
                say!("{}", people(matched, "subscriber"));
                self.matched = matched;
            }
            // Who was there has shown that nothing is wrong with the options.
            self.was_told |= matched > 0;
            if matched > 0 || self.stop.load(Ordering::Relaxed) {
                return;
            }
            if !self.was_told && alone_since.elapsed() >= LONELY {
                self.was_told = true;
                say_lonely(self.domain);
            }
            if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                self.stop.store(true, Ordering::Relaxed);
                return;
            }
            thread::sleep(POLL);
            self.shown_at = Instant::now();
        }
    }
}

/// What the subscriber's terminal shows.
struct SubscriberBoard {
    domain: u32,
    begun: Instant,
    was_told: bool,
    matched: usize,
    looked_at: Instant,
    shown_at: Instant,
    samples: u64,
    bytes: u64,
    complaints: u64,
}

impl SubscriberBoard {
    fn new(domain: u32) -> Self {
        let now = Instant::now();
        Self {
            domain,
            begun: now,
            was_told: false,
            matched: 0,
            looked_at: now,
            shown_at: now,
            samples: 0,
            bytes: 0,
            complaints: 0,
        }
    }

    fn complain(&mut self, flaw: &str) {
        self.complaints += 1;
        if self.complaints <= COMPLAINTS_MAX {
            say!("corrupt: {flaw}");
        }
    }

    fn update(&mut self, subscriber: &mut Subscriber<'_>) {
        if self.looked_at.elapsed() >= POLL {
            self.looked_at = Instant::now();
            let matched = subscriber.subscription().matched();
            if matched != self.matched {
                say!("{}", people(matched, "publisher"));
                self.matched = matched;
            }
            // Who was there has shown that nothing is wrong with the options.
            self.was_told |= matched > 0;
            if !self.was_told && self.begun.elapsed() >= LONELY {
                self.was_told = true;
                say_lonely(self.domain);
            }
        }
        if self.shown_at.elapsed() >= SECOND {
            self.show(subscriber);
        }
    }

    fn show(&mut self, subscriber: &mut Subscriber<'_>) {
        let seconds = self.shown_at.elapsed().as_secs_f64();
        let by_path = subscriber.subscription().by_path();
        let tally = &mut subscriber.tally;
        let new = tally.received - self.samples;
        if new > 0 {
            say!(
                "{:>10} samples  {:>6} Hz  {:>9}/s  p50 {:>8}  p99 {:>8}  lost {}  corrupt {}  shm {}  udp {}",
                count_text(tally.received),
                three_digits(new as f64 / seconds),
                bytes_text(((tally.bytes - self.bytes) as f64 / seconds) as u64),
                optional_time(tally.latency.quantile(0.5)),
                optional_time(tally.latency.quantile(0.99)),
                tally.skipped,
                tally.corrupt,
                by_path.shm,
                by_path.udp,
            );
        }
        tally.latency.clear();
        (self.samples, self.bytes, self.shown_at) = (tally.received, tally.bytes, Instant::now());
    }
}

/// When a plan of this end is over that begins now, as far as time says so.
fn deadline(end: End) -> Option<Instant> {
    match end {
        End::After(time) => Instant::now().checked_add(time),
        End::Samples(_) | End::Open => None,
    }
}

/// What may be the reason that nobody came.
fn say_lonely(domain: u32) {
    say!(
        "nobody yet in domain {domain}; both sides need the same --domain and --stack, \
         and a reliable subscriber does not take from a best-effort publisher"
    );
}

fn people(count: usize, who: &str) -> String {
    match count {
        0 => format!("no {who} left; waiting for one"),
        1 => format!("1 {who}"),
        count => format!("{count} {who}s"),
    }
}

/// What a publisher says at Ctrl-C, if it may wait for somebody then.
fn what_it_waits_for(options: &StackOptions) -> Option<String> {
    let patience = options.max_blocking;
    let what = match (options.reliability, options.stack) {
        (Reliability::BestEffort, _) => return None,
        (Reliability::Reliable, StackKind::Transport) => format!("a write may take {patience:?}"),
        (Reliability::Reliable, _) => format!("a write and its acknowledgement may take {patience:?} each"),
    };
    Some(format!("ending; {what} (--max-blocking), Ctrl-C ends it at once"))
}

/// Set by the first Ctrl-C, to which this is the answer.
fn stop_on_ctrl_c(mut answer: Option<String>) -> Result<Arc<AtomicBool>, ctrlc::Error> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        // Who asks twice does not want to wait for a write that waits for somebody else.
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED);
        }
        if let Some(answer) = answer.take() {
            // Where nobody takes what is printed, this thread hears the second one all the same.
            let _ = thread::Builder::new().spawn(move || say!("{answer}"));
        }
    })?;
    Ok(stop)
}

const POLL: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);
/// How long a half is alone before it says what may be the reason.
const LONELY: Duration = Duration::from_secs(5);
const COMPLAINTS_MAX: u64 = 10;
/// The exit code of a program that Ctrl-C has ended, as shells give it.
const INTERRUPTED: i32 = 130;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    #[test]
    fn at_ctrl_c_a_publisher_names_what_it_waits_for_and_nothing_else() {
        let answer = |options: &str| {
            let line = format!("largedata pub {options}");
            let cli = Cli::try_parse_from(line.split_ascii_whitespace()).unwrap();
            let Some(Command::Pub(args)) = cli.command else { panic!("not a publisher") };
            what_it_waits_for(&args.resolve().unwrap().0)
        };
        for stack in ["dust", "rustdds", "transport"] {
            let reliable = answer(&format!("--stack {stack} --max-blocking 7")).unwrap();
            assert!(reliable.contains("a write") && reliable.contains("7s"), "{reliable}");
            assert_eq!(reliable.contains("acknowledgement"), stack != "transport", "{reliable}");
            assert_eq!(answer(&format!("--stack {stack} --reliability best-effort")), None);
        }
    }
}
