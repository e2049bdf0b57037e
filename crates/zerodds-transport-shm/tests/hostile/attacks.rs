//! What rogues do. Each says `done N`: how many of its attacks the victim must have counted.

use super::lingering;
use super::rogue::{
    ATTACH, Attach, BELL_LEN, BYE, Call, DONE, FIXED, HELLO, LINK_LEN, MAGIC, MOUTH, READ_ONLY, READY,
    RING_LEN, Rogue, SLOTS, Target, WAKE, WELCOME, memfd, stream_pair,
};
use crate::support::child::{hear, tell};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::SealFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use zerodds_core::Locator;

/// Attacks as told.
pub(crate) fn play(victim: Locator, manner: &[&str]) {
    match manner {
        ["handshakes"] => done(handshakes(victim)),
        ["headers", step] => done(headers(victim, step.parse().expect("a number"))),
        ["words", seed, links] => {
            words(victim, seed.parse().expect("a seed"), links.parse().expect("a number"));
        }
        ["crowd", size] => crowd(victim, size.parse().expect("a number")),
        ["bulk"] => bulk(victim),
        ["gifts"] => gifts(victim),
        ["beg"] => beg(victim),
        ["occupy"] => occupy(victim),
        ["queue", places] => queue(victim, places.parse().expect("a number")),
        ["overdue"] => overdue(victim),
        ["come-and-go", times] => come_and_go(victim, times.parse().expect("a number")),
        ["advance"] => advance(victim),
        ["drain"] => drain(victim),
        ["ring"] => ring(victim),
        ["knock"] => knock(victim),
        ["linger"] => lingering::linger(victim),
        ["clog"] => lingering::clog(victim),
        ["stuff"] => stuff(victim),
        ["shut", how] => shut(victim, how),
        ["enclose"] => lingering::enclose(victim),
        other => panic!("no such attack: {other:?}"),
    }
}

pub(crate) fn done(count: u64) {
    tell(format_args!("done {count}"));
    hear();
}

/// Every way in which a handshake can go wrong, once.
fn handshakes(victim: Locator) -> u64 {
    let mut random = Random(1);
    let mut count = 0;
    let mut refused = |call: Option<Call>| {
        let call = call.expect("the victim listens");
        call.refusal();
        count += 1;
    };
    // Instead of a HELLO: anything.
    for len in (1..=80).chain([100, 128]) {
        let target = fresh(victim, &mut random);
        let call = target.call();
        let mut bytes: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
        if len % 2 == 0 {
            bytes.splice(..8.min(len), MAGIC[..8.min(len)].iter().copied());
        }
        call.iter().for_each(|call| assert!(call.say(&bytes, &[])));
        refused(call);
    }
    // Every word of a HELLO, with something else in it; other kinds of frames in its place.
    for (at, word) in [(0, 0), (8, 1), (8, 4), (12, 0), (16, 0), (16, 10), (20, 1), (24, 1), (28, 1), (32, 1)]
        .into_iter()
        .chain([READY, ATTACH, DONE, WAKE, MOUTH].map(|kind| (16, kind)))
    {
        let target = fresh(victim, &mut random);
        let call = target.call();
        let mut frame = target.frame(HELLO);
        frame[at..at + 4].copy_from_slice(&u32::to_le_bytes(word));
        call.iter().for_each(|call| assert!(call.say(&frame, &[])));
        refused(call);
    }
    // In the victim's own name.
    let itself = Target { own: victim, ..fresh(victim, &mut random) };
    let call = itself.call();
    call.iter().for_each(|call| assert!(call.say(&itself.frame(HELLO), &[])));
    refused(call);
    // Descriptors where none belong, more than there may be, and of every kind.
    for fds in 1..=16 {
        let target = fresh(victim, &mut random);
        let call = target.call();
        let null: Vec<OwnedFd> = (0..fds).map(|_| null()).collect();
        let null: Vec<_> = null.iter().map(AsFd::as_fd).collect();
        let frame = if fds > 4 { target.frame(HELLO) } else { [7; 64] };
        call.iter().for_each(|call| assert!(call.say(&frame, &null)));
        refused(call);
    }
    count + spoilt_attachments(victim, &mut random)
}

