//! What the command says about real participants, of this user and of another one.

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use zerodds_core::Transport;
use zerodds_transport_shm::{Config, ShmTransport};

/// Who has no name.
const OTHER_USER: u32 = 4711;

/// A domain that no other test of this machine uses; those of DDS end at 232.
fn domain(nth: u32) -> u32 {
    3_000_000_000 + 10 * std::process::id() + nth
}

fn command() -> Command {
    without_settings(Command::new(env!("CARGO_BIN_EXE_zerodds")))
}

/// The command as a user without a name, who may not even reach the folder of the build: it goes by its descriptor.
fn command_of_another_user() -> Command {
    let program = std::fs::File::open(env!("CARGO_BIN_EXE_zerodds")).expect("it is there");
    let mut other = Command::new("setpriv");
    let ids = ["reuid", "regid"].map(|which| format!("--{which}={OTHER_USER}"));
    other.args(ids).args(["--clear-groups", "/proc/self/fd/0"]).stdin(program);
    without_settings(other)
}

fn without_settings(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ZERODDS_")) {
        command.env_remove(name);
    }
    command
}

fn doctor<const N: usize>(settings: [(&str, &str); N]) -> Output {
    command().args(["doctor", "--domain", "229"]).envs(settings).output().expect("it runs")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn rows(command: &mut Command, domain: u32) -> Vec<Value> {
    let output = command.args(["list", "--json", "--domain", &domain.to_string()]).output().expect("it runs");
    assert!(output.status.success(), "{}", text(&output));
    let lines = String::from_utf8(output.stdout).expect("text");
    lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn a_participant_is_listed_with_its_process_and_the_path_to_it() {
    let domain = domain(0);
    let transport = ShmTransport::open(domain, &Config::default());
    transport.availability().expect("shared memory");
    let deadline = Instant::now() + Duration::from_secs(60);
    // A child that another test has started has our socket too, until it executes its program.
    let row = loop {
        let rows = rows(&mut command(), domain);
        let [row] = &rows[..] else { panic!("{rows:?}") };
        if row["pid"].as_u64() == Some(u64::from(std::process::id())) {
            break row.clone();
        }
        assert!(Instant::now() < deadline, "{row}");
    };
    assert_eq!(row["path"].as_str(), Some("shm"), "{row}");
    let incarnation = transport.locators()[0].incarnation().expect("one of shared memory").to_string();
    assert_eq!(row["participant"].as_str(), Some(&*incarnation));
}

#[test]
fn what_stands_in_the_way_is_said_with_the_setting_that_changes_it() {
    let domain = domain(1);
    let _transport = ShmTransport::open(domain, &Config::default());
    let rows = rows(command().env("ZERODDS_SHM", "off"), domain);
    assert_eq!(rows[0]["path"].as_str(), Some("udp"));
    assert!(rows[0]["reason"].as_str().is_some_and(|reason| reason.contains("ZERODDS_SHM=off")), "{rows:?}");
}

#[test]
fn another_users_participant_is_listed_and_who_does_not_admit_whom_is_said() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: it takes root to be another user");
        return;
    }
    let domain = domain(2);
    let _transport = ShmTransport::open(domain, &Config::default());
    let rows = rows(&mut command_of_another_user(), domain);
    let row = &rows[0];
    assert_eq!((row["path"].as_str(), row["pid"].as_u64()), (Some("udp"), None), "{row}");
    assert!(row["reason"].as_str().is_some_and(|reason| reason.contains("ZERODDS_SHM_ACCESS")), "{row}");
}

#[test]
fn nobody_is_said_too() {
    let output = command().args(["list", "--domain", &domain(3).to_string()]).output().expect("it runs");
    assert!(output.status.success() && text(&output).contains("nobody"), "{}", text(&output));
}

#[test]
fn the_doctor_finds_shared_memory_well_and_a_bad_setting_broken() {
    let said = text(&doctor([]));
    assert!(said.lines().any(|line| line.starts_with("ok") && line.contains("arrive whole")), "{said}");
    let bad = doctor([("ZERODDS_SHM_WAIT", "never")]);
    let said = text(&bad);
    assert!(!bad.status.success(), "{said}");
    let named = |line: &str| {
        line.starts_with("BROKEN") && line.contains("ZERODDS_SHM_WAIT=\"never\"") && line.contains("use park")
    };
    assert!(said.lines().any(named), "{said}");
}

#[test]
fn the_doctor_names_an_interface_setting_that_leaves_no_address() {
    let output = doctor([("ZERODDS_UDP_INTERFACES", "nothere0")]);
    let said = text(&output);
    let named = |line: &str| line.starts_with("BROKEN") && line.contains("ZERODDS_UDP_INTERFACES");
    assert!(!output.status.success() && said.lines().any(named), "{said}");
}

#[test]
fn the_doctor_names_a_sandbox_that_lets_nobody_list_the_interfaces() {
    // Of sockets this one forbids those of AF_NETLINK alone.
    const SANDBOX: &str = include_str!("../../zerodds-transport-shm/tests/failures/shims/sandbox.py");
    let mut sandboxed = Command::new("python3");
    sandboxed.args(["-c", SANDBOX, "netlink", env!("CARGO_BIN_EXE_zerodds"), "doctor", "--domain", "228"]);
    let output = sandboxed.output().expect("it runs");
    let said = text(&output);
    let named = |line: &str| {
        line.starts_with("BROKEN   udp  ")
            && line.contains("cannot be listed: Permission denied (os error 13)")
    };
    assert!(!output.status.success() && said.lines().any(named), "{said}");
}

