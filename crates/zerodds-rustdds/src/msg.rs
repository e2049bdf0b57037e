//! Messages of ROS 2, ready for shared memory: the large field of each is a [`Bytes`](::bytes::Bytes) that can
//! be filled in place and read where it lies.
//!
//! Fields, their order and their types are those of the `.msg` files of ROS 2 (the packages `common_interfaces`
//! and `rcl_interfaces`), which is all that plain CDR knows of a type; a `uint8[]` is the same on the wire
//! whatever holds it. Each type's `TYPE_NAME` is the name under which ROS 2 announces it on DDS, for
//! `create_topic`. ROS 2 also puts `rt/` before a topic's name.
//!
//! Here are those that carry large data, and what they are made of. For any other derive `Serialize` and
//! `Deserialize`, fields in the order of the `.msg` file, and mark the large ones with
//! [`#[serde(with = "zerodds_rustdds::bytes")]`](crate::bytes).

pub mod builtin_interfaces;
pub mod geometry_msgs;
pub mod sensor_msgs;
pub mod std_msgs;
