//! A stream at full rate, as its processes see it. What was delivered counts, from the first message that left after
//! the warm-up to the last that was read in full.

use crate::dialogue::{Event, Order};
use crate::latency::checked;
use crate::sample::{self, Damage, STOP, Touch};
use crate::system::{Failure, Party};
use crate::usage::Usage;
use rustix::time::{ClockId, clock_gettime};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

/// Sends as fast as there is room.
pub(crate) fn publish(
    party: &mut dyn Party,
    (len, touch): (usize, Touch),
    warm_up_ms: u64,
    measure_ms: u64,
) -> Result<Event, Failure> {
    let warm_up = send_for(party, (len, touch), 0, warm_up_ms)?;
    let before = Usage::now()?;
    let start_ns = monotonic_ns();
    let sent = send_for(party, (len, touch), warm_up, measure_ms)?;
    party.send(len, &mut |bytes| sample::fill(bytes, STOP, Touch::None))?;
    Ok(Event::Published { warm_up, sent, start_ns, usage: Usage::now()? - before })
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

/// Receives until all writers have said stop, or, once all were sent, nothing has come for a while.
pub(crate) fn subscribe(
    party: &mut dyn Party,
    (len, touch): (usize, Touch),
    writers: usize,
    orders: &Receiver<Order>,
) -> Result<Event, Failure> {
    let before = Usage::now()?;
    let (mut received, mut stops, mut next) = (0u64, 0, 0);
    let mut damage = None;
    let mut sent = None;
    let mut until = Instant::now() + POLL;
    let (mut silent_since, mut heard_by_then) = (Instant::now(), 0);
    // The clock is looked at when nothing comes: per message it would be measured.
    while stops < writers {
        let count = party.receive(Some(until), &mut |bytes| match checked(bytes, len, touch) {
            Ok(STOP) => stops += 1,
            Ok(sequence) => {
                // The numbers of one writer never go back; of several, they may.
                if sequence < next && writers == 1 {
                    damage = Some(Damage::Order { got: sequence, wanted: next });
                }
                next = sequence + 1;
                received += 1;
            }
            Err(error) => damage = Some(error),
        })?;
        if let Some(damage) = damage {
            return Err(damage.into());
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

/// Bytes sent between two looks at the clock.
const CLOCK_BYTES: usize = 1 << 20;
/// How long a subscriber waits before it looks for orders.
const POLL: Duration = Duration::from_millis(50);
/// How long it waits for what was sent and does not come: less than the parent waits for its answer.
const PATIENCE: Duration = Duration::from_secs(10);
