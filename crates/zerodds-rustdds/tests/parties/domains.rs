//! Domains that only one test has, since tests count who is there and what a process has.
#![allow(dead_code, reason = "every test binary uses a part of it")]

#[path = "../../../../examples/largedata/src/domain.rs"]
mod domain;

pub(crate) use domain::Domain;
use std::sync::{LazyLock, Mutex};

/// One for as long as this process lives.
pub(crate) fn fresh_domain() -> u16 {
    static HELD: Mutex<Vec<Domain>> = Mutex::new(Vec::new());
    let domain = held();
    let number = domain.number() as u16;
    HELD.lock().expect("no panic under it").push(domain);
    number
}

/// The one that most tests of this process share.
pub(crate) fn domain() -> u16 {
    static SHARED: LazyLock<Domain> = LazyLock::new(held);
    SHARED.number() as u16
}

fn held() -> Domain {
    let domain = Domain::own();
    assert!(domain.is_held(), "no domain that nobody has");
    domain
}
