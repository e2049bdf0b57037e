//! The short way of fragments that follow one another, hundreds for a sample where they are cut to fit packets.
//!
//! ```text
//!   first    header │ INFO_DST │ INFO_TS │ DATA_FRAG, number 7 │ payload    checked, as every message
//!   next     the same octets ............., number 8 │ payload    compared, and copied to where it belongs
//!   next     the same octets ............., number 9 │ payload
//! ```
//! What is the same octet for octet needs no second look: it is for us, of a writer that is heard, and of the sample in the
//! making. Only the number and the payload are new, and are checked. Whatever is not of this shape (the last fragment,
//! which is shorter or has a HEARTBEAT behind it; inline QoS, or octets behind the payload, as of a writer that rounds lengths up;
//! what completes the sample) takes the long way, and nothing else happens in between, so that what the first one found stays
//! true. The time of the first is good enough for all.

use super::Inbound;
use crate::rtps::{DataFrag, Guid, GuidPrefix, Submessage};
use std::ops::Deref;
use zerodds_core::Endianness;

/// A fragment that was taken, as its message has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Followed {
    writer: Guid,
    sequence_number: i64,
    /// Where its number stands in the message.
    number_at: usize,
    /// Where its payload begins, and the message ends.
    payload_at: usize,
    end: usize,
    order: Endianness,
}

impl Followed {
    /// `None`: there is more in it than fields and payload.
    pub(super) fn by(submessage: &Submessage<'_>, prefix: GuidPrefix, frag: &DataFrag<'_>) -> Option<Self> {
        let payload_at = submessage.offset + DataFrag::PAYLOAD_OFFSET;
        let is_plain = payload_at + frag.payload.len() == submessage.end();
        is_plain.then(|| Self {
            writer: Guid { prefix, entity: frag.writer },
            sequence_number: frag.sequence_number,
            number_at: submessage.offset + DataFrag::FIRST_OFFSET,
            payload_at,
            end: submessage.end(),
            order: frag.order,
        })
    }
}

