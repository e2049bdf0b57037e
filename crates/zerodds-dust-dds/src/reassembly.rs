//! Puts samples together from DATA_FRAGs, so that Dust only ever sees whole ones.
//!
//! ```text
//!   DATA_FRAG ──▶ partial sample ──complete──▶ held back while an older one is not ──▶ DATA for Dust
//!   HEARTBEAT ──▶ NACK_FRAGs for what is missing; Dust sees it end before the first partial sample, or not at all
//!   GAP ────────▶ ends before the first that is partial or held
//! ```
//! What is held back and asked for is for our reliable readers, where a writer has any: best-effort ones take what is
//! complete, and a Dust writer does not answer them.
//!
//! Why not Dust: it panics where the missing fragments of a sample span more than 256, and reads only one
//! fragment per submessage. Why hold back: a reliable reader of Dust drops what is not next in order, and
//! would ask for it whole. Why shorten the HEARTBEAT: told of a sample that it has not got, Dust asks for
//! all of it; told that the writer's last sample is the one before, it acknowledges that and waits. Why shorten the GAP: of what is
//! behind the sample a reliable reader takes nothing yet, and a best-effort one would no longer take the sample. Dust asks
//! again for the rest once the HEARTBEAT speaks of that.
//!
//! A reader that came late is told of what it lacks until it has all that it asked for: it would take a shorter HEARTBEAT to say that
//! there is no more, and whoever waits for its historical data would have it all. So Dust hears nothing while that would be shorter. What
//! it had not heard of before that became incomplete it is not told of, as any other: it may have all a moment before such a sample.
//! But where what is incomplete was on its way to another reader, and no reliable one that has spoken to the writer is left to ask for
//! the rest, the HEARTBEAT stays as it is: Dust asks for all of the sample, and from then on there is somebody.
//!
//! Of our own writers nobody asks for fragments, and what is missing when their HEARTBEAT comes does not come by itself. So they
//! keep the HEARTBEAT as it is: Dust asks for all of the sample, and what comes of it fills what is missing.
//!
//! A sample that was handed over is not begun again by late repetitions, which would be asked for to the end,
//! and so without one; only when Dust asks for it anew, or has a reader that is new: what a writer has kept for that one comes
//! unasked if it is a best-effort one. Older readers do not take it twice.
//!
//! What is held goes to Dust when the inbound path asks for it: after each submessage, which Dust may have to see before it, as a
//! GAP or the older sample, come whole; and not later, since a HEARTBEAT in the same message may count on it.
//!
//! Where no reader is reliable, an incomplete sample is over when a newer one is whole.
//!
//! Nothing here does I/O or reads a clock. Memory is bounded by a budget, beyond which the oldest partial
//! sample of the participant that has most, held ones included, is dropped: a reliable writer sends it again, since Dust never
//! acknowledged it. What it held up goes to Dust. A sample that is refused, as larger than all of that, is nothing to a reliable reader,
//! which has the others. One for which there is no memory is incomplete as any other, until there is.

mod counts;
mod partial;

use crate::contacts::{Contact, Contacts};
use crate::fragment::FRAGMENTS_MAX;
use crate::rtps::{
    DataFrag, EntityId, Guid, GuidPrefix, HEADER_LEN, Heartbeat, MessageWriter, NackFragFields,
};
use crate::tally::Tally;
use counts::Counts;
pub(crate) use partial::Partial;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};
use zerodds_core::{Endianness, Locator, Path};

/// Where a submessage came from: what the RTPS receiver state holds when it is reached (§8.3.4).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    /// The header of the message, with the prefix of the participant that its submessages are from.
    pub(crate) header: [u8; HEADER_LEN],
    pub(crate) prefix: GuidPrefix,
    /// Seconds and fraction.
    pub(crate) timestamp: Option<(u32, u32)>,
    /// `None`: from ourselves.
    pub(crate) path: Option<Path>,
}

