//! The PCD format of the Point Cloud Library: a text header, then points as text or as packed bytes.
//!
//! ```text
//!   VERSION .7
//!   FIELDS x y z intensity      names; `_` is padding
//!   SIZE 4 4 4 4                bytes of an element: 1 2 4 8
//!   TYPE F F F F                I signed, U unsigned, F float
//!   COUNT 1 1 1 1               elements of a field; may be missing, then 1 each
//!   WIDTH 213                   points of a row
//!   HEIGHT 1                    rows; 1 for an unordered cloud
//!   VIEWPOINT 0 0 0 1 0 0 0     ignored
//!   POINTS 213                  may be missing, then WIDTH * HEIGHT
//!   DATA ascii | binary
//! ```
//! A point is laid out in the message as in a binary file, so `DATA binary` is one copy. `binary_compressed`
//! stores fields one after the other under an LZF compression; it is refused with the command that converts
//! it. Nothing in the file is trusted: sizes are checked before memory is asked for.

use crate::messages::{PointCloud2, PointField};
use thiserror::Error;

/// What is wrong with a PCD file.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum PcdError {
    #[error("the PCD header has no {0} line")]
    Missing(&'static str),
    #[error("the PCD header's line {line:?} is not understood: {wanted}")]
    Line { line: String, wanted: &'static str },
    #[error("the PCD header names {fields} FIELDS but gives {given} of {what}")]
    Uneven { fields: usize, given: usize, what: &'static str },
    #[error("field {name} has TYPE {kind} and SIZE {size}, which sensor_msgs/PointField cannot express")]
    Type { name: String, kind: String, size: String },
    #[error("the PCD header says {said} POINTS where WIDTH x HEIGHT is {product}")]
    Points { said: usize, product: usize },
    #[error(
        "DATA {0:?} is not accepted: ascii and binary are; `pcl_convert_pcd_ascii_binary IN.pcd OUT.pcd 1` converts"
    )]
    Encoding(String),
    #[error("the PCD header promises {wanted} bytes of points, the file holds {found}")]
    Short { wanted: usize, found: usize },
    #[error("point {index} has {found} values where {wanted} are expected")]
    Values { index: usize, found: usize, wanted: usize },
    #[error("point {index}: {value:?} is not a number that fits its field")]
    Number { index: usize, value: String },
    #[error("the PCD header promises {0} points, the text holds fewer")]
    Lines(usize),
    #[error("the PCD header promises more than the 1 GiB that a sample may have")]
    Huge,
}

/// Whether this looks like a PCD file.
pub(crate) fn is_pcd(bytes: &[u8]) -> bool {
    let start = &bytes[..bytes.len().min(512)];
    start.starts_with(b"# .PCD") || start.starts_with(b"VERSION") || start.starts_with(b"FIELDS")
}

/// The cloud in a PCD file.
///
/// # Errors
/// [`PcdError`] says which line or point is wrong.
pub(crate) fn decode(bytes: &[u8]) -> Result<PointCloud2, PcdError> {
    let (header, body) = Header::parse(bytes)?;
    let len = header.data_len()?;
    let point_step = header.point_step() as u32;
    let row_step = (header.width as u32).checked_mul(point_step).ok_or(PcdError::Huge)?;
    let data = match header.encoding.as_str() {
        "binary" => body.get(..len).ok_or(PcdError::Short { wanted: len, found: body.len() })?.to_vec(),
        "ascii" => header.parse_text(body)?,
        other => return Err(PcdError::Encoding(other.to_owned())),
    };
    let fields = header.fields.iter().filter(|field| field.name != "_").cloned().collect();
    Ok(PointCloud2 {
        height: header.height as u32,
        width: header.width as u32,
        row_step,
        ..PointCloud2::unordered("lidar", fields, point_step, data)
    })
}

#[derive(Default)]
struct Header {
    /// All fields in order, padding included.
    fields: Vec<PointField>,
    width: usize,
    height: usize,
    encoding: String,
}

