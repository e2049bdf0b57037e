//! Hostile peers: real processes that hold real links, or nearly, and write what no correct peer writes. Of another
//! user they disturb nobody; of the same user, who could attach a debugger, they hang nobody else.
#![cfg(all(target_os = "linux", target_pointer_width = "64", not(zerodds_no_shm)))]

mod attacks;
mod lingering;
mod rogue;
#[path = "../support/mod.rs"]
mod support;
mod victim;

use rogue::Target;
use std::os::fd::AsFd;
use support::child::{Process, is_root_or_skip, role};
use support::others::ForOthers;
use support::{Node, fresh_domain, scaled};
use victim::Scene;
use zerodds_core::{Peer, Reach, Transport};

/// Not a test: a child process, when it is one.
#[test]
fn child_process() {
    let Some(words) = role() else { return };
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["victim", manner @ .., domain] => victim::play(domain, manner.first().unwrap_or(&"")),
        ["caller", domain] => victim::play_caller(domain),
        ["deaf", domain] => victim::play_deaf(domain),
        ["ask", domain] => victim::ask(domain),
        ["rogue", domain, host, id, "attempt"] => victim::attempt(victim::locator(domain, host, id)),
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
        // Root opens it anew, and tries all that on a file that is open for writing, too.
        assert_eq!(attempts, if copy.is_none() { 12 } else { 6 });
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

/// A place for a handshake is had by whoever has fewer of them, so no crowd of users keeps the others out.
#[test]
fn places_that_other_users_take_and_never_use_are_there_for_whoever_comes() {
    let Some(copy) = others("places_that_other_users_take_and_never_use_are_there_for_whoever_comes") else {
        return;
    };
    let mut scene = Scene::set();
    let before = scene.status();
    let role = scene.role("occupy");
    let mut rogues: Vec<Process> = (1..=3).map(|uid| copy.start(&role, victim::OTHER_USER + uid)).collect();
    rogues.iter_mut().for_each(|rogue| assert_eq!(rogue.hear(), "done 64"));
    scene.until("every place is taken", |now| now.descriptors >= before.descriptors + 128);
    for round in 0..10 {
        assert_eq!(scene.welcomes_at_once(), Ok(()), "our own user, round {round}");
        let mut honest = copy.start(&scene.role("attempt"), victim::OTHER_USER);
        assert_eq!(honest.hear(), "linked", "another user, round {round}");
        scene.exchange(4);
    }
    drop(rogues);
    unharmed(&mut scene, before);
}

/// Of who has shaken hands messages are under way, though the victim has not read the last step yet.
#[test]
fn a_place_is_not_taken_from_who_has_shaken_hands_already() {
    let Some(copy) = others("a_place_is_not_taken_from_who_has_shaken_hands_already") else { return };
    let mut scene = Scene::set();
    let before = scene.status();
    let mut overdue = copy.start(&scene.role("overdue"), victim::OTHER_USER + 1);
    let mut others = copy.start(&scene.role("queue 63"), victim::OTHER_USER + 2);
    let _ours = scene.target(1).call().expect("a place");
    assert_eq!((overdue.hear(), others.hear()), ("done 64".into(), "done 63".into()));
    // With the ring of who has shaken hands.
    scene.until("every place is taken", |now| now.descriptors > before.descriptors + 128);
    scene.victim.stop();
    // Accepted first.
    let newcomer = scene.target(2).call().expect("a place");
    overdue.tell("go on");
    assert_eq!(overdue.hear(), "done 0");
    scene.victim.resume();
    overdue.tell("go on");
    assert_eq!(overdue.hear(), rogue::WAKE.to_string(), "its message is taken, and it is not refused");
    newcomer.say(&scene.target(2).frame(rogue::HELLO), &[]);
    assert_eq!(newcomer.hear().map(|(frame, _)| rogue::kind(&frame)), Some(rogue::WELCOME));
    drop((overdue, others, newcomer));
    unharmed(&mut scene, before);
}

/// The last step of its handshake is what the victim has not read, nor can it know that it is under way.
#[test]
fn whoever_may_have_the_link_is_left_in_order_and_what_it_sent_is_received() {
    for closes in [true, false] {
        let mut node = Node::open(fresh_domain());
        let early = Target::new(node.locator(), 1).attach_but_for_done(|_| {}).expect("admitted");
        early.publish(0, 0, 65, 100, u32::MAX);
        if closes {
            node.transport.close();
        }
        // Otherwise as soon as its time is over.
        let said = early.call.hear().expect("it is told");
        assert_eq!((rogue::kind(&said.0), said.0[20]), (rogue::BYE, if closes { 0 } else { 1 }));
        assert_eq!(node.next_message().len(), 100);
        let (_, _why) = node.until_down_why(early.target.own);
        assert_ne!(early.read_u64(rogue::END), 0, "nothing more is taken, and that can be seen");
    }
}

/// A peer that cannot ring says WAKE for each message and for all that it gives back; its BYE comes behind them.
#[test]
fn whoever_said_goodbye_behind_many_wakes_and_comes_again_is_welcome() {
    let scene = Scene::set();
    let old = scene.target(1).attach(|_| {}).expect("admitted");
    let _mouth = old.mouth();
    scene.victim.stop();
    let (wake, bye) = (scene.target(1).frame(rogue::WAKE), scene.target(1).frame(rogue::BYE));
    assert!((0..100).all(|_| old.call.say(&wake, &[])) && old.call.say(&bye, &[]), "the socket holds them");
    let new = scene.target(1).call().expect("a place");
    new.say(&scene.target(1).frame(rogue::HELLO), &[]);
    scene.victim.resume();
    let answer = new.hear().map(|(frame, _)| rogue::kind(&frame));
    assert_eq!(answer, Some(rogue::WELCOME));
}

/// Both ways in: the victim's own connection fails, and that which took the place of it.
#[test]
fn a_handshake_that_fails_is_tried_again_though_the_peer_still_reads_of_the_link_before() {
    for takes_its_place in [false, true] {
        let node = Node::open(fresh_domain());
        // Of two that connect at once the connection of the smaller name is kept.
        let target = Target::new(node.locator(), if takes_its_place { 1 } else { u64::MAX });
        let ear = target.listen();
        let old = target.attach(|_| {}).expect("admitted");
        let reach = || node.transport.reach(Peer::new(&[target.own]));
        support::until("the link is up", || matches!(reach(), Reach::Ready(_)));
        assert!(old.call.say(&target.frame(rogue::BYE), &[]));
        support::until("it is over", || !matches!(reach(), Reach::Ready(_)));
        let mut theirs = None;
        let mut is_called = || {
            let _ = reach();
            theirs = ear.accept();
            theirs.is_some()
        };
        support::until("the victim calls", &mut is_called);
        if takes_its_place {
            let ours = target.call().expect("a place");
            assert!(ours.say(&target.frame(rogue::HELLO), &[]));
            assert_eq!(ours.hear().map(|(frame, _)| rogue::kind(&frame)), Some(rogue::WELCOME));
        }
        // Which hangs up.
        support::until("it calls again", is_called);
        drop(old);
    }
}

#[test]
fn a_message_of_another_user_that_is_longer_than_our_own_may_be_is_refused_before_it_takes_memory() {
    let test =
        "a_message_of_another_user_that_is_longer_than_our_own_may_be_is_refused_before_it_takes_memory";
    let Some(copy) = others(test) else { return };
    let mut scene = Scene::set();
    scene.exchange(8);
    let before = scene.status();
    let rogue = scene.rogue("bulk", Some(&copy));
    let (attacks, rogue) = scene.exchange_while(rogue);
    let after = scene.until("each is counted", |now| now.protocol_errors == before.protocol_errors + attacks);
    assert!(after.peak_kib < before.peak_kib + (32 << 10), "{before:?}, then {after:?}");
    drop(rogue);
    unharmed(&mut scene, before);
}

#[test]
fn descriptors_that_nobody_asked_for_end_the_link_that_they_come_by() {
    let test = "descriptors_that_nobody_asked_for_end_the_link_that_they_come_by";
    let Some(copy) = others(test) else { return };
    let mut scene = Scene::set();
    scene.exchange(8);
    let before = scene.status();
    let rogue = scene.rogue("gifts", Some(&copy));
    let (attacks, rogue) = scene.exchange_while(rogue);
    scene.until("each is counted", |now| now.protocol_errors == before.protocol_errors + attacks);
    drop(rogue);
    unharmed(&mut scene, before);
}

#[test]
fn an_application_that_never_receives_keeps_a_bounded_number_of_links_that_are_over() {
    let Some(copy) =
        others("an_application_that_never_receives_keeps_a_bounded_number_of_links_that_are_over")
    else {
        return;
    };
    let (mut deaf, at) = victim::deaf();
    let before = victim::ask_deaf(&mut deaf, "status");
    let role = |count: usize| victim::role_against(at, &format!("come-and-go {count}"));
    let mut rogues = [Process::start(&role(500), &[]), copy.start(&role(200), victim::OTHER_USER)];
    let published = |rogue: &mut Process| {
        let said = rogue.hear();
        said.strip_prefix("done ").and_then(|count| count.parse::<u64>().ok()).expect("done")
    };
    let published: u64 = rogues.iter_mut().map(published).sum();
    assert!(published > 500, "{published} links were made");
    drop(rogues);
    let after = victim::ask_deaf_until(&mut deaf, "status", |now| now.links == 0);
    // Sockets and doorbells of those that came last.
    assert!(after.descriptors < before.descriptors + 2 * (256 + 32) + 16, "{before:?}, then {after:?}");
    // What it has not lost, and in the end seen counted, is there once it receives.
    let heard =
        victim::ask_deaf_until(&mut deaf, "receive", |heard| heard.messages + heard.lost == published);
    assert!(heard.messages >= 64, "{heard:?} of {published}");
    let late = Node::open(at.port());
    late.link_to(at);
    // Sockets are closed elsewhere.
    victim::ask_deaf_until(&mut deaf, "receive", |now| now.descriptors <= before.descriptors + 8);
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

/// Who sends to a peer that sleeps in poll wakes it by a socket that all peers of its user have. One of them makes that blocking
/// and fills it, while the peer is stopped.
#[test]
fn f30_a_bell_that_a_peer_makes_blocking_and_fills_stops_nobody_who_rings_it() {
    for manner in ["victim events", "victim beside"] {
        let mut scene = Scene::with(manner);
        scene.exchange(1);
        let mut caller = Process::start(&format!("caller {}", scene.at.port()), &[]);
        assert_eq!(caller.hear(), "ready");
        let rogue = scene.rogue("stuff", None);
        let (_, mut rogue) = scene.exchange_while(rogue);
        scene.is_idle();
        scene.victim.stop();
        rogue.tell("go on");
        assert_eq!(rogue.hear(), "tried");
        caller.tell("go on");
        let caller = within_patience(move || {
            assert_eq!(caller.hear(), "sent", "to all its neighbours, the stopped one among them");
            caller
        });
        scene.victim.resume();
        scene.exchange(200);
        drop((rogue, caller));
        scene.exchange(20);
        scene.is_idle();
    }
}

#[test]
fn f30_a_bell_that_a_peer_shuts_rings_on_for_everybody() {
    for manner in ["victim events", "victim beside"] {
        for how in ["reading", "writing", "both"] {
            let mut scene = Scene::with(manner);
            let before = scene.status();
            let rogue = scene.rogue(&format!("shut {how}"), None);
            let (_, rogue) = scene.exchange_while(rogue);
            scene.exchange(200);
            scene.is_idle();
            drop(rogue);
            unharmed(&mut scene, before);
        }
    }
}

#[test]
fn f30_what_wakes_a_peer_in_poll_is_given_once_however_often_it_is_asked_for() {
    let mut scene = Scene::set();
    scene.exchange(1);
    let before = scene.status();
    let rogue = scene.rogue("beg", None);
    drop(scene.exchange_while(rogue));
    unharmed(&mut scene, before);
}

#[test]
fn f30_descriptors_that_come_through_a_bell_and_cannot_be_closed_at_once_hold_up_nobody() {
    for manner in ["victim events", "victim beside"] {
        let mut scene = Scene::with(manner);
        let rogue = scene.rogue("enclose", None);
        let (_, rogue) = scene.exchange_while(rogue);
        scene.exchange(200);
        scene.welcomes();
        scene.is_idle();
        drop(rogue);
    }
}

/// What this comes to, on a thread of its own that may hang.
fn within_patience<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, outcome) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(work()));
    outcome.recv_timeout(support::PATIENCE).expect("it comes to an end")
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

