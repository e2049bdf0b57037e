//! Everything that comes in passes here before Dust sees it.
//!
//! ```text
//!   message ─▶ each submessage, checked ─┬─ as it is, or patched ──▶ one message for Dust
//!                                        ├─ DATA_FRAG, HEARTBEAT ──▶ reassembly ──▶ whole samples for Dust
//!                                        ├─ NACK_FRAG ─────────────▶ wanted ──────▶ a request Dust can answer
//!                                        ├─ a DATA of discovery ───▶ estate ──────▶ what Dust has to be told besides
//!                                        └─ malformed, not for us, of no use ──▶ dropped, counted
//! ```
//! Dust 0.16 takes what it is given at its word. Found in its source, each of which ends the process or keeps
//! its only thread busy: number sets of more than 256 bits (a panic), fragments of size 0 (a division), GAPs of
//! any span (a loop over each number), INFO_REPLY (`todo!`), numbers at the edge of their range (overflow),
//! discovery payloads (see [`discovery`](crate::discovery)). A submessage without a length that is not DATA
//! makes it read the body as headers, so such lengths are filled in.
//!
//! What Dust does not do is keep account of single numbers: of a GAP it takes all that is older for received too, and what was lost
//! on the way is acknowledged and never delivered. So Dust is given a GAP as one DATA for each number, which a reliable reader
//! of it takes if it is the next. Others are a lost GAP to it: it asks again when a HEARTBEAT comes.
//!
//! Other valid traffic is copied once, into the vector that Dust's interface asks for, with a few octets changed: whom a DATA is for that
//! names nobody, the end and the count of a HEARTBEAT, and what of discovery Dust must not read. Of a participant that has not announced
//! itself nothing passes but that it does so: Dust knows no writer or reader of it, and nothing is noted here.

mod admit;
mod afresh;
mod complaints;
mod follow;
mod kept;

use crate::addresses::Addresses;
use crate::announce::Neighbourhood;
use crate::contacts::Contacts;
use crate::departed::Departed;
use crate::estate::Estates;
use crate::fragment::Fragmenter;
use crate::reassembly::{Assembled, Hearing, Origin, Reassembly, Request};
use crate::rtps::SUBMESSAGE_HEADER_LEN;
use crate::rtps::{
    Content, Gap, Guid, GuidPrefix, HEADER_LEN, Heartbeat, Malformed, MessageWriter, NackFrag, Submessage,
    Submessages, header,
};
use crate::tally::Tally;
use crate::wanted::{Along, Wanted};
use afresh::Returning;
use complaints::Complaints;
use follow::Followed;
use kept::Kept;
use std::sync::Arc;
use std::time::Instant;
use zerodds_core::{Endianness, Locator, Path};

/// The inbound path of one participant.
#[derive(Debug)]
pub(crate) struct Inbound {
    reassembly: Reassembly,
    fragmenter: Fragmenter,
    estates: Estates,
    /// Who has a link with us.
    neighbourhood: Neighbourhood,
    contacts: Arc<Contacts>,
    departed: Arc<Departed>,
    addresses: Arc<Addresses>,
    wanted: Arc<Wanted>,
    tally: Arc<Tally>,
    /// Our own participant, once Dust has said anything.
    own: Option<GuidPrefix>,
    /// What the submessage in hand brings about: Dust sees it after what has been kept of the message so far.
    brought_about: Vec<Vec<u8>>,
    /// What the requests for fragments before the submessage in hand have asked Dust for.
    along: Along,
    /// Numbers of GAPs that Dust was given one by one from the message in hand.
    gaps: usize,
    /// What others are to hear because of what has come.
    answers: Vec<Request>,
    /// Who was told lately that we have gone.
    returning: Returning,
    /// The last fragment of the message in hand, if more of its sample are welcome.
    followed: Option<Followed>,
    complaints: Complaints,
}

/// What the receiver of a message knows when it reaches a submessage (DDSI-RTPS 2.5 §8.3.4).
#[derive(Clone, Copy)]
struct Context {
    origin: Origin,
    /// An INFO_DST named us or everyone, or there was none.
    for_us: bool,
    /// Who speaks is neither dead nor ourselves from outside.
    is_heard: bool,
    now: Instant,
}

