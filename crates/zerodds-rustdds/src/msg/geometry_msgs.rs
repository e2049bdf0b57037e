//! `geometry_msgs`: what an [`Imu`](super::sensor_msgs::Imu) is made of.

use serde::{Deserialize, Serialize};

/// A vector in free space.
///
/// ```
/// use zerodds_rustdds::msg::geometry_msgs::Vector3;
///
/// let gravity = Vector3 { z: -9.81, ..Vector3::default() };
/// assert_eq!(zerodds_rustdds::cdr::serialized_len(&gravity)?, 24);
/// # Ok::<(), zerodds_rustdds::cdr::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Vector3 {
    /// Along x.
    pub x: f64,
    /// Along y.
    pub y: f64,
    /// Along z.
    pub z: f64,
}

impl Vector3 {
    /// The type's name on DDS.
    pub const TYPE_NAME: &'static str = "geometry_msgs::msg::dds_::Vector3_";
}

/// An orientation. The default is the identity, as in ROS 2.
///
/// ```
/// use zerodds_rustdds::msg::geometry_msgs::Quaternion;
///
/// assert_eq!(Quaternion::default(), Quaternion { x: 0.0, y: 0.0, z: 0.0, w: 1.0 });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quaternion {
    /// The coefficient of i.
    pub x: f64,
    /// The coefficient of j.
    pub y: f64,
    /// The coefficient of k.
    pub z: f64,
    /// The real part.
    pub w: f64,
}

impl Quaternion {
    /// The type's name on DDS.
    pub const TYPE_NAME: &'static str = "geometry_msgs::msg::dds_::Quaternion_";
}

impl Default for Quaternion {
    fn default() -> Self {
        Self { x: 0.0, y: 0.0, z: 0.0, w: 1.0 }
    }
}
