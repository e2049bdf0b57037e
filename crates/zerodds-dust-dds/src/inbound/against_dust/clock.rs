//! A participant of Dust's whose wall clock leaps: tests.

use super::*;
use crate::steady::tests::{Ahead, by_hand};
use std::sync::atomic::Ordering;

/// Waits until it has announced itself so many times more, from now on.
fn announces(one: &Captive, times: usize) {
    one.answer();
    drop(one.take_written());
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut heard = 0;
    while heard < times {
        assert!(Instant::now() < deadline, "it is silent");
        let is_announcement = |message: &&Vec<u8>| number_of(message, EntityId::SPDP_WRITER).is_some();
        heard += one.take_written().iter().filter(is_announcement).count();
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

#[test]
fn a_participant_whose_wall_clock_is_put_back_goes_on_announcing_itself() {
    let trial = || {
        let (ahead, interval) = (Ahead::default(), Duration::from_millis(1));
        let victim = Captive::on(by_hand(StdRuntime::new(), &ahead), 92, interval);
        announces(&victim, 3);
        ahead.fetch_sub(3_600, Ordering::Relaxed);
        announces(&victim, 3);
        1
    };
    assert_eq!(outcome(trial), Some(1));
}

#[test]
fn nobody_is_forgotten_when_the_wall_clock_is_put_forward_by_56_years() {
    let trial = || {
        let (ahead, interval) = (Ahead::default(), Duration::from_millis(1));
        let victim = Captive::on(by_hand(StdRuntime::new(), &ahead), 93, interval);
        let partner = Captive::new(94);
        introduce(&victim, &partner, &mut inbound(), |_| {});
        let known = victim.answer();
        ahead.fetch_add(56 * 365 * 24 * 3_600, Ordering::Relaxed);
        // It looks at leases whenever it looks whether it has to announce itself.
        announces(&victim, 3);
        assert_eq!(victim.answer(), known);
        known
    };
    assert!(outcome(trial) > Some(0));
}