type Spoil = Box<dyn FnOnce(&mut Attach, Target)>;

/// ATTACHes of which one thing is wrong.
fn spoilt_attachments(victim: Locator, random: &mut Random) -> u64 {
    let mut spoils: Vec<Spoil> = Vec::new();
    // The ring's length, in the frame.
    for len in [0, 1, 4095, RING_LEN as u64 + 1, RING_LEN as u64 * 2, 4_328_521_728 + 4096, 1 << 62, u64::MAX]
    {
        spoils.push(Box::new(move |attach, _| attach.frame[48..56].copy_from_slice(&len.to_le_bytes())));
    }
    // Another locator than in HELLO.
    spoils.push(Box::new(|attach, _| attach.frame[45] ^= 1));
    // The wrong number.
    spoils.push(Box::new(|attach, _| attach.fds.clear()));
    spoils.push(Box::new(|attach, _| drop(attach.fds.pop())));
    spoils.push(Box::new(|attach, _| drop(attach.fds.remove(0))));
    spoils.push(Box::new(|attach, _| attach.fds.push(null())));
    spoils.push(Box::new(|attach, _| attach.fds.extend((0..11).map(|_| null()))));
    // Each one replaced by something of another kind.
    for place in 0..3 {
        for kind in 0..KINDS {
            spoils.push(Box::new(move |attach, target| {
                let place = place.min(attach.fds.len() - 1);
                attach.fds[place] = of_kind(kind, target);
            }));
        }
    }
    // A link in which the nonce does not come back.
    spoils.push(Box::new(|attach, target| {
        *attach.fds.last_mut().expect("the link") = target.object(LINK_LEN, FIXED);
    }));
    let count = spoils.len() as u64;
    for spoil in spoils {
        let target = fresh(victim, random);
        let linked = target.attach(|attach| spoil(attach, target));
        assert!(linked.is_none(), "refused");
    }
    count
}

/// Kinds of descriptors that no object is of.
const KINDS: u32 = 10;
/// The one of a mouth.
const STREAM: u32 = 8;

/// A descriptor that is not what it should be.
fn of_kind(kind: u32, target: Target) -> OwnedFd {
    match kind {
        0 => null(),
        1 => rustix::pipe::pipe().expect("a pipe").0,
        2 => std::fs::File::open("/proc/self/exe").expect("itself").into(),
        // Not sealed, and cut short at any time; sealed, and too short; too long.
        3 => target.object(LINK_LEN, SealFlags::empty()),
        4 => memfd(4096, &target.header(RING_LEN), READ_ONLY),
        5 => target.object(RING_LEN * 2, READ_ONLY),
        // Of the right size for nobody, and blocking.
        6 => target.object(BELL_LEN + 1, FIXED),
        7 => datagrams(),
        STREAM => stream_pair().0,
        _ => eventfd(u32::MAX, EventfdFlags::CLOEXEC).expect("an eventfd"),
    }
}

/// Objects with one octet of the header changed: every value of it that is a multiple of `step`.
fn headers(victim: Locator, step: usize) -> u64 {
    let mut random = Random(2);
    let mut count = 0;
    for at in 0..32 {
        for xor in (1..=255).step_by(step) {
            let target = fresh(victim, &mut random);
            let linked = target.attach(|attach| {
                let which = count as usize % attach.fds.len();
                let (len, seals) = match (attach.fds.len(), which) {
                    (_, 0) => (RING_LEN, READ_ONLY),
                    (3, 1) => (BELL_LEN, FIXED),
                    _ => (LINK_LEN, FIXED),
                };
                let mut header = target.header(len);
                header[at] ^= xor;
                attach.fds[which] = memfd(len, &header, seals);
            });
            assert!(linked.is_none(), "refused");
            count += 1;
        }
    }
    count
}