/// A message for Dust, in the name of the participant that it came from.
#[derive(Debug)]
pub(crate) struct Assembled {
    pub(crate) origin: Origin,
    pub(crate) message: Vec<u8>,
    /// Whether what is in it came from there, and is yet to be checked.
    pub(crate) is_sample: bool,
}

/// Samples in the making, by their writers.
#[derive(Debug)]
pub(crate) struct Reassembly {
    writers: HashMap<Guid, Writer>,
    /// Those of them that may have incomplete samples: all that have any.
    unfinished: HashSet<Guid>,
    /// Of the HEARTBEATs that Dust was given.
    counts: Counts,
    /// The last sample of each writer that is too large.
    refused: HashMap<Guid, i64>,
    has_refused: bool,
    /// Writers of which something is no longer waited for.
    freed: Vec<Guid>,
    contacts: Arc<Contacts>,
    /// Bytes that partial samples, and those held behind them, may take.
    budget: usize,
    tally: Arc<Tally>,
    /// Orders partial samples by age.
    clock: u64,
    nack_count: i32,
}

#[derive(Debug)]
struct Writer {
    /// Where its last fragment came from.
    origin: Origin,
    partial: BTreeMap<i64, Partial>,
    /// Complete, but behind a partial one; nothing of what was refused.
    held: BTreeMap<i64, Option<Vec<u8>>>,
    /// The last samples that Dust was given.
    given: BTreeSet<i64>,
    /// Its last HEARTBEAT since there is anything of it here; only a reliable writer sends any.
    heartbeat: Option<Heartbeat>,
    /// The last sample of it that is not kept from Dust.
    given_last: i64,
    given_at: Option<Instant>,
}

/// A message for another participant, as one that asks a writer for fragments: as long as the smallest datagram at most.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) message: Vec<u8>,
    pub(crate) locators: Vec<Locator>,
}

/// What Dust may hear of a HEARTBEAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hearing {
    AsItIs,
    Rewritten {
        last: i64,
        count: i32,
    },
    /// Nothing: Dust has answered the same a moment ago. A writer that answers every incomplete ACKNACK with
    /// a HEARTBEAT (RustDDS does) would otherwise keep both busy until the missing fragments are there. Or it is for another reader
    /// than one that would take what it waits for as lost, or was overtaken by what all have just heard. Or it would end, for what is
    /// incomplete, before a sample that a reader which came late still waits for.
    Withheld,
}

impl Reassembly {
    pub(crate) fn new(budget: usize, contacts: Arc<Contacts>, tally: Arc<Tally>) -> Self {
        Self {
            writers: HashMap::new(),
            unfinished: HashSet::new(),
            counts: Counts::default(),
            refused: HashMap::new(),
            has_refused: false,
            freed: Vec::new(),
            contacts,
            tally,
            budget,
            clock: 0,
            nack_count: 0,
        }
    }

    /// Takes fragments of a sample; whether others of it are welcome.
    pub(crate) fn fragment(&mut self, origin: &Origin, frag: &DataFrag<'_>, now: Instant) -> bool {
        let guid = Guid { prefix: origin.prefix, entity: frag.writer };
        let number = frag.sequence_number;
        if self.writers.get(&guid).is_some_and(|writer| writer.held.contains_key(&number)) {
            return false;
        }
        if let Some(writer) = self.writers.get_mut(&guid).filter(|writer| writer.given.contains(&number)) {
            if !self.contacts.is_requested(&guid, number) {
                return false;
            }
            writer.given.remove(&number);
        }
        if frag.sample_len as usize > self.budget || frag.total() > FRAGMENTS_MAX {
            self.refuse(origin, guid, frag);
            return false;
        }
        self.clock += 1;
        let born = self.clock;
        self.make_room(guid, number, frag.sample_len as usize);
        let writer = self.writers.entry(guid).or_insert_with(|| Writer::new(*origin));
        writer.origin = *origin;
        // What has come of another cut is of no use any more: nobody will send the rest.
        if writer.partial.get(&number).is_none_or(|partial| partial.is_cut_anew(frag)) {
            writer.partial.insert(number, Partial::new(origin, frag, born, now));
            self.unfinished.insert(guid);
        }
        let Some(partial) = writer.partial.get_mut(&number) else { return false };
        if !partial.takes_memory() {
            // The fragment is lost, and asked for again after ever longer pauses, as any that is.
            self.say_refused(frag);
            return false;
        }
        let is_new = partial.add(frag, now);
        if !is_new || !partial.is_complete() {
            return is_new;
        }
        let Some(complete) = writer.partial.remove(&number) else { return false };
        writer.give(number);
        writer.held.insert(number, Some(complete.into_message()));
        self.contacts.given(&guid, number);
        self.freed.push(guid);
        self.drop_overtaken(&guid, number);
        false
    }

