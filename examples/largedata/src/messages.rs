//! The ROS 2 types that travel, under the names that ROS 2 gives them on the wire, as types that own their data.
//!
//! | kind  | topic      | type                                        | text that carries the stamp   |
//! |-------|------------|---------------------------------------------|-------------------------------|
//! | cloud | `rt/points`| `sensor_msgs::msg::dds_::PointCloud2_`      | `header.frame_id`             |
//! | image | `rt/image` | `sensor_msgs::msg::dds_::Image_`            | `header.frame_id`             |
//! | bytes | `rt/bytes` | `std_msgs::msg::dds_::UInt8MultiArray_`     | `layout.dim[0].label`         |
//!
//! Member order and types are those of the `.msg` files, since plain CDR is nothing but members in order: a
//! ROS 2 node on the same domain reads them (`ros2 topic echo /points --no-arr`). The payload is a `Vec<u8>` in all
//! three, which Dust DDS serializes in one piece, and so does RustDDS with `serde_bytes`; both put the same bytes on
//! the wire. Types whose payload is filled and read in place are in `views.rs`.

use bytes::Bytes;
use dust_dds::infrastructure::type_support::DdsType;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a sample is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, clap::ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// `sensor_msgs/PointCloud2`.
    Cloud,
    /// `sensor_msgs/Image`.
    Image,
    /// `std_msgs/UInt8MultiArray`, for any number of bytes.
    Bytes,
}

impl Kind {
    /// All kinds.
    pub(crate) const ALL: [Self; 3] = [Self::Cloud, Self::Image, Self::Bytes];

    /// The DDS topic.
    pub(crate) const fn topic(self) -> &'static str {
        match self {
            Self::Cloud => "rt/points",
            Self::Image => "rt/image",
            Self::Bytes => "rt/bytes",
        }
    }

    /// The DDS type name.
    pub(crate) const fn type_name(self) -> &'static str {
        match self {
            Self::Cloud => "sensor_msgs::msg::dds_::PointCloud2_",
            Self::Image => "sensor_msgs::msg::dds_::Image_",
            Self::Bytes => "std_msgs::msg::dds_::UInt8MultiArray_",
        }
    }

    /// The ROS 2 name of the type.
    pub(crate) const fn ros_name(self) -> &'static str {
        match self {
            Self::Cloud => "sensor_msgs/PointCloud2",
            Self::Image => "sensor_msgs/Image",
            Self::Bytes => "std_msgs/UInt8MultiArray",
        }
    }

    /// The kind as one byte of a header.
    pub(crate) const fn code(self) -> u8 {
        self as u8 + 1
    }

    /// The kind with this code.
    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cloud => "cloud",
            Self::Image => "image",
            Self::Bytes => "bytes",
        })
    }
}

/// What a subscriber needs of a ROS message: where its stamp and its payload are.
pub(crate) trait RosMessage: Send + 'static {
    /// What it is.
    const KIND: Kind;
    /// The text whose last word is the stamp.
    fn label(&self) -> &str;
    /// The payload, without a copy.
    fn into_payload(self) -> Bytes;
    /// Whether its sizes agree with each other.
    fn is_consistent(&self) -> bool;
}

/// What a publisher needs of a message that it keeps ready.
pub(crate) trait Prepared: RosMessage + Clone {
    /// Replaces the text that carries the stamp and, where the type has one, sets the wall-clock time of the header.
    fn set_label(&mut self, label: String, now: Time);
    /// The payload.
    fn payload(&self) -> &[u8];
}

/// `builtin_interfaces/Time`: time since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, DdsType, Serialize, Deserialize)]
#[dust_dds(name = "builtin_interfaces::msg::dds_::Time_", nested)]
pub(crate) struct Time {
    /// Seconds.
    pub(crate) sec: i32,
    /// Nanoseconds of the second.
    pub(crate) nanosec: u32,
}

