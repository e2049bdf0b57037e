//! Point clouds without a file: a spinning 64-beam LiDAR that drives through a street.
//!
//! ```text
//!            beams, -25° to +15°          seen from above
//!          \  |  /                  ┌───────────────────────────┐ buildings
//!           \ | /   1.8 m           │   ▢  car      ▢           │
//!       ─────[o]──────── road       │      ·→ sensor       ▢    │
//!                                   └───────────────────────────┘
//! ```
//! Each ray is intersected with the road, the walls of the street and a few cars, so that the clouds have the
//! structure, the value ranges and the varying length of real ones; random numbers would do for a transport,
//! but not for someone who opens the topic in a viewer. Everything follows from the seed and the index of the
//! scan. Scans are made ahead of a run, so that making them never limits the rate.
//!
//! A point is x y z intensity as float32 and ring as uint16, padded to [`POINT_STEP`] bytes.

use crate::messages::{PointCloud2, PointField};
use crate::random::Random;
use std::f32::consts::TAU;
use std::ops::RangeInclusive;

/// Bytes of a generated point.
pub(crate) const POINT_STEP: usize = 20;
/// Bytes at the end of a point that mean nothing.
pub(crate) const PADDING_LEN: usize = 2;

/// The points of `count` scans: spread evenly over the range, both ends included, in an order that looks
/// random and is always the same.
pub(crate) fn lengths(range: &RangeInclusive<usize>, count: usize) -> Vec<usize> {
    let (low, high) = (*range.start(), *range.end());
    let mut lengths: Vec<usize> =
        (0..count).map(|index| low + (high - low) * index / count.saturating_sub(1).max(1)).collect();
    Random::new(SEED).shuffle(&mut lengths);
    lengths
}

/// The `index`-th scan, of exactly `points` points.
pub(crate) fn scan(index: usize, points: usize) -> PointCloud2 {
    let mut random = Random::new(SEED ^ (index as u64 + 1));
    let street = Street::new();
    let sensor = [index as f32 * 0.7 % 20.0 - 10.0, 0.5, SENSOR_HEIGHT_M];
    let mut data = Vec::with_capacity(points * POINT_STEP);
    for point in 0..points {
        let ring = point % BEAMS;
        let azimuth = TAU * point as f32 / points as f32;
        let direction = direction(azimuth, elevation(ring));
        let (range, reflectance) = street.hit(sensor, direction);
        let range = range + (random.unit() - 0.5) * NOISE_M;
        for axis in direction {
            data.extend_from_slice(&(axis * range).to_le_bytes());
        }
        let intensity = reflectance * (0.9 + 0.1 * random.unit()) / (1.0 + range * 0.01);
        data.extend_from_slice(&intensity.to_le_bytes());
        data.extend_from_slice(&(ring as u16).to_le_bytes());
        data.extend_from_slice(&[0; PADDING_LEN]);
    }
    PointCloud2::unordered("lidar", fields(), POINT_STEP as u32, data)
}

fn fields() -> Vec<PointField> {
    let floats = ["x", "y", "z", "intensity"].into_iter().zip([0, 4, 8, 12]);
    let mut fields: Vec<_> =
        floats.map(|(name, at)| PointField::new(name, at, PointField::FLOAT32)).collect();
    fields.push(PointField::new("ring", 16, PointField::UINT16));
    fields
}

fn elevation(ring: usize) -> f32 {
    (LOWEST_DEG + (HIGHEST_DEG - LOWEST_DEG) * ring as f32 / (BEAMS - 1) as f32).to_radians()
}

fn direction(azimuth: f32, elevation: f32) -> [f32; 3] {
    let (sin_azimuth, cos_azimuth) = azimuth.sin_cos();
    let (sin_elevation, cos_elevation) = elevation.sin_cos();
    [cos_azimuth * cos_elevation, sin_azimuth * cos_elevation, sin_elevation]
}

/// An axis-aligned box.
struct Block {
    low: [f32; 3],
    high: [f32; 3],
    reflectance: f32,
}

