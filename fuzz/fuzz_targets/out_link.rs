//! The sending half of a link while its receiver writes whatever it likes, between any two accesses of ours.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use zerodds_transport_shm::fuzzing::{Outgoing, Write};

#[derive(Arbitrary, Debug)]
enum Step {
    /// The receiver writes to one of the words on which everything hangs, now or while we do the next steps ...
    Word(u8, u64),
    Near(u8, u8),
    Later(u8, u64),
    LaterNear(u8, u8),
    /// ... or does what a correct one does.
    Taken(u8),
    Released(u8, u8),
    Small(u16),
    Record { len: u32, reliable: bool, quota: u32, keep: bool },
    Reap,
    Withdraw,
    Filling(u32),
}

/// Head, cursor and end of direction 0, and two of its release words.
const WORDS: [usize; 5] = [0x280, 0x300, 0x380, 0xd000, 0xd008];

fn word(index: u8, value: u64) -> Write {
    Write { at: WORDS[usize::from(index) % WORDS.len()] / 8, value, wide: true }
}

/// A small value; of the cursor a position that may be right, since the first page of slots is used in turn.
fn near(index: u8, value: u8) -> Write {
    let is_cursor = WORDS[usize::from(index) % WORDS.len()] == 0x300;
    word(index, u64::from(value) * if is_cursor { 257 } else { 1 })
}

fuzz_target!(|steps: Vec<Step>| {
    let mut link = Outgoing::new();
    for step in steps {
        match step {
            Step::Word(index, value) => link.write(word(index, value)),
            Step::Near(index, value) => link.write(near(index, value)),
            Step::Later(index, value) => link.script(word(index, value)),
            Step::LaterNear(index, value) => link.script(near(index, value)),
            Step::Taken(count) => link.taken(u64::from(count % 4)),
            Step::Released(handle, position) => link.released(handle.into(), position.into()),
            Step::Small(len) => {
                link.small(len.into());
            }
            Step::Record { len, reliable, quota, keep } => {
                link.record(len % (300 << 10), reliable, quota.into(), keep);
            }
            Step::Reap => link.reap(),
            Step::Withdraw => link.withdraw(),
            Step::Filling(quota) => {
                let _ = link.is_filling(quota.into());
            }
        }
        link.check();
    }
    link.gone();
});
