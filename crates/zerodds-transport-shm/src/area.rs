//! One part of the ring: its records in the order of their addresses, and the place where the next one is looked for.
//!
//! ```text
//!   first ─▶ … ─▶ record    ahead ─▶ … ─▶ last
//!                         ▲ next
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
    /// Where the next record is looked for; never within one.
    pub(crate) next: u64,
    /// The first record beyond it.
    ahead: Option<RecordId>,
    first: Option<RecordId>,
    last: Option<RecordId>,
    count: usize,
}

impl Area {
    pub(crate) const fn new(base: u64, soft_end: u64, end: u64) -> Self {
        Self { base, soft_end, end, next: base, ahead: None, first: None, last: None, count: 0 }
    }

    /// How many records it has.
    pub(crate) const fn count(&self) -> usize {
        self.count
    }

    /// The first record beyond `next`.
    pub(crate) const fn ahead(&self) -> Option<RecordId> {
        self.ahead
    }

    /// Adds this record, which starts at `next`; the one after it is looked for behind it.
    pub(crate) fn put(&mut self, records: &mut [Record], id: RecordId) {
        let before = match self.ahead {
            Some(ahead) => records[ahead as usize].before.replace(id),
            None => self.last.replace(id),
        };
        match before {
            Some(before) => records[before as usize].behind = Some(id),
            None => self.first = Some(id),
        }
        let record = &mut records[id as usize];
        (record.before, record.behind) = (before, self.ahead);
        self.next = record.end();
        self.count += 1;
    }

    /// Removes this record. Where it was the last one, the next is put at the beginning, where memory is warm.
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
        if self.ahead == Some(id) {
            self.ahead = behind;
        }
        self.count -= 1;
        if self.count == 0 {
            self.next = self.base;
        }
    }

    /// A walk for `len` bytes begins: behind what was put last. At the beginning at the end of the area, and from beyond
    /// the part that stays warm once half of that is free: a ring that had to grow for a while shrinks to it again, and
    /// what lies behind a little that is free there is not walked over for it.
    pub(crate) fn begin_walk(&mut self, records: &[Record], len: u64, end: u64) {
        let free = self.base + warm_len(len) / 2;
        let is_free = || self.first.is_none_or(|first| records[first as usize].start >= free);
        let is_cold = self.next >= self.base + warm_len(len) && is_free();
        if is_cold || self.next + len > end {
            self.go_to_base();
        }
    }

    /// Goes on behind the record that is ahead.
    pub(crate) fn pass(&mut self, records: &[Record]) {
        if let Some(ahead) = self.ahead {
            let record = &records[ahead as usize];
            (self.next, self.ahead) = (record.end(), record.behind);
        }
    }

    pub(crate) const fn go_to_base(&mut self) {
        (self.next, self.ahead) = (self.base, self.first);
    }

    /// Goes back to where a walk in vain began.
    pub(crate) fn go_back_to(&mut self, records: &[Record], next: u64) {
        self.go_to_base();
        while let Some(ahead) = self.ahead
            && records[ahead as usize].start < next
        {
            self.ahead = records[ahead as usize].behind;
        }
        self.next = if self.count == 0 { self.base } else { next };
    }

    /// Uses more of the area, up to `limit`: `len` bytes behind its last record are looked at next, if there are so many.
    pub(crate) fn grow(&mut self, records: &[Record], len: u64, limit: u64) -> bool {
        let start = self.last.map_or(self.base, |last| records[last as usize].end());
        let end = start + len;
        let is_there = end <= self.end.min(limit);
        if is_there {
            self.soft_end = self.soft_end.max(end);
            (self.next, self.ahead) = (start, None);
        }
        is_there
    }
}