/// What becomes of a submessage.
enum Fate {
    Drop,
    Keep,
    /// Kept with these octets changed, at offsets in the message.
    Patch(Patches),
}

type Patches = Vec<(usize, Vec<u8>)>;

impl Inbound {
    pub(crate) fn new(
        budget: usize,
        fragmenter: Fragmenter,
        contacts: Arc<Contacts>,
        wanted: Arc<Wanted>,
        departed: Arc<Departed>,
        addresses: Arc<Addresses>,
        tally: Arc<Tally>,
    ) -> Self {
        let reassembly = Reassembly::new(budget, Arc::clone(&contacts), Arc::clone(&tally));
        let (estates, brought_about) = (Estates::default(), Vec::new());
        Self {
            reassembly,
            fragmenter,
            estates,
            neighbourhood: Neighbourhood::default(),
            contacts,
            departed,
            addresses,
            wanted,
            tally,
            own: None,
            brought_about,
            along: Along::default(),
            gaps: 0,
            answers: Vec::new(),
            returning: Returning::default(),
            followed: None,
            complaints: Complaints::default(),
        }
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
        self.own = own;
        (self.followed, self.along, self.gaps) = (None, Along::default(), 0);
        let prefix = match header(message) {
            Ok(prefix) => prefix,
            Err(malformed) => return self.tally.malformed(malformed),
        };
        let mut header = [0; HEADER_LEN];
        header.copy_from_slice(&message[..HEADER_LEN]);
        let origin = Origin { header, prefix, timestamp: None, path };
        let is_heard = self.is_heard(&origin, now);
        if is_heard {
            self.estates.heard(prefix, now);
        }
        let mut context = Context { origin, for_us: true, is_heard, now };
        let mut kept = Kept::of(header, message.len());
        for submessage in Submessages::of(message) {
            let fate = submessage.and_then(|submessage| {
                let fate = self.submessage(&mut context, &submessage)?;
                kept.add(message, &submessage, fate)
            });
            if let Err(malformed) = fate {
                self.tally.malformed(malformed);
            }
            self.release(now);
            if !self.brought_about.is_empty() {
                out.extend(kept.cut(&context.origin));
                out.append(&mut self.brought_about);
            }
        }
        out.extend(kept.end());
    }

    /// What is to be sent because of what has come since it was last asked for.
    pub(crate) fn answers(&mut self) -> Vec<Request> {
        std::mem::take(&mut self.answers)
    }

    /// When [`requests`](Self::requests) has something to do again.
    pub(crate) fn deadline(&mut self) -> Option<Instant> {
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
        self.release(now);
        out.append(&mut self.brought_about);
        requests
    }

    /// When a lease may have ended.
    pub(crate) const fn lease_deadline(&self) -> Option<Instant> {
        self.estates.deadline()
    }

    /// Takes leave of the participants that by `as_of` had been silent for longer than they had said, and have not been heard since,
    /// but for those that have a link with us.
    pub(crate) fn end_leases(&mut self, as_of: Instant, out: &mut Vec<Vec<u8>>) {
        let alive = self.neighbourhood.linked().collect();
        for prefix in self.estates.ended(self.own, &alive, as_of) {
            tracing::info!(participant = ?prefix, "participant is silent; its lease has ended");
            self.take_leave_of(prefix);
            self.estates.forsake(prefix, as_of);
        }
        out.append(&mut self.brought_about);
    }

    /// A participant speaks through the link of `peer`.
    pub(crate) fn linked(&mut self, peer: Locator, prefix: GuidPrefix) {
        self.neighbourhood.note(peer, prefix);
    }

    /// The link of `peer` ended, for a reason that says whether the participant did so too. Who has said goodbye by UDP has,
    /// whatever the reason. Where nothing had come through the link, it was that of whoever announces it and has no other; by UDP, as
    /// anybody could, who could as well say goodbye in that one's name.
    pub(crate) fn unlinked(&mut self, peer: &Locator, has_ended: bool, now: Instant, out: &mut Vec<Vec<u8>>) {
        let ended = match self.neighbourhood.unlinked(peer) {
            Some(one) if has_ended || one.is_leaving => vec![one.prefix],
            None if has_ended => {
                let mut here = self.addresses.at(peer);
                here.retain(|one| !self.neighbourhood.linked().any(|linked| linked == *one));
                here
            }
            _ => Vec::new(),
        };
        ended.into_iter().for_each(|prefix| self.died(prefix, now, out));
    }

