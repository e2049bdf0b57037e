//! The messages against octets written by hand from the `.msg` files of ROS 2 and the rules of CDR: each
//! primitive aligned to its size, a string with its length and a zero, a sequence with its count.

use bytes::Bytes;
use rustdds::RepresentationIdentifier;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use zerodds_rustdds::cdr;
use zerodds_rustdds::msg::builtin_interfaces::Time;
use zerodds_rustdds::msg::geometry_msgs::{Quaternion, Vector3};
use zerodds_rustdds::msg::sensor_msgs::{CompressedImage, Image, Imu, LaserScan, PointCloud2, PointField};
use zerodds_rustdds::msg::std_msgs::{Header, MultiArrayDimension, MultiArrayLayout, UInt8MultiArray};

/// `header()` in 15 octets.
const HEADER: &[u8] = &[1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, b'o', b's', 0];

fn header() -> Header {
    Header { stamp: Time { sec: 1, nanosec: 2 }, frame_id: "os".into() }
}

#[track_caller]
fn laid_out<M: Serialize + DeserializeOwned + PartialEq + Debug>(message: &M, parts: &[&[u8]]) {
    let expected = Bytes::from(parts.concat());
    let len = cdr::serialized_len(message).unwrap();
    assert_eq!(cdr::to_bytes(message, len).unwrap(), expected);
    assert_eq!(&cdr::decode::<M>(&expected, RepresentationIdentifier::CDR_LE).unwrap(), message);
}

/// Reals, one behind the other.
fn doubles(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[test]
fn a_header_is_two_words_and_a_string() {
    laid_out(&header(), &[HEADER]);
    laid_out(
        &Time { sec: -1, nanosec: 999_999_999 },
        &[&[0xFF, 0xFF, 0xFF, 0xFF], &[0xFF, 0xC9, 0x9A, 0x3B]],
    );
}

#[test]
fn a_point_cloud_is_laid_out_as_ros_2_has_it() {
    let cloud = PointCloud2 {
        header: header(),
        height: 1,
        width: 2,
        fields: vec![
            PointField { name: "x".into(), offset: 4, datatype: PointField::FLOAT32, count: 1 },
            PointField { name: "ab".into(), offset: 8, datatype: PointField::UINT16, count: 3 },
        ],
        is_bigendian: true,
        point_step: 0x0102,
        row_step: 0x0304,
        data: Bytes::from_static(&[9, 8, 7]),
        is_dense: true,
    };
    laid_out(
        &cloud,
        &[
            HEADER,
            &[0],
            &[1, 0, 0, 0, 2, 0, 0, 0], // height, width
            &[2, 0, 0, 0],             // fields
            &[2, 0, 0, 0, b'x', 0, 0, 0, 4, 0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0],
            &[3, 0, 0, 0, b'a', b'b', 0, 0, 8, 0, 0, 0, 4, 0, 0, 0, 3, 0, 0, 0],
            &[1, 0, 0, 0],             // is_bigendian
            &[2, 1, 0, 0, 4, 3, 0, 0], // point_step, row_step
            &[3, 0, 0, 0, 9, 8, 7],    // data
            &[1],                      // is_dense, without padding
        ],
    );
}

#[test]
fn an_image_is_laid_out_as_ros_2_has_it() {
    let image = Image {
        header: header(),
        height: 3,
        width: 4,
        encoding: "rgb8".into(),
        is_bigendian: 1,
        step: 12,
        data: Bytes::from_static(&[9, 8]),
    };
    laid_out(
        &image,
        &[
            HEADER,
            &[0],
            &[3, 0, 0, 0, 4, 0, 0, 0],
            &[5, 0, 0, 0, b'r', b'g', b'b', b'8', 0],
            &[1, 0, 0], // is_bigendian, padding
            &[12, 0, 0, 0],
            &[2, 0, 0, 0, 9, 8],
        ],
    );
}

#[test]
fn a_compressed_image_is_laid_out_as_ros_2_has_it() {
    let image =
        CompressedImage { header: header(), format: "png".into(), data: Bytes::from_static(&[9, 8, 7]) };
    laid_out(&image, &[HEADER, &[0], &[4, 0, 0, 0, b'p', b'n', b'g', 0], &[3, 0, 0, 0, 9, 8, 7]]);
}

#[test]
fn a_laser_scan_is_laid_out_as_ros_2_has_it() {
    let scan = LaserScan {
        header: header(),
        angle_min: 1.0,
        angle_max: 2.0,
        angle_increment: 3.0,
        time_increment: 4.0,
        scan_time: 5.0,
        range_min: 6.0,
        range_max: 7.0,
        ranges: vec![8.0],
        intensities: vec![9.0, 10.0],
    };
    let float = |value: f32| value.to_le_bytes();
    laid_out(
        &scan,
        &[
            HEADER,
            &[0],
            &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0].map(float).concat(),
            &[1, 0, 0, 0],
            &float(8.0),
            &[2, 0, 0, 0],
            &[9.0, 10.0].map(float).concat(),
        ],
    );
}

