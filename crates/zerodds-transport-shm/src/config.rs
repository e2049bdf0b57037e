//! What a user can set, by builder or by environment. A built [`Config`] is always usable.
//!
//! | Variable | Field | Accepts | Default |
//! |---|---|---|---|
//! | `ZERODDS_SHM` | [`Config::enabled`] | `on`, `off` | `on` |
//! | `ZERODDS_SHM_MAX_DATAGRAM` | [`Config::max_datagram`] | bytes, or `64KiB`, `16MiB`, `1GiB` | `16MiB` |
//! | `ZERODDS_SHM_ACCESS` | [`Config::access`] | `user`, `group`, `any` | `user` |
//! | `ZERODDS_SHM_WAIT` | [`Config::wait`] | `park`, `adaptive`, `spin`, `50us` (spin, then park) | `adaptive` |

use std::ffi::OsString;
use std::time::Duration;
use zerodds_core::{ConfigError, Setting, parse_size, parse_switch};

/// Settings of one shared-memory transport; [`Config::default`] is the recommended set-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub(crate) enabled: bool,
    pub(crate) max_datagram: usize,
    pub(crate) access: Access,
    pub(crate) wait: WaitStrategy,
}

/// Whose processes may map our memory. Whoever is not admitted is served over UDP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Access {
    /// Processes of the same user, and root's.
    #[default]
    User,
    /// Also processes whose effective group is our effective group or one of our supplementary groups.
    Group,
    /// Everybody, except users that this user namespace cannot name (65534).
    Any,
}

/// How a receiver waits. All of them use no CPU once nothing has come for a while, except [`Spin`](Self::Spin).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitStrategy {
    /// Sleep in the kernel at once, or some microseconds after a burst of messages, which may go on: least CPU. A wake costs
    /// 2 µs on one core, 20 to 45 µs across those of a virtual machine.
    Park,
    /// Spin for at most 25 µs before sleeping, 60 where wakes seem to take long, but only while messages from another core
    /// come about as quickly, ever more rarely where they come too late for it, and never beside other descriptors. On one
    /// core it does as `Park` does. An idle process uses no CPU.
    #[default]
    Adaptive,
    /// Always spin this long, 1 µs to 10 ms, before sleeping. On a single core that delays every message by as much.
    SpinThenPark(Duration),
    /// Never sleep: one core at 100 %, the lowest latency.
    Spin,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            max_datagram: 16 << 20,
            access: Access::default(),
            wait: WaitStrategy::default(),
        }
    }
}

impl Config {
    /// The smallest accepted [`max_datagram`](Self::max_datagram): 4 KiB.
    pub const MAX_DATAGRAM_MIN: usize = 4 << 10;
    /// The largest accepted [`max_datagram`](Self::max_datagram): 1 GiB.
    pub const MAX_DATAGRAM_MAX: usize = 1 << 30;
    /// Bytes that a message may be longer than [`max_datagram`](Self::max_datagram): room for the RTPS header and the submessages
    /// around a sample, inline QoS included. 4 KiB.
    pub const RTPS_OVERHEAD: usize = 4 << 10;

    /// The defaults, overlaid with the `ZERODDS_SHM*` environment variables that are set.
    ///
    /// # Errors
    /// [`ConfigError`] names the variable, its value and what is accepted.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::default().overlaid_with(std::env::var_os)
    }

    /// Whether shared memory is used at all. Default: yes. Off means: everything goes over UDP.
    #[must_use]
    pub const fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }

    /// The largest serialized sample in bytes that goes through shared memory; larger ones go over UDP.
    /// Default 16 MiB, 4 KiB to 1 GiB. Address space of four times this is set aside; memory is only taken as
    /// messages need it.
    ///
    /// # Errors
    /// [`ConfigError::Value`] outside the range.
    pub fn max_datagram(mut self, bytes: usize) -> Result<Self, ConfigError> {
        self.max_datagram = MAX_DATAGRAM.called("max_datagram").accept(bytes, in_range(bytes as u64))?;
        Ok(self)
    }

    /// Whose processes are admitted. Default: the same user's and root's.
    #[must_use]
    pub const fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// How receivers wait. Default: [`WaitStrategy::Adaptive`].
    ///
    /// # Errors
    /// [`ConfigError::Value`] where the time to spin is outside its range.
    pub fn wait(mut self, wait: WaitStrategy) -> Result<Self, ConfigError> {
        let accepted = match wait {
            WaitStrategy::SpinThenPark(window) => spin_then_park(window),
            other => Some(other),
        };
        self.wait = WAIT.called("wait").accept(format_args!("{wait:?}"), accepted)?;
        Ok(self)
    }

    pub(crate) fn overlaid_with(
        mut self,
        var: impl Fn(&'static str) -> Option<OsString>,
    ) -> Result<Self, ConfigError> {
        ENABLED.read(&var, &mut self.enabled, parse_switch)?;
        MAX_DATAGRAM.read(&var, &mut self.max_datagram, |text| in_range(parse_size(text)?))?;
        ACCESS.read(&var, &mut self.access, parse_access)?;
        WAIT.read(&var, &mut self.wait, parse_wait)?;
        Ok(self)
    }
}