impl Header {
    fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), PcdError> {
        let mut lines = Lines(bytes);
        let (mut names, mut sizes, mut types, mut counts) = (None, None, None, None);
        let (mut width, mut height, mut points) = (None, None, None);
        while let Some(line) = lines.next().filter(|_| bytes.len() - lines.0.len() < HEADER_LEN_MAX) {
            let mut words = line.split_ascii_whitespace().map(str::to_owned);
            let Some(key) = words.next() else { continue };
            match key.as_str() {
                "FIELDS" => names = Some(words.collect::<Vec<_>>()),
                "SIZE" => sizes = Some(words.collect::<Vec<_>>()),
                "TYPE" => types = Some(words.collect::<Vec<_>>()),
                "COUNT" => counts = Some(words.collect::<Vec<_>>()),
                "WIDTH" => width = Some(number(&line)?),
                "HEIGHT" => height = Some(number(&line)?),
                "POINTS" => points = Some(number(&line)?),
                "DATA" => {
                    let names = names.ok_or(PcdError::Missing("FIELDS"))?;
                    let counts = counts.unwrap_or_else(|| vec!["1".to_owned(); names.len()]);
                    let sizes = sizes.ok_or(PcdError::Missing("SIZE"))?;
                    let types = types.ok_or(PcdError::Missing("TYPE"))?;
                    let header = Self {
                        fields: fields(names, &sizes, &types, &counts)?,
                        width: width.ok_or(PcdError::Missing("WIDTH"))?,
                        height: height.ok_or(PcdError::Missing("HEIGHT"))?,
                        encoding: words.next().unwrap_or_default(),
                    };
                    header.check_points(points)?;
                    return Ok((header, lines.0));
                }
                _ => {}
            }
        }
        Err(PcdError::Missing("DATA"))
    }

    fn check_points(&self, said: Option<usize>) -> Result<(), PcdError> {
        let product = self.width.checked_mul(self.height).ok_or(PcdError::Huge)?;
        match said {
            Some(said) if said != product => Err(PcdError::Points { said, product }),
            _ => Ok(()),
        }
    }

    fn point_step(&self) -> usize {
        self.fields.iter().map(field_len).sum()
    }

    fn data_len(&self) -> Result<usize, PcdError> {
        let len =
            self.width.checked_mul(self.height).and_then(|points| points.checked_mul(self.point_step()));
        len.filter(|&len| len <= DATA_LEN_MAX).ok_or(PcdError::Huge)
    }

    fn parse_text(&self, body: &[u8]) -> Result<Vec<u8>, PcdError> {
        let points = self.width * self.height;
        let mut data = Vec::with_capacity(self.data_len()?.min(body.len().saturating_mul(8)));
        let mut lines = Lines(body).filter(|line| !line.trim().is_empty());
        let wanted: usize = self.fields.iter().map(|field| field.count as usize).sum();
        for index in 0..points {
            let line = lines.next().ok_or(PcdError::Lines(points))?;
            let mut values = line.split_ascii_whitespace();
            let found = values.clone().count();
            if found != wanted {
                return Err(PcdError::Values { index, found, wanted });
            }
            for field in &self.fields {
                for value in values.by_ref().take(field.count as usize) {
                    let failed = || PcdError::Number { index, value: value.to_owned() };
                    push_value(&mut data, field.datatype, value).ok_or_else(failed)?;
                }
            }
        }
        Ok(data)
    }
}

fn fields(
    names: Vec<String>,
    sizes: &[String],
    types: &[String],
    counts: &[String],
) -> Result<Vec<PointField>, PcdError> {
    for (what, given) in [("SIZE", sizes.len()), ("TYPE", types.len()), ("COUNT", counts.len())] {
        if given != names.len() {
            return Err(PcdError::Uneven { fields: names.len(), given, what });
        }
    }
    let mut offset = 0_u32;
    let mut fields = Vec::with_capacity(names.len());
    for (((name, size), kind), count) in names.into_iter().zip(sizes).zip(types).zip(counts) {
        let count = count.parse().ok().filter(|count| (1..=COUNT_MAX).contains(count));
        let count = count.ok_or_else(|| PcdError::Line {
            line: format!("COUNT {}", counts.join(" ")),
            wanted: "each count is a number from 1 to 4096",
        })?;
        let Some(datatype) = datatype(kind, size) else {
            return Err(PcdError::Type { name, kind: kind.clone(), size: size.clone() });
        };
        let field = PointField { name, offset, datatype, count };
        offset = offset.checked_add(field_len(&field) as u32).ok_or(PcdError::Huge)?;
        fields.push(field);
    }
    Ok(fields)
}

