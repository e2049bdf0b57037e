//! Hostile peers: real processes that hold real links, or nearly, and write what no correct peer writes. Of another
//! user they disturb nobody; of the same user, who could attach a debugger, they hang nobody else.
#![cfg(all(target_os = "linux", not(zerodds_no_shm)))]

mod attacks;
mod rogue;
#[path = "../support/mod.rs"]
mod support;
mod victim;

use support::child::{Process, is_root_or_skip, role};
use support::others::ForOthers;
use support::{Node, fresh_domain, scaled};
use victim::Scene;
use zerodds_core::Transport;

/// Not a test: a child process, when it is one.
#[test]
fn child_process() {
    let Some(words) = role() else { return };
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["victim", domain] => victim::play(domain),
        ["ask", domain] => victim::ask(domain),
        ["rogue", domain, host, id, manner @ ..] => {
            attacks::play(victim::locator(domain, host, id), manner);
        }
        _ => support::roles::play(),
    }
}

/// A copy for other users, if we may be some.
fn others(test: &str) -> Option<ForOthers> {
    is_root_or_skip(test).then(ForOthers::new)
}

/// The victim is what it was before, but for a little memory.
fn unharmed(scene: &mut Scene, before: victim::Status) {
    scene.until("links and descriptors are given back", |now| {
        now.links == before.links && now.descriptors <= before.descriptors + 2
    });
    let now = scene.status();
    assert!(now.resident_kib < before.resident_kib + (64 << 10), "{before:?}, then {now:?}");
    scene.welcomes();
    scene.exchange(20);
    scene.is_idle();
}

fn every_bad_handshake_is_refused(copy: Option<&ForOthers>) {
    let mut scene = Scene::set();
    scene.exchange(10);
    let before = scene.status();
    let rogue = scene.rogue("handshakes", copy);
    let (attacks, rogue) = scene.exchange_while(rogue);
    assert!(attacks > 100);
    let after = scene.until("each is counted", |now| now.refused >= before.refused + attacks);
    assert_eq!(after.refused, before.refused + attacks, "and nothing else is");
    drop(rogue);
    unharmed(&mut scene, before);
}

#[test]
fn f30_every_bad_handshake_of_our_own_user_is_refused_and_counted() {
    every_bad_handshake_is_refused(None);
}

#[test]
fn f30_every_bad_handshake_of_another_user_is_refused_and_counted() {
    let Some(copy) = others("f30_every_bad_handshake_of_another_user_is_refused_and_counted") else { return };
    every_bad_handshake_is_refused(Some(&copy));
}

#[test]
fn f06_every_octet_of_every_header_is_looked_at() {
    let mut scene = Scene::set();
    let before = scene.status();
    let rogue = scene.rogue(&format!("headers {}", scaled(37, 1)), None);
    let (attacks, rogue) = scene.exchange_while(rogue);
    scene.until("each is counted", |now| now.refused == before.refused + attacks);
    drop(rogue);
    unharmed(&mut scene, before);
}

fn words_harm_nobody(copy: Option<&ForOthers>) {
    let mut scene = Scene::set();
    scene.exchange(10);
    let before = scene.status();
    for seed in 0..scaled(3, 60) {
        let rogue = scene.rogue(&format!("words {seed} {}", scaled(60, 500)), copy);
        let (_, rogue) = scene.exchange_while(rogue);
        drop(rogue);
    }
    let after = scene.status();
    assert!(after.protocol_errors > before.protocol_errors, "they were found out, and counted: {after:?}");
    unharmed(&mut scene, before);
}

#[test]
fn f30_whatever_a_peer_of_our_own_user_writes_hangs_nobody() {
    words_harm_nobody(None);
}

#[test]
fn f30_whatever_a_peer_of_another_user_writes_disturbs_nobody() {
    let Some(copy) = others("f30_whatever_a_peer_of_another_user_writes_disturbs_nobody") else { return };
    words_harm_nobody(Some(&copy));
}

#[test]
fn f30_a_reader_can_change_nothing_of_what_it_reads() {
    let Some(copy) = others("f30_a_reader_can_change_nothing_of_what_it_reads") else { return };
    for copy in [None, Some(&copy)] {
        let mut scene = Scene::set();
        let rogue = scene.rogue("ring", copy);
        let (attempts, _rogue) = scene.exchange_while(rogue);
        assert_eq!(attempts, 7);
    }
}

