//! Measures this project beside the limits of the machine: see the library.

fn main() -> std::process::ExitCode {
    zerodds_benches::main(zerodds_benches::systems::all())
}
