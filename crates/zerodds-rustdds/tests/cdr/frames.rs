//! Samples around data that is not there yet.

use crate::row::{Field, Row, fields};
use bytes::Bytes;
use proptest::prelude::*;
use serde::Serialize;
use zerodds_rustdds::cdr::{self, Error, Frame};
use zerodds_rustdds::msg::sensor_msgs::{Image, PointCloud2};

proptest! {
    #[test]
    fn a_frame_around_data_is_the_sample_with_it(
        before in fields(),
        data in prop::collection::vec(any::<u8>(), 0..100),
        after in fields(),
    ) {
        let around = |blob: Bytes| {
            Row(before.iter().cloned().chain([Field::Blob(blob)]).chain(after.iter().cloned()).collect())
        };
        let whole = around(data.clone().into());
        let expected = cdr::to_bytes(&whole, cdr::serialized_len(&whole).unwrap()).unwrap();

        let frame = Frame::around(data.len(), around).unwrap();
        prop_assert_eq!([frame.head(), &data, frame.tail()].concat(), expected.clone());
        prop_assert_eq!((frame.data_len(), frame.sample_len()), (data.len(), expected.len()));

        let mut out = vec![0xA5; frame.sample_len()];
        let place = frame.write_into(&mut out).unwrap();
        prop_assert!(out[place.clone()].iter().all(|octet| *octet == 0xA5));
        out[place].copy_from_slice(&data);
        prop_assert_eq!(out, expected);
    }
}

#[test]
fn a_frame_has_the_size_of_large_data_without_its_memory() {
    let frame = Frame::around(3 << 30, |data| PointCloud2 { data, ..Default::default() }).unwrap();
    assert_eq!(frame.data_len(), 3 << 30);
    assert_eq!(frame.head()[frame.head().len() - 4..], (3_u32 << 30).to_le_bytes());
    assert!(frame.head().len() + frame.tail().len() < 100);
}

/// The data as a `Vec`.
#[derive(Serialize)]
struct Copied {
    data: Vec<u8>,
}

#[test]
fn a_sample_without_the_data_is_refused() {
    let without = [
        Frame::around(100, |_| Image::default()),
        Frame::around(100, |data| Image { data: Bytes::copy_from_slice(&data), ..Default::default() }),
        Frame::around(100, |data| Image { data: data.slice(1..), ..Default::default() }),
        Frame::around(100, |data| Image { data: data.slice(..8), ..Default::default() }),
        Frame::around(100, |data| Copied { data: data.to_vec() }),
        Frame::around(100, |data| str::from_utf8(&data).unwrap().to_owned()),
        // As text it comes by where it lies, but without its own length before it.
        Frame::around(100, |data| -> &'static str { str::from_utf8(Box::leak(Box::new(data))).unwrap() }),
    ];
    for refused in without {
        let error = refused.unwrap_err();
        assert!(matches!(error, Error::DataMissing), "{error:?}");
        assert!(error.to_string().contains("zerodds_rustdds::bytes"), "{error}");
    }
}

#[test]
fn a_sample_with_the_data_twice_is_refused() {
    let image = |data: &Bytes| Image { data: data.clone(), ..Default::default() };
    let refused = Frame::around(100, |data| (image(&data), image(&data), image(&data))).unwrap_err();
    assert!(matches!(refused, Error::DataRepeated { times: 3 }), "{refused:?}");
}

#[test]
fn bytes_that_look_like_the_data_are_not_taken_for_it() {
    let mut looks = Bytes::new();
    let frame = Frame::around(100, |data| {
        looks = Bytes::copy_from_slice(&data);
        let image = |data| Image { data, ..Default::default() };
        (image(looks.clone()), image(data), image(looks.clone()))
    })
    .unwrap();
    let counted = |part: &[u8]| part.windows(looks.len()).filter(|window| *window == looks).count();
    assert_eq!((counted(frame.head()), counted(frame.tail())), (1, 1));
}

#[test]
fn data_that_rtps_cannot_carry_is_refused() {
    for len in [u32::MAX as usize - 10, u32::MAX as usize + 1, usize::MAX] {
        let refused = Frame::around(len, |data| Image { data, ..Default::default() }).unwrap_err();
        assert!(matches!(refused, Error::TooLong { .. }), "{refused:?}");
    }
}

#[test]
fn a_frame_is_written_to_memory_of_its_size_only() {
    let frame = Frame::around(9, |data| Image { data, ..Default::default() }).unwrap();
    let needed = frame.sample_len();
    for room in [0, needed - 1, needed + 1] {
        let mut out = vec![0xA5; room];
        let refused = frame.write_into(&mut out).unwrap_err();
        assert!(matches!(refused, Error::Misfit { room: r, needed: n } if (r, n) == (room, needed)));
        assert!(out.iter().all(|octet| *octet == 0xA5));
    }
}