#[test]
fn f29_a_user_who_is_not_admitted_gets_no_descriptor_and_is_counted() {
    let Some(copy) = others("f29_a_user_who_is_not_admitted_gets_no_descriptor_and_is_counted") else {
        return;
    };
    let node = Node::open(fresh_domain());
    let at = node.locator();
    let (host, id) = (at.host_tag().expect("shm"), at.incarnation().expect("shm"));
    let mut rogue = copy.start(&format!("rogue {} {host} {id} knock", at.port()), victim::OTHER_USER);
    assert_eq!(rogue.hear(), "done 100");
    assert_eq!(node.transport.counters().refused, 100);
}

#[test]
fn f29_a_user_who_is_not_admitted_is_told_so() {
    let Some(copy) = others("f29_a_user_who_is_not_admitted_is_told_so") else { return };
    let node = Node::open(fresh_domain());
    for _ in 0..20 {
        let mut stranger = copy.start(&format!("ask {}", node.locator().port()), victim::OTHER_USER);
        assert_eq!(stranger.hear(), "RefusedByPeer");
    }
}

#[test]
fn thousands_of_connections_of_another_user_leave_room_for_all_others() {
    let Some(copy) = others("thousands_of_connections_of_another_user_leave_room_for_all_others") else {
        return;
    };
    let mut scene = Scene::set();
    let before = scene.status();
    let rogue = scene.rogue("crowd 2000", Some(&copy));
    let (_, rogue) = scene.exchange_while(rogue);
    // While the crowd is there.
    let during = scene.status();
    assert!(during.descriptors < before.descriptors + 3 * 64 + 16, "64 of one user: {during:?}");
    assert!(
        during.refused >= before.refused + 2000 - 64 - 128,
        "the others are refused, and counted: {during:?}"
    );
    scene.welcomes();
    scene.exchange(20);
    drop(rogue);
    unharmed(&mut scene, before);
}

#[test]
fn half_a_handshake_is_given_up_by_itself_and_those_after_it_have_their_turn() {
    let mut scene = Scene::set();
    let before = scene.status();
    let rogue = scene.rogue("crowd 300", None);
    let (_, rogue) = scene.exchange_while(rogue);
    // It stays; its handshakes do not.
    scene.until("128 handshakes are given up", |now| now.refused >= before.refused + 128);
    scene.welcomes();
    scene.exchange(20);
    scene.is_idle();
    drop(rogue);
    unharmed(&mut scene, before);
}

fn goes_on_beside(attack: &str, copy: Option<&ForOthers>) {
    let mut scene = Scene::set();
    let before = scene.status();
    let rogue: Process = scene.rogue(attack, copy);
    let (_, rogue) = scene.exchange_while(rogue);
    for _ in 0..scaled(5, 50) {
        scene.exchange(20);
        scene.welcomes();
    }
    drop(rogue);
    unharmed(&mut scene, before);
}

#[test]
fn f05_a_hostile_writer_that_keeps_advancing_keeps_nobody_in_a_loop() {
    let Some(copy) = others("f05_a_hostile_writer_that_keeps_advancing_keeps_nobody_in_a_loop") else {
        return;
    };
    goes_on_beside("advance", None);
    goes_on_beside("advance", Some(&copy));
}

#[test]
fn a_peer_that_says_goodbye_and_goes_on_sending_holds_up_nobody() {
    let Some(copy) = others("a_peer_that_says_goodbye_and_goes_on_sending_holds_up_nobody") else { return };
    goes_on_beside("drain", None);
    goes_on_beside("drain", Some(&copy));
}

#[test]
fn f30_descriptors_that_cannot_be_closed_at_once_hold_up_nobody() {
    let Some(copy) = others("f30_descriptors_that_cannot_be_closed_at_once_hold_up_nobody") else { return };
    for copy in [None, Some(&copy)] {
        let mut scene = Scene::set();
        let rogue = scene.rogue("linger", copy);
        let (_, rogue) = scene.exchange_while(rogue);
        for _ in 0..5 {
            scene.welcomes();
            scene.exchange(20);
        }
        scene.is_idle();
        drop(rogue);
        scene.welcomes();
    }
}
