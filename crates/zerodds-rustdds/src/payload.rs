//! What our writers hand to RustDDS: bytes that are serialized already, with the representation they are in.
//!
//! RustDDS asks an adapter for the bytes of a sample, and right after that, on the same thread, for their
//! representation identifier. The adapter is static and sees no writer; so it remembers the one for the other.

use crate::protocol::{Descriptor, REPRESENTATION};
use bytes::Bytes;
use rustdds::{Key, Keyed, RepresentationIdentifier, no_key, with_key};
use std::cell::Cell;
use std::convert::Infallible;
use std::sync::LazyLock;

/// A serialized sample, or a descriptor of one.
#[derive(Clone, Debug)]
pub(crate) struct Payload {
    pub(crate) bytes: Bytes,
    pub(crate) is_descriptor: bool,
}

impl Payload {
    pub(crate) const fn plain(bytes: Bytes) -> Self {
        Self { bytes, is_descriptor: false }
    }

    pub(crate) fn descriptor(descriptor: Descriptor) -> Self {
        Self { bytes: Bytes::copy_from_slice(&descriptor.to_bytes()), is_descriptor: true }
    }
}

/// A payload of an instance.
#[derive(Debug)]
pub(crate) struct KeyedPayload<K> {
    pub(crate) payload: Payload,
    pub(crate) key: K,
}

impl<K: Key> Keyed for KeyedPayload<K> {
    type K = K;

    fn key(&self) -> K {
        self.key.clone()
    }
}

/// The adapter that RustDDS serializes our payloads with.
#[derive(Debug)]
pub(crate) struct Prepared;

impl no_key::SerializerAdapter<Payload> for Prepared {
    type Error = Infallible;

    fn output_encoding() -> RepresentationIdentifier {
        if LAST_IS_DESCRIPTOR.get() { *DESCRIPTOR } else { RepresentationIdentifier::CDR_LE }
    }

    fn to_bytes(payload: &Payload) -> Result<Bytes, Infallible> {
        LAST_IS_DESCRIPTOR.set(payload.is_descriptor);
        Ok(payload.bytes.clone())
    }
}

/// The same for keyed topics.
#[derive(Debug)]
pub(crate) struct PreparedWithKey;

impl<K: Key> no_key::SerializerAdapter<KeyedPayload<K>> for PreparedWithKey {
    type Error = crate::cdr::Error;

    fn output_encoding() -> RepresentationIdentifier {
        <Prepared as no_key::SerializerAdapter<Payload>>::output_encoding()
    }

    fn to_bytes(value: &KeyedPayload<K>) -> Result<Bytes, Self::Error> {
        LAST_IS_DESCRIPTOR.set(value.payload.is_descriptor);
        Ok(value.payload.bytes.clone())
    }
}

impl<K: Key> with_key::SerializerAdapter<KeyedPayload<K>> for PreparedWithKey {
    fn key_to_bytes(key: &K) -> Result<Bytes, Self::Error> {
        LAST_IS_DESCRIPTOR.set(false);
        crate::cdr::to_bytes(key, crate::cdr::serialized_len(key)?)
    }
}

thread_local! {
    static LAST_IS_DESCRIPTOR: Cell<bool> = const { Cell::new(false) };
}

/// The representation of a descriptor, as RustDDS has it.
pub(crate) static DESCRIPTOR: LazyLock<RepresentationIdentifier> = LazyLock::new(|| {
    // Two octets are always enough for it.
    RepresentationIdentifier::from_bytes(&REPRESENTATION).unwrap_or(RepresentationIdentifier::CDR_LE)
});
