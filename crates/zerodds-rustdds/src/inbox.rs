//! What came by shared memory: samples into the ledger, everything else to the attendant.
//!
//! ```text
//!   link ──▶ ShmReceiver ──┬─ sample ─▶ ledger ─▶ whoever decodes its descriptor
//!                          └─ note, link up, link down ─▶ news ─▶ attendant
//! ```
//! Whoever decodes a descriptor empties the receiver first, so a sample needs nobody's wake-up but that of its
//! descriptor. The attendant sleeps meanwhile, with the bell armed; it looks when a sender runs out of room.

use crate::account::Source;
use crate::arrivals::Ledger;
use crate::lifespan::{self, NEVER, Ticks};
use crate::protocol::{Consumed, Descriptor, Entity, HEADER_LEN, Note, Received, SampleKey, parse};
use crate::watch::Watch;
use bytes::Bytes;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use zerodds_core::{Incarnation, Incoming, Locator, Message, Reason, Receiver, Wake};
use zerodds_transport_shm::{LinkId, ShmReceiver};

/// Something that is not a sample.
#[derive(Debug)]
pub(crate) enum News {
    /// The link, from which what is said on it holds.
    Up(Locator, Option<LinkId>),
    Down(Locator, Reason),
    Note(Locator, Note),
}

/// What was found beside samples, by whoever looked.
#[derive(Debug)]
pub(crate) struct Aside {
    pub(crate) taken: Vec<Taken>,
    /// Samples that readers here will never be given, of which nobody has to ask for their descriptors to know it.
    pub(crate) expired: Vec<(Entity, SampleKey)>,
    /// The attendant sleeps, and there is something to do for it.
    pub(crate) is_news: bool,
}

/// What the application behind a reader has taken of a writer here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    pub(crate) peer: Incarnation,
    pub(crate) reader: Entity,
    pub(crate) writer: Entity,
    pub(crate) consumed: Consumed,
}

/// The receiving half of a session.
#[derive(Default)]
pub(crate) struct Inbox {
    /// `None` where there is no shared memory.
    pub(crate) receiver: Option<ShmReceiver>,
    pub(crate) ledger: Ledger,
    news: VecDeque<News>,
    /// For writers, by whoever finds it.
    taken: Vec<Taken>,
    expired: Vec<(Entity, SampleKey)>,
    /// The attendant sleeps: the bell must stay armed.
    asleep: bool,
    /// It is not, since there was too much to take in at once.
    is_behind: bool,
    /// Until when it does, for what expires.
    alarm: Ticks,
    /// Messages that are taken in at once.
    messages_max: usize,
    /// How many offers are among the news, and how many are suffered.
    offers: usize,
    offers_max: usize,
    /// Messages that no session sends.
    pub(crate) strange: u64,
    watch: Arc<Watch>,
}

impl Inbox {
    pub(crate) fn new(receiver: Option<ShmReceiver>, watch: &Arc<Watch>) -> Self {
        let watch = Arc::clone(watch);
        Self { receiver, watch, messages_max: MESSAGES_MAX, offers_max: OFFERS_MAX, ..Self::default() }
    }

    /// Takes in what has come, up to a bound, if a sample whose descriptor has come is not here; whether it may lie behind more.
    pub(crate) fn seeks(&mut self, sample: SampleKey) -> bool {
        if self.ledger.holds(sample) {
            return false;
        }
        self.empty();
        self.is_behind
    }

    /// The sample that a descriptor stands for, if it is here. It was sent before.
    pub(crate) fn decode(&mut self, reader: Entity, descriptor: Descriptor) -> (Option<Bytes>, Aside) {
        self.expire();
        let outcome = self.ledger.decode(reader, descriptor);
        (outcome, self.aside())
    }

    /// A writer looks for what readers have taken, before it waits.
    pub(crate) fn listen(&mut self) -> Aside {
        self.empty();
        self.aside()
    }

    fn aside(&mut self) -> Aside {
        let is_due = !self.news.is_empty() || self.ledger.soonest() < self.alarm;
        let is_news = self.asleep && (self.is_behind || is_due);
        let (taken, expired) = (std::mem::take(&mut self.taken), std::mem::take(&mut self.expired));
        Aside { taken, expired, is_news }
    }

