//! `--stack transport`: the transport trait itself, with loans, without a DDS on top.
//!
//! ```text
//!   publisher                                    subscriber
//!     loan(64 + len)      ┌────────┬──────────┐    receive()
//!     fill in place  ───▶ │ header │ payload  │ ─▶ reads in place, gives it back when dropped
//!     header, send        └────────┴──────────┘
//! ```
//! This is what a stack could reach that writes into the transport's memory and reads from it. The payload is
//! written into the loan before the time is taken, so that the latency is that of a filled sample.
//!
//! There is no DDS here, so there is no retransmission and no fragmentation either: shared memory needs neither,
//! but over UDP only best effort is offered, for what fits one datagram, and everything else is refused with
//! the reason rather than done by halves.

use super::greeting::{Greeting, Side};
use super::settings::Settings;
use super::{
    Arrival, ByPath, Mark, OpenError, Publication, PublishError, Reliability, StackOptions, Subscription,
    fill,
};
use crate::clock;
use crate::messages::Kind;
use crate::random::Random;
use crate::samples::Sample;
use crate::stamp::{HEADER_LEN, Stamp};
use bytes::Bytes;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use zerodds_core::{
    Delivery, Incoming, LoanError, Locator, Message, Path, Peer, Reach, Reason, Receiver, Refusal, Router,
    RouterLoan, RouterReceiver, SendError, Transport,
};
use zerodds_transport_shm::{ShmReceiver, ShmTransport};
use zerodds_transport_udp::{UdpReceiver, UdpTransport};

type Both = Router<ShmTransport, UdpTransport>;
type BothReceiver = RouterReceiver<ShmReceiver, UdpReceiver>;

fn open(options: &StackOptions) -> Result<(Arc<Both>, BothReceiver), OpenError> {
    let failed = |what, why: String| OpenError::Stack { what, domain: options.domain, why };
    let settings = Settings::new(options)?;
    let shm = ShmTransport::open(options.domain, &settings.shm);
    if let Err(reason) = shm.availability()
        && options.path.shares_memory()
    {
        tracing::warn!(target: "zerodds::largedata", "{reason}: everything goes over UDP");
    }
    let udp = UdpTransport::open(options.domain, &settings.udp)
        .map_err(|error| failed("opening UDP sockets", error.to_string()))?;
    let router = Router::new(shm, udp);
    let receiver =
        router.receiver().ok_or_else(|| failed("receiving", "the transport has no receiver".to_owned()))?;
    Ok((Arc::new(router), receiver))
}

/// Whether a peer is on a path that will do: shared memory where samples must not be lost, otherwise any, once
/// it is known which.
fn is_served(router: &Both, reliability: Reliability, locators: &[Locator]) -> bool {
    match router.shm().reach(Peer::new(locators)) {
        Reach::Ready(_) => true,
        Reach::Pending(_) => false,
        Reach::Unreachable(reason) => {
            let gone = matches!(reason, Reason::PeerGone | Reason::PeerDied | Reason::PeerClosed);
            if reliability == Reliability::Reliable && !gone {
                tracing::warn!(target: "zerodds::largedata", "not served, since {reason}: {}", OpenError::Unreliable);
            }
            reliability == Reliability::BestEffort
        }
    }
}

/// Someone who greeted us.
struct Contact {
    greeting: Greeting,
    heard_at: Instant,
}

/// Everyone who greeted us and is still there.
#[derive(Default)]
struct Contacts(Vec<Contact>);

impl Contacts {
    fn greet(&mut self, greeting: Greeting) {
        self.0.retain(|contact| contact.greeting.id != greeting.id);
        self.0.push(Contact { greeting, heard_at: Instant::now() });
    }

    fn lose(&mut self, locator: &Locator) {
        self.0.retain(|contact| !contact.greeting.locators.contains(locator));
    }

