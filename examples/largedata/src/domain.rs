//! A DDS domain for runs that are not to meet others.

use crate::random::Random;
use std::sync::{Mutex, PoisonError};

/// Domains above it have no UDP ports (DDSI-RTPS 2.5 §9.6.2.3).
pub(crate) const DOMAIN_MAX: u32 = 232;
const OWN_MAX: u32 = 100;

/// A random domain that no other run of this host has: it is held by name until the next is asked for or this
/// process ends. Where all are taken, or names cannot be held, any. None is 0, which programs have by default, or above 100, whose ports
/// are some that Linux hands out by itself.
pub(crate) fn own_domain() -> u32 {
    static HELD: Mutex<Option<held::Name>> = Mutex::new(None);
    let mut random = Random::of_this_process();
    let mut domain = 0;
    for _ in 0..10 * OWN_MAX {
        domain = 1 + (random.next() % u64::from(OWN_MAX)) as u32;
        if let Ok(name) = held::hold(&format!("largedata.domain.{domain}")) {
            *HELD.lock().unwrap_or_else(PoisonError::into_inner) = Some(name);
            break;
        }
    }
    domain
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_that_is_held_is_given_to_nobody_else() {
        let domain = own_domain();
        assert!((1..=OWN_MAX).contains(&domain));
        assert!(held::hold(&format!("largedata.domain.{domain}")).is_err());
        assert_ne!(own_domain(), domain);
    }
}
