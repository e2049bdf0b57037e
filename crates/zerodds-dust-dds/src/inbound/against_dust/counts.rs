//! A writer that has almost said as much as it can count: tests.

use super::*;

/// Makes the counts of an application's HEARTBEATs such as are near their end.
fn near_the_end(message: &mut [u8]) {
    let ends: Vec<_> = Submessages::of(message)
        .flatten()
        .filter_map(|submessage| match Content::read(&submessage) {
            Ok(Content::Heartbeat(heartbeat)) if heartbeat.writer.is_user_defined() => {
                let at = submessage.offset + SUBMESSAGE_HEADER_LEN + Heartbeat::COUNT_OFFSET;
                Some((at, long_octets(heartbeat.count.wrapping_add(i32::MAX - 2), submessage.order())))
            }
            _ => None,
        })
        .collect();
    ends.into_iter().for_each(|(at, octets)| message[at..at + 4].copy_from_slice(&octets));
}

/// What the note of this number says. All are of one instance, of which a writer keeps the last: it waits until that is acknowledged.
fn text(number: u32) -> String {
    number.to_string()
}

#[test]
fn a_writer_whose_heartbeats_are_near_the_end_of_their_counts_is_found_anew_and_its_reader_goes_on() {
    let trial = || {
        let victim = Captive::new(95);
        let other = Captive::on(StdRuntime::new(), 96, Duration::from_millis(1));
        let own = [&victim, &other].map(|one| guid(one.participant.get_instance_handle()).prefix);
        let (mut inbound, mut others_inbound) = (inbound(), inbound());
        let reader = victim.reliable_reader();
        let (mut now, mut out) = (Instant::now(), Vec::new());
        let (mut told, mut change): (usize, fn(&mut [u8])) = (0, near_the_end);
        let matched = || {
            let theirs = other.writer.get_matched_subscriptions().expect("alive").len();
            theirs == 2 && reader.get_subscription_matched_status().expect("alive").current_count == 1
        };
        let is_read = |id| {
            let all = (ANY_SAMPLE_STATE, ANY_VIEW_STATE, ANY_INSTANCE_STATE);
            let samples = reader.take(100, all.0, all.1, all.2).unwrap_or_default();
            samples.into_iter().any(|sample| sample.data.is_some_and(|note: Note| note.text == text(id)))
        };
        for id in 1..=20 {
            let mut is_written = false;
            while !is_read(id) {
                carry(&other, &victim, &mut inbound, now, change);
                carry(&victim, &other, &mut others_inbound, now, |_| {});
                for answer in inbound.answers() {
                    others_inbound.message(&answer.message, Some(Path::Udp), Some(own[1]), now, &mut out);
                    out.drain(..).for_each(|message| other.give(message));
                    while victim.answer() + other.answer() > 0 {
                        std::thread::yield_now();
                    }
                    // What was under way is there before they hear of each other again. What is new to each other begins to count anew.
                    drop((victim.take_written(), other.take_written()));
                    now += crate::estate::GRAVE;
                    (told, is_written) = (told + 1, false);
                    change = |_| {};
                }
                if !is_written && matched() {
                    is_written = other.writer.write(Note { id: 1, text: text(id) }, None).is_ok();
                }
                std::thread::park_timeout(Duration::from_millis(1));
            }
        }
        told
    };
    assert_eq!(outcome(trial), Some(1), "once");
}

#[test]
fn a_participant_whose_writer_has_almost_said_to_its_own_reader_what_it_can_count_finds_itself_anew() {
    let trial = || {
        let own = Captive::on(StdRuntime::new(), 97, Duration::from_millis(1));
        let prefix = guid(own.participant.get_instance_handle()).prefix;
        let (mut inbound, reader) = (inbound(), own.reliable_reader());
        let (mut now, mut out) = (Instant::now(), Vec::new());
        let (mut lost, mut change): (usize, fn(&mut [u8])) = (0, near_the_end);
        let matched = || own.writer.get_matched_subscriptions().expect("alive").len() == 2;
        let is_read = |id| {
            let all = (ANY_SAMPLE_STATE, ANY_VIEW_STATE, ANY_INSTANCE_STATE);
            let samples = reader.take(100, all.0, all.1, all.2).unwrap_or_default();
            samples.into_iter().any(|sample| sample.data.is_some_and(|note: Note| note.text == text(id)))
        };
        let mut known = false;
        for id in 1..=20 {
            let mut is_written = false;
            while !is_read(id) {
                for mut message in own.take_written() {
                    change(&mut message);
                    inbound.message(&message, None, Some(prefix), now, &mut out);
                }
                out.drain(..).for_each(|message| own.give(message));
                if known && !inbound.estates.has(prefix) {
                    // What was under way is there before it hears of itself again, with counts that begin anew.
                    while own.answer() > 0 {
                        std::thread::yield_now();
                    }
                    drop(own.take_written());
                    now += crate::estate::GRAVE;
                    (lost, is_written) = (lost + 1, false);
                    change = |_| {};
                }
                known = inbound.estates.has(prefix);
                if !is_written && matched() {
                    is_written = own.writer.write(Note { id: 1, text: text(id) }, None).is_ok();
                }
                std::thread::park_timeout(Duration::from_millis(1));
            }
        }
        lost
    };
    assert_eq!(outcome(trial), Some(1), "once");
}
