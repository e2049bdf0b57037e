//! The samples of a run, made or read before it starts and then cycled.
//!
//! Making a scan of 300,000 points takes longer than moving it, so a run keeps a handful of different samples
//! with their checksums and publishes them in turn. Successive samples differ in content and, for clouds, in
//! length; and the last bytes of one that was made carry its number, in a cloud where the points have their padding. So a
//! transport that delivered another sample's bytes would be found out, also those of the same one a round before. What was read
//! from files is published as it is.

use crate::checksum::{Stem, TAIL_LEN};
use crate::input::{Input, InputError};
use crate::lidar;
use crate::messages::{Image, Kind, PointCloud2, Prepared, UInt8MultiArray};
use crate::quantity::{Points, bytes_text, count_text};
use crate::random::Random;
use crate::stamp::Touch;
use crate::{camera, quantity::Size};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A message of any of the kinds.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    /// A point cloud.
    Cloud(PointCloud2),
    /// An image.
    Image(Image),
    /// Bytes.
    Bytes(UInt8MultiArray),
}

impl Message {
    /// What it is.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Cloud(_) => Kind::Cloud,
            Self::Image(_) => Kind::Image,
            Self::Bytes(_) => Kind::Bytes,
        }
    }

    /// Its payload.
    pub(crate) fn payload(&self) -> &[u8] {
        match self {
            Self::Cloud(cloud) => cloud.payload(),
            Self::Image(image) => image.payload(),
            Self::Bytes(bytes) => bytes.payload(),
        }
    }

    /// Writes the number of a sample where its kind has room for one: at the end of its payload.
    fn number(&mut self, index: u64) {
        let (data, len_max) = match self {
            Self::Cloud(cloud) => (&mut cloud.data, lidar::PADDING_LEN),
            Self::Image(image) => (&mut image.data, TAIL_LEN),
            Self::Bytes(bytes) => (&mut bytes.data, TAIL_LEN),
        };
        let len = data.len().min(len_max);
        let start = data.len() - len;
        data[start..].copy_from_slice(&index.to_le_bytes()[..len]);
    }
}

/// A message and the checksum of its payload.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// The message, not yet stamped.
    pub(crate) message: Message,
    /// The sum of its payload.
    pub(crate) payload_sum: u64,
    stem: Stem,
}

impl Sample {
    fn new(message: Message, touch: Touch) -> Self {
        let stem = Stem::of(message.payload());
        Self { payload_sum: touch.sum(message.payload()), message, stem }
    }

    fn number(&mut self, index: u64, touch: Touch) {
        self.message.number(index);
        let payload = self.message.payload();
        self.payload_sum = match touch {
            Touch::Full => self.stem.checksum(payload),
            Touch::None => touch.sum(payload),
        };
    }
}

/// What to publish.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Source {
    /// Generated clouds.
    Lidar(Points),
    /// Generated full-HD images.
    Camera,
    /// Random bytes.
    Random(Size),
    /// Recorded files, as the messages they hold.
    Files(Vec<Input>),
    /// Recorded files, byte for byte.
    RawFiles(Vec<Input>),
}

impl Source {
    /// Bytes of its largest payload; of a file, which may be compressed, those of a large sample.
    pub(crate) fn payload_max(&self) -> usize {
        match self {
            Self::Lidar(Points(range)) => range.end() * lidar::POINT_STEP,
            Self::Camera => (camera::WIDTH * camera::HEIGHT * 3) as usize,
            Self::Random(Size(len)) => *len,
            Self::Files(_) | Self::RawFiles(_) => LARGE,
        }
    }

    /// Which kinds of samples it gives. Reads the files, so that a bad one is reported before anything starts.
    ///
    /// # Errors
    /// As [`Samples::prepare`].
    pub(crate) fn kinds(&self) -> Result<BTreeSet<Kind>, InputError> {
        Ok(match self {
            Self::Lidar(_) => BTreeSet::from([Kind::Cloud]),
            Self::Camera => BTreeSet::from([Kind::Image]),
            Self::Random(_) => BTreeSet::from([Kind::Bytes]),
            Self::Files(_) | Self::RawFiles(_) => Samples::prepare(self, Touch::None)?.kinds(),
        })
    }
}

/// The samples of a run.
#[derive(Debug)]
pub(crate) struct Samples {
    samples: Vec<Sample>,
    touch: Touch,
    are_numbered: bool,
}

impl Samples {
    /// Makes or reads what `source` describes.
    ///
    /// # Errors
    /// [`InputError`] where a file cannot be published.
    pub(crate) fn prepare(source: &Source, touch: Touch) -> Result<Self, InputError> {
        let messages: Vec<Message> = match source {
            Source::Lidar(Points(range)) => lidar::lengths(range, SCANS)
                .into_iter()
                .enumerate()
                .map(|(index, points)| Message::Cloud(lidar::scan(index, points)))
                .collect(),
            Source::Camera => (0..FRAMES).map(|index| Message::Image(camera::frame(index))).collect(),
            Source::Random(Size(len)) => (0..BLOBS).map(|index| Message::Bytes(blob(index, *len))).collect(),
            Source::Files(inputs) => inputs.iter().map(Input::load).collect::<Result<_, _>>()?,
            Source::RawFiles(inputs) => inputs
                .iter()
                .map(|input| {
                    Ok(Message::Bytes(UInt8MultiArray::flat(
                        &input.path().to_string_lossy(),
                        input.load_bytes()?,
                    )))
                })
                .collect::<Result<_, InputError>>()?,
        };
        let samples = messages.into_iter().map(|message| Sample::new(message, touch)).collect();
        let are_numbered = !matches!(source, Source::Files(_) | Source::RawFiles(_));
        Ok(Self { samples, touch, are_numbered })
    }