impl Time {
    /// The time by the wall clock.
    pub(crate) fn now() -> Self {
        let since_epoch =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self { sec: since_epoch.as_secs() as i32, nanosec: since_epoch.subsec_nanos() }
    }
}

/// `std_msgs/Header`.
#[derive(Clone, Debug, Default, PartialEq, DdsType, Serialize, Deserialize)]
#[dust_dds(name = "std_msgs::msg::dds_::Header_", nested)]
pub(crate) struct Header {
    /// When the data was acquired.
    pub(crate) stamp: Time,
    /// The coordinate frame it is in; here also our stamp.
    pub(crate) frame_id: String,
}

/// `sensor_msgs/PointField`: one field of each point.
#[derive(Clone, Debug, Default, PartialEq, DdsType, Serialize, Deserialize)]
#[dust_dds(name = "sensor_msgs::msg::dds_::PointField_", nested)]
pub(crate) struct PointField {
    /// Its name, such as `x`.
    pub(crate) name: String,
    /// Its offset within a point, in bytes.
    pub(crate) offset: u32,
    /// Its type, one of the constants of [`PointField`].
    pub(crate) datatype: u8,
    /// How many elements of that type.
    pub(crate) count: u32,
}

impl PointField {
    pub(crate) const INT8: u8 = 1;
    pub(crate) const UINT8: u8 = 2;
    pub(crate) const INT16: u8 = 3;
    pub(crate) const UINT16: u8 = 4;
    pub(crate) const INT32: u8 = 5;
    pub(crate) const UINT32: u8 = 6;
    pub(crate) const FLOAT32: u8 = 7;
    pub(crate) const FLOAT64: u8 = 8;

    /// A single element of `datatype` at `offset`.
    pub(crate) fn new(name: &str, offset: u32, datatype: u8) -> Self {
        Self { name: name.to_owned(), offset, datatype, count: 1 }
    }
}

/// `sensor_msgs/PointCloud2`.
#[derive(Clone, Debug, Default, PartialEq, DdsType, Serialize, Deserialize)]
#[dust_dds(name = "sensor_msgs::msg::dds_::PointCloud2_")]
pub(crate) struct PointCloud2 {
    /// Acquisition time and frame.
    pub(crate) header: Header,
    /// 1 for an unordered cloud.
    pub(crate) height: u32,
    /// Points in a row.
    pub(crate) width: u32,
    /// What a point consists of.
    pub(crate) fields: Vec<PointField>,
    /// Byte order of the data.
    pub(crate) is_bigendian: bool,
    /// Bytes of a point.
    pub(crate) point_step: u32,
    /// Bytes of a row.
    pub(crate) row_step: u32,
    /// The points.
    #[serde(with = "serde_bytes")]
    pub(crate) data: Vec<u8>,
    /// Whether there are no invalid points.
    pub(crate) is_dense: bool,
}

impl PointCloud2 {
    /// An unordered little-endian cloud of as many points as `data` holds.
    pub(crate) fn unordered(frame: &str, fields: Vec<PointField>, point_step: u32, data: Vec<u8>) -> Self {
        let row_step = data.len() as u32;
        Self {
            header: Header { frame_id: frame.to_owned(), ..Header::default() },
            height: 1,
            width: row_step / point_step.max(1),
            fields,
            is_bigendian: false,
            point_step,
            row_step,
            data,
            is_dense: true,
        }
    }
}

/// `sensor_msgs/Image`.
#[derive(Clone, Debug, Default, PartialEq, DdsType, Serialize, Deserialize)]
#[dust_dds(name = "sensor_msgs::msg::dds_::Image_")]
pub(crate) struct Image {
    /// Acquisition time and frame.
    pub(crate) header: Header,
    /// Rows.
    pub(crate) height: u32,
    /// Pixels of a row.
    pub(crate) width: u32,
    /// Meaning of the bytes, such as `rgb8`.
    pub(crate) encoding: String,
    /// 1 if big-endian.
    pub(crate) is_bigendian: u8,
    /// Bytes of a row.
    pub(crate) step: u32,
    /// The rows.
    #[serde(with = "serde_bytes")]
    pub(crate) data: Vec<u8>,
}

