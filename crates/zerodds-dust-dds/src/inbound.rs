//! Everything that comes in passes here before Dust sees it.
//!
//! ```text
//!   message ─▶ each submessage, checked ─┬─ as it is, or patched ──▶ one message for Dust
//!                                        ├─ DATA_FRAG, HEARTBEAT ──▶ reassembly ──▶ whole samples for Dust
//!                                        ├─ NACK_FRAG ─────────────▶ wanted ──────▶ a request Dust can answer
//!                                        └─ malformed, not for us, of no use ──▶ dropped, counted
//! ```
//! Dust 0.16 takes what it is given at its word. Found in its source, each of which ends the process or keeps
//! its only thread busy: number sets of more than 256 bits (a panic), fragments of size 0 (a division), GAPs of
//! any span (a loop over each number), INFO_REPLY (`todo!`), numbers at the edge of their range (overflow),
//! discovery payloads (see [`discovery`](crate::discovery)). A submessage without a length that is not DATA
//! makes it read the body as headers, so such lengths are filled in.
//!
//! Valid traffic is copied once, into the vector that Dust's interface asks for, and not changed otherwise.

use crate::contacts::Contacts;
use crate::discovery;
use crate::fragment::Fragmenter;
use crate::reassembly::{Assembled, Hearing, Origin, Reassembly, Request};
use crate::rtps::{
    Content, Data, EntityId, Gap, Guid, GuidPrefix, HEADER_LEN, Heartbeat, Malformed, MessageWriter,
    NackFrag, Submessage, Submessages, header, pid,
};
use crate::rtps::{Parameters, SUBMESSAGE_HEADER_LEN};
use crate::tally::Tally;
use crate::wanted::Wanted;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use zerodds_core::{Endianness, Path};

/// The inbound path of one participant.
#[derive(Debug)]
pub(crate) struct Inbound {
    reassembly: Reassembly,
    fragmenter: Fragmenter,
    wanted: Arc<Wanted>,
    tally: Arc<Tally>,
    census: Census,
}

/// What the receiver of a message knows when it reaches a submessage (DDSI-RTPS 2.5 §8.3.4).
#[derive(Clone, Copy)]
struct Context {
    origin: Origin,
    /// An INFO_DST named us or everyone, or there was none.
    for_us: bool,
    own: Option<GuidPrefix>,
    now: Instant,
}

/// What becomes of a submessage.
enum Fate {
    Drop,
    Keep,
    /// Kept with these octets changed, at offsets in the message.
    Patch(Vec<(usize, Vec<u8>)>),
}

impl Inbound {
    pub(crate) fn new(
        budget: usize,
        fragmenter: Fragmenter,
        contacts: Arc<Contacts>,
        wanted: Arc<Wanted>,
        tally: Arc<Tally>,
    ) -> Self {
        let (reassembly, census) = (Reassembly::new(budget, contacts), Census::default());
        Self { reassembly, fragmenter, wanted, tally, census }
    }

    /// Takes a message that came by `path`, or from ourselves, for the participant `own` if its name is known
    /// yet. What Dust has to see is appended to `out`, in order.
    pub(crate) fn message(
        &mut self,
        message: &[u8],
        path: Option<Path>,
        own: Option<GuidPrefix>,
        now: Instant,
        out: &mut Vec<Vec<u8>>,
    ) {
        let prefix = match header(message) {
            Ok(prefix) => prefix,
            Err(malformed) => return self.tally.malformed(malformed),
        };
        let mut header = [0; HEADER_LEN];
        header.copy_from_slice(&message[..HEADER_LEN]);
        let origin = Origin { header, prefix, timestamp: None, path };
        let mut context = Context { origin, for_us: true, own, now };
        let mut kept = Kept::of(header, message.len());
        for submessage in Submessages::of(message) {
            let fate = submessage.and_then(|submessage| {
                let fate = self.submessage(&mut context, &submessage, out)?;
                kept.add(message, &submessage, fate)
            });
            if let Err(malformed) = fate {
                self.tally.malformed(malformed);
            }
        }
        out.extend(kept.into_message());
        self.release(now, out);
    }

