//! Dust's way out: the buffer that Dust writes a message into, and where the message goes from there.
//!
//! ```text
//!   Dust ──▶ buffer ──▶ for whom? ─┬ ourselves ──▶ loopback: whole, or a chunk in fragments
//!                                  ├ everyone ───▶ group, neighbours, ourselves; kept for later
//!                                  └ one peer ───▶ shared memory: whole, its length repaired
//!                                                  UDP: whole, or in fragments
//! ```
//! Dust names the participant that a message is for in an INFO_DST, and in none what is for everyone. Its locators would not
//! tell: two hosts have one in common wherever the same bridge was made for containers on both.
//!
//! Dust asks for the buffer before it knows how long the message will be, and panics where that is too short:
//! so it always has the length of the longest message there can be, and of what Dust never cuts. Where a large one for shared memory is to be expected
//! (`forecast`), the buffer *is* shared memory, which saves a copy. It is not always, because the loan of a whole
//! message's length can take back what slow readers have not read yet, and a HEARTBEAT is not worth that.
//!
//! Called on Dust's only thread: with a sample a peer without room is waited for [`PATIENCE`] at most, and not again before
//! it has taken something; one that is megabytes behind is let catch up besides, for 2 ms and 1 ms for each MiB of the
//! sample at most. What carries no sample, HEARTBEAT and ACKNACK above all, waits for nobody: it is said again, and where
//! many participants discover each other at once, each would wait for one that waits for the next. What a peer misses is
//! counted, and repaired by RTPS.

use crate::announce::refreshed;
use crate::datagrams::Datagrams;
use crate::departed::Departed;
use crate::forecast::Forecast;
use crate::outgoing::Outgoing;
use crate::participant::{Running, Shared};
use crate::repair::repair;
use crate::rtps::{EntityId, Gap, Guid, HEADER_LEN, Heartbeat, MessageWriter, kind};
use crate::untouched::untouched;
use dust_dds::transport::interface::WriteMessage;
use dust_dds::transport::types::Locator as DustLocator;
use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};
use zerodds_core::{
    Delivery, Endianness, Loan, LoanError, Locator, Path, Peer, Refusal, SendError, Sent, Transport,
};
use zerodds_transport_udp::Patience;

/// One participant's writing side, on Dust's thread. Its end is the participant's end.
pub(crate) struct Writer<S: Transport, U: Datagrams> {
    running: Running<S, U>,
    /// What the next message is written into, unless it is lent.
    private: Vec<u8>,
    lent: Option<S::Loan>,
    /// Whether the next message is a large one that goes through shared memory.
    forecast: Forecast,
    /// The last sample of each of our writers, as its HEARTBEATs said.
    written: HashMap<EntityId, i64>,
    /// The samples of each of our SEDP writers that were heard here when they went to somebody else.
    announced: HashMap<EntityId, BTreeSet<i64>>,
    /// What peers have taken through shared memory, and not taken.
    capacities: HashMap<Locator, Capacity>,
    repair_count: i32,
    /// That an announcement has no room for all our addresses was said.
    has_left_out: bool,
    /// That there was no memory for a message was said.
    has_lacked_memory: bool,
    /// The datagrams that are sent next.
    run: Vec<u8>,
}

/// What a peer's shared memory takes, as samples have shown.
#[derive(Clone, Copy, Debug, Default)]
struct Capacity {
    /// It had no room the last time.
    stalled: bool,
    /// The longest message that it has taken, in bytes.
    len_taken: usize,
    /// Anything above this length, in bytes: of another user's process it is that user's decision.
    len_max: Option<usize>,
}

/// What became of a message for one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Sent(Path),
    /// There was no room in time.
    Full,
    /// It cannot go as it is.
    Refused,
}

