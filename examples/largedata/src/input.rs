//! Recorded sensor data: what `--input` accepts, and the message that each file becomes.
//!
//! | file                          | message                                                        |
//! |-------------------------------|----------------------------------------------------------------|
//! | `FILE:4`, `FILE:5`, `FILE:6`  | raw little-endian float32 scan with that many fields per point |
//! | `FILE.pcd`                    | point cloud, `DATA ascii` or `DATA binary`                      |
//! | `FILE.png`, `FILE.jpg`        | rgb8 image                                                      |
//!
//! A raw scan does not say how many fields it has, and a wrong guess would still look like a cloud: so the
//! number is asked for. Everything else tells by its content, not by its name alone. Every error names the
//! file, what is wrong with it and what is accepted.

use crate::messages::{Image, PointCloud2, PointField};
use crate::pcd;
use crate::samples::Message;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use thiserror::Error;

/// One value of `--input`: a file and, for a raw scan, its fields per point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Input {
    path: PathBuf,
    fields_per_point: Option<usize>,
}

/// Why a file cannot be published.
#[derive(Debug, Error)]
#[error("{path}: {why}", path = .path.display())]
pub(crate) struct InputError {
    path: PathBuf,
    #[source]
    why: Flaw,
}

/// What is wrong with a file.
#[derive(Debug, Error)]
pub(crate) enum Flaw {
    #[error("cannot be read: {0}")]
    Unreadable(#[from] std::io::Error),
    #[error("it is not a regular file")]
    NotRegular,
    #[error("the file is empty")]
    Empty,
    #[error(
        "{len} bytes are not a whole number of points of {fields} float32 fields ({step} bytes each); \
         append the right number of fields: FILE:4 (x y z intensity), FILE:5 (and ring) or FILE:6 (x y z r g b)"
    )]
    RaggedScan { len: usize, fields: usize, step: usize },
    #[error(
        "its content is neither PCD, PNG nor JPEG; for a raw float32 scan append the fields per point: \
         FILE:4 (x y z intensity), FILE:5 (and ring) or FILE:6 (x y z r g b)"
    )]
    Unknown,
    #[error("{0}")]
    Pcd(#[from] pcd::PcdError),
    #[error("it begins like an image but cannot be decoded ({0}); PNG and JPEG are accepted")]
    Image(#[from] image::ImageError),
    #[error("the file is {len} bytes long, above the {max} that a sample may have")]
    TooLong { len: u64, max: u64 },
    #[error("it holds {len} bytes of data, above the {max} that a sample may have")]
    TooLarge { len: u64, max: u64 },
}

/// A value of `--input` that names no file.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "{0:?} asks for {1} fields per point; a raw float32 scan has 4 (x y z intensity), 5 (and ring) or 6 (x y z r g b)"
)]
pub(crate) struct FieldsError(String, String);

impl FromStr for Input {
    type Err = FieldsError;

    fn from_str(text: &str) -> Result<Self, FieldsError> {
        let suffix = text.rsplit_once(':').filter(|(_, digits)| digits.parse::<u64>().is_ok());
        let Some((path, digits)) = suffix else {
            return Ok(Self { path: text.into(), fields_per_point: None });
        };
        let fields = match digits {
            "4" => 4,
            "5" => 5,
            "6" => 6,
            _ => return Err(FieldsError(text.to_owned(), digits.to_owned())),
        };
        Ok(Self { path: path.into(), fields_per_point: Some(fields) })
    }
}

impl Input {
    /// The file as it was given.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file into the message it is published as.
    ///
    /// # Errors
    /// [`InputError`] names the file, what is wrong with it and what is accepted.
    pub(crate) fn load(&self) -> Result<Message, InputError> {
        self.decode().map_err(|why| InputError { path: self.path.clone(), why })
    }

    fn decode(&self) -> Result<Message, Flaw> {
        message(self.read()?, self.fields_per_point)
    }

    /// Reads the file as it is, whatever it holds.
    ///
    /// # Errors
    /// [`InputError`] where it cannot be read or is too large.
    pub(crate) fn load_bytes(&self) -> Result<Vec<u8>, InputError> {
        self.read().map_err(|why| InputError { path: self.path.clone(), why })
    }

    /// The content, unless that is more than a sample may have.
    fn read(&self) -> Result<Vec<u8>, Flaw> {
        // Looked at before it is opened, which for a FIFO may take for ever.
        let metadata = fs::metadata(&self.path)?;
        if !metadata.is_file() {
            return Err(Flaw::NotRegular);
        }
        check_file_len(metadata.len())?;
        let mut bytes = Vec::with_capacity(metadata.len() as usize);
        File::open(&self.path)?.take(PAYLOAD_MAX + 1).read_to_end(&mut bytes)?;
        check_file_len(bytes.len() as u64)?;
        Ok(bytes)
    }
}

fn check_file_len(len: u64) -> Result<(), Flaw> {
    if len > PAYLOAD_MAX { Err(Flaw::TooLong { len, max: PAYLOAD_MAX }) } else { Ok(()) }
}

/// The message that a file of this content becomes.
pub(crate) fn message(bytes: Vec<u8>, fields_per_point: Option<usize>) -> Result<Message, Flaw> {
    if bytes.is_empty() {
        return Err(Flaw::Empty);
    }
    let message = match fields_per_point {
        Some(fields) => Message::Cloud(raw_scan(bytes, fields)?),
        None if pcd::is_pcd(&bytes) => Message::Cloud(pcd::decode(&bytes)?),
        None if is_image(&bytes) => Message::Image(image(&bytes)?),
        None => return Err(Flaw::Unknown),
    };
    let len = message.payload().len() as u64;
    if len > PAYLOAD_MAX { Err(Flaw::TooLarge { len, max: PAYLOAD_MAX }) } else { Ok(message) }
}

