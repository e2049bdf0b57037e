//! RustDDS participants under DDS Security, with sessions of shared memory: tests only, in `tests/`.