impl Block {
    /// Where a ray enters and leaves, as multiples of its direction; empty if it misses.
    fn span(&self, from: [f32; 3], direction: [f32; 3]) -> (f32, f32) {
        let (mut enter, mut leave) = (f32::NEG_INFINITY, f32::INFINITY);
        for axis in 0..3 {
            let near = (self.low[axis] - from[axis]) / direction[axis];
            let far = (self.high[axis] - from[axis]) / direction[axis];
            enter = enter.max(near.min(far));
            leave = leave.min(near.max(far));
        }
        (enter, leave)
    }
}

/// What the rays hit: a long room without a view of the sky, with cars in it.
struct Street {
    walls: Block,
    cars: Vec<Block>,
}

impl Street {
    fn new() -> Self {
        let walls = Block { low: [-60.0, -12.0, 0.0], high: [60.0, 14.0, 25.0], reflectance: 0.4 };
        let mut random = Random::new(SEED);
        let cars = (0..CARS)
            .map(|car| {
                let x = -50.0 + 100.0 * car as f32 / CARS as f32 + 6.0 * random.unit();
                let y = if car % 2 == 0 { -7.0 } else { 6.0 } + random.unit();
                Block {
                    low: [x, y, 0.0],
                    high: [x + 4.4, y + 1.8, 1.5],
                    reflectance: 0.3 + 0.6 * random.unit(),
                }
            })
            .collect();
        Self { walls, cars }
    }

    /// Distance and reflectance of the first thing a ray hits.
    fn hit(&self, from: [f32; 3], direction: [f32; 3]) -> (f32, f32) {
        let (_, wall) = self.walls.span(from, direction);
        self.cars.iter().fold((wall, self.walls.reflectance), |(nearest, reflectance), car| {
            let (enter, leave) = car.span(from, direction);
            if enter > 0.0 && enter < leave && enter < nearest {
                (enter, car.reflectance)
            } else {
                (nearest, reflectance)
            }
        })
    }
}

const SEED: u64 = 0x11da_5eed;
const BEAMS: usize = 64;
const CARS: usize = 10;
const LOWEST_DEG: f32 = -25.0;
const HIGHEST_DEG: f32 = 15.0;
const SENSOR_HEIGHT_M: f32 = 1.8;
const NOISE_M: f32 = 0.03;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::RosMessage;

    fn floats(point: &[u8]) -> [f32; 4] {
        std::array::from_fn(|i| f32::from_le_bytes(*point[i * 4..].first_chunk().unwrap()))
    }

    #[test]
    fn the_same_scan_is_the_same_bytes_and_the_next_one_is_not() {
        assert_eq!(scan(3, 1000), scan(3, 1000));
        assert_ne!(scan(3, 1000).data, scan(4, 1000).data);
    }

    #[test]
    fn a_scan_has_exactly_the_points_asked_for() {
        for points in [0, 1, 63, 64, 10_001] {
            let cloud = scan(0, points);
            assert_eq!((cloud.width as usize, cloud.data.len()), (points, points * POINT_STEP));
            assert!(cloud.is_consistent());
        }
    }

    #[test]
    fn every_point_lies_within_the_street_and_on_a_known_ring() {
        let cloud = scan(1, 20_000);
        for point in cloud.data.chunks_exact(POINT_STEP) {
            let [x, y, z, intensity] = floats(point);
            assert!(x.abs() < 75.0 && y.abs() < 20.0 && (-2.0..25.0).contains(&z), "{x} {y} {z}");
            assert!((0.0..=1.0).contains(&intensity));
            assert!(u16::from_le_bytes([point[16], point[17]]) < BEAMS as u16);
        }
    }

    #[test]
    fn lengths_vary_over_the_whole_range() {
        let lengths = lengths(&(10_000..=300_000), 12);
        assert_eq!(lengths.iter().min(), Some(&10_000));
        assert_eq!(lengths.iter().max(), Some(&300_000));
        assert!(lengths.windows(2).all(|pair| pair[0] != pair[1]));
        assert_eq!(super::lengths(&(5..=5), 3), [5, 5, 5]);
    }
}
