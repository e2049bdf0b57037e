//! What a user sees who asks for something that cannot be.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;
use support::{output, stderr, stdout};

/// Runs it, expects exit code 2, nothing on stdout and an error with each of these words.
fn refused(arguments: &str, words: &[&str]) {
    let output = output(arguments);
    let error = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{arguments}: {error}");
    assert_eq!(stdout(&output), "", "{arguments}");
    for word in words {
        assert!(error.contains(word), "{arguments}: {word:?} is not in {error}");
    }
}

#[test]
fn a_bad_value_is_named_with_what_is_accepted() {
    refused("run --size abc", &["'abc'", "--size", "64KiB"]);
    refused("run --points 5..2", &["'5..2'", "10k..300k"]);
    refused("run --rate often", &["'often'", "max"]);
    refused("run --domain 233", &["233", "0..=232"]);
    refused("run --input scan.bin:7", &["'scan.bin:7'", "4 (x y z intensity)"]);
}

#[test]
fn a_domain_in_front_of_a_command_is_refused_and_not_ignored() {
    refused("--domain 42 compare --stack transport", &["'compare'", "--domain"]);
    refused("--domain 42 pub", &["'pub'", "--domain"]);
}

#[test]
fn a_stack_that_does_not_exist_is_named_with_those_that_do() {
    refused("run --stack cyclone --json", &["'cyclone'", "dust, rustdds and transport"]);
    refused("compare --stack transport", &["transport", "dust or rustdds"]);
}

#[test]
fn a_file_that_cannot_be_published_is_named_before_anything_starts() {
    refused("run --json --input no/such/file.png", &["no/such/file.png", "cannot be read"]);
    refused("pub --input Cargo.toml", &["Cargo.toml", "neither PCD, PNG nor JPEG", "FILE:4"]);
    let scan = std::env::temp_dir().join(format!("largedata-{}.bin", std::process::id()));
    std::fs::write(&scan, [0; 121]).unwrap();
    let scan = scan.display().to_string();
    refused(&format!("run --input {scan}:5"), &[&scan, "121 bytes", "20 bytes each"]);
    std::fs::remove_file(scan).unwrap();
}

#[test]
fn options_that_do_not_go_together_are_explained() {
    refused("run --kind image --size 5", &["--size", "--kind bytes"]);
    refused("run --kind bytes --points 5", &["--points", "only clouds"]);
    refused("run --loan --json", &["--stack rustdds", "always copied"]);
    refused("sub --stack transport --view", &["--stack rustdds", "in place without"]);
    refused("run --stack rustdds --path udp --loan --view", &["--loan and --view", "--path udp"]);
    refused("compare --stack rustdds --path udp", &["shared memory", "--path udp"]);
    refused("run --stack transport --path udp", &["best-effort", "--stack dust"]);
    refused("run --stack transport --path udp --reliability best-effort --size 64KiB", &["65600", "65507"]);
}

#[test]
fn a_bad_setting_in_the_environment_is_named() {
    let mut command = support::largedata("run --stack transport --json");
    let output = command.env("ZERODDS_SHM_MAX_DATAGRAM", "abc").output().unwrap();
    let error = stderr(&output);
    assert_eq!((output.status.code(), stdout(&output)), (Some(2), String::new()), "{error}");
    assert!(error.contains("ZERODDS_SHM_MAX_DATAGRAM") && error.contains("abc"), "{error}");
}

#[test]
fn a_reader_that_went_away_ends_it_without_a_panic() {
    for arguments in ["pub --stack transport --seconds 60", "sub --stack transport --seconds 60"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = support::largedata(arguments).stdout(writer).output().unwrap();
        assert_eq!(output.status.code(), Some(141), "{arguments}: {}", stderr(&output));
        assert_eq!(stderr(&output), "", "{arguments}");
    }
}
