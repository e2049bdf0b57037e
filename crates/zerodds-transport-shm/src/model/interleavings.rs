//! Every interleaving of a few steps that C11's memory model allows, by loom.
//!
//! Payloads are loom cells, so that a missing edge between a reader and the writer that reuses its bytes is a data race that
//! loom reports.

use super::*;
use crate::arena::{Arena, Hold, Parts};
use crate::doorbell::Space;
use crate::inlink::{InLink, Taken};
use crate::lane::{LaneReader, LaneWriter};
use crate::outlink::{OutLink, Payload, Published};
use crate::promise::Promise;
use crate::slots::{self, SlotWriter};
use loom::sync::Arc;
use loom::thread;
use std::sync::atomic::{AtomicBool, Ordering};

/// Receives until `count` messages were taken, sleeping whenever there is none.
fn receive(model: &Model, count: usize, mut taken: impl FnMut(Taken)) {
    let mut incoming = InLink::new(WAY, 1 << 20, true);
    let mut received = 0;
    while received < count {
        let found = take(&mut incoming, model, |_, _| Ok(()), |_, _| {}).expect("a correct sender");
        if let Some(message) = found {
            taken(message);
            received += 1;
            continue;
        }
        let armed = doorbell::arm(model, Bed::Futex);
        if !incoming.is_ready(model) {
            model.wait_on(bell::BELL, armed);
        }
        doorbell::disarm(model);
    }
}

fn offset(record: u32) -> u32 {
    ((ring::HEADER_LEN + ring::RECORD_HEADER_LEN) / ring::UNIT) as u32 + record
}

#[test]
fn no_message_is_missed_or_reordered_by_a_receiver_that_sleeps() {
    loom::model(|| {
        let model = Arc::new(Model::new());
        let shared = Arc::clone(&model);
        let sender = thread::spawn(move || {
            let mut rung = doorbell::NEVER_RUNG;
            let (mut lane, mut slots) = (LaneWriter::new(WAY), SlotWriter::new(WAY));
            assert_eq!(lane.push(&*shared, 0, &[7]), Ok(true));
            shared.ring(&mut rung);
            slots.publish(&*shared, 1, offset(0), 64, 0);
            shared.ring(&mut rung);
        });
        let mut order = Vec::new();
        receive(&model, 2, |message| {
            order.push(matches!(message, Taken::Copied { bytes, .. } if bytes[..] == [7]))
        });
        assert_eq!(order, [true, false], "the lane's message was sent first");
        sender.join().expect("no panic");
    });
}

#[test]
fn a_message_is_taken_or_revoked_and_its_bytes_are_never_written_while_read() {
    loom::model(|| {
        let model = Arc::new(Model::new());
        let payload = Arc::new(Cell::new(1u64));
        let (shared, bytes) = (Arc::clone(&model), Arc::clone(&payload));
        let sender = thread::spawn(move || {
            let mut rung = doorbell::NEVER_RUNG;
            let mut slots = SlotWriter::new(WAY);
            let first = slots.publish(&*shared, 0, offset(0), 8, 0);
            shared.ring(&mut rung);
            let revoked = slots.revoke(&*shared, first).expect("a correct receiver");
            // The bytes may be used again if it was revoked, or once it is released.
            if revoked || slots.is_released(&*shared, 0, first) {
                bytes.set(2);
            }
            slots.publish(&*shared, 1, offset(1), 8, 1);
            shared.ring(&mut rung);
            revoked
        });
        let mut firsts = 0;
        let mut lasts = 0;
        let mut incoming = InLink::new(WAY, 1 << 20, true);
        while lasts == 0 {
            match take(&mut incoming, &model, |_, _| Ok(()), |_, _| {}).expect("a correct sender") {
                Some(Taken::InPlace { handle: 0, position, .. }) => {
                    firsts += 1;
                    assert_eq!(payload.get(), 1, "what was sent, not what came after");
                    slots::release(&*model, WAY, 0, position);
                }
                Some(_) => lasts += 1,
                None => {
                    let armed = doorbell::arm(&*model, Bed::Futex);
                    if !incoming.is_ready(&*model) {
                        model.wait_on(bell::BELL, armed);
                    }
                    doorbell::disarm(&*model);
                }
            }
        }
        let revoked = sender.join().expect("no panic");
        assert_eq!(firsts, usize::from(!revoked), "taken or revoked, never both, never neither");
    });
}

