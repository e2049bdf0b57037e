//! What a user can set, by builder or by environment. A built [`Config`] is always usable.
//!
//! | Variable | Setter | Accepts | Default |
//! |---|---|---|---|
//! | `ZERODDS_UDP_INTERFACES` | [`Config::interfaces`] | `all`, or names and addresses: `eth0,192.0.2.7` | `all` |
//! | `ZERODDS_UDP_MAX_DATAGRAM` | [`Config::max_datagram`] | bytes, or `32KiB` | `65507` |
//! | `ZERODDS_UDP_BUFFER` | [`Config::buffer`] | bytes, or `512KiB`, `16MiB` | `4MiB` |
//! | `ZERODDS_UDP_IPV6` | [`Config::ipv6`] | `off`, `reach`, `announce` | `reach` |
//!
//! An interface that does not exist is no error, because it may come later; a name that can never be one is.

use std::ffi::OsString;
use std::net::IpAddr;
use std::str::FromStr;
use zerodds_core::{ConfigError, HostTag, Setting, parse_size};

/// Settings of one UDP transport; [`Config::default`] is the recommended set-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub(crate) interfaces: Vec<InterfaceChoice>,
    pub(crate) max_datagram: usize,
    pub(crate) buffer: usize,
    pub(crate) ipv6: Ipv6,
    pub(crate) host_tag: Option<HostTag>,
}

/// One interface to use, by either of its names.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InterfaceChoice {
    /// The system's name of the interface, such as `eth0`: all of its addresses, also those with a label (`eth0:1`).
    Name(String),
    /// One address of an interface.
    Address(IpAddr),
}

/// What is done with IPv6, where the host has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ipv6 {
    /// Nothing.
    Off,
    /// Peers that announce only IPv6 locators are reached; we announce none of our own. The default, because
    /// the UDP transport that comes with Dust DDS 0.16 panics when a peer announces an IPv6 locator.
    #[default]
    Reach,
    /// We also listen on IPv6, announce those addresses (link-local ones never) and join `ff02::ffff:efff:1`.
    Announce,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            interfaces: Vec::new(),
            max_datagram: Self::MAX_DATAGRAM_MAX,
            buffer: 4 << 20,
            ipv6: Ipv6::default(),
            host_tag: None,
        }
    }
}

impl Config {
    /// The smallest accepted [`max_datagram`](Self::max_datagram), in bytes: what every IPv6 path carries in
    /// one packet, and enough for a participant's announcement.
    pub const MAX_DATAGRAM_MIN: usize = 1232;
    /// The largest accepted [`max_datagram`](Self::max_datagram), in bytes: what an IPv4 packet holds besides
    /// its own header (20) and UDP's (8).
    pub const MAX_DATAGRAM_MAX: usize = 65_507;
    /// The smallest accepted [`buffer`](Self::buffer): 64 KiB, so that the largest datagram fits.
    pub const BUFFER_MIN: usize = 64 << 10;
    /// The largest accepted [`buffer`](Self::buffer): 512 MiB.
    pub const BUFFER_MAX: usize = 512 << 20;