impl<S: Transport, U: Datagrams> WriteMessage for Writer<S, U> {
    fn write_buffer_mut(&mut self) -> &mut [u8] {
        let len = self.shared().fragmenter.message_len_max();
        self.lent = if self.forecast.is_large() { self.shared().router.shm().loan(len).ok() } else { None };
        match &mut self.lent {
            Some(loan) => loan,
            None => {
                let len = len.max(NEVER_CUT_MAX);
                if self.private.len() != len {
                    self.private = untouched(len);
                }
                &mut self.private
            }
        }
    }

    fn write_message(&mut self, len: usize, locators: &[DustLocator]) {
        let locators: Vec<Locator> =
            locators.iter().map(|one| Locator::new(one.kind(), one.port(), one.address())).collect();
        let path = match self.lent.take() {
            Some(loan) => self.write(Buffer::Lent(loan), len, &locators),
            None => {
                let mut private = std::mem::take(&mut self.private);
                let path = self.write(Buffer::Private(&mut private), len, &locators);
                self.private = private;
                path
            }
        };
        self.forecast.note(len >= LARGE && path == Some(Path::SharedMemory));
    }
}

/// A message and the memory that it lies in.
enum Buffer<'a, L> {
    Lent(L),
    Private(&'a mut [u8]),
}

impl<L: Loan> Buffer<'_, L> {
    fn bytes(&mut self) -> &mut [u8] {
        match self {
            Self::Lent(loan) => loan,
            Self::Private(bytes) => bytes,
        }
    }
}

impl<S: Transport, U: Datagrams> Writer<S, U> {
    pub(crate) fn new(running: Running<S, U>) -> Self {
        let (private, written, capacities, run) = (Vec::new(), HashMap::new(), HashMap::new(), Vec::new());
        let (forecast, announced) = (Forecast::default(), HashMap::new());
        let (repair_count, has_left_out, has_lacked_memory) = (0, false, false);
        Self {
            running,
            private,
            lent: None,
            forecast,
            written,
            announced,
            capacities,
            repair_count,
            has_left_out,
            has_lacked_memory,
            run,
        }
    }

    fn shared(&self) -> &Shared<S, U> {
        self.running.shared()
    }

    /// Writes a message to whom it is for; by which path it went, if it was for a peer and went.
    fn write(&mut self, mut buffer: Buffer<'_, S::Loan>, len: usize, locators: &[Locator]) -> Option<Path> {
        let message = &mut buffer.bytes()[..len];
        let outgoing = Outgoing::read(message).ok()?;
        if let Some(header) = message.first_chunk::<HEADER_LEN>() {
            self.shared().header.get_or_init(|| *header);
        }
        if is_departed(&self.shared().departed, message, &outgoing) {
            return None;
        }
        match outgoing.to {
            None => self.write_to_everyone(message, &outgoing, locators),
            to if to == self.shared().prefix() => self.write_to_ourselves(message, &outgoing),
            Some(peer) => {
                self.note_endpoint(message, &outgoing);
                let now = self.shared().addresses.instead_of(locators, peer);
                return self.write_to_peer(buffer, len, &outgoing, now.as_deref().unwrap_or(locators));
            }
        }
        None
    }

    /// What Dust says to itself. A chunk of a sample is cut as for others: as Dust wrote it, nobody could tell where it belongs.
    fn write_to_ourselves(&mut self, message: &mut [u8], outgoing: &Outgoing) {
        let shared = self.running.shared();
        if !shared.contacts.pass(message, outgoing, &[]) {
            return;
        }
        let push = |message| {
            let has_room = shared.loopback.push(message);
            if !has_room {
                shared.tally.unserved();
            }
            has_room
        };
        if outgoing.kind != kind::DATA_FRAG {
            let (len, follower) = repair(message, outgoing);
            [Some(message[..len].to_vec()), follower].into_iter().flatten().for_each(|one| _ = push(one));
            return;
        }
        let mut pieces = shared.fragmenter.cut(message, outgoing, None, None, 0);
        while let Some(len) = pieces.as_mut().and_then(|pieces| pieces.next_run(&mut self.run)) {
            // Dust asks for the sample again when it hears a HEARTBEAT, which may be with the last of its chunks.
            if !self.run.chunks(len).all(|datagram| push(datagram.to_vec())) {
                return;
            }
        }
    }

