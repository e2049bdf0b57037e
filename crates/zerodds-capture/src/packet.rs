//! An RTPS message as the IP packets that would have carried it.
//!
//! ```text
//!   up to 65,507 bytes    IP │ UDP │ the message
//!   more, most of it in   IP │ UDP │ RTPS header │ what stood before the DATA │ DATA_FRAG 1 of n
//!   one DATA              IP │ UDP │ RTPS header │ INFO_* of it               │ DATA_FRAG n of n │ what stood after it
//!   more, otherwise       IP │ UDP │ the first 65,507 bytes, and how many there were
//! ```
//! No sample that is sent by shared memory is of the third kind: a DATA of more than 65,535 bytes can only be the last
//! of its message (DDSI-RTPS 2.5 §9.4.5.1.3), and one that is hardly smaller has little beside it.

use std::net::{IpAddr, SocketAddr};

/// From where to where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
}

/// What of its message a packet has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    Whole,
    Part { number: u32, of: u32 },
    Cut,
}

/// The packets of a message.
pub(crate) struct Packets<'m> {
    message: &'m [u8],
    /// What it is, if no datagram can carry it.
    sample: Option<Sample<'m>>,
}

impl<'m> Packets<'m> {
    pub(crate) fn of(message: &'m [u8]) -> Self {
        let sample = if message.len() <= PAYLOAD_MAX { None } else { Sample::of(message) };
        Self { message, sample }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.sample.as_ref().map_or(1, Sample::fragment_count)
    }

    /// What all of them have, but for what IP and UDP put before it.
    pub(crate) fn payload_len(&self) -> usize {
        let Some(sample) = &self.sample else { return self.message.len().min(PAYLOAD_MAX) };
        let (once, count) = (sample.ahead.len() + sample.inline_qos.len() + sample.tail.len(), self.count());
        once + sample.payload.len() + count * DATA_FRAG_LEN + (count - 1) * sample.context.len()
    }

    /// Gives each of them to `each`, with its length before it was cut.
    pub(crate) fn each(&self, flow: Flow, mut each: impl FnMut(&[u8], u32, Extent)) {
        let message = self.message;
        let mut packet = Vec::with_capacity(message.len().min(PAYLOAD_MAX) + 60);
        let Some(sample) = &self.sample else {
            datagram(&mut packet, flow, &[&message[..message.len().min(PAYLOAD_MAX)]]);
            let missing = message.len().saturating_sub(PAYLOAD_MAX);
            let extent = if missing == 0 { Extent::Whole } else { Extent::Cut };
            return each(&packet, (packet.len() + missing) as u32, extent);
        };
        let of = sample.fragment_count() as u32;
        for (number, fragment) in (1..).zip(sample.payload.chunks(sample.fragment_len)) {
            packet.clear();
            let first = number == 1;
            let (ahead, qos) =
                if first { (sample.ahead, sample.inline_qos) } else { (&sample.context[..], &[][..]) };
            let head = sample.data_frag(number, qos, fragment.len());
            let tail = if number == of { sample.tail } else { &[] };
            datagram(&mut packet, flow, &[ahead, &head, qos, fragment, tail]);
            each(&packet, packet.len() as u32, Extent::Part { number, of });
        }
    }
}

/// A message that is one large DATA but for a few bytes, in its parts.
struct Sample<'m> {
    /// Everything before the DATA.
    ahead: &'m [u8],
    /// The header and what of it bears on the DATA.
    context: Vec<u8>,
    flags: u8,
    /// Reader, writer and sequence number, as they stand there.
    ids: &'m [u8; 16],
    inline_qos: &'m [u8],
    payload: &'m [u8],
    /// Of all fragments but the last.
    fragment_len: usize,
    /// Everything after the DATA.
    tail: &'m [u8],
}

impl<'m> Sample<'m> {
    fn of(message: &'m [u8]) -> Option<Self> {
        let mut at = HEADER_LEN;
        let mut context = message.get(..at).filter(|header| header.starts_with(b"RTPS"))?.to_vec();
        loop {
            let &[id, flags, a, b] = message.get(at..)?.first_chunk()?;
            let len = usize::from(word(flags, [a, b]));
            let body = message.get(at + 4..)?;
            // No length means "to the end of the message", but for these two, which may be empty (§9.4.5.1.3).
            let is_last = len == 0 && !matches!(id, PAD | INFO_TS);
            let (body, tail) = if is_last { (body, &[][..]) } else { body.split_at_checked(len)? };
            if id == DATA
                && let Some(sample) = Self::read(&message[..at], &context, flags, body, tail)
            {
                return Some(sample);
            }
            if is_last {
                return None;
            }
            let end = at + 4 + len;
            if matches!(id, INFO_TS | INFO_SRC | INFO_REPLY_IP4 | INFO_DST | INFO_REPLY) {
                context.extend(&message[at..end]);
            }
            at = end;
        }
    }

