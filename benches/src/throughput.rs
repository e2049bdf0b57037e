//! A stream at full rate, as its processes see it.
//!
//! ```text
//!   subscriber:  warm-up … │first message│ message message … message │STOP│
//!                                        └── what comes in between counts, by the subscriber's clock ──┘
//! ```
//! So neither what was under way when the warm-up was over, nor the mark, which is as short as a message can be, takes time
//! of what is counted. What all processes used counts from there on. Which messages are behind the warm-up, their numbers
//! say. Rejected: a mark in front of them, without which a system that loses messages had no figures.

use crate::dialogue::{Event, Order};
use crate::latency::checked;
use crate::sample::{self, Damage, LEN_MIN, STOP, Touch};
use crate::system::{Failure, Party};
use crate::usage::Usage;
use rustix::time::{ClockId, clock_gettime};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

/// Sends as fast as there is room, as the how-many-eth of the writers.
pub(crate) fn publish(
    party: &mut dyn Party,
    writer: u64,
    (len, touch): (usize, Touch),
    [warm_up_ms, measure_ms]: [u64; 2],
) -> Result<Event, Failure> {
    let first = writer << NUMBER_BITS;
    let warm_up = send_for(party, (len, touch), first, (warm_up_ms, 0))?;
    let (before, written_before) = (Usage::now()?, party.written_bytes());
    let sent = send_for(party, (len, touch), first | MEASURED, (measure_ms, COUNT_MIN))?;
    let written = party.written_bytes().zip(written_before).map(|(after, before)| after - before);
    party.send(LEN_MIN, &mut |bytes| sample::fill(bytes, STOP, Touch::None))?;
    Ok(Event::Published { warm_up, sent, usage: Usage::now()? - before, written })
}

fn send_for(
    party: &mut dyn Party,
    (len, touch): (usize, Touch),
    first: u64,
    (ms, count_min): (u64, u64),
) -> Result<u64, Failure> {
    let end = Instant::now() + Duration::from_millis(ms);
    // The clock is asked once in a while: at tens of millions a second it would be half of the work.
    let batch = (CLOCK_BYTES / len).clamp(1, 256) as u64;
    let mut sent = 0;
    while sent < count_min || Instant::now() < end {
        for _ in 0..batch {
            let sequence = first + sent;
            party.send(len, &mut |bytes| sample::fill(bytes, sequence, touch))?;
            sent += 1;
        }
    }
    Ok(sent)
}

/// The numbers that are to come of each writer.
struct Numbers(Vec<u64>);

impl Numbers {
    /// Those of one writer never go back, and none comes twice.
    fn take(&mut self, sequence: u64) -> Result<(), Damage> {
        let (writer, number) = (sequence >> NUMBER_BITS, sequence & ((1 << NUMBER_BITS) - 1));
        match self.0.get_mut(writer as usize) {
            Some(wanted) if *wanted <= number => {
                *wanted = number + 1;
                Ok(())
            }
            wanted => Err(Damage::Order { got: sequence, wanted: wanted.map_or(0, |wanted| *wanted) }),
        }
    }
}

/// Receives until all writers have said stop, or, once all were sent, nothing has come for a while.
pub(crate) fn subscribe(
    party: &mut dyn Party,
    (len, touch): (usize, Touch),
    writers: usize,
    orders: &Receiver<Order>,
) -> Result<Event, Failure> {
    let (mut received, mut counted, mut stops) = (0u64, 0u64, 0);
    let (mut first_ns, mut last_ns, mut before) = (None, 0, None);
    let mut numbers = Numbers(vec![0; writers]);
    let mut damage = None;
    let mut sent = None;
    let mut until = Instant::now() + POLL;
    let (mut silent_since, mut heard_by_then) = (Instant::now(), 0);
    // The clock is looked at when nothing comes: per message it would be measured.
    while stops < writers {
        let count = party.receive(Some(until), &mut |bytes| match checked(bytes, len, touch) {
            Ok(STOP) => {
                stops += 1;
                last_ns = monotonic_ns();
            }
            Ok(sequence) => {
                damage = damage.or(numbers.take(sequence).err());
                received += 1;
                counted += u64::from(first_ns.is_some());
                // Of several writers the first one to begin counts.
                if first_ns.is_none() && sequence & MEASURED != 0 {
                    first_ns = Some(monotonic_ns());
                }
            }
            Err(error) => damage = Some(error),
        })?;
        if let Some(damage) = damage {
            return Err(damage.into());
        }
        if first_ns.is_some() && before.is_none() {
            before = Some(Usage::now()?);
        }
        if count > 0 {
            continue;
        }
        until = Instant::now() + POLL;
        let heard = received + stops as u64;
        if heard > heard_by_then {
            (silent_since, heard_by_then) = (Instant::now(), heard);
            last_ns = monotonic_ns();
        }
        match orders.try_recv() {
            Ok(Order::Finish { sent: total }) => {
                sent = Some(total);
                silent_since = Instant::now();
            }
            Ok(_) | Err(TryRecvError::Disconnected) => break,
            Err(TryRecvError::Empty) => {}
        }
        if sent.is_some() && silent_since.elapsed() > PATIENCE {
            break;
        }
    }
    let (Some(first_ns), Some(before), 1..) = (first_ns, before, counted) else {
        return Err(Failure::of("receiving", "of what was sent after the warm-up one message came at most"));
    };
    Ok(Event::Received { received, counted, first_ns, last_ns, usage: Usage::now()? - before })
}