    /// When [`requests`](Self::requests) has something to do again.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.reassembly.deadline()
    }

    /// Requests for missing fragments that are due, in the name of the participant with this header.
    pub(crate) fn requests(
        &mut self,
        header: &[u8; HEADER_LEN],
        now: Instant,
        out: &mut Vec<Vec<u8>>,
    ) -> Vec<Request> {
        let requests = self.reassembly.requests(header, now);
        self.release(now, out);
        self.tally.set_incomplete(self.reassembly.dropped());
        requests
    }

    /// A participant is gone: nothing of what it began will be finished.
    pub(crate) fn forget(&mut self, prefix: GuidPrefix) {
        self.reassembly.forget(prefix);
        self.census.remove(prefix);
    }

    fn submessage(
        &mut self,
        context: &mut Context,
        submessage: &Submessage<'_>,
        out: &mut Vec<Vec<u8>>,
    ) -> Result<Fate, Malformed> {
        let content = Content::read(submessage)?;
        match content {
            Content::InfoDst(prefix) => {
                let own = context.own.unwrap_or(prefix);
                context.for_us = prefix == GuidPrefix::UNKNOWN || prefix == own;
                return Ok(Fate::Keep);
            }
            Content::InfoSrc(prefix) => {
                context.origin.prefix = prefix;
                context.origin.header[8..].copy_from_slice(&prefix.0);
                return Ok(Fate::Keep);
            }
            Content::InfoTs(timestamp) => {
                context.origin.timestamp = timestamp;
                return Ok(Fate::Keep);
            }
            Content::Other => return Ok(Fate::Drop),
            _ if !context.for_us => return Ok(Fate::Drop),
            _ => {}
        }
        let (prefix, now) = (context.origin.prefix, context.now);
        match content {
            Content::Data(data) => self.data(context, submessage, &data),
            Content::DataFrag(frag) => {
                // Dust knows no writer of a participant that has not announced itself.
                if self.census.has(prefix) && self.reassembly.fragment(&context.origin, &frag, now) {
                    self.release(now, out);
                }
                Ok(Fate::Drop)
            }
            Content::Heartbeat(heartbeat) => Ok(self.heartbeat(context, submessage, &heartbeat)),
            Content::HeartbeatFrag(frag) => {
                let writer = Guid { prefix, entity: frag.writer };
                self.reassembly.heartbeat_frag(&writer, frag.sequence_number, now);
                Ok(Fate::Drop)
            }
            Content::Gap(gap) => {
                self.reassembly.gap(prefix, &gap);
                Ok(bounded_gap(submessage, &gap))
            }
            Content::NackFrag(nack) => {
                out.extend(self.nack_frag(&context.origin, &nack));
                Ok(Fate::Drop)
            }
            Content::AckNack => Ok(Fate::Keep),
            Content::InfoDst(_) | Content::InfoSrc(_) | Content::InfoTs(_) | Content::Other => Ok(Fate::Drop),
        }
    }

    /// A sample that came whole.
    fn data(
        &mut self,
        context: &Context,
        submessage: &Submessage<'_>,
        data: &Data<'_>,
    ) -> Result<Fate, Malformed> {
        let guid = Guid { prefix: context.origin.prefix, entity: data.writer };
        self.reassembly.whole(&guid, data.sequence_number);
        self.admit(&context.origin, context.now, submessage, data)
    }

    /// Hands over what reassembly has, which has to pass the same checks as what came whole.
    fn release(&mut self, now: Instant, out: &mut Vec<Vec<u8>>) {
        let mut assembled = Vec::new();
        self.reassembly.release(&mut assembled);
        for Assembled { origin, mut message } in assembled {
            let mut admitted = Ok(Fate::Keep);
            for submessage in Submessages::of(&message).flatten() {
                if let Ok(Content::Data(data)) = Content::read(&submessage) {
                    self.tally.reassembled();
                    admitted = self.admit(&origin, now, &submessage, &data);
                }
            }
            match admitted {
                Ok(Fate::Drop) => continue,
                Ok(Fate::Keep) => {}
                Ok(Fate::Patch(patches)) => patches.iter().for_each(|(at, octets)| {
                    message[*at..at + octets.len()].copy_from_slice(octets);
                }),
                Err(malformed) => {
                    self.tally.malformed(malformed);
                    continue;
                }
            }
            out.push(message);
        }
    }

    /// Decides whether Dust may see a sample.
    fn admit(
        &mut self,
        origin: &Origin,
        now: Instant,
        submessage: &Submessage<'_>,
        data: &Data<'_>,
    ) -> Result<Fate, Malformed> {
        let prefix = origin.prefix;
        let announces = data.writer == EntityId::SPDP_WRITER;
        let mut patches = Vec::new();
        match data.writer {
            EntityId::TYPE_LOOKUP_REQUEST_WRITER | EntityId::TYPE_LOOKUP_REPLY_WRITER => {
                return Ok(Fate::Drop);
            }
            _ if announces || data.reader != EntityId::SPDP_READER => {}
            _ => return Err(Malformed::Fields),
        }
        if discovery::is_discovery(data.writer) {
            let goodbye = is_disposed(submessage, data);
            if announces && goodbye {
                self.census.remove(prefix);
            } else if announces && !self.census.admit(prefix, now) {
                return Ok(Fate::Drop);
            }
            if !goodbye {
                let payload_at = submessage.end() - data.payload.len();
                let blanked = discovery::check(data.payload)?;
                patches
                    .extend(blanked.into_iter().map(|at| (payload_at + at, pid::PAD.to_ne_bytes().to_vec())));
            }
        }
        if !announces && data.reader == EntityId::UNKNOWN {
            let reader_at = submessage.offset + SUBMESSAGE_HEADER_LEN + 4;
            patches.push((reader_at, EntityId::NOBODY.0.to_vec()));
        }
        if let Some(path) = origin.path.filter(|_| data.writer.is_user_defined()) {
            self.tally.received_sample(path, Guid { prefix, entity: data.writer }, data.sequence_number);
        }
        Ok(if patches.is_empty() { Fate::Keep } else { Fate::Patch(patches) })
    }

    fn heartbeat(&mut self, context: &Context, submessage: &Submessage<'_>, heartbeat: &Heartbeat) -> Fate {
        let prefix = context.origin.prefix;
        let (last, count) = match self.reassembly.heartbeat(prefix, heartbeat, context.now) {
            Hearing::AsItIs => return Fate::Keep,
            Hearing::Withheld => return Fate::Drop,
            Hearing::Rewritten { last, count } => (last, count),
        };
        let (body, order) = (submessage.offset + SUBMESSAGE_HEADER_LEN, submessage.order());
        Fate::Patch(vec![
            (body + Heartbeat::LAST_OFFSET, sequence_number_octets(last, order)),
            (body + Heartbeat::COUNT_OFFSET, long_octets(count, order)),
        ])
    }

    /// Turns a request for fragments, which Dust knows nothing of, into one for the chunks that hold them.
    fn nack_frag(&self, origin: &Origin, nack: &NackFrag<'_>) -> Option<Vec<u8>> {
        let reader = Guid { prefix: origin.prefix, entity: nack.reader };
        let fields = self.wanted.note(reader, nack, &self.fragmenter)?;
        let mut message = MessageWriter::new(&origin.header, Endianness::Little, 96);
        message.nack_frag(&fields);
        Some(message.into_bytes())
    }
}

