//! What the tests of single files share: domains of their own, bounds against hanging, links, processes and processors of their own.

use crate::{Config, ShmTransport};
use rustix::thread::CpuSet;
use std::process::Command;
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

/// Whether this process runs the test of this name alone, and so may change what is the whole process's. Otherwise one was started that does,
/// and it has passed.
pub(crate) fn is_alone(test: &str) -> bool {
    is_alone_by(Command::new(this_program()), test)
}

/// The same, by a command that starts this program with the arguments that are added.
pub(crate) fn is_alone_by(mut command: Command, test: &str) -> bool {
    const ALONE: &str = "ZERODDS_TEST_IS_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let output = command.args(["--exact", test, "--nocapture"]).env(ALONE, "").output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    print!("{said}");
    let has_passed = output.status.success() && said.contains("1 passed");
    assert!(has_passed, "{}", String::from_utf8_lossy(&output.stderr));
    false
}

pub(crate) fn this_program() -> std::path::PathBuf {
    std::env::current_exe().expect("a test binary")
}

/// What comes of this on a thread that stays on one processor, by that one's number.
pub(crate) fn on_one_processor<T: Send + 'static>(act: impl FnOnce(u32) -> T + Send + 'static) -> T {
    let here = rustix::thread::sched_getcpu();
    let mut cores = CpuSet::new();
    cores.set(here);
    let thread = std::thread::spawn(move || {
        rustix::thread::sched_setaffinity(None, &cores).expect("a core that we run on");
        act(here as u32)
    });
    thread.join().expect("no panic")
}
