//! RELIABILITY x HISTORY x RESOURCE_LIMITS x DURABILITY x size x keys.

use crate::qos::play::{Outcome, SAMPLES, Scene, written};
use crate::qos::stage::{Cast, Seen, Stage, What};
use rustdds::policy::{Durability, History, Reliability, ResourceLimits};
use rustdds::{QosPolicies, QosPolicyBuilder};

/// More than the play needs.
const ROOM: i32 = 32;
/// Scenes that run at the same time; most of a scene is waiting.
const STAGES: usize = 3;

fn scenes() -> Vec<Scene> {
    let max_blocking_time = rustdds::Duration::from_secs(10);
    let reliabilities =
        [("reliable", Reliability::Reliable { max_blocking_time }), ("best_effort", Reliability::BestEffort)];
    let limits = ResourceLimits { max_samples: ROOM, max_instances: ROOM, max_samples_per_instance: ROOM };
    let histories = [
        ("keep_last_1", History::KeepLast { depth: 1 }, None),
        ("keep_last_4", History::KeepLast { depth: 4 }, None),
        ("keep_all", History::KeepAll, None),
        ("keep_all_limited", History::KeepAll, Some(limits)),
    ];
    let durabilities = [("volatile", Durability::Volatile), ("transient_local", Durability::TransientLocal)];
    let mut scenes = Vec::new();
    for (reliability_name, reliability) in reliabilities {
        for (history_name, history, limits) in histories {
            for (durability_name, durability) in durabilities {
                let mut qos =
                    QosPolicyBuilder::new().reliability(reliability).history(history).durability(durability);
                if let Some(limits) = limits {
                    qos = qos.resource_limits(limits);
                }
                for (len, keyed) in [(100, false), (100, true), (100_000, false), (100_000, true)] {
                    let kind = if keyed { "keyed" } else { "no_key" };
                    scenes.push(Scene {
                        name: format!("{reliability_name}-{history_name}-{durability_name}-{len}-{kind}"),
                        writer: qos.clone().build(),
                        reader: qos.clone().build(),
                        len,
                        keyed,
                        // The path table of docs/qos.md.
                        shared: len > zerodds_rustdds::Options::THRESHOLD
                            && durability == Durability::Volatile,
                    });
                }
            }
        }
    }
    scenes.extend(unsaid());
    scenes
}

/// Where nothing is said at all.
fn unsaid() -> impl Iterator<Item = Scene> {
    let sizes = [(100, false), (100, true), (100_000, false), (100_000, true)];
    sizes.into_iter().map(|(len, keyed)| Scene {
        name: format!("unsaid-{len}-{}", if keyed { "keyed" } else { "no_key" }),
        writer: QosPolicies::qos_none(),
        reader: QosPolicies::qos_none(),
        len,
        keyed,
        shared: len > zerodds_rustdds::Options::THRESHOLD,
    })
}

#[test]
fn the_qos_matrix_is_the_same_by_udp_and_by_shared_memory() {
    let scenes = scenes();
    let complaints: Vec<String> = std::thread::scope(|scope| {
        let scenes = &scenes;
        let stages: Vec<_> = (0..STAGES)
            .map(|nth| {
                scope.spawn(move || {
                    let (plain, plug_in) = (Stage::new(Cast::Plain), Stage::new(Cast::PlugIn));
                    let own = scenes.iter().skip(nth).step_by(STAGES);
                    own.flat_map(|scene| compare(scene, scene.play(&plain), scene.play(&plug_in))).collect()
                })
            })
            .collect();
        stages.into_iter().flat_map(|stage| -> Vec<String> { stage.join().expect("no panic") }).collect()
    });
    assert!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), complaints.join("\n"));
}

/// What differs from DDS under either cast, and between the two.
pub(crate) fn compare(scene: &Scene, plain: Outcome, plug_in: Outcome) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut check = |is_so: bool, complaint: String| {
        if !is_so {
            complaints.push(format!("{}: {complaint}", scene.name));
        }
    };
    let all = written(scene.keyed);
    let mut late = scene.history_for_late();
    late.push(What::Sample(1_000));
    for (cast, outcome) in [(Cast::Plain, &plain), (Cast::PlugIn, &plug_in)] {
        let mut prompt = numbers(&outcome.prompt);
        prompt.dedup();
        let history = scene.history(&all);
        for (reader, seen, expected) in [
            ("prompt", prompt, &all),
            ("slow", numbers(&outcome.slow), &history),
            ("late", numbers(&outcome.late), &late),
        ] {
            check(
                seen == *expected,
                format!(
                    "the {reader} reader of the {cast:?} cast\n  saw      {seen:?}\n  expected {expected:?}"
                ),
            );
        }
        let broken =
            [&outcome.prompt, &outcome.slow, &outcome.late].into_iter().flatten().any(|seen| !seen.intact);
        check(!broken, format!("{cast:?}: a sample is not what was written"));
    }
    for (reader, plain, plug_in) in [
        ("prompt", &plain.prompt, &plug_in.prompt),
        ("slow", &plain.slow, &plug_in.slow),
        ("late", &plain.late, &plug_in.late),
    ] {
        let difference = plain.iter().zip(plug_in).find(|(plain, plug_in)| plain != plug_in);
        let difference =
            difference.map(|(plain, plug_in)| format!("\n  plain   {plain:?}\n  plug-in {plug_in:?}"));
        check(
            plain == plug_in,
            format!("the {reader} readers see different things: {}", difference.unwrap_or_default()),
        );
    }
    let expected = if scene.shared { u64::from(SAMPLES) } else { 0 };
    check(
        plug_in.shared == Some(expected),
        format!("{:?} samples were shared, not {expected}", plug_in.shared),
    );
    // Where nothing gives way to newer samples, and nothing is lost, each descriptor has its sample.
    let keeps_all = scene.reader.is_reliable() && scene.reader.history() == Some(History::KeepAll);
    check(!keeps_all || plug_in.gone == 0, format!("{} descriptors had no sample", plug_in.gone));
    complaints
}

fn numbers(seen: &[Seen]) -> Vec<What> {
    seen.iter().map(|seen| seen.what).collect()
}
