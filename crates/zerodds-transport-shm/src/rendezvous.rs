//! Where participants meet: a socket in the abstract unix namespace, whose name is the locator.
//!
//! Nothing on disk: no stale file, no umask, no quota. The abstract namespace is shared exactly where IP
//! addresses are shared, so containers on the host's network meet without sharing `/dev/shm` or `/tmp`.

use crate::Listener;
use crate::asked::asked;
use rustix::net::SocketAddrUnix;
use std::io;
use std::os::linux::fs::MetadataExt;
use zerodds_core::{HostTag, Incarnation, Locator};

/// The tag of this host and network namespace.
pub(crate) fn host_tag() -> io::Result<HostTag> {
    let boot_id = asked(BOOT_ID, std::fs::read_to_string(BOOT_ID))?;
    let namespace = asked(NAMESPACE, std::fs::metadata(NAMESPACE))?;
    Ok(HostTag::derive(&boot_id, (namespace.st_dev(), namespace.st_ino())))
}

const SOCKETS: &str = "/proc/net/unix";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const NAMESPACE: &str = "/proc/self/ns/net";

/// The address at which the participant with this locator accepts connections.
pub(crate) fn address(locator: &Locator) -> io::Result<SocketAddrUnix> {
    let name = name(locator).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(SocketAddrUnix::new_abstract_name(name.as_bytes())?)
}

/// Everybody who can be linked with in this network namespace now, whatever the domain and the user: for tools that show
/// them. Whether a link comes about only [`reach`](zerodds_core::Transport::reach) tells.
///
/// ```
/// for listener in zerodds_transport_shm::listeners()? {
///     println!("domain {}: {}", listener.locator.port(), listener.locator);
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// What the system says about /proc/net/unix.
pub fn listeners() -> io::Result<Vec<Listener>> {
    let host = host_tag()?;
    // Anybody may give a socket a name, which need not be text.
    let sockets = asked(SOCKETS, std::fs::read(SOCKETS))?;
    let sockets = String::from_utf8_lossy(&sockets);
    Ok(sockets.lines().filter_map(|line| listener(line, host)).collect())
}

/// Locators of all participants of this domain that listen in this network namespace now.
pub(crate) fn enumerate(domain_id: u32) -> io::Result<Vec<Locator>> {
    let locators = listeners()?.into_iter().map(|listener| listener.locator);
    Ok(locators.filter(|locator| locator.port() == domain_id).collect())
}

/// Who listens by a line of /proc/net/unix:
/// `Num RefCount Protocol Flags Type St Inode Path`, an abstract path beginning with `@`.
pub(crate) fn listener(line: &str, host: HostTag) -> Option<Listener> {
    let mut fields = line.split_ascii_whitespace();
    let accepts = u32::from_str_radix(fields.nth(3)?, 16).ok()? & SO_ACCEPTCON != 0;
    let inode = fields.nth(2)?.parse().ok()?;
    let locator = parse(fields.next()?.strip_prefix('@')?)?;
    (accepts && locator.host_tag() == Some(host)).then_some(Listener { locator, inode })
}

/// `__SO_ACCEPTCON`: the socket listens.
const SO_ACCEPTCON: u32 = 0x10000;
const PREFIX: &str = "zerodds-shm";

fn name(locator: &Locator) -> Option<String> {
    let (host, id) = (locator.host_tag()?, locator.incarnation()?);
    Some(format!("{PREFIX}.{}.{host}.{id}", locator.port()))
}

fn parse(name: &str) -> Option<Locator> {
    let mut parts = name.strip_prefix(PREFIX)?.strip_prefix('.')?.split('.');
    let domain_id = parts.next()?.parse().ok()?;
    let host = HostTag::from_bytes(hex(parts.next()?)?);
    let id = Incarnation::from_bytes(hex(parts.next()?)?);
    parts.next().is_none().then(|| Locator::shared_memory(host, id, domain_id))
}

fn hex(text: &str) -> Option<[u8; 8]> {
    (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok()).flatten().map(u64::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locator(domain_id: u32) -> Locator {
        Locator::shared_memory(HostTag::from_bytes([1; 8]), Incarnation::from_bytes([0xfe; 8]), domain_id)
    }

    #[test]
    fn a_name_is_its_locator() {
        let name = name(&locator(42)).expect("a name");
        assert_eq!(name, "zerodds-shm.42.0101010101010101.fefefefefefefefe");
        assert_eq!(parse(&name), Some(locator(42)));
        assert_eq!(parse("zerodds-shm.42.01.fe"), None);
        assert_eq!(parse("zerodds-shm.-1.0101010101010101.fefefefefefefefe"), None);
        assert_eq!(parse("/run/dbus/system_bus_socket"), None);
    }

    #[test]
    fn only_listening_sockets_of_the_host_are_neighbours() {
        let line = |flags: &str, domain: u32| {
            let name = name(&locator(domain)).expect("a name");
            format!("0000000000000000: 00000002 00000000 {flags} 0005 01 22222 @{name}")
        };
        let host = HostTag::from_bytes([1; 8]);
        let found = Listener { locator: locator(3), inode: 22222 };
        assert_eq!(listener(&line("00010000", 3), host), Some(found));
        assert_eq!(listener(&line("00000000", 3), host), None, "a connection, not a listener");
        assert_eq!(listener(&line("00010000", 3), HostTag::from_bytes([2; 8])), None, "another host");
        assert_eq!(listener("Num RefCount Protocol Flags Type St Inode Path", host), None);
        assert_eq!(listener("", host), None);
    }
}
