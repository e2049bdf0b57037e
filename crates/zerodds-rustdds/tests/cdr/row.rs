//! Samples of any shape, for property tests.

use bytes::Bytes;
use proptest::prelude::*;
use serde::ser::SerializeTuple;
use serde::{Serialize, Serializer};

/// A struct whose fields are known at run time only.
#[derive(Clone, Debug)]
pub(crate) struct Row(pub(crate) Vec<Field>);

/// One field. Serialized as its content alone, without a discriminant.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Field {
    Octet(u8),
    Flag(bool),
    Short(u16),
    Long(i32),
    LongLong(u64),
    Huge(u128),
    Double(f64),
    Text(String),
    Octets(Vec<u8>),
    Doubles(Vec<f64>),
    Blob(#[serde(with = "zerodds_rustdds::bytes")] Bytes),
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(self.0.len())?;
        for field in &self.0 {
            tuple.serialize_element(field)?;
        }
        tuple.end()
    }
}

/// Up to eight fields of every alignment.
pub(crate) fn fields() -> impl Strategy<Value = Vec<Field>> {
    let octets = || prop::collection::vec(any::<u8>(), 0..20);
    let field = prop_oneof![
        any::<u8>().prop_map(Field::Octet),
        any::<bool>().prop_map(Field::Flag),
        any::<u16>().prop_map(Field::Short),
        any::<i32>().prop_map(Field::Long),
        any::<u64>().prop_map(Field::LongLong),
        any::<u128>().prop_map(Field::Huge),
        any::<f64>().prop_map(Field::Double),
        "[a-z]{0,9}".prop_map(Field::Text),
        octets().prop_map(Field::Octets),
        prop::collection::vec(any::<f64>(), 0..4).prop_map(Field::Doubles),
        octets().prop_map(|octets| Field::Blob(octets.into())),
    ];
    prop::collection::vec(field, 0..8)
}
