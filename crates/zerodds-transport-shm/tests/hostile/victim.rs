//! The process that is attacked: it sends back whatever a friend sends, and tells what it has and what it cost.

use super::rogue::Target;
use crate::support::child::{Process, hear, tell};
use crate::support::others::ForOthers;
use crate::support::{Node, deadline, fresh_domain, is_intact, reliable};
use rustix::event::epoll;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};
use zerodds_core::{
    Delivery, HostTag, Incarnation, Incoming, Locator, Message, Peer, Reach, Reason, Receiver, Transport,
    Wake,
};
use zerodds_transport_shm::{Access, Config, ShmReceiver, ShmTransport};

/// Friends of a victim, and the victim.
pub(crate) struct Scene {
    pub(crate) friend: Node,
    pub(crate) victim: Process,
    pub(crate) at: Locator,
    sent: u64,
}

/// What a victim says of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Status {
    pub(crate) refused: u64,
    pub(crate) protocol_errors: u64,
    pub(crate) links: u64,
    pub(crate) descriptors: u64,
    pub(crate) resident_kib: u64,
    /// The most that it ever was.
    pub(crate) peak_kib: u64,
    pub(crate) cpu: Duration,
}

impl Scene {
    /// A victim of this process's user that admits anybody, and a friend in this process.
    pub(crate) fn set() -> Self {
        Self::with("victim")
    }

    /// The same with a victim that waits in poll: on its receiver's descriptor in epoll, as event loops do, or beside another one.
    pub(crate) fn with(victim: &str) -> Self {
        let domain = fresh_domain();
        let mut victim = Process::start(&format!("{victim} {domain}"), &[]);
        assert_eq!(victim.hear(), "ready");
        let friend = Node::open(domain);
        let at = friend.transport.neighbours()[0];
        friend.link_to(at);
        let mut scene = Self { friend, victim, at, sent: 0 };
        scene.exchange(4);
        scene
    }

    /// A rogue of this process's user, or of another one, that attacks in this manner.
    pub(crate) fn rogue(&self, manner: &str, others: Option<&ForOthers>) -> Process {
        let role = self.role(manner);
        others.map_or_else(|| Process::start(&role, &[]), |copy| copy.start(&role, OTHER_USER))
    }

    /// The victim, for a rogue in this process.
    pub(crate) fn target(&self, name: u64) -> Target {
        Target::new(self.at, name)
    }

    /// The role of somebody who does this to the victim.
    pub(crate) fn role(&self, manner: &str) -> String {
        role_against(self.at, manner)
    }

    /// Friend and victim exchange messages, small and large, each checked, in order.
    pub(crate) fn exchange(&mut self, rounds: u64) {
        for _ in 0..rounds {
            self.sent += 1;
            let len = [20, 900, 5_000, 300_000][self.sent as usize % 4];
            let sent = self.friend.send_pattern(&[Peer::new(&[self.at])], self.sent, len, reliable());
            assert!(sent.unserved.is_empty(), "{:?}", sent.unserved);
            // Others of the domain may send to the friend too.
            let mut messages = std::iter::repeat_with(|| self.friend.next_message());
            let back = messages.find(|message| message.source() == Some(self.at)).expect("without end");
            assert!(back.len() == len && is_intact(&back, self.sent), "round {}", self.sent);
        }
    }

    /// Exchanges messages until the rogue says what it has done.
    pub(crate) fn exchange_while(&mut self, mut rogue: Process) -> (u64, Process) {
        let listener = std::thread::spawn(move || (rogue.hear(), rogue));
        while !listener.is_finished() {
            self.exchange(10);
        }
        let (line, rogue) = listener.join().expect("the rogue says what it has done");
        let done = line.strip_prefix("done ").expect("done");
        (done.parse().expect("a number"), rogue)
    }

    /// The victim tries to reach as many locators of its host at which nobody listens, others each time; why it did not.
    pub(crate) fn reach_nobody(&mut self, count: u64) -> String {
        self.victim.tell(&format!("reach {count}"));
        self.victim.hear()
    }