    /// What Dust says to another of an endpoint of its own is heard here too: to itself it says nothing where the application has it
    /// ignore its own participant. Otherwise it comes twice, and is taken once. Dust may write an older sample after a newer one, for
    /// somebody who asks for it: then the newer one is heard again when it is written again, as it may say that the endpoint is gone.
    fn note_endpoint(&mut self, message: &[u8], outgoing: &Outgoing) {
        let shared = self.running.shared();
        let is_endpoint = |writer| {
            matches!(writer, EntityId::SEDP_PUBLICATIONS_WRITER | EntityId::SEDP_SUBSCRIPTIONS_WRITER)
        };
        let data = outgoing.data(message).filter(|data| is_endpoint(data.writer));
        let (Some(data), Some(own), Some(header)) = (data, shared.prefix(), shared.header.get()) else {
            return;
        };
        let announced = self.announced.entry(data.writer).or_default();
        if announced.contains(&data.sequence_number) {
            return;
        }
        let mut copy = MessageWriter::new(header, Endianness::Little, outgoing.end);
        copy.info_dst(own);
        let at = copy.len();
        copy.verbatim(&message[outgoing.offset..outgoing.end]);
        let mut copy = copy.into_bytes();
        // The DATA extends to the end.
        copy[at + 2..][..2].fill(0);
        if shared.loopback.push(copy) {
            announced.split_off(&data.sequence_number);
            if announced.len() >= ANNOUNCED_MAX {
                announced.clear();
            }
            announced.insert(data.sequence_number);
        }
    }

    /// An announcement: to the group, to everyone on this host, to ourselves, and to whoever comes later.
    fn write_to_everyone(&mut self, message: &[u8], outgoing: &Outgoing, group: &[Locator]) {
        let shared = self.running.shared();
        if !shared.loopback.push(message.to_vec()) {
            shared.tally.unserved();
        }
        let mut current = None;
        if outgoing.writer(message) == Some(EntityId::SPDP_WRITER) {
            let (user, metatraffic) = shared.locators();
            let len_max = shared.router.udp().max_message_len();
            let fresh = || refreshed(message, outgoing, &user, &metatraffic, len_max);
            let fresh = outgoing.is_alive().then(fresh).flatten();
            let left_out = fresh.as_ref().map_or(0, |&(_, left_out)| left_out);
            if left_out > 0 && len_max > 0 && !std::mem::replace(&mut self.has_left_out, true) {
                tracing::warn!(
                    "{left_out} of our UDP addresses are not announced: an announcement has to fit a datagram, of {len_max} bytes; \
                     fewer ZERODDS_UDP_INTERFACES or a larger ZERODDS_UDP_MAX_DATAGRAM change that"
                );
            }
            current = fresh.map(|(fresh, _)| fresh);
            let kept = outgoing.is_alive().then(|| current.clone().unwrap_or_else(|| message.to_vec()));
            *shared.announcement.lock() = kept;
        }
        let message = current.as_deref().unwrap_or(message);
        // Whether anyone hears it is never known, and those who did not hear the next one.
        let _ = shared.router.send_bytes(message, &[Peer::new(group)], Delivery::BestEffort);
        for neighbour in shared.router.neighbours() {
            let delivery = Delivery::Reliable { deadline: Instant::now() };
            let _ = shared.router.send_bytes(message, &[Peer::new(&[neighbour])], delivery);
        }
    }

