//! What a transport has done so far, in one plain struct that can be added up.

use std::ops::Add;

/// Totals since the transport was opened. Each message counts once per peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Messages handed to a path.
    pub sent_messages: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Messages yielded to the receiver.
    pub received_messages: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Payload bytes written into shared memory: once per message, however many peers read it, and again for each attempt to find
    /// room for one that waits.
    pub written_bytes: u64,
    /// Best-effort messages taken back unread to make room, or not accepted for want of it.
    pub lost_messages: u64,
    /// Reliable messages that found no room before their deadline.
    pub timed_out_messages: u64,
    /// Messages above the transport's limit, left to another path.
    pub too_large_messages: u64,
    /// Times that there was no memory to be lent for a message: the limits of machine or container, which are asked before.
    pub no_memory: u64,
    /// Handshakes for shared memory that came to nothing, by whichever side: not admitted, another version, malformed, no place, or not
    /// over in their time.
    pub refused: u64,
    /// Links closed because the peer broke the protocol.
    pub protocol_errors: u64,
    /// Messages that a capture was to show and had no room for; they travelled all the same.
    pub uncaptured_messages: u64,
    /// Links (shared memory) that are up now.
    pub links: u64,
}

impl Add for Counters {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            sent_messages: self.sent_messages + other.sent_messages,
            sent_bytes: self.sent_bytes + other.sent_bytes,
            received_messages: self.received_messages + other.received_messages,
            received_bytes: self.received_bytes + other.received_bytes,
            written_bytes: self.written_bytes + other.written_bytes,
            lost_messages: self.lost_messages + other.lost_messages,
            timed_out_messages: self.timed_out_messages + other.timed_out_messages,
            too_large_messages: self.too_large_messages + other.too_large_messages,
            no_memory: self.no_memory + other.no_memory,
            refused: self.refused + other.refused,
            protocol_errors: self.protocol_errors + other.protocol_errors,
            uncaptured_messages: self.uncaptured_messages + other.uncaptured_messages,
            links: self.links + other.links,
        }
    }
}
