//! Where records lie in the payload ring. Private to the sender: nothing here is shared.
//!
//! ```text
//!   0                            soft end                    main end          capacity
//!   ├── live ──┬─ free ─┬─ live ──┼ ─ ─ ─ not used yet ─ ─ ─ ┼──── reserve ─────┤
//!              ▲ next
//! ```
//! Allocation walks from `next` upwards. It asks its caller to take back what is in the way and can be taken
//! back, and *hops over* what cannot. A ring that was drained starts again at its beginning, where memory is
//! warm, and so does one whose beginning is free again once more than some MiB were gone through. The used part ends at
//! `soft end`, which grows only when a walk found no room: at first before anything is taken back, past some MiB only
//! after that. While receivers take what comes as fast as it comes, those MiB are gone through without a walk
//! (outbound.rs).
//!
//! Receivers may hold records of the main part in place for as long as they like, so it may fill up or break
//! into pieces. The **reserve** has room for one message of the largest size and is never held: what lies there
//! is copied out by its receivers before they take it, and can be taken back until then, if it is reliable too. So there is
//! always a place that a message of any accepted size will get, whatever receivers do.
//!
//! Rejected: reference counts in shared memory (a dead reader corrupts them), fixed-size pools (no
//! variable-size sample fits them all), a first-in first-out ring (one held record stops it).

use crate::area::Area;
use crate::layout::ring;

/// Names a record of the arena.
pub(crate) type RecordId = u32;

/// A live record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// First byte, header included.
    pub(crate) start: u64,
    /// Length in bytes, header included, a multiple of the unit.
    pub(crate) len: u64,
    /// Who still needs it: the loan, messages not taken, messages held.
    pub(crate) references: u32,
    /// How many of them cannot be taken back: all but best-effort messages and offers not taken.
    pub(crate) firm: u32,
    /// How many receivers may read it in place.
    pub(crate) holders: u32,
    part: Part,
    /// Its neighbours there.
    pub(crate) before: Option<RecordId>,
    pub(crate) behind: Option<RecordId>,
}

impl Record {
    /// Whether it lies in the reserve, and so may not be held by a receiver.
    pub(crate) fn in_reserve(&self) -> bool {
        self.part == Part::Reserve
    }

    /// The first byte of its payload.
    pub(crate) const fn payload(&self) -> usize {
        self.start as usize + ring::RECORD_HEADER_LEN
    }

    /// The first byte after it.
    pub(crate) const fn end(&self) -> u64 {
        self.start + self.len
    }
}

/// Whether a reference can be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// It stays until whoever has it gives it up.
    Firm,
    /// A best-effort message, or an offer, that was not taken.
    Loose,
}

/// Where a record may lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parts {
    /// In the main part only: in the reserve it would be of no use.
    Main,
    All,
}

/// All records of one ring.
#[derive(Debug)]
pub(crate) struct Arena {
    main: Area,
    reserve: Area,
    records: Vec<Record>,
    vacant: Vec<RecordId>,
    /// Nothing is put beyond this, for want of memory.
    limit: u64,
    /// Bytes of all live records.
    in_use: u64,
    /// Bytes of those that receivers may read in place, each once.
    held: u64,
    /// The most that they ever were.
    peak: u64,
}

impl Arena {
    /// An arena of `main` bytes that may be held and `reserve` bytes that may not, starting at `base`; all are
    /// multiples of [`UNIT`]. The main part is used up to `soft` bytes until more is needed.
    pub(crate) fn new(base: u64, soft: u64, main: u64, reserve: u64) -> Self {
        let middle = base + main;
        Self {
            main: Area::new(base, base + soft.min(main), middle),
            reserve: Area::new(middle, middle + reserve, middle + reserve),
            records: Vec::new(),
            vacant: Vec::new(),
            limit: u64::MAX,
            in_use: 0,
            held: 0,
            peak: 0,
        }
    }

    /// Nothing new is put beyond `limit`, a multiple of the unit, until there is another one. What is there stays.
    pub(crate) fn confine(&mut self, limit: u64) {
        self.limit = limit;
        // What was to be used beyond is not: when there is another limit, what can be taken back is asked for first. What is free
        // before a record beyond it would not be found again: the area grows behind that one.
        let used = limit.max(self.main.live_end(&self.records));
        self.main.soft_end = self.main.soft_end.min(used);
    }

