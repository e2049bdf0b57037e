//! Writers of one kind of sample: how a prepared message gets out.
//!
//! ```text
//!   copies   clone ─ stamp ─ time ─ write ─▶ serialized by RustDDS, or into shared memory
//!   loan     stamp ─ loan ─ fill in place ─ time ─ publish ─▶ nothing is copied
//! ```
//! A loan's head, the stamp in it, is written before its payload, so the time of publication cannot stand there: it is
//! the sample's source timestamp (RTPS INFO_TS), in both ways of publishing, so that they are measured alike.

use super::super::{PublishError, StackOptions, fill};
use super::party::{Party, failed, writer_qos};
use crate::messages::{Prepared, RosMessage, Time};
use crate::stack::OpenError;
use crate::stamp::Stamp;
use crate::views::Lendable;
use rustdds::dds::{WriteError, WriteResult};
use rustdds::{CDRSerializerAdapter, Timestamp};
use serde::Serialize;
use std::time::{Duration, Instant};
use zerodds_rustdds::no_key::DataWriter;

/// Publishes messages like `M`.
pub(super) trait Outlet<M> {
    /// Publishes `prepared` under this stamp.
    fn publish(&self, prepared: &M, stamp: Stamp) -> WriteResult<(), ()>;
    /// Waits until what was published is acknowledged, and taken where the writer can know; whether it is by then.
    fn flush(&self, max_wait: Duration) -> WriteResult<bool, ()>;
}

/// The outlet that the options ask for; `None` if messages of this kind are not published.
pub(super) fn open<M: Lendable + Serialize>(
    party: &Party,
    options: &StackOptions,
) -> Result<Option<Box<dyn Outlet<M>>>, OpenError> {
    if !options.kinds.contains(&M::KIND) {
        return Ok(None);
    }
    let failed = failed("creating the writer", options.domain);
    let topic = party.topic(M::KIND.topic(), M::KIND.type_name())?;
    let qos = writer_qos(options);
    let outlet: Box<dyn Outlet<M>> = match &party.session {
        None => {
            let publisher = party.participant.create_publisher(&qos).map_err(&failed)?;
            let writer: rustdds::no_key::DataWriter<M> =
                publisher.create_datawriter_no_key_cdr(&topic, None).map_err(&failed)?;
            Box::new(Copies(writer))
        }
        Some(session) => {
            let publisher = session.create_publisher(&qos).map_err(&failed)?;
            if options.in_place.loan {
                let writer = publisher.create_datawriter_no_key_cdr(&topic, None).map_err(&failed)?;
                Box::new(Loans::<M>(writer))
            } else {
                let writer: DataWriter<M> =
                    publisher.create_datawriter_no_key_cdr(&topic, None).map_err(&failed)?;
                Box::new(Copies(writer))
            }
        }
    };
    Ok(Some(outlet))
}

/// What RustDDS said, in this program's words.
pub(super) fn refused(error: WriteError<()>, options: &StackOptions) -> PublishError {
    match error {
        WriteError::WouldBlock { .. } => PublishError::Timeout(options.max_blocking),
        error => PublishError::Stack(error.to_string()),
    }
}

/// A writer that takes messages.
struct Copies<W>(W);

impl<M: Prepared, W: Writes<M>> Outlet<M> for Copies<W> {
    fn publish(&self, prepared: &M, stamp: Stamp) -> WriteResult<(), ()> {
        let mut message = prepared.clone();
        message.set_label(stamp.to_text(prepared.label()), Time::now());
        self.0.write_message(message, Timestamp::now())
    }

    fn flush(&self, max_wait: Duration) -> WriteResult<bool, ()> {
        self.0.flush(max_wait)
    }
}

/// A writer that lends memory for their payload.
struct Loans<M: Lendable>(DataWriter<M::View>);

impl<M: Lendable> Outlet<M> for Loans<M> {
    fn publish(&self, prepared: &M, stamp: Stamp) -> WriteResult<(), ()> {
        let (label, now) = (stamp.to_text(prepared.label()), Time::now());
        let payload = prepared.payload();
        let mut loan = self.0.loan(payload.len(), |data| prepared.around(label, now, data))?;
        fill(&mut loan, payload, stamp.touch);
        self.0.publish(loan, Some(Timestamp::now())).map(drop).map_err(without_sample)
    }

    fn flush(&self, max_wait: Duration) -> WriteResult<bool, ()> {
        flush(&self.0, max_wait)
    }
}

/// RustDDS's writers and those that share memory.
trait Writes<M> {
    fn write_message(&self, message: M, now: Timestamp) -> WriteResult<(), ()>;
    fn flush(&self, max_wait: Duration) -> WriteResult<bool, ()>;
}

impl<M: RosMessage + Serialize> Writes<M> for rustdds::no_key::DataWriter<M, CDRSerializerAdapter<M>> {
    fn write_message(&self, message: M, now: Timestamp) -> WriteResult<(), ()> {
        self.write(message, Some(now)).map_err(without_sample)
    }

    fn flush(&self, max_wait: Duration) -> WriteResult<bool, ()> {
        self.wait_for_acknowledgments(max_wait)
    }
}

impl<M: RosMessage + Serialize> Writes<M> for DataWriter<M> {
    fn write_message(&self, message: M, now: Timestamp) -> WriteResult<(), ()> {
        self.write(message, Some(now)).map_err(without_sample)
    }

    fn flush(&self, max_wait: Duration) -> WriteResult<bool, ()> {
        flush(self, max_wait)
    }
}

/// Of a writer that is gone RustDDS's readers have no more than what was taken, whatever was acknowledged.
fn flush<M: Serialize>(writer: &DataWriter<M>, max_wait: Duration) -> WriteResult<bool, ()> {
    let begun = Instant::now();
    let is_acknowledged = writer.wait_for_acknowledgments(max_wait)?;
    Ok(is_acknowledged && writer.wait_until_taken(max_wait.saturating_sub(begun.elapsed())))
}

/// The sample that comes back with an error is a clone, or is made anew.
fn without_sample<M>(error: WriteError<M>) -> WriteError<()> {
    match error {
        WriteError::Serialization { reason, .. } => WriteError::Serialization { reason, data: () },
        WriteError::Poisoned { reason, .. } => WriteError::Poisoned { reason, data: () },
        WriteError::WouldBlock { .. } => WriteError::WouldBlock { data: () },
        WriteError::Io(error) => WriteError::Io(error),
        WriteError::Internal { reason } => WriteError::Internal { reason },
    }
}
