//! One measurement: this process starts a publisher and its subscribers, leads them through the run and adds up.
//!
//! The children are real processes, this executable with another command, so that what crosses the boundary
//! crosses it for everyone. They are started together, begin when everyone sees everyone (so that the first
//! sample counts like any other), and are ended by their pid whatever happens to the run.

use crate::dialogue::{Assignment, Event, Order};
use crate::lines::{hear, tell};
use crate::messages::Kind;
use crate::placement::{Placement, Role};
use crate::publisher::{Plan, Published};
use crate::samples::Source;
use crate::stack::{ByPath, StackOptions, Written};
use crate::stamp::Touch;
use crate::subscriber::Received;
use crate::tally::Latency;
use std::io::{self, BufReader};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};
use thiserror::Error;

/// A measurement to be made.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// The stack.
    pub(crate) options: StackOptions,
    /// What to publish.
    pub(crate) source: Source,
    /// How much of it to sum up.
    pub(crate) touch: Touch,
    /// When to publish.
    pub(crate) plan: Plan,
    /// Subscribers.
    pub(crate) subscribers: usize,
    /// Where they run.
    pub(crate) placement: Placement,
}

/// What a measurement gave, summed over the subscribers.
#[derive(Default)]
pub(crate) struct Outcome {
    /// Samples published.
    pub(crate) sent: u64,
    /// Samples published per second, if there were enough of them to tell.
    pub(crate) rate_hz: Option<f64>,
    /// Subscribers that said what they received; the counts are of those.
    pub(crate) reported: usize,
    /// Samples that arrived.
    pub(crate) received: u64,
    /// Samples that did not.
    pub(crate) lost: u64,
    /// Samples that arrived damaged, twice or out of order.
    pub(crate) corrupt: u64,
    /// Samples by path.
    pub(crate) by_path: ByPath,
    /// What the publisher's stack has done, if it counts that.
    pub(crate) written: Option<Written>,
    /// Payload bytes that arrived intact.
    pub(crate) bytes: u64,
    /// From the first publication to the last arrival.
    pub(crate) seconds: f64,
    /// Latencies.
    pub(crate) latency: Latency,
    /// Percent of one processor that the publisher used.
    pub(crate) publisher_cpu: f64,
    /// Percent of one processor that all subscribers together used.
    pub(crate) subscribers_cpu: f64,
    /// From the start of a subscriber to its first sample, of the slowest one.
    pub(crate) first_sample_ns: Option<u64>,
    /// What was published, in one line.
    pub(crate) samples: String,
    /// Processes that did not reach the end or did not end well, and the first flaw of each subscriber that saw one.
    pub(crate) troubles: Vec<String>,
}

/// What happens during a run, for whoever watches.
pub(crate) enum Moment<'a> {
    /// Everyone sees everyone; publishing begins.
    Started,
    /// So much has been published.
    Progress {
        /// Samples.
        samples: u64,
        /// Payload bytes.
        bytes: u64,
    },
    /// A child says something that a person should read.
    Notice(&'a str),
}

/// Why there is no outcome.
#[derive(Debug, Error)]
pub(crate) enum RunError {
    /// A process could not be started.
    #[error("cannot start a process of this program: {0}")]
    Spawn(#[source] io::Error),
    /// A child cannot do its part.
    #[error("{who}: {why}")]
    Child {
        /// Which child.
        who: String,
        /// What it said.
        why: String,
    },
    /// A child ended before its time.
    #[error("{who} ended in the middle of the run: {status}")]
    Died {
        /// Which child.
        who: String,
        /// How.
        status: ExitStatus,
    },
    /// They did not find each other.
    #[error(
        "publisher and subscribers did not all find each other in domain {domain} within {} s; \
         over UDP, discovery needs multicast on some interface, the loopback one included", MATCH_PATIENCE.as_secs()
    )]
    NoMatch {
        /// Where.
        domain: u32,
    },
    /// A child does not answer.
    #[error("{who} did not answer within {patience:?}")]
    Silent {
        /// Which child.
        who: String,
        /// How long it was waited for.
        patience: Duration,
    },
}

