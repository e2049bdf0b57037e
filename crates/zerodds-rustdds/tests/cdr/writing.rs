//! Measuring and writing.

use crate::row::{Row, fields};
use byteorder::LittleEndian;
use proptest::prelude::*;
use serde::{Serialize, Serializer};
use std::cell::Cell;
use zerodds_rustdds::cdr::{self, Error};

proptest! {
    #[test]
    fn what_is_measured_and_written_is_what_rustdds_writes(fields in fields()) {
        let row = Row(fields);
        let expected = cdr_encoding::to_vec::<_, LittleEndian>(&row).unwrap();

        let len = cdr::serialized_len(&row).unwrap();
        prop_assert_eq!(len, expected.len());
        prop_assert_eq!(cdr::to_bytes(&row, len).unwrap(), expected.clone());

        // Memory that was used before: padding is written too.
        let mut out = vec![0xA5; len];
        cdr::write_into(&row, &mut out).unwrap();
        prop_assert_eq!(out, expected);
    }

    #[test]
    fn memory_of_another_length_is_refused_with_both_lengths(fields in fields(), room in 0_usize..200) {
        let row = Row(fields);
        let needed = cdr::serialized_len(&row).unwrap();
        prop_assume!(room != needed);

        for refused in [cdr::write_into(&row, &mut vec![0; room]), cdr::to_bytes(&row, room).map(drop)] {
            match refused {
                Err(Error::LenChanged { measured, written }) => {
                    prop_assert_eq!((measured, written), (room, needed));
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}

/// Serializes as a sequence of another length each time.
struct Fickle {
    lens: [usize; 2],
    turn: Cell<usize>,
}

impl Serialize for Fickle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let turn = self.turn.replace(self.turn.get() + 1);
        vec![1_u32; self.lens[turn % 2]].serialize(serializer)
    }
}

#[test]
fn a_value_that_changes_its_mind_is_an_error_that_says_so() {
    for (lens, measured, written) in [([3, 5], 16, 24), ([5, 3], 24, 16), ([0, 1], 4, 8)] {
        let fickle = || Fickle { lens, turn: Cell::new(0) };

        let sample = fickle();
        let mut out = vec![0; cdr::serialized_len(&sample).unwrap()];
        let refused = cdr::write_into(&sample, &mut out).unwrap_err();
        assert!(
            matches!(refused, Error::LenChanged { measured: m, written: w } if (m, w) == (measured, written)),
            "{refused:?}"
        );

        let sample = fickle();
        let len = cdr::serialized_len(&sample).unwrap();
        let refused = cdr::to_bytes(&sample, len).unwrap_err();
        assert!(refused.to_string().contains("Serialize has to give the same bytes"), "{refused}");
    }
}

/// Refuses.
struct Unwilling;

impl Serialize for Unwilling {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("not today"))
    }
}

#[test]
fn a_value_that_refuses_is_heard_in_every_form() {
    let refusals = [
        cdr::serialized_len(&Unwilling).map(drop),
        cdr::write_into(&Unwilling, &mut [0; 8]),
        cdr::to_bytes(&Unwilling, 8).map(drop),
        cdr::Frame::around(8, |_| Unwilling).map(drop),
    ];
    for refusal in refusals {
        let error = refusal.unwrap_err();
        assert!(matches!(error, Error::Encode(_)) && error.to_string().contains("not today"), "{error}");
    }
}

/// Claims a sequence longer than CDR can say, without the memory for one.
struct Endless<'a>(&'a [u8]);

impl Serialize for Endless<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeTuple;
        let mut tuple = serializer.serialize_tuple(5000)?;
        for _ in 0..5000 {
            tuple.serialize_element(&serde_bytes::Bytes::new(self.0))?;
        }
        tuple.end()
    }
}

#[test]
fn what_rtps_cannot_carry_is_refused_while_it_is_measured() {
    let mebibyte = vec![0; 1 << 20];
    let refused = cdr::serialized_len(&Endless(&mebibyte)).unwrap_err();
    assert!(matches!(refused, Error::TooLong { len } if len == 5000 * (4 + (1 << 20))), "{refused:?}");
}