    /// Finds room for `len` bytes with one reference. `take_back` is asked for records that are in the way and
    /// answers whether it dropped every reference to one.
    pub(crate) fn allocate(
        &mut self,
        len: u64,
        parts: Parts,
        mut take_back: impl FnMut(&mut Self, RecordId) -> bool,
    ) -> Option<RecordId> {
        if let found @ Some(_) = self.find(len) {
            return found;
        }
        let len = self.record_len(len)?;
        let is_found = self.walk(Part::Main, len, Some(&mut take_back))
            || self.main.grow(&self.records, len, self.limit);
        if is_found {
            Some(self.put(Part::Main, len))
        } else if parts == Parts::All && self.walk(Part::Reserve, len, Some(&mut take_back)) {
            Some(self.put(Part::Reserve, len))
        } else {
            None
        }
    }

    /// The same where nothing has to be taken back for it, within what stays warm.
    pub(crate) fn find(&mut self, len: u64) -> Option<RecordId> {
        let len = self.record_len(len)?;
        let warm = self.warm_end(len);
        let is_found = self.walk(Part::Main, len, None::<&mut fn(&mut Self, RecordId) -> bool>)
            || self.main.grow(&self.records, len, warm);
        is_found.then(|| self.put(Part::Main, len))
    }

    /// The same behind the last one, before `limit` and within what stays warm, if nothing lies there and it may be held:
    /// otherwise it has to be found out what was given back.
    pub(crate) fn go_on(&mut self, len: u64, limit: u64) -> Option<RecordId> {
        let len = self.record_len(len)?;
        let warm = self.warm_end(len).min(limit);
        let is_there = self.leaves_room(len) && self.main.go_on(len, warm);
        is_there.then(|| self.put(Part::Main, len))
    }

    /// The length of a record in whole units, if there can be one.
    fn record_len(&self, len: u64) -> Option<u64> {
        let len = len.checked_next_multiple_of(UNIT)?.max(UNIT);
        (len <= self.reserve.end - self.main.base).then_some(len)
    }

    /// Where what stays warm with records of this length ends.
    fn warm_end(&self, len: u64) -> u64 {
        (self.main.base + warm_len(len)).min(self.limit)
    }

    /// Adds a record where room was found for it.
    fn put(&mut self, part: Part, len: u64) -> RecordId {
        let id = self.vacant.pop().unwrap_or(self.records.len() as RecordId);
        let start = self.part(part).0.next();
        let record =
            Record { start, len, references: 1, firm: 1, holders: 0, part, before: None, behind: None };
        match self.records.get_mut(id as usize) {
            Some(place) => *place = record,
            None => self.records.push(record),
        }
        let (area, records) = self.part(part);
        area.put(records, id);
        self.in_use += len;
        self.peak = self.peak.max(self.in_use);
        id
    }

    /// Bytes of all live records, and the most that they ever were.
    pub(crate) const fn in_use(&self) -> (u64, u64) {
        (self.in_use, self.peak)
    }

    /// The end of the last live record of the ring.
    pub(crate) fn live_end(&self) -> u64 {
        let area = if self.reserve.is_empty() { &self.main } else { &self.reserve };
        area.live_end(&self.records)
    }

    /// Bytes of the main part and of the reserve.
    pub(crate) const fn capacity(&self) -> (u64, u64) {
        (self.main.end - self.main.base, self.reserve.end - self.reserve.base)
    }

    /// The record with this id, which must be live.
    pub(crate) fn record(&self, id: RecordId) -> &Record {
        &self.records[id as usize]
    }

    /// Whether the record with this id that started at `start` is still there.
    pub(crate) fn is_live(&self, id: RecordId, start: u64) -> bool {
        let record = self.record(id);
        record.references > 0 && record.start == start
    }

    /// Shortens a record to `len` bytes; whether that frees something.
    pub(crate) fn shorten(&mut self, id: RecordId, len: u64) -> bool {
        let len = len.next_multiple_of(UNIT).max(UNIT);
        let record = self.records[id as usize];
        if len >= record.len {
            return false;
        }
        self.in_use -= record.len - len;
        let (area, records) = self.part(record.part);
        area.shorten(records, id, len);
        true
    }

    /// Adds a reference.
    pub(crate) fn retain(&mut self, id: RecordId, hold: Hold) {
        let record = &mut self.records[id as usize];
        record.references += 1;
        record.firm += u32::from(hold == Hold::Firm);
    }

