//! What a user can set, at three levels: a participant, a publisher or subscriber, an endpoint.
//!
//! | Variable | Sets | Accepts | Default |
//! |---|---|---|---|
//! | `ZERODDS_SHM_THRESHOLD` | [`Options::threshold`] | bytes, or `64KiB`, `1MiB` | `8KiB` |
//! | `ZERODDS_SHM_WHEN_FULL` | [`Options::when_full`] | `block`, `fail`, `udp` | `block` |
//!
//! and those of the transport: `ZERODDS_SHM`, `ZERODDS_SHM_MAX_DATAGRAM`, `ZERODDS_SHM_ACCESS` (`ZERODDS_SHM_WAIT` has
//! no effect: sessions sleep in an event loop), see [`zerodds_transport_shm::Config`], and `ZERODDS_CAPTURE` and
//! `ZERODDS_CAPTURE_MAX`, see [`zerodds_capture::Config`]. The ring and its access policy belong to a participant, since its
//! endpoints share one ring; everything else can be set for each endpoint.

use crate::protocol::Prefix;
use std::ffi::OsString;
use zerodds_core::{ConfigError, Setting, parse_size};
use zerodds_transport_shm::{Access, Config as ShmConfig};

/// Settings of one session; [`Config::default`] is the recommended set-up.
///
/// ```
/// use zerodds_rustdds::{Config, Options, transport_shm};
///
/// // Points of up to 64 MiB, and nothing small, by shared memory.
/// let transport = transport_shm::Config::default().max_datagram(64 << 20)?;
/// let config = Config::default().transport(transport).options(Options::default().threshold(1 << 20));
/// assert_ne!(config, Config::default());
/// # Ok::<(), zerodds_rustdds::ConfigError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    pub(crate) shm: ShmConfig,
    pub(crate) options: Options,
    pub(crate) capture: zerodds_capture::Config,
    shares_secured: bool,
}

impl Config {
    /// The defaults, overlaid with the `ZERODDS_SHM*` and `ZERODDS_CAPTURE*` environment variables that are set.
    ///
    /// # Errors
    /// [`ConfigError`] names the variable, its value and what is accepted.
    ///
    /// ```
    /// let config = zerodds_rustdds::Config::from_env()?;
    /// # Ok::<(), zerodds_rustdds::ConfigError>(())
    /// ```
    pub fn from_env() -> Result<Self, ConfigError> {
        let options = Options::default().overlaid_with(std::env::var_os)?;
        let capture = zerodds_capture::Config::from_env()?;
        Ok(Self { shm: ShmConfig::from_env()?, options, capture, ..Self::default() })
    }

    /// What is captured of the session, and where: what goes by shared memory. Default: nothing.
    ///
    /// ```
    /// use zerodds_rustdds::{Config, capture};
    /// let file = capture::Config::default().file("/tmp/dds-%p.pcapng");
    /// let config = Config::default().capture(file);
    /// ```
    #[must_use]
    pub fn capture(mut self, capture: zerodds_capture::Config) -> Self {
        self.capture = capture;
        self
    }

    /// The participant's ring: its size (by the largest sample that it carries), who may map it, how to wait.
    ///
    /// ```
    /// use zerodds_rustdds::{Config, transport_shm};
    /// let transport = transport_shm::Config::default().max_datagram(64 << 20)?;
    /// let config = Config::default().transport(transport);
    /// # Ok::<(), zerodds_rustdds::ConfigError>(())
    /// ```
    #[must_use]
    pub fn transport(mut self, shm: ShmConfig) -> Self {
        self.shm = shm;
        self
    }

    /// Whether a participant under DDS Security shares memory too. Default: no, since RustDDS encrypts what it sends,
    /// and nothing encrypts a ring: every process that is admitted to it reads it, whatever the permissions of the
    /// domain say. No environment variable sets this.
    ///
    /// ```
    /// // Every process of this user may read everything that is published here.
    /// let config = zerodds_rustdds::Config::from_env()?.share_secured(true);
    /// # Ok::<(), zerodds_rustdds::ConfigError>(())
    /// ```
    #[must_use]
    pub const fn share_secured(mut self, share: bool) -> Self {
        self.shares_secured = share;
        self
    }

    /// Whether a participant with this GUID prefix may have a ring.
    pub(crate) const fn admits(&self, participant: Prefix) -> bool {
        self.shares_secured || !is_secured(participant)
    }

