//! The program as a user runs it: real processes, short runs.

use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn measure(arguments: &str) -> Output {
    let words = arguments.split_whitespace();
    Command::new(env!("CARGO_BIN_EXE_measure")).args(words).output().expect("the program runs")
}

/// The runs that were written to a file, and what was printed.
fn records(name: &str, arguments: &str) -> (Vec<serde_json::Value>, String) {
    let path = std::env::temp_dir().join(format!("zerodds-benches-{}-{name}.jsonl", std::process::id()));
    let output = measure(&format!("{arguments} --json {}", path.display()));
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let _ = std::fs::remove_file(&path);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let records = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    (records, String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_ping_pong_of_the_limits_and_of_this_project_gives_a_figure_for_each_size_and_run() {
    let systems =
        "ideal-loan-futex,ideal-copy-futex,ideal-loan-eventfd,zerodds-loan-park,zerodds-copy-adaptive";
    let what =
        format!("latency --systems {systems} --sizes 64,100000,1MiB --runs 2 --ms 10 --placement free");
    let (records, table) = records("latency", &what);
    assert_eq!(records.len(), 5 * 3 * 2);
    for record in &records {
        assert!(record.get("failure").is_none(), "{record}");
        let (p50, max) = (record["p50_us"].as_f64(), record["max_us"].as_f64());
        assert!(p50 > Some(0.0) && p50 <= max && record["count"].as_u64() >= Some(5), "{record}");
    }
    assert!(table.contains("1.000") && table.contains("zerodds-loan-park"), "{table}");
}

#[test]
fn one_run_gives_the_throughput_of_rustdds_as_multiples_of_both_ideal_rings() {
    let bases = "ideal-loan-futex,ideal-copy-futex";
    let what = format!(
        "throughput --systems {bases},rustdds-views,rustdds-copies --against {bases} --sizes 1MiB --runs 1 --ms 50 --placement free"
    );
    let (records, table) = records("multiples", &what);
    let rate = |name: &str| {
        let record = records.iter().find(|record| record["system"] == name).expect("it was measured");
        assert_eq!(record["lost"], 0, "{record}");
        record["messages_per_s"].as_f64().expect("a rate")
    };
    for system in ["rustdds-views", "rustdds-copies"] {
        let row = table.lines().find(|line| line.starts_with(system)).expect("a row");
        for base in bases.split(',') {
            let multiple = format!("{:.3}", rate(system) / rate(base));
            assert!(row.split_whitespace().any(|word| word == multiple), "{multiple} in {row}");
        }
    }
}

#[test]
fn a_stream_reaches_every_subscriber_from_every_publisher_without_loss() {
    for (shape, delivered) in [("--readers 2", 2), ("--writers 3", 1)] {
        let what = format!(
            "throughput --systems zerodds-loan-park,ideal-loan-futex,ideal-copy-futex --sizes 64,1MiB --runs 1 --ms 30 \
             --placement free {shape}"
        );
        let (records, _) = records(&shape[2..9], &what);
        assert_eq!(records.len(), 3 * 2);
        for record in &records {
            assert!(record.get("failure").is_none(), "{record}");
            assert_eq!(record["lost"], 0, "{record}");
            assert!(
                record["count"].as_u64() > Some(0) && record["gb_per_s"].as_f64() > Some(0.0),
                "{record}"
            );
            assert_eq!(record["readers"], delivered, "{record}");
        }
    }
}

#[test]
fn what_a_stream_uses_counts_from_the_end_of_the_warm_up_in_all_processes() {
    let what = "throughput --systems zerodds-loan-park,rustdds-views --sizes 64KiB --runs 1 --warm-up-ms 100 --ms 200 \
                --placement same";
    let (records, _) = records("used", what);
    for record in &records {
        let percent = record["cpu_percent"].as_f64().expect("it was measured");
        // Of one processor; the clock of the stream starts a little later, and stops a little earlier.
        assert!(percent > 0.0 && percent < 110.0, "{record}");
    }
}

#[test]
fn the_dds_stacks_with_this_project_deliver_what_was_sent() {
    let what = "latency --systems rustdds-views,rustdds-copies,dust --sizes 64,1MiB --runs 1 --ms 50 --placement free";
    let (records, _) = records("stacks", what);
    assert_eq!(records.len(), 6);
    let failures: Vec<_> = records.iter().filter(|record| record.get("failure").is_some()).collect();
    assert!(failures.is_empty(), "{failures:?}");
}

#[test]
fn two_hosts_are_joined_by_a_cable_that_is_gone_afterwards_and_where_there_can_be_none_that_is_said() {
    let what = "throughput --systems dust,plain-dust-65000 --sizes 1MiB --runs 1 --ms 300 --placement hosts";
    let (records, _) = records("hosts", what);
    assert_eq!(records.len(), 2);
    let can = Command::new("unshare").args(["--net", "ip", "link", "set", "lo", "up"]).output();
    if !can.is_ok_and(|output| output.status.success()) {
        for record in &records {
            let failure = record["failure"].as_str().unwrap_or_default();
            assert!(failure.contains("needs root, and the commands unshare and ip"), "{record}");
        }
        return;
    }
    for record in &records {
        assert!(record.get("failure").is_none(), "{record}");
        // Dust as it comes asks again for what is lost by timers of its own, later than one waits for here.
        assert!(record["system"] != "dust" || record["lost"] == 0, "{record}");
        assert!(record["cpu_s_per_gb"].as_f64() > Some(0.0) && record.get("distance").is_none(), "{record}");
    }
    let devices = std::fs::read_to_string("/proc/net/dev").expect("proc");
    assert!(!devices.contains("cable:"), "{devices}");
}

#[test]
fn a_crowd_of_64_endpoints_and_a_pair_in_its_midst_are_measured_at_the_same_pace() {
    let (records, _) = records("crowd", "crowd --systems ideal-loan-futex,rustdds-views --runs 1 --ms 1000");
    assert_eq!(records.len(), 2);
    let of = |name: &str| {
        let found = records.iter().find(|record| record["system"] == name).expect("a record");
        assert!(found.get("failure").is_none(), "{found}");
        assert!(found["max_us"].as_f64() >= found["p50_us"].as_f64(), "{found}");
        assert!(
            found["count"].as_u64() >= Some(5) && found["machine_percent"].as_f64() > Some(0.0),
            "{found}"
        );
        found
    };
    let (pair, crowd) = (of("ideal-loan-futex"), of("rustdds-views"));
    assert_eq!(pair["pace_hz"], crowd["pace_hz"]);
    assert_eq!((&crowd["writers"], &crowd["readers"]), (&32.into(), &32.into()));
}

#[test]
fn a_ping_pong_by_futex_takes_a_few_system_calls_a_message_and_where_they_cannot_be_counted_that_is_said() {
    let what =
        "calls --systems ideal-loan-futex,zerodds-loan-park --sizes 64 --runs 1 --ms 50 --placement same";
    let (records, _) = records("calls", what);
    assert_eq!(records.len(), 2);
    for record in &records {
        if let Some(failure) = record.get("failure") {
            let said = failure.as_str().unwrap_or_default();
            assert!(said.contains("takes root, and the command perf"), "{record}");
            eprintln!("NOT COUNTED: {said}");
            continue;
        }
        // Two of them where both sides sleep for every message, one where they find each other awake.
        let of = |name: &str| record[name].as_f64().expect("a figure");
        assert!((0.01..10.0).contains(&of("calls_in_turn")), "{record}");
        assert!((0.0..10.0).contains(&of("calls_in_stream")), "{record}");
    }
}

#[test]
fn what_went_through_a_link_both_ways_takes_more_of_it_than_what_went_one_way() {
    let what = "links --systems zerodds-loan-park --sizes 64KiB --runs 1 --ms 50 --placement free";
    let (records, _) = records("links", what);
    assert_eq!(records.len(), 2);
    let kib = |record: &serde_json::Value| record.get("link_kib").and_then(serde_json::Value::as_u64);
    match (kib(&records[0]), kib(&records[1])) {
        (Some(one), Some(both)) => assert!(0 < one && one <= 64 && one < both, "{records:?}"),
        none => {
            assert_eq!(none, (None, None), "{records:?}");
            eprintln!("SKIPPED: only the root of the host may look at /proc/self/map_files");
        }
    }
}

#[test]
fn what_cannot_be_measured_is_refused_with_the_remedy() {
    for (arguments, named) in [
        ("latency --systems zerodds-loan-prak", "`measure list`"),
        ("latency --systems zerodds-loan-park --sizes 7", "8 bytes to 1GiB"),
        ("latency --systems zerodds-loan-park --sizes 1MB", "8MiB"),
        ("latency --systems zerodds-loan-park --against ideal-loan-futex", "add it to --systems"),
    ] {
        let output = measure(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(named), "{arguments}: {said}");
    }
}

#[test]
fn the_processes_of_a_run_end_with_a_parent_that_is_killed() {
    let mut parent = Command::new(env!("CARGO_BIN_EXE_measure"))
        .args([
            "rest",
            "--systems",
            "zerodds-loan-park",
            "--runs",
            "1",
            "--ms",
            "600000",
            "--placement",
            "free",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let of_parent = format!("/proc/{0}/task/{0}/children", parent.id());
    let children = || -> Vec<u32> {
        let text = std::fs::read_to_string(&of_parent).unwrap_or_default();
        text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while children().len() < 2 {
        assert!(Instant::now() < deadline, "no children");
        std::thread::yield_now();
    }
    let started = children();
    let pid = Pid::from_raw(parent.id().cast_signed()).expect("a pid");
    kill_process(pid, Signal::KILL).expect("it is ours");
    parent.wait().expect("it was started");
    let is_alive = |pid: &u32| {
        let status = std::fs::File::open(format!("/proc/{pid}/status"));
        let lines = status.map(|file| BufReader::new(file).lines());
        lines.is_ok_and(|lines| lines.map_while(Result::ok).any(|line| line.contains("measure")))
    };
    while started.iter().any(is_alive) {
        assert!(Instant::now() < deadline, "children outlive their parent: {started:?}");
        std::thread::yield_now();
    }
}
