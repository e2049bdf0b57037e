//! Samples as CDR, from outside: what is written is what `cdr-encoding` writes, what is read lies where it came
//! from, a frame is the sample around its data, and the messages are laid out as ROS 2 has them.

mod frames;
mod layout;
mod reading;
mod row;
mod writing;
