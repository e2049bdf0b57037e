//! By which path samples go to whom, and what is said of it.

use super::obituary::hex;
use crate::protocol::{Entity, Prefix};
use crate::routes::Obstacle;
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
    /// The path of samples from the threshold on, if QoS leaves them the choice (docs/qos.md). Shared memory where all writers here that are
    /// matched there use it; UDP where one does not, and the reason is that one's.
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
    /// A participant whose readers cannot.
    pub(super) plain: Prefix,
    pub(super) obstacle: Obstacle,
}

impl MixedTopic {
    /// Whether that is said with the other.
    fn is_like(&self, other: &Self) -> bool {
        (self.writer, self.obstacle) == (other.writer, other.obstacle)
    }
}

impl fmt::Display for MixedTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, plain, obstacle, .. } = self;
        let (what, remedy) = match obstacle {
            Obstacle::BestEffort => ("not all readers are reliable", "make them so"),
            Obstacle::Neighbours => ("two readers are in one participant", "give each its own"),
        };
        write!(
            f,
            "topic {topic}: samples go by UDP to all readers, since those of participant {} cannot share memory and {what}; \
             {remedy}, or give those this project",
            hex(*plain)
        )
    }
}

/// What was said of ways last.
#[derive(Debug, Default)]
pub(super) struct Said {
    ways: Ways,
    /// When what may pass is said, if there is any.
    due: Option<Instant>,
}

impl Said {
    /// What is to be said of these ways. What readers take is heard by the link, and that they come and go by RTPS: that some take
    /// plain samples is said if it stays so.
    pub(super) fn news(&mut self, ways: Ways, now: Instant) -> Ways {
        let said = std::mem::take(&mut self.ways);
        let is_known = |topic: &MixedTopic| said.mixed.iter().any(|other| other.is_like(topic));
        let may_pass = |peer: &PeerPath| {
            matches!(peer.reason, Reason::PlainReaders | Reason::MixedReaders) && !said.peers.contains(peer)
        };
        let Ways { mut peers, mut mixed } = ways;
        let is_settled = if peers.iter().any(may_pass) || !mixed.iter().all(is_known) {
            *self.due.get_or_insert(now + A_WHILE) <= now
        } else {
            true
        };
        if is_settled {
            self.due = None;
        } else {
            let before =
                |peer: &PeerPath| said.peers.iter().find(|said| said.participant == peer.participant);
            let known = |peer: PeerPath| if may_pass(&peer) { before(&peer).cloned() } else { Some(peer) };
            peers = peers.into_iter().filter_map(known).collect();
            mixed.retain(is_known);
        }
        let news = Ways {
            peers: peers.iter().filter(|peer| !said.peers.contains(peer)).cloned().collect(),
            mixed: mixed.iter().filter(|topic| !is_known(topic)).cloned().collect(),
        };
        self.ways = Ways { peers, mixed };
        news
    }

    /// When there may be more to say though nothing changes.
    pub(super) const fn due(&self) -> Option<Instant> {
        self.due
    }

    pub(super) fn is_due(&self) -> bool {
        self.due.is_some_and(|due| due <= Instant::now())
    }
}

/// Longer than the news of one reader takes by either way.
const A_WHILE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: Prefix = [1; 12];

    fn by(reason: Reason) -> Ways {
        let path = if reason == Reason::LinkReady { Path::SharedMemory } else { Path::Udp };
        Ways { peers: vec![PeerPath { participant: PEER, path, reason }], mixed: Vec::new() }
    }

    fn mixed(plain: Prefix) -> Ways {
        let obstacle = Obstacle::BestEffort;
        let topic = MixedTopic { writer: [2; 4], topic: "points".into(), plain, obstacle };
        Ways { mixed: vec![topic], ..by(Reason::MixedReaders) }
    }

    #[test]
    fn what_passes_between_two_reports_is_not_said() {
        let (mut said, now) = (Said::default(), Instant::now());
        assert_eq!(said.news(by(Reason::LinkReady), now), by(Reason::LinkReady));
        for passing in [mixed([3; 12]), by(Reason::PlainReaders)] {
            assert_eq!(said.news(passing, now), Ways::default());
            assert!(said.due().is_some());
            assert_eq!(said.news(by(Reason::LinkReady), now + A_WHILE), Ways::default());
            assert_eq!(said.due(), None);
        }
    }

    #[test]
    fn what_stays_is_said_once_whoever_is_the_cause() {
        let (mut said, now) = (Said::default(), Instant::now());
        said.news(by(Reason::LinkReady), now);
        assert_eq!(said.news(mixed([3; 12]), now), Ways::default());
        let due = said.due().expect("it may stay");
        assert_eq!(said.news(mixed([3; 12]), due), mixed([3; 12]));
        assert_eq!(said.news(mixed([4; 12]), due), Ways::default());
        assert_eq!(said.due(), None);
        assert_eq!(said.news(by(Reason::LinkReady), due), by(Reason::LinkReady));
        said.news(mixed([3; 12]), due);
        assert_eq!(said.news(mixed([3; 12]), due + A_WHILE), mixed([3; 12]), "it is so again");
    }

    #[test]
    fn the_line_names_topic_participant_and_remedy() {
        let line = mixed([3; 12]).mixed[0].to_string();
        for word in ["topic points:", "030303", "not all readers are reliable", "make them so"] {
            assert!(line.contains(word), "{word}: {line}");
        }
    }
}