/// Links that are up, and random and chosen words in everything that can be written.
fn words(victim: Locator, seed: u64, links: u64) {
    let mut random = Random(seed);
    for _ in 0..links {
        let target = fresh(victim, &mut random);
        // Refused while so many others of ours are being left.
        let Some(rogue) = target.attach(|_| {}) else { continue };
        for step in 0..random.below(400) {
            disturb(&rogue, &mut random, step);
        }
        // Half of them are left without a word.
        if random.below(2) == 0 {
            let garbage = vec![random.next() as u8; random.below(100) as usize + 1];
            rogue.call.say(&garbage, &[]);
            rogue.call.refusal();
        }
    }
    done(0);
}

fn disturb(rogue: &Rogue, random: &mut Random, step: u64) {
    let value = match random.below(6) {
        0 => random.next(),
        1 => u64::MAX - random.below(3),
        2 => 1 << random.below(64),
        3 => random.below(2048),
        4 => rogue.read_u64(WORDS[random.below(8) as usize]).wrapping_add(random.below(40)),
        _ => rogue.read_u64(WORDS[random.below(8) as usize]).wrapping_sub(random.below(3)),
    };
    match random.below(9) {
        // Heads, cursors, ends, and words that nobody reads.
        0 => rogue.write_u64(WORDS[random.below(8) as usize], value),
        1 => rogue.write_u64(random.below(LINK_LEN as u64 / 8) as usize * 8, value),
        2 => rogue.write(random.below(LINK_LEN as u64 - 64) as usize, &[value as u8; 64]),
        // What is nearly right gets further than what is not.
        3 | 4 => {
            let (unit, len) = (65 + random.below(1000) as u32, random.below(1 << 20) as u32);
            let handle = if random.below(2) == 0 { u32::MAX } else { random.below(1030) as u32 };
            let (cursor, ahead) = (rogue.read_u64(0x300), random.below(3));
            let (slot, position) = (cursor % SLOTS + ahead, cursor / SLOTS + ahead);
            rogue.publish_in(slot, position, step, [unit, len, handle]);
        }
        5 => {
            let head = rogue.read_u64(0x280).wrapping_add(16 * random.below(70));
            let at = 0x1000 + (head % 16_384) as usize / 16 * 16;
            // Of the right round as a rule.
            let round = ((head / 16_384) as u32) << 11;
            let ready = if random.below(8) == 0 { value as u32 } else { round | random.below(2048) as u32 };
            rogue.write(at, &[&ready.to_le_bytes()[..], &[0; 4], &step.to_le_bytes()].concat());
        }
        // Released: everything.
        6 => rogue.write(0xe000, &[1; 4096]),
        7 => {
            rogue.call.say(&rogue.target.frame(WAKE), &[]);
        }
        _ => doorbell(rogue, value),
    }
}

/// Of one user: the doorbell, with its owner's bits as they are when it sleeps on the futex. Others would leave the victim
/// asleep beside what others send, which a process of its user is trusted not to do (docs/trust.md).
fn doorbell(rogue: &Rogue, value: u64) {
    if let [_, bell] = &rogue.theirs[..] {
        for at in [0x80, 0x84, 0x100] {
            let _ = rustix::io::pwrite(bell, &(value as u32 & !2 | 1).to_le_bytes(), at);
        }
        let _ = rustix::io::pwrite(bell, &[value as u8; 64], 0x200);
    }
}

/// As many connections as the victim takes, and as many as there can be: some silent, some half-way, some linked. They
/// stay until this process ends.
fn crowd(victim: Locator, size: usize) {
    let mut random = Random(3);
    let mut kept: Vec<(Option<Call>, Option<Rogue>)> = Vec::new();
    for index in 0..size {
        let target = fresh(victim, &mut random);
        kept.push(match index % 8 {
            0 => (None, target.attach(|_| {})),
            1..4 => {
                let call = target.call();
                let _ = call.as_ref().map(|call| call.say(&target.frame(HELLO), &[]));
                (call, None)
            }
            _ => (target.call(), None),
        });
    }
    tell(format_args!("done {size}"));
    hear();
    drop(kept);
}