    /// The attendant is awake: takes everything in, and hands over the news.
    pub(crate) fn wake_up(&mut self) -> (Aside, VecDeque<News>) {
        self.asleep = false;
        self.empty();
        self.expire();
        (self.offers, self.offers_max) = (0, OFFERS_MAX);
        (self.aside(), std::mem::take(&mut self.news))
    }

    /// The attendant wants to sleep; whether it may: nothing has come meanwhile, and whatever comes rings.
    pub(crate) fn fall_asleep(&mut self) -> Wake {
        self.asleep = true;
        let wake = self.empty();
        self.alarm = self.ledger.soonest();
        let is_idle = self.news.is_empty() && self.taken.is_empty();
        if wake == Wake::TimedOut && !is_idle { Wake::Ready } else { wake }
    }

    /// When the attendant has to wake up for what expires.
    pub(crate) const fn alarm(&self) -> Ticks {
        self.alarm
    }

    /// These writers are gone: what they sent has come, and is looked at first.
    pub(crate) fn bereave(&mut self, lost: impl Fn(&Source) -> bool, loss: u64) {
        self.empty();
        self.ledger.bereave(lost, loss);
    }

    fn expire(&mut self) {
        if self.ledger.soonest() != NEVER {
            self.expired.extend(self.ledger.expire(lifespan::now()));
        }
    }

    /// Takes in what has come. Otherwise than by [`Wake::Ready`] it says that the bell is armed, as it must be while the
    /// attendant sleeps.
    fn empty(&mut self) -> Wake {
        let mut left = self.messages_max;
        loop {
            while left > 0
                && let Some(incoming) = self.receiver.as_mut().and_then(Receiver::try_receive)
            {
                left -= 1;
                match incoming {
                    Incoming::Message(message) => {
                        let source = message.source();
                        self.watch.received(&message, source);
                        self.take_in(source, message.into());
                    }
                    Incoming::PeerUp(locator) => {
                        let link = self.receiver.as_ref().and_then(|receiver| receiver.link_id(&locator));
                        self.news.push_back(News::Up(locator, link));
                    }
                    Incoming::PeerDown(locator, reason) => self.news.push_back(News::Down(locator, reason)),
                    _ => {}
                }
            }
            // TRUST: whoever sends without end holds up nobody.
            self.is_behind = left == 0;
            if self.is_behind || !self.asleep {
                return Wake::Ready;
            }
            let Some(receiver) = &mut self.receiver else { return Wake::TimedOut };
            let wake = receiver.arm();
            if wake != Wake::Ready {
                return wake;
            }
        }
    }

    fn take_in(&mut self, source: Option<Locator>, message: Bytes) {
        let parsed = source.and_then(|source| Some((source, source.incarnation()?, parse(&message)?)));
        match parsed {
            Some((_, owner, Received::Sample(header))) => {
                self.ledger.arrive(owner, header, message.slice(HEADER_LEN..))
            }
            Some((_, owner, Received::Note(Note::Forget { id }))) => {
                self.ledger.forget(SampleKey { owner, id })
            }
            Some((_, peer, Received::Note(Note::Taken { reader, writer, consumed }))) => {
                self.taken.push(Taken { peer, reader, writer, consumed })
            }
            Some((source, _, Received::Note(note))) => self.put_in(source, note),
            None => self.strange += 1,
        }
    }

    /// News for the attendant, which may not come to it for a while.
    fn put_in(&mut self, source: Locator, note: Note) {
        if let Note::Readers(offers) = &note {
            self.offers += 1 + offers.len();
        }
        self.news.push_back(News::Note(source, note));
        if self.offers > self.offers_max {
            self.forget_old_offers();
        }
    }

