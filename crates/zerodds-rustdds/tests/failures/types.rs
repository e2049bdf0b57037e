//! Types of any length.

use crate::parties::{Party, eventually, reliable, unique};
use bytes::Bytes;
use rustdds::policy::History;
use rustdds::{ReadCondition, TopicKind};
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Debug;
use zerodds_rustdds::msg::builtin_interfaces::Time;
use zerodds_rustdds::msg::geometry_msgs::{Quaternion, Vector3};
use zerodds_rustdds::msg::sensor_msgs::{CompressedImage, Image, Imu, LaserScan, PointCloud2, PointField};
use zerodds_rustdds::msg::std_msgs::{Header, MultiArrayLayout, UInt8MultiArray};
use zerodds_rustdds::{Config, Options};

/// Writes these samples of one type, each of which must come by shared memory and as it was.
fn arrive<D>(here: &Party, there: &Party, type_name: &str, samples: Vec<D>)
where
    D: Clone + Debug + PartialEq + Serialize + DeserializeOwned + 'static,
{
    let qos = reliable(History::KeepLast { depth: 8 });
    let name = unique(type_name);
    let topic = |party: &Party| {
        let created = party.participant.create_topic(name.clone(), type_name.into(), &qos, TopicKind::NoKey);
        created.expect("a topic")
    };
    // Whatever its size.
    let options = Options::default().threshold(0);
    let publisher = here.zerodds.create_publisher(&qos).expect("a publisher").with_options(options);
    let writer = publisher.create_datawriter_no_key_cdr::<D>(&topic(here), None).expect("a writer");
    let subscriber = there.zerodds.create_subscriber(&qos).expect("a subscriber");
    let mut reader = subscriber.create_datareader_no_key_cdr::<D>(&topic(there), None).expect("a reader");
    eventually("samples go by shared memory", || {
        let before = here.zerodds.stats().descriptors;
        writer.write(samples[0].clone(), None).expect("written");
        let came = !reader.take(usize::MAX, ReadCondition::any()).expect("taken").is_empty();
        came && here.zerodds.stats().descriptors > before
    });
    // The last of those may be under way: it comes before what is written now.
    let before = here.zerodds.stats().descriptors;
    for sample in &samples {
        writer.write(sample.clone(), None).expect("written");
        eventually("it comes", || {
            let found = reader.take_next_sample().expect("taken");
            found.is_some_and(|found| found.into_value() == *sample)
        });
    }
    let shared = here.zerodds.stats().descriptors - before;
    assert_eq!(shared, samples.len() as u64, "{type_name}: all of them by shared memory");
}

fn header(text: usize) -> Header {
    Header { stamp: Time { sec: -1, nanosec: 999_999_999 }, frame_id: "ä".repeat(text / 2) }
}

fn data(len: usize) -> Bytes {
    (0..len).map(|at| (at * 31 + len) as u8).collect()
}

#[test]
fn f51_ros_types_of_any_length_arrive_by_shared_memory() {
    let (here, there) = (Party::with(Config::default()), Party::new());
    // From nothing at all to the knob: 16 MiB with what stands around the data.
    let sizes = [0, 1, 7, 1_000, 65_537, 1 << 20, (16 << 20) - 1_000];
    let field =
        |name: &str| PointField { name: name.into(), offset: 4, datatype: PointField::FLOAT32, count: 1 };
    let clouds = sizes.map(|len| PointCloud2 {
        header: header(len % 100),
        width: len as u32,
        fields: (0..len % 9).map(|nth| field(&"x".repeat(nth))).collect(),
        data: data(len),
        ..PointCloud2::default()
    });
    arrive(&here, &there, PointCloud2::TYPE_NAME, clouds.into());
    let images = sizes.map(|len| Image {
        header: header(len % 70),
        encoding: "rgb8".repeat(len % 3),
        data: data(len),
        ..Image::default()
    });
    arrive(&here, &there, Image::TYPE_NAME, images.into());
    let compressed = sizes.map(|len| CompressedImage {
        header: header(0),
        format: "png".repeat(len % 50),
        data: data(len),
    });
    arrive(&here, &there, CompressedImage::TYPE_NAME, compressed.into());
    let arrays = sizes.map(|len| UInt8MultiArray { layout: MultiArrayLayout::default(), data: data(len) });
    arrive(&here, &there, UInt8MultiArray::TYPE_NAME, arrays.into());
    let scans = [0, 1, 3, 1_000, 100_000].map(|len| LaserScan {
        header: header(len),
        ranges: (0..len).map(|nth| nth as f32).collect(),
        intensities: (0..len / 2).map(|nth| nth as f32).collect(),
        ..LaserScan::default()
    });
    arrive(&here, &there, LaserScan::TYPE_NAME, scans.into());
    let imus = [0, 5, 300].map(|len| Imu {
        header: header(len),
        orientation: Quaternion { x: 1.0, y: 2.0, z: 3.0, w: len as f64 },
        linear_acceleration: Vector3 { x: 9.81, y: 0.0, z: -1.0 },
        ..Imu::default()
    });
    arrive(&here, &there, Imu::TYPE_NAME, imus.into());
}