    /// Whether only processes of our own user (and root's) are admitted.
    pub(crate) fn access_is_own_user(&self) -> bool {
        self.shm == self.shm.clone().access(Access::User)
    }

    /// What holds for every endpoint whose publisher, subscriber or creation does not say otherwise. What these do not set stays as it
    /// is, such as the environment has it.
    ///
    /// ```
    /// use zerodds_rustdds::{Config, Options, WhenFull};
    /// let config = Config::from_env()?.options(Options::default().when_full(WhenFull::Udp));
    /// assert_ne!(config, Config::default());
    /// # Ok::<(), zerodds_rustdds::ConfigError>(())
    /// ```
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.options = options.over(self.options);
        self
    }
}

/// What can be set for each endpoint. [`Options::default`] sets nothing: an endpoint has what its publisher or subscriber says, what that
/// does not say is as the participant's [`Config`] has it, what that does not say is as the environment has it where the program reads it
/// ([`Config::from_env`]), and what nobody says has its default.
///
/// ```
/// use zerodds_rustdds::{Options, WhenFull};
/// let options = Options::default().threshold(64 * 1024).when_full(WhenFull::Fail);
/// let off = options.shm(false);
/// assert_ne!(options, off);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    shm: Option<bool>,
    threshold: Option<usize>,
    when_full: Option<WhenFull>,
}

/// The same with what nobody has set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settled {
    pub(crate) shm: bool,
    pub(crate) threshold: usize,
    pub(crate) when_full: WhenFull,
}

/// What a writer does when the ring has no room for a sample because readers have not taken earlier ones.
///
/// ```
/// use rustdds::dds::WriteError;
/// # use rustdds::{DomainParticipant, QosPolicyBuilder, TopicKind};
/// # use zerodds_rustdds::{Config, ZeroDds, msg::sensor_msgs::Image};
/// use zerodds_rustdds::{Options, WhenFull};
///
/// # let domain = 1 + (std::process::id() % 100) as u16;
/// # let qos = QosPolicyBuilder::new().build();
/// # let participant = DomainParticipant::new(domain)?;
/// # let zerodds = ZeroDds::attach(&participant, Config::default())?;
/// # let topic = participant.create_topic("images-full".into(), Image::TYPE_NAME.into(), &qos, TopicKind::NoKey)?;
/// let publisher = zerodds.create_publisher(&qos)?.with_options(Options::default().when_full(WhenFull::Fail));
/// let writer = publisher.create_datawriter_no_key_cdr::<Image>(&topic, None)?;
/// match writer.write(Image { data: vec![0; 1 << 20].into(), ..Image::default() }, None) {
///     Err(WriteError::WouldBlock { data }) => println!("no room now for {} bytes", data.data.len()),
///     written => written?,
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenFull {
    /// Reliable: wait up to max_blocking_time (DDS 1.4 §2.2.3.14), then fail with `WouldBlock`; where that is less than 10 ms, such as
    /// `Duration::ZERO`, as [`Udp`](Self::Udp), since RustDDS has room for thousands of samples more. Best effort: never wait;
    /// earlier samples that nobody has taken make room in the ring, and failing that the sample goes by UDP. A reader whose process
    /// keeps all that it may of the ring goes without: `Stats::transport` counts that in `lost_messages`.
    #[default]
    Block,
    /// Fail at once with `WouldBlock`; the sample is given back.
    Fail,
    /// Send this sample by UDP, as RustDDS would.
    Udp,
}

impl Options {
    /// The default [`threshold`](Self::threshold), 8 KiB: measured to be where shared memory wins by a third. It is as fast as RTPS at
    /// 2 KiB, and slower below.
    pub const THRESHOLD: usize = 8 << 10;

    /// Whether the endpoint uses shared memory: all that a reader can be told, as the others are for writers. Default: yes.
    #[must_use]
    pub const fn shm(mut self, shm: bool) -> Self {
        self.shm = Some(shm);
        self
    }

    /// Samples whose CDR is shorter than this many bytes travel in RTPS as RustDDS sends them. Any value is
    /// accepted; 0 sends everything through shared memory. Default: [`THRESHOLD`](Self::THRESHOLD).
    #[must_use]
    pub const fn threshold(mut self, bytes: usize) -> Self {
        self.threshold = Some(bytes);
        self
    }

    /// What to do when there is no room. Default: [`WhenFull::Block`].
    #[must_use]
    pub const fn when_full(mut self, policy: WhenFull) -> Self {
        self.when_full = Some(policy);
        self
    }

