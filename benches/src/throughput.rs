//! A stream at full rate, as its processes see it.
//!
//! ```text
//!   subscriber:  warm-up … │BEGIN│ message message … message │STOP│
//!                          └── what comes in between counts, by the subscriber's clock ──┘
//! ```
//! So neither what was under way when the warm-up was over, nor the marks, which are as short as a message can be, take time
//! of what is counted. What all processes used counts from the first mark on.

use crate::dialogue::{Event, Order};
use crate::latency::checked;
use crate::sample::{self, BEGIN, Damage, LEN_MIN, STOP, Touch};
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
    let mark = |party: &mut dyn Party, mark| {
        party.send(LEN_MIN, &mut |bytes| sample::fill(bytes, mark, Touch::None))
    };
    let warm_up = send_for(party, (len, touch), first, (warm_up_ms, 0))?;
    mark(party, BEGIN)?;
    let (before, written_before) = (Usage::now()?, party.written_bytes());
    let sent = send_for(party, (len, touch), first + warm_up, (measure_ms, COUNT_MIN))?;
    let written = party.written_bytes().zip(written_before).map(|(after, before)| after - before);
    mark(party, STOP)?;
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
    let mut before = Usage::now()?;
    let (mut received, mut counted, mut begins, mut begun, mut stops) = (0u64, 0, 0, 0, 0);
    let (mut first_ns, mut last_ns) = (0, 0);
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
            Ok(BEGIN) => {
                // Of several writers the first one to begin counts.
                first_ns = if begins == 0 { monotonic_ns() } else { first_ns };
                begins += 1;
            }
            Ok(sequence) => {
                damage = damage.or(numbers.take(sequence).err());
                received += 1;
                counted += u64::from(begins > 0);
            }
            Err(error) => damage = Some(error),
        })?;
        if let Some(damage) = damage {
            return Err(damage.into());
        }
        if begins > begun {
            before = if begun == 0 { Usage::now()? } else { before };
            begun = begins;
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
    if begins == 0 {
        return Err(Failure::Unsupported("a stream whose beginning is lost".to_owned()));
    }
    Ok(Event::Received { received, counted, first_ns, last_ns, usage: Usage::now()? - before })
}

/// The clock that all processes of a host share.
fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Of a sequence number, those that count the messages of a writer; those above are the writer's.
const NUMBER_BITS: u32 = 40;
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

    #[test]
    fn what_was_under_way_when_the_warm_up_was_over_is_not_counted_and_all_that_came_between_the_marks_is() {
        let (of, mark) = (|number| message(number, 64), |number| message(number, LEN_MIN));
        let batches =
            vec![vec![of(0)], vec![of(1), mark(BEGIN), of(2)], vec![of(3), of(4)], vec![mark(STOP)]];
        let (_orders, orders) = std::sync::mpsc::channel();
        let heard = subscribe(&mut Scripted(batches), (64, Touch::Full), 1, &orders).expect("a stream");
        let Event::Received { received, counted, first_ns, last_ns, .. } = heard else {
            panic!("{heard:?}");
        };
        assert_eq!((received, counted), (5, 3));
        assert!(0 < first_ns && first_ns <= last_ns);
    }

    #[test]
    fn of_a_stream_the_marks_are_as_short_as_can_be_and_all_else_is_as_long_as_asked() {
        let mut party = Scripted(Vec::new());
        let published = publish(&mut party, 0, (4096, Touch::Full), [1, 1]).expect("a stream");
        let Event::Published { warm_up, sent, .. } = published else { panic!("{published:?}") };
        let lens: Vec<usize> = party.0.iter().flatten().map(Vec::len).collect();
        let (long, marks): (Vec<usize>, Vec<usize>) = lens.iter().partition(|&&len| len == 4096);
        assert_eq!((long.len() as u64, marks), (warm_up + sent, vec![LEN_MIN; 2]));
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
