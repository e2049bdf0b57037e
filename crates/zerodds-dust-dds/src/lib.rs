//! Shared memory for Dust DDS participants, with UDP wherever that cannot be: the participant keeps its API,
//! its QoS and its wire protocol, and same-host peers read samples from memory.
//!
//! ```no_run
//! use dust_dds::infrastructure::{listener::NO_LISTENER, qos::QosKind, status::NO_STATUS};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let factory = zerodds_dust_dds::ZeroDds::from_env()?.factory()?; // was: DomainParticipantFactory::get_instance()
//! let participant = factory.create_participant(0, QosKind::Default, NO_LISTENER, NO_STATUS)?;
//! # Ok(())
//! # }
//! ```
//! Everything after that line is Dust DDS as before. Peers that do not run this plug-in (Dust with its own
//! transport, RustDDS, other vendors) are served over UDP, by the standard.
//!
//! # What goes where
//! | A sample | to a same-host peer that runs this | to anyone else |
//! |---|---|---|
//! | up to 64 KB | shared memory | one datagram |
//! | up to `ZERODDS_SHM_MAX_DATAGRAM` (16 MiB) | shared memory, in one piece | UDP fragments; such as fit packets to who runs this |
//! | above | UDP fragments | UDP fragments |
//!
//! # What to know about Dust DDS 0.16
//! Each of N readers gets its own encoding of a sample, so size `ZERODDS_SHM_MAX_DATAGRAM` for one and the
//! memory for N. For a stream without loss use reliable `KEEP_LAST(n)` and a long `max_blocking_time`;
//! `KEEP_ALL` never frees acknowledged samples. Types are matched by name: type information is neither sent
//! nor read, since Dust's reader of it trusts the lengths it finds. So a configuration of your own has `enable_type_information(false)`,
//! and a reader whose `TypeConsistencyEnforcement` has `force_type_validation` matches nobody: it waits for what is never read.
//!
//! # Where to read on
//! `zerodds` (the set-up), `participant` (what runs), `writer` and `receive` (the two threads), then what they use:
//! `outgoing`, `forecast`, `repair`, `fragment`, `wanted`, `departed`, `addresses`, `untouched` on the way out; `inbound`,
//! `discovery`, `reassembly`, `contacts`, `estate` on the way in; `datagrams` for the UDP side; `announce`, `loopback` for
//! discovery; `steady` for Dust's clock; `tally` and `monitor` for what users ask; `rtps` for the wire format.
#![forbid(unsafe_code)]

mod addresses;
mod announce;
mod contacts;
mod datagrams;
mod departed;
mod discovery;
mod estate;
mod forecast;
mod fragment;
#[cfg(fuzzing)]
pub mod fuzzing;
mod inbound;
mod loopback;
mod monitor;
mod outgoing;
mod participant;
mod reassembly;
mod receive;
mod repair;
mod rtps;
mod steady;
mod tally;
mod untouched;
mod wanted;
mod writer;
mod zerodds;

pub use monitor::Monitor;
pub use tally::{PathTraffic, Traffic};
pub use zerodds::{ConfigError, FactoryError, ZeroDds};
pub use zerodds_capture as capture;
pub use zerodds_core::{Counters, Locator, Path, PathReport, Reason};
pub use zerodds_transport_shm as transport_shm;
pub use zerodds_transport_udp as transport_udp;