    /// The sample that is published as the `index`-th.
    pub(crate) fn cycled(&mut self, index: u64) -> &Sample {
        let which = (index % self.samples.len() as u64) as usize;
        let sample = &mut self.samples[which];
        if self.are_numbered {
            sample.number(index, self.touch);
        }
        sample
    }

    /// How much of them is summed up.
    pub(crate) fn touch(&self) -> Touch {
        self.touch
    }

    /// Which kinds there are.
    pub(crate) fn kinds(&self) -> BTreeSet<Kind> {
        self.samples.iter().map(|sample| sample.message.kind()).collect()
    }

    /// One line for people: what, how many different ones, from which size to which.
    pub(crate) fn describe(&self) -> String {
        let names: Vec<&str> = self.kinds().into_iter().map(Kind::ros_name).collect();
        let lengths = self.samples.iter().map(|sample| sample.message.payload().len());
        let (low, high) = lengths.fold((usize::MAX, 0), |(low, high), len| (low.min(len), high.max(len)));
        let sizes = if low == high {
            bytes_text(low as u64)
        } else {
            format!("{} to {}", bytes_text(low as u64), bytes_text(high as u64))
        };
        let points = self.samples.iter().filter_map(|sample| match &sample.message {
            Message::Cloud(cloud) => Some(u64::from(cloud.width) * u64::from(cloud.height)),
            _ => None,
        });
        let points = points.fold(None, |bounds: Option<(u64, u64)>, points| {
            Some(bounds.map_or((points, points), |(low, high)| (low.min(points), high.max(points))))
        });
        let points = match points {
            Some((low, high)) if low == high => format!(", {} points", count_text(low)),
            Some((low, high)) => format!(", {} to {} points", count_text(low), count_text(high)),
            None => String::new(),
        };
        format!("{}{points}, {sizes}", names.join(" and "))
    }
}

fn blob(index: u64, len: usize) -> UInt8MultiArray {
    UInt8MultiArray::flat("bytes", Random::new(index + 1).bytes(len))
}

/// Bytes of a large sample.
pub(crate) const LARGE: usize = 4 << 20;
const SCANS: usize = 12;
const FRAMES: usize = 4;
const BLOBS: u64 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::Stamp;

    #[test]
    fn the_payload_of_the_same_sample_a_round_before_does_not_pass_for_the_present_one() {
        let sources = [
            (Source::Random(Size(100)), BLOBS),
            (Source::Random(Size(1)), BLOBS),
            (Source::Lidar("10..100".parse().unwrap()), SCANS as u64),
            (Source::Camera, FRAMES as u64),
        ];
        for (source, round) in sources {
            for touch in [Touch::Full, Touch::None] {
                let mut samples = Samples::prepare(&source, touch).unwrap();
                let before = samples.cycled(0).message.payload().to_vec();
                let Sample { message, payload_sum, .. } = samples.cycled(round);
                let stamp = Stamp {
                    publisher: 7,
                    sequence: round,
                    published_ns: 0,
                    touch,
                    payload_sum: *payload_sum,
                };
                let sealed = Stamp::from_text(&stamp.to_text("x")).unwrap();
                assert_eq!(sealed.verify(message.payload()), Ok(()), "{source:?}");
                assert_eq!(before.len(), message.payload().len(), "{source:?}");
                assert!(sealed.verify(&before).is_err(), "{source:?}");
            }
        }
    }

    #[test]
    fn files_are_published_byte_for_byte_in_every_round() {
        let path = std::env::temp_dir().join(format!("largedata-{}-cycled", std::process::id()));
        std::fs::write(&path, b"as it is").unwrap();
        let input = path.to_str().unwrap().parse().unwrap();
        let samples = Samples::prepare(&Source::RawFiles(vec![input]), Touch::Full);
        std::fs::remove_file(&path).unwrap();
        let mut samples = samples.unwrap();
        for index in 0..3 {
            assert_eq!(samples.cycled(index).message.payload(), b"as it is");
        }
    }

    #[test]
    fn clouds_are_described_by_their_points_and_sizes() {
        let samples = Samples::prepare(&Source::Lidar("10..1000".parse().unwrap()), Touch::Full).unwrap();
        assert_eq!(samples.describe(), "sensor_msgs/PointCloud2, 10 to 1,000 points, 200 B to 20.0 kB");
        assert_eq!(samples.kinds(), BTreeSet::from([Kind::Cloud]));
    }

    #[test]
    fn empty_payloads_are_samples_too() {
        let mut samples = Samples::prepare(&Source::Random(Size(0)), Touch::None).unwrap();
        assert_eq!(samples.cycled(5).message.payload(), b"");
    }
}
