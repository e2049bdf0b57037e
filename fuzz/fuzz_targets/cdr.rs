//! Samples read from bytes of others: as views, in every representation. What is read is hardly larger than what came.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use rustdds::RepresentationIdentifier as Representation;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Debug;
use zerodds_rustdds::cdr;
use zerodds_rustdds::msg::sensor_msgs::{CompressedImage, Image, PointCloud2};

#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Mixed {
    flag: bool,
    letter: char,
    number: i64,
    float: f32,
    text: String,
    list: Vec<u16>,
    pairs: BTreeMap<u8, String>,
    choice: Choice,
    maybe: Vec<Option<u32>>,
    #[serde(with = "zerodds_rustdds::bytes")]
    bytes: Bytes,
    #[serde(with = "serde_bytes")]
    copied: Vec<u8>,
    nested: Vec<(u8, f64)>,
}

#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
enum Choice {
    None,
    One(u32),
    Two { a: u8, b: String },
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&first, rest)) = bytes.split_first() else { return };
    let encodings = [Representation::CDR_LE, Representation::CDR_BE, Representation::PL_CDR_LE];
    let encoding = encodings[usize::from(first) % encodings.len()];
    let source = Bytes::copy_from_slice(rest);
    match first / 4 % 5 {
        0 => read::<PointCloud2>(&source, encoding),
        1 => read::<Image>(&source, encoding),
        2 => read::<CompressedImage>(&source, encoding),
        3 => read::<Mixed>(&source, encoding),
        _ => read::<Vec<String>>(&source, encoding),
    }
});

fn read<D: DeserializeOwned + Serialize + Debug>(source: &Bytes, encoding: Representation) {
    let Ok(sample) = cdr::decode::<D>(source, encoding) else { return };
    let Ok(len) = cdr::serialized_len(&sample) else { return };
    // An empty string may come without its terminator, in 4 octets, and is written with it and padded, in 8.
    assert!(len <= 2 * source.len() + 16, "{len} bytes came of {}", source.len());
    let written = cdr::to_bytes(&sample, len).expect("it has the length that was measured");
    let again: D = cdr::decode(&written, Representation::CDR_LE).expect("what was written is read");
    assert_eq!(cdr::to_bytes(&again, len).expect("as long as before"), written, "and is the same");
}
