//! What the control thread does where descriptors are short.

use super::*;
use crate::testing::{fresh_domain, is_alone};
use crate::{Config, ShmTransport};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use zerodds_core::{Incarnation, Peer, Transport};

/// Has a link come up while no descriptor is to be had. Not if the last frame of the handshake comes right behind the one with descriptors.
fn links_without_descriptors(worker: &mut Worker, peer: &ShmTransport) -> bool {
    let _ = peer.reach(Peer::new(&[worker.shared.locator]));
    let mut is_short = false;
    while !worker.connections.values().any(Connection::is_up) {
        if !is_short && worker.connections.values().any(Connection::may_be_up) {
            let none = Rlimit { current: Some(0), ..getrlimit(Resource::Nofile) };
            setrlimit(Resource::Nofile, none).expect("less");
            is_short = true;
        }
        assert!(worker.round(&mut Vec::with_capacity(64)));
    }
    is_short
}

fn watched(worker: &Worker) -> usize {
    worker.connections.values().flat_map(Connection::watched).count()
}

#[test]
fn a_process_that_could_not_be_watched_for_want_of_a_descriptor_is_watched_once_there_is_one() {
    const TEST: &str = "control::tests::a_process_that_could_not_be_watched_for_want_of_a_descriptor_is_watched_once_there_is_one";
    if !is_alone(TEST) {
        return;
    }
    let (ours, _other) = std::os::unix::net::UnixStream::pair().expect("a pair");
    if peer_pidfd(ours.as_fd()).is_err() {
        return println!("SKIPPED: SO_PEERPIDFD is Linux 6.5 and later");
    }
    let domain = fresh_domain();
    let shared = Shared::create(domain, Incarnation::from_bytes([0x22; 8]), Config::default());
    let mut worker = Worker::listen(Arc::new(shared.expect("shared memory"))).expect("a free name");
    let enough = getrlimit(Resource::Nofile);
    let _peer = loop {
        let peer = ShmTransport::open(domain, &Config::default());
        if links_without_descriptors(&mut worker, &peer) {
            break peer;
        }
        drop(peer);
        while !worker.connections.is_empty() {
            assert!(worker.round(&mut Vec::with_capacity(64)));
        }
    };
    assert_eq!((watched(&worker), worker.unwatched.len()), (1, 1), "its socket");
    let next = worker.next_deadline();
    assert!(next.is_some() && next <= worker.unwatched_until, "the thread does not sleep over it");
    worker.unwatched_until = Some(Instant::now());
    worker.deadlines();
    assert_eq!(worker.unwatched.len(), 1, "there is none yet");
    setrlimit(Resource::Nofile, enough).expect("as it was");
    worker.unwatched_until = Some(Instant::now() + Duration::from_secs(3600));
    worker.deadlines();
    assert_eq!(worker.unwatched.len(), 1, "what wakes the thread meanwhile has it asked for nothing");
    worker.unwatched_until = Some(Instant::now());
    assert!(worker.round(&mut Vec::with_capacity(64)));
    assert_eq!((watched(&worker), worker.unwatched.len()), (2, 0), "and its process");
}
