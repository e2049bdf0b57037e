//! Files that the example publishes: point clouds, scans, images. Its own modules, as they are.
#![no_main]
#![allow(dead_code, unused_imports, reason = "the example uses what is not used here")]

#[path = "../../examples/largedata/src/camera.rs"]
mod camera;
#[path = "../../examples/largedata/src/checksum.rs"]
mod checksum;
#[path = "../../examples/largedata/src/clock.rs"]
mod clock;
#[path = "../../examples/largedata/src/input.rs"]
mod input;
#[path = "../../examples/largedata/src/lidar.rs"]
mod lidar;
#[path = "../../examples/largedata/src/messages.rs"]
mod messages;
#[path = "../../examples/largedata/src/pcd.rs"]
mod pcd;
#[path = "../../examples/largedata/src/quantity.rs"]
mod quantity;
#[path = "../../examples/largedata/src/random.rs"]
mod random;
#[path = "../../examples/largedata/src/samples.rs"]
mod samples;
#[path = "../../examples/largedata/src/stamp.rs"]
mod stamp;

use libfuzzer_sys::fuzz_target;
use messages::RosMessage;
use samples::Message;

/// Beginnings that get an input past the first look.
const BEGINNINGS: [&[u8]; 6] = [
    b"",
    b"# .PCD v.7\nVERSION .7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nWIDTH 2\nHEIGHT 1\nPOINTS 2\nDATA ascii\n",
    b"# .PCD v.7\nVERSION .7\nFIELDS x _ i\nSIZE 4 1 2\nTYPE F U U\nCOUNT 1 4 1\nWIDTH 2\nHEIGHT 1\nDATA binary\n",
    b"VERSION .7\nFIELDS x y z\n",
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    b"\xff\xd8\xff\xe0\0\x10JFIF\0",
];

fuzz_target!(|input: (u8, Vec<u8>)| {
    let (how, rest) = input;
    let fields = Some(usize::from(how >> 6) + 3).filter(|&fields| fields > 3);
    let beginning = BEGINNINGS[usize::from(how & 63) % BEGINNINGS.len()];
    match input::message([beginning, &rest].concat(), fields) {
        Ok(Message::Cloud(cloud)) => assert!(cloud.is_consistent(), "sizes agree with the data"),
        Ok(Message::Image(image)) => assert!(image.is_consistent(), "sizes agree with the data"),
        Ok(Message::Bytes(_)) => panic!("no file becomes this"),
        Err(flaw) => assert!(!flaw.to_string().is_empty()),
    }
});
