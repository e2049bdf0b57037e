//! What RustDDS sessions say to each other: samples and notes through shared memory, descriptors through RTPS.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use zerodds_rustdds::fuzzing::{self, Samples};

#[derive(Arbitrary, Debug)]
enum Step {
    Raw(u8, Vec<u8>),
    Note(u8, u8, Vec<u8>),
    Sample { from: u8, id: u8, instance: u8, writer: u8, cdr: u8 },
    Descriptor(u8, Vec<u8>),
    Describe { reader: u8, from: u8, id: u8, floor: u8, cdr: u8 },
    CaughtUp(u8),
}

const MAGIC: &[u8; 4] = b"ZRD\x02";

fn sample(id: u8, instance: u8, writer: u8, cdr: u8) -> Vec<u8> {
    let numbers = [u64::from(id), 0, u64::from(instance % 4)].map(u64::to_le_bytes).concat();
    let mut bytes = [MAGIC.as_slice(), &1_u32.to_le_bytes(), &numbers, &[0, 0, writer % 2, 3]].concat();
    bytes.resize(64 + usize::from(cdr), 7);
    bytes
}

fn descriptor(from: u8, id: u8, floor: u8, cdr: u8) -> Vec<u8> {
    let numbers = [u64::from(id), u64::from(floor)].map(u64::to_le_bytes).concat();
    let mut bytes = [MAGIC.as_slice(), &[from % 3; 8], &numbers, &u32::from(cdr).to_le_bytes()].concat();
    bytes.iter_mut().skip(4).for_each(|octet| *octet ^= 0xa5);
    bytes
}

fuzz_target!(|steps: Vec<Step>| {
    let mut samples = Samples::new();
    for step in steps {
        match step {
            Step::Raw(from, bytes) => {
                fuzzing::message(&bytes);
                fuzzing::descriptor(&bytes);
                samples.message(from, bytes);
            }
            Step::Note(from, kind, rest) => {
                let bytes = [MAGIC.as_slice(), &u32::from(kind % 9).to_le_bytes(), &rest].concat();
                fuzzing::message(&bytes);
                samples.message(from, bytes);
            }
            Step::Sample { from, id, instance, writer, cdr } => {
                samples.message(from, sample(id, instance, writer, cdr));
            }
            Step::Descriptor(reader, rest) => {
                let bytes = [MAGIC.as_slice(), &rest].concat();
                fuzzing::descriptor(&bytes);
                samples.decode(reader, &bytes);
            }
            Step::Describe { reader, from, id, floor, cdr } => {
                samples.decode(reader, &descriptor(from, id, floor, cdr));
            }
            Step::CaughtUp(reader) => samples.caught_up(reader),
        }
    }
    samples.end();
});
