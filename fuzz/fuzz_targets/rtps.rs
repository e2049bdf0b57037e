//! RTPS messages in front of Dust DDS: parsing, reassembly, discovery, what is kept of the dead.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use std::time::Duration;
use zerodds_dust_dds::fuzzing::Gate;

#[derive(Arbitrary, Debug)]
enum Step {
    /// Bytes as they are.
    Raw(Vec<u8>),
    /// Submessages behind a good header.
    Message { shm: bool, from: u8, submessages: Vec<Submessage> },
    /// Dust acknowledges something.
    Acknowledges(Submessage),
    Later(u16),
    Dies(u8),
}

#[derive(Arbitrary, Debug)]
struct Submessage {
    kind: u8,
    flags: u8,
    /// The length is what it is, or something else.
    lies: Option<u16>,
    reader: u8,
    writer: u8,
    body: Body,
    /// [`ENDLESS`]: it says that it extends to the end, which is further away than a length can say.
    end: u8,
}

#[derive(Arbitrary, Debug)]
enum Body {
    Any(Vec<u8>),
    /// The fields of most kinds: numbers with small values, then whatever.
    Numbers(Vec<u8>, Vec<u8>),
    /// A fragment that agrees with others of its sample.
    Fragment { number: u8, first: u8, count: u8, fragment: u8, sample: u16 },
    /// A parameter list, as discovery has.
    Parameters(u8, Vec<(u8, Vec<u8>)>),
}

const KINDS: [u8; 12] = [0x01, 0x06, 0x07, 0x08, 0x09, 0x0c, 0x0e, 0x0f, 0x12, 0x13, 0x15, 0x16];
/// Ids of parameters that are looked at, and of some that are not.
const PARAMETERS: [u16; 13] =
    [0x00, 0x01, 0x02, 0x29, 0x31, 0x32, 0x70, 0x71, 0x73, 0x75, 0x4014, 0x50, 0x5a];
/// Those of them that are GUIDs.
const GUIDS: [u16; 3] = [0x50, 0x5a, 0x70];
/// Seldom drawn, and not what is left where the input has ended.
const ENDLESS: u8 = 0x5a;
const READERS: [[u8; 4]; 4] = [[0; 4], [0, 0, 1, 4], [0, 0, 4, 0xc7], [0, 1, 0, 0xc7]];
const WRITERS: [[u8; 4]; 5] =
    [[0, 0, 0, 2], [0, 0, 3, 0xc2], [0, 0, 4, 0xc2], [0, 1, 0, 0xc2], [0, 0, 1, 3]];

impl Submessage {
    fn bytes(&self) -> Vec<u8> {
        let little = self.flags & 1 != 0;
        let long = |value: u32| if little { value.to_le_bytes() } else { value.to_be_bytes() };
        let short = |value: u16| if little { value.to_le_bytes() } else { value.to_be_bytes() };
        let kind = KINDS.get(usize::from(self.kind) % 16).copied().unwrap_or(self.kind);
        let ids = [
            READERS[usize::from(self.reader) % READERS.len()],
            WRITERS[usize::from(self.writer) % WRITERS.len()],
        ]
        .concat();
        let to_inline_qos = if kind == 0x16 { 28 } else { 16 };
        let head = if matches!(kind, 0x15 | 0x16) { [short(0), short(to_inline_qos)].concat() } else { vec![] };
        let mut body = [head, ids].concat();
        match &self.body {
            Body::Any(bytes) => body = bytes.clone(),
            Body::Numbers(numbers, rest) => {
                body.extend(numbers.iter().flat_map(|&number| long(number.into())));
                body.extend(rest);
            }
            Body::Fragment { number, first, count, fragment, sample } => {
                body.extend([long(0), long(u32::from(*number) + 1), long((*first).into())].concat());
                body.extend([short((*count).into()), short((*fragment).into())].concat());
                body.extend(long((*sample).into()));
                body.extend(vec![7; usize::from(*count) * usize::from(*fragment)]);
            }
            Body::Parameters(number, list) => {
                body.extend([long(0), long(u32::from(*number) + 1)].concat());
                body.extend([0, 2 + u8::from(little), 0, 0]);
                for (id, value) in list {
                    let id = PARAMETERS[usize::from(*id) % PARAMETERS.len()];
                    let mut value = value.clone();
                    if let (true, [from, a, b, c, ..]) = (GUIDS.contains(&id), &value[..]) {
                        value = [&prefix(*from)[..], &[*a, *b, *c, 4]].concat();
                    }
                    value.resize(value.len().next_multiple_of(4), 0);
                    body.extend(short(id));
                    body.extend(short(value.len() as u16));
                    body.extend(value);
                }
                body.extend([short(1), short(0)].concat());
            }
        }
        let len = if self.end == ENDLESS {
            body.resize(body.len() + usize::from(u16::MAX) + 1, 0);
            0
        } else {
            self.lies.unwrap_or(body.len() as u16)
        };
        let len = short(len);
        [&[kind, self.flags][..], &len, &body].concat()
    }
}

/// The name of a participant that speaks here.
fn prefix(from: u8) -> [u8; 12] {
    let mut prefix = *b"me, who else";
    prefix[11] += from % 3;
    prefix
}

fn message(from: u8, submessages: &[Submessage]) -> Vec<u8> {
    let header = [b"RTPS\x02\x05\x01\x03".as_slice(), &prefix(from)].concat();
    submessages.iter().fold(header, |message, submessage| [message, submessage.bytes()].concat())
}

fuzz_target!(|steps: Vec<Step>| {
    let mut gate = Gate::new(1 << 20);
    for step in steps {
        match step {
            Step::Raw(bytes) => gate.message(&bytes, false),
            Step::Message { shm, from, submessages } => gate.message(&message(from, &submessages), shm),
            Step::Acknowledges(submessage) => gate.acknowledges(&message(0, &[submessage])),
            Step::Later(ms) => gate.later(Duration::from_millis(ms.into())),
            Step::Dies(from) => gate.dies(prefix(from)),
        }
    }
});
