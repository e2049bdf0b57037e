//! What RTPS has to carry of one sample, in posts: one for all, or one for each participant.

use crate::payload::Payload;
use crate::protocol::HEADER_LEN;
use crate::routes::{Plan, Target};
use crate::writing::{Outlet, Undescribed};
use bytes::Bytes;
use rustdds::{GUID, WriteOptions, WriteOptionsBuilder};
use smallvec::SmallVec;
use std::sync::Arc;
use zerodds_transport_shm::ShmSent;

/// What RTPS has to carry of one sample.
pub(crate) struct Posts {
    posts: smallvec::IntoIter<[Post; 1]>,
    /// Where the sample was shared.
    pub(crate) undescribed: Option<Undescribed>,
    /// The sample, and whom it was for, while somebody could be matched who was not thought of.
    sent: Option<(ShmSent, Arc<Plan>)>,
    /// Some of it is in RTPS that was meant for shared memory.
    pub(crate) falls_back: bool,
}

impl Posts {
    pub(crate) fn new(
        posts: SmallVec<[Post; 1]>,
        undescribed: Undescribed,
        sent: Option<(ShmSent, Arc<Plan>)>,
        falls_back: bool,
    ) -> Self {
        Self { posts: posts.into_iter(), undescribed: Some(undescribed), sent, falls_back }
    }

    pub(crate) fn plain(bytes: Bytes, falls_back: bool) -> Self {
        let posts = SmallVec::from([Post::plain(bytes)]).into_iter();
        Self { posts, undescribed: None, sent: None, falls_back }
    }

    /// The next one, when RTPS has those before. The last are for whoever was matched in the meantime: such a reader was
    /// sent a descriptor of what it does not have, or a gap.
    pub(crate) fn next(&mut self, outlet: &Outlet) -> Option<Post> {
        if self.posts.len() == 0
            && let Some((sample, plan)) = self.sent.take()
        {
            let is_current = outlet.is_current(&plan);
            let newcomers = if is_current { Vec::new() } else { plan.newcomers(&outlet.plan()) };
            let post = |reader: Target| Post {
                payload: Payload::plain(Bytes::copy_from_slice(cdr_of(&sample))),
                to: Some(reader.guid()),
            };
            self.posts = newcomers.into_iter().map(post).collect::<SmallVec<_>>().into_iter();
        }
        self.posts.next()
    }

    /// The sample, where RTPS did not take this post of it.
    pub(crate) fn remains(self, refused: Post) -> Remains {
        match self.sent {
            Some((sample, _)) => Remains::Ring(sample),
            None => Remains::Heap(refused.payload.bytes),
        }
    }
}

/// A sample that was not written after all.
pub(crate) enum Remains {
    Ring(ShmSent),
    Heap(Bytes),
}

impl Remains {
    /// Its CDR, in memory of its own.
    pub(crate) fn into_vec(self) -> Vec<u8> {
        match self {
            Self::Ring(sample) => cdr_of(&sample).to_vec(),
            Self::Heap(bytes) => bytes.into(),
        }
    }
}

/// The CDR of a sample that was sent.
pub(crate) fn cdr_of(sample: &ShmSent) -> &[u8] {
    sample.get(HEADER_LEN..).unwrap_or_default()
}

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
