//! Makes a DATA of more than 65,535 bytes readable: the repair of what [`outgoing`](crate::outgoing) sees
//! through.
//!
//! ```text
//!   before   header │ INFO_DST │ INFO_TS │ DATA (length mod 65,536) ......... │ HEARTBEAT
//!   after    header │ INFO_DST │ INFO_TS │ DATA (length 0: to the end) ...... ┘
//!            header │ INFO_DST │ HEARTBEAT
//! ```
//! A length of 0 means "to the end of the message" (DDSI-RTPS 2.5 §9.4.5.1.3), which every reader of the
//! standard understands. The HEARTBEAT that Dust appended has to move into a message of its own.

use crate::outgoing::{HEARTBEAT_LEN, Outgoing};
use crate::rtps::{HEADER_LEN, MessageWriter, SUBMESSAGE_HEADER_LEN};
use zerodds_core::Endianness;

/// Repairs `message` in place where it needs it, and answers with the length that it then has and the message
/// that has to follow it.
pub(crate) fn repair(message: &mut [u8], outgoing: &Outgoing) -> (usize, Option<Vec<u8>>) {
    let len = outgoing.end - outgoing.offset - SUBMESSAGE_HEADER_LEN;
    if len <= usize::from(u16::MAX) {
        return (message.len(), None);
    }
    message[outgoing.offset + 2..][..2].fill(0);
    (outgoing.end, outgoing.has_heartbeat.then(|| trailing_heartbeat(message, outgoing)))
}

/// The HEARTBEAT in a message of its own.
fn trailing_heartbeat(message: &[u8], outgoing: &Outgoing) -> Vec<u8> {
    let mut header = [0; HEADER_LEN];
    header.copy_from_slice(&message[..HEADER_LEN]);
    let mut follower = MessageWriter::new(&header, Endianness::Little, HEADER_LEN + 16 + HEARTBEAT_LEN);
    if let Some(peer) = outgoing.to {
        follower.info_dst(peer);
    }
    follower.verbatim(outgoing.heartbeat(message));
    follower.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outgoing::tests::{PEER, WRITER, as_dust_writes};
    use crate::rtps::{Content, Submessages};

    /// What a reader of the standard makes of a message.
    fn contents(message: &[u8]) -> Vec<Content<'_>> {
        Submessages::of(message)
            .map(|one| Content::read(&one.expect("whole")).expect("well-formed"))
            .collect()
    }

    #[test]
    fn exactly_what_exceeds_the_length_field_is_repaired() {
        // 20 octets of fields precede the payload in a DATA.
        for (payload_len, repaired) in
            [(0, false), (65_515, false), (65_516, true), (65_517, true), (131_052, true)]
        {
            for heartbeat in [false, true] {
                let original = as_dust_writes(&vec![1; payload_len], &[], heartbeat);
                let mut message = original.clone();
                let outgoing = Outgoing::read(&message).expect("a message");
                let (len, follower) = repair(&mut message, &outgoing);
                assert_eq!(follower.is_some(), repaired && heartbeat, "{payload_len}");
                if !repaired {
                    assert_eq!((len, &message), (original.len(), &original));
                }
                let Some(Content::Data(data)) = contents(&message[..len]).get(2).copied() else {
                    panic!("no DATA")
                };
                assert_eq!((data.payload.len(), data.sequence_number), (payload_len, 42));
            }
        }
    }

    #[test]
    fn the_heartbeat_follows_to_the_same_participant() {
        let mut message = as_dust_writes(&vec![1; 1 << 20], &[], true);
        let outgoing = Outgoing::read(&message).expect("a message");
        let (len, follower) = repair(&mut message, &outgoing);
        assert_eq!(len, message.len() - HEARTBEAT_LEN);
        let follower = follower.expect("a HEARTBEAT");
        assert_eq!(follower.len(), 68);
        let [Content::InfoDst(to), Content::Heartbeat(heartbeat)] = contents(&follower)[..] else {
            panic!("{follower:?}")
        };
        assert_eq!((to, heartbeat.writer, heartbeat.first, heartbeat.last), (PEER, WRITER, 1, 42));
    }
}