    /// These, where they are set, else those.
    pub(crate) fn over(self, inherited: Self) -> Self {
        Self {
            shm: self.shm.or(inherited.shm),
            threshold: self.threshold.or(inherited.threshold),
            when_full: self.when_full.or(inherited.when_full),
        }
    }

    /// What an endpoint is made with.
    pub(crate) fn settled(self) -> Settled {
        Settled {
            shm: self.shm.unwrap_or(true),
            threshold: self.threshold.unwrap_or(Self::THRESHOLD),
            when_full: self.when_full.unwrap_or_default(),
        }
    }

    pub(crate) fn overlaid_with(
        mut self,
        var: impl Fn(&'static str) -> Option<OsString>,
    ) -> Result<Self, ConfigError> {
        let threshold = |text: &str| Some(Some(parse_size(text)?.try_into().ok()?));
        THRESHOLD.read(&var, &mut self.threshold, threshold)?;
        WHEN_FULL.read(&var, &mut self.when_full, |text| parse_when_full(text).map(Some))?;
        Ok(self)
    }
}

const THRESHOLD: Setting =
    Setting::new("ZERODDS_SHM_THRESHOLD", "use bytes, or a number with KiB, MiB or GiB, such as 64KiB");
const WHEN_FULL: Setting = Setting::new("ZERODDS_SHM_WHEN_FULL", "use block, fail or udp");

/// Whether a participant with this GUID prefix is under DDS Security.
///
/// The prefix of one that is begins with a bit that is set (DDS Security 1.1 §9.3.3), that of any other of RustDDS with the octet 1 of
/// its vendor id. Nothing else of it can be seen from outside, unless RustDDS was built with its feature `security`.
pub(crate) const fn is_secured(participant: Prefix) -> bool {
    let [first, ..] = participant;
    first & 0x80 != 0
}

fn parse_when_full(text: &str) -> Option<WhenFull> {
    match text.to_ascii_lowercase().as_str() {
        "block" => Some(WhenFull::Block),
        "fail" => Some(WhenFull::Fail),
        "udp" => Some(WhenFull::Udp),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &'static str, value: &str) -> Result<Options, ConfigError> {
        let value = OsString::from(value);
        Options::default().overlaid_with(|asked| (asked == name).then(|| value.clone()))
    }

    #[test]
    fn only_who_says_so_shares_what_a_secured_participant_sends() {
        let (plain, secured) = ([1; 12], [0x80; 12]);
        assert!(Config::default().admits(plain) && !Config::default().admits(secured));
        assert!(Config::default().share_secured(true).admits(secured));
    }

    #[test]
    fn the_environment_sets_what_a_setter_sets() {
        assert_eq!(with("ZERODDS_SHM_THRESHOLD", "64KiB"), Ok(Options::default().threshold(65_536)));
        assert_eq!(with("ZERODDS_SHM_WHEN_FULL", "Fail"), Ok(Options::default().when_full(WhenFull::Fail)));
        assert_eq!(with("ZERODDS_SHM_WHEN_FULL", "udp"), Ok(Options::default().when_full(WhenFull::Udp)));
        assert_eq!(with("PATH", "anything"), Ok(Options::default()));
    }

    #[test]
    fn what_is_not_set_is_inherited() {
        let options = with("ZERODDS_SHM_THRESHOLD", "0").expect("in range");
        let participant = Config { options, ..Config::default() }.options(Options::default().shm(false));
        let endpoint = Options::default().when_full(WhenFull::Udp).over(participant.options);
        assert_eq!(endpoint.settled(), Settled { shm: false, threshold: 0, when_full: WhenFull::Udp });
        assert!(Options::default().shm(true).over(endpoint).settled().shm, "what is said last counts");
        let settled = Options::default().settled();
        assert_eq!(settled, Settled { shm: true, threshold: Options::THRESHOLD, when_full: WhenFull::Block });
    }

    #[test]
    fn a_bad_value_is_named_with_what_is_accepted() {
        for (name, value) in [("ZERODDS_SHM_THRESHOLD", "-1"), ("ZERODDS_SHM_WHEN_FULL", "wait")] {
            let message = with(name, value).expect_err(value).to_string();
            assert!(
                message.contains(name) && message.contains(value) && message.contains("use "),
                "{message}"
            );
        }
    }
}