#[test]
fn the_doctor_finds_a_capture_broken_that_could_not_begin_and_leaves_none_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let [missing, file] = ["no/such/file", "a"].map(|name| folder.path().join(name));
    let output = doctor([("ZERODDS_CAPTURE", missing.to_str().expect("text"))]);
    let said = text(&output);
    let is_broken = |line: &str| line.starts_with("BROKEN   capture") && line.contains("no/such/file");
    assert!(!output.status.success() && said.lines().any(is_broken), "{said}");
    let said = text(&doctor([("ZERODDS_CAPTURE", file.to_str().expect("text"))]));
    assert!(said.lines().any(|line| line.starts_with("ok       capture")), "{said}");
    assert_eq!(folder.path().read_dir().expect("a folder").count(), 0);
}

#[test]
fn the_doctor_finds_a_capture_broken_whose_old_file_is_in_the_way_and_leaves_it_there() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: it takes root to be another user");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let [file, before] = ["a", "a.1"].map(|name| folder.path().join(name));
    std::fs::write(&before, "old").expect("the folder is ours");
    let admit = |mode| {
        std::fs::set_permissions(folder.path(), Permissions::from_mode(mode)).expect("the folder is ours");
    };
    let begins_with = |mark: &str| {
        let mut other = command_of_another_user();
        let output = other.args(["doctor", "--domain", "229"]).env("ZERODDS_CAPTURE", &file).output();
        let said = text(&output.expect("it runs"));
        let line = said.lines().find(|line| line.contains(" capture ")).expect("a line");
        assert!(line.starts_with(mark), "{line}");
        assert!(
            mark == "ok" || line.contains("a.1, which the file before it becomes, cannot be removed"),
            "{line}"
        );
    };
    admit(0o1777);
    begins_with("BROKEN");
    admit(0o777);
    begins_with("ok");
    std::fs::write(&file, "old").expect("the folder is ours");
    chown(&file, Some(OTHER_USER), None).expect("by root");
    admit(0o755);
    begins_with("BROKEN");
    assert!([file, before].iter().all(|path| std::fs::read(path).expect("it is there") == b"old"));
}

#[test]
fn the_doctor_names_all_bad_settings_and_does_not_say_ok_of_a_capture_that_has_one() {
    let output = doctor([("ZERODDS_CAPTURE_MAX", "abc"), ("ZERODDS_SHM_WAIT", "never")]);
    let said = text(&output);
    let settings = said.lines().find(|line| line.starts_with("BROKEN   settings")).expect("a line");
    let names_it = |name: &&str| settings.contains(name);
    assert!(["ZERODDS_CAPTURE_MAX=\"abc\"", "ZERODDS_SHM_WAIT=\"never\""].iter().all(names_it), "{said}");
    assert!(!said.lines().any(|line| line.starts_with("ok       capture")), "{said}");
}

#[test]
fn the_doctor_names_every_setting_that_it_did_not_look_at() {
    let said = text(&doctor([("ZERODDS_SHM_THRESHOLD", "abc"), ("ZERODDS_SHM_WHEN_FULL", "maybe")]));
    let (_, names) = said.split_once("not looked at here: ").expect("it says so");
    assert!(
        ["ZERODDS_SHM_THRESHOLD", "ZERODDS_SHM_WHEN_FULL"].iter().all(|name| names.contains(name)),
        "{said}"
    );
}

#[test]
fn the_doctors_exit_code_says_what_is_broken_to_whoever_reads_nothing_of_it_too() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = command();
    command.args(["doctor", "--domain", "229"]).env("ZERODDS_SHM_WAIT", "never").stdout(writer);
    assert_eq!(command.status().expect("it runs").code(), Some(1));
}

#[test]
fn a_variable_that_is_no_setting_is_said_to_be_none() {
    for name in ["ZERODDS_SHM_ACESS", "ZERODD_SHM", "zerodds_shm", "ZERO_DDS_SHM"] {
        let said = text(&doctor([(name, "any")]));
        let named =
            |line: &str| line.starts_with("limited") && line.contains(&format!("{name} is no setting"));
        assert!(said.lines().any(named), "{said}");
    }
    for foreign in ["ZEROMQ_HOME", "ZERODHA_API_SECRET", "ZERO_DOWNTIME"] {
        assert!(!text(&doctor([(foreign, "secret")])).contains("secret"), "{foreign}");
    }
    assert!(!text(&doctor([("ZERODD_KEY", "secret")])).contains("secret"));
}

#[test]
fn the_doctor_knows_the_settings_that_the_papers_have() {
    let papers =
        concat!(include_str!("../../../docs/configuration.md"), include_str!("../../../docs/capture.md"));
    let is_part = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let of_tests = ["ZERODDS_TEST_SCALE", "ZERODDS_SCHEDULES"];
    let words = papers.split(|c| !is_part(c)).filter(|word| word.starts_with("ZERODDS_"));
    let of_papers: BTreeSet<_> = words.filter(|word| !of_tests.contains(word)).collect();
    let said = text(&doctor([("ZERODDS_NONE", "")]));
    let (_, known) = said.split_once("is no setting and changes nothing; there are ").expect("it is none");
    let known = known.lines().next().expect("a line").split(", ").collect::<BTreeSet<_>>();
    assert_eq!(known, of_papers);
}
