//! `sensor_msgs`: clouds, images, scans.

use super::geometry_msgs::{Quaternion, Vector3};
use super::std_msgs::Header;
use ::bytes::Bytes;
use serde::{Deserialize, Serialize};

/// One field of the points of a [`PointCloud2`].
///
/// ```
/// use zerodds_rustdds::msg::sensor_msgs::PointField;
///
/// let field = |name: &str, offset| PointField { name: name.into(), offset, datatype: PointField::FLOAT32, count: 1 };
/// let xyz = vec![field("x", 0), field("y", 4), field("z", 8)];
/// assert_eq!(xyz[2].datatype, 7);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PointField {
    /// Its name, such as `x` or `intensity`.
    pub name: String,
    /// Octets from the start of the point.
    pub offset: u32,
    /// What its elements are: one of the constants of this type.
    pub datatype: u8,
    /// Elements in the field.
    pub count: u32,
}

impl PointField {
    /// The type's name on DDS.
    pub const TYPE_NAME: &'static str = "sensor_msgs::msg::dds_::PointField_";
    /// `i8`.
    pub const INT8: u8 = 1;
    /// `u8`.
    pub const UINT8: u8 = 2;
    /// `i16`.
    pub const INT16: u8 = 3;
    /// `u16`.
    pub const UINT16: u8 = 4;
    /// `i32`.
    pub const INT32: u8 = 5;
    /// `u32`.
    pub const UINT32: u8 = 6;
    /// `f32`.
    pub const FLOAT32: u8 = 7;
    /// `f64`.
    pub const FLOAT64: u8 = 8;
}

/// A cloud of points, each `point_step` octets as `fields` describe.
///
/// ```
/// use zerodds_rustdds::msg::sensor_msgs::PointCloud2;
///
/// let cloud = PointCloud2 {
///     height: 1,
///     width: 1000,
///     point_step: 16,
///     row_step: 16 * 1000,
///     data: vec![0; 16 * 1000].into(),
///     is_dense: true,
///     ..Default::default()
/// };
/// assert_eq!(cloud.data.len(), (cloud.row_step * cloud.height) as usize);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PointCloud2 {
    /// When, and in which frame.
    pub header: Header,
    /// Rows; 1 for a cloud without order.
    pub height: u32,
    /// Points in a row.
    pub width: u32,
    /// What a point is made of.
    pub fields: Vec<PointField>,
    /// The byte order of `data`.
    pub is_bigendian: bool,
    /// Octets of a point.
    pub point_step: u32,
    /// Octets of a row.
    pub row_step: u32,
    /// The points, `row_step` × `height` octets.
    #[serde(with = "crate::bytes")]
    pub data: Bytes,
    /// Whether every point is valid.
    pub is_dense: bool,
}

impl PointCloud2 {
    /// The type's name on DDS.
    pub const TYPE_NAME: &'static str = "sensor_msgs::msg::dds_::PointCloud2_";
}

/// An uncompressed image.
///
/// ```
/// use zerodds_rustdds::msg::sensor_msgs::Image;
///
/// let image = Image {
///     height: 480,
///     width: 640,
///     encoding: "rgb8".into(),
///     step: 3 * 640,
///     data: vec![0; 3 * 640 * 480].into(),
///     ..Default::default()
/// };
/// assert_eq!(image.data.len(), (image.step * image.height) as usize);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Image {
    /// When, and in which frame.
    pub header: Header,
    /// Rows.
    pub height: u32,
    /// Pixels in a row.
    pub width: u32,
    /// What a pixel is, such as `rgb8` or `mono16`.
    pub encoding: String,
    /// The byte order of `data`: 1 for big, 0 for little.
    pub is_bigendian: u8,
    /// Octets of a row.
    pub step: u32,
    /// The pixels, `step` × `height` octets.
    #[serde(with = "crate::bytes")]
    pub data: Bytes,
}

impl Image {
    /// The type's name on DDS.
    pub const TYPE_NAME: &'static str = "sensor_msgs::msg::dds_::Image_";
}

/// A compressed image.
///
/// ```
/// use zerodds_rustdds::msg::sensor_msgs::CompressedImage;
///
/// let image = CompressedImage { format: "jpeg".into(), data: vec![0xFF, 0xD8].into(), ..Default::default() };
/// assert_eq!(image.data[..], [0xFF, 0xD8]);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CompressedImage {
    /// When, and in which frame.
    pub header: Header,
    /// How it is compressed, such as `jpeg` or `png`.
    pub format: String,
    /// The compressed image.
    #[serde(with = "crate::bytes")]
    pub data: Bytes,
}

impl CompressedImage {
    /// The type's name on DDS.
    pub const TYPE_NAME: &'static str = "sensor_msgs::msg::dds_::CompressedImage_";
}

/// One sweep of a planar laser scanner. Angles in radians, distances in metres, times in seconds.
///
/// ```
/// use zerodds_rustdds::msg::sensor_msgs::LaserScan;
///
/// let scan = LaserScan { angle_increment: 0.01, ranges: vec![1.5; 360], ..Default::default() };
/// assert!(scan.intensities.is_empty());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LaserScan {
    /// When the first ray was taken, and in which frame.
    pub header: Header,
    /// The angle of the first ray.
    pub angle_min: f32,
    /// The angle of the last ray.
    pub angle_max: f32,
    /// Between two rays.
    pub angle_increment: f32,
    /// Between two rays.
    pub time_increment: f32,
    /// Between two scans.
    pub scan_time: f32,
    /// Ranges below it are to be discarded.
    pub range_min: f32,
    /// Ranges above it are to be discarded.
    pub range_max: f32,
    /// The distances.
    pub ranges: Vec<f32>,
    /// The intensities, in the device's unit; empty if it has none.
    pub intensities: Vec<f32>,
}

impl LaserScan {
    /// The type's name on DDS.
    pub const TYPE_NAME: &'static str = "sensor_msgs::msg::dds_::LaserScan_";
}

/// What an inertial measurement unit says: rad/s and m/s², covariances row by row, -1 in the first element
/// where there is no such measurement.
///
/// ```
/// use zerodds_rustdds::msg::sensor_msgs::Imu;
///
/// let mut imu = Imu::default();
/// imu.orientation_covariance[0] = -1.0;
/// imu.linear_acceleration.z = 9.81;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Imu {
    /// When, and in which frame.
    pub header: Header,
    /// The orientation.
    pub orientation: Quaternion,
    /// Its covariance about x, y, z.
    pub orientation_covariance: [f64; 9],
    /// The angular velocity.
    pub angular_velocity: Vector3,
    /// Its covariance about x, y, z.
    pub angular_velocity_covariance: [f64; 9],
    /// The linear acceleration.
    pub linear_acceleration: Vector3,
    /// Its covariance along x, y, z.
    pub linear_acceleration_covariance: [f64; 9],
}

impl Imu {
    /// The type's name on DDS.
    pub const TYPE_NAME: &'static str = "sensor_msgs::msg::dds_::Imu_";
}