impl Inbound {
    /// Takes the messages that `next` has as far as each is the next fragment after `message`, which was the last to be
    /// taken. What is not is answered with, and has to be taken as [`message`](Self::message) does. Where nothing can follow,
    /// nothing is taken: others than `next` get their turn.
    pub(crate) fn follow<M: Deref<Target = [u8]>>(
        &mut self,
        message: &[u8],
        mut next: impl FnMut() -> Option<M>,
    ) -> Option<M> {
        let followed = self.followed.take().filter(|followed| followed.end == message.len());
        let Followed { writer, sequence_number, number_at, payload_at, order, .. } = followed?;
        let partial = self.reassembly.partial(&writer, sequence_number)?;
        loop {
            let Some(candidate) = next() else {
                self.followed = followed;
                return None;
            };
            let is_alike = candidate.len() == message.len()
                && candidate[..number_at] == message[..number_at]
                && candidate[number_at + 4..payload_at] == message[number_at + 4..payload_at];
            let number =
                candidate.get(number_at..).and_then(|at| at.first_chunk()).map(|&octets| match order {
                    Endianness::Big => u32::from_be_bytes(octets),
                    Endianness::Little => u32::from_le_bytes(octets),
                });
            let is_next =
                number.is_some_and(|number| is_alike && partial.follow(number, &candidate[payload_at..]));
            if !is_next {
                return Some(candidate);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::fragment::Fragmenter;
    use crate::inbound::tests::Gate;
    use crate::outgoing::Outgoing;
    use crate::outgoing::tests::{PEER, as_dust_writes};
    use crate::rtps::{EntityId, flag, kind};
    use proptest::prelude::*;
    use zerodds_core::Path;

    impl Gate {
        /// What Dust sees of messages that came together, as the receive thread takes them, and how many took the long way.
        fn stream(&mut self, messages: &[Vec<u8>]) -> (Vec<Vec<u8>>, usize) {
            let (mut rest, mut out, mut long) = (messages.iter().cloned(), Vec::new(), 0);
            let mut next = rest.next();
            while let Some(message) = next {
                self.inbound.message(&message, Some(Path::Udp), Some(PEER), self.now, &mut out);
                next = self.inbound.follow(&message, || rest.next()).or_else(|| rest.next());
                long += 1;
            }
            (out, long)
        }
    }

    fn payload(len: usize) -> Vec<u8> {
        (0..len).map(|index| (index % 251) as u8).collect()
    }

    /// Of which all fragments are alike.
    fn alike(len: usize) -> Vec<u8> {
        (0..len).map(|index| (index % 4) as u8).collect()
    }

    /// A sample of one of two writers, cut to fit packets, with its HEARTBEAT.
    fn fragments(writer: u8, number: u8, payload: &[u8], packet: usize) -> Vec<Vec<u8>> {
        let mut sample = as_dust_writes(payload, &[], true);
        let heartbeat = sample.len() - 32;
        for at in [60, heartbeat + 8] {
            sample[at..at + 4].copy_from_slice(&EntityId([0, 0, writer, 3]).0);
        }
        for at in [68, heartbeat + 24] {
            sample[at] = number;
        }
        let outgoing = Outgoing::read(&sample).expect("a message");
        Fragmenter::new(1 << 20, 65_507).datagrams(&sample, &outgoing, None, Some(packet), 0)
    }

    /// The same fragment, as a writer puts it that has inline QoS in each, or fills each up.
    fn dressed(mut datagram: Vec<u8>, (has_qos, padding): (bool, usize)) -> Vec<u8> {
        if datagram[48] == kind::DATA_FRAG {
            let len = usize::from(u16::from_le_bytes([datagram[50], datagram[51]]));
            datagram.splice(52 + len..52 + len, vec![0xee; padding]);
            if has_qos {
                datagram[49] |= flag::INLINE_QOS;
                datagram.splice(84..84, INLINE_QOS);
            }
            let len = len + padding + if has_qos { INLINE_QOS.len() } else { 0 };
            datagram[50..52].copy_from_slice(&(len as u16).to_le_bytes());
        }
        datagram
    }

    const INLINE_QOS: [u8; 12] = [0x70, 0, 4, 0, 1, 1, 1, 1, 1, 0, 0, 0];

    #[test]
    fn what_is_behind_a_payload_is_no_part_of_it() {
        let datagrams =
            fragments(1, 1, &alike(100_000), 1472).into_iter().map(|datagram| dressed(datagram, (false, 4)));
        let (seen, _) = Gate::new().stream(&datagrams.collect::<Vec<_>>());
        assert!(seen[0].ends_with(&alike(100_000)));
    }

    #[test]
    fn inline_qos_counts_though_the_fragment_that_has_it_comes_second() {
        let datagrams =
            fragments(1, 1, &payload(100_000), 1472).into_iter().map(|datagram| dressed(datagram, (true, 0)));
        let mut datagrams = datagrams.collect::<Vec<_>>();
        datagrams.swap(0, 1);
        let (seen, _) = Gate::new().stream(&datagrams);
        assert!(seen[0].ends_with(&[&INLINE_QOS[..], &payload(100_000)].concat()));
    }

    #[test]
    fn of_a_sample_that_comes_in_order_only_the_first_and_the_last_take_the_long_way() {
        let mut gate = Gate::new();
        let datagrams = fragments(1, 1, &payload(500_000), 1472);
        assert_eq!(datagrams.len(), 361);
        let (seen, long) = gate.stream(&datagrams);
        assert_eq!((seen.len(), long), (2, 2), "a DATA and a HEARTBEAT");
        assert!(seen[0].ends_with(&payload(500_000)));
    }

    #[test]
    fn what_is_not_taken_has_no_followers() {
        let mut gate = Gate::new();
        let mut for_another = fragments(1, 1, &payload(100_000), 1472);
        for_another.iter_mut().for_each(|datagram| datagram[24] ^= 1);
        assert_eq!(gate.stream(&for_another), (vec![], for_another.len()), "it is for somebody else");
        let datagrams = fragments(1, 1, &payload(100_000), 1472);
        gate.stream(&datagrams);
        assert_eq!(gate.stream(&datagrams[..70]).1, 70, "Dust has it");
    }

    #[test]
    fn what_comes_later_follows_too_if_nothing_has_happened_in_between() {
        let mut gate = Gate::new();
        let datagrams = fragments(1, 1, &payload(10_000), 1472);
        gate.pass(&datagrams[0]);
        for datagram in &datagrams[1..7] {
            let mut next = Some(datagram.clone());
            assert!(gate.inbound.follow(&datagrams[0], || next.take()).is_none());
            assert!(next.is_none(), "it was taken");
        }
        assert!(gate.pass(&datagrams[7])[0].ends_with(&payload(10_000)));
    }

    #[test]
    fn nothing_is_taken_where_nothing_can_follow() {
        let mut gate = Gate::new();
        let datagrams = fragments(1, 1, &payload(10_000), 1472);
        // The last has a HEARTBEAT behind it; before the others, and after them.
        for datagram in [&datagrams[7], &datagrams[0], &datagrams[7]] {
            gate.pass(datagram);
            let followed = datagram[..] == datagrams[0][..];
            assert_eq!(gate.inbound.follow(datagram, || Some(vec![0])).is_some(), followed);
        }
    }

    /// What happens to a datagram, or between it and the next.
    fn fates() -> impl Strategy<Value = Vec<(u16, u16, u8)>> {
        prop::collection::vec((0..10_u16, any::<u16>(), any::<u8>()), 300)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        /// However datagrams of two writers and two ways to cut are lost, doubled, swapped and changed, what comes of them is what
        /// comes of each by itself.
        #[test]
        fn the_short_way_leads_where_the_long_one_does(
            fates in fates(), packets in prop::array::uniform2(prop_oneof![Just(600_usize), Just(1472)]), mix in any::<bool>(),
            dresses in prop::array::uniform3((any::<bool>(), 0..5_usize)),
        ) {
            let (varied, alike) = (payload(60_000), alike(60_000));
            let mut kinds = [fragments(1, 1, &varied, packets[0]), fragments(2, 1, &alike, packets[1]), fragments(1, 2, &varied, 1472)];
            for (kind, dress) in kinds.iter_mut().zip(dresses) {
                *kind = kind.drain(..).map(|datagram| dressed(datagram, dress)).collect();
            }
            let [one, other, third] = &kinds;
            let mut all: Vec<Vec<u8>> = if mix {
                one.iter().zip(other).flat_map(|(one, other)| [one.clone(), other.clone()]).chain(third.clone()).collect()
            } else {
                kinds.concat()
            };
            all.extend(fragments(1, 1, &varied, packets[1]));
            for (index, (fate, at, octet)) in fates.into_iter().enumerate() {
                if index + 1 >= all.len() {
                    break;
                }
                match fate {
                    0 => drop(all.remove(index)),
                    1 => all.insert(index, all[index].clone()),
                    2 => all.swap(index, index + 1),
                    3 => {
                        let at = usize::from(at) % if octet & 1 == 0 { 90 } else { all[index].len() };
                        if let Some(changed) = all[index].get_mut(at) {
                            *changed ^= octet;
                        }
                    }
                    4 => all[index].truncate(usize::from(at)),
                    _ => {}
                }
            }
            let (mut short, mut long) = (Gate::new(), Gate::new());
            long.now = short.now;
            let seen: Vec<_> = all.iter().flat_map(|datagram| long.pass(datagram)).collect();
            prop_assert!(short.stream(&all).0 == seen);
            prop_assert_eq!(short.malformed(), long.malformed());
            prop_assert_eq!(short.inbound.deadline(), long.inbound.deadline());
            let later = short.now + std::time::Duration::from_millis(25);
            let [missing, expected] = [&short, &long].map(|gate| gate.inbound.reassembly.missing(later));
            prop_assert_eq!(missing, expected);
            // What is missing comes, and so all is seen.
            for datagram in kinds.concat() {
                prop_assert!(short.pass(&datagram) == long.pass(&datagram));
            }
        }
    }
}