/// The message that Dust gets, as far as it has been looked at.
struct Kept {
    bytes: Vec<u8>,
    /// Something other than INFO is among it.
    worthwhile: bool,
}

impl Kept {
    /// With memory for `len` bytes: a large message must not grow into ever larger places.
    fn of(header: [u8; HEADER_LEN], len: usize) -> Self {
        let mut bytes = Vec::with_capacity(len);
        bytes.extend_from_slice(&header);
        Self { bytes, worthwhile: false }
    }

    fn add(&mut self, message: &[u8], submessage: &Submessage<'_>, fate: Fate) -> Result<(), Malformed> {
        let patches = match fate {
            Fate::Drop => return Ok(()),
            Fate::Keep => Vec::new(),
            Fate::Patch(patches) => patches,
        };
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&message[submessage.offset..submessage.end()]);
        for (offset, octets) in patches {
            let to = at + offset - submessage.offset;
            self.bytes[to..to + octets.len()].copy_from_slice(&octets);
        }
        if submessage.open_ended && submessage.kind != crate::rtps::kind::DATA {
            let len = u16::try_from(submessage.body.len()).map_err(|_| Malformed::Truncated)?;
            let len = match submessage.order() {
                Endianness::Big => len.to_be_bytes(),
                Endianness::Little => len.to_le_bytes(),
            };
            self.bytes[at + 2..at + SUBMESSAGE_HEADER_LEN].copy_from_slice(&len);
        }
        use crate::rtps::kind::{INFO_DST, INFO_SRC, INFO_TS};
        self.worthwhile |= !matches!(submessage.kind, INFO_DST | INFO_SRC | INFO_TS);
        Ok(())
    }

    fn into_message(self) -> Option<Vec<u8>> {
        self.worthwhile.then_some(self.bytes)
    }
}