impl Image {
    /// An `rgb8` image of `data.len() / 3 / width` rows.
    pub(crate) fn rgb8(frame: &str, width: u32, data: Vec<u8>) -> Self {
        let step = width * 3;
        Self {
            header: Header { frame_id: frame.to_owned(), ..Header::default() },
            height: data.len() as u32 / step.max(1),
            width,
            encoding: "rgb8".to_owned(),
            is_bigendian: 0,
            step,
            data,
        }
    }
}

/// `std_msgs/MultiArrayDimension`.
#[derive(Clone, Debug, Default, PartialEq, DdsType, Serialize, Deserialize)]
#[dust_dds(name = "std_msgs::msg::dds_::MultiArrayDimension_", nested)]
pub(crate) struct MultiArrayDimension {
    /// Its name; here also our stamp.
    pub(crate) label: String,
    /// Elements.
    pub(crate) size: u32,
    /// Elements from one to the next.
    pub(crate) stride: u32,
}

/// `std_msgs/MultiArrayLayout`.
#[derive(Clone, Debug, Default, PartialEq, DdsType, Serialize, Deserialize)]
#[dust_dds(name = "std_msgs::msg::dds_::MultiArrayLayout_", nested)]
pub(crate) struct MultiArrayLayout {
    /// The dimensions, outermost first.
    pub(crate) dim: Vec<MultiArrayDimension>,
    /// Padding in front of the data.
    pub(crate) data_offset: u32,
}

/// `std_msgs/UInt8MultiArray`.
#[derive(Clone, Debug, Default, PartialEq, DdsType, Serialize, Deserialize)]
#[dust_dds(name = "std_msgs::msg::dds_::UInt8MultiArray_")]
pub(crate) struct UInt8MultiArray {
    /// What the data means.
    pub(crate) layout: MultiArrayLayout,
    /// The bytes.
    #[serde(with = "serde_bytes")]
    pub(crate) data: Vec<u8>,
}

impl UInt8MultiArray {
    /// An array of one dimension.
    pub(crate) fn flat(name: &str, data: Vec<u8>) -> Self {
        let size = data.len() as u32;
        let dim = vec![MultiArrayDimension { label: name.to_owned(), size, stride: size }];
        Self { layout: MultiArrayLayout { dim, data_offset: 0 }, data }
    }
}

impl RosMessage for PointCloud2 {
    const KIND: Kind = Kind::Cloud;

    fn label(&self) -> &str {
        &self.header.frame_id
    }

    fn into_payload(self) -> Bytes {
        self.data.into()
    }

    fn is_consistent(&self) -> bool {
        u64::from(self.width) * u64::from(self.point_step) == u64::from(self.row_step)
            && u64::from(self.height) * u64::from(self.row_step) == self.data.len() as u64
    }
}

impl Prepared for PointCloud2 {
    fn set_label(&mut self, label: String, now: Time) {
        self.header = Header { stamp: now, frame_id: label };
    }

    fn payload(&self) -> &[u8] {
        &self.data
    }
}

impl RosMessage for Image {
    const KIND: Kind = Kind::Image;

    fn label(&self) -> &str {
        &self.header.frame_id
    }

    fn into_payload(self) -> Bytes {
        self.data.into()
    }

    fn is_consistent(&self) -> bool {
        u64::from(self.height) * u64::from(self.step) == self.data.len() as u64
    }
}

impl Prepared for Image {
    fn set_label(&mut self, label: String, now: Time) {
        self.header = Header { stamp: now, frame_id: label };
    }

    fn payload(&self) -> &[u8] {
        &self.data
    }
}

impl RosMessage for UInt8MultiArray {
    const KIND: Kind = Kind::Bytes;

    fn label(&self) -> &str {
        self.layout.dim.first().map_or("", |dimension| &dimension.label)
    }