/// Sixteen threads that hang, and what waits behind them: our own attempts to reach somebody add nothing, and peers a bounded number.
#[test]
fn f30_what_cannot_be_closed_keeps_a_bounded_number_of_descriptors() {
    let Some(copy) = others("f30_what_cannot_be_closed_keeps_a_bounded_number_of_descriptors") else {
        return;
    };
    let mut scene = Scene::set();
    let before = scene.status();
    let mut rogue = scene.rogue("clog", Some(&copy));
    assert_eq!(rogue.hear(), "there");
    let crowded = scene.status();
    scene.victim.stop();
    rogue.tell("go on");
    assert_eq!(rogue.hear(), "sent");
    scene.victim.resume();
    assert_eq!(rogue.hear(), "refused");
    scene.reach_nobody(300);
    let now = scene.status();
    // Each lingering socket, and that by which it came.
    assert!(now.descriptors < crowded.descriptors + 2 * 16 + 8, "{crowded:?}, then {now:?}");
    rogue.tell("go on");
    let (_, rogue) = scene.exchange_while(rogue);
    let why = scene.reach_nobody(300);
    assert!(why.contains("cannot be closed"), "{why}");
    let now = scene.status();
    assert!(now.descriptors < crowded.descriptors + 16 + 64 + 2 * 16, "{crowded:?}, then {now:?}");
    scene.exchange(20);
    scene.is_idle();
    drop(rogue);
    unharmed(&mut scene, before);
}

