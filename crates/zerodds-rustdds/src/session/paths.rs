//! By which path samples go to whom.

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
    /// The path of samples from the threshold on, if QoS leaves them the choice (docs/qos.md).
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