    /// A participant has died without a word.
    pub(crate) fn died(&mut self, prefix: GuidPrefix, now: Instant, out: &mut Vec<Vec<u8>>) {
        if self.estates.has(prefix) {
            tracing::info!(participant = ?prefix, "participant died; Dust is told at once");
            self.take_leave_of(prefix);
            self.estates.forsake(prefix, now);
        }
        self.returning.forget(prefix);
        self.estates.bury(prefix, now);
        out.append(&mut self.brought_about);
    }

    /// A participant is gone: nothing of what it began will be finished, and Dust has to forget it.
    fn take_leave_of(&mut self, prefix: GuidPrefix) {
        self.reassembly.forget(|writer| writer.prefix == prefix);
        self.departed.forget(prefix);
        self.addresses.forget(prefix);
        self.brought_about.extend(self.estates.farewell(prefix, self.own));
    }

    /// What is left of the dead is not heard, nor are our own multicasts that come back: what we say to ourselves has its own
    /// way.
    fn is_heard(&mut self, origin: &Origin, now: Instant) -> bool {
        let echoes = origin.path.is_some() && self.own == Some(origin.prefix);
        if !echoes && self.estates.is_dead(origin.prefix, now) {
            self.begin_afresh_again(origin.prefix, now);
            return false;
        }
        !echoes
    }