    /// The defaults, overlaid with the `ZERODDS_UDP_*` environment variables that are set.
    ///
    /// # Errors
    /// [`ConfigError`] names the variable, its value and what is accepted.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::default().overlaid_with(std::env::var_os)
    }

    /// The interfaces whose addresses are announced, on which groups are joined and multicasts sent. Empty,
    /// the default: all that are up; of those, loopback is announced only where nothing else can be.
    ///
    /// This is no firewall: what arrives by another interface is received all the same.
    ///
    /// # Errors
    /// [`ConfigError::Value`] for a name that no interface can have.
    pub fn interfaces(
        mut self,
        chosen: impl IntoIterator<Item = InterfaceChoice>,
    ) -> Result<Self, ConfigError> {
        let checked = chosen.into_iter().map(|one| match one {
            InterfaceChoice::Name(name) => {
                INTERFACES.called("interfaces").accept(&name, parse_interface(&name))
            }
            address @ InterfaceChoice::Address(_) => Ok(address),
        });
        self.interfaces = checked.collect::<Result<_, _>>()?;
        Ok(self)
    }

    /// The largest message in bytes. Default and maximum 65,507, minimum 1,232. Smaller values keep every
    /// message within one packet of a network (1,472 on Ethernet), at the price of more messages.
    ///
    /// # Errors
    /// [`ConfigError::Value`] outside the range.
    pub fn max_datagram(mut self, bytes: usize) -> Result<Self, ConfigError> {
        self.max_datagram = DATAGRAM.called("max_datagram").accept(bytes, datagram_in_range(bytes as u64))?;
        Ok(self)
    }

    /// The socket buffers in bytes to ask the system for, each way and for each socket. Default 4 MiB, 64 KiB to 512 MiB. Memory
    /// is taken only while datagrams queue. What the system grants is told by
    /// [`UdpTransport::buffers`](crate::UdpTransport::buffers).
    ///
    /// # Errors
    /// [`ConfigError::Value`] outside the range.
    pub fn buffer(mut self, bytes: usize) -> Result<Self, ConfigError> {
        self.buffer = BUFFER.called("buffer").accept(bytes, buffer_in_range(bytes as u64))?;
        Ok(self)
    }

    /// What is done with IPv6. Default [`Ipv6::Reach`].
    #[must_use]
    pub const fn ipv6(mut self, ipv6: Ipv6) -> Self {
        self.ipv6 = ipv6;
        self
    }

    /// The tag that this host's shared-memory locators carry. With it, a peer whose shared-memory locator
    /// carries another tag is known to be on another host, even where its addresses equal ours (`172.17.0.1`
    /// of every Docker host). Default: none; then a peer is taken to be on this host when all its addresses
    /// are ours.
    #[must_use]
    pub const fn host_tag(mut self, tag: HostTag) -> Self {
        self.host_tag = Some(tag);
        self
    }

    pub(crate) fn overlaid_with(
        mut self,
        var: impl Fn(&'static str) -> Option<OsString>,
    ) -> Result<Self, ConfigError> {
        INTERFACES.read(&var, &mut self.interfaces, parse_interfaces)?;
        DATAGRAM.read(&var, &mut self.max_datagram, |text| datagram_in_range(parse_size(text)?))?;
        BUFFER.read(&var, &mut self.buffer, |text| buffer_in_range(parse_size(text)?))?;
        IPV6.read(&var, &mut self.ipv6, parse_ipv6)?;
        Ok(self)
    }
}

impl FromStr for InterfaceChoice {
    type Err = ConfigError;

    /// An address, or else a name of 1 to 15 bytes without spaces and slashes, as interfaces have.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        INTERFACES.called("interface").accept(text, parse_interface(text))
    }
}

const INTERFACES: Setting = Setting::new(
    "ZERODDS_UDP_INTERFACES",
    "use all, or interface names (at most 15 bytes) and addresses separated by commas, such as eth0,192.0.2.7",
);
const DATAGRAM: Setting = Setting::new("ZERODDS_UDP_MAX_DATAGRAM", "use 1232 to 65507 bytes");
const BUFFER: Setting = Setting::new(
    "ZERODDS_UDP_BUFFER",
    "use 64KiB to 512MiB, as bytes or with the unit KiB, MiB or GiB, such as 4MiB",
);
const IPV6: Setting = Setting::new("ZERODDS_UDP_IPV6", "use off, reach or announce");

fn parse_interfaces(text: &str) -> Option<Vec<InterfaceChoice>> {
    match text {
        all if all.eq_ignore_ascii_case("all") => Some(Vec::new()),
        list => list.split(',').map(|entry| parse_interface(entry.trim())).collect(),
    }
}

fn parse_interface(text: &str) -> Option<InterfaceChoice> {
    if let Ok(address) = text.parse() {
        return Some(InterfaceChoice::Address(address));
    }
    let possible = (1..=15).contains(&text.len()) && !text.contains(|c: char| c == '/' || c.is_whitespace());
    possible.then(|| InterfaceChoice::Name(text.to_owned()))
}

