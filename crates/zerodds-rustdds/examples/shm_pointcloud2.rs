//! Three ways to publish a point cloud through shared memory, and one to receive it without a copy.
//!
//! ```text
//! cargo run --release -p zerodds-rustdds --example shm_pointcloud2
//! ```
//! It plays both parts, each a participant of its own; two terminals with `publish` and `receive` as argument play
//! one each.
//!
//! 1. filled in place: the driver writes its points into memory of the ring (`loan`, `publish`);
//! 2. by itself: whatever is larger than the threshold is serialized straight into the ring (`write`);
//! 3. writer by writer: one that always shares, and one that never does.

use rustdds::policy::{History, Reliability};
use rustdds::{
    DomainParticipant, DomainParticipantStatusEvent as Status, QosPolicies, QosPolicyBuilder, Topic,
    TopicKind,
};
use std::error::Error;
use std::time::{Duration, Instant};
use zerodds_rustdds::msg::sensor_msgs::{PointCloud2, PointField};
use zerodds_rustdds::{Config, Events, Options, ZeroDds, no_key};

const DOMAIN: u16 = 42;
const POINTS: u32 = 250_000;
const POINT_STEP: u32 = 16;
const CLOUDS: u32 = 30;

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1).as_deref() {
        Some("publish") => publish(),
        Some("receive") => receive(),
        None => {
            let receiver = std::thread::spawn(|| receive().map_err(|error| error.to_string()));
            publish()?;
            Ok(receiver.join().map_err(|_| "the receiver panicked")??)
        }
        Some(other) => Err(format!("{other}: use publish, receive or nothing").into()),
    }
}

fn qos() -> QosPolicies {
    let max_blocking_time = rustdds::Duration::from_secs(1);
    QosPolicyBuilder::new()
        .reliability(Reliability::Reliable { max_blocking_time })
        .history(History::KeepLast { depth: 4 })
        .build()
}

fn session() -> Result<(ZeroDds, Topic), Box<dyn Error>> {
    let participant = DomainParticipant::new(DOMAIN)?;
    let name = "rt/points".to_owned();
    let topic =
        participant.create_topic(name, PointCloud2::TYPE_NAME.to_owned(), &qos(), TopicKind::NoKey)?;
    Ok((ZeroDds::attach(&participant, Config::from_env()?)?, topic))
}

fn publish() -> Result<(), Box<dyn Error>> {
    let (zerodds, topic) = session()?;
    let matches = zerodds.events();
    let publisher = zerodds.create_publisher(&qos())?;
    let by_itself = publisher.create_datawriter_no_key_cdr::<PointCloud2>(&topic, None)?;
    let always = publisher.with_options(Options::default().threshold(0));
    let always = always.create_datawriter_no_key_cdr::<PointCloud2>(&topic, None)?;
    let never = publisher.without_shm().create_datawriter_no_key_cdr::<PointCloud2>(&topic, None)?;
    wait_for_a_reader(&zerodds, &matches)?;

    for number in 0..CLOUDS {
        let began = Instant::now();
        let how = match number % 4 {
            0 => {
                in_place(&by_itself, number)?;
                "filled in place, and shared"
            }
            1 => {
                by_itself.write(cloud(number, POINTS), None).map_err(|error| error.to_string())?;
                "shared by itself, since it is large"
            }
            2 => {
                always.write(cloud(number, 10), None).map_err(|error| error.to_string())?;
                "shared as always, although it is small"
            }
            _ => {
                never.write(cloud(number, 10), None).map_err(|error| error.to_string())?;
                "never shared: by UDP"
            }
        };
        println!("published {number:2} in {:>9.1?}: {how}", began.elapsed());
        std::thread::sleep(Duration::from_millis(50));
    }
    let stats = zerodds.stats();
    println!("{} samples by shared memory, {} by UDP", stats.shared_samples, stats.plain_samples);
    Ok(())
}

/// What a LiDAR driver does: points go where the readers will read them.
fn in_place(writer: &no_key::DataWriter<PointCloud2>, number: u32) -> Result<(), Box<dyn Error>> {
    let len = (POINTS * POINT_STEP) as usize;
    let around = |data| PointCloud2 { data, ..description(number, POINTS) };
    let mut loan = writer.loan(len, around).map_err(|error| error.to_string())?;
    for (index, point) in (0..).zip(loan.chunks_exact_mut(POINT_STEP as usize)) {
        point.copy_from_slice(&measure(number, index));
    }
    writer.publish(loan, None).map_err(|error| error.to_string())?;
    Ok(())
}

fn receive() -> Result<(), Box<dyn Error>> {
    let (zerodds, topic) = session()?;
    let subscriber = zerodds.create_subscriber(&qos())?;
    let reader = subscriber.create_datareader_no_key_cdr::<PointCloud2>(&topic, None)?;
    let samples = reader.async_bare_sample_stream();
    for cloud in futures::executor::block_on_stream(samples).take(CLOUDS as usize) {
        let cloud = cloud?;
        // `data` is a slice of the publisher's ring, until the cloud is dropped.
        let last = cloud.data.chunks_exact(cloud.point_step as usize).next_back();
        let (number, points) = (cloud.header.stamp.sec, cloud.width);
        println!("received  {number:2}: {points} points, the last one {last:02x?}");
        if number + 1 == CLOUDS as i32 {
            break;
        }
    }
    Ok(())
}

/// Until every writer has met the reader, and the two participants share memory. Earlier samples would arrive
/// too, but by UDP.
fn wait_for_a_reader(zerodds: &ZeroDds, matches: &Events) -> Result<(), Box<dyn Error>> {
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut met = 0;
    while met < 3 || !zerodds.paths().iter().any(|peer| peer.is_shared()) {
        match matches.next_within(Duration::from_millis(100)) {
            Some(Status::RemoteReaderMatched { local_writer, .. })
                if local_writer.entity_id.entity_kind.is_user_defined() =>
            {
                met += 1;
            }
            _ if Instant::now() > deadline => return Err("nobody receives: start one with `receive`".into()),
            _ => {}
        }
    }
    Ok(())
}

fn description(number: u32, points: u32) -> PointCloud2 {
    let field = |name: &str, offset| PointField {
        name: name.into(),
        offset,
        datatype: PointField::FLOAT32,
        count: 1,
    };
    let mut cloud = PointCloud2 {
        height: 1,
        width: points,
        fields: vec![field("x", 0), field("y", 4), field("z", 8), field("intensity", 12)],
        point_step: POINT_STEP,
        row_step: points * POINT_STEP,
        is_dense: true,
        ..PointCloud2::default()
    };
    cloud.header.stamp.sec = number as i32;
    cloud.header.frame_id = "lidar".into();
    cloud
}

fn cloud(number: u32, points: u32) -> PointCloud2 {
    let data: Vec<u8> = (0..points).flat_map(|index| measure(number, index)).collect();
    PointCloud2 { data: data.into(), ..description(number, points) }
}

fn measure(number: u32, index: u32) -> [u8; POINT_STEP as usize] {
    let angle = index as f32 * 1e-3;
    let mut point = [0; POINT_STEP as usize];
    let values = [angle.cos(), angle.sin(), number as f32, 1.0];
    for (octets, value) in point.chunks_exact_mut(4).zip(values) {
        octets.copy_from_slice(&value.to_le_bytes());
    }
    point
}
