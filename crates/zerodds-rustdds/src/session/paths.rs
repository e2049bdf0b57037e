//! By which path samples go to whom, and what is said of it.

use super::obituary::hex;
use crate::protocol::{Entity, Prefix};
use crate::routes::{Obstacle, Withheld};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};
use zerodds_core::{Path, Reason};

/// How samples reach another participant, and why.
///
/// ```
/// # use rustdds::{DomainParticipant, QosPolicyBuilder, RTPSEntity, TopicKind};
/// # use std::time::Duration;
/// # use zerodds_rustdds::{Config, ZeroDds, msg::sensor_msgs::Image};
/// use zerodds_rustdds::{Path, PeerPath};
/// # let domain = 1 + (std::process::id() % 100) as u16;
/// # let qos = QosPolicyBuilder::new().build();
/// # let topic = |participant: &DomainParticipant| {
/// #     participant.create_topic("images-by".into(), Image::TYPE_NAME.into(), &qos, TopicKind::NoKey)
/// # };
/// # let participant = DomainParticipant::new(domain)?;
/// # let zerodds = ZeroDds::attach(&participant, Config::default())?;
/// let events = zerodds.events();
/// let writer = zerodds.create_publisher(&qos)?.create_datawriter_no_key_cdr::<Image>(&topic(&participant)?, None)?;
/// // A reader of RustDDS's own, of another participant.
/// let plain = DomainParticipant::new(domain)?;
/// let reader = plain.create_subscriber(&qos)?.create_datareader_no_key_cdr::<Image>(&topic(&plain)?, None)?;
/// let is_it = |peer: &PeerPath| plain.guid().to_bytes().starts_with(&peer.participant);
/// let peer = loop {
///     if let Some(peer) = zerodds.paths().into_iter().find(is_it) {
///         break peer;
///     }
///     events.next_within(Duration::from_secs(10)).ok_or("it is not found")?;
/// };
/// println!("{:02x?} by {}: {}", peer.participant, peer.path, peer.reason);
/// assert!(!peer.is_shared() && peer.path == Path::Udp);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerPath {
    /// Its GUID prefix.
    pub participant: [u8; 12],
    /// The path of samples from the threshold on, of writers that share at all, if QoS leaves them the choice (docs/qos.md). Shared memory
    /// where all those that are matched there use it; UDP where one does not, and the reason is that one's.
    pub path: Path,
    /// Why that one.
    pub reason: Reason,
}

impl PeerPath {
    /// Whether that is shared memory.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.path == Path::SharedMemory
    }
}

/// By which way samples go to everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ways {
    pub(super) peers: Vec<PeerPath>,
    pub(super) mixed: Vec<MixedTopic>,
}

/// A topic on which nobody shares although some could.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MixedTopic {
    pub(super) writer: Entity,
    pub(super) topic: String,
    pub(super) withheld: Withheld,
}

impl MixedTopic {
    /// What is said once, whichever participant is named.
    const fn key(&self) -> (Entity, Obstacle) {
        (self.writer, self.withheld.obstacle)
    }
}

impl fmt::Display for MixedTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, withheld: Withheld { plain, obstacle, .. }, .. } = self;
        let (what, remedy) = match obstacle {
            Obstacle::BestEffort => ("not all readers are reliable", "make them so"),
            Obstacle::Neighbours => ("two readers are in one participant", "give each its own"),
            Obstacle::Undecided => {
                return write!(
                    f,
                    "topic {topic}: samples go by UDP for now, since RustDDS has found a reader of participant {} that it has \
                     neither matched to a writer here nor refused; if that does not pass, end that reader",
                    hex(*plain)
                );
            }
        };
        write!(
            f,
            "topic {topic}: samples go by UDP to all readers, since those of participant {} do not share memory and {what}; \
             {remedy}, or have those share memory (the line on its path says why it does not)",
            hex(*plain)
        )
    }
}

