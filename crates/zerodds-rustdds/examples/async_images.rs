//! A camera and its viewer on tokio: nothing blocks the executor's only thread, and no pixel is copied.
//!
//! ```text
//! cargo run --release -p zerodds-rustdds --example async_images
//! ```

use futures::StreamExt;
use rustdds::policy::{History, Reliability};
use rustdds::{DomainParticipant, QosPolicies, QosPolicyBuilder, Topic, TopicKind};
use std::error::Error;
use std::time::Duration;
use zerodds_rustdds::msg::sensor_msgs::Image;
use zerodds_rustdds::{Config, ZeroDds};

const DOMAIN: u16 = 43;
const WIDTH: u32 = 1920;
const HEIGHT: u32 = 1080;
const FRAMES: i32 = 60;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let (camera, image) = session()?;
    let writer = camera.create_publisher(&qos())?.create_datawriter_no_key_cdr::<Image>(&image, None)?;
    let (viewer, image) = session()?;
    let reader = viewer.create_subscriber(&qos())?.create_datareader_no_key_cdr::<Image>(&image, None)?;

    let capture = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(33));
        for number in 0.. {
            ticks.tick().await;
            let around = |data| Image { data, ..description(number) };
            let loan = writer.async_loan((3 * WIDTH * HEIGHT) as usize, around).await;
            let mut frame = loan.map_err(|error| error.to_string())?;
            frame.fill(number as u8);
            writer.async_publish(frame, None).await.map_err(|error| error.to_string())?;
        }
        Ok::<(), String>(())
    };
    let view = async {
        let mut images = reader.async_bare_sample_stream();
        let mut seen = 0;
        while seen < FRAMES {
            let Some(image) = images.next().await else { break };
            let image = image?;
            let same = image.data.iter().all(|&pixel| pixel == image.header.stamp.sec as u8);
            println!(
                "image {:3}: {} bytes, {}",
                image.header.stamp.sec,
                image.data.len(),
                if same { "whole" } else { "torn" }
            );
            seen += 1;
        }
        Ok::<(), rustdds::dds::ReadError>(())
    };
    tokio::select! {
        ended = capture => ended?,
        ended = view => ended?,
    }
    println!("{} of them by shared memory", viewer.stats().arrived_samples);
    Ok(())
}

fn qos() -> QosPolicies {
    let max_blocking_time = rustdds::Duration::from_millis(500);
    QosPolicyBuilder::new()
        .reliability(Reliability::Reliable { max_blocking_time })
        .history(History::KeepLast { depth: 2 })
        .build()
}

fn session() -> Result<(ZeroDds, Topic), Box<dyn Error>> {
    let participant = DomainParticipant::new(DOMAIN)?;
    let name = "rt/image".to_owned();
    let topic = participant.create_topic(name, Image::TYPE_NAME.to_owned(), &qos(), TopicKind::NoKey)?;
    Ok((ZeroDds::attach(&participant, Config::from_env()?)?, topic))
}

fn description(number: i32) -> Image {
    let mut image =
        Image { width: WIDTH, height: HEIGHT, step: 3 * WIDTH, encoding: "rgb8".into(), ..Image::default() };
    image.header.stamp.sec = number;
    image
}