    /// Forgets who has been silent for long. A link of shared memory tells of its end by itself, and who is
    /// merely stopped is still there.
    fn forget_the_silent(&mut self, router: &Both) {
        self.0.retain(|Contact { greeting, heard_at }| {
            heard_at.elapsed() < SILENCE_MAX
                || matches!(router.shm().reach(Peer::new(&greeting.locators)), Reach::Ready(_))
        });
    }
}

/// The publishing half.
pub(crate) struct TransportPublication {
    router: Arc<Both>,
    contacts: Arc<Mutex<Contacts>>,
    greeter: Option<JoinHandle<()>>,
    is_closing: Arc<AtomicBool>,
    options: StackOptions,
}

impl TransportPublication {
    /// Opens both transports and waits for greetings in a thread of its own.
    ///
    /// # Errors
    /// [`OpenError`] where UDP cannot be had or a setting is not usable.
    pub(crate) fn open(options: &StackOptions) -> Result<Self, OpenError> {
        if options.reliability == Reliability::Reliable && !options.path.shares_memory() {
            return Err(OpenError::Unreliable);
        }
        let (router, receiver) = open(options)?;
        let contacts = Arc::new(Mutex::default());
        let is_closing = Arc::new(AtomicBool::new(false));
        let welcome = Greeting {
            side: Side::Publisher,
            id: Random::of_this_process().next() as u32,
            kinds: options.kinds.clone(),
            locators: router.locators(),
        };
        let greeter = {
            let (router, contacts) = (Arc::clone(&router), Arc::clone(&contacts));
            let is_closing = Arc::clone(&is_closing);
            thread::spawn(move || answer_greetings(&router, receiver, &contacts, &welcome, &is_closing))
        };
        Ok(Self { router, contacts, greeter: Some(greeter), is_closing, options: options.clone() })
    }

    fn delivery(&self) -> Delivery {
        match self.options.reliability {
            Reliability::Reliable => {
                Delivery::Reliable { deadline: Instant::now() + self.options.max_blocking }
            }
            Reliability::BestEffort => Delivery::BestEffort,
        }
    }

    fn serves(&self, locators: &[Locator]) -> bool {
        is_served(&self.router, self.options.reliability, locators)
    }

    /// The locators of everyone who wants this kind.
    fn audience(&self, kind: Kind) -> Vec<Vec<Locator>> {
        let contacts = locked(&self.contacts);
        let wants = contacts.0.iter().filter(|contact| contact.greeting.kinds.contains(&kind));
        wants
            .map(|contact| &contact.greeting.locators)
            .filter(|locators| self.serves(locators))
            .cloned()
            .collect()
    }

    /// A loan of exactly `len` bytes. A reliable publisher waits for shared memory rather than write elsewhere.
    fn loan(&self, len: usize, delivery: Delivery) -> Result<<Both as Transport>::Loan, PublishError> {
        let max = self.router.max_message_len();
        if len > max {
            return Err(PublishError::TooLarge { len, max });
        }
        let loan = match delivery {
            Delivery::Reliable { deadline } => {
                self.router.shm().loan_before(len, deadline).map(RouterLoan::Shm)
            }
            Delivery::BestEffort => self.router.loan(len),
        };
        loan.map_err(|error| match error {
            LoanError::TooLarge { len, max } => PublishError::TooLarge { len, max },
            LoanError::Full { .. } => PublishError::Timeout(self.options.max_blocking),
            error => PublishError::Stack(error.to_string()),
        })
    }
}

fn answer_greetings(
    router: &Both,
    mut receiver: BothReceiver,
    contacts: &Mutex<Contacts>,
    welcome: &Greeting,
    is_closing: &AtomicBool,
) {
    let welcome = welcome.to_bytes();
    while !is_closing.load(Ordering::Relaxed) {
        let incoming = receiver.receive(Some(Instant::now() + SIGN_OF_LIFE_PERIOD));
        let mut contacts = locked(contacts);
        match incoming {
            Some(Incoming::Message(message)) => {
                let greeting = Greeting::from_bytes(&message);
                if let Some(greeting) = greeting.filter(|greeting| greeting.side == Side::Subscriber) {
                    // An answer that is lost is asked for again.
                    let _ =
                        router.send_bytes(&welcome, &[Peer::new(&greeting.locators)], Delivery::BestEffort);
                    contacts.greet(greeting);
                }
            }
            Some(Incoming::PeerDown(locator, _)) => contacts.lose(&locator),
            Some(_) | None => {}
        }
        contacts.forget_the_silent(router);
    }
}

