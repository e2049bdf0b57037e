//! Which link between two peers is meant.

/// One link, from its beginning to its end: another one between the same two peers has another id. Ids are random, and
/// each of the two sides has its own.
///
/// What a peer said on one link need not hold on the next. Whoever sends by what was said compares, after sending, the
/// id of [`ShmTransport::link_id`](crate::ShmTransport::link_id) with that of
/// [`ShmReceiver::link_id`](crate::ShmReceiver::link_id) by which it was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkId(pub(crate) u64);
