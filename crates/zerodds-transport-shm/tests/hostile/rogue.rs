//! A second implementation of the protocol, after docs/protocol.md alone, that does not mean well. It maps nothing: what it
//! writes to shared memory it writes with `pwrite`, so it needs no unsafe code.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use zerodds_core::{Endianness, Incarnation, Locator};

pub(crate) const MAGIC: [u8; 8] = *b"ZERODDS\x01";
pub(crate) const VERSION: u32 = 9;
pub(crate) const LAYOUT_HASH: u32 = 0xbbe8_5295;
pub(crate) const LINK_LEN: usize = 0xf000;
pub(crate) const SLOTS: u64 = 256;
pub(crate) const BELL_LEN: usize = 0x1000;
pub(crate) const RING_LEN: usize = 4 << 20;
/// Seals of links and doorbells, and of rings.
pub(crate) const FIXED: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);
pub(crate) const READ_ONLY: SealFlags = FIXED.union(SealFlags::FUTURE_WRITE);

/// Kinds of frames (section 4.1).
pub(crate) const HELLO: u32 = 1;
pub(crate) const WELCOME: u32 = 2;
pub(crate) const ATTACH: u32 = 3;
pub(crate) const READY: u32 = 4;
pub(crate) const DONE: u32 = 5;
pub(crate) const REFUSE: u32 = 6;
pub(crate) const BYE: u32 = 7;
pub(crate) const WAKE: u32 = 8;
pub(crate) const MOUTH: u32 = 9;

/// Somebody to attack, and the name under which we do it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) victim: Locator,
    pub(crate) own: Locator,
}

/// A packet that came: its bytes and descriptors.
pub(crate) type Packet = (Vec<u8>, Vec<OwnedFd>);

/// A connection to a victim.
pub(crate) struct Call(OwnedFd);

/// Where a victim may call.
pub(crate) struct Ear(OwnedFd);

/// What goes into an ATTACH.
pub(crate) struct Attach {
    pub(crate) frame: [u8; 64],
    pub(crate) fds: Vec<OwnedFd>,
}

/// A link that is up.
pub(crate) struct Rogue {
    pub(crate) target: Target,
    pub(crate) call: Call,
    pub(crate) link: OwnedFd,
    /// The victim's ring and, for a process of its user, its doorbell.
    pub(crate) theirs: Vec<OwnedFd>,
}

impl Target {
    /// The victim at this locator, attacked under a name of its host and domain.
    pub(crate) fn new(victim: Locator, name: u64) -> Self {
        let host = victim.host_tag().expect("a shared-memory locator");
        Self {
            victim,
            own: Locator::shared_memory(host, Incarnation::from_bytes(name.to_be_bytes()), victim.port()),
        }
    }

    fn owner(self) -> u64 {
        self.own.incarnation().map_or(0, |own| u64::from_be_bytes(own.to_bytes()))
    }

    pub(crate) fn frame(self, kind: u32) -> [u8; 64] {
        let mut frame = [0; 64];
        frame[..8].copy_from_slice(&MAGIC);
        frame[8..12].copy_from_slice(&VERSION.to_le_bytes());
        frame[12..16].copy_from_slice(&LAYOUT_HASH.to_le_bytes());
        frame[16..20].copy_from_slice(&kind.to_le_bytes());
        frame[24..48].copy_from_slice(&self.own.to_bytes(Endianness::Little));
        frame[48..56].copy_from_slice(&(RING_LEN as u64).to_le_bytes());
        frame[56..64].copy_from_slice(&NONCE.to_le_bytes());
        frame
    }

    /// The header of an object of ours (section 3.1).
    pub(crate) fn header(self, len: usize) -> [u8; 32] {
        let mut header = [0; 32];
        header[..8].copy_from_slice(&MAGIC);
        header[8..12].copy_from_slice(&VERSION.to_le_bytes());
        header[12..16].copy_from_slice(&LAYOUT_HASH.to_le_bytes());
        header[16..24].copy_from_slice(&(len as u64).to_le_bytes());
        header[24..].copy_from_slice(&self.owner().to_le_bytes());
        header
    }

