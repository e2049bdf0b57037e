//! Trials of endurance, run by `cargo xtask crash` and `cargo xtask soak`.
//!
//! ```text
//!   crash   thousands of short lives: a process is killed, or stopped, before the n-th store to shared memory (or the
//!           n-th step of a handshake, of growth, of recovery), while two others exchange checked messages
//!   soak    hours: processes of all kinds come, go, die, freeze, and change what they send
//! ```
//! Everything is real: processes, their deaths, kernel objects. The program starts itself again for each of them, with the
//! words of a role, and talks with them in lines through pipes. What happens follows from a seed.

pub mod census;
pub mod child;
pub mod crash;
#[path = "../../examples/largedata/src/domain.rs"]
#[allow(dead_code, reason = "largedata uses all of it")]
mod domain;
pub mod node;
pub mod parcel;
pub mod random;
pub mod scale;
pub mod soak;
pub mod stacks;