/// A small message follows large ones, the first of which is revoked while the receiver looks at its slot, which is used again.
#[test]
fn a_slot_that_is_used_again_while_it_is_looked_at_lets_nothing_overtake() {
    loom::model(|| {
        let model = Arc::new(Model::new());
        let shared = Arc::clone(&model);
        let sender = thread::spawn(move || {
            let (mut lane, mut slots) = (LaneWriter::new(WAY), SlotWriter::new(WAY));
            let first = slots.publish(&*shared, 0, offset(0), 0, 0);
            slots.publish(&*shared, 1, offset(0), 1, 1);
            assert_eq!(lane.push(&*shared, 2, &[2]), Ok(true));
            if slots.revoke(&*shared, first).expect("a correct receiver") {
                slots.publish(&*shared, 3, offset(0), 3, 0);
                slots.publish(&*shared, 4, offset(0), 4, 0);
            }
        });
        let mut incoming = InLink::new(WAY, 1 << 20, true);
        let mut number =
            || match take(&mut incoming, &model, |_, _| Ok(()), |_, _| {}).expect("a correct sender")? {
                Taken::Copied { bytes, .. } => Some(usize::from(bytes[0])),
                Taken::InPlace { len, .. } => Some(len),
            };
        let first = number();
        assert_ne!(first, Some(2), "it was sent after another that is still there");
        if let (Some(first), Some(second)) = (first, number()) {
            assert!(first < second, "{second} after {first}");
        }
        sender.join().expect("no panic");
    });
}

#[test]
fn a_sender_that_waits_for_space_is_woken() {
    a_waiting_sender_is_woken_by(|model| doorbell::notify_space(model, Space::Any));
}

#[test]
fn a_sender_that_waits_for_space_is_woken_by_whoever_asks_first() {
    let notify = |model: &Model| doorbell::notify_space(model, Space::Any);
    a_waiting_sender_is_woken_by(move |model| doorbell::is_space_awaited(model) && notify(model));
}

fn a_waiting_sender_is_woken_by(must_wake: impl Fn(&Model) -> bool + Send + Sync + 'static) {
    loom::model(move || {
        let model = Arc::new(Model::new());
        let shared = Arc::clone(&model);
        let sender = thread::spawn(move || {
            let mut rung = doorbell::NEVER_RUNG;
            let mut slots = SlotWriter::new(WAY);
            // One slot is that of the next message.
            for message in 1..link::SLOTS as u32 {
                slots.publish(&*shared, message.into(), offset(message), 8, slot::NO_HANDLE);
            }
            shared.ring(&mut rung);
            while slots.is_full(&*shared).expect("a correct receiver") {
                let armed = doorbell::arm_space(&*shared, Space::Any);
                if slots.is_full(&*shared).expect("a correct receiver") {
                    shared.wait_on(bell::SPACE, armed);
                }
                doorbell::disarm_space(&*shared, Space::Any);
            }
        });
        receive(&model, 1, |_| {
            if must_wake(&model) {
                model.wake();
            }
        });
        sender.join().expect("woken");
    });
}

/// Nobody sleeps here: doorbells have fences, which would hide what the lane's own words lack.
#[test]
fn bytes_of_the_lane_are_used_again_only_after_they_were_copied() {
    loom::model(|| {
        let model = Arc::new(Model::new());
        let shared = Arc::clone(&model);
        let sender = thread::spawn(move || {
            let mut lane = LaneWriter::new(WAY);
            // One fills it, with the word behind it; the third has the place of the first.
            for number in 0..3u8 {
                while !lane.push(&*shared, number.into(), &[number; 40]).expect("a correct receiver") {
                    thread::yield_now();
                }
            }
        });
        let mut lane = LaneReader::new(WAY);
        for number in 0..3 {
            let record = loop {
                match lane.peek(&*model).expect("a correct sender") {
                    Some(record) => break record,
                    None => thread::yield_now(),
                }
            };
            assert_eq!(lane.take(&*model, record).0[..], [number; 40]);
        }
        sender.join().expect("no panic");
    });
}

/// How a sender learns that a message which its receiver had to copy was taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Learns {
    ByTheCursor,
    ByRevokingInVain,
}