impl Publication for TransportPublication {
    fn matched(&mut self) -> usize {
        let contacts = locked(&self.contacts);
        let served = contacts.0.iter().filter(|contact| self.serves(&contact.greeting.locators));
        served.map(|contact| contact.greeting.kinds.intersection(&self.options.kinds).count()).sum()
    }

    fn publish(&mut self, sample: &Sample, mark: Mark) -> Result<(), PublishError> {
        let kind = sample.message.kind();
        let payload = sample.message.payload();
        let audience = self.audience(kind);
        let peers: Vec<Peer<'_>> = audience.iter().map(|locators| Peer::new(locators)).collect();
        let delivery = self.delivery();
        let mut loan = self.loan(HEADER_LEN + payload.len(), delivery)?;
        let Some((header, body)) = loan.split_first_chunk_mut::<HEADER_LEN>() else {
            return Err(PublishError::Stack("the loan is shorter than asked for".to_owned()));
        };
        fill(body, payload, mark.touch);
        let Mark { publisher, sequence, touch } = mark;
        let payload_sum = sample.payload_sum;
        let stamp = Stamp { publisher, sequence, published_ns: clock::monotonic_ns(), touch, payload_sum };
        stamp.write_header(kind, payload.len(), header);
        let sent = self.router.send(loan, &peers, delivery).map_err(|error| match error {
            SendError::TooLarge { len, max } => PublishError::TooLarge { len, max },
            error => PublishError::Stack(error.to_string()),
        })?;
        let is_reliable = self.options.reliability == Reliability::Reliable;
        for unserved in &sent.unserved {
            match unserved.why {
                Refusal::TooLarge { len, max } => return Err(PublishError::TooLarge { len, max }),
                Refusal::Full if is_reliable => return Err(PublishError::Missed(self.options.max_blocking)),
                _ => {}
            }
        }
        Ok(())
    }

    fn close(&mut self) {
        self.is_closing.store(true, Ordering::Relaxed);
        self.router.close();
        if let Some(greeter) = self.greeter.take() {
            let _ = greeter.join();
        }
    }
}

/// The receiving half.
pub(crate) struct TransportSubscription {
    router: Arc<Both>,
    receiver: BothReceiver,
    publishers: Contacts,
    hello: Greeting,
    hello_due: Instant,
    by_path: ByPath,
}

impl TransportSubscription {
    /// Opens both transports.
    ///
    /// # Errors
    /// [`OpenError`] where UDP cannot be had or a setting is not usable.
    pub(crate) fn open(options: &StackOptions) -> Result<Self, OpenError> {
        let (router, receiver) = open(options)?;
        let hello = Greeting {
            side: Side::Subscriber,
            id: Random::of_this_process().next() as u32,
            kinds: options.kinds.clone(),
            locators: router.locators(),
        };
        let publishers = Contacts::default();
        Ok(Self {
            router,
            receiver,
            publishers,
            hello,
            hello_due: Instant::now(),
            by_path: ByPath::default(),
        })
    }

    /// Greets whoever may be a publisher: often while there is none, then as a sign of life.
    fn greet(&mut self) {
        let hello = self.hello.to_bytes();
        let group = self.router.udp().metatraffic_multicast_locators();
        let neighbours = self.router.shm().neighbours();
        let known = self.publishers.0.iter().map(|contact| contact.greeting.locators.as_slice());
        let found = neighbours.iter().chain(&group).map(std::slice::from_ref);
        for locators in known.chain(found) {
            // Whom it does not reach now, it reaches the next time.
            let _ = self.router.send_bytes(&hello, &[Peer::new(locators)], Delivery::BestEffort);
        }
        self.publishers.forget_the_silent(&self.router);
        let period = if self.publishers.0.is_empty() { HELLO_PERIOD } else { SIGN_OF_LIFE_PERIOD };
        self.hello_due = Instant::now() + period;
    }