    pub(crate) fn status(&mut self) -> Status {
        self.victim.tell("status");
        let line = self.victim.hear();
        let mut words = line.split(' ').map(|word| word.parse::<u64>().expect("a number"));
        let mut next = || words.next().expect("seven numbers");
        Status {
            refused: next(),
            protocol_errors: next(),
            links: next(),
            descriptors: next(),
            resident_kib: next(),
            peak_kib: next(),
            cpu: Duration::from_nanos(next()),
        }
    }

    /// Waits until the victim's state is so.
    pub(crate) fn until(&mut self, what: &str, reached: impl Fn(&Status) -> bool) -> Status {
        let until = deadline();
        loop {
            let status = self.status();
            if reached(&status) {
                return status;
            }
            assert!(Instant::now() < until, "{what}: {status:?}");
            std::thread::yield_now();
        }
    }

    /// Left alone, the victim uses less than a hundredth of a processor.
    pub(crate) fn is_idle(&mut self) {
        let used: Vec<_> = (0..WINDOWS_MAX)
            .map(|_| {
                let (before, start) = (self.status().cpu, Instant::now());
                std::thread::park_timeout(Duration::from_secs(2));
                (self.status().cpu - before, start.elapsed())
            })
            .take_while(|(used, passed)| *used * 100 >= *passed)
            .collect();
        assert!(used.len() < WINDOWS_MAX, "used by nothing, of what passed: {used:?}");
    }

    /// A stranger that comes now is linked as ever.
    pub(crate) fn welcomes(&mut self) {
        let late = Node::open(self.at.port());
        late.link_to(self.at);
    }

    /// A stranger that comes now is linked at its first attempt, or the reason why not.
    pub(crate) fn welcomes_at_once(&self) -> Result<(), Reason> {
        first_attempt(&Node::open(self.at.port()), self.at)
    }
}

/// Waits for something to receive.
type Wait = Box<dyn FnMut(&mut ShmReceiver) + Send>;

/// Waits as event loops do: its epoll was told of the descriptor once.
fn by_events(receiver: &ShmReceiver) -> Wait {
    let set = epoll::create(epoll::CreateFlags::CLOEXEC).expect("epoll");
    epoll::add(&set, receiver, epoll::EventData::new_u64(0), epoll::EventFlags::IN).expect("watched");
    Box::new(move |receiver| {
        if receiver.arm() == Wake::TimedOut {
            let _ = epoll::wait(&set, &mut [std::mem::MaybeUninit::uninit(); 1][..], None);
        }
    })
}

/// Waits for another descriptor too, of which nothing ever comes.
fn beside_another() -> Wait {
    let (silent, mouth) = rustix::pipe::pipe().expect("a pipe");
    Box::new(move |receiver| {
        let _ = (receiver.wait(None, &[silent.as_fd()]), &mouth);
    })
}

/// Plays the victim, which waits in the manner that it is told.
pub(crate) fn play(domain: &str, manner: &str) {
    let config = Config::default().access(Access::Any);
    let node = Node::with(domain.parse().expect("a domain"), &config);
    let Node { transport, mut receiver } = node;
    let manner = manner.to_owned();
    tell("ready");
    let echo = transport.clone();
    std::thread::spawn(move || {
        let mut friend = None;
        let mut wait: Wait = match manner.as_str() {
            "events" => by_events(&receiver),
            "beside" => beside_another(),
            _ => Box::new(|receiver| _ = receiver.wait(None, &[])),
        };
        loop {
            let Some(incoming) = receiver.try_receive() else {
                wait(&mut receiver);
                continue;
            };
            if let Incoming::Message(message) = incoming {
                let Some(from) = message.source() else { continue };
                // Who comes first is the friend, and gets all. Others get theirs too; they need not take it.
                let best =
                    if *friend.get_or_insert(from) == from { reliable() } else { Delivery::BestEffort };
                let _ = echo.send_bytes(&message, &[Peer::new(&[from])], best);
            }
        }
    });
    let mut nobodies = 1_u64..;
    loop {
        let asked = hear();
        if let Some(count) = asked.strip_prefix("reach ") {
            let ids = nobodies.by_ref().take(count.parse().expect("a number"));
            tell(ids.map(|id| reach_nobody(&transport, id)).last().expect("some"));
            continue;
        }
        assert_eq!(asked, "status");
        let (counters, descriptors) = (transport.counters(), descriptors());
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let cpu_ns = cpu.tv_sec as u64 * 1_000_000_000 + cpu.tv_nsec as u64;
        let (refused, broken) = (counters.refused, counters.protocol_errors);
        tell(format_args!(
            "{refused} {broken} {} {descriptors} {} {} {cpu_ns}",
            counters.links,
            memory_kib("VmRSS:"),
            memory_kib("VmHWM:")
        ));
    }
}

