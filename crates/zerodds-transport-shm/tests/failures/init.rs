//! Starting: alone, at once, in any order, under load.

use crate::support::child::{Process, hear, tell};
use crate::support::{Node, fresh_domain};
use zerodds_core::{Incarnation, Transport};
use zerodds_transport_shm::{Config, ShmTransport};

/// Plays the roles of this module.
pub(crate) fn play(words: &[&str]) -> bool {
    match words {
        ["hold", domain] => hold(domain.parse().expect("a domain")),
        _ => return false,
    }
    true
}

/// The one name that all want.
const WANTED: Incarnation = Incarnation::from_bytes([0x11; 8]);

/// Opens under the name that others want too, tells what came of it, and keeps it.
fn hold(domain: u32) {
    let transport = ShmTransport::open_as(domain, WANTED, &Config::default());
    match transport.availability() {
        Ok(()) => tell("held"),
        Err(why) => tell(why),
    }
    hear();
}

/// There is no lock to time out and no file to steal: the name of a listening socket is what one can own, and the kernel
/// gives it to one process until that process ends.
#[test]
fn f01_a_name_is_never_stolen_from_a_holder_that_is_stopped() {
    let domain = fresh_domain();
    let role = format!("hold {domain}");
    let mut holder = Process::start(&role, &[]);
    assert_eq!(holder.hear(), "held");
    holder.stop();
    let mut starters: Vec<Process> = (0..50).map(|_| Process::start(&role, &[])).collect();
    for starter in &mut starters {
        let said = starter.hear();
        assert!(said.contains("already"), "an error that says who, not {said:?}");
    }
    drop(starters);
    // It still has it when it goes on, and somebody else once it is dead.
    holder.resume();
    let mut late = Process::start(&role, &[]);
    assert_ne!(late.hear(), "held");
    holder.kill();
    let node = Node::of(ShmTransport::open_as(domain, WANTED, &Config::default()));
    assert_eq!(node.transport.locators().len(), 1);
}