    /// A sample that is never put together, however often it is repeated: counted once, and the first one is said. Reliable readers hear in
    /// its turn that there is nothing: they would ask for all of it at once, for ever, and take none behind it.
    fn refuse(&mut self, origin: &Origin, guid: Guid, frag: &DataFrag<'_>) {
        let number = frag.sequence_number;
        if self.contacts.has_reliable(&guid) {
            self.forget_idle(&guid);
            let writer = self.writers.entry(guid).or_insert_with(|| Writer::new(*origin));
            writer.origin = *origin;
            writer.partial.remove(&number);
            writer.give(number);
            writer.held.insert(number, None);
            let waits = !writer.partial.is_empty();
            self.contacts.given(&guid, number);
            self.freed.push(guid);
            if waits {
                // It takes some memory, but the place of no partial sample.
                self.shrink(self.budget, usize::MAX);
            }
        }
        if self.refused.get(&guid).is_some_and(|&last| number <= last) {
            return;
        }
        if self.refused.len() >= WRITERS_MAX && !self.refused.contains_key(&guid) {
            self.refused.clear();
        }
        self.refused.insert(guid, number);
        self.tally.incomplete(1);
        self.say_refused(frag);
    }

    fn say_refused(&mut self, frag: &DataFrag<'_>) {
        if !std::mem::replace(&mut self.has_refused, true) {
            tracing::warn!(
                "a sample of {} bytes in {} fragments cannot be received: {}; further ones are only counted",
                frag.sample_len,
                frag.total(),
                self.why_refused(frag),
            );
        }
    }

    fn why_refused(&self, frag: &DataFrag<'_>) -> String {
        if frag.sample_len as usize > self.budget {
            return format!(
                "incomplete samples may take {} bytes; above 32MiB, ZERODDS_SHM_MAX_DATAGRAM on this side raises that to eight times \
                 as much",
                self.budget
            );
        }
        if frag.total() > FRAGMENTS_MAX {
            return format!(
                "it may have {FRAGMENTS_MAX} fragments; larger ones on its writer's side are fewer"
            );
        }
        "there is no memory for it now, and it is asked for again where it is reliable; `ulimit -v` or vm.overcommit_memory stands in the \
         way"
            .to_owned()
    }

    /// Drops what is older than a sample that is whole, unless a reader is reliable: Dust would not take it any more.
    fn drop_overtaken(&mut self, guid: &Guid, number: i64) {
        let Some(writer) = self.writers.get_mut(guid).filter(|writer| !writer.partial.is_empty()) else {
            return;
        };
        if self.contacts.has_reliable(guid) {
            return;
        }
        let newer = writer.partial.split_off(&number);
        let overtaken = std::mem::replace(&mut writer.partial, newer);
        self.tally.incomplete(overtaken.len());
        self.freed.push(*guid);
    }

    /// The sample in the making that a fragment was just taken for.
    pub(crate) fn partial(&mut self, writer: &Guid, number: i64) -> Option<&mut Partial> {
        self.writers.get_mut(writer)?.partial.get_mut(&number)
    }

