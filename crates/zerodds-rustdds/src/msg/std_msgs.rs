//! `std_msgs`: the header, and arrays of bytes for whatever has no message of its own.

use super::builtin_interfaces::Time;
use ::bytes::Bytes;
use serde::{Deserialize, Serialize};

/// When and where data was taken.
///
/// ```
/// use zerodds_rustdds::msg::std_msgs::Header;
///
/// let header = Header { frame_id: "lidar".into(), ..Header::default() };
/// // Two words of time, the text's length, five letters and a zero.
/// assert_eq!(zerodds_rustdds::cdr::serialized_len(&header)?, 8 + 4 + 6);
/// # Ok::<(), zerodds_rustdds::cdr::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Header {
    /// When.
    pub stamp: Time,
    /// The coordinate frame that the data refers to.
    pub frame_id: String,
}

impl Header {
    /// The type's name on DDS.
    pub const TYPE_NAME: &'static str = "std_msgs::msg::dds_::Header_";
}

/// One dimension of a [`MultiArrayLayout`].
///
/// ```
/// use zerodds_rustdds::msg::std_msgs::MultiArrayDimension;
///
/// let rows = MultiArrayDimension { label: "rows".into(), size: 480, stride: 480 * 640 };
/// assert_eq!(rows.stride / rows.size, 640);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MultiArrayDimension {
    /// Its name.
    pub label: String,
    /// Elements along it.
    pub size: u32,
    /// Elements in one step of the dimension before it.
    pub stride: u32,
}

impl MultiArrayDimension {
    /// The type's name on DDS.
    pub const TYPE_NAME: &'static str = "std_msgs::msg::dds_::MultiArrayDimension_";
}

/// How the elements of an array are to be read.
///
/// ```
/// use zerodds_rustdds::msg::std_msgs::MultiArrayLayout;
///
/// assert!(MultiArrayLayout::default().dim.is_empty());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MultiArrayLayout {
    /// The dimensions, outermost first.
    pub dim: Vec<MultiArrayDimension>,
    /// Elements to skip at the front.
    pub data_offset: u32,
}

impl MultiArrayLayout {
    /// The type's name on DDS.
    pub const TYPE_NAME: &'static str = "std_msgs::msg::dds_::MultiArrayLayout_";
}

/// Bytes, with a layout or none.
///
/// ```
/// use zerodds_rustdds::msg::std_msgs::UInt8MultiArray;
///
/// let blob = UInt8MultiArray { data: vec![7; 1000].into(), ..Default::default() };
/// assert_eq!(zerodds_rustdds::cdr::serialized_len(&blob)?, 4 + 4 + 4 + 1000);
/// # Ok::<(), zerodds_rustdds::cdr::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct UInt8MultiArray {
    /// How to read them.
    pub layout: MultiArrayLayout,
    /// The bytes.
    #[serde(with = "crate::bytes")]
    pub data: Bytes,
}

impl UInt8MultiArray {
    /// The type's name on DDS.
    pub const TYPE_NAME: &'static str = "std_msgs::msg::dds_::UInt8MultiArray_";
}