    fn write_to_peer(
        &mut self,
        mut buffer: Buffer<'_, S::Loan>,
        len: usize,
        outgoing: &Outgoing,
        locators: &[Locator],
    ) -> Option<Path> {
        let peer = Peer::new(locators);
        let message = &mut buffer.bytes()[..len];
        if self.is_stray(message, outgoing) {
            return None;
        }
        if let Some(Heartbeat { writer, last, .. }) = outgoing.read_heartbeat(message) {
            let written = self.written.entry(writer).or_default();
            *written = last.max(*written);
        }
        if !self.shared().contacts.pass(message, outgoing, locators) {
            return None;
        }
        let is_users = outgoing.writer(message).is_some_and(EntityId::is_user_defined);
        let is_counted = is_users && is_beginning(message, outgoing);
        let whole = outgoing.kind != kind::DATA_FRAG && len <= self.whole_len_max(peer, len);
        let outcome = if whole {
            self.send_whole(buffer, len, outgoing, peer)
        } else {
            match self.wanted(message, outgoing) {
                Some(nothing) if nothing.is_empty() => return None,
                wanted => self.send_fragments(message, outgoing, wanted.as_deref(), peer),
            }
        };
        let Outcome::Sent(path) = outcome else {
            self.shared().tally.unserved();
            return None;
        };
        if is_counted {
            self.shared().tally.sent_sample(path);
        }
        Some(path)
    }

    /// The longest message that this peer would be sent whole, for one of `len` bytes.
    fn whole_len_max(&self, peer: Peer<'_>, len: usize) -> usize {
        let route_max = self.shared().router.route(peer, len).max_message_len;
        self.capacity(peer).len_max.map_or(route_max, |len_max| route_max.min(len_max))
    }

    /// Sends a message as it is, but for the repair of its length; a sample that neither path takes so, in fragments. For those the
    /// bytes must still be there, so a peer that has not taken as much yet is sent a copy of what lies in lent memory, if there is memory
    /// for one. What was lent and refused is gone, and unserved, as it is where a link ends in this very moment.
    fn send_whole(
        &mut self,
        mut buffer: Buffer<'_, S::Loan>,
        len: usize,
        outgoing: &Outgoing,
        peer: Peer<'_>,
    ) -> Outcome {
        let delivery = self.delivery(outgoing, &buffer.bytes()[..len], peer);
        let (whole_len, follower) = repair(&mut buffer.bytes()[..len], outgoing);
        let (mut copied, is_more) = (Vec::new(), whole_len > self.capacity(peer).len_taken);
        let buffer = match buffer {
            Buffer::Lent(loan) if is_more && copied.try_reserve_exact(len).is_ok() => {
                copied.extend_from_slice(&loan[..len]);
                Buffer::Private(&mut copied)
            }
            buffer => buffer,
        };
        let router = &self.shared().router;
        let (sent, kept) = match buffer {
            Buffer::Lent(mut loan) => {
                loan.truncate(whole_len);
                (router.send(zerodds_core::RouterLoan::Shm(loan), &[peer], delivery), None)
            }
            Buffer::Private(bytes) => {
                (router.send_bytes(&bytes[..whole_len], &[peer], delivery), Some(&bytes[..len]))
            }
        };
        let outcome = self.outcome(sent, peer, outgoing, whole_len);
        match (outcome, follower, kept) {
            (Outcome::Sent(_), Some(follower), _) => {
                let _ = self.shared().router.send_bytes(&follower, &[peer], delivery);
            }
            (Outcome::Refused, _, Some(message)) if len > self.shared().router.udp().max_message_len() => {
                return self.send_fragments(message, outgoing, None, peer);
            }
            _ => {}
        }
        outcome
    }

    /// Whether this is a GAP by which a writer answers what another was asked, see [`wanted`](crate::wanted), and would
    /// make the reader drop what is yet to come: of a sample that it has not written. Of one that it had, and has no longer, the GAP is
    /// true whoever was asked, but ends what is half received of it. Of one that it has, and did not promise to the reader that asks, it
    /// is true for that one alone: with the plug-in at its end such a reader does not ask, see [`contacts`](crate::contacts).
    fn is_stray(&self, message: &[u8], outgoing: &Outgoing) -> bool {
        let gap =
            (outgoing.kind == kind::GAP).then(|| Gap::read(&outgoing.submessage(message)).ok()).flatten();
        gap.is_some_and(|Gap { reader, writer, start, base, set }| {
            let is_answer = reader == EntityId::UNKNOWN && base == start + 1 && set.bits == 0;
            is_answer && self.written.get(&writer).is_none_or(|&last| last < start)
        })
    }

