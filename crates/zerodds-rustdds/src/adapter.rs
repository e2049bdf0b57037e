//! The deserializer adapter of our readers: plain CDR as RustDDS reads it, and descriptors.

use crate::asking::{Answer, Asking};
use crate::cdr;
use crate::payload::DESCRIPTOR;
use crate::protocol::Descriptor;
use rustdds::serialization::deserialize_from_cdr_with_rep_id;
use rustdds::{Keyed, RepresentationIdentifier, no_key, with_key};
use serde::de::DeserializeOwned;
use std::marker::PhantomData;
use std::sync::LazyLock;
use thiserror::Error;

/// Decodes samples that came by RTPS or by shared memory. RustDDS names it in types; there is nothing to call.
///
/// ```
/// use rustdds::no_key::DataReaderEventStream;
/// use zerodds_rustdds::msg::sensor_msgs::Image;
/// use zerodds_rustdds::{SharedAdapter, no_key};
///
/// /// Whoever keeps RustDDS's stream of what becomes of a reader has it in a type.
/// struct Watch(DataReaderEventStream<Image, SharedAdapter<Image>>);
///
/// impl Watch {
///     fn over(images: &no_key::DataReaderStream<Image>) -> Self {
///         Self(images.async_event_stream())
///     }
/// }
/// ```
pub struct SharedAdapter<D>(PhantomData<D>);

/// Why a payload gives no sample. RustDDS's `ReadError::Deserialization` has it as text.
///
/// ```
/// use rustdds::RepresentationIdentifier;
/// use rustdds::no_key::{Decode, DefaultDecoder};
/// use zerodds_rustdds::{DecodeError, SharedAdapter};
///
/// let decoder = SharedAdapter::<u64>::DECODER;
/// let error = decoder.decode_bytes(&[1, 2, 3], RepresentationIdentifier::CDR_LE).expect_err("three bytes are no u64");
/// assert!(matches!(error, DecodeError::Cdr(_)));
/// println!("{error}");
/// ```
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// It is not CDR of this type.
    #[error(transparent)]
    Cdr(#[from] cdr::Error),
    /// The sample behind a descriptor is not here (any more); it is skipped and counted.
    #[error("the sample of a descriptor is gone: history moved past it, or its writer died")]
    Gone,
    /// Neither CDR nor a descriptor.
    #[error("a payload of {len} bytes claims to be a descriptor and is none; it is skipped")]
    Malformed {
        /// Its length in bytes.
        len: usize,
    },
    /// A reader of RustDDS's own was given this adapter, or a descriptor reached another participant.
    #[error("a descriptor came outside of any session; create the reader by zerodds_rustdds::Subscriber")]
    NoSession,
}

impl<D> no_key::DeserializerAdapter<D> for SharedAdapter<D> {
    type Error = DecodeError;
    type Decoded = D;

    fn supported_encodings() -> &'static [RepresentationIdentifier] {
        &*ENCODINGS
    }

    fn transform_decoded(decoded: D) -> D {
        decoded
    }
}

impl<D: DeserializeOwned> no_key::DefaultDecoder<D> for SharedAdapter<D> {
    type Decoder = Decoder<D>;
    const DECODER: Decoder<D> = Decoder(PhantomData);
}

impl<D> with_key::DeserializerAdapter<D> for SharedAdapter<D>
where
    D: Keyed + DeserializeOwned,
    D::K: DeserializeOwned,
{
    type DecodedKey = D::K;

    fn transform_decoded_key(decoded: D::K) -> D::K {
        decoded
    }
}

impl<D> with_key::DefaultDecoder<D> for SharedAdapter<D>
where
    D: Keyed + DeserializeOwned,
    D::K: DeserializeOwned,
{
    type Decoder = Decoder<D>;
    const DECODER: Decoder<D> = Decoder(PhantomData);
}

/// The decoder of [`SharedAdapter`].
pub struct Decoder<D>(PhantomData<D>);

impl<D> Clone for Decoder<D> {
    fn clone(&self) -> Self {
        Self(PhantomData)
    }
}

impl<'de, D: DeserializeOwned> no_key::Decode<'de, D> for Decoder<D> {
    type Error = DecodeError;

    fn decode_bytes(self, input: &'de [u8], encoding: RepresentationIdentifier) -> Result<D, DecodeError> {
        if encoding != *DESCRIPTOR {
            // RustDDS lends a slice of the datagram; a view of it would have to outlive the lending.
            return decode_plain(input, encoding);
        }
        let descriptor = Descriptor::parse(input).ok_or(DecodeError::Malformed { len: input.len() })?;
        match Asking::answer(descriptor) {
            Answer::Sample(sample) => {
                let decoded = cdr::decode(&sample, RepresentationIdentifier::CDR_LE)
                    .inspect_err(|_| Asking::reject(descriptor.key))?;
                Asking::note(true);
                Ok(decoded)
            }
            Answer::Missing => Err(DecodeError::Gone),
            Answer::Nobody => Err(DecodeError::NoSession),
        }
    }
}

impl<'de, D, K> with_key::Decode<'de, D, K> for Decoder<D>
where
    D: DeserializeOwned,
    K: DeserializeOwned,
{
    fn decode_key_bytes(
        self,
        input: &'de [u8],
        encoding: RepresentationIdentifier,
    ) -> Result<K, DecodeError> {
        decode_plain(input, encoding)
    }
}

fn decode_plain<T: DeserializeOwned>(
    input: &[u8],
    encoding: RepresentationIdentifier,
) -> Result<T, DecodeError> {
    let decoded = deserialize_from_cdr_with_rep_id(input, encoding);
    Asking::note(decoded.is_ok());
    Ok(decoded.map_err(|source| cdr::Error::Decode { len: input.len(), source })?.0)
}

static ENCODINGS: LazyLock<[RepresentationIdentifier; 4]> = LazyLock::new(|| {
    [
        RepresentationIdentifier::CDR_LE,
        RepresentationIdentifier::CDR_BE,
        RepresentationIdentifier::PL_CDR_LE,
        *DESCRIPTOR,
    ]
});
