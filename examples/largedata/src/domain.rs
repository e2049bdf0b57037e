//! A DDS domain for runs that are not to meet others. Trials, benchmarks and most tests of the workspace that run a DDS include this file,
//! so that none of those meets another. Without it pick, and may meet anybody: documentation tests of `zerodds-rustdds`, by their
//! pid, tests of `zerodds-transport-udp`, which run no DDS, and whoever is told a number.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};

/// Domains above it have no UDP ports (DDSI-RTPS 2.5 §9.6.2.3).
pub(crate) const DOMAIN_MAX: u32 = 232;
const OWN_MAX: u32 = 100;

/// A random domain that no other run of this host has: it is held by name as long as this lives. Where all are taken, or names
/// cannot be held, any. None is 0, which programs have by default, or above 100, whose ports are some that Linux hands out by
/// itself.
#[derive(Debug)]
pub(crate) struct Domain {
    number: u32,
    name: Option<held::Name>,
}

impl Domain {
    /// One that nobody has.
    pub(crate) fn own() -> Self {
        let first = (RandomState::new().hash_one(0) % u64::from(OWN_MAX)) as u32;
        let hold = |number| {
            let name = held::hold(&format!("largedata.domain.{number}")).ok()?;
            Some(Self { number, name: Some(name) })
        };
        let held = (0..OWN_MAX).find_map(|nth| hold(1 + (first + nth) % OWN_MAX));
        held.unwrap_or(Self { number: 1 + first, name: None })
    }

    /// Its number.
    pub(crate) const fn number(&self) -> u32 {
        self.number
    }

    /// Whether it is held, where there are such names: nobody else has it who asks here.
    #[allow(dead_code, reason = "for tests, which may not do without")]
    pub(crate) const fn is_held(&self) -> bool {
        self.name.is_some()
    }
}

/// The number of one that is held until the next is asked for or this process ends.
pub(crate) fn own_domain() -> u32 {
    static HELD: Mutex<Option<Domain>> = Mutex::new(None);
    let domain = Domain::own();
    let number = domain.number();
    *HELD.lock().unwrap_or_else(PoisonError::into_inner) = Some(domain);
    number
}

#[cfg(target_os = "linux")]
mod held {
    use std::io;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener};

    /// Bound to a name that the kernel frees with its owner.
    pub(super) type Name = UnixListener;

    pub(super) fn hold(name: &str) -> io::Result<Name> {
        UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?)
    }
}

#[cfg(not(target_os = "linux"))]
mod held {
    use std::io;

    pub(super) type Name = ();

    pub(super) fn hold(_name: &str) -> io::Result<Name> {
        Ok(())
    }
}