    /// Hands over what nothing holds up any more, in order, and tells Dust of samples that were kept from it.
    pub(crate) fn release(&mut self, now: Instant, out: &mut Vec<Assembled>) {
        for guid in self.freed.drain(..) {
            let Some(writer) = self.writers.get_mut(&guid) else { continue };
            let is_ordered = !writer.partial.is_empty() && self.contacts.has_reliable(&guid);
            writer.release(guid.entity, is_ordered, out);
            let Some(heartbeat) = writer.heartbeat else { continue };
            let last = writer.last_for_dust(&heartbeat);
            let is_news = last > writer.given_last && last >= self.contacts.history(&guid);
            if is_news && !self.contacts.would_lose(&guid, &heartbeat) {
                writer.given_last = last;
                let count = self.counts.raise(guid, &Heartbeat { last, ..heartbeat }, now);
                out.push(writer.speak(&heartbeat, last, count));
            }
        }
    }

    /// Takes a HEARTBEAT and answers with what Dust may hear of it.
    pub(crate) fn heartbeat(&mut self, prefix: GuidPrefix, heartbeat: &Heartbeat, now: Instant) -> Hearing {
        let guid = Guid { prefix, entity: heartbeat.writer };
        let is_pending =
            |range: Range<i64>| self.writers.get(&guid).is_some_and(|writer| writer.is_pending(range));
        let Some(rose) = self.contacts.may_hear(&guid, heartbeat, now, is_pending) else {
            return Hearing::Withheld;
        };
        let acknowledged = self.contacts.acknowledged(&guid, heartbeat.reader);
        let Some(writer) = self.writers.get_mut(&guid) else {
            return self.counts.hear(guid, heartbeat, rose, now, &self.contacts);
        };
        if writer.first_pending().is_some() && self.contacts.would_lose(&guid, heartbeat) {
            // What is half received may be for one that begins earlier.
            return self.counts.hear_apart(&guid, heartbeat, writer.last_for_dust(heartbeat));
        }
        writer.heartbeat = Some(*heartbeat);
        if writer.forget(|number| number < heartbeat.first.max(acknowledged)) {
            self.freed.push(guid);
        }
        for (_, partial) in writer.partial.range_mut(..=heartbeat.last) {
            partial.hurry(now);
        }
        let last = writer.last_for_dust(heartbeat);
        let is_said = last == std::mem::replace(&mut writer.given_last, last);
        let lately = writer.given_at.is_some_and(|given| now.duration_since(given) < PATIENCE);
        if writer.first_pending().is_none_or(|pending| pending > heartbeat.last) {
            writer.given_at = Some(now);
            return self.counts.hear(guid, heartbeat, rose, now, &self.contacts);
        }
        let is_asked_for = self.contacts.has_reliable(&guid);
        if (is_said && lately) || (is_asked_for && last < self.contacts.history(&guid)) {
            return Hearing::Withheld;
        }
        writer.given_at = Some(now);
        let told_apart = |reader| ![EntityId::UNKNOWN, heartbeat.reader].contains(&reader);
        let is_anothers = heartbeat.reader != EntityId::UNKNOWN
            && writer.partial.values().any(|partial| told_apart(partial.reader()));
        let last = if is_anothers && !is_asked_for { heartbeat.last } else { last };
        Hearing::Rewritten { last, count: self.counts.raise(guid, &Heartbeat { last, ..*heartbeat }, now) }
    }

    /// The writer asks whether anything of this sample is missing.
    pub(crate) fn heartbeat_frag(&mut self, writer: &Guid, number: i64, now: Instant) {
        let partial = self.writers.get_mut(writer).and_then(|writer| writer.partial.get_mut(&number));
        if let Some(partial) = partial {
            partial.hurry(now);
        }
    }

    /// These samples will not come. Answers with the first that is still to come: Dust is not to hear yet of those behind it.
    pub(crate) fn gap(&mut self, guid: Guid, is_gone: impl Fn(i64) -> bool) -> Option<i64> {
        let writer = self.writers.get_mut(&guid)?;
        if writer.forget(is_gone) {
            self.freed.push(guid);
        }
        writer.first_pending()
    }

