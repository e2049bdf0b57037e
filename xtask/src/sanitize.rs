//! Runs tests of the shared-memory transport under ThreadSanitizer and AddressSanitizer.
//!
//! The standard library is the one that comes with the compiler, which is not instrumented: what it does with locks and
//! channels ThreadSanitizer would not see. So only reports of our own code count, see `IGNORED`.

use crate::{cargo, nightly};
use std::error::Error;
use std::path::Path;

/// Runs this sanitizer, or both; true if neither found anything.
///
/// # Errors
/// No nightly compiler.
pub fn run(root: &Path, only: Option<&str>) -> Result<bool, Box<dyn Error>> {
    nightly::prepare()?;
    let host = nightly::host()?;
    let scratch = cargo::target_dir(root).join("sanitize");
    std::fs::create_dir_all(&scratch)?;
    let suppressions = scratch.join("ignored");
    std::fs::write(&suppressions, IGNORED)?;
    let mut good = true;
    for sanitizer in SANITIZERS.into_iter().filter(|&name| only.is_none_or(|only| only == name)) {
        let flags = format!("-Zsanitizer={sanitizer} -Cunsafe-allow-abi-mismatch=sanitizer");
        let mut command = nightly::cargo(root);
        command.args(["test", "--package", "zerodds-transport-shm", "--target", &host, "--lib"]);
        command.args(TESTS.iter().flat_map(|test| ["--test", test]));
        command.env("RUSTFLAGS", flags).env("CARGO_TARGET_DIR", scratch.join(sanitizer));
        command.env("TSAN_OPTIONS", format!("suppressions={}", suppressions.display()));
        let passed = command.status()?.success();
        println!(
            "{sanitizer} sanitizer: {}",
            if passed { "nothing found" } else { "FOUND SOMETHING, see above" }
        );
        good &= passed;
    }
    Ok(good)
}

const SANITIZERS: [&str; 2] = ["thread", "address"];
/// Two threads, and two processes.
const TESTS: [&str; 4] = ["exchange", "links", "quiet", "processes"];
/// What ThreadSanitizer reports only because it does not see into the standard library: the fence before the last owner of an
/// `Arc` drops it, the reason of a link's end and what wakes a peer in poll, which stand in a `OnceLock`, and what the test harness hands over. Each pattern names the
/// function or type concerned, and none that stands at the bottom of every stack.
const IGNORED: &str = "\
race:drop_slow
race:alloc::sync::Weak
race:Arc<std::thread::thread::Inner
race:zerodds_core::path::Reason
race:OnceLock<zerodds_transport_shm::control::closing::Given>
race:test::event::CompletedTest
race:Mutex<core::option::Option<test::run_test
";
