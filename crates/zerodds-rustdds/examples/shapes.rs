//! A shapes program of RustDDS as it comes. `shapes_shared` is the same one through shared memory; what differs is in
//! docs/rustdds.md, which `cargo xtask check` compares with both.

use rustdds::with_key::Sample;
use rustdds::{DomainParticipant, Keyed, QosPolicyBuilder, ReadCondition, TopicKind};
use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Serialize, Deserialize, Clone, Debug)]
struct Shape {
    color: String,
    x: i32,
    y: i32,
    size: i32,
}

impl Keyed for Shape {
    type K = String;
    fn key(&self) -> String {
        self.color.clone()
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let participant = DomainParticipant::new(0)?;
    let qos = QosPolicyBuilder::new().build();
    let topic = participant.create_topic("Square".into(), "ShapeType".into(), &qos, TopicKind::WithKey)?;

    let publisher = participant.create_publisher(&qos)?;
    let writer = publisher.create_datawriter_cdr::<Shape>(&topic, None)?;
    let subscriber = participant.create_subscriber(&qos)?;
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
    Ok(())
}

fn shape(x: i32) -> Shape {
    Shape { color: "BLUE".into(), x, y: 20, size: 30 }
}
