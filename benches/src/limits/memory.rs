//! How fast one processor copies, fills and checks memory: what a message of this size costs at least.

use crate::sample::{Touch, check, fill};
use serde::{Deserialize, Serialize};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Bandwidths at one size, in GB/s.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bandwidth {
    /// Bytes.
    pub len: usize,
    /// Copying from one buffer to another.
    pub copy: f64,
    /// Filling a sample.
    pub fill: f64,
    /// Checking it.
    pub check: f64,
}

/// Sizes worth looking at: from one cache line to beyond every cache.
pub const SIZES: [usize; 10] =
    [64, 1 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 8 << 20, 16 << 20, 64 << 20];

impl Bandwidth {
    /// Measures for about a tenth of a second.
    #[must_use]
    pub fn measure(len: usize) -> Self {
        let (mut from, mut to) = (vec![1u8; len], vec![2u8; len]);
        let copy = rate(len, || {
            to.copy_from_slice(black_box(&from));
            black_box(&mut to);
        });
        let fill_rate = rate(len, || fill(black_box(&mut from), 3, Touch::Full));
        fill(&mut from, 3, Touch::Full);
        let check_rate = rate(len, || {
            let _ = black_box(check(black_box(&from), Touch::Full));
        });
        Self { len, copy, fill: fill_rate, check: check_rate }
    }
}

/// The median of batches, in GB/s.
fn rate(len: usize, mut once: impl FnMut()) -> f64 {
    let turns = (TARGET_BYTES / len).clamp(1, 10_000);
    let mut batches: Vec<Duration> = (0..BATCHES)
        .map(|_| {
            let start = Instant::now();
            (0..turns).for_each(|_| once());
            start.elapsed()
        })
        .collect();
    batches.sort();
    (len * turns) as f64 / batches[BATCHES / 2].as_nanos() as f64
}

const BATCHES: usize = 9;
const TARGET_BYTES: usize = 32 << 20;