/// Why a locator of our host, at which nobody listens, cannot be reached.
fn reach_nobody(transport: &ShmTransport, id: u64) -> Reason {
    let own = transport.locators()[0];
    let host = own.host_tag().expect("shm");
    let nobody = Locator::shared_memory(host, Incarnation::from_bytes(id.to_be_bytes()), own.port());
    let until = deadline();
    loop {
        if let Reach::Unreachable(reason) = transport.reach(Peer::new(&[nobody])) {
            return reason;
        }
        assert!(Instant::now() < until, "no answer");
        std::thread::yield_now();
    }
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("proc").count()
}

fn memory_kib(which: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("proc");
    let line = status.lines().find(|line| line.starts_with(which)).expect("a line");
    line.split_ascii_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

/// What comes of the first attempt that gets through: where a crowd connects all the time, the queue of those who want to may be full for
/// a moment. Who is refused a place is not asked again.
fn first_attempt(node: &Node, at: Locator) -> Result<(), Reason> {
    let until = deadline();
    loop {
        match node.transport.reach(Peer::new(&[at])) {
            Reach::Ready(_) => return Ok(()),
            Reach::Pending(_) | Reach::Unreachable(Reason::NoAnswer) => {
                assert!(Instant::now() < until, "no answer");
            }
            Reach::Unreachable(reason) => return Err(reason),
        }
        std::thread::yield_now();
    }
}

/// The role of somebody who does this to whoever has this locator.
pub(crate) fn role_against(at: Locator, manner: &str) -> String {
    let (host, id) = (at.host_tag().expect("shm"), at.incarnation().expect("shm"));
    format!("rogue {} {host} {id} {manner}", at.port())
}

/// What somebody who does not receive says of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deaf {
    pub(crate) lost: u64,
    pub(crate) links: u64,
    pub(crate) descriptors: u64,
    pub(crate) messages: u64,
}

/// A process whose receiver is taken and not asked, and its locator.
pub(crate) fn deaf() -> (Process, Locator) {
    deaf_as(|role| Process::start(role, &[]))
}

/// The same, started in this way.
pub(crate) fn deaf_as(start: impl FnOnce(&str) -> Process) -> (Process, Locator) {
    let domain = fresh_domain();
    let mut process = start(&format!("deaf {domain}"));
    let name = process.hear();
    let words: Vec<&str> = name.split(' ').collect();
    (process, locator(&domain.to_string(), words[0], words[1]))
}

pub(crate) fn ask_deaf(process: &mut Process, what: &str) -> Deaf {
    process.tell(what);
    let line = process.hear();
    let mut words = line.split(' ').map(|word| word.parse::<u64>().expect("a number"));
    let mut next = || words.next().expect("four numbers");
    Deaf { lost: next(), links: next(), descriptors: next(), messages: next() }
}

