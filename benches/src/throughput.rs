//! A stream at full rate, as its processes see it. What was delivered counts, from the first message that left after
//! the warm-up to the last that was read in full; and what all processes used, from the mark behind the warm-up.

use crate::dialogue::{Event, Order};
use crate::latency::checked;
use crate::sample::{self, BEGIN, Damage, STOP, Touch};
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
    let mark =
        |party: &mut dyn Party, mark| party.send(len, &mut |bytes| sample::fill(bytes, mark, Touch::None));
    let warm_up = send_for(party, (len, touch), first, warm_up_ms)?;
    mark(party, BEGIN)?;
    let (before, written_before) = (Usage::now()?, party.written_bytes());
    let start_ns = monotonic_ns();
    let sent = send_for(party, (len, touch), first + warm_up, measure_ms)?;
    let written = party.written_bytes().zip(written_before).map(|(after, before)| after - before);
    mark(party, STOP)?;
    Ok(Event::Published { warm_up, sent, start_ns, usage: Usage::now()? - before, written })
}

fn send_for(
    party: &mut dyn Party,
    (len, touch): (usize, Touch),
    first: u64,
    ms: u64,
) -> Result<u64, Failure> {
    let end = Instant::now() + Duration::from_millis(ms);
    // The clock is asked once in a while: at tens of millions a second it would be half of the work.
    let batch = (CLOCK_BYTES / len).clamp(1, 256) as u64;
    let mut sent = 0;
    while Instant::now() < end {
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
    let (mut received, mut begins, mut begun, mut stops) = (0u64, 0, 0, 0);
    let mut numbers = Numbers(vec![0; writers]);
    let mut damage = None;
    let mut sent = None;
    let mut until = Instant::now() + POLL;
    let (mut silent_since, mut heard_by_then) = (Instant::now(), 0);
    // The clock is looked at when nothing comes: per message it would be measured.
    while stops < writers {
        let count = party.receive(Some(until), &mut |bytes| match checked(bytes, len, touch) {
            Ok(STOP) => stops += 1,
            Ok(BEGIN) => begins += 1,
            Ok(sequence) => {
                damage = damage.or(numbers.take(sequence).err());
                received += 1;
            }
            Err(error) => damage = Some(error),
        })?;
        if let Some(damage) = damage {
            return Err(damage.into());
        }
        if begins > begun {
            // Of several writers the first one to begin counts, as for the time.
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
    Ok(Event::Received { received, last_ns: monotonic_ns(), usage: Usage::now()? - before })
}

/// The clock that all processes of a host share.
fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Of a sequence number, those that count the messages of a writer; those above are the writer's.
const NUMBER_BITS: u32 = 40;
/// Bytes sent between two looks at the clock.
const CLOCK_BYTES: usize = 1 << 20;
/// How long a subscriber waits before it looks for orders.
const POLL: Duration = Duration::from_millis(50);
/// How long it waits for what was sent and does not come: less than the parent waits for its answer.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

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