    /// This sample came whole.
    pub(crate) fn whole(&mut self, guid: &Guid, number: i64) {
        let Some(writer) = self.writers.get_mut(guid) else { return };
        writer.give(number);
        if writer.forget(|one| one == number) {
            self.freed.push(*guid);
        }
        self.drop_overtaken(guid, number);
    }

    /// A reader of ours is new, and has been given nothing yet.
    pub(crate) fn reader_came(&mut self) {
        self.writers.values_mut().for_each(|writer| writer.given.clear());
    }

    /// These writers are gone: nothing of what they began will be finished.
    pub(crate) fn forget(&mut self, gone: impl Fn(&Guid) -> bool) {
        self.writers.retain(|guid, _| !gone(guid));
        self.counts.forget(&gone);
        self.refused.retain(|guid, _| !gone(guid));
        self.contacts.forget(gone);
    }

    /// When [`requests`](Self::requests) has something to do again. Asked in every turn of the receive thread.
    pub(crate) fn deadline(&mut self) -> Option<Instant> {
        let writers = &self.writers;
        self.unfinished.retain(|guid| writers.get(guid).is_some_and(|writer| !writer.partial.is_empty()));
        let unfinished = self.unfinished.iter().filter_map(|guid| Some((guid, writers.get(guid)?)));
        let reliable = unfinished.filter(|(guid, writer)| writer.is_asked(guid, &self.contacts));
        reliable.flat_map(|(_, writer)| writer.partial.values()).map(Partial::asks_at).min()
    }

    /// The NACK_FRAGs that are due, from `header`'s participant. A sample that stays incomplete however often
    /// it is asked for is dropped, and so is one for which nobody may ask: until then Dust hears of nothing behind it.
    pub(crate) fn requests(&mut self, header: &[u8; HEADER_LEN], now: Instant) -> Vec<Request> {
        let mut requests = Vec::new();
        for (&guid, writer) in &mut self.writers {
            if !writer.is_asked(&guid, &self.contacts) {
                continue;
            }
            let before = writer.partial.len();
            writer.partial.retain(|_, partial| !partial.is_hopeless(now));
            if writer.partial.len() < before {
                self.tally.incomplete(before - writer.partial.len());
                self.freed.push(guid);
            }
            let contact = self.contacts.of(&guid).filter(Contact::is_elsewhere);
            let mut messages: Vec<MessageWriter> = Vec::new();
            for (&number, partial) in
                writer.partial.iter_mut().filter(|(_, partial)| partial.asks_at() <= now)
            {
                let windows = partial.missing_windows(now);
                partial.asked(now, !windows.is_empty());
                let Some(contact) = contact.as_ref().filter(|_| !windows.is_empty()) else { continue };
                let message = with_room(&mut messages, windows.len() * NackFragFields::LEN_MAX, || {
                    let mut message = MessageWriter::new(header, Endianness::Little, REQUEST_LEN_MAX);
                    message.info_dst(guid.prefix);
                    message
                });
                for window in windows {
                    self.nack_count = self.nack_count.wrapping_add(1);
                    message.nack_frag(&NackFragFields {
                        reader: contact.reader_for(partial.reader()),
                        writer: guid.entity,
                        sequence_number: number,
                        base: window.base,
                        bits: window.bits,
                        bitmap: window.bitmap,
                        count: self.nack_count,
                    });
                }
            }
            let Some(Contact { locators, .. }) = contact else { continue };
            let messages = messages.into_iter().map(MessageWriter::into_bytes);
            requests.extend(messages.map(|message| Request { message, locators: locators.clone() }));
        }
        requests
    }