    pub(crate) fn object(self, len: usize, seals: SealFlags) -> OwnedFd {
        memfd(len, &self.header(len), seals)
    }

    /// A connection, unless the victim takes none.
    pub(crate) fn call(self) -> Option<Call> {
        let socket = unconnected()?;
        rustix::net::connect(&socket, &rendezvous(self.victim)?).ok()?;
        Some(Call(socket))
    }

    /// Listens where somebody of our name would, for whom the victim calls.
    pub(crate) fn listen(self) -> Ear {
        let socket = unconnected().expect("a socket");
        let address = rendezvous(self.own).expect("ours is of shared memory");
        rustix::net::bind(&socket, &address).expect("nobody else has that name");
        rustix::net::listen(&socket, 1).expect("listens");
        Ear(socket)
    }

    /// Shakes hands; `spoil` may change the ATTACH, of which all but it is correct.
    pub(crate) fn attach(self, spoil: impl FnOnce(&mut Attach)) -> Option<Rogue> {
        let rogue = self.attach_but_for_done(spoil)?;
        rogue.call.say(&self.frame(DONE), &[]);
        Some(rogue)
    }

    /// The same but for the last step, by which the victim learns of it.
    pub(crate) fn attach_but_for_done(self, spoil: impl FnOnce(&mut Attach)) -> Option<Rogue> {
        let call = self.call()?;
        call.say(&self.frame(HELLO), &[]);
        let (welcome, theirs) = call.hear().filter(|(frame, _)| kind(frame) == WELCOME)?;
        let link = self.object(LINK_LEN, SealFlags::empty());
        rustix::io::pwrite(&link, &welcome[56..64], 0x80).expect("a memfd");
        rustix::fs::fcntl_add_seals(&link, FIXED).expect("sealed");
        let mut fds = vec![self.object(RING_LEN, READ_ONLY)];
        if theirs.len() == 2 {
            fds.push(self.object(BELL_LEN, FIXED));
        }
        fds.push(link.try_clone().expect("a descriptor"));
        let mut attach = Attach { frame: self.frame(ATTACH), fds };
        spoil(&mut attach);
        let fds: Vec<_> = attach.fds.iter().map(AsFd::as_fd).collect();
        call.say(&attach.frame, &fds);
        call.hear().filter(|(frame, _)| kind(frame) == READY)?;
        Some(Rogue { target: self, call, link, theirs })
    }
}

impl Ear {
    /// Whoever has called.
    pub(crate) fn accept(&self) -> Option<Call> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        rustix::net::accept_with(&self.0, flags).ok().map(Call)
    }
}

impl Call {
    pub(crate) fn say(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> bool {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(fds)), "no more than there is room for");
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        rustix::net::sendmsg(&self.0, &[IoSlice::new(bytes)], &mut control, flags).is_ok()
    }

    /// Until the victim has said something, which stays unread, or longer than any handshake may take.
    pub(crate) fn wait(&self) {
        let timeout = Timespec { tv_sec: 20, tv_nsec: 0 };
        let _ = poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&timeout));
    }

    /// What the victim says next; `None` at its end, and after longer than any handshake may take.
    pub(crate) fn hear(&self) -> Option<Packet> {
        self.wait();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut bytes = [0; 128];
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let mut receive =
            || rustix::net::recvmsg(&self.0, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags);
        // Reset: it closed with something of ours unread; what it had said comes after that.
        let message = receive().or_else(|_| receive()).ok()?;
        let fds = control
            .drain()
            .filter_map(|part| match part {
                RecvAncillaryMessage::ScmRights(fds) => Some(fds),
                _ => None,
            })
            .flatten()
            .collect();
        (message.bytes > 0).then(|| (bytes[..message.bytes].to_vec(), fds))
    }

    /// Whether the victim has said anything, which is a refusal, or closed.
    pub(crate) fn is_over(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&now)).is_ok_and(|ready| ready > 0)
    }

    /// Waits until the victim has refused or closed; the reason, if it gave one.
    pub(crate) fn refusal(&self) -> Option<u32> {
        std::iter::from_fn(|| self.hear())
            .find(|(frame, _)| kind(frame) == REFUSE)
            .map(|(frame, _)| word(&frame, 20))
    }
}

