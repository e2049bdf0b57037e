//! What RTPS is given of one sample, and what is left of one that it did not take.

use crate::loan::Memory;
use crate::payload::Payload;
use crate::protocol::HEADER_LEN;
use crate::writing::Refused;
use bytes::Bytes;
use rustdds::{GUID, WriteOptions, WriteOptionsBuilder};
use zerodds_transport_shm::ShmSent;

/// One sample for RTPS to carry.
#[derive(Clone)]
pub(crate) struct Post {
    pub(crate) payload: Payload,
    /// The reader whose participant gets it; `None`: all.
    pub(crate) to: Option<GUID>,
}

impl Post {
    pub(crate) const fn plain(bytes: Bytes) -> Self {
        Self { payload: Payload::plain(bytes), to: None }
    }

    /// The user's options, directed to whom this is for.
    pub(crate) fn options(&self, options: &WriteOptions) -> WriteOptions {
        let Some(reader) = self.to else { return options.clone() };
        like(options).to_single_reader(reader).build()
    }
}

/// The same options, to be changed.
pub(crate) fn like(options: &WriteOptions) -> WriteOptionsBuilder {
    let mut same = WriteOptionsBuilder::new()
        .related_sample_identity_opt(options.related_sample_identity())
        .best_effort_may_block(options.best_effort_may_block());
    if let Some(timestamp) = options.source_timestamp() {
        same = same.source_timestamp(timestamp);
    }
    if let Some(reader) = options.to_single_reader() {
        same = same.to_single_reader(reader);
    }
    same
}

/// A sample that was not written after all.
pub(crate) struct Unwritten {
    pub(crate) why: Refused,
    pub(crate) remains: Option<Remains>,
}

/// What is left of such a sample.
pub(crate) enum Remains {
    /// It was filled in place, and nothing came of it.
    Filled(Memory),
    /// It was sent to somebody, who may read it where it is.
    Sent(ShmSent),
    /// RTPS was to have it.
    Posted(Bytes),
}

impl Remains {
    /// Its memory, or a copy where others have that.
    pub(crate) fn into_memory(self) -> Memory {
        match self {
            Self::Filled(memory) => memory,
            Self::Sent(sample) => Memory::Heap(cdr_of(&sample).to_vec()),
            Self::Posted(bytes) => Memory::Heap(bytes.into()),
        }
    }
}

impl From<Refused> for Unwritten {
    fn from(why: Refused) -> Self {
        Self { why, remains: None }
    }
}

impl From<Unwritten> for Refused {
    fn from(Unwritten { why, .. }: Unwritten) -> Self {
        why
    }
}

/// The CDR of a sample that was sent.
pub(crate) fn cdr_of(sample: &ShmSent) -> &[u8] {
    sample.get(HEADER_LEN..).unwrap_or_default()
}
