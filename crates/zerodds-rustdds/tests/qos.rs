//! Every QoS policy under both casts: the same play, once over plain RustDDS endpoints (UDP) and once over those of the
//! plug-in (shared memory, where docs/qos.md says so). What the application sees has to be the same, down to `SampleInfo`.
//!
//! Expectations come from DDS 1.4 and are checked for both casts. What RustDDS decides differently from DDS is compared
//! between the casts alone; docs/qos.md has the list.

mod parties;
mod qos {
    /// What is left to RustDDS.
    mod delegated;
    /// What is not the same.
    mod edges;
    /// Reliability, history, durability, size and keys, in all combinations.
    mod matrix;
    /// The play, and what is seen of it.
    pub(crate) mod play;
    /// The other policies.
    mod policies;
    /// Endpoints of both casts.
    pub(crate) mod stage;
}