/// Of root threads are not counted.
#[test]
fn f30_where_there_is_no_thread_to_close_what_others_sent_it_waits_and_nobody_else_does() {
    let test = "f30_where_there_is_no_thread_to_close_what_others_sent_it_waits_and_nobody_else_does";
    let Some(copy) = others(test) else { return };
    let (mut deaf, at) = victim::deaf_as(|role| copy.start(role, victim::OTHER_USER + 4));
    let before = victim::ask_deaf(&mut deaf, "do without threads");
    let mut hosts = lingering::Lingering::new();
    for name in 1..4 {
        let target = Target::new(at, name);
        let call = target.call().expect("it listens");
        assert!(call.say(&target.frame(0), &[hosts.next().as_fd()]));
        assert!(call.refusal().is_some());
    }
    let target = Target::new(at, 4);
    let call = target.call().expect("it listens");
    call.say(&target.frame(rogue::HELLO), &[]);
    assert_eq!(call.hear().map(|(frame, _)| rogue::kind(&frame)), Some(rogue::WELCOME));
    drop(call);
    let now = victim::ask_deaf(&mut deaf, "status");
    assert!(now.descriptors >= before.descriptors + 3, "they wait: {before:?}, then {now:?}");
    // By itself: nobody comes or goes.
    victim::ask_deaf(&mut deaf, "have threads");
    victim::ask_deaf_until(&mut deaf, "status", |now| now.descriptors <= before.descriptors);
}

#[test]
fn whoever_breaks_one_link_after_another_is_counted_and_does_not_fill_the_log() {
    const LINKS: u64 = 40;
    let mut node = Node::open(fresh_domain());
    let everywhere = support::warnings::everywhere();
    let mut names = Vec::new();
    let here = support::warnings::count(|| {
        for name in 1..=LINKS {
            let broken = Target::new(node.locator(), name).attach(|_| {}).expect("admitted");
            // Nothing of its ring is there.
            broken.publish(0, 0, u32::MAX, 1 << 20, u32::MAX);
            let _ = node.until_down_why(broken.target.own);
            names.push(broken.target.own.to_string());
        }
    });
    assert_eq!(node.transport.counters().protocol_errors, LINKS);
    assert_eq!(here, 0, "whoever receives may hold what a subscriber waits for");
    // What the control thread was to say by then it has said.
    node.transport.close();
    let said = everywhere.lock().expect("nobody panics with it");
    let of_these = said.iter().filter(|text| names.iter().any(|name| text.contains(name)));
    let warned = of_these.count() as u64;
    assert!((1..=LINKS / 2).contains(&warned), "{warned} warnings: {said:?}");
}