    /// What will be asked for by `now`, by writer and sample: base, number of bits and bitmap of each window.
    #[cfg(test)]
    pub(crate) fn missing(&self, now: Instant) -> HashMap<(Guid, i64), Vec<u32>> {
        let samples = self.writers.iter().flat_map(|(&guid, writer)| {
            writer
                .partial
                .iter()
                .map(move |(&number, partial)| ((guid, number), partial.missing_windows(now)))
        });
        let numbers = |one: &partial::Window| [one.base, one.bits].into_iter().chain(one.bitmap);
        samples.map(|(sample, windows)| (sample, windows.iter().flat_map(numbers).collect())).collect()
    }

    /// Drops partial samples until another of this length fits.
    fn make_room(&mut self, guid: Guid, number: i64, len: usize) {
        let known = self.writers.get(&guid).is_some_and(|writer| writer.partial.contains_key(&number));
        if known {
            return;
        }
        self.forget_idle(&guid);
        self.shrink(self.budget - len, PARTIALS_MAX - 1);
    }

    /// Forgets writers of which nothing is on its way to Dust where another would be too many.
    fn forget_idle(&mut self, another: &Guid) {
        if self.writers.len() >= WRITERS_MAX && !self.writers.contains_key(another) {
            self.writers.retain(|_, writer| writer.first_pending().is_some());
        }
    }

    /// Drops partial samples until there are no more than so many, and they take no more than so many bytes, with what is held behind them.
    fn shrink(&mut self, bytes_max: usize, partials_max: usize) {
        loop {
            let sum = |weight: fn(&Writer) -> usize| self.writers.values().map(weight).sum::<usize>();
            let fits = sum(Writer::bytes) <= bytes_max;
            let weight = match (fits, sum(Writer::partials) <= partials_max) {
                (true, true) => return,
                (false, _) => Writer::bytes,
                (true, false) => Writer::partials,
            };
            if !self.drop_oldest(weight) {
                return;
            }
        }
    }

    /// Drops the oldest partial sample of the participant whose samples weigh most, so that nobody crowds others out.
    fn drop_oldest(&mut self, weight: fn(&Writer) -> usize) -> bool {
        let mut weights: HashMap<GuidPrefix, usize> = HashMap::new();
        for (guid, writer) in &self.writers {
            *weights.entry(guid.prefix).or_default() += weight(writer);
        }
        let heaviest = weights.into_iter().max_by_key(|&(_, weight)| weight).map(|(prefix, _)| prefix);
        let its = self.writers.iter().filter(|(guid, _)| Some(guid.prefix) == heaviest);
        let its = its.flat_map(|(guid, writer)| writer.partial.iter().map(move |one| (guid, one)));
        let oldest =
            its.min_by_key(|(_, (_, partial))| partial.born()).map(|(&guid, (&number, _))| (guid, number));
        let Some((guid, number)) = oldest else { return false };
        if let Some(writer) = self.writers.get_mut(&guid) {
            writer.partial.remove(&number);
        }
        self.freed.push(guid);
        self.tally.incomplete(1);
        true
    }
}

impl Writer {
    const fn new(origin: Origin) -> Self {
        Self {
            origin,
            partial: BTreeMap::new(),
            held: BTreeMap::new(),
            given: BTreeSet::new(),
            heartbeat: None,
            given_last: 0,
            given_at: None,
        }
    }

    fn partials(&self) -> usize {
        self.partial.len()
    }

    /// Bytes that its partial samples take, and what is held behind them. What nothing holds up goes to Dust at once.
    fn bytes(&self) -> usize {
        let Some((first, _)) = self.partial.first_key_value() else { return 0 };
        let held =
            self.held.range(first..).map(|(_, message)| message.as_ref().map_or(NOTHING_LEN, Vec::len));
        self.partial.values().map(Partial::len).chain(held).sum()
    }

    /// Whether something is missing of it that it may be asked for: it has sent a HEARTBEAT lately, or one that was answered before
    /// there was anything of it here.
    fn is_asked(&self, guid: &Guid, contacts: &Contacts) -> bool {
        !self.partial.is_empty() && (self.heartbeat.is_some() || contacts.has_reliable(guid))
    }