fn raw_scan(bytes: Vec<u8>, fields: usize) -> Result<PointCloud2, Flaw> {
    let step = fields * 4;
    if !bytes.len().is_multiple_of(step) {
        return Err(Flaw::RaggedScan { len: bytes.len(), fields, step });
    }
    let names: &[&str] = match fields {
        4 => &["x", "y", "z", "intensity"],
        5 => &["x", "y", "z", "intensity", "ring"],
        _ => &["x", "y", "z", "r", "g", "b"],
    };
    let fields = (0..)
        .step_by(4)
        .zip(names)
        .map(|(at, name)| PointField::new(name, at, PointField::FLOAT32))
        .collect();
    Ok(PointCloud2::unordered("lidar", fields, step as u32, bytes))
}

fn is_image(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x89PNG") || bytes.starts_with(&[0xff, 0xd8, 0xff])
}

fn image(bytes: &[u8]) -> Result<Image, Flaw> {
    let mut reader = image::ImageReader::new(Cursor::new(bytes));
    reader = reader.with_guessed_format()?;
    let pixels = reader.decode()?.into_rgb8();
    Ok(Image::rgb8("camera", pixels.width(), pixels.into_raw()))
}

/// The largest payload of one sample.
const PAYLOAD_MAX: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::{Kind, RosMessage};
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A file that is gone when the test is over.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str, content: &[u8]) -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let unique = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("largedata-{}-{unique}-{name}", std::process::id()));
            fs::write(&path, content).unwrap();
            Self(path)
        }

        fn input(&self, suffix: &str) -> Input {
            format!("{}{suffix}", self.0.display()).parse().unwrap()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            fs::remove_file(&self.0).unwrap();
        }
    }

    fn refusal(file: &Scratch, suffix: &str) -> String {
        let error = file.input(suffix).load().unwrap_err().to_string();
        assert!(error.starts_with(&file.0.display().to_string()), "{error}");
        error
    }

    #[test]
    fn a_raw_scan_becomes_a_cloud_of_its_points() {
        let file = Scratch::new("scan.bin", &[0; 120]);
        for (suffix, points, last) in [(":5", 6, "ring"), (":6", 5, "b")] {
            let Message::Cloud(cloud) = file.input(suffix).load().unwrap() else { panic!("not a cloud") };
            assert_eq!((cloud.width, cloud.fields.last().unwrap().name.as_str()), (points, last));
            assert!(cloud.is_consistent());
        }
    }

    #[test]
    fn a_raw_scan_of_the_wrong_length_is_refused_with_both_numbers() {
        let error = refusal(&Scratch::new("scan.bin", &[0; 121]), ":6");
        assert!(error.contains("121") && error.contains("24 bytes"), "{error}");
    }

    #[test]
    fn a_number_of_fields_that_no_scan_has_is_refused() {
        let error = "scan.bin:7".parse::<Input>().unwrap_err().to_string();
        assert!(error.contains("\"scan.bin:7\"") && error.contains("4 (x y z intensity)"), "{error}");
        assert_eq!("C:\\scan.pcd".parse::<Input>().unwrap().fields_per_point, None);
    }

    #[test]
    fn an_image_becomes_rgb8() {
        let mut png = Vec::new();
        let pixels = image::GrayImage::from_pixel(4, 3, image::Luma([200]));
        pixels.write_to(&mut Cursor::new(&mut png), image::ImageFormat::Png).unwrap();
        let Message::Image(image) = Scratch::new("grey.png", &png).input("").load().unwrap() else {
            panic!()
        };
        assert_eq!((image.width, image.height, image.encoding.as_str()), (4, 3, "rgb8"));
        assert_eq!(image.data, [200; 36]);
        assert_eq!(Image::KIND, Kind::Image);
    }

    #[test]
    fn files_that_are_missing_empty_unknown_or_broken_are_named() {
        let missing = "no-such-file.png".parse::<Input>().unwrap().load().unwrap_err().to_string();
        assert!(missing.starts_with("no-such-file.png: cannot be read"), "{missing}");
        assert!(refusal(&Scratch::new("empty.pcd", b""), "").contains("empty"));
        assert!(refusal(&Scratch::new("text.txt", b"hello"), "").contains("FILE:4"));
        assert!(refusal(&Scratch::new("cut.png", b"\x89PNG\r\n\x1a\n..."), "").contains("PNG and JPEG"));
    }

    #[test]
    fn what_is_too_large_or_has_no_end_is_refused_before_it_is_read() {
        let large = Scratch::new("large.bin", b"");
        File::options().write(true).open(&large.0).unwrap().set_len(2 << 30).unwrap();
        for suffix in ["", ":4"] {
            let error = refusal(&large, suffix);
            assert!(error.contains("the file is 2147483648 bytes long"), "{error}");
        }
        let error = large.input("").load_bytes().unwrap_err().to_string();
        assert!(error.contains("the file is 2147483648 bytes long"), "{error}");
        let endless = "/dev/zero".parse::<Input>().unwrap();
        let errors = [endless.load().unwrap_err(), endless.load_bytes().unwrap_err()];
        for error in errors.map(|error| error.to_string()) {
            assert!(error.starts_with("/dev/zero: it is not a regular file"), "{error}");
        }
    }
}
