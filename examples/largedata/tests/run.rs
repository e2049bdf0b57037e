//! `largedata run`: what it prints, what its exit code says, and that it leaves nothing behind.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;
use serde_json::Value;
use std::time::Duration;
use support::{
    Folder, Guarded, all_by_shm, children, eventually, is_gone, output, report, signal, stderr, stdout,
};

#[test]
fn a_run_prints_one_object_with_what_was_measured() {
    let report = all_by_shm("--stack transport --points 100..2000 --samples 24 --subscribers 2", 48);
    assert_eq!((&report["kind"], &report["stack"]), (&Value::from("cloud"), &Value::from("transport")));
    assert!(report["latency_us"]["p50"].as_f64().unwrap() > 0.0);
    assert!(report["seconds"].as_f64().unwrap() > 0.0 && report["mb_per_s"].as_f64().unwrap() > 0.0);
    assert!(report["first_sample_ms"].as_f64().unwrap() > 0.0);
    let bytes = report["bytes"].as_u64().unwrap();
    assert!((48 * 100 * 20..48 * 2000 * 20).contains(&bytes), "{bytes}");
}

#[test]
fn payloads_of_any_size_arrive_whole() {
    for size in [0, 1, 63, 64, 65, 65_507, 65_536, 1 << 20] {
        let report = all_by_shm(&format!("--stack transport --size {size} --samples 6"), 6);
        assert_eq!(report["bytes"], Value::from(6 * size), "{size}");
    }
}

#[test]
fn untouched_payloads_are_checked_at_their_edges() {
    all_by_shm("--stack transport --size 1MiB --samples 6 --touch none", 6);
}

#[test]
fn best_effort_by_udp_is_counted_as_udp() {
    let (report, code) =
        report("--stack transport --path udp --reliability best-effort --size 1000 --rate 100 --samples 20");
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["by_path"]["udp"], report["received"], "{report}");
    assert_eq!(report["lost"].as_u64().unwrap() + report["received"].as_u64().unwrap(), 20, "{report}");
}

#[test]
fn dust_dds_carries_clouds_by_shared_memory_and_by_udp() {
    all_by_shm("--stack dust --points 100..20000 --samples 12", 12);
    let (report, code) = report("--stack dust --path udp --points 100..20000 --samples 12");
    assert_eq!(
        (code, &report["lost"], &report["corrupt"]),
        (Some(0), &Value::from(0), &Value::from(0)),
        "{report}"
    );
    assert_eq!(report["by_path"], serde_json::json!({"shm": 0, "udp": 12}), "{report}");
}

#[test]
fn recorded_clouds_and_images_are_mixed_as_they_come() {
    let folder = Folder::new();
    let scan = folder.file("scan.bin", &[7; 160]);
    let cloud = b"FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nWIDTH 1\nHEIGHT 1\nDATA ascii\n1 2 3\n";
    let cloud = folder.file("cloud.pcd", cloud);
    let pixels = folder.0.join("pixels.png");
    image::RgbImage::new(30, 20).save(&pixels).unwrap();
    let report =
        all_by_shm(&format!("--stack dust --samples 6 --input {scan}:5 {cloud} {}", pixels.display()), 6);
    assert_eq!(
        (&report["kind"], &report["bytes"]),
        (&Value::from("cloud+image"), &Value::from(2 * (160 + 12 + 1800)))
    );
}

#[test]
fn a_comparison_with_stock_dust_gives_both_ratios() {
    let output = output("compare --size 10000 --runs 1 --seconds 0.3 --pin no --json");
    let comparison: Value =
        serde_json::from_str(&stdout(&output)).unwrap_or_else(|_| panic!("{}", stderr(&output)));
    assert_eq!(output.status.code(), Some(0), "{comparison}");
    for key in ["throughput_ratio", "p50_ratio"] {
        assert!(comparison[key].as_f64().unwrap() > 0.0, "{comparison}");
    }
    for (side, path) in [("ours", "shm"), ("baseline", "udp")] {
        let side = &comparison[side];
        assert!(side["received"].as_u64().is_some_and(|count| count > 0), "{comparison}");
        assert_eq!(side["received"], side["by_path"][path], "{comparison}");
    }
}

#[test]
fn a_run_for_people_prints_a_table() {
    let output = output("run --stack transport --size 1000 --samples 10");
    let printed = stdout(&output);
    assert!(printed.contains("std_msgs/UInt8MultiArray, 1.00 kB"), "{printed}");
    for word in ["path", "samples", "lost", "corrupt", "p99.9", "CPU sub", "shm"] {
        assert!(printed.contains(word), "{word} is not in {printed}");
    }
}

#[test]
fn a_killed_subscriber_does_not_stop_the_others() {
    let mut run = Guarded::start("run --stack transport --size 1000 --seconds 15 --subscribers 3 --json");
    let pid = run.process.id();
    eventually("three subscribers", || subscribers(pid).len() == 3);
    let victim = subscribers(pid)[1];
    // Before everyone is matched the publisher sleeps: one that works hard is in the middle of the run.
    let publisher = children(pid)[0].0;
    eventually("publishing", || processor_ticks(publisher) > 20);
    signal("-KILL", victim);
    let report: Value = serde_json::from_str(&run.until("{")).unwrap();
    assert_eq!(run.process.wait().unwrap().code(), Some(1), "a lost subscriber is not a success: {report}");
    assert_eq!((&report["lost"], &report["corrupt"]), (&Value::from(0), &Value::from(0)), "{report}");
    assert_eq!(report["received"].as_u64(), report["sent"].as_u64().map(|sent| sent * 2), "{report}");
    assert_eq!((&report["subscribers"], &report["reported"]), (&3.into(), &2.into()), "{report}");
    let troubles = report["troubles"].as_array().unwrap();
    assert!(troubles.len() == 1 && troubles[0].as_str().unwrap().contains(&victim.to_string()), "{report}");
}

#[test]
fn a_subscriber_that_is_done_waits_for_one_that_needs_much_longer() {
    let mut run = Guarded::start(
        "run --stack transport --reliability best-effort --size 1000 --seconds 3 --subscribers 2 --json",
    );
    let pid = run.process.id();
    eventually("two subscribers", || subscribers(pid).len() == 2);
    let publisher = children(pid)[0].0;
    eventually("publishing", || processor_ticks(publisher) > 20);
    let slow = subscribers(pid)[1];
    signal("-STOP", slow);
    assert!(run.is_silent_for(Duration::from_secs(15)), "it ended without one of its subscribers");
    signal("-CONT", slow);
    let report: Value = serde_json::from_str(&run.until("{")).unwrap();
    assert_eq!((run.process.wait().unwrap().code(), &report["reported"]), (Some(0), &2.into()), "{report}");
}

#[test]
fn children_do_not_outlive_a_killed_parent() {
    let run = Guarded::start("run --stack transport --size 1000 --rate 10 --seconds 60 --json");
    let pid = run.process.id();
    eventually("two children", || children(pid).len() == 2);
    let pids: Vec<u32> = children(pid).into_iter().map(|(pid, _)| pid).collect();
    drop(run);
    for pid in pids {
        eventually("the end of a child", || is_gone(pid));
    }
}

fn subscribers(parent: u32) -> Vec<u32> {
    children(parent).into_iter().filter(|(_, line)| line.contains(" sub ")).map(|(pid, _)| pid).collect()
}

/// Processor time that a process has used, in hundredths of a second.
fn processor_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<u64> =
        after_name.split_ascii_whitespace().map(|word| word.parse().unwrap_or_default()).collect();
    fields.get(11).zip(fields.get(12)).map_or(0, |(user, system)| user + system)
}
