//! Tests that another build has to run: an optimized one, one for the model checker.

use std::process::Command;

/// Runs `cargo test` for this crate with these arguments and variables; `at_least` so many tests must run, and pass.
pub(crate) fn test(arguments: &[&str], variables: &[(&str, &str)], at_least: usize) {
    let output = Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["test", "-p", env!("CARGO_PKG_NAME")])
        .args(arguments)
        .arg("--nocapture")
        .envs(variables.iter().copied())
        .output()
        .expect("cargo runs");
    let (said, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{said}");
    assert!(output.status.success(), "cargo test {arguments:?}: {said}\n{told}");
    let passed = said
        .split("test result: ok. ")
        .skip(1)
        .filter_map(|rest| rest.split(' ').next()?.parse::<usize>().ok());
    let passed: usize = passed.sum();
    assert!(passed >= at_least, "{passed} tests ran instead of at least {at_least}: {said}");
}
