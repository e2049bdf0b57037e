//! One part of the ring: its records in the order of their addresses, and the place where the next one is looked for.
//!
//! ```text
//!   first ─▶ … ─▶ record    ahead ─▶ … ─▶ last
//!                         ▲ at
//! ```
//! A list through the arena's table: to put a record at the place that a walk has found, and to remove one, takes a few stores.
//!
//! Rejected: a tree by address, which was a tenth of all instructions of a message. Nobody asks for any address: a walk passes
//! the records one by one, and begins where the last one ended.

use crate::arena::{Record, RecordId, warm_len};

#[derive(Debug)]
pub(crate) struct Area {
    pub(crate) base: u64,
    pub(crate) soft_end: u64,
    pub(crate) end: u64,
    /// Where the next record is looked for.
    place: Place,
    /// Where the walk began.
    begun: Place,
    first: Option<RecordId>,
    last: Option<RecordId>,
}

/// A place that is not within a record.
#[derive(Clone, Copy, Debug)]
struct Place {
    at: u64,
    /// The first record beyond it.
    ahead: Option<RecordId>,
}

impl Area {
    pub(crate) const fn new(base: u64, soft_end: u64, end: u64) -> Self {
        let place = Place { at: base, ahead: None };
        Self { base, soft_end, end, place, begun: place, first: None, last: None }
    }

    /// Where the next record is looked for.
    pub(crate) const fn next(&self) -> u64 {
        self.place.at
    }

    /// Adds this record, which starts there; the one after it is looked for behind it.
    pub(crate) fn put(&mut self, records: &mut [Record], id: RecordId) {
        let behind = self.place.ahead;
        let before = match behind {
            Some(behind) => records[behind as usize].before.replace(id),
            None => self.last.replace(id),
        };
        match before {
            Some(before) => records[before as usize].behind = Some(id),
            None => self.first = Some(id),
        }
        let record = &mut records[id as usize];
        (record.before, record.behind) = (before, behind);
        self.place.at = record.end();
    }

    /// Removes this record.
    pub(crate) fn remove(&mut self, records: &mut [Record], id: RecordId) {
        let Record { before, behind, .. } = records[id as usize];
        match before {
            Some(before) => records[before as usize].behind = behind,
            None => self.first = behind,
        }
        match behind {
            Some(behind) => records[behind as usize].before = before,
            None => self.last = before,
        }
        for place in [&mut self.place, &mut self.begun] {
            if place.ahead == Some(id) {
                place.ahead = behind;
            }
        }
    }

    /// Shortens this record. What comes next follows it if it was to follow it before.
    pub(crate) fn shorten(&mut self, records: &mut [Record], id: RecordId, len: u64) {
        let record = &mut records[id as usize];
        let is_last_put = self.place.at == record.end();
        record.len = len;
        if is_last_put {
            self.place.at = record.end();
        }
    }

    /// Goes on behind what was put last, up to `limit`, if nothing lies there: also where the beginning is free again.
    pub(crate) fn go_on(&mut self, len: u64, limit: u64) -> bool {
        self.place.ahead.is_none() && self.extend(self.place.at + len, limit)
    }

    /// A walk for `len` bytes begins: behind what was put last. At the beginning where there is nothing, at the end of the
    /// area, and from beyond the part that stays warm once half of that is free: a ring that had to grow for a while shrinks
    /// to it again, and what lies behind a little that is free there is not walked over for it.
    pub(crate) fn begin_walk(&mut self, records: &[Record], len: u64, end: u64) {
        self.begun = self.place;
        let free = self.base + warm_len(len) / 2;
        let is_free = || self.first.is_none_or(|first| records[first as usize].start >= free);
        let is_cold = self.place.at >= self.base + warm_len(len) && is_free();
        if is_cold || self.first.is_none() || self.place.at + len > end {
            self.go_to_base();
        }
    }

    /// The records that begin within the next `len` bytes.
    pub(crate) fn within<'a>(
        &self,
        records: &'a [Record],
        len: u64,
    ) -> impl Iterator<Item = RecordId> + use<'a> {
        let end = self.place.at + len;
        let is_within = move |id: &RecordId| records[*id as usize].start < end;
        std::iter::successors(self.place.ahead.filter(is_within), move |&id| {
            records[id as usize].behind.filter(is_within)
        })
    }

    /// Goes on behind this record, which begins beyond the place.
    pub(crate) fn pass(&mut self, records: &[Record], id: RecordId) {
        let record = &records[id as usize];
        self.place = Place { at: record.end(), ahead: record.behind };
    }

    pub(crate) const fn go_to_base(&mut self) {
        self.place = Place { at: self.base, ahead: self.first };
    }

    /// Goes back to where a walk in vain began.
    pub(crate) const fn go_back(&mut self) {
        self.place = self.begun;
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    /// The end of its last record, or its beginning.
    pub(crate) fn live_end(&self, records: &[Record]) -> u64 {
        self.last.map_or(self.base, |last| records[last as usize].end())
    }

    /// Uses more of the area, up to `limit`: `len` bytes behind its last record are looked at next, if there are so many.
    pub(crate) fn grow(&mut self, records: &[Record], len: u64, limit: u64) -> bool {
        let at = self.live_end(records);
        let is_there = self.extend(at + len, limit);
        if is_there {
            self.place = Place { at, ahead: None };
        }
        is_there
    }

    /// Uses the area up to `end`, if that is not beyond `limit`.
    fn extend(&mut self, end: u64, limit: u64) -> bool {
        let is_there = end <= self.end.min(limit);
        if is_there {
            self.soft_end = self.soft_end.max(end);
        }
        is_there
    }

    /// What holds between any two calls.
    #[cfg(test)]
    pub(crate) fn check(&self, records: &[Record]) {
        let order: Vec<RecordId> =
            std::iter::successors(self.first, |&id| records[id as usize].behind).collect();
        let mut back: Vec<RecordId> =
            std::iter::successors(self.last, |&id| records[id as usize].before).collect();
        back.reverse();
        assert_eq!(order, back);
        let record = |id: RecordId| &records[id as usize];
        assert!(order.windows(2).all(|pair| record(pair[0]).end() <= record(pair[1]).start));
        let at = self.place.at;
        assert_eq!(self.place.ahead, order.iter().copied().find(|&id| record(id).start >= at));
        assert!(order.iter().all(|&id| record(id).start >= at || record(id).end() <= at));
    }
}
