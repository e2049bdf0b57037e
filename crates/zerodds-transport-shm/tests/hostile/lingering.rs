//! Descriptors whose closing waits: sockets that linger for an hour over what nobody reads.

use super::attacks::{Random, done, fresh, null};
use super::rogue::{Call, HELLO, Rogue, WAKE, WELCOME, kind};
use crate::support::child::{hear, tell};
use rustix::net::SendFlags;
use std::os::fd::{AsFd, OwnedFd};
use zerodds_core::Locator;

/// Descriptors whose closing waits: sockets that linger for an hour over what nobody reads. The victim has the last copy.
pub(crate) fn linger(victim: Locator) {
    let mut random = Random(8);
    let mut hosts = Lingering::new();
    // Beside a frame that is in order, beside garbage, more than a frame may carry; and behind what is looked at.
    for (kind, fds, frames) in [(HELLO, 1, 1), (0, 1, 1), (HELLO, 8, 1), (0, 1, 4), (0, 0, 1)] {
        let target = fresh(victim, &mut random);
        let call = target.call().expect("the victim listens");
        for _ in 0..frames {
            let own: Vec<OwnedFd> = (0..fds).map(|_| hosts.next()).collect();
            call.say(&target.frame(kind), &own.iter().map(AsFd::as_fd).collect::<Vec<_>>());
            // Whoever closes it last waits. Mostly the victim; where it is we, this thread is done with.
            std::thread::spawn(move || drop(own));
        }
        if frames == 1 {
            call.say(&target.frame(0), &[]);
        }
    }
    // A link that is up and gets one.
    if let Some(rogue) = fresh(victim, &mut random).attach(|_| {}) {
        let own = hosts.next();
        rogue.call.say(&rogue.target.frame(WAKE), &[own.as_fd()]);
        std::thread::spawn(move || drop(own));
    }
    done(0);
}

/// Links and handshakes that are there first; then sockets that linger, as many as the victim has threads to close them; then, on
/// all that are there, descriptors that nobody asked for. Each step when it is told to, the second while the victim is stopped: so it
/// has the last copies.
pub(crate) fn clog(victim: Locator) {
    let mut random = Random(14);
    let mut hosts = Lingering::new();
    let own: Vec<OwnedFd> = (0..16).map(|_| hosts.next()).collect();
    let links: Vec<Rogue> = (0..24).filter_map(|_| fresh(victim, &mut random).attach(|_| {})).collect();
    assert_eq!(links.len(), 24, "admitted");
    let mut handshake = || {
        let target = fresh(victim, &mut random);
        let call = target.call().expect("the victim listens");
        call.say(&target.frame(HELLO), &[]);
        call.wait();
        call
    };
    let rude: Vec<Call> = (0..12).map(|_| handshake()).collect();
    let handshakes: Vec<Call> = (0..12).map(|_| handshake()).collect();
    let welcome = |call: &Call| call.hear().is_some_and(|(frame, _)| kind(&frame) == WELCOME);
    assert!(handshakes.iter().all(welcome));
    tell("there");
    hear();
    let lingering: Vec<Call> = own
        .into_iter()
        .map(|own| {
            let target = fresh(victim, &mut random);
            let call = target.call().expect("its backlog has room");
            assert!(call.say(&target.frame(HELLO), &[own.as_fd()]));
            call
        })
        .collect();
    tell("sent");
    lingering.iter().for_each(|call| assert!(call.refusal().is_some()));
    tell("refused");
    hear();
    let null = null();
    let gift = |call: &Call| call.say(&[7; 64], &[null.as_fd(); 16]);
    links.iter().for_each(|rogue| assert!(gift(&rogue.call)));
    // The time of some may be over. Of those that end with something unread the victim is told so before it can read the rest.
    handshakes.iter().chain(&rude).for_each(|call| _ = gift(call));
    drop(rude);
    links.iter().map(|rogue| &rogue.call).chain(&handshakes).for_each(|call| while call.hear().is_some() {});
    done(0);
}

/// Descriptors through the same socket whose closing waits.
pub(crate) fn enclose(victim: Locator) {
    let mut random = Random(12);
    let rogue = fresh(victim, &mut random).attach(|_| {}).expect("admitted");
    let (mouth, mut hosts) = (rogue.mouth(), Lingering::new());
    for _ in 0..8 {
        let own = hosts.next();
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = rustix::net::SendAncillaryBuffer::new(&mut space);
        let fds = [own.as_fd()];
        assert!(control.push(rustix::net::SendAncillaryMessage::ScmRights(&fds)));
        let octet = [std::io::IoSlice::new(&[1])];
        let _ = rustix::net::sendmsg(&mouth, &octet, &mut control, SendFlags::DONTWAIT);
        std::thread::spawn(move || drop(own));
    }
    done(0);
}

/// Makes sockets that linger for an hour over what nobody reads.
pub(crate) struct Lingering {
    listener: std::net::TcpListener,
    readers: Vec<std::net::TcpStream>,
}

impl Lingering {
    pub(crate) fn new() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("the loopback interface");
        Self { listener, readers: Vec::new() }
    }

    pub(crate) fn next(&mut self) -> OwnedFd {
        let address = self.listener.local_addr().expect("bound");
        let mut stream = std::net::TcpStream::connect(address).expect("it listens");
        self.readers.push(self.listener.accept().expect("it has come").0);
        stream.set_nonblocking(true).expect("a socket");
        while std::io::Write::write(&mut stream, &[7; 1 << 16]).is_ok() {}
        stream.set_nonblocking(false).expect("a socket");
        rustix::net::sockopt::set_socket_linger(&stream, Some(std::time::Duration::from_secs(3600)))
            .expect("a socket");
        OwnedFd::from(stream)
    }
}
