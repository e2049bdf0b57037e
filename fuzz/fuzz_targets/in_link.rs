//! The receiving half of a link (slots, lane, end word) while its sender writes whatever it likes, between any two
//! accesses of ours.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use zerodds_transport_shm::fuzzing::{Incoming, Write};

#[derive(Arbitrary, Debug)]
enum Step {
    /// The sender writes a word now ...
    Write(u16, Value, bool),
    /// ... or to one of the words on which everything hangs ...
    Word(u8, Value),
    /// ... or while we do the next steps.
    Later(u8, Value),
    /// Something like a message, in the ring or in the lane.
    Slot { slots: [u8; 2], position: u8, message: u8, offset: u16, len: u16, handle: Value },
    Record { position: u8, ready: u16, message: u8 },
    Take,
    Close,
}

/// Values near which something happens.
#[derive(Arbitrary, Debug, Clone, Copy)]
enum Value {
    Small(u8),
    Below(u8),
    Any(u64),
    Half(u8),
}

impl Value {
    fn get(self) -> u64 {
        match self {
            Self::Small(value) => value.into(),
            Self::Below(value) => u64::MAX - u64::from(value),
            Self::Any(value) => value,
            Self::Half(value) => u64::from(u32::MAX) - 128 + u64::from(value),
        }
    }
}

/// A word that nobody reads, head, cursor and end of direction 0, and the first words of its lane, slots and releases.
const WORDS: [usize; 10] =
    [0x200, 0x280, 0x300, 0x380, 0x1000, 0x1008, 0x9000, 0x9010, 0x9020, 0xd000];

fn word(index: u8, value: Value) -> Write {
    Write { at: WORDS[usize::from(index) % WORDS.len()] / 8, value: value.get(), wide: true }
}

fuzz_target!(|input: (bool, Vec<Step>)| {
    let (trusted, steps) = input;
    let mut link = Incoming::new(trusted);
    for step in steps {
        match step {
            Step::Write(at, value, wide) => {
                link.write(Write { at: usize::from(at), value: value.get(), wide });
            }
            Step::Word(index, value) => link.write(word(index, value)),
            Step::Later(index, value) => link.script(word(index, value)),
            Step::Slot { slots, position, message, offset, len, handle } => {
                let handle = handle.get() as u32;
                let words = [offset.into(), len.into(), handle];
                link.publish(slots.map(u32::from), position.into(), message.into(), words);
            }
            Step::Record { position, ready, message } => {
                link.push(u64::from(position) * 16, ready.into(), message.into());
            }
            Step::Take => {
                link.take();
            }
            Step::Close => link.close(),
        }
    }
    link.settle();
});