    /// A DATA (DDSI-RTPS 2.5 §9.4.5.4), if what stands around it finds room beside its fragments.
    fn read(ahead: &'m [u8], context: &[u8], flags: u8, body: &'m [u8], tail: &'m [u8]) -> Option<Self> {
        let &[_, _, a, b] = body.first_chunk()?;
        let ids = body.get(4..)?.first_chunk()?;
        let rest = body.get(4 + usize::from(word(flags, [a, b]))..)?;
        let has_qos = flags & flag::INLINE_QOS != 0;
        let qos_len = if has_qos { parameters_len(flags, rest)? } else { 0 };
        let (inline_qos, payload) = rest.split_at_checked(qos_len)?;
        let first_len = ahead.len() + DATA_FRAG_LEN + qos_len + FRAGMENT_LEN;
        let fragment_len = fragment_len(payload.len());
        let last = payload.chunks(fragment_len).last()?;
        let last_len = context.len() + DATA_FRAG_LEN + last.len() + tail.len();
        // What fits into one fragment was too large for one datagram because of what stands around it.
        let fits = first_len.max(last_len) <= PAYLOAD_MAX && payload.len() > FRAGMENT_LEN;
        let context = context.to_vec();
        fits.then_some(Self { ahead, context, flags, ids, inline_qos, payload, fragment_len, tail })
    }

    fn fragment_count(&self) -> usize {
        self.payload.len().div_ceil(self.fragment_len)
    }

    /// A DATA_FRAG (§9.4.5.5) up to its inline QoS.
    fn data_frag(&self, number: u32, qos: &[u8], len: usize) -> [u8; DATA_FRAG_LEN] {
        let little = self.flags & flag::LITTLE_ENDIAN;
        let short = |value: usize| {
            if little == 0 { (value as u16).to_be_bytes() } else { (value as u16).to_le_bytes() }
        };
        let long = |value: u32| if little == 0 { value.to_be_bytes() } else { value.to_le_bytes() };
        let has_qos = if qos.is_empty() { 0 } else { flag::INLINE_QOS };
        let is_key = if self.flags & flag::KEY == 0 { 0 } else { flag::FRAGMENT_OF_KEY };
        let mut head = [0; DATA_FRAG_LEN];
        let mut rest = &mut head[..];
        let mut put = |field: &[u8]| {
            let (here, after) = std::mem::take(&mut rest).split_at_mut(field.len());
            here.copy_from_slice(field);
            rest = after;
        };
        put(&[DATA_FRAG, little | has_qos | is_key]);
        put(&short(32 + qos.len() + len));
        put(&[0, 0]);
        put(&short(28));
        put(self.ids);
        put(&long(number));
        put(&short(1));
        put(&short(self.fragment_len));
        put(&long(self.payload.len() as u32));
        head
    }
}

/// In fragments of how many bytes a sample is shown: the last has at least four, or Wireshark takes it for malformed.
fn fragment_len(sample_len: usize) -> usize {
    let leaves_enough = |len: &usize| !(1..4).contains(&(sample_len % len));
    (1..=FRAGMENT_LEN).rev().step_by(4).find(leaves_enough).unwrap_or(FRAGMENT_LEN)
}

/// Bytes of a parameter list (§9.4.2.11) with its sentinel.
fn parameters_len(flags: u8, list: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let &[p, q, a, b] = list.get(at..)?.first_chunk()?;
        at += 4;
        if word(flags, [p, q]) == SENTINEL {
            return Some(at);
        }
        at += usize::from(word(flags, [a, b]));
    }
}

/// A 16-bit field of a submessage with these flags.
const fn word(flags: u8, octets: [u8; 2]) -> u16 {
    if flags & flag::LITTLE_ENDIAN == 0 { u16::from_be_bytes(octets) } else { u16::from_le_bytes(octets) }
}

