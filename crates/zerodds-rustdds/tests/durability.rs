//! What a writer says of its DURABILITY, where that keeps its samples from shared memory.

mod parties;

use parties::*;
use rustdds::QosPolicyBuilder;
use rustdds::policy::{Durability, History};

#[test]
fn a_writer_that_serves_late_readers_says_once_that_its_samples_go_by_udp_and_any_other_nothing() {
    log::listen();
    for (durability, lines) in [(Durability::TransientLocal, 1), (Durability::Volatile, 0)] {
        let (here, there) = (Party::new(), Party::new());
        let topic = unique(&format!("{durability:?}"));
        let durable = QosPolicyBuilder::new().durability(durability).build();
        let qos = reliable(History::KeepLast { depth: 4 }).modify_by(&durable);
        let mut reader = there.reader(&topic, &qos);
        let writer = here.writer(&topic, &qos);
        for number in 0..3 {
            // What is written before the match comes where it is served from history, and else not.
            let mut written = 0;
            eventually("it comes", || {
                if written == 0 || lines == 0 {
                    writer.write(Chunk::new(1, number, 20_000), None).expect("written");
                    written += 1;
                }
                let taken = reader.take(usize::MAX, rustdds::ReadCondition::any()).expect("taken");
                taken.iter().any(|sample| sample.value().number == number)
            });
        }
        assert_eq!(log::lines_with(&["INFO", &topic, "by UDP", "DURABILITY"]).len(), lines, "{durability:?}");
        assert_eq!(log::lines_with(&[&topic, "UDP"]).len(), lines, "and nothing else of that kind");
        let is_shared = here.zerodds.stats().shared_samples > 0;
        assert!(lines == 0 || !is_shared, "they are in RTPS");
    }
}