impl Run {
    /// Makes the measurement.
    ///
    /// # Errors
    /// [`RunError`] where it cannot be made at all; subscribers that die on the way are part of the outcome.
    pub(crate) fn measure(&self, mut watch: impl FnMut(Moment<'_>)) -> Result<Outcome, RunError> {
        let mut ensemble = Ensemble::start(self)?;
        let samples = ensemble.gather(self.options.domain, MATCH_PATIENCE, &mut watch)?;
        watch(Moment::Started);
        ensemble.tell(PUBLISHER, Order::Go);
        let published = ensemble.until_published(self.options.max_blocking + END_PATIENCE, &mut watch)?;
        let received = ensemble.until_received(published.samples, &mut watch)?;
        let troubles = ensemble.end();
        Ok(self.add_up(&published, received, samples, troubles))
    }

    fn assignment(&self, role: Role) -> Assignment {
        let kinds = self.options.kinds.len();
        Assignment {
            role,
            parent: std::process::id(),
            options: self.options.clone(),
            source: self.source.clone(),
            touch: self.touch,
            plan: self.plan,
            matches: match role {
                Role::Publisher => kinds * self.subscribers,
                Role::Subscriber => kinds,
            },
            placement: self.placement,
        }
    }

    fn add_up(
        &self,
        published: &Published,
        subscribers: Vec<Received>,
        samples: String,
        mut troubles: Vec<String>,
    ) -> Outcome {
        let mut latency = Latency::new();
        subscribers.iter().for_each(|subscriber| latency.merge(&subscriber.latency));
        let sum = |of: fn(&Received) -> u64| subscribers.iter().map(of).sum::<u64>();
        let received = sum(|subscriber| subscriber.samples + subscriber.corrupt);
        let last_ns = subscribers.iter().map(|subscriber| subscriber.last_ns).max().unwrap_or_default();
        let span_ns = last_ns.max(published.last_ns).saturating_sub(published.first_ns);
        troubles.extend(subscribers.iter().filter_map(|subscriber| {
            subscriber
                .first_flaw
                .as_ref()
                .map(|flaw| format!("the first corrupt sample of a subscriber: {flaw}"))
        }));
        Outcome {
            sent: published.samples,
            rate_hz: published.rate_hz(),
            reported: subscribers.len(),
            received,
            lost: (published.samples * subscribers.len() as u64).saturating_sub(received),
            corrupt: sum(|subscriber| subscriber.corrupt),
            by_path: ByPath { shm: sum(|s| s.by_path.shm), udp: sum(|s| s.by_path.udp) },
            written: published.written,
            bytes: sum(|subscriber| subscriber.bytes),
            seconds: span_ns as f64 / 1e9,
            latency,
            publisher_cpu: published.cpu_percent,
            subscribers_cpu: subscribers.iter().map(|subscriber| subscriber.cpu_percent).sum(),
            first_sample_ns: subscribers.iter().filter_map(|subscriber| subscriber.first_sample_ns).max(),
            samples,
            troubles,
        }
    }
}

impl Outcome {
    /// Megabytes (of a million bytes) per second that arrived intact, all subscribers together.
    pub(crate) fn mb_per_s(&self) -> f64 {
        if self.seconds > 0.0 { self.bytes as f64 / 1e6 / self.seconds } else { 0.0 }
    }
}

/// The kinds of a run in one word.
pub(crate) fn kinds_text(run: &Run) -> String {
    run.options.kinds.iter().map(Kind::to_string).collect::<Vec<_>>().join("+")
}

/// The children, by index: the publisher is the first.
struct Ensemble {
    members: Vec<Member>,
    events: Receiver<(usize, Option<Event>)>,
    troubles: Vec<String>,
}

struct Member {
    name: String,
    process: Child,
    stdin: Option<ChildStdin>,
    is_alive: bool,
}

impl Ensemble {
    fn start(run: &Run) -> Result<Self, RunError> {
        let (sender, events) = mpsc::channel();
        let mut ensemble = Self { members: Vec::new(), events, troubles: Vec::new() };
        let subscribers =
            (1..=run.subscribers).map(|number| (Role::Subscriber, format!("subscriber {number}")));
        for (role, name) in std::iter::once((Role::Publisher, "the publisher".to_owned())).chain(subscribers)
        {
            let member = Member::start(name, ensemble.members.len(), &run.assignment(role), &sender);
            ensemble.members.push(member.map_err(RunError::Spawn)?);
        }
        Ok(ensemble)
    }