    /// This sample is Dust's now, or will be as soon as older ones are.
    fn give(&mut self, number: i64) {
        self.given.insert(number);
        if self.given.len() > GIVEN_MAX {
            self.given.pop_first();
        }
    }

    /// Forgets samples; whether there were any.
    fn forget(&mut self, gone: impl Fn(i64) -> bool) -> bool {
        let before = self.partial.len() + self.held.len();
        self.partial.retain(|&number, _| !gone(number));
        self.held.retain(|&number, _| !gone(number));
        self.partial.len() + self.held.len() < before
    }

    /// Hands over what no older partial sample holds up, where readers need them in order.
    fn release(&mut self, name: EntityId, is_ordered: bool, out: &mut Vec<Assembled>) {
        let origin = self.origin;
        let first_partial = self.partial.keys().next().copied().filter(|_| is_ordered);
        let first_partial = first_partial.unwrap_or(i64::MAX);
        while let Some(entry) = self.held.first_entry().filter(|entry| *entry.key() < first_partial) {
            let (number, message) = entry.remove_entry();
            let is_sample = message.is_some();
            let nothing = || {
                let mut message = MessageWriter::new(&origin.header, Endianness::Little, NOTHING_LEN);
                message.nothing(name, number);
                message.into_bytes()
            };
            out.push(Assembled { origin, message: message.unwrap_or_else(nothing), is_sample });
        }
    }

    /// A HEARTBEAT that ends with this sample, in its name.
    fn speak(&self, heartbeat: &Heartbeat, last: i64, count: i32) -> Assembled {
        let origin = self.origin;
        let mut message = MessageWriter::new(&origin.header, Endianness::Little, 64);
        message.heartbeat(Heartbeat { last, count, ..*heartbeat });
        Assembled { origin, message: message.into_bytes(), is_sample: false }
    }

    /// Where a HEARTBEAT ends for Dust: before the first sample of another's writer that is not there yet.
    fn last_for_dust(&self, heartbeat: &Heartbeat) -> i64 {
        let pending = self.first_pending().filter(|_| !self.is_our_own());
        pending.map_or(heartbeat.last, |pending| heartbeat.last.min(pending - 1)).max(heartbeat.first - 1)
    }

    /// Whether what is not here by its HEARTBEAT found no room, and is to be asked for by Dust: nothing overtakes it, and it does
    /// not repeat single fragments. Dust writes all chunks of a sample at once, and a HEARTBEAT with the last one at the earliest.
    const fn is_our_own(&self) -> bool {
        self.origin.path.is_none()
    }

    /// Whether Dust is still to be given one of these samples.
    fn is_pending(&self, range: Range<i64>) -> bool {
        self.partial.range(range.clone()).next().is_some() || self.held.range(range).next().is_some()
    }

    /// The first sample that Dust is still to be given.
    fn first_pending(&self) -> Option<i64> {
        self.partial.keys().chain(self.held.keys()).min().copied()
    }
}

/// The last of these messages, or another behind it where that has no room for so much.
fn with_room(
    messages: &mut Vec<MessageWriter>,
    len: usize,
    another: impl FnOnce() -> MessageWriter,
) -> &mut MessageWriter {
    let last = messages.pop_if(|last| last.len() + len <= REQUEST_LEN_MAX);
    messages.push_mut(last.unwrap_or_else(another))
}

/// How long a sample may stand still before its writer is asked for the rest.
const PATIENCE: Duration = Duration::from_millis(20);
/// The smallest limit that datagrams may be given (`ZERODDS_UDP_MAX_DATAGRAM`): what is longer would not leave.
const REQUEST_LEN_MAX: usize = 1232;
/// What a sample takes that was refused.
const NOTHING_LEN: usize = 64;
const PARTIALS_MAX: usize = 64;
const GIVEN_MAX: usize = 1024;
const WRITERS_MAX: usize = 256;

#[cfg(test)]
mod tests;
