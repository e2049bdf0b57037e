//! Decoding, and where the bytes of a sample lie afterwards.

use bytes::Bytes;
use proptest::prelude::*;
use rustdds::RepresentationIdentifier as Encoding;
use rustdds::no_key::SerializerAdapter;
use rustdds::serialization::{CDRSerializerAdapter, deserialize_from_cdr_with_rep_id};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use zerodds_rustdds::cdr::{self, Error};
use zerodds_rustdds::msg::sensor_msgs::{LaserScan, PointCloud2};

/// Bytes between other fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Sample {
    name: String,
    #[serde(with = "zerodds_rustdds::bytes")]
    data: Bytes,
    count: u64,
    #[serde(with = "zerodds_rustdds::bytes")]
    more: Bytes,
}

fn sample(data: Vec<u8>) -> Sample {
    Sample { name: "sample".into(), data: data.into(), count: 7, more: Bytes::from_static(b"more") }
}

fn written<D: Serialize>(sample: &D) -> Bytes {
    cdr::to_bytes(sample, cdr::serialized_len(sample).unwrap()).unwrap()
}

fn read<D: DeserializeOwned>(source: &Bytes) -> D {
    cdr::decode(source, Encoding::CDR_LE).unwrap()
}

/// Whether `part` is memory of `whole`.
fn lies_in(part: &[u8], whole: &[u8]) -> bool {
    let (part, whole) = (part.as_ptr_range(), whole.as_ptr_range());
    whole.start <= part.start && part.end <= whole.end
}

proptest! {
    #[test]
    fn bytes_are_read_as_views_of_the_source(data in prop::collection::vec(any::<u8>(), 1..200)) {
        let sample = sample(data);
        let source = written(&sample);
        let back: Sample = read(&source);
        prop_assert_eq!(&back, &sample);
        prop_assert!(lies_in(&back.data, &source) && lies_in(&back.more, &source));
    }

    #[test]
    fn whatever_comes_is_a_value_or_an_error(
        mut octets in prop::collection::vec(any::<u8>(), 0..200),
        cut in 0_usize..200,
        flipped in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let from_nowhere = Bytes::from(octets.clone());
        octets.truncate(cut);
        let cloud = PointCloud2 { data: octets.into(), fields: vec![Default::default()], ..Default::default() };
        let mut damaged = written(&cloud).to_vec();
        damaged.truncate(damaged.len() - cut.min(damaged.len()) / 2);
        for (at, octet) in flipped {
            if !damaged.is_empty() {
                let at = at.index(damaged.len());
                damaged[at] = octet;
            }
        }
        for source in [from_nowhere, damaged.into()] {
            for encoding in [Encoding::CDR_LE, Encoding::CDR_BE] {
                if let Ok(cloud) = cdr::decode::<PointCloud2>(&source, encoding) {
                    prop_assert!(cloud.data.is_empty() || lies_in(&cloud.data, &source));
                }
                let _: Result<LaserScan, _> = cdr::decode(&source, encoding);
            }
        }
    }
}

/// Memory that tells whether it is still held.
struct Region {
    octets: Vec<u8>,
    _held: Arc<()>,
}

impl AsRef<[u8]> for Region {
    fn as_ref(&self) -> &[u8] {
        &self.octets
    }
}

/// A source in a region, and what tells whether that still exists.
fn region(sample: &Sample) -> (Bytes, Weak<()>) {
    let held = Arc::new(());
    let watch = Arc::downgrade(&held);
    (Bytes::from_owner(Region { octets: written(sample).to_vec(), _held: held }), watch)
}

#[test]
fn a_view_keeps_its_memory_and_nothing_else_does() {
    let (source, watch) = region(&sample(vec![1; 100]));
    let back: Sample = read(&source);
    drop(source);
    let view = back.data.clone();
    drop(back);
    assert!(watch.upgrade().is_some());
    assert_eq!(view, vec![1; 100]);
    drop(view);
    assert!(watch.upgrade().is_none());
}