fn parse_ipv6(text: &str) -> Option<Ipv6> {
    match text.to_ascii_lowercase().as_str() {
        "off" => Some(Ipv6::Off),
        "reach" => Some(Ipv6::Reach),
        "announce" => Some(Ipv6::Announce),
        _ => None,
    }
}

fn datagram_in_range(bytes: u64) -> Option<usize> {
    let bytes = usize::try_from(bytes).ok()?;
    (Config::MAX_DATAGRAM_MIN..=Config::MAX_DATAGRAM_MAX).contains(&bytes).then_some(bytes)
}

fn buffer_in_range(bytes: u64) -> Option<usize> {
    let bytes = usize::try_from(bytes).ok()?;
    (Config::BUFFER_MIN..=Config::BUFFER_MAX).contains(&bytes).then_some(bytes)
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
        assert_eq!(with("ZERODDS_UDP_INTERFACES", "all"), Ok(Config::default()));
    }

    #[test]
    fn interfaces_are_chosen_by_name_or_by_address() {
        let chosen = with("ZERODDS_UDP_INTERFACES", "eth0, 192.0.2.7,::1").unwrap().interfaces;
        let address = |text: &str| InterfaceChoice::Address(text.parse().unwrap());
        assert_eq!(chosen, [InterfaceChoice::Name("eth0".into()), address("192.0.2.7"), address("::1")]);
    }

    #[test]
    fn sizes_are_accepted_in_bytes_and_in_binary_units() {
        assert_eq!(with("ZERODDS_UDP_MAX_DATAGRAM", "1472").unwrap().max_datagram, 1472);
        for (text, bytes) in
            [("1048576", 1 << 20), ("512KiB", 512 << 10), ("16 MiB", 16 << 20), ("1m", 1 << 20)]
        {
            assert_eq!(with("ZERODDS_UDP_BUFFER", text).unwrap().buffer, bytes, "{text}");
        }
    }

    #[test]
    fn ipv6_has_three_settings() {
        for (text, ipv6) in [("off", Ipv6::Off), ("reach", Ipv6::Reach), ("announce", Ipv6::Announce)] {
            assert_eq!(with("ZERODDS_UDP_IPV6", text).unwrap().ipv6, ipv6);
        }
    }

    #[test]
    fn a_bad_value_is_an_error_that_names_variable_value_and_what_is_accepted() {
        let bad: [(&'static str, &[&str]); 4] = [
            ("ZERODDS_UDP_INTERFACES", &["", "eth0,,lo", "eth 0", "../eth0", "an-interface-name-too-long"]),
            ("ZERODDS_UDP_MAX_DATAGRAM", &["", "abc", "-1", "0", "1231", "65508", "64KiB", "65 507"]),
            ("ZERODDS_UDP_BUFFER", &["", "4MB", "MiB", "-4MiB", "65535", "513MiB", "99999999999999999999"]),
            ("ZERODDS_UDP_IPV6", &["", "on", "6"]),
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
    fn the_setters_check_the_same_ranges() {
        for bytes in [1231, 65_508] {
            let message = Config::default().max_datagram(bytes).unwrap_err().to_string();
            assert!(message.contains("max_datagram") && message.contains("1232 to 65507"), "{message}");
        }
        assert!(Config::default().buffer(65_535).is_err());
        let by_name = |name: &str| Config::default().interfaces([InterfaceChoice::Name(name.to_owned())]);
        for name in ["", "wlan 0", "../eth0", "an-interface-name-too-long"] {
            let message = by_name(name).expect_err(name).to_string();
            assert!(message.contains(&format!("interfaces={name:?}")), "{message}");
        }
        let loopback = InterfaceChoice::Address([127, 0, 0, 1].into());
        assert_eq!(by_name("127.0.0.1").unwrap().interfaces, [loopback], "as the variable has it");
        assert_eq!(Config::default().max_datagram(1232).unwrap().max_datagram, 1232);
    }
}