/// The bytes of a message that is copied out before it is taken are the sender's again once it was taken.
fn copied_bytes_are_used_again_only_after_they_were_taken(learns: Learns) {
    let learned = std::sync::Arc::new(AtomicBool::new(false));
    let once = std::sync::Arc::clone(&learned);
    loom::model(move || {
        let learned = std::sync::Arc::clone(&once);
        let model = Arc::new(Model::new());
        let payload = Arc::new(Cell::new(1u8));
        let (shared, bytes) = (Arc::clone(&model), Arc::clone(&payload));
        let sender = thread::spawn(move || {
            let mut slots = SlotWriter::new(WAY);
            let first = slots.publish(&*shared, 0, offset(0), 1, slot::NO_HANDLE);
            // loom tries the other order of two accesses only where no third one of the same word lies between: the reader's own
            // second look at the cursor would hide from it that the reader may take before this thread looks.
            thread::yield_now();
            let taken = match learns {
                Learns::ByTheCursor => slots.cursor(&*shared) == Ok(first + 1),
                Learns::ByRevokingInVain => slots.revoke(&*shared, first) == Ok(false),
            };
            if taken {
                learned.store(true, Ordering::Relaxed);
                bytes.set(2);
            }
        });
        let mut incoming = InLink::new(WAY, 1 << 20, true);
        let copy_out = |_: usize, buffer: &mut [u8]| {
            buffer.fill(payload.get());
            Ok(())
        };
        if let Some(found) = take(&mut incoming, &model, copy_out, |_, _| {}).expect("a correct sender") {
            assert!(matches!(found, Taken::Copied { bytes, .. } if bytes[..] == [1]), "not what came after");
        }
        sender.join().expect("no panic");
    });
    assert!(learned.load(Ordering::Relaxed), "in one interleaving at least");
}

#[test]
fn copied_bytes_are_used_again_only_after_the_cursor_has_passed_them() {
    copied_bytes_are_used_again_only_after_they_were_taken(Learns::ByTheCursor);
}

#[test]
fn copied_bytes_are_used_again_only_after_they_could_not_be_revoked() {
    copied_bytes_are_used_again_only_after_they_were_taken(Learns::ByRevokingInVain);
}

/// Sends two messages, of which those in `records` go through the ring, to a receiver that leaves the link at any
/// moment; each must be received or refused, and the bytes of a refused one must be free for anything.
fn each_is_received_or_refused(records: [bool; 2]) {
    loom::model(move || {
        let model = Arc::new(Model::new());
        let payloads = Arc::new([Cell::new(1u64), Cell::new(1u64)]);
        let (shared, bytes) = (Arc::clone(&model), Arc::clone(&payloads));
        let sender = thread::spawn(move || {
            let mut arena = Arena::new(ring::HEADER_LEN as u64, 1 << 16, 1 << 16, 1 << 13);
            let mut out = OutLink::new(WAY);
            [0, 1].map(|number: u8| {
                let id = arena.allocate(RECORD_LEN, Parts::All, |_, _| false).expect("room");
                let small = [number];
                let payload = if records[usize::from(number)] {
                    Payload::Record { id, len: number.into() }
                } else {
                    Payload::Small(&small)
                };
                let outcome = out.publish(&*shared, &mut arena, payload, Promise::Reliable, 1 << 16);
                arena.release(id, Hold::Firm);
                match outcome.expect("a correct receiver") {
                    Published::Yes => true,
                    Published::Refused => {
                        bytes[usize::from(number)].set(2);
                        false
                    }
                    Published::Full | Published::Offered(_) => unreachable!("there is room for both"),
                }
            })
        });
        let mut received = Vec::new();
        let mut incoming = InLink::new(WAY, 1 << 20, true);
        let mut take = |incoming: &mut InLink| {
            let found = super::take(incoming, &model, |_, _| Ok(()), |_, _| {}).expect("a correct sender");
            received.extend(found.as_ref().map(|message| match message {
                Taken::Copied { bytes, .. } => bytes[0],
                Taken::InPlace { len, .. } => {
                    assert_eq!(payloads[*len].get(), 1, "not what came after");
                    *len as u8
                }
            }));
            found.is_some()
        };
        take(&mut incoming);
        incoming.close(&*model);
        while take(&mut incoming) || !incoming.is_over(&*model) {}
        let served = sender.join().expect("no panic");
        let expected: Vec<u8> = (0..2).filter(|&number| served[usize::from(number)]).collect();
        assert_eq!(received, expected, "received, or refused, in order");
    });
}

/// Long enough to be read in place.
const RECORD_LEN: u64 = 5_000;

#[test]
fn at_the_end_each_record_is_received_or_refused() {
    each_is_received_or_refused([true, true]);
}

#[test]
fn at_the_end_each_small_message_is_received_or_refused() {
    each_is_received_or_refused([false, false]);
}

#[test]
fn at_the_end_the_order_of_small_and_large_messages_holds() {
    each_is_received_or_refused([true, false]);
    each_is_received_or_refused([false, true]);
}