#[test]
fn an_imu_is_laid_out_as_ros_2_has_it() {
    let row = |from: u8| std::array::from_fn::<f64, 9, _>(|index| f64::from(from) + index as f64);
    let imu = Imu {
        header: header(),
        orientation: Quaternion { x: 1.0, y: 2.0, z: 3.0, w: 4.0 },
        orientation_covariance: row(10),
        angular_velocity: Vector3 { x: 5.0, y: 6.0, z: 7.0 },
        angular_velocity_covariance: row(20),
        linear_acceleration: Vector3 { x: 8.0, y: 9.0, z: 10.0 },
        linear_acceleration_covariance: row(30),
    };
    laid_out(
        &imu,
        &[
            HEADER,
            &[0],
            &doubles(&[1.0, 2.0, 3.0, 4.0]),
            &doubles(&row(10)),
            &doubles(&[5.0, 6.0, 7.0]),
            &doubles(&row(20)),
            &doubles(&[8.0, 9.0, 10.0]),
            &doubles(&row(30)),
        ],
    );
}

#[test]
fn an_array_of_bytes_is_laid_out_as_ros_2_has_it() {
    let dimension = MultiArrayDimension { label: "rows".into(), size: 2, stride: 6 };
    let array = UInt8MultiArray {
        layout: MultiArrayLayout { dim: vec![dimension], data_offset: 1 },
        data: Bytes::from_static(&[9, 8]),
    };
    laid_out(
        &array,
        &[
            &[1, 0, 0, 0],
            &[5, 0, 0, 0, b'r', b'o', b'w', b's', 0, 0, 0, 0],
            &[2, 0, 0, 0, 6, 0, 0, 0],
            &[1, 0, 0, 0],
            &[2, 0, 0, 0, 9, 8],
        ],
    );
}

#[test]
fn the_names_are_those_that_ros_2_announces() {
    assert_eq!(Time::TYPE_NAME, "builtin_interfaces::msg::dds_::Time_");
    assert_eq!(Header::TYPE_NAME, "std_msgs::msg::dds_::Header_");
    assert_eq!(UInt8MultiArray::TYPE_NAME, "std_msgs::msg::dds_::UInt8MultiArray_");
    assert_eq!(PointCloud2::TYPE_NAME, "sensor_msgs::msg::dds_::PointCloud2_");
    assert_eq!(Image::TYPE_NAME, "sensor_msgs::msg::dds_::Image_");
    assert_eq!(CompressedImage::TYPE_NAME, "sensor_msgs::msg::dds_::CompressedImage_");
    assert_eq!(LaserScan::TYPE_NAME, "sensor_msgs::msg::dds_::LaserScan_");
    assert_eq!(Imu::TYPE_NAME, "sensor_msgs::msg::dds_::Imu_");
}

#[test]
fn point_fields_count_from_int8_to_float64() {
    let datatypes = [
        PointField::INT8,
        PointField::UINT8,
        PointField::INT16,
        PointField::UINT16,
        PointField::INT32,
        PointField::UINT32,
        PointField::FLOAT32,
        PointField::FLOAT64,
    ];
    assert_eq!(datatypes, [1, 2, 3, 4, 5, 6, 7, 8]);
}