    fn submessage(&mut self, context: &mut Context, submessage: &Submessage<'_>) -> Result<Fate, Malformed> {
        let content = Content::read(submessage)?;
        let (prefix, now) = (context.origin.prefix, context.now);
        if !matches!(content, Content::NackFrag(_)) {
            self.along = Along::default();
        }
        match content {
            Content::InfoDst(prefix) => {
                context.for_us = prefix == GuidPrefix::UNKNOWN || self.own.is_none_or(|own| prefix == own);
                Ok(Fate::Keep)
            }
            Content::InfoSrc([_, minor, vendor @ ..], prefix) => {
                context.origin.prefix = prefix;
                // The message as such is still one of RTPS 2.
                context.origin.header[5] = minor;
                context.origin.header[6..8].copy_from_slice(&vendor);
                context.origin.header[8..].copy_from_slice(&prefix.0);
                context.origin.timestamp = None;
                context.is_heard = self.is_heard(&context.origin, now);
                Ok(Fate::Keep)
            }
            Content::InfoTs(timestamp) => {
                context.origin.timestamp = timestamp;
                Ok(Fate::Keep)
            }
            _ if !context.for_us || !context.is_heard => Ok(Fate::Drop),
            Content::Data(data) => {
                let guid = Guid { prefix, entity: data.writer };
                self.reassembly.whole(&guid, data.sequence_number);
                self.admit(&context.origin, now, submessage, &data)
            }
            _ if !self.estates.has(prefix) => Ok(Fate::Drop),
            Content::Heartbeat(Heartbeat { count, .. }) | Content::AckNack(count)
                if self.is_doubtful(&context.origin, count) =>
            {
                Ok(Fate::Drop)
            }
            Content::DataFrag(frag) => {
                if self.reassembly.fragment(&context.origin, &frag, now) {
                    self.followed = Followed::by(submessage, prefix, &frag);
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
                self.gap(&context.origin, &gap, now);
                Ok(Fate::Drop)
            }
            Content::NackFrag(nack) => {
                let request = self.nack_frag(&context.origin, &nack);
                self.brought_about.extend(request);
                Ok(Fate::Drop)
            }
            Content::AckNack(count) => Ok(self.counted(&context.origin, count, now).unwrap_or(Fate::Keep)),
            Content::Other => Ok(Fate::Drop),
        }
    }

    /// Hands over what reassembly has, which has to pass the same checks as what came whole.
    fn release(&mut self, now: Instant) {
        let mut assembled = Vec::new();
        self.reassembly.release(now, &mut assembled);
        for Assembled { origin, mut message, is_sample } in assembled {
            if !is_sample {
                self.brought_about.push(message);
                continue;
            }
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
            self.brought_about.push(message);
        }
    }

    fn heartbeat(&mut self, context: &Context, submessage: &Submessage<'_>, heartbeat: &Heartbeat) -> Fate {
        let prefix = context.origin.prefix;
        let hearing = self.reassembly.heartbeat(prefix, heartbeat, context.now);
        let (last, count) = match hearing {
            Hearing::AsItIs => (heartbeat.last, heartbeat.count),
            Hearing::Withheld => return Fate::Drop,
            Hearing::Rewritten { last, count } => (last, count),
        };
        if let Some(fate) = self.counted(&context.origin, count, context.now) {
            return fate;
        }
        if hearing == Hearing::AsItIs {
            return Fate::Keep;
        }
        let (body, order) = (submessage.offset + SUBMESSAGE_HEADER_LEN, submessage.order());
        Fate::Patch(vec![
            (body + Heartbeat::LAST_OFFSET, sequence_number_octets(last, order)),
            (body + Heartbeat::COUNT_OFFSET, long_octets(count, order)),
        ])
    }

    /// Tells Dust what will not come, each number by itself. A long GAP that leaves out nothing for the reliable readers that have
    /// spoken to the writer stays one, and begins near its end: Dust walks through it, only to remember the last. Dust has each of its
    /// readers act on a GAP, so of one that a writer addresses to one reader that is left out which another may lack, be it on its way or
    /// half received; the reader asks again, and hears it when no other waits.
    ///
    /// Which readers a writer has is known here of those that have spoken to it, and of those that it has told by name where it begins.
    /// One that came since a writer that tells all at once did so last is not known until it answers what that says next. A GAP that the
    /// writer addresses to another in the meantime is heard by it as well. To wait for each reader that has not spoken would keep every
    /// such GAP for a second where there are readers of other topics.
    fn gap(&mut self, origin: &Origin, gap: &Gap<'_>, now: Instant) {
        let writer = Guid { prefix: origin.prefix, entity: gap.writer };
        let lacking = self.contacts.lacking(&writer, gap.reader);
        let is_for_all = |number| !lacking.has(number, now);
        let until = self.reassembly.gap(writer, |number| gap.covers(number) && is_for_all(number));
        let until = until.unwrap_or(i64::MAX);
        let end = gap.base.min(until).min(lacking.from());
        let mut message = MessageWriter::new(&origin.header, Endianness::Little, 64);
        let is_long = end - gap.start > GAP_SPAN_MAX;
        let from = if is_long && gap.start <= self.contacts.complete_below(&writer) {
            message.gap((gap.reader, gap.writer), end - 1, end);
            end
        } else {
            gap.start
        };
        let numbers = Gap { start: from, ..*gap };
        let numbers = numbers.numbers().take_while(|&number| number < until);
        let numbers: Vec<_> = numbers.take(GAP_NUMBERS_MAX - self.gaps).collect();
        self.gaps += numbers.len();
        let (told, kept): (Vec<i64>, Vec<i64>) = numbers.into_iter().partition(|&number| is_for_all(number));
        told.into_iter().for_each(|number| _ = message.nothing(gap.writer, number));
        self.contacts.spare(&writer, gap.reader, &kept, now);
        if message.len() > HEADER_LEN {
            self.brought_about.push(message.into_bytes());
        }
    }

    /// Turns a request for fragments, which Dust knows nothing of, into one for the chunks that hold them.
    fn nack_frag(&mut self, origin: &Origin, nack: &NackFrag<'_>) -> Option<Vec<u8>> {
        let reader = Guid { prefix: origin.prefix, entity: nack.reader };
        let fields = self.wanted.note(reader, nack, &self.fragmenter, &mut self.along)?;
        let mut message = MessageWriter::new(&origin.header, Endianness::Little, 96);
        message.nack_frag(&fields);
        Some(message.into_bytes())
    }
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

/// The longest GAP that is always given number by number: as long as what one ACKNACK asks for.
const GAP_SPAN_MAX: i64 = 256;
/// Numbers of one message that are given so, as many as one ACKNACK asks for. Those beyond are lost, and asked for again.
const GAP_NUMBERS_MAX: usize = 256;

#[cfg(test)]
mod against_dust;
#[cfg(test)]
mod order;
#[cfg(test)]
mod tests;
