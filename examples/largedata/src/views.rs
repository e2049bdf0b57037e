//! The same ROS 2 types with a payload that need not be copied: filled in place, read in place.
//!
//! ```text
//!   messages.rs   data: Vec<u8>   cloned, serialized          ─┐                  ┌─▶ copied out
//!                                                              ├─▶ the same CDR ──┤
//!   here          data: Bytes     lent, written where it lies ─┘                  └─▶ a slice of where it lies
//! ```
//! They are `zerodds-rustdds`'s own: what an application would use. On the wire nobody can tell, so each side
//! chooses for itself.

use crate::messages::{self, Kind, Prepared, RosMessage, Time};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zerodds_rustdds::msg::builtin_interfaces::Time as TimeView;
use zerodds_rustdds::msg::sensor_msgs::{Image, PointCloud2, PointField};
use zerodds_rustdds::msg::std_msgs::{Header, MultiArrayDimension, MultiArrayLayout, UInt8MultiArray};

/// A message that can be published without owning its payload.
pub(crate) trait Lendable: Prepared {
    /// The type whose payload is a view.
    type View: RosMessage + Serialize + DeserializeOwned;
    /// The message with another label, time and payload.
    fn around(&self, label: String, now: Time, data: Bytes) -> Self::View;
}

impl Lendable for messages::PointCloud2 {
    type View = PointCloud2;

    fn around(&self, label: String, now: Time, data: Bytes) -> PointCloud2 {
        let field = |field: &messages::PointField| PointField {
            name: field.name.clone(),
            offset: field.offset,
            datatype: field.datatype,
            count: field.count,
        };
        PointCloud2 {
            header: header(label, now),
            height: self.height,
            width: self.width,
            fields: self.fields.iter().map(field).collect(),
            is_bigendian: self.is_bigendian,
            point_step: self.point_step,
            row_step: self.row_step,
            data,
            is_dense: self.is_dense,
        }
    }
}

impl Lendable for messages::Image {
    type View = Image;

    fn around(&self, label: String, now: Time, data: Bytes) -> Image {
        Image {
            header: header(label, now),
            height: self.height,
            width: self.width,
            encoding: self.encoding.clone(),
            is_bigendian: self.is_bigendian,
            step: self.step,
            data,
        }
    }
}

impl Lendable for messages::UInt8MultiArray {
    type View = UInt8MultiArray;

    fn around(&self, label: String, _: Time, data: Bytes) -> UInt8MultiArray {
        let dimension = |dimension: &messages::MultiArrayDimension| MultiArrayDimension {
            label: label.clone(),
            size: dimension.size,
            stride: dimension.stride,
        };
        let dim = self.layout.dim.iter().map(dimension).collect();
        UInt8MultiArray { layout: MultiArrayLayout { dim, data_offset: self.layout.data_offset }, data }
    }
}

fn header(label: String, now: Time) -> Header {
    Header { stamp: TimeView { sec: now.sec, nanosec: now.nanosec }, frame_id: label }
}

impl RosMessage for PointCloud2 {
    const KIND: Kind = Kind::Cloud;

    fn label(&self) -> &str {
        &self.header.frame_id
    }

    fn into_payload(self) -> Bytes {
        self.data
    }

    fn is_consistent(&self) -> bool {
        u64::from(self.width) * u64::from(self.point_step) == u64::from(self.row_step)
            && u64::from(self.height) * u64::from(self.row_step) == self.data.len() as u64
    }
}

impl RosMessage for Image {
    const KIND: Kind = Kind::Image;

    fn label(&self) -> &str {
        &self.header.frame_id
    }

    fn into_payload(self) -> Bytes {
        self.data
    }

    fn is_consistent(&self) -> bool {
        u64::from(self.height) * u64::from(self.step) == self.data.len() as u64
    }
}

impl RosMessage for UInt8MultiArray {
    const KIND: Kind = Kind::Bytes;

    fn label(&self) -> &str {
        self.layout.dim.first().map_or("", |dimension| &dimension.label)
    }

    fn into_payload(self) -> Bytes {
        self.data
    }

    fn is_consistent(&self) -> bool {
        self.layout.dim.first().is_some_and(|dimension| dimension.size as usize == self.data.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{camera, lidar};
    use zerodds_rustdds::cdr;

    /// Both forms of a message are the same bytes on the wire.
    fn agree<M: Lendable + Serialize>(message: &M) {
        let mut owned = message.clone();
        owned.set_label("label".to_owned(), Time { sec: 1, nanosec: 2 });
        let view = message.around(
            "label".to_owned(),
            Time { sec: 1, nanosec: 2 },
            Bytes::copy_from_slice(message.payload()),
        );
        assert!(view.is_consistent());
        let bytes = |len: Result<usize, cdr::Error>| len.unwrap();
        let owned = cdr::to_bytes(&owned, bytes(cdr::serialized_len(&owned))).unwrap();
        assert_eq!(owned, cdr::to_bytes(&view, bytes(cdr::serialized_len(&view))).unwrap());
    }

    #[test]
    fn a_message_is_the_same_on_the_wire_whether_it_owns_its_payload_or_not() {
        agree(&lidar::scan(0, 100));
        agree(&camera::frame(0));
        agree(&messages::UInt8MultiArray::flat("bytes", vec![1, 2, 3]));
    }

    #[test]
    fn a_view_says_what_it_is_and_whether_its_sizes_agree() {
        let cloud = lidar::scan(0, 10).around("x".to_owned(), Time::default(), Bytes::from_static(b"short"));
        assert_eq!((PointCloud2::KIND, cloud.label(), cloud.is_consistent()), (Kind::Cloud, "x", false));
        assert_eq!(cloud.into_payload(), "short");
    }
}
