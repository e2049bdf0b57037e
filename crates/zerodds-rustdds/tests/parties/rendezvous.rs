//! Where sessions listen, for tests that listen there as a session does, and answer nobody.
#![allow(dead_code, reason = "every test binary uses a part of it")]

use crate::parties::{Party, eventually, prefix};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use std::os::fd::OwnedFd;

/// The name at which the session of this party listens, with a place for the incarnation.
pub(crate) fn name_like_that_of(party: &Party) -> String {
    let own = incarnation(prefix(party));
    let sockets = std::fs::read_to_string("/proc/net/unix").expect("sockets");
    let name = sockets.split_whitespace().find(|word| word.starts_with('@') && word.contains(&own));
    name.expect("it listens").trim_start_matches('@').replace(&own, PLACE)
}

/// Listens as the session of this participant would.
pub(crate) fn listen_mutely(name: &str, participant: [u8; 12]) -> OwnedFd {
    let name = name.replace(PLACE, &incarnation(participant));
    let address = SocketAddrUnix::new_abstract_name(name.as_bytes()).expect("short enough");
    let (family, flags) = (AddressFamily::UNIX, SocketFlags::NONBLOCK);
    let listener = socket_with(family, SocketType::SEQPACKET, flags, None).expect("a socket");
    bind(&listener, &address).expect("nobody has it");
    listen(&listener, 16).expect("it listens");
    listener
}

/// The next connection there.
pub(crate) fn next_connection(listener: &OwnedFd) -> OwnedFd {
    let mut connection = None;
    eventually("somebody connects", || {
        connection = rustix::net::accept(listener).ok();
        connection.is_some()
    });
    connection.expect("accepted")
}

fn incarnation(prefix: [u8; 12]) -> String {
    prefix[4..].iter().map(|byte| format!("{byte:02x}")).collect()
}

const PLACE: &str = "{}";