    /// The fragments of this chunk that are to be sent: those that its reader has asked for, if Dust wrote it because of that.
    /// `None`: all.
    fn wanted(&self, message: &[u8], outgoing: &Outgoing) -> Option<Vec<u32>> {
        let (chunk, prefix) = outgoing.chunk(message).zip(outgoing.to)?;
        let reader = Guid { prefix, entity: chunk.reader };
        let Shared { wanted, fragmenter, .. } = self.shared();
        let is_one_chunk = chunk.sample_len as usize <= fragmenter.chunk_len();
        if !is_one_chunk {
            wanted.is_chunked(chunk.writer, chunk.sequence_number);
        }
        let numbers = fragmenter.numbers_of(chunk.first, chunk.sample_len);
        let taken = wanted.take(reader, chunk.writer, chunk.sequence_number, chunk.first, numbers);
        // A sample that is one chunk Dust writes as a DATA, unless it was asked: here for another writer's sample.
        let is_stray = taken.is_none() && is_one_chunk;
        if is_stray { Some(Vec::new()) } else { taken }
    }

    /// Sends a sample in fragments over UDP: all of them, or those `wanted`.
    fn send_fragments(
        &mut self,
        message: &[u8],
        outgoing: &Outgoing,
        wanted: Option<&[u32]>,
        peer: Peer<'_>,
    ) -> Outcome {
        let shared = self.running.shared();
        self.repair_count = self.repair_count.wrapping_add(1);
        let udp = shared.router.udp();
        // Whoever announces shared memory, reached by it or not, runs this plug-in, whose reassembly takes fragments of any length.
        let packet = peer.shm_locator().and_then(|_| udp.packet_payload(peer));
        let pieces = shared.fragmenter.cut(message, outgoing, wanted, packet, self.repair_count);
        let Some(mut pieces) = pieces else { return Outcome::Refused };
        let (mut all_sent, mut patience) = (true, Patience::for_bytes(pieces.payload_len()));
        while let Some(len) = pieces.next_run(&mut self.run) {
            all_sent &= udp.send_run(&self.run, len, peer, &mut patience) == self.run.len().div_ceil(len);
        }
        if wanted.is_none() && all_sent {
            let is_first = is_beginning(message, outgoing);
            // Of a sample that Dust writes in chunks each would fit shared memory, which the sample does not.
            let chunked = outgoing.chunk(message).filter(|_| is_first);
            let len = chunked.map_or(message.len(), |chunk| {
                chunk.sample_len as usize + zerodds_transport_shm::Config::RTPS_OVERHEAD
            });
            shared.router.record_pieces(peer, len);
            if is_first {
                shared.tally.fragmented();
            }
        }
        if all_sent { Outcome::Sent(Path::Udp) } else { Outcome::Refused }
    }

    /// How long this message may wait for room. An application's best-effort sample does not, nor does what carries no sample;
    /// everything else waits a little. None of the latter two takes back what others have not read yet.
    fn delivery(&self, outgoing: &Outgoing, message: &[u8], peer: Peer<'_>) -> Delivery {
        let sample = outgoing.writer(message).is_some_and(EntityId::is_user_defined);
        if sample && !outgoing.has_heartbeat {
            return Delivery::BestEffort;
        }
        let waits = outgoing.kind == kind::DATA && !self.capacity(peer).stalled;
        let patience = if waits { PATIENCE } else { Duration::ZERO };
        Delivery::Reliable { deadline: Instant::now() + patience }
    }