/// What was said of ways last.
#[derive(Debug, Default)]
pub(super) struct Said {
    peers: BTreeMap<Prefix, PeerPath>,
    mixed: BTreeSet<(Entity, Obstacle)>,
    /// What may pass, and when it is said if it has not.
    doubts: BTreeMap<Doubt, Instant>,
}

/// What may be so for a moment only.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Doubt {
    /// A participant's path, and whether it is for the sake of others.
    Peer(Prefix, bool),
    Topic((Entity, Obstacle)),
}

impl Said {
    /// What is to be said of these ways. What readers take is heard by the link, and that they come and go by RTPS: that some take
    /// plain samples is said if it stays so. Of participants that are about to be reached nothing is said, nor that others go by UDP because
    /// of them.
    pub(super) fn news(&mut self, ways: Ways, passing: &BTreeSet<Prefix>, now: Instant) -> Ways {
        let Self { mut peers, mixed: known, mut doubts } = std::mem::take(self);
        let mut has_stayed = |doubt: Doubt| {
            let due = doubts.remove(&doubt).unwrap_or(now + A_WHILE);
            if due > now {
                self.doubts.insert(doubt, due);
            }
            due <= now
        };
        let mut mixed = ways.mixed;
        mixed.retain(|topic| known.contains(&topic.key()) || !passing.contains(&topic.withheld.plain));
        let mut news = Ways::default();
        for peer in ways.peers.into_iter().filter(|peer| !passing.contains(&peer.participant)) {
            let id = peer.participant;
            let said = peers.remove(&id);
            let is_withheld = || mixed.iter().any(|topic| topic.withheld.from.contains(&id));
            let is_settled = said.as_ref() == Some(&peer)
                || match peer.reason {
                    Reason::MixedReaders if !is_withheld() => false,
                    Reason::MixedReaders => has_stayed(Doubt::Peer(id, true)),
                    Reason::PlainReaders => has_stayed(Doubt::Peer(id, false)),
                    _ => true,
                };
            if is_settled && said.as_ref() != Some(&peer) {
                news.peers.push(peer.clone());
            }
            self.peers.extend(if is_settled { Some(peer) } else { said }.map(|peer| (id, peer)));
        }
        for topic in mixed {
            let (key, is_known) = (topic.key(), known.contains(&topic.key()));
            if is_known || has_stayed(Doubt::Topic(key)) {
                self.mixed.insert(key);
                news.mixed.extend((!is_known).then_some(topic));
            }
        }
        news
    }

    /// When there may be more to say though nothing changes.
    pub(super) fn due(&self) -> Option<Instant> {
        self.doubts.values().min().copied()
    }

    pub(super) fn is_due(&self) -> bool {
        self.due().is_some_and(|due| due <= Instant::now())
    }
}