    /// Whether a receiver may read this record in place. All that are read so leave room for one record of the largest size:
    /// no number of receivers, nor of links that one of them makes and leaves, has the whole main part.
    pub(crate) fn may_be_held(&self, id: RecordId) -> bool {
        let record = self.record(id);
        let more = if record.holders == 0 { record.len } else { 0 };
        !record.in_reserve() && record.len > HELD_MIN && self.leaves_room(more)
    }

    /// Whether so many bytes more may be held.
    fn leaves_room(&self, more: u64) -> bool {
        let (main, reserve) = self.capacity();
        self.held + more <= main - reserve
    }

    /// One more receiver may read it in place.
    pub(crate) fn hold(&mut self, id: RecordId) {
        let record = &mut self.records[id as usize];
        self.held += if record.holders == 0 { record.len } else { 0 };
        record.holders += 1;
    }

    /// One of them has given it back.
    pub(crate) fn let_go(&mut self, id: RecordId) {
        let record = &mut self.records[id as usize];
        record.holders -= 1;
        self.held -= if record.holders == 0 { record.len } else { 0 };
    }

    /// A reference that could have been taken back no longer can: its message was taken.
    pub(crate) fn make_firm(&mut self, id: RecordId) {
        self.records[id as usize].firm += 1;
    }

    /// Drops a reference; the last one frees the record.
    pub(crate) fn release(&mut self, id: RecordId, hold: Hold) {
        let record = &mut self.records[id as usize];
        record.references -= 1;
        record.firm -= u32::from(hold == Hold::Firm);
        if record.references > 0 {
            return;
        }
        let part = record.part;
        self.in_use -= record.len;
        self.vacant.push(id);
        let (area, records) = self.part(part);
        area.remove(records, id);
    }

    /// Records that are live.
    #[cfg(test)]
    pub(crate) fn live(&self) -> usize {
        self.records.len() - self.vacant.len()
    }

    fn part(&mut self, part: Part) -> (&mut Area, &mut [Record]) {
        let area = match part {
            Part::Main => &mut self.main,
            Part::Reserve => &mut self.reserve,
        };
        (area, &mut self.records)
    }

    /// Walks once around a part of the ring in search of `len` free bytes; whether they are there, where the area goes on.
    /// Where a firm record is in the way, nothing before it is taken back.
    fn walk(
        &mut self,
        part: Part,
        len: u64,
        mut take_back: Option<&mut impl FnMut(&mut Self, RecordId) -> bool>,
    ) -> bool {
        let limit = self.limit;
        let (area, records) = self.part(part);
        let end = area.soft_end.min(limit);
        if area.base + len > end {
            return false;
        }
        area.begin_walk(records, len, end);
        let (begun_at, mut has_wrapped) = (area.next(), false);
        // Each round passes some records, or wraps.
        loop {
            let (area, records) = self.part(part);
            if has_wrapped && area.next() >= begun_at {
                break;
            }
            if area.next() + len > end {
                if std::mem::replace(&mut has_wrapped, true) {
                    break;
                }
                area.go_to_base();
                continue;
            }
            let stays = |&id: &RecordId| take_back.is_none() || records[id as usize].firm > 0;
            let mut passed = area.within(records, len).filter(stays).last();
            while passed.is_none() {
                let (area, records) = self.part(part);
                let Some(first) = area.within(records, len).next() else { return true };
                let is_free = take_back.as_mut().is_some_and(|take_back| take_back(self, first));
                passed = (!is_free).then_some(first);
            }
            let (area, records) = self.part(part);
            passed.into_iter().for_each(|passed| area.pass(records, passed));
        }
        self.part(part).0.go_back();
        false
    }
}

/// Records begin at multiples of this.
const UNIT: u64 = ring::UNIT as u64;
/// Records up to this many bytes are always copied out: quicker than giving them back, and held for ever they
/// would break up the ring.
const HELD_MIN: u64 = 4096;

/// Up to here the ring grows before it takes anything back; beyond, throughput falls out of the caches.
const WARM_MIN: u64 = 4 << 20;
/// Room beside two records of the size in use, so that one can be written while one is read.
const WARM_EXTRA: u64 = 1 << 20;

/// How much of the ring is used for records of `len` bytes while that suffices.
pub(crate) fn warm_len(len: u64) -> u64 {
    (2 * len + WARM_EXTRA).max(WARM_MIN)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Main,
    Reserve,
}

#[cfg(test)]
mod tests;