    fn take_message(
        &mut self,
        message: <BothReceiver as Receiver>::Message,
        received_ns: u64,
    ) -> Option<Arrival> {
        if let Some(greeting) = Greeting::from_bytes(&message) {
            if greeting.side == Side::Publisher {
                self.publishers.greet(greeting);
            }
            return None;
        }
        // A DDS participant in the same domain announces itself to everyone.
        if message.starts_with(b"RTPS") {
            return None;
        }
        let (header, payload) = message.split_first_chunk::<HEADER_LEN>()?;
        let (kind, stamp) = match Stamp::from_header(header, payload.len()) {
            Ok((kind, sealed)) => (kind, Ok(sealed)),
            Err(damage) => (Kind::Bytes, Err(damage)),
        };
        match message.path() {
            Path::SharedMemory => self.by_path.shm += 1,
            _ => self.by_path.udp += 1,
        }
        let payload = Into::<Bytes>::into(message).split_off(HEADER_LEN);
        Some(Arrival { received_ns, published_ns: None, kind, stamp, payload })
    }
}

impl Subscription for TransportSubscription {
    fn next(&mut self, deadline: Instant) -> Option<Arrival> {
        loop {
            if Instant::now() >= self.hello_due {
                self.greet();
            }
            let incoming = self.receiver.receive(Some(deadline.min(self.hello_due)));
            let received_ns = clock::monotonic_ns();
            match incoming {
                Some(Incoming::Message(message)) => {
                    if let Some(arrival) = self.take_message(message, received_ns) {
                        return Some(arrival);
                    }
                }
                Some(Incoming::PeerDown(locator, _)) => {
                    self.publishers.lose(&locator);
                    self.hello_due = Instant::now();
                }
                Some(_) => {}
                None if Instant::now() >= deadline => return None,
                None => {}
            }
        }
    }

    fn matched(&mut self) -> usize {
        let kinds = self
            .publishers
            .0
            .iter()
            .map(|contact| contact.greeting.kinds.intersection(&self.hello.kinds).count());
        kinds.sum()
    }

    fn by_path(&self) -> ByPath {
        self.by_path
    }

    fn close(&mut self) {
        self.hello.kinds.clear();
        self.greet();
        self.router.close();
    }
}

fn locked(contacts: &Mutex<Contacts>) -> MutexGuard<'_, Contacts> {
    contacts.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often a subscriber greets while no publisher has answered.
const HELLO_PERIOD: Duration = Duration::from_millis(50);
const SIGN_OF_LIFE_PERIOD: Duration = Duration::from_secs(1);
/// Who has been silent for longer, and has no link of shared memory, is gone.
const SILENCE_MAX: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::super::{InPlace, PathChoice, StackKind};
    use super::*;
    use crate::domain::own_domain;
    use crate::quantity::Size;
    use std::collections::BTreeSet;

    #[test]
    fn a_subscriber_by_udp_that_closes_is_gone_before_its_silence_tells() {
        let options = StackOptions {
            stack: StackKind::Transport,
            path: PathChoice::Udp,
            domain: own_domain(),
            reliability: Reliability::BestEffort,
            history: 2,
            max_blocking: Duration::ZERO,
            fragment: Size(0),
            payload_max: 100,
            in_place: InPlace::default(),
            kinds: BTreeSet::from([Kind::Bytes]),
        };
        let mut publication = TransportPublication::open(&options).unwrap();
        let mut subscription = TransportSubscription::open(&options).unwrap();
        while publication.matched() == 0 || subscription.matched() == 0 {
            assert!(subscription.next(Instant::now() + HELLO_PERIOD).is_none());
        }
        subscription.close();
        while publication.matched() > 0 {
            thread::yield_now();
        }
        assert_eq!(locked(&publication.contacts).0.len(), 1, "the silent are forgotten");
        publication.close();
    }
}
