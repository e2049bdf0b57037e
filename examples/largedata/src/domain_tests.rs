//! Domains of one's own: held by a name, and by one only. Apart from `domain.rs`, which other programs include.

use crate::domain::{Domain, own_domain};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

#[test]
fn a_domain_that_is_held_is_given_to_nobody_else() {
    let domains = [Domain::own(), Domain::own(), Domain::own()];
    for domain in &domains {
        assert!((1..=100).contains(&domain.number()) && domain.is_held());
        let name = SocketAddr::from_abstract_name(format!("largedata.domain.{}", domain.number()));
        assert!(UnixListener::bind_addr(&name.expect("a short name")).is_err());
    }
    let mut numbers = domains.each_ref().map(Domain::number).to_vec();
    numbers.push(own_domain());
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 4);
}