const ENABLED: Setting = Setting::new("ZERODDS_SHM", "use on or off");
const MAX_DATAGRAM: Setting = Setting::new(
    "ZERODDS_SHM_MAX_DATAGRAM",
    "use 4KiB to 1GiB, as bytes or with the unit KiB, MiB or GiB, such as 16MiB",
);
const ACCESS: Setting = Setting::new("ZERODDS_SHM_ACCESS", "use user, group or any");
const WAIT: Setting = Setting::new(
    "ZERODDS_SHM_WAIT",
    "use park, adaptive, spin, or a time from 1us to 10ms to spin before parking",
);

fn in_range(bytes: u64) -> Option<usize> {
    let bytes = usize::try_from(bytes).ok()?;
    (Config::MAX_DATAGRAM_MIN..=Config::MAX_DATAGRAM_MAX).contains(&bytes).then_some(bytes)
}

fn parse_access(text: &str) -> Option<Access> {
    match text.to_ascii_lowercase().as_str() {
        "user" => Some(Access::User),
        "group" => Some(Access::Group),
        "any" => Some(Access::Any),
        _ => None,
    }
}

fn parse_wait(text: &str) -> Option<WaitStrategy> {
    match text.to_ascii_lowercase().as_str() {
        "park" => Some(WaitStrategy::Park),
        "adaptive" => Some(WaitStrategy::Adaptive),
        "spin" => Some(WaitStrategy::Spin),
        other => {
            let (number, unit_ns) = match (other.strip_suffix("us"), other.strip_suffix("ms")) {
                (Some(number), _) => (number, 1_000),
                (_, Some(number)) => (number, 1_000_000),
                _ => return None,
            };
            let window = Duration::from_nanos(number.trim().parse::<u64>().ok()?.checked_mul(unit_ns)?);
            spin_then_park(window)
        }
    }
}

fn spin_then_park(window: Duration) -> Option<WaitStrategy> {
    let accepted = Duration::from_micros(1)..=Duration::from_millis(10);
    accepted.contains(&window).then_some(WaitStrategy::SpinThenPark(window))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &'static str, value: &str) -> Result<Config, ConfigError> {
        let value = OsString::from(value);
        Config::default().overlaid_with(|asked| (asked == name).then(|| value.clone()))
    }

    #[test]
    fn an_empty_environment_gives_the_defaults() {
        assert_eq!(Config::default().overlaid_with(|_| None), Ok(Config::default()));
    }

    #[test]
    fn sizes_are_accepted_in_bytes_and_in_binary_units() {
        for (text, bytes) in [("65536", 65_536), ("64KiB", 65_536), ("16 MiB", 16 << 20), ("1g", 1 << 30)] {
            assert_eq!(with("ZERODDS_SHM_MAX_DATAGRAM", text).map(|c| c.max_datagram), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn a_bad_value_is_an_error_that_names_variable_value_and_what_is_accepted() {
        let bad: [(&'static str, &[&str]); 4] = [
            ("ZERODDS_SHM", &["", "maybe"]),
            (
                "ZERODDS_SHM_MAX_DATAGRAM",
                &["", "abc", "-1", "0", "4095", "2GiB", "99999999999999999999", "16MB"],
            ),
            ("ZERODDS_SHM_ACCESS", &["", "root", "0666"]),
            ("ZERODDS_SHM_WAIT", &["", "sleep", "0us", "11ms", "-5us", "99999999999999999999ms"]),
        ];
        for (name, values) in bad {
            for value in values {
                let message = with(name, value).expect_err(value).to_string();
                assert!(message.contains(name) && message.contains(&format!("{value:?}")), "{message}");
                assert!(message.contains("use "), "{message}");
            }
        }
    }

    #[test]
    fn every_word_of_the_table_is_understood() {
        assert_eq!(with("ZERODDS_SHM", "off").map(|c| c.enabled), Ok(false));
        assert_eq!(with("ZERODDS_SHM_ACCESS", "Group").map(|c| c.access), Ok(Access::Group));
        assert_eq!(with("ZERODDS_SHM_ACCESS", "any").map(|c| c.access), Ok(Access::Any));
        assert_eq!(with("ZERODDS_SHM_WAIT", "park").map(|c| c.wait), Ok(WaitStrategy::Park));
        assert_eq!(with("ZERODDS_SHM_WAIT", "adaptive").map(|c| c.wait), Ok(WaitStrategy::Adaptive));
        assert_eq!(with("ZERODDS_SHM_WAIT", "spin").map(|c| c.wait), Ok(WaitStrategy::Spin));
        let window = WaitStrategy::SpinThenPark(Duration::from_micros(50));
        assert_eq!(with("ZERODDS_SHM_WAIT", "50us").map(|c| c.wait), Ok(window));
    }

    #[test]
    fn the_setters_check_the_same_ranges() {
        for window in [Duration::ZERO, Duration::from_millis(11), Duration::from_secs(3600)] {
            let error = Config::default().wait(WaitStrategy::SpinThenPark(window)).expect_err("out of range");
            assert!(error.to_string().contains("wait=\"SpinThenPark("), "{error}");
        }
        for wait in [WaitStrategy::Spin, WaitStrategy::SpinThenPark(Duration::from_millis(10))] {
            assert_eq!(Config::default().wait(wait).map(|c| c.wait), Ok(wait));
        }
        assert!(Config::default().max_datagram(4095).is_err());
        assert!(Config::default().max_datagram((1 << 30) + 1).is_err());
        assert_eq!(Config::default().max_datagram(4096).map(|c| c.max_datagram), Ok(4096));
    }
}
