//! Two participants exchange samples of all sizes by shared memory.

mod parties;

use parties::*;
use rustdds::policy::History;

#[test]
fn samples_of_all_sizes_arrive_by_shared_memory_whole_and_in_order() {
    let (here, there) = (Party::new(), Party::new());
    let topic = unique("sizes");
    let qos = reliable(History::KeepLast { depth: 64 });
    let writer = here.writer(&topic, &qos);
    let mut reader = there.reader(&topic, &qos);
    meet(&here, &writer, &mut [&mut reader]);

    let sizes = [0, 1, 1000, 8 << 10, 100_000, 1 << 20, (4 << 20) + 3, 15 << 20];
    for (number, size) in (0..).zip(sizes) {
        writer.write(Chunk::new(1, number, size), None).expect("written");
        let chunk = next(&mut reader);
        assert_eq!((chunk.number, chunk.data.len()), (number, size));
        assert!(chunk.is_intact());
    }
    let stats = there.zerodds.stats();
    assert_eq!((stats.gone_samples, stats.strange_messages), (0, 0), "{stats:?}");
}