/// The clock that all processes of a host share.
fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Of a sequence number, those that count the messages of a writer; those above are the writer's.
const NUMBER_BITS: u32 = 40;
/// Of those, the one that messages have which were sent after the warm-up.
const MEASURED: u64 = 1 << (NUMBER_BITS - 1);
/// Of fewer messages there is no rate.
const COUNT_MIN: u64 = 10;
/// Bytes sent between two looks at the clock.
const CLOCK_BYTES: usize = 1 << 20;
/// How long a subscriber waits before it looks for orders.
const POLL: Duration = Duration::from_millis(50);
/// How long it waits for what was sent and does not come: less than the parent waits for its answer.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives what it is told to, in these batches.
    struct Scripted(Vec<Vec<Vec<u8>>>);

    impl Party for Scripted {
        fn is_complete(&mut self) -> Result<bool, Failure> {
            Ok(true)
        }

        fn send(&mut self, len: usize, fill: &mut dyn FnMut(&mut [u8])) -> Result<(), Failure> {
            let mut message = vec![0; len];
            fill(&mut message);
            self.0.push(vec![message]);
            Ok(())
        }

        fn receive(
            &mut self,
            _until: Option<Instant>,
            read: &mut dyn FnMut(&[u8]),
        ) -> Result<usize, Failure> {
            if self.0.is_empty() {
                return Ok(0);
            }
            let batch = self.0.remove(0);
            batch.iter().for_each(|message| read(message));
            Ok(batch.len())
        }
    }

    fn message(number: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        sample::fill(&mut bytes, number, Touch::Full);
        bytes
    }

    /// What a subscriber says of messages with these numbers, in these batches, and the mark at the end.
    fn heard(batches: &[&[u64]]) -> Result<Event, Failure> {
        let batch = |numbers: &&[u64]| numbers.iter().map(|&number| message(number, 64)).collect();
        let mut batches: Vec<_> = batches.iter().map(batch).collect();
        batches.push(vec![message(STOP, LEN_MIN)]);
        let (_orders, orders) = std::sync::mpsc::channel();
        subscribe(&mut Scripted(batches), (64, Touch::Full), 1, &orders)
    }

    #[test]
    fn what_was_under_way_when_the_warm_up_was_over_is_not_counted_and_all_that_came_after_the_first_is() {
        let of = |number| MEASURED | number;
        let heard = heard(&[&[0], &[1, of(0), of(1)], &[of(2), of(3)]]).expect("a stream");
        let Event::Received { received, counted, first_ns, last_ns, .. } = heard else {
            panic!("{heard:?}");
        };
        assert_eq!((received, counted), (6, 3));
        assert!(0 < first_ns && first_ns <= last_ns);
    }

    #[test]
    fn a_stream_that_lost_its_beginning_counts_from_what_came_first_of_it() {
        let lossy = heard(&[&[0], &[MEASURED | 5, MEASURED | 7]]).expect("a stream");
        assert!(matches!(lossy, Event::Received { received: 3, counted: 1, .. }), "{lossy:?}");
        let lost = heard(&[&[0, 1], &[MEASURED | 5]]).expect_err("there is no rate of one");
        assert!(matches!(lost, Failure::Stack { .. }), "{lost}");
    }

    #[test]
    fn of_a_stream_the_mark_is_as_short_as_can_be_and_all_else_is_as_long_as_asked() {
        let mut party = Scripted(Vec::new());
        let published = publish(&mut party, 0, (4096, Touch::Full), [1, 1]).expect("a stream");
        let Event::Published { warm_up, sent, .. } = published else { panic!("{published:?}") };
        let lens: Vec<usize> = party.0.iter().flatten().map(Vec::len).collect();
        let (long, marks): (Vec<usize>, Vec<usize>) = lens.iter().partition(|&&len| len == 4096);
        assert_eq!((long.len() as u64, marks), (warm_up + sent, vec![LEN_MIN]));
    }

    #[test]
    fn of_each_of_several_writers_nothing_comes_twice_or_goes_back_though_some_may_be_missing() {
        let mut numbers = Numbers(vec![0; 2]);
        let of = |writer: u64, number: u64| writer << NUMBER_BITS | number;
        for sequence in [of(0, 0), of(1, 0), of(1, 1), of(0, 3)] {
            assert_eq!(numbers.take(sequence), Ok(()), "{sequence:x}");
        }
        for sequence in [of(0, 3), of(1, 1), of(1, 0), of(2, 0)] {
            assert!(numbers.take(sequence).is_err(), "{sequence:x}");
        }
    }
}