#[test]
fn a_sample_of_which_only_the_copied_fields_are_kept_frees_its_memory() {
    let (source, watch) = region(&sample(vec![]));
    let Sample { name, data, .. } = read(&source);
    drop(source);
    assert!(watch.upgrade().is_none(), "an empty field needs no memory");
    assert_eq!((name.as_str(), data.len()), ("sample", 0));
}

#[test]
fn a_failed_decoding_keeps_no_memory() {
    let (source, watch) = region(&sample(vec![1; 100]));
    let cut = source.slice(..source.len() - 2);
    drop(source);
    let error = cdr::decode::<Sample>(&cut, Encoding::CDR_LE).unwrap_err();
    assert!(matches!(error, Error::Decode { len, .. } if len == cut.len()), "{error:?}");
    drop(cut);
    assert!(watch.upgrade().is_none());
}

#[test]
fn both_byte_orders_are_read_and_no_other_representation() {
    let sample = sample(vec![5; 33]);
    let big = Bytes::from(cdr_encoding::to_vec::<_, byteorder::BigEndian>(&sample).unwrap());
    for (source, encodings) in [
        (written(&sample), [Encoding::CDR_LE, Encoding::PL_CDR_LE]),
        (big, [Encoding::CDR_BE, Encoding::PL_CDR_BE]),
    ] {
        for encoding in encodings {
            let back: Sample = cdr::decode(&source, encoding).unwrap();
            assert_eq!(back, sample);
            assert!(lies_in(&back.data, &source));
        }
        for encoding in [Encoding::XML, Encoding::XCDR2_LE, Encoding::from_bytes(&[0x80, 0x5A]).unwrap()] {
            assert!(matches!(cdr::decode::<Sample>(&source, encoding), Err(Error::Decode { .. })));
        }
    }
}

#[test]
fn under_plain_rustdds_adapters_the_same_type_is_copied() {
    let sample = sample(vec![5; 33]);
    let bytes = CDRSerializerAdapter::<Sample>::to_bytes(&sample).unwrap();
    assert_eq!(bytes, written(&sample));
    let (back, consumed): (Sample, usize) =
        deserialize_from_cdr_with_rep_id(&bytes, Encoding::CDR_LE).unwrap();
    assert_eq!((&back, consumed), (&sample, bytes.len()));
    assert!(!lies_in(&back.data, &bytes));
}

#[test]
fn other_formats_read_and_write_the_same_type() {
    let sample = sample(vec![1, 2, 3]);
    let json = serde_json::to_string(&sample).unwrap();
    assert!(json.contains("[1,2,3]"));
    assert_eq!(serde_json::from_str::<Sample>(&json).unwrap(), sample);
    assert!(serde_json::from_str::<Sample>(&json.replace("[1,2,3]", "[1,2,300]")).is_err());
}

#[test]
fn octets_are_taken_in_every_form_that_serde_has() {
    use serde::de::value::{BorrowedBytesDeserializer, BytesDeserializer, Error, SeqDeserializer};
    let octets = [1, 2, 3];
    let forms: [Result<Bytes, Error>; 4] = [
        zerodds_rustdds::bytes::deserialize(BorrowedBytesDeserializer::new(&octets)),
        zerodds_rustdds::bytes::deserialize(BytesDeserializer::new(&octets)),
        zerodds_rustdds::bytes::deserialize(OwnedOctets(octets.to_vec())),
        zerodds_rustdds::bytes::deserialize(SeqDeserializer::new(octets.into_iter())),
    ];
    for form in forms {
        assert_eq!(form.unwrap()[..], octets);
    }
}

/// A format that hands out buffers of its own.
struct OwnedOctets(Vec<u8>);

impl<'de> Deserializer<'de> for OwnedOctets {
    type Error = serde::de::value::Error;

