//! `--stack rustdds`: by shared memory and over UDP, copied and in place, next to RustDDS as it comes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;
use serde_json::Value;
use support::{Folder, Guarded, all_by_shm, fresh_domain, output, report, signal, stderr, stdout};

#[test]
fn clouds_go_by_shared_memory_or_in_plain_rustdds_over_udp() {
    all_by_shm("--stack rustdds --points 1000..20000 --samples 24", 24);
    let (report, code) = report("--stack rustdds --path udp --points 1000..20000 --samples 24");
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["by_path"], serde_json::json!({"shm": 0, "udp": 24}), "{report}");
    assert!(report["written"].is_null(), "{report}");
}

#[test]
fn each_side_chooses_whether_it_copies() {
    for in_place in ["", "--loan", "--view", "--loan --view"] {
        let report = all_by_shm(&format!("--stack rustdds --size 300000 --samples 12 {in_place}"), 12);
        assert_eq!(report["bytes"], Value::from(12 * 300_000), "{in_place}");
    }
    all_by_shm("--stack rustdds --size 1MiB --samples 6 --loan --view --touch none", 6);
}

#[test]
fn recorded_clouds_and_images_are_read_in_place() {
    let folder = Folder::new();
    let scan = folder.file("scan.bin", &[7; 20_000]);
    let pixels = folder.0.join("pixels.png");
    image::RgbImage::new(100, 100).save(&pixels).unwrap();
    let input = format!("--input {scan}:5 {}", pixels.display());
    let report = all_by_shm(&format!("--stack rustdds --samples 6 --loan --view {input}"), 6);
    assert_eq!(
        (&report["kind"], &report["bytes"]),
        (&Value::from("cloud+image"), &Value::from(3 * (20_000 + 30_000)))
    );
}

#[test]
fn three_subscribers_read_one_copy_that_one_descriptor_tells_of() {
    let report = all_by_shm("--stack rustdds --size 1MiB --samples 20 --subscribers 3", 60);
    let written = &report["written"];
    assert_eq!((&written["shared_samples"], &written["descriptors"]), (&20.into(), &20.into()), "{report}");
    let bytes = written["shared_bytes"].as_u64().unwrap();
    assert!((20 << 20..21 << 20).contains(&bytes), "{report}");
}

#[test]
fn samples_below_the_threshold_stay_in_rtps() {
    let (report, code) = report("--stack rustdds --size 64 --samples 50 --loan --view");
    assert_eq!((code, &report["lost"]), (Some(0), &Value::from(0)), "{report}");
    assert_eq!(report["by_path"], serde_json::json!({"shm": 0, "udp": 50}), "{report}");
    assert_eq!(report["written"]["plain_samples"], 50, "{report}");
}

#[test]
fn best_effort_loses_at_most_and_never_breaks() {
    let (report, code) =
        report("--stack rustdds --reliability best-effort --size 100000 --rate 100 --samples 30");
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["lost"].as_u64().unwrap() + report["received"].as_u64().unwrap(), 30, "{report}");
}

#[test]
fn a_subscriber_without_shared_memory_is_served_over_udp_and_that_is_said() {
    let on = format!("--domain {}", fresh_domain());
    let mut publisher = Guarded::start(&format!("pub --stack rustdds --size 20000 --rate 50 {on}"));
    let mut subscriber = Guarded::start(&format!("sub --stack stock-rustdds --kind bytes {on}"));
    publisher.until("served over UDP");
    subscriber.until("lost 0  corrupt 0  shm 0");
}

#[test]
fn a_subscriber_that_goes_by_udp_because_of_another_is_not_taken_for_gone() {
    let on = format!("--reliability best-effort --domain {}", fresh_domain());
    let mut publisher = Guarded::start(&format!("pub --stack rustdds --size 20000 --rate 50 {on}"));
    let _shares = Guarded::start(&format!("sub --stack rustdds --kind bytes {on}"));
    publisher.until("1 subscriber");
    let _does_not = Guarded::start(&format!("sub --stack stock-rustdds --kind bytes {on}"));
    let lines = publisher.all_until("2 subscribers");
    assert!(!lines.iter().any(|line| line.contains("no subscriber left")), "{lines:#?}");
}

#[test]
fn a_killed_subscriber_is_noticed_and_its_successor_served() {
    let on = format!("--stack rustdds --domain {}", fresh_domain());
    let mut publisher = Guarded::start(&format!("pub --size 100000 --rate 200 --loan {on}"));
    let receiving = format!("sub --kind bytes --view {on}");
    let mut subscriber = Guarded::start(&receiving);
    publisher.until("1 subscriber");
    subscriber.until("lost 0  corrupt 0");
    drop(subscriber);
    publisher.until("no subscriber left");
    let mut subscriber = Guarded::start(&receiving);
    publisher.until("1 subscriber");
    subscriber.until("lost 0  corrupt 0");
    signal("-INT", subscriber.process.id());
    let summary = subscriber.until("received ");
    assert!(summary.contains("lost 0, corrupt 0"), "{summary}");
    assert_eq!(subscriber.process.wait().unwrap().code(), Some(0));
    signal("-TERM", publisher.process.id());
    publisher.until("published ");
    assert_eq!(publisher.process.wait().unwrap().code(), Some(0));
}

#[test]
fn a_comparison_has_both_ways_at_each_size() {
    let output = output("compare --stack rustdds --size 64,20000 --runs 1 --seconds 0.3 --pin no --json");
    let comparison: Value =
        serde_json::from_str(&stdout(&output)).unwrap_or_else(|_| panic!("{}", stderr(&output)));
    let comparisons = comparison["comparisons"].as_array().unwrap();
    assert_eq!((comparisons.len(), output.status.code()), (4, Some(0)), "{comparison}");
    for comparison in comparisons {
        assert_eq!(comparison["baseline"]["stack"], "stock-rustdds", "{comparison}");
        assert!(comparison["throughput_ratio"].as_f64().unwrap() > 0.0, "{comparison}");
        assert!(comparison["p50_ratio"].as_f64().unwrap() > 0.0, "{comparison}");
    }
}