/// Asks again until the answer is as it should be in the end.
pub(crate) fn ask_deaf_until(process: &mut Process, what: &str, is_so: impl Fn(&Deaf) -> bool) -> Deaf {
    let until = deadline();
    loop {
        let now = ask_deaf(process, what);
        if is_so(&now) {
            return now;
        }
        assert!(Instant::now() < until, "asked for its {what}, it stays at {now:?}");
    }
}

/// Plays an application that receives only when it is told to, all that there is.
pub(crate) fn play_deaf(domain: &str) {
    let mut node = Node::with(domain.parse().expect("a domain"), &Config::default().access(Access::Any));
    let at = node.locator();
    tell(format_args!("{} {}", at.host_tag().expect("shm"), at.incarnation().expect("shm")));
    let mut messages = 0;
    let most = getrlimit(Resource::Nproc);
    loop {
        match &*hear() {
            "receive" => {
                while let Some(incoming) = node.receiver.try_receive() {
                    messages += u64::from(matches!(incoming, Incoming::Message(_)));
                }
            }
            "do without threads" => {
                setrlimit(Resource::Nproc, Rlimit { current: Some(1), ..most }).expect("less");
                assert!(std::thread::Builder::new().spawn(|| {}).is_err(), "there is none to be had");
            }
            "have threads" => setrlimit(Resource::Nproc, most).expect("as before"),
            _ => {}
        }
        let (counters, descriptors) = (node.transport.counters(), descriptors());
        tell(format_args!("{} {} {descriptors} {messages}", counters.lost_messages, counters.links));
    }
}

/// Plays somebody honest, who sends to all its neighbours, to each without waiting for it.
pub(crate) fn play_caller(domain: &str) {
    let node = Node::open(domain.parse().expect("a domain"));
    let neighbours = node.transport.neighbours();
    neighbours.iter().for_each(|&neighbour| node.link_to(neighbour));
    let to: Vec<[Locator; 1]> = neighbours.iter().map(|&neighbour| [neighbour]).collect();
    let to: Vec<Peer<'_>> = to.iter().map(|locators| Peer::new(locators)).collect();
    // Until it has got what wakes the victim in poll.
    let (linked, until) = (descriptors(), deadline());
    while descriptors() == linked {
        assert!(Instant::now() < until, "the victim gives nothing to wake it with");
        let _ = node.send_pattern(&to, 0, 200, Delivery::BestEffort);
        std::thread::yield_now();
    }
    tell("ready");
    loop {
        hear();
        for number in 0..100 {
            let _ = node.send_pattern(&to, number, 200, Delivery::BestEffort);
        }
        tell("sent");
    }
}

/// Plays somebody honest: says what came of its first attempt.
pub(crate) fn attempt(victim: Locator) {
    let node = Node::with(victim.port(), &Config::default().access(Access::Any));
    tell(match first_attempt(&node, victim) {
        Ok(()) => "linked".into(),
        Err(reason) => reason.to_string(),
    });
    hear();
}

/// Plays somebody honest: says why it does not reach its neighbour, in the end.
pub(crate) fn ask(domain: &str) {
    let node = Node::open(domain.parse().expect("a domain"));
    let neighbours = node.transport.neighbours();
    let until = deadline();
    loop {
        if let Reach::Unreachable(reason) = node.transport.reach(Peer::new(&neighbours)) {
            tell(format_args!("{reason:?}"));
            hear();
        }
        assert!(Instant::now() < until, "no answer");
        std::thread::yield_now();
    }
}

/// The victim's locator, in a rogue's words.
pub(crate) fn locator(domain: &str, host: &str, id: &str) -> Locator {
    let octets = |hex: &str| u64::from_str_radix(hex, 16).expect("16 digits").to_be_bytes();
    let (host, id) = (HostTag::from_bytes(octets(host)), Incarnation::from_bytes(octets(id)));
    Locator::shared_memory(host, id, domain.parse().expect("a domain"))
}

/// What else runs on the machine may wake it in one of these, not in all.
const WINDOWS_MAX: usize = 3;
/// A user that nobody is.
pub(crate) const OTHER_USER: u32 = 54_321;
