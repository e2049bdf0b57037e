//! A toy of the plug-in: slots that hold bodies, and an adapter that writes descriptors of them.
//!
//! ```text
//!  writer                                   reader
//!  Sample{number} ─ to_bytes ─▶ slot        from_bytes ◀─ slot   (counted: who asks, how often)
//!                      └▶ number + padding ══ RTPS ══▶┘
//! ```
//! The slots are a map in this process: the tests look at what is asked for and when, not at memory. Numbers are
//! unique in the process, so tests that run side by side do not meet.

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex};

use bytes::Bytes;
use rustdds::{RepresentationIdentifier, no_key};
use serde::{Deserialize, Serialize};

/// How a sample crosses: its body, or a descriptor of the slot that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carried {
    Inline,
    ByDescriptor,
}

/// What the tests write and, with [`Toy`], take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) number: u64,
    pub(super) carried: Carried,
}

/// The same sample for an endpoint that knows CDR only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Plain {
    pub(super) number: u64,
}

/// The adapter that stands for the plug-in's.
pub(super) struct Toy;

/// Why [`Toy`] cannot decode.
#[derive(Debug, thiserror::Error)]
#[error("no slot holds sample {0:?}")]
pub(super) struct Gone(Option<u64>);

struct Slot {
    body: [u8; 8],
    asked: u32,
}

static SLOTS: Mutex<BTreeMap<u64, Slot>> = Mutex::new(BTreeMap::new());

/// Outside of what DDSI-RTPS and DDS-XTYPES assign.
static DESCRIPTOR: LazyLock<RepresentationIdentifier> =
    LazyLock::new(|| RepresentationIdentifier::from_bytes(&[0xc0, 0x5d]).unwrap());

static UNDERSTOOD: LazyLock<[RepresentationIdentifier; 2]> =
    LazyLock::new(|| [RepresentationIdentifier::CDR_LE, *DESCRIPTOR]);

/// As long as a real descriptor would be.
const DESCRIPTOR_LEN: usize = 40;

thread_local! {
    /// What `to_bytes` decided, for the `output_encoding` that RustDDS calls next.
    static ENCODING: std::cell::Cell<Carried> = const { std::cell::Cell::new(Carried::Inline) };
}

/// How often the adapter was asked for the slot of this sample.
pub(super) fn asked(number: u64) -> u32 {
    SLOTS.lock().unwrap().get(&number).map_or(0, |slot| slot.asked)
}

/// Empties a slot, as a ledger would that thinks nobody wants it any more.
pub(super) fn revoke(number: u64) {
    SLOTS.lock().unwrap().remove(&number);
}

impl no_key::SerializerAdapter<Sample> for Toy {
    type Error = Gone;

    fn output_encoding() -> RepresentationIdentifier {
        match ENCODING.get() {
            Carried::Inline => RepresentationIdentifier::CDR_LE,
            Carried::ByDescriptor => *DESCRIPTOR,
        }
    }

    fn to_bytes(sample: &Sample) -> Result<Bytes, Gone> {
        ENCODING.set(sample.carried);
        let body = sample.number.to_le_bytes();
        if sample.carried == Carried::Inline {
            return Ok(Bytes::copy_from_slice(&body));
        }
        SLOTS.lock().unwrap().insert(sample.number, Slot { body, asked: 0 });
        let mut descriptor = body.to_vec();
        descriptor.resize(DESCRIPTOR_LEN, 0);
        Ok(descriptor.into())
    }
}

impl no_key::DeserializerAdapter<Sample> for Toy {
    type Error = Gone;
    type Decoded = Sample;

    fn supported_encodings() -> &'static [RepresentationIdentifier] {
        &*UNDERSTOOD
    }

    fn transform_decoded(decoded: Sample) -> Sample {
        decoded
    }
}

impl no_key::DefaultDecoder<Sample> for Toy {
    type Decoder = Resolve;
    const DECODER: Resolve = Resolve;
}

/// Decodes either encoding; the slot is looked up here, in the reader's call.
#[derive(Clone)]
pub(super) struct Resolve;

impl no_key::Decode<'_, Sample> for Resolve {
    type Error = Gone;

    fn decode_bytes(self, bytes: &[u8], encoding: RepresentationIdentifier) -> Result<Sample, Gone> {
        let number = bytes.first_chunk().map(|body| u64::from_le_bytes(*body)).ok_or(Gone(None))?;
        if encoding == RepresentationIdentifier::CDR_LE {
            return Ok(Sample { number, carried: Carried::Inline });
        }
        let mut slots = SLOTS.lock().unwrap();
        let slot = slots.get_mut(&number).ok_or(Gone(Some(number)))?;
        slot.asked += 1;
        Ok(Sample { number: u64::from_le_bytes(slot.body), carried: Carried::ByDescriptor })
    }
}
