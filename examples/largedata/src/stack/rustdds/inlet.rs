//! Readers of one kind of sample: takes what is there, notes the time, and says when it was published.

use super::super::{Arrival, OpenError, StackOptions, arrival};
use super::party::{Party, failed, reader_qos};
use crate::clock;
use crate::messages::RosMessage;
use crate::stamp::Damage;
use crate::views::Lendable;
use bytes::Bytes;
use rustdds::dds::{ReadError, ReadResult};
use rustdds::mio1::event::Source;
use rustdds::mio1::{Interest, Registry, Token};
use rustdds::no_key::DataSample;
use rustdds::{CDRDeserializerAdapter, ReadCondition, Timestamp};
use serde::de::DeserializeOwned;
use std::collections::VecDeque;
use std::io;
use std::marker::PhantomData;
use zerodds_rustdds::no_key::DataReader;

/// Receives messages of one kind.
pub(super) trait Inlet {
    /// Lets `registry` wake whoever waits for messages.
    fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()>;
    /// Takes all that is there; how many that was.
    fn take(&mut self, arrivals: &mut VecDeque<Arrival>) -> usize;
}

/// The inlet that the options ask for; `None` if messages of this kind are not wanted.
pub(super) fn open<M: Lendable + DeserializeOwned>(
    party: &Party,
    options: &StackOptions,
) -> Result<Option<Box<dyn Inlet>>, OpenError> {
    if !options.kinds.contains(&M::KIND) {
        return Ok(None);
    }
    let failed = failed("creating the reader", options.domain);
    let topic = party.topic(M::KIND.topic(), M::KIND.type_name())?;
    let qos = reader_qos(options, party.session.is_some());
    let inlet: Box<dyn Inlet> = match &party.session {
        None => {
            let subscriber = party.participant.create_subscriber(&qos).map_err(&failed)?;
            let reader: rustdds::no_key::DataReader<M> =
                subscriber.create_datareader_no_key_cdr(&topic, None).map_err(&failed)?;
            Box::new(Reading::<_, M>(reader, PhantomData))
        }
        Some(session) => {
            let subscriber = session.create_subscriber(&qos).map_err(&failed)?;
            if options.in_place.view {
                let reader: DataReader<M::View> =
                    subscriber.create_datareader_no_key_cdr(&topic, None).map_err(&failed)?;
                Box::new(Reading::<_, M::View>(reader, PhantomData))
            } else {
                let reader: DataReader<M> =
                    subscriber.create_datareader_no_key_cdr(&topic, None).map_err(&failed)?;
                Box::new(Reading::<_, M>(reader, PhantomData))
            }
        }
    };
    Ok(Some(inlet))
}

struct Reading<R, M>(R, PhantomData<M>);

impl<M: RosMessage, R: Takes<M>> Inlet for Reading<R, M> {
    fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.0, token, Interest::READABLE)
    }

    fn take(&mut self, arrivals: &mut VecDeque<Arrival>) -> usize {
        let before = arrivals.len();
        loop {
            let taken = self.0.take_all();
            let (received_ns, now) = (clock::monotonic_ns(), Timestamp::now());
            match taken {
                Ok(samples) => {
                    let published = |sample: &DataSample<M>| {
                        let timestamp = sample.sample_info().source_timestamp()?;
                        Some(received_ns.saturating_add_signed(nanoseconds(timestamp, now)))
                    };
                    arrivals.extend(samples.into_iter().map(|sample| {
                        let published_ns = published(&sample);
                        Arrival { published_ns, ..arrival(sample.into_value(), received_ns) }
                    }));
                    return arrivals.len() - before;
                }
                // It has been passed over; others may follow.
                Err(ReadError::Deserialization { .. }) => arrivals.push_back(Arrival {
                    received_ns,
                    published_ns: None,
                    kind: M::KIND,
                    stamp: Err(Damage::NoStamp),
                    payload: Bytes::new(),
                }),
                Err(error) => {
                    tracing::warn!(target: "zerodds::largedata", "a reader cannot go on: {error}");
                    return arrivals.len() - before;
                }
            }
        }
    }
}

/// RustDDS's readers and those that share memory.
trait Takes<M>: Source {
    fn take_all(&mut self) -> ReadResult<Vec<DataSample<M>>>;
}

impl<M: RosMessage + DeserializeOwned> Takes<M>
    for rustdds::no_key::DataReader<M, CDRDeserializerAdapter<M>>
{
    fn take_all(&mut self) -> ReadResult<Vec<DataSample<M>>> {
        self.take(usize::MAX, ReadCondition::any())
    }
}

impl<M: RosMessage + DeserializeOwned> Takes<M> for DataReader<M> {
    fn take_all(&mut self) -> ReadResult<Vec<DataSample<M>>> {
        self.take(usize::MAX, ReadCondition::any())
    }
}

/// How far one time lies after another, of seconds in 32.32 bits; below 0 if before. The clock may have been set in
/// between, so that what arrived was published later.
fn nanoseconds(time: Timestamp, other: Timestamp) -> i64 {
    let ticks = i128::from(time.to_ticks()) - i128::from(other.to_ticks());
    ((ticks * 1_000_000_000) >> 32) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_between_two_timestamps_is_exact_to_a_nanosecond_and_has_a_sign() {
        let then = Timestamp::from_ticks(7 << 32 | 1 << 31);
        let now = Timestamp::from_ticks(9 << 32);
        assert_eq!(nanoseconds(now, then), 1_500_000_000);
        assert_eq!(nanoseconds(then, now), -1_500_000_000);
    }
}