    /// What became of a message, and what that says of its peer. Samples tell: what is small finds room where they do not.
    fn outcome(
        &mut self,
        sent: Result<Sent, SendError>,
        peer: Peer<'_>,
        outgoing: &Outgoing,
        len: usize,
    ) -> Outcome {
        let mut capacity = self.capacity(peer);
        let outcome = match sent {
            Ok(sent) if sent.by_shm > 0 => Outcome::Sent(Path::SharedMemory),
            Ok(sent) if sent.by_udp > 0 => Outcome::Sent(Path::Udp),
            Ok(sent) => match sent.unserved.first().map(|unserved| &unserved.why) {
                Some(Refusal::Full) => Outcome::Full,
                Some(&Refusal::TooLarge { max, .. }) => {
                    capacity.len_max = Some(max.max(self.shared().router.udp().max_message_len()));
                    Outcome::Refused
                }
                _ => Outcome::Refused,
            },
            Err(SendError::Loan(LoanError::Full { .. })) => Outcome::Full,
            Err(SendError::Loan(error @ LoanError::NoMemory { .. })) => {
                if !std::mem::replace(&mut self.has_lacked_memory, true) {
                    tracing::warn!(reason = %error, "message sent by UDP; further ones are only counted, in no_memory");
                }
                Outcome::Refused
            }
            Err(_) => Outcome::Refused,
        };
        if let (Some(locator), kind::DATA) = (peer.shm_locator(), outgoing.kind) {
            match outcome {
                Outcome::Sent(Path::SharedMemory) => {
                    (capacity.stalled, capacity.len_taken) = (false, len.max(capacity.len_taken));
                }
                Outcome::Sent(_) => capacity.stalled = false,
                // Of the peer's room a full socket says nothing.
                Outcome::Full => {
                    let path = self.shared().router.route(peer, len).path;
                    capacity.stalled |= path == Path::SharedMemory;
                }
                Outcome::Refused => {}
            }
            self.note(locator, capacity);
        }
        outcome
    }

    fn capacity(&self, peer: Peer<'_>) -> Capacity {
        let capacity = peer.shm_locator().and_then(|locator| self.capacities.get(&locator));
        capacity.copied().unwrap_or_default()
    }

    fn note(&mut self, locator: Locator, capacity: Capacity) {
        if self.capacities.len() >= CAPACITIES_MAX && !self.capacities.contains_key(&locator) {
            let any = self.capacities.keys().next().copied();
            any.map(|any| self.capacities.remove(&any));
        }
        self.capacities.insert(locator, capacity);
    }
}

/// Whether this is a sample, or a chunk of one, for a reader that is no more.
fn is_departed(departed: &Departed, message: &[u8], outgoing: &Outgoing) -> bool {
    let whole = outgoing.data(message).map(|data| data.reader);
    let reader = whole.or_else(|| outgoing.chunk(message).map(|chunk| chunk.reader));
    let reader = outgoing.to.zip(reader).map(|(prefix, entity)| Guid { prefix, entity });
    reader.is_some_and(|reader| departed.contains(&reader))
}

/// Whether a sample begins here: of one that Dust writes in chunks the first one counts.
fn is_beginning(message: &[u8], outgoing: &Outgoing) -> bool {
    outgoing.chunk(message).is_none_or(|chunk| chunk.first == 1)
}

/// The longest that Dust's thread waits for a peer's room.
pub(crate) const PATIENCE: Duration = Duration::from_millis(40);
/// What Dust writes whole, however short fragments are: announcements, with the application's own data in them, and keys of what is
/// disposed of. A datagram carries no more.
const NEVER_CUT_MAX: usize = zerodds_transport_udp::Config::MAX_DATAGRAM_MAX;
/// From here on, a copy costs more than a loan.
const LARGE: usize = 256 << 10;
/// Samples of an SEDP writer that are remembered; beyond it all are heard once more.
const ANNOUNCED_MAX: usize = 1 << 14;
/// Beyond it another one is forgotten, and tried anew should it still be there.
const CAPACITIES_MAX: usize = 1024;

#[cfg(all(test, feature = "testing"))]
mod tests;