/// Dust walks through a GAP number by number, only to remember the last: a long one may as well begin there.
fn bounded_gap(submessage: &Submessage<'_>, gap: &Gap<'_>) -> Fate {
    if gap.base - gap.start <= GAP_SPAN_MAX {
        return Fate::Keep;
    }
    let start_at = submessage.offset + SUBMESSAGE_HEADER_LEN + Gap::START_OFFSET;
    Fate::Patch(vec![(start_at, sequence_number_octets(gap.base - 1, submessage.order()))])
}

/// Whether a DATA says that its instance is gone (§9.6.4.9): disposed, unregistered, or both. Of several statuses the first
/// counts, as it does for Dust.
fn is_disposed(submessage: &Submessage<'_>, data: &Data<'_>) -> bool {
    let mut parameters = Parameters::of(data.inline_qos, submessage.order()).flatten();
    let status = parameters.find(|&(id, ..)| id == pid::STATUS_INFO);
    status.is_some_and(|(.., value)| matches!(value, [0, 0, 0, 1..=3]))
}

fn sequence_number_octets(number: i64, order: Endianness) -> Vec<u8> {
    let (high, low) = ((number >> 32) as i32, number as i32);
    [long_octets(high, order), long_octets(low, order)].concat()
}

fn long_octets(value: i32, order: Endianness) -> Vec<u8> {
    match order {
        Endianness::Big => value.to_be_bytes().to_vec(),
        Endianness::Little => value.to_le_bytes().to_vec(),
    }
}

/// The participants whose announcements were let through. Dust keeps what it discovers for as long as the
/// announcement's own lease says, so a network that invents participants could fill its memory.
#[derive(Debug, Default)]
struct Census(HashMap<GuidPrefix, Instant>);

impl Census {
    fn admit(&mut self, prefix: GuidPrefix, now: Instant) -> bool {
        if self.0.len() >= PARTICIPANTS_MAX && !self.0.contains_key(&prefix) {
            self.0.retain(|_, &mut seen| now.duration_since(seen) < SILENCE_MAX);
        }
        let room = self.0.len() < PARTICIPANTS_MAX || self.0.contains_key(&prefix);
        if room {
            self.0.insert(prefix, now);
        }
        room
    }

    fn has(&self, prefix: GuidPrefix) -> bool {
        self.0.contains_key(&prefix)
    }

    fn remove(&mut self, prefix: GuidPrefix) {
        self.0.remove(&prefix);
    }
}

/// The longest GAP that is left as it is.
const GAP_SPAN_MAX: i64 = 1024;
/// Participants of one domain that are let through at a time.
pub(crate) const PARTICIPANTS_MAX: usize = 1024;
/// Participants announce themselves every few seconds.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(100);

#[cfg(test)]
mod against_dust;
#[cfg(test)]
mod tests;