    /// Waits until everyone sees everyone: for so long until the publisher has opened its half, however long for its samples, and
    /// for so long again from when there are samples; gives the publisher's description of them.
    fn gather(
        &mut self,
        domain: u32,
        patience: Duration,
        watch: &mut impl FnMut(Moment<'_>),
    ) -> Result<String, RunError> {
        let mut deadline = Some(Instant::now() + patience);
        let mut is_open = false;
        let mut missing = self.members.len();
        let mut description = String::new();
        while missing > 0 {
            match self.next(deadline, watch)? {
                None if is_open => return Err(RunError::NoMatch { domain }),
                None => {
                    let who = self.members[PUBLISHER].name.clone();
                    return Err(RunError::Silent { who, patience });
                }
                Some((member, None)) => return Err(self.died(member)),
                // A publisher that dies over its samples is heard of.
                Some((_, Some(Event::Opened))) => (is_open, deadline) = (true, None),
                Some((_, Some(Event::Prepared))) => deadline = Some(Instant::now() + patience),
                Some((member, Some(Event::Matched { samples }))) => {
                    missing -= 1;
                    if member == PUBLISHER {
                        description = samples;
                    }
                }
                Some(_) => {}
            }
        }
        Ok(description)
    }

    /// Waits for the publisher to finish. Subscribers may die meanwhile; the others go on.
    fn until_published(
        &mut self,
        patience: Duration,
        watch: &mut impl FnMut(Moment<'_>),
    ) -> Result<Published, RunError> {
        // The run may be as long as was asked for, but all the while the publisher says how far it is.
        let mut deadline = Instant::now() + patience;
        loop {
            match self.next(Some(deadline), watch)? {
                None => {
                    let who = self.members[PUBLISHER].name.clone();
                    return Err(RunError::Silent { who, patience });
                }
                Some((PUBLISHER, None)) => return Err(self.died(PUBLISHER)),
                Some((member, None)) => self.mourn(member),
                Some((_, Some(Event::Published(published)))) => return Ok(published),
                Some((PUBLISHER, Some(Event::Progress { samples, bytes }))) => {
                    deadline = Instant::now() + patience;
                    watch(Moment::Progress { samples, bytes });
                }
                Some(_) => {}
            }
        }
    }

    /// Lets the subscribers finish and collects what they received.
    fn until_received(
        &mut self,
        sent: u64,
        watch: &mut impl FnMut(Moment<'_>),
    ) -> Result<Vec<Received>, RunError> {
        for subscriber in 1..self.members.len() {
            self.tell(subscriber, Order::Finish { sent });
        }
        let mut received: Vec<Option<Received>> = self.members.iter().map(|_| None).collect();
        let mut deadline = Instant::now() + END_PATIENCE;
        loop {
            let silent = (1..self.members.len()).find(|&i| self.members[i].is_alive && received[i].is_none());
            let Some(silent) = silent else { return Ok(received.into_iter().flatten().collect()) };
            let event = self.next(Some(deadline), watch)?;
            let who = || self.members[silent].name.clone();
            match event.ok_or_else(|| RunError::Silent { who: who(), patience: END_PATIENCE })? {
                (PUBLISHER, None) => return Err(self.died(PUBLISHER)),
                (member, None) => self.mourn(member),
                (member, Some(Event::Received(report))) => received[member] = Some(report),
                (_, Some(Event::Progress { .. })) => deadline = Instant::now() + END_PATIENCE,
                _ => {}
            }
        }
    }

    /// Lets everyone say goodbye and end; gives what went wrong on the way.
    fn end(&mut self) -> Vec<String> {
        for member in 0..self.members.len() {
            self.tell(member, Order::Exit);
        }
        self.until_ended(END_PATIENCE);
        std::mem::take(&mut self.troubles)
    }

    /// Waits until everyone has ended; who did not, or not well, is a trouble.
    fn until_ended(&mut self, patience: Duration) {
        let deadline = Instant::now() + patience;
        while self.members.iter().any(|member| member.is_alive) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok((member, None)) => self.part_from(member),
                Ok((member, Some(Event::Failed { text }))) => {
                    self.troubles.push(format!("{}: {text}", self.members[member].name));
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        for member in self.members.iter().filter(|member| member.is_alive) {
            let (name, pid) = (&member.name, member.process.id());
            let trouble = format!("{name} (pid {pid}) did not end within {patience:?} and was killed");
            self.troubles.push(trouble);
        }
    }

    /// Notes how a member ended that was told to.
    fn part_from(&mut self, member: usize) {
        let member = &mut self.members[member];
        let how = match member.wait() {
            Ok(status) if status.success() => return,
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        let (name, pid) = (&member.name, member.process.id());
        self.troubles.push(format!("{name} (pid {pid}) had done its part but did not end well: {how}"));
    }

    /// The next event before the deadline, if there is one; notices are passed on, failures are errors.
    fn next(
        &self,
        deadline: Option<Instant>,
        watch: &mut impl FnMut(Moment<'_>),
    ) -> Result<Option<(usize, Option<Event>)>, RunError> {
        loop {
            let event = match deadline {
                Some(deadline) => {
                    self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()
                }
                None => self.events.recv().ok(),
            };
            match event {
                Some((member, Some(Event::Failed { text }))) => {
                    return Err(RunError::Child { who: self.members[member].name.clone(), why: text });
                }
                Some((_, Some(Event::Notice { text }))) => watch(Moment::Notice(&text)),
                event => return Ok(event),
            }
        }
    }

    fn tell(&mut self, member: usize, order: Order) {
        // A child that is gone is noticed by the end of its stdout.
        if let Some(stdin) = &mut self.members[member].stdin {
            let _ = tell(stdin, &order);
        }
    }

    fn mourn(&mut self, member: usize) {
        let pid = self.members[member].process.id();
        let how =
            self.members[member].wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        let name = &self.members[member].name;
        self.troubles
            .push(format!("{name} (pid {pid}) ended in the middle of the run: {how}; the others went on"));
    }

    fn died(&mut self, member: usize) -> RunError {
        let who = self.members[member].name.clone();
        match self.members[member].wait() {
            Ok(status) => RunError::Died { who, status },
            Err(error) => RunError::Child { who, why: error.to_string() },
        }
    }
}

impl Drop for Ensemble {
    fn drop(&mut self) {
        for member in &mut self.members {
            // Whoever has ended already cannot be killed, which is as good.
            let _ = member.process.kill();
            let _ = member.process.wait();
        }
    }
}

/// What glibc's allocator is told, whatever the stack: to keep the memory of large samples for the next ones. It would
/// give it back to the kernel after each, and a copy into fresh pages takes several times as long as the copy alone.
fn allocator(chosen: Option<String>) -> String {
    chosen.unwrap_or_else(|| {
        format!("glibc.malloc.trim_threshold={KEPT_BYTES}:glibc.malloc.mmap_threshold={KEPT_EACH_BYTES}")
    })
}

/// How glibc is told, if it is glibc (glibc manual, "Memory Allocation Tunables").
const ALLOCATOR: &str = "GLIBC_TUNABLES";
const KEPT_BYTES: usize = 256 << 20;
/// It takes no more than this.
const KEPT_EACH_BYTES: usize = 32 << 20;

impl Member {
    fn start(
        name: String,
        index: usize,
        assignment: &Assignment,
        events: &Sender<(usize, Option<Event>)>,
    ) -> io::Result<Self> {
        let command = match assignment.role {
            Role::Publisher => "pub",
            Role::Subscriber => "sub",
        };
        let mut process = Command::new(std::env::current_exe()?)
            .args([command, "--managed"])
            .env(ALLOCATOR, allocator(std::env::var(ALLOCATOR).ok()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut stdin = process.stdin.take();
        if let Some(stdin) = &mut stdin {
            tell(stdin, assignment)?;
        }
        if let Some(stdout) = process.stdout.take() {
            let events = events.clone();
            thread::spawn(move || {
                let mut lines = BufReader::new(stdout);
                while let Ok(Some(event)) = hear(&mut lines) {
                    let _ = events.send((index, Some(event)));
                }
                let _ = events.send((index, None));
            });
        }
        Ok(Self { name, process, stdin, is_alive: true })
    }

    fn wait(&mut self) -> io::Result<ExitStatus> {
        self.is_alive = false;
        self.process.wait()
    }
}

/// Its index among the members.
const PUBLISHER: usize = 0;
/// How long publisher and subscribers may take to find each other.
const MATCH_PATIENCE: Duration = Duration::from_secs(30);
/// How long a child may be silent at the end, or take to say goodbye; a subscriber's own patience is shorter.
const END_PATIENCE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    /// A run of other programs, in the place of publisher and subscribers.
    fn ensemble(programs: &[(&str, &str)]) -> (Ensemble, Sender<(usize, Option<Event>)>) {
        let (sender, events) = mpsc::channel();
        let members = programs.iter().map(|(program, argument)| Member {
            name: (*program).to_owned(),
            process: Command::new(program).arg(argument).stdin(Stdio::piped()).spawn().unwrap(),
            stdin: None,
            is_alive: true,
        });
        (Ensemble { members: members.collect(), events, troubles: Vec::new() }, sender)
    }

    #[test]
    fn a_publisher_that_says_nothing_more_ends_the_run_whatever_its_subscribers_say() {
        let (mut ensemble, sender) = ensemble(&[("cat", "-"), ("cat", "-")]);
        let chatter = thread::spawn(move || {
            let progress = || Some(Event::Progress { samples: 1, bytes: 1 });
            while sender.send((1, progress())).is_ok() {
                thread::park_timeout(Duration::from_millis(1));
            }
        });
        let error = ensemble.until_published(Duration::from_millis(100), &mut |_| {}).unwrap_err();
        assert!(matches!(&error, RunError::Silent { .. }), "{error}");
        assert!(error.to_string().contains("cat did not answer"), "{error}");
        drop(ensemble);
        chatter.join().unwrap();
    }

    #[test]
    fn finding_each_other_takes_its_time_from_when_there_are_samples() {
        let (mut ensemble, sender) = ensemble(&[("cat", "-"), ("cat", "-")]);
        let matched = || Event::Matched { samples: "many scans".to_owned() };
        sender.send((0, Some(Event::Opened))).unwrap();
        let preparing = thread::spawn(move || {
            thread::park_timeout(Duration::from_secs(1));
            for (member, event) in [(1, matched()), (0, Event::Prepared), (0, matched())] {
                sender.send((member, Some(event))).unwrap();
            }
            sender
        });
        let patience = Duration::from_millis(500);
        assert_eq!(ensemble.gather(7, patience, &mut |_| {}).unwrap(), "many scans");
        let sender = preparing.join().unwrap();
        for event in [Event::Opened, Event::Prepared] {
            sender.send((0, Some(event))).unwrap();
        }
        let error = ensemble.gather(7, patience, &mut |_| {}).unwrap_err();
        assert!(matches!(error, RunError::NoMatch { domain: 7 }), "{error}");
    }

    #[test]
    fn a_publisher_that_hangs_while_it_opens_its_half_ends_the_run_though_its_subscribers_go_on() {
        let (mut ensemble, sender) = ensemble(&[("cat", "-"), ("cat", "-")]);
        sender.send((1, Some(Event::Matched { samples: String::new() }))).unwrap();
        let gathering = thread::spawn(move || {
            ensemble.gather(7, Duration::from_millis(100), &mut |_| {}).unwrap_err().to_string()
        });
        let deadline = Instant::now() + Duration::from_secs(60);
        while !gathering.is_finished() && Instant::now() < deadline {
            thread::park_timeout(Duration::from_millis(10));
        }
        // Should it still wait, it does so no longer.
        drop(sender);
        let error = gathering.join().unwrap();
        assert!(error.contains("cat did not answer"), "{error}");
    }

    #[test]
    fn who_ends_badly_or_not_at_all_at_the_goodbye_is_a_trouble() {
        let (mut ensemble, sender) = ensemble(&[("true", "-"), ("false", "-"), ("cat", "-")]);
        for member in [0, 1] {
            sender.send((member, None)).unwrap();
        }
        ensemble.until_ended(Duration::from_millis(100));
        let troubles = &ensemble.troubles;
        assert_eq!(troubles.len(), 2, "{troubles:?}");
        assert!(troubles[0].contains("false") && troubles[0].contains("exit status: 1"), "{troubles:?}");
        assert!(troubles[1].contains("cat") && troubles[1].contains("did not end"), "{troubles:?}");
    }
}