/// Longer than the news of one reader takes by either way.
const A_WHILE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: Prefix = [1; 12];
    const NOBODY: &BTreeSet<Prefix> = &BTreeSet::new();

    fn peer(participant: Prefix, reason: Reason) -> PeerPath {
        let path = if reason == Reason::LinkReady { Path::SharedMemory } else { Path::Udp };
        PeerPath { participant, path, reason }
    }

    fn by(reason: Reason) -> Ways {
        Ways { peers: vec![peer(PEER, reason)], mixed: Vec::new() }
    }

    fn mixed(plain: Prefix) -> Ways {
        let withheld = Withheld { from: BTreeSet::from([PEER]), plain, obstacle: Obstacle::BestEffort };
        let topic = MixedTopic { writer: [2; 4], topic: "points".into(), withheld };
        Ways { mixed: vec![topic], ..by(Reason::MixedReaders) }
    }

    #[test]
    fn what_passes_between_two_reports_is_not_said() {
        let (mut said, now) = (Said::default(), Instant::now());
        assert_eq!(said.news(by(Reason::LinkReady), NOBODY, now), by(Reason::LinkReady));
        for passing in [mixed([3; 12]), by(Reason::PlainReaders)] {
            assert_eq!(said.news(passing, NOBODY, now), Ways::default());
            assert!(said.due().is_some());
            assert_eq!(said.news(by(Reason::LinkReady), NOBODY, now + A_WHILE), Ways::default());
            assert_eq!(said.due(), None);
        }
    }

    #[test]
    fn what_has_begun_when_something_else_is_due_waits_for_a_moment_of_its_own() {
        const OTHER: Prefix = [4; 12];
        let (mut said, now) = (Said::default(), Instant::now());
        let ways = |one, other| Ways { peers: vec![peer(PEER, one), peer(OTHER, other)], ..Ways::default() };
        said.news(ways(Reason::LinkReady, Reason::LinkReady), NOBODY, now);
        said.news(ways(Reason::PlainReaders, Reason::LinkReady), NOBODY, now);
        let due = said.due().expect("it may pass");
        let (later, both) = (due - A_WHILE / 100, || ways(Reason::PlainReaders, Reason::PlainReaders));
        assert_eq!(said.news(both(), NOBODY, later), Ways::default());
        assert_eq!(said.news(both(), NOBODY, due), by(Reason::PlainReaders), "the other has just begun");
        assert_eq!(said.due(), Some(later + A_WHILE));
        assert_eq!(said.news(both(), NOBODY, later + A_WHILE).peers, [peer(OTHER, Reason::PlainReaders)]);
        assert_eq!(said.due(), None);
    }

    #[test]
    fn what_stays_is_said_once_whoever_is_the_cause() {
        let (mut said, now) = (Said::default(), Instant::now());
        said.news(by(Reason::LinkReady), NOBODY, now);
        assert_eq!(said.news(mixed([3; 12]), NOBODY, now), Ways::default());
        let due = said.due().expect("it may stay");
        assert_eq!(said.news(mixed([3; 12]), NOBODY, due), mixed([3; 12]));
        for passing in [NOBODY, &BTreeSet::from([[4; 12]])] {
            assert_eq!(said.news(mixed([4; 12]), passing, due), Ways::default());
            assert_eq!(said.due(), None);
        }
        assert_eq!(said.news(by(Reason::LinkReady), NOBODY, due), by(Reason::LinkReady));
        said.news(mixed([3; 12]), NOBODY, due);
        assert_eq!(said.news(mixed([3; 12]), NOBODY, due + A_WHILE), mixed([3; 12]), "it is so again");
    }

    #[test]
    fn nobody_who_is_about_to_be_reached_is_said_to_keep_others_from_sharing() {
        let (mut said, now) = (Said::default(), Instant::now());
        said.news(by(Reason::LinkReady), NOBODY, now);
        assert_eq!(said.news(mixed([3; 12]), &BTreeSet::from([[3; 12]]), now), Ways::default());
        assert_eq!(said.due(), None, "that it cannot be reached is said first");
        assert_eq!(said.news(mixed([3; 12]), NOBODY, now + A_WHILE), Ways::default());
        assert_eq!(said.news(mixed([3; 12]), NOBODY, now + 2 * A_WHILE), mixed([3; 12]));
    }

    #[test]
    fn that_a_reader_is_not_matched_is_said_if_it_stays_so() {
        let mut topic = mixed([3; 12]).mixed.remove(0);
        topic.withheld.obstacle = Obstacle::Undecided;
        let line = topic.to_string();
        for word in
            ["topic points:", "030303", "neither matched to a writer here nor refused", "end that reader"]
        {
            assert!(line.contains(word), "{word}: {line}");
        }
        let ways = || Ways { mixed: vec![topic.clone()], ..by(Reason::LinkReady) };
        let (mut said, now) = (Said::default(), Instant::now());
        assert_eq!(said.news(ways(), NOBODY, now), by(Reason::LinkReady));
        let news = said.news(ways(), NOBODY, now + A_WHILE);
        assert_eq!(news, Ways { peers: Vec::new(), ..ways() });
    }

    #[test]
    fn the_line_names_topic_participant_and_remedy() {
        let line = mixed([3; 12]).mixed[0].to_string();
        for word in ["topic points:", "030303", "not all readers are reliable", "make them so"] {
            assert!(line.contains(word), "{word}: {line}");
        }
    }
}
