//! Nothing but benchmarks: see `benches/`. Run them with `cargo bench -p zerodds-benches`.
