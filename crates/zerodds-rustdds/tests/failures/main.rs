//! Failures of other same-host transports, brought about with RustDDS: the rows of docs/failures.md by their numbers.

#[path = "../parties/mod.rs"]
mod parties;
mod types;