/// Links with a huge ring, which costs its owner nothing, and one message of the largest size that such a ring may hold.
fn bulk(victim: Locator) {
    const HUGE: usize = 256 << 20;
    let mut random = Random(9);
    for _ in 0..4 {
        let target = fresh(victim, &mut random);
        let attached = target.attach(|attach| {
            attach.frame[48..56].copy_from_slice(&(HUGE as u64).to_le_bytes());
            attach.fds[0] = target.object(HUGE, READ_ONLY);
        });
        let rogue = attached.expect("admitted");
        rogue.publish(0, 0, 65, HUGE as u32 / 4, u32::MAX);
        rogue.call.say(&target.frame(WAKE), &[]);
        let said =
            std::iter::from_fn(|| rogue.call.hear()).find(|(frame, _)| super::rogue::kind(frame) == BYE);
        assert_eq!(said.expect("the link is closed").0[20], 2, "for what was found in it");
    }
    done(4);
}

/// Links on which descriptors come that nobody asked for: of a kind that we use with a wake-up or a frame of the handshake, no
/// mouth or more than one of them, one of another kind; and of another user any.
fn gifts(victim: Locator) {
    let mut random = Random(10);
    let mut count = 0;
    let mut refused = |gifts: &[(u32, &[BorrowedFd<'_>])]| {
        let target = fresh(victim, &mut random);
        let rogue = target.attach(|_| {}).expect("admitted");
        for (kind, fds) in gifts {
            rogue.call.say(&target.frame(*kind), fds);
        }
        let said =
            std::iter::from_fn(|| rogue.call.hear()).find(|(frame, _)| super::rogue::kind(frame) == BYE);
        assert_eq!(said.expect("the link is closed").0[20], 2, "for what came by it");
        count += 1;
        target
    };
    let (gift, _kept) = stream_pair();
    let gift = gift.as_fd();
    for kind in [WAKE, WELCOME, ATTACH] {
        refused(&[(kind, &[gift])]);
    }
    refused(&[(MOUTH, &[])]);
    refused(&[(MOUTH, &[gift, gift])]);
    refused(&[(MOUTH, &[gift]), (MOUTH, &[gift])]);
    let mut target = fresh(victim, &mut Random(11));
    for kind in (0..KINDS).filter(|&kind| kind != STREAM) {
        target = refused(&[(MOUTH, &[of_kind(kind, target).as_fd()])]);
    }
    // Whoever has said goodbye is not refused for it: a link is not refused once it was up.
    let target = fresh(victim, &mut random);
    let rogue = target.attach(|_| {}).expect("admitted");
    let (gift, _kept) = stream_pair();
    rogue.call.say(&target.frame(BYE), &[]);
    rogue.call.say(&target.frame(WAKE), &[gift.as_fd()]);
    let mut said = std::iter::from_fn(|| rogue.call.hear());
    assert!(said.all(|(frame, _)| super::rogue::kind(&frame) == BYE));
    done(count);
}

/// Asks again and again for what wakes the victim in poll.
fn beg(victim: Locator) {
    let target = fresh(victim, &mut Random(13));
    let rogue = target.attach(|_| {}).expect("admitted");
    for _ in 0..100 {
        rogue.call.say(&target.frame(WAKE), &[]);
    }
    rogue.call.say(&target.frame(BYE), &[]);
    let said: Vec<_> = std::iter::from_fn(|| rogue.call.hear()).collect();
    let given = said.iter().filter(|(frame, _)| super::rogue::kind(frame) == MOUTH);
    assert_eq!(given.map(|(_, fds)| fds.len()).collect::<Vec<_>>(), [1], "it is given once");
    done(0);
}

/// Every place for handshakes that one user can have, taken without a word, and taken again as soon as it is lost.
fn occupy(victim: Locator) {
    let mut random = Random(u64::from(rustix::process::geteuid().as_raw()));
    let mut places: Vec<Option<Call>> = (0..64).map(|_| None).collect();
    let mut said = false;
    loop {
        for place in &mut places {
            if place.as_ref().is_none_or(Call::is_over) {
                *place = fresh(victim, &mut random).call();
            }
        }
        if !std::mem::replace(&mut said, true) {
            tell("done 64");
        }
    }
}

/// So many places for handshakes, taken without a word.
fn queue(victim: Locator, places: u64) {
    let mut random = Random(u64::from(rustix::process::geteuid().as_raw()));
    let _kept: Vec<_> = (0..places).map(|_| fresh(victim, &mut random).call().expect("a place")).collect();
    done(places);
}

/// All but the last step of a handshake, and behind it every other place that one user can have. Once it is told to, the last step
/// with a message at once; then it says what it hears of the victim.
fn overdue(victim: Locator) {
    let mut random = Random(u64::from(rustix::process::geteuid().as_raw()));
    let rogue = fresh(victim, &mut random).attach_but_for_done(|_| {}).expect("admitted");
    let _kept: Vec<_> = (1..64).map(|_| fresh(victim, &mut random).call().expect("a place")).collect();
    done(64);
    rogue.publish(0, 0, 65, 5_000, u32::MAX);
    for kind in [DONE, WAKE] {
        assert!(rogue.call.say(&rogue.target.frame(kind), &[]));
    }
    done(0);
    tell(super::rogue::kind(&rogue.call.hear().expect("a frame").0));
    hear();
}

/// Links one after the other, each left without a word: with what it had published in it.
fn come_and_go(victim: Locator, times: u64) {
    let mut random = Random(u64::from(rustix::process::geteuid().as_raw()));
    let links = (0..times).filter_map(|_| fresh(victim, &mut random).attach(|_| {}));
    let published = links.map(|rogue| rogue.publish(0, 0, 65, 5_000, u32::MAX)).count();
    done(published as u64);
}

/// A sender that keeps the receiver's every loop going: slots used again and again, the cursor moving.
fn advance(victim: Locator) {
    let mut random = Random(4);
    let rogue = fresh(victim, &mut random).attach(|_| {}).expect("admitted");
    tell("done 0");
    let mut position = 0_u64;
    // Until the victim has had enough of it, again and again, until this process is ended.
    let mut rogue = Some(rogue);
    loop {
        let Some(now) = &rogue else {
            position = 0;
            rogue = fresh(victim, &mut random).attach(|_| {});
            continue;
        };
        // As if the receiver had been lapped: the cursor ahead of it, the slot beyond that.
        now.move_to(position + 1);
        now.publish(position + SLOTS, position, 65, 4096, u32::MAX);
        now.publish(position + 1, position + 1, 65, 4096, u32::MAX);
        position += 1;
        if position.is_multiple_of(64) {
            now.call.say(&now.target.frame(WAKE), &[]);
        }
        if position > 20_000 {
            rogue = None;
        }
    }
}

/// A sender that has said goodbye and goes on publishing, so that its link is never drained; a link in the same name is
/// waiting behind it.
fn drain(victim: Locator) {
    let mut random = Random(5);
    let target = fresh(victim, &mut random);
    let old = target.attach(|_| {}).expect("admitted");
    let mut bye = target.frame(BYE);
    bye[20..24].copy_from_slice(&1_u32.to_le_bytes());
    let (mut position, mut new) = (0, None);
    loop {
        // The whole queue, filled again before the victim can have come to its end; and nothing was ever closed.
        let taken = old.position();
        while position < taken + SLOTS - 1 {
            old.publish(position, position, 65, 4096, u32::MAX);
            position += 1;
        }
        old.write_u64(0x380, 0);
        if new.is_none() && taken > 100 {
            old.call.say(&bye, &[]);
            new = Some(target.attach(|_| {}));
            tell("done 0");
        }
    }
}

/// The socket by which the victim is woken: filled and kept full, by waiting writes, as small as it can be made, as far as it lets
/// itself be. Begins when it is told to.
fn stuff(victim: Locator) {
    let mut random = Random(10);
    let rogue = fresh(victim, &mut random).attach(|_| {}).expect("admitted");
    let mouth = &rogue.mouth();
    tell("done 0");
    hear();
    let flags = rustix::fs::fcntl_getfl(mouth).expect("flags");
    rustix::fs::fcntl_setfl(mouth, flags - rustix::fs::OFlags::NONBLOCK).expect("ours as well");
    let _ = rustix::net::sockopt::set_socket_send_buffer_size(mouth, 1);
    // What an eventfd takes, to be full.
    let octets = (u64::MAX - 1).to_ne_bytes();
    let writer = mouth.try_clone().expect("a descriptor");
    let writing = std::thread::spawn(move || while rustix::io::write(&writer, &octets).is_ok() {});
    let full = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    let is_full = || {
        let mut fds = [rustix::event::PollFd::new(mouth, rustix::event::PollFlags::OUT)];
        rustix::event::poll(&mut fds, Some(&full)) == Ok(0)
    };
    while !is_full() && !writing.is_finished() {
        std::thread::yield_now();
    }
    tell("tried");
    hear();
}

/// The same socket, shut.
fn shut(victim: Locator, how: &str) {
    let mut random = Random(11);
    let rogue = fresh(victim, &mut random).attach(|_| {}).expect("admitted");
    let how = match how {
        "reading" => rustix::net::Shutdown::Read,
        "writing" => rustix::net::Shutdown::Write,
        _ => rustix::net::Shutdown::Both,
    };
    let mouth = rogue.mouth();
    rustix::net::shutdown(&mouth, how).expect("a connected socket");
    let aside = rustix::net::connect(&mouth, &rustix::net::SocketAddrUnix::new_unnamed());
    assert!(aside.is_err(), "it cannot be connected elsewhere");
    done(0);
}

/// What a reader can do to the memory that it reads: nothing. Says how many attempts the kernel refused.
fn ring(victim: Locator) {
    let mut random = Random(6);
    let rogue = fresh(victim, &mut random).attach(|_| {}).expect("admitted");
    let ring = &rogue.theirs[0];
    let mut attempts = attempts_to_change(ring).to_vec();
    // By a description that is for reading all that fails at once. Of another user it is not opened for more.
    let path = format!("/proc/self/fd/{}", raw(ring));
    if let Ok(file) = std::fs::OpenOptions::new().read(true).write(true).open(path) {
        attempts.extend(attempts_to_change(&file.into()));
    }
    assert!(attempts.iter().all(|&refused| refused), "{attempts:?}");
    assert!(memmap2::MmapOptions::new().len(4096).map_raw_read_only(ring).is_ok(), "it may read");
    done(attempts.len() as u64);
}

fn attempts_to_change(ring: &OwnedFd) -> [bool; 6] {
    [
        rustix::io::pwrite(ring, b"x", 4096).is_err(),
        rustix::fs::ftruncate(ring, 0).is_err(),
        rustix::fs::ftruncate(ring, 1 << 40).is_err(),
        rustix::fs::fallocate(
            ring,
            rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE,
            0,
            4096,
        )
        .is_err(),
        rustix::fs::fcntl_add_seals(ring, SealFlags::WRITE).is_err(),
        memmap2::MmapOptions::new().len(4096).map_raw(ring).is_err(),
    ]
}

/// A user who is not admitted knocks: it gets one frame, and no descriptor.
fn knock(victim: Locator) {
    let mut random = Random(7);
    for _ in 0..100 {
        let target = fresh(victim, &mut random);
        let call = target.call().expect("the victim listens");
        call.say(&target.frame(HELLO), &[]);
        let (frame, fds) = call.hear().expect("an answer");
        assert_eq!((super::rogue::kind(&frame), frame[20], fds.len()), (super::rogue::REFUSE, 1, 0));
        assert!(call.hear().is_none(), "and the end");
    }
    done(100);
}

fn raw(fd: &OwnedFd) -> i32 {
    std::os::fd::AsRawFd::as_raw_fd(fd)
}

fn datagrams() -> OwnedFd {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .expect("a pair")
        .0
}

pub(crate) fn null() -> OwnedFd {
    std::fs::File::open("/dev/null").expect("null").into()
}

pub(crate) fn fresh(victim: Locator, random: &mut Random) -> Target {
    Target::new(victim, random.next())
}

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Head, cursor and end of both directions, the first slot of one and the first handle of the other.
const WORDS: [usize; 8] = [0x9000, 0x280, 0x300, 0x380, 0xe000, 0x480, 0x500, 0x580];
