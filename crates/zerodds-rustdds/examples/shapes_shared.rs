//! The program `shapes`, through shared memory: what differs is in docs/rustdds.md.

use rustdds::with_key::Sample;
use rustdds::{DomainParticipant, Keyed, QosPolicyBuilder, ReadCondition, TopicKind};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use zerodds_rustdds::{Config, ZeroDds};

#[derive(Serialize, Deserialize, Clone, Debug)]
struct Shape {
    color: String,
    x: i32,
    y: i32,
    size: i32,
    /// New: what the shape is filled with. A view of the publisher's memory at the reader.
    #[serde(with = "zerodds_rustdds::bytes")]
    texture: bytes::Bytes,
}

impl Keyed for Shape {
    type K = String;
    fn key(&self) -> String {
        self.color.clone()
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let participant = DomainParticipant::new(0)?;
    let zerodds = ZeroDds::attach(&participant, Config::from_env()?)?;
    let qos = QosPolicyBuilder::new().build();
    // Another layout has another name: readers of the shapes demo could not decode it.
    let (name, type_name) = ("TexturedSquare".into(), "TexturedShapeType".into());
    let topic = participant.create_topic(name, type_name, &qos, TopicKind::WithKey)?;

    let publisher = zerodds.create_publisher(&qos)?;
    let writer = publisher.create_datawriter_cdr::<Shape>(&topic, None)?;
    let subscriber = zerodds.create_subscriber(&qos)?;
    let mut reader = subscriber.create_datareader_cdr::<Shape>(&topic, None)?;

    // In `main` nothing changes from here on: write, dispose, take, read, mio, streams.
    for x in 0..20 {
        writer.write(shape(x), None).map_err(|error| error.to_string())?;
        std::thread::sleep(Duration::from_millis(50));
        for sample in reader.take(100, ReadCondition::any())? {
            if let Sample::Value(shape) = sample.value() {
                println!("{} at {} from {:?}", shape.color, shape.x, sample.sample_info().writer_guid());
            }
        }
    }
    println!("{} by shared memory", zerodds.stats().shared_samples);
    Ok(())
}

fn shape(x: i32) -> Shape {
    let texture = vec![x as u8; 1 << 20].into();
    Shape { color: "BLUE".into(), x, y: 20, size: 30, texture }
}
