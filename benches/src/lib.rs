//! How fast, beside what the machine can do at all: two processes, every sample filled, read in full and checked.
//!
//! ```text
//!   measure (parent)            probe · spawns · tells · hears · writes down
//!     │ stdin: orders                                   │ stdin: orders
//!     ▼ stdout: results                                 ▼ stdout: results
//!   child 0 (ping, publisher) ═══ system under test ═══ child 1.. (pong, subscribers)
//! ```
//! A [`System`](system::System) is anything that carries samples: the limits of the machine ([`limits`]), this project
//! ([`systems`]), and what other workspaces bring; all are driven by the same code. `measure --help` lists the
//! measurements; a program with systems of its own calls [`main`] with them:
//!
//! ```no_run
//! # fn my_systems() -> Vec<Box<dyn zerodds_benches::system::System>> { Vec::new() }
//! fn main() -> std::process::ExitCode {
//!     let mut systems = zerodds_benches::systems::all();
//!     systems.extend(my_systems());
//!     zerodds_benches::main(systems)
//! }
//! ```
//!
//! # Where to read on
//! | What | Modules |
//! |---|---|
//! | what a system has to implement | [`system`] |
//! | what is sent and how it is checked | [`sample`] |
//! | the limits | [`limits`], [`probe`] |
//! | parent and children | `crew`, `child`, `dialogue`, [`placement`], `hosts` |
//! | the measurements | `session`, `suite`, `run`, `latency`, `throughput`, `crowd`, `calls`, [`usage`], `cli` |
//! | what comes out | [`record`], [`median`], `table`, `report` |
//!
//! Single operations within one process are measured by criterion: `cargo bench -p zerodds-benches`.
#![deny(unsafe_code)]

mod calls;
mod child;
mod cli;
mod crew;
mod crowd;
mod dialogue;
#[path = "../../examples/largedata/src/domain.rs"]
#[allow(dead_code, reason = "largedata uses all of it")]
mod domain;
mod hosts;
mod latency;
pub mod limits;
#[path = "../../examples/largedata/src/lines.rs"]
mod lines;
pub mod median;
pub mod placement;
pub mod probe;
pub mod record;
mod report;
mod run;
pub mod sample;
mod session;
mod suite;
#[allow(unsafe_code, reason = "the ideal baselines are raw shared memory; rules in sys/mod.rs")]
mod sys;
pub mod system;
pub mod systems;
mod table;
mod throughput;
pub mod usage;

pub use cli::main;
