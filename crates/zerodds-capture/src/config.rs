//! What a user can set, by builder or by environment.
//!
//! | Variable | Field | Accepts | Default |
//! |---|---|---|---|
//! | `ZERODDS_CAPTURE` | [`Config::file`] | a file; `%p` is the process id | none: nothing is captured |
//! | `ZERODDS_CAPTURE_MAX` | [`Config::bytes_max`] | bytes, or `64MiB`, `1GiB` | `1GiB` |
//! | `ZERODDS_CAPTURE_UDP` | [`Config::udp`] | `on`, `off` | `off` |

use std::ffi::OsString;
use std::path::PathBuf;
use zerodds_core::{ConfigError, Setting, parse_size, parse_switch};

/// Settings of a capture; [`Config::default`] captures nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub(crate) file: Option<PathBuf>,
    pub(crate) bytes_max: u64,
    pub(crate) udp: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { file: None, bytes_max: 1 << 30, udp: false }
    }
}

impl Config {
    /// The least [`bytes_max`](Self::bytes_max): 1 MiB.
    pub const BYTES_MIN: u64 = 1 << 20;
    /// The largest [`bytes_max`](Self::bytes_max): 1 TiB.
    pub const BYTES_MAX: u64 = 1 << 40;

    /// The defaults, overlaid with the `ZERODDS_CAPTURE*` environment variables that are set.
    ///
    /// # Errors
    /// [`ConfigError`] names the variable, its value and what is accepted.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::default().overlaid_with(std::env::var_os)
    }

    /// The file that is written, from its beginning. `%p` in it stands for the process id. Default: none.
    #[must_use]
    pub fn file(mut self, file: impl Into<PathBuf>) -> Self {
        self.file = Some(file.into());
        self
    }

    /// The bytes that the capture may take on the disk: half of them in the file that is being written, half in the one
    /// before it, which has `.1` after its name. Default 1 GiB, 1 MiB to 1 TiB.
    ///
    /// # Errors
    /// [`ConfigError::Value`] outside the range.
    pub fn bytes_max(mut self, bytes: u64) -> Result<Self, ConfigError> {
        self.bytes_max = BYTES_MAX.called("bytes_max").accept(bytes, in_range(bytes))?;
        Ok(self)
    }

    /// Whether the datagrams of the UDP transport are captured too. Default: no.
    #[must_use]
    pub const fn udp(mut self, udp: bool) -> Self {
        self.udp = udp;
        self
    }

    fn overlaid_with(mut self, var: impl Fn(&'static str) -> Option<OsString>) -> Result<Self, ConfigError> {
        // A file's name need be no text.
        if let Some(value) = var(FILE.name) {
            let named = Some(PathBuf::from(&value)).filter(|file| !file.as_os_str().is_empty());
            self.file = Some(FILE.accept(value.to_string_lossy(), named)?);
        }
        BYTES_MAX.read(&var, &mut self.bytes_max, |text| in_range(parse_size(text)?))?;
        UDP.read(&var, &mut self.udp, parse_switch)?;
        Ok(self)
    }
}

const FILE: Setting = Setting::new("ZERODDS_CAPTURE", "use the name of a file, such as /tmp/dds-%p.pcapng");
const BYTES_MAX: Setting = Setting::new(
    "ZERODDS_CAPTURE_MAX",
    "use 1MiB to 1TiB, as bytes or with the unit KiB, MiB or GiB, such as 256MiB",
);
const UDP: Setting = Setting::new("ZERODDS_CAPTURE_UDP", "use on or off");

fn in_range(bytes: u64) -> Option<u64> {
    (Config::BYTES_MIN..=Config::BYTES_MAX).contains(&bytes).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &'static str, value: &str) -> Result<Config, ConfigError> {
        let value = OsString::from(value);
        Config::default().overlaid_with(|asked| (asked == name).then(|| value.clone()))
    }

    #[test]
    fn the_environment_sets_what_a_setter_sets() {
        assert_eq!(with("PATH", "anything"), Ok(Config::default()));
        assert_eq!(with("ZERODDS_CAPTURE", "/a/%p"), Ok(Config::default().file("/a/%p")));
        assert_eq!(with("ZERODDS_CAPTURE_MAX", "64 MiB"), Config::default().bytes_max(64 << 20));
        assert_eq!(with("ZERODDS_CAPTURE_UDP", "On"), Ok(Config::default().udp(true)));
    }

    #[test]
    fn a_bad_value_is_named_with_what_is_accepted() {
        let bad = [
            ("ZERODDS_CAPTURE", ""),
            ("ZERODDS_CAPTURE_MAX", "1023KiB"),
            ("ZERODDS_CAPTURE_MAX", "2TiB"),
            ("ZERODDS_CAPTURE_MAX", "64MB"),
            ("ZERODDS_CAPTURE_UDP", "maybe"),
        ];
        for (name, value) in bad {
            let message = with(name, value).expect_err(value).to_string();
            assert!(message.contains(name) && message.contains(&format!("{value:?}")), "{message}");
            assert!(message.contains("use "), "{message}");
        }
        assert!(Config::default().bytes_max(0).is_err());
    }
}