    fn into_payload(self) -> Bytes {
        self.data.into()
    }

    fn is_consistent(&self) -> bool {
        self.layout.dim.first().is_some_and(|dimension| dimension.size as usize == self.data.len())
    }
}

impl Prepared for UInt8MultiArray {
    fn set_label(&mut self, label: String, _: Time) {
        if let Some(dimension) = self.layout.dim.first_mut() {
            dimension.label = label;
        }
    }

    fn payload(&self) -> &[u8] {
        &self.data
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dust_dds::xtypes::dynamic_type::TypeKind;
    use dust_dds::xtypes::type_support::Type;

    /// The members of a type in order, which is all that plain CDR consists of.
    fn members<T: Type>() -> Vec<(String, TypeKind)> {
        let members =
            (0..T::TYPE.get_member_count()).map(|index| T::TYPE.get_member_by_index(index).unwrap());
        members.map(|m| (m.get_name().to_string(), m.get_descriptor().unwrap().r#type.get_kind())).collect()
    }

    fn listed(members: &[(&str, TypeKind)]) -> Vec<(String, TypeKind)> {
        members.iter().map(|&(name, kind)| (name.to_owned(), kind)).collect()
    }

    #[test]
    fn the_types_have_the_names_that_ros_gives_them() {
        assert_eq!(PointCloud2::TYPE.get_name(), Kind::Cloud.type_name());
        assert_eq!(Image::TYPE.get_name(), Kind::Image.type_name());
        assert_eq!(UInt8MultiArray::TYPE.get_name(), Kind::Bytes.type_name());
        assert_eq!(Header::TYPE.get_name(), "std_msgs::msg::dds_::Header_");
    }

    #[test]
    fn members_have_the_order_and_types_of_the_msg_files() {
        use TypeKind::{BOOLEAN, INT32, SEQUENCE, STRING8, STRUCTURE, UINT8, UINT32};
        let cloud = [
            ("header", STRUCTURE),
            ("height", UINT32),
            ("width", UINT32),
            ("fields", SEQUENCE),
            ("is_bigendian", BOOLEAN),
            ("point_step", UINT32),
            ("row_step", UINT32),
            ("data", SEQUENCE),
            ("is_dense", BOOLEAN),
        ];
        let image = [
            ("header", STRUCTURE),
            ("height", UINT32),
            ("width", UINT32),
            ("encoding", STRING8),
            ("is_bigendian", UINT8),
            ("step", UINT32),
            ("data", SEQUENCE),
        ];
        let field = [("name", STRING8), ("offset", UINT32), ("datatype", UINT8), ("count", UINT32)];
        assert_eq!(members::<PointCloud2>(), listed(&cloud));
        assert_eq!(members::<Image>(), listed(&image));
        assert_eq!(members::<PointField>(), listed(&field));
        assert_eq!(members::<Header>(), listed(&[("stamp", STRUCTURE), ("frame_id", STRING8)]));
        assert_eq!(members::<Time>(), listed(&[("sec", INT32), ("nanosec", UINT32)]));
        assert_eq!(members::<UInt8MultiArray>(), listed(&[("layout", STRUCTURE), ("data", SEQUENCE)]));
        assert_eq!(members::<MultiArrayLayout>(), listed(&[("dim", SEQUENCE), ("data_offset", UINT32)]));
    }

    #[test]
    fn a_message_whose_sizes_disagree_is_inconsistent() {
        let mut image = Image::rgb8("camera", 2, vec![0; 12]);
        assert!(image.is_consistent());
        image.height = 3;
        assert!(!image.is_consistent());
        let mut bytes = UInt8MultiArray::flat("bytes", vec![0; 3]);
        assert!(bytes.is_consistent());
        bytes.data.pop();
        assert!(!bytes.is_consistent());
    }

    #[test]
    fn a_code_names_one_kind() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_code(kind.code()), Some(kind));
        }
        assert_eq!(Kind::from_code(0), None);
    }
}
