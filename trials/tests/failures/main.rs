//! Failures of other same-host transports, brought about here: the rows of docs/failures.md by their numbers.
#![cfg(target_os = "linux")]

mod crash;
mod scale;