/// Appends an IP packet with a UDP datagram; both lengths fit.
fn datagram(packet: &mut Vec<u8>, flow: Flow, parts: &[&[u8]]) {
    let len = parts.iter().map(|part| part.len()).sum::<usize>() as u16 + 8;
    match (flow.from.ip(), flow.to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut header = [0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, UDP, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            header[2..4].copy_from_slice(&(len + 20).to_be_bytes());
            header[12..16].copy_from_slice(&from.octets());
            header[16..].copy_from_slice(&to.octets());
            let checksum = !folded(sum(0, &header));
            header[10..12].copy_from_slice(&checksum.to_be_bytes());
            packet.extend(header);
        }
        (from, to) => {
            packet.extend([0x60, 0, 0, 0]);
            packet.extend(len.to_be_bytes());
            packet.extend([UDP, 64]);
            packet.extend(v6(from));
            packet.extend(v6(to));
        }
    }
    let (ports, addresses) = (packet.len(), packet.len() - if flow.is_v4() { 8 } else { 32 });
    packet.extend(flow.from.port().to_be_bytes());
    packet.extend(flow.to.port().to_be_bytes());
    packet.extend(len.to_be_bytes());
    packet.extend([0, 0]);
    parts.iter().for_each(|part| packet.extend_from_slice(part));
    // The pseudo-header has the addresses, the protocol and the length once more.
    let checksum = !folded(sum(u64::from(UDP) + u64::from(len), &packet[addresses..]));
    let checksum = if checksum == 0 { u16::MAX } else { checksum };
    packet[ports + 6..ports + 8].copy_from_slice(&checksum.to_be_bytes());
}

impl Flow {
    fn is_v4(self) -> bool {
        self.from.is_ipv4() && self.to.is_ipv4()
    }
}

fn v6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The ones' complement sum of RFC 1071, not folded.
fn sum(start: u64, bytes: &[u8]) -> u64 {
    let pairs = bytes.chunks(2).map(|pair| match *pair {
        [a, b] => u16::from_be_bytes([a, b]),
        [a] => u16::from_be_bytes([a, 0]),
        _ => 0,
    });
    pairs.fold(start, |sum, pair| sum + u64::from(pair))
}