fn datatype(kind: &str, size: &str) -> Option<u8> {
    Some(match (kind, size) {
        ("I", "1") => PointField::INT8,
        ("I", "2") => PointField::INT16,
        ("I", "4") => PointField::INT32,
        ("U", "1") => PointField::UINT8,
        ("U", "2") => PointField::UINT16,
        ("U", "4") => PointField::UINT32,
        ("F", "4") => PointField::FLOAT32,
        ("F", "8") => PointField::FLOAT64,
        _ => return None,
    })
}

fn field_len(field: &PointField) -> usize {
    let element_len = match field.datatype {
        PointField::INT8 | PointField::UINT8 => 1,
        PointField::INT16 | PointField::UINT16 => 2,
        PointField::FLOAT64 => 8,
        _ => 4,
    };
    element_len * field.count as usize
}

fn push_value(data: &mut Vec<u8>, datatype: u8, value: &str) -> Option<()> {
    match datatype {
        PointField::INT8 => data.extend(value.parse::<i8>().ok()?.to_le_bytes()),
        PointField::UINT8 => data.extend(value.parse::<u8>().ok()?.to_le_bytes()),
        PointField::INT16 => data.extend(value.parse::<i16>().ok()?.to_le_bytes()),
        PointField::UINT16 => data.extend(value.parse::<u16>().ok()?.to_le_bytes()),
        PointField::INT32 => data.extend(value.parse::<i32>().ok()?.to_le_bytes()),
        PointField::UINT32 => data.extend(value.parse::<u32>().ok()?.to_le_bytes()),
        PointField::FLOAT64 => data.extend(value.parse::<f64>().ok()?.to_le_bytes()),
        _ => data.extend(value.parse::<f32>().ok()?.to_le_bytes()),
    }
    Some(())
}

fn number(line: &str) -> Result<usize, PcdError> {
    let value = line.split_ascii_whitespace().nth(1).and_then(|word| word.parse::<u32>().ok());
    value.map(|value| value as usize).ok_or_else(|| PcdError::Line {
        line: line.trim().to_owned(),
        wanted: "a number up to 4294967295 is expected",
    })
}

/// The lines of a text that may be followed by bytes which are none.
struct Lines<'a>(&'a [u8]);

impl Iterator for Lines<'_> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        if self.0.is_empty() {
            return None;
        }
        let end = self.0.iter().position(|&byte| byte == b'\n').unwrap_or(self.0.len());
        let line = String::from_utf8_lossy(&self.0[..end]).into_owned();
        self.0 = &self.0[self.0.len().min(end + 1)..];
        Some(line)
    }
}

