//! Domains that only one test has, since tests count who is there and what a process has.
#![allow(dead_code, reason = "every test binary uses a part of it")]

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::{LazyLock, Mutex};

/// A domain that nobody else has who asks here, in any process of this host, as long as this lives: it is held by a name that the kernel
/// frees with its owner. Its ports lie below those that Linux hands out by itself.
pub(crate) struct Domain {
    pub(crate) id: u16,
    _name: UnixListener,
}

impl Domain {
    pub(crate) fn fresh() -> Self {
        let first = (std::process::id() % 100) as u16;
        let hold = |id: u16| {
            let name = SocketAddr::from_abstract_name(format!("largedata.domain.{id}")).ok()?;
            Some(Self { id, _name: UnixListener::bind_addr(&name).ok()? })
        };
        (0..100).find_map(|nth| hold(1 + (first + nth) % 100)).expect("a domain that nobody has")
    }
}

/// One for as long as this process lives.
pub(crate) fn fresh_domain() -> u16 {
    static HELD: Mutex<Vec<Domain>> = Mutex::new(Vec::new());
    let domain = Domain::fresh();
    let id = domain.id;
    HELD.lock().expect("no panic under it").push(domain);
    id
}

/// The one that most tests of this process share.
pub(crate) fn domain() -> u16 {
    static SHARED: LazyLock<Domain> = LazyLock::new(Domain::fresh);
    SHARED.id
}
