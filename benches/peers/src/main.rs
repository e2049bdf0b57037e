//! Measures what comes from the registry, beside this project and the machine's limits: the harness, its command line and
//! its output are those of `zerodds-benches`, whose systems are here too, plain RustDDS and Dust DDS among them.
#![deny(unsafe_code)]

mod leftovers;
#[allow(unsafe_code, reason = "one call of iceoryx2; see sys/mod.rs")]
mod sys;
mod systems;

fn main() -> std::process::ExitCode {
    let mut all = zerodds_benches::systems::all();
    all.extend(systems::all());
    zerodds_benches::main(all)
}
