//! What the tests of single files share: domains of their own, bounds against hanging, links.

use crate::{Config, ShmTransport};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use zerodds_core::{Locator, Peer, Reach, Transport};

/// A bound against hanging; no test passes or fails by it otherwise.
pub(crate) fn far() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// Waits until this holds; `what` it is, where it does not come about.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let until = far();
    while !holds() {
        assert!(Instant::now() < until, "this did not come about: {what}");
        std::thread::yield_now();
    }
}

/// A DDS domain that no other test uses at the same time: domains of the transport may have any number.
pub(crate) fn fresh_domain() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Process ids are below 2^22; each process counts its own tests.
    (std::process::id() << 9) | (NEXT.fetch_add(1, Ordering::Relaxed) & 0x1ff)
}

/// Waits for a link by which the first can send to the second, whose locator this is.
pub(crate) fn link(from: &ShmTransport, to: &ShmTransport) -> Locator {
    let to = to.locators()[0];
    until("a link", || matches!(from.reach(Peer::new(&[to])), Reach::Ready(_)));
    to
}

/// Two transports of a domain of their own, with such a link.
pub(crate) fn linked(config: &Config) -> [ShmTransport; 2] {
    let domain = fresh_domain();
    let pair = [(); 2].map(|()| ShmTransport::open(domain, config));
    link(&pair[0], &pair[1]);
    pair
}
