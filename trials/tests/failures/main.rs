//! Failures of other same-host transports, brought about here: the rows of docs/failures.md by their numbers.
#![cfg(target_os = "linux")]

mod crash;
mod idle;
mod scale;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// One test after the other: each counts the processes that this one has started.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