    fn deserialize_any<V: serde::de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_byte_buf(self.0)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// Bytes, an envelope whose content is decoded while the whole is, and bytes again.
#[derive(Deserialize)]
struct Nested<E: Envelope> {
    #[serde(with = "zerodds_rustdds::bytes")]
    before: Bytes,
    #[serde(deserialize_with = "open")]
    content: E,
    #[serde(with = "zerodds_rustdds::bytes")]
    after: Bytes,
}

/// What an envelope does with the octets in it.
trait Envelope: Sized {
    fn open(octets: Bytes) -> Self;
}

fn open<'de, D: Deserializer<'de>, E: Envelope>(deserializer: D) -> Result<E, D::Error> {
    zerodds_rustdds::bytes::deserialize(deserializer).map(E::open)
}

fn nested(inside: Bytes) -> Bytes {
    #[derive(Serialize)]
    struct Parts(
        #[serde(with = "zerodds_rustdds::bytes")] Bytes,
        #[serde(with = "zerodds_rustdds::bytes")] Bytes,
        #[serde(with = "zerodds_rustdds::bytes")] Bytes,
    );
    written(&Parts(Bytes::from_static(b"before"), inside, Bytes::from_static(b"after")))
}

/// Decodes a copy of its octets, so that the source within is another one.
struct Copied {
    source: Bytes,
    sample: Sample,
}

impl Envelope for Copied {
    fn open(octets: Bytes) -> Self {
        let source = Bytes::copy_from_slice(&octets);
        Self { sample: read(&source), source }
    }
}

#[test]
fn a_decoding_within_a_decoding_has_its_own_source_and_gives_the_outer_one_back() {
    let inner = sample(vec![9; 50]);
    let source = nested(written(&inner));
    let back: Nested<Copied> = read(&source);
    assert_eq!(back.content.sample, inner);
    assert!(lies_in(&back.content.sample.data, &back.content.source));
    assert!(lies_in(&back.before, &source) && lies_in(&back.after, &source));
    assert_eq!((&back.before[..], &back.after[..]), (&b"before"[..], &b"after"[..]));
}

/// Panics while it is deserialized.
struct Bomb;

impl<'de> Deserialize<'de> for Bomb {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("a type that panics, as its test wants it to");
    }
}

/// Of these, the middle is decoded, while slices of the whole are read besides.
static MEMORY: [u8; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];

/// Reads every slice of the memory while it is decoded itself, and says which were views of the source.
struct Straddling {
    views: Vec<(usize, usize)>,
}

impl<'de> Deserialize<'de> for Straddling {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        use serde::de::value::{BorrowedBytesDeserializer, Error};
        let mut views = Vec::new();
        for (from, to) in
            (0..MEMORY.len()).flat_map(|from| (from + 1..=MEMORY.len()).map(move |to| (from, to)))
        {
            let format = BorrowedBytesDeserializer::<Error>::new(&MEMORY[from..to]);
            let octets = zerodds_rustdds::bytes::deserialize(format).unwrap();
            assert_eq!(octets, MEMORY[from..to]);
            if lies_in(&octets, &MEMORY) {
                views.push((from, to));
            }
        }
        Ok(Self { views })
    }
}

#[test]
fn exactly_the_slices_within_the_source_become_views_of_it() {
    let Straddling { views } = read(&Bytes::from_static(&MEMORY[4..8]));
    let within = (4..8).flat_map(|from| (from + 1..=8).map(move |to| (from, to)));
    assert_eq!(views, within.collect::<Vec<_>>());
}

/// Survives the panic of what is in it.
struct Caught;

impl Envelope for Caught {
    fn open(octets: Bytes) -> Self {
        let source = Bytes::copy_from_slice(&octets);
        assert!(catch_unwind(AssertUnwindSafe(|| read::<Bomb>(&source))).is_err());
        Self
    }
}

#[test]
fn a_panic_within_a_decoding_gives_the_outer_source_back() {
    let source = nested(Bytes::from_static(b"bomb"));
    let back: Nested<Caught> = read(&source);
    let Caught = back.content;
    assert!(lies_in(&back.after, &source));
}

#[test]
fn after_a_panic_nothing_is_lent_any_more() {
    let (source, watch) = region(&sample(vec![1; 100]));
    assert!(catch_unwind(AssertUnwindSafe(|| read::<Bomb>(&source))).is_err());
    let (back, _): (Sample, usize) = deserialize_from_cdr_with_rep_id(&source, Encoding::CDR_LE).unwrap();
    assert!(!lies_in(&back.data, &source));
    drop(source);
    assert!(watch.upgrade().is_none());
}