impl Rogue {
    /// Writes to the link, whole or in part as the kernel likes; it is shared, so the victim sees it.
    pub(crate) fn write(&self, at: usize, bytes: &[u8]) {
        rustix::io::pwrite(&self.link, bytes, at as u64).expect("inside the link");
    }

    pub(crate) fn write_u64(&self, at: usize, value: u64) {
        self.write(at, &value.to_le_bytes());
    }

    pub(crate) fn read_u64(&self, at: usize) -> u64 {
        let mut word = [0; 8];
        rustix::io::pread(&self.link, &mut word, at as u64).expect("inside the link");
        u64::from_le_bytes(word)
    }

    /// The position at which the cursor of direction 0 stands.
    pub(crate) fn position(&self) -> u64 {
        self.read_u64(CURSOR) / SLOTS
    }

    /// Moves the cursor of direction 0 there, as [`publish`](Self::publish) has its slots.
    pub(crate) fn move_to(&self, position: u64) {
        self.write_u64(CURSOR, position * SLOTS + position % SLOTS);
    }

    /// The socket by which all peers of the victim's user wake it in poll: it is given to whoever cannot wake it otherwise.
    pub(crate) fn mouth(&self) -> OwnedFd {
        self.call.say(&self.target.frame(WAKE), &[]);
        let said = std::iter::from_fn(|| self.call.hear()).find(|(frame, _)| kind(frame) == MOUTH);
        let (_, mut fds) = said.expect("of the victim's user");
        assert_eq!(fds.len(), 1, "one descriptor, and it is the mouth");
        fds.remove(0)
    }

    /// Publishes a slot of direction 0 (5.2): `len` bytes from `unit` of our ring, which are all zero.
    pub(crate) fn publish(&self, position: u64, message: u64, unit: u32, len: u32, handle: u32) {
        self.publish_in(position % SLOTS, position, message, [unit, len, handle]);
    }

    /// The same in this slot, with `[unit, len, handle]`.
    pub(crate) fn publish_in(&self, slot: u64, position: u64, message: u64, [unit, len, handle]: [u32; 3]) {
        let at = 0x9000 + (slot % SLOTS) as usize * 32;
        let next = (slot.wrapping_add(1) % SLOTS) as u32;
        let words = [unit, len, handle, next].map(u32::to_le_bytes).concat();
        self.write(at + 8, &[&message.to_le_bytes()[..], &words].concat());
        self.write_u64(at, position.wrapping_add(1));
    }
}

fn unconnected() -> Option<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).ok()
}

/// Where whoever has this locator listens (section 2).
fn rendezvous(of: Locator) -> Option<SocketAddrUnix> {
    let name = format!("zerodds-shm.{}.{}.{}", of.port(), of.host_tag()?, of.incarnation()?);
    Some(SocketAddrUnix::new_abstract_name(name.as_bytes()).expect("short enough"))
}

/// A pair of stream sockets.
pub(crate) fn stream_pair() -> (OwnedFd, OwnedFd) {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).expect("a pair")
}

/// A memfd of this length that begins so, with these seals.
pub(crate) fn memfd(len: usize, content: &[u8], seals: SealFlags) -> OwnedFd {
    let fd =
        rustix::fs::memfd_create("rogue", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).expect("a memfd");
    rustix::fs::ftruncate(&fd, len as u64).expect("sparse");
    rustix::io::pwrite(&fd, &content[..content.len().min(len)], 0).expect("a page");
    rustix::fs::fcntl_add_seals(&fd, seals).expect("sealed");
    fd
}

pub(crate) fn kind(frame: &[u8]) -> u32 {
    word(frame, 16)
}

fn word(frame: &[u8], at: usize) -> u32 {
    frame.get(at..at + 4).map_or(0, |word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
}

const CURSOR: usize = 0x300;
/// The end of direction 0.
pub(crate) const END: usize = 0x380;
const NONCE: u64 = 0x0123_4567_89ab_cdef;
/// More than a frame may carry.
const FDS_MAX: usize = 16;
