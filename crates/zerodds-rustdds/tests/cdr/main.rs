//! Samples as CDR, from outside: what is written is what `cdr-encoding` writes, what is read lies where it came
//! from, a frame is the sample around its data, and the messages are laid out as ROS 2 has them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod frames;
mod layout;
mod reading;
mod row;
mod writing;