const HEADER_LEN_MAX: usize = 64 * 1024;
const DATA_LEN_MAX: usize = 1 << 30;
const COUNT_MAX: u32 = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::RosMessage;
    use proptest::prelude::*;

    const HEADER: &str = "# .PCD v.7\nVERSION .7\nFIELDS x y _ label\nSIZE 4 4 1 2\nTYPE F F U U\n\
                          COUNT 1 1 2 1\nWIDTH 2\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS 2\n";

    fn with(change: (&str, &str), data: &str) -> Result<PointCloud2, PcdError> {
        decode(format!("{}{data}", HEADER.replace(change.0, change.1)).as_bytes())
    }

    #[test]
    fn text_and_bytes_give_the_same_cloud() {
        let text = format!("{HEADER}DATA ascii\n1 -2.5 0 0 7\n3e1 nan 0 0 65535\n");
        let from_text = decode(text.as_bytes()).unwrap();
        let mut file = format!("{HEADER}DATA binary\n").into_bytes();
        file.extend(&from_text.data);
        let from_bytes = decode(&file).unwrap();
        assert_eq!(from_bytes, from_text);
        assert_eq!((from_text.width, from_text.point_step, from_text.data.len()), (2, 12, 24));
        assert!(from_text.is_consistent());
        let names: Vec<_> =
            from_text.fields.iter().map(|field| (field.name.as_str(), field.offset)).collect();
        assert_eq!(names, [("x", 0), ("y", 4), ("label", 10)], "padding takes room and has no name");
        assert_eq!(from_text.data[..4], 1.0_f32.to_le_bytes());
        assert_eq!(from_text.data[22..], 65_535_u16.to_le_bytes());
    }

    #[test]
    fn a_compressed_file_is_refused_with_the_command_that_converts_it() {
        let error = with(("", ""), "DATA binary_compressed\n...").unwrap_err();
        assert_eq!(error, PcdError::Encoding("binary_compressed".to_owned()));
        assert!(error.to_string().contains("pcl_convert_pcd_ascii_binary"));
    }

    #[test]
    fn what_is_missing_or_contradictory_is_named() {
        let ascii = "DATA ascii\n1 2 0 0 7\n3 4 0 0 8\n";
        assert_eq!(with(("", ""), ""), Err(PcdError::Missing("DATA")));
        assert_eq!(with(("SIZE 4 4 1 2\n", ""), ascii), Err(PcdError::Missing("SIZE")));
        assert_eq!(
            with(("TYPE F F U U", "TYPE F F U"), ascii),
            Err(PcdError::Uneven { fields: 4, given: 3, what: "TYPE" })
        );
        assert!(matches!(with(("SIZE 4 4 1 2", "SIZE 4 4 1 8"), ascii), Err(PcdError::Type { .. })));
        assert!(matches!(with(("COUNT 1 1 2 1", "COUNT 1 1 0 1"), ascii), Err(PcdError::Line { .. })));
        assert!(matches!(with(("WIDTH 2", "WIDTH two"), ascii), Err(PcdError::Line { .. })));
        assert_eq!(with(("POINTS 2", "POINTS 3"), ascii), Err(PcdError::Points { said: 3, product: 2 }));
        assert_eq!(
            with(("WIDTH 2", "WIDTH 4294967295"), ascii),
            Err(PcdError::Points { said: 2, product: 4_294_967_295 })
        );
    }

    #[test]
    fn points_that_are_missing_or_damaged_are_named() {
        assert_eq!(with(("", ""), "DATA binary\n1234"), Err(PcdError::Short { wanted: 24, found: 4 }));
        assert_eq!(with(("", ""), "DATA ascii\n1 2 0 0 7\n"), Err(PcdError::Lines(2)));
        assert_eq!(
            with(("", ""), "DATA ascii\n1 2 0 0\n"),
            Err(PcdError::Values { index: 0, found: 4, wanted: 5 })
        );
        let number = with(("", ""), "DATA ascii\n1 2 0 0 7\n1 2 0 0 x\n");
        assert_eq!(number, Err(PcdError::Number { index: 1, value: "x".to_owned() }));
    }

    #[test]
    fn a_header_that_promises_gigabytes_takes_no_memory() {
        let huge = HEADER.replace("WIDTH 2", "WIDTH 4000000000").replace("POINTS 2\n", "");
        assert_eq!(decode(format!("{huge}DATA binary\n").as_bytes()), Err(PcdError::Huge));
    }

    #[test]
    fn a_row_that_no_message_can_say_is_too_much_even_of_no_rows() {
        let header =
            "FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nWIDTH 400000000\nHEIGHT 0\nPOINTS 0\nDATA binary\n";
        assert_eq!(decode(header.as_bytes()), Err(PcdError::Huge));
    }

    proptest! {
        #[test]
        fn no_damage_makes_it_panic(at in 0usize..200, byte: u8, cut in 0usize..260) {
            let mut file = format!("{HEADER}DATA ascii\n1 2 0 0 7\n3 4 0 0 8\n").into_bytes();
            let at = at % file.len();
            file[at] = byte;
            file.truncate(cut);
            let _ = decode(&file);
        }
    }
}