    /// TRUST: of all that a peer says it offers the last counts, and is kept. Looked for rarely enough to cost nothing.
    fn forget_old_offers(&mut self) {
        let mut heard = HashSet::new();
        let mut kept = VecDeque::with_capacity(self.news.len());
        self.offers = 0;
        for news in self.news.drain(..).rev() {
            if let News::Note(source, Note::Readers(offers)) = &news {
                if !heard.insert(*source) {
                    continue;
                }
                self.offers += 1 + offers.len();
            }
            kept.push_front(news);
        }
        self.news = kept;
        self.offers_max = OFFERS_MAX.max(2 * self.offers);
    }
}

/// Messages that are taken in at once: as many as lie in two hundred links that are full.
const MESSAGES_MAX: usize = 1 << 17;
/// So often, for a sample whose descriptor has come: for as many as lie in all links that there can be (2,048).
pub(crate) const ROUNDS_MAX: usize = 16;
/// Offers among the news before those are looked for that others have replaced.
const OFFERS_MAX: usize = 1 << 18;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Keep;
    use crate::lifespan::Lifespan;
    use crate::protocol::Offer;
    use crate::protocol::{SampleHeader, TopicHash};
    use zerodds_core::{Delivery, HostTag, Peer, Transport};
    use zerodds_transport_shm::{Config, ShmTransport};

    #[test]
    fn a_sample_is_found_behind_more_messages_than_are_taken_in_at_once_which_are_taken_in_bit_by_bit() {
        let transport = ShmTransport::open(3_880_000_000 - std::process::id(), &Config::default());
        let own = transport.locators();
        let Some(owner) = own.first().and_then(Locator::incarnation) else { return };
        let mut inbox = Inbox::new(transport.receiver(), &Arc::new(Watch::new(None, [0; 12])));
        inbox.messages_max = 3;
        let (reader, topic) = ([0, 0, 1, 4], TopicHash::of("cloud"));
        inbox.ledger.add_reader(reader, topic, Keep::All(9), Lifespan::ENDLESS);
        let mut sample = [0; HEADER_LEN + 1];
        let (writer, lifespan) = ([0, 0, 2, 3], Lifespan::ENDLESS);
        let header = SampleHeader { id: 7, topic, instance: 0, writer, written: None, lifespan };
        header.write(sample.first_chunk_mut().expect("room"));
        let send = |message: &[u8]| {
            transport.send_bytes(message, &[Peer::new(&own)], Delivery::BestEffort).expect("open")
        };
        (0..10).for_each(|_| _ = send(&[1]));
        assert_eq!(send(&sample).by_shm, 1);
        let descriptor = Descriptor { key: SampleKey { owner, id: 7 }, len: 1, floor: 7 };
        let mut before = 0;
        loop {
            let goes_on = inbox.seeks(descriptor.key);
            assert!(inbox.strange - before <= 3, "others may look in between");
            before = inbox.strange;
            if !goes_on {
                break;
            }
        }
        assert!(inbox.decode(reader, descriptor).0.is_some());
        assert_eq!(inbox.strange, 10);
    }

    #[test]
    fn of_what_a_peer_says_again_and_again_that_it_offers_the_last_is_kept() {
        let mut inbox = Inbox::new(None, &Arc::new(Watch::new(None, [0; 12])));
        let peer = |peer: u8| {
            Locator::shared_memory(HostTag::from_bytes([0; 8]), Incarnation::from_bytes([peer; 8]), 0)
        };
        let offers = |window| vec![Offer { reader: [1; 4], window }; OFFERS_MAX / 8];
        inbox.news.push_back(News::Up(peer(1), None));
        inbox.put_in(peer(2), Note::Readers(offers(0)));
        inbox.put_in(peer(2), Note::Leaving);
        for window in 1..=100 {
            inbox.put_in(peer(1), Note::Readers(offers(window)));
            assert!(inbox.news.len() <= 2 * 8 + 3, "bounded, however long nobody attends to it");
        }
        inbox.forget_old_offers();
        let news: Vec<_> = inbox.news.into_iter().collect();
        assert!(matches!(
            &news[..],
            [News::Up(..), News::Note(a, Note::Readers(_)), News::Note(_, Note::Leaving), News::Note(b, Note::Readers(last))]
                if *a == peer(2) && *b == peer(1) && last[0].window == 100
        ));
    }
}
