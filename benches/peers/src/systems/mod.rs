//! What comes from the registry, each set up as its own documentation advises for speed.
//!
//! One file is one peer; its first lines say how it is set up and on whose word. What none of them may do: lose a
//! message (a system that cannot help it says so), spin where its name does not say so, leave the payload unread.

#[cfg(feature = "aeron")]
mod aeron;
mod iceoryx2;
mod published_dds;
mod published_shm;
mod zenoh;

use zerodds_benches::system::{Failure, System};

/// All of them.
pub(crate) fn all() -> Vec<Box<dyn System>> {
    vec![
        Box::new(iceoryx2::Iceoryx2(iceoryx2::Waits::Event)),
        Box::new(iceoryx2::Iceoryx2(iceoryx2::Waits::Polling)),
        #[cfg(feature = "aeron")]
        Box::new(aeron::AeronIpc),
        Box::new(zenoh::Zenoh),
        Box::new(published_shm::PublishedShm),
        Box::new(published_dds::PublishedDds(published_dds::Tuning::Defaults)),
        Box::new(published_dds::PublishedDds(published_dds::Tuning::Tuned)),
    ]
}

/// How many messages a queue holds, where a peer lets its user choose: deep enough that neither side waits for every
/// single message, shallow enough that large ones stay near the cache.
fn depth(message_max: usize) -> usize {
    (DEPTH_BYTES / message_max.max(1)).clamp(4, 1024)
}

fn no_such_lane() -> Failure {
    Failure::Unsupported("this seat has no such lane".to_owned())
}

/// Messages that one call of `receive` shows at most, so that its caller sees the time now and then.
const BATCH_MAX: usize = 256;
const DEPTH_BYTES: usize = 16 << 20;