fn folded(mut sum: u64) -> u16 {
    while sum > u64::from(u16::MAX) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// What one datagram of IPv4 can carry.
const PAYLOAD_MAX: usize = 65_507;
/// Leaves room for what stands before it.
const FRAGMENT_LEN: usize = 60_000;
const HEADER_LEN: usize = 20;
/// A DATA_FRAG up to its inline QoS.
const DATA_FRAG_LEN: usize = 36;
const UDP: u8 = 17;
const PAD: u8 = 0x01;
const DATA: u8 = 0x15;
const DATA_FRAG: u8 = 0x16;
const INFO_TS: u8 = 0x09;
const INFO_SRC: u8 = 0x0c;
const INFO_REPLY_IP4: u8 = 0x0d;
const INFO_DST: u8 = 0x0e;
const INFO_REPLY: u8 = 0x0f;
const SENTINEL: u16 = 1;

mod flag {
    pub(super) const LITTLE_ENDIAN: u8 = 1;
    pub(super) const INLINE_QOS: u8 = 2;
    pub(super) const KEY: u8 = 8;
    pub(super) const FRAGMENT_OF_KEY: u8 = 4;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FLOW: fn() -> Flow = || Flow {
        from: SocketAddr::from(([127, 1, 2, 3], 7411)),
        to: SocketAddr::from(([127, 4, 5, 6], 7411)),
    };

    /// A message of INFO_DST, INFO_TS and a DATA to its end, in either byte order.
    fn message(little: bool, inline_qos: &[u8], payload: &[u8]) -> Vec<u8> {
        let e = u8::from(little);
        let len = |len: u16| if little { len.to_le_bytes() } else { len.to_be_bytes() };
        let mut bytes = b"RTPS\x02\x05\x01\x14a participant".to_vec();
        bytes.truncate(20);
        bytes.extend(
            [&[INFO_DST, e][..], &len(12), b"another one.", &[INFO_TS, e], &len(8), &[7; 8]].concat(),
        );
        let flags = e | 4 | if inline_qos.is_empty() { 0 } else { flag::INLINE_QOS };
        bytes.extend([&[DATA, flags, 0, 0, 0, 0][..], &len(16), b"read", b"writ", &[0; 7], &[9]].concat());
        bytes.extend([inline_qos, payload].concat());
        bytes
    }

    fn all(message: &[u8], flow: Flow) -> Vec<(Vec<u8>, u32, Extent)> {
        let mut all = Vec::new();
        let packets = Packets::of(message);
        packets.each(flow, |packet, len, extent| all.push((packet.to_vec(), len, extent)));
        let headers_len = if flow.is_v4() { 28 } else { 48 };
        let payload_len = all.iter().map(|(packet, ..)| packet.len() - headers_len).sum();
        assert_eq!((packets.count(), packets.payload_len()), (all.len(), payload_len));
        all
    }

    #[test]
    fn what_a_datagram_can_carry_is_in_one_as_it_is() {
        let bytes = message(true, &[], &[5; 1000]);
        let [(packet, len, Extent::Whole)] = &all(&bytes, FLOW())[..] else { panic!("one packet") };
        assert_eq!((packet.len(), &packet[28..]), (*len as usize, &bytes[..]));
        assert_eq!(packet[..4], [0x45, 0, (packet.len() >> 8) as u8, packet.len() as u8]);
        assert_eq!(folded(sum(0, &packet[..20])), u16::MAX, "the header's checksum");
        assert_eq!(folded(sum(17 + len.to_owned() as u64 - 20, &packet[12..])), u16::MAX, "that of UDP");
    }

    #[test]
    fn a_peer_with_an_address_of_ipv6_has_a_packet_of_ipv6() {
        let flow = Flow { to: SocketAddr::from(([0xfd, 0, 0, 0, 0, 0, 0, 1], 7411)), ..FLOW() };
        let [(packet, len, Extent::Whole)] = &all(&message(true, &[], &[5; 9]), flow)[..] else {
            panic!("one")
        };
        assert_eq!((packet[0], packet[6], packet.len()), (0x60, UDP, *len as usize));
        assert_eq!(folded(sum(17 + u64::from(*len) - 40, &packet[8..])), u16::MAX, "UDP's checksum");
    }

    #[test]
    fn a_large_sample_is_there_whole_in_fragments_with_what_stood_before_it() {
        for (little, inline_qos) in [(true, vec![]), (false, vec![0, 7, 0, 4, 1, 2, 3, 4, 0, 1, 0, 0])] {
            let payload: Vec<u8> = (0..200_001_u32).map(|index| (index / 7) as u8).collect();
            let parts = all(&message(little, &inline_qos, &payload), FLOW());
            assert_eq!(parts.len(), 4);
            let mut found: Vec<u8> = Vec::new();
            for (index, (packet, len, extent)) in (0_u32..).zip(&parts) {
                assert_eq!(
                    (*len as usize, *extent),
                    (packet.len(), Extent::Part { number: index + 1, of: 4 })
                );
                let rtps = &packet[28..];
                assert_eq!(&rtps[20..48], &message(little, &[], &[])[20..48], "INFO_DST and INFO_TS");
                let qos_len = if index == 0 { inline_qos.len() } else { 0 };
                assert_eq!(rtps[49], u8::from(little) | if qos_len > 0 { flag::INLINE_QOS } else { 0 });
                assert_eq!((rtps[48], &rtps[56..64]), (DATA_FRAG, &b"readwrit"[..]));
                found.extend(&rtps[84 + qos_len..]);
            }
            assert!(found == payload);
        }
    }

    #[test]
    fn a_sample_whose_length_can_still_be_said_is_there_whole_with_what_stood_after_it() {
        for (payload_len, heartbeat) in
            [(65_404, &[7, 1, 28, 0][..]), (65_515, &[7, 1, 28, 0]), (65_515, &[])]
        {
            let payload: Vec<u8> = (0..payload_len).map(|index| (index / 7) as u8).collect();
            let mut bytes = message(true, &[], &payload);
            bytes[50..52].copy_from_slice(&(20 + payload_len as u16).to_le_bytes());
            bytes.extend(heartbeat);
            bytes.extend(&[5; 28][..7 * heartbeat.len()]);
            let parts = all(&bytes, FLOW());
            let [(first, _, Extent::Part { number: 1, of: 2 }), (last, ..)] = &parts[..] else {
                panic!("{:?}", parts.iter().map(|(.., extent)| extent).collect::<Vec<_>>())
            };
            assert!([&first[112..], &last[112..]].concat() == bytes[72..], "all of it");
        }
    }

    #[test]
    fn what_a_submessage_to_the_end_of_its_message_has_is_not_taken_for_submessages() {
        let mut note = b"RTPS\x02\x05\x01\x14a participant".to_vec();
        note.truncate(20);
        note.extend([0x80, 1, 0, 0]);
        note.extend(&message(true, &[], &[5; 100_000])[20..]);
        let [(_, _, Extent::Cut)] = &all(&note, FLOW())[..] else { panic!("one packet") };
    }

    #[test]
    fn what_cannot_be_taken_apart_says_how_much_of_it_is_missing() {
        let [(packet, len, Extent::Cut)] = &all(&vec![7; 100_000], FLOW())[..] else { panic!("one packet") };
        assert_eq!((packet.len(), *len), (65_535, 100_028));
    }

    proptest! {
        #[test]
        fn no_message_is_too_strange_to_be_shown(mut bytes in prop::collection::vec(any::<u8>(), 0..200), fill in any::<u8>()) {
            bytes.splice(..0, *b"RTPS\x02\x05\x01\x14a participant..");
            bytes.truncate(20 + bytes.len() % 180);
            bytes.resize(70_000, fill);
            for (packet, len, _) in all(&bytes, FLOW()) {
                prop_assert!(packet.len() <= 65_535 && packet.len() <= len as usize);
            }
        }
    }
}
