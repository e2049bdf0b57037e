//! A sample that is filled where it will be read.

use crate::cdr::Frame;
use crate::posts::{Remains, Unwritten};
use crate::writing::Parcel;
use rustdds::dds::WriteError;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut, Range};

/// The data of a sample, to be filled in place: memory of the ring where the sample will be shared. Its first content is
/// unspecified. Dropped unpublished, it is discarded.
///
/// Made by `DataWriter::loan` and published by `DataWriter::publish`, which gives it back where it would block. It can be
/// filled on any thread.
///
/// ```no_run
/// # use rustdds::{DomainParticipant, QosPolicyBuilder, TopicKind};
/// # use zerodds_rustdds::{Config, ZeroDds, msg::sensor_msgs::Image};
/// # let qos = QosPolicyBuilder::new().build();
/// # let participant = DomainParticipant::new(0)?;
/// # let zerodds = ZeroDds::attach(&participant, Config::default())?;
/// # let topic = participant.create_topic("images".into(), Image::TYPE_NAME.into(), &qos, TopicKind::NoKey)?;
/// # let writer = zerodds.create_publisher(&qos)?.create_datawriter_no_key_cdr::<Image>(&topic, None)?;
/// let frame = |data| Image { width: 640, height: 480, step: 640, data, ..Image::default() };
/// let mut loan = writer.loan(640 * 480, frame).map_err(|error| error.to_string())?;
/// println!("{}", if loan.is_shared() { "readers read it where it is" } else { "it is copied" });
/// for (number, row) in loan.chunks_mut(640).enumerate() {
///     row.fill(number as u8);
/// }
/// writer.publish(loan, None).map_err(|error| error.to_string())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Loan<D, K = ()> {
    pub(crate) memory: Memory,
    data: Range<usize>,
    pub(crate) key: K,
    type_: PhantomData<fn(D)>,
}

pub(crate) enum Memory {
    Ring(Parcel),
    Heap(Vec<u8>),
}

/// A loan without its memory.
pub(crate) struct Shell<D, K> {
    data: Range<usize>,
    pub(crate) key: K,
    type_: PhantomData<fn(D)>,
}

impl<D, K> Shell<D, K> {
    /// The error that gives the loan back, where there still is one.
    pub(crate) fn refused(self, unwritten: Unwritten) -> WriteError<Loan<D, K>> {
        let Self { data, key, type_ } = self;
        let Unwritten { why, remains } = unwritten;
        match remains.map(Remains::into_memory) {
            Some(memory) => why.with(Loan { memory, data, key, type_ }),
            None => WriteError::Internal { reason: why.to_string() },
        }
    }
}

impl<D, K> Loan<D, K> {
    pub(crate) fn new(parcel: Option<Parcel>, frame: &Frame, key: K) -> Result<Self, crate::cdr::Error> {
        let mut memory = match parcel {
            Some(parcel) => Memory::Ring(parcel),
            None => Memory::Heap(vec![0; frame.sample_len()]),
        };
        let data = frame.write_into(memory.sample_mut())?;
        Ok(Self { memory, data, key, type_: PhantomData })
    }

    /// Taken apart: the memory, and what it takes to put it together again.
    pub(crate) fn into_parts(self) -> (Memory, Shell<D, K>) {
        let Self { memory, data, key, type_ } = self;
        (memory, Shell { data, key, type_ })
    }

    /// Whether the data lies in shared memory, so that publishing copies nothing. If not, nobody shares memory with
    /// this writer now, the sample is below the threshold, or the ring had no room.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        matches!(self.memory, Memory::Ring(_))
    }
}

impl Memory {
    pub(crate) fn sample(&self) -> &[u8] {
        match self {
            Self::Ring(parcel) => parcel.cdr(),
            Self::Heap(bytes) => bytes,
        }
    }

    fn sample_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Ring(parcel) => parcel.cdr_mut(),
            Self::Heap(bytes) => bytes,
        }
    }
}

impl<D, K> Deref for Loan<D, K> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.memory.sample().get(self.data.clone()).unwrap_or_default()
    }
}

impl<D, K> DerefMut for Loan<D, K> {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.memory.sample_mut().get_mut(self.data.clone()).unwrap_or_default()
    }
}

impl<D, K> fmt::Debug for Loan<D, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Loan({} bytes, shared: {})", self.data.len(), self.is_shared())
    }
}
