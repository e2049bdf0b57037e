//! Images without a file: what a 1920x1080 camera sees of a test card that moves, with sensor noise.

use crate::messages::Image;
use crate::random::Random;

/// Pixels of a row.
pub(crate) const WIDTH: u32 = 1920;
/// Rows.
pub(crate) const HEIGHT: u32 = 1080;

/// The `index`-th frame, always the same for the same index.
pub(crate) fn frame(index: usize) -> Image {
    let mut random = Random::new(SEED ^ index as u64);
    let mut data = Vec::with_capacity((WIDTH * HEIGHT * 3) as usize);
    for y in 0..HEIGHT {
        let mut noise = random.next();
        for x in 0..WIDTH {
            noise = noise.rotate_left(5);
            let grain = (noise & 7) as u8;
            let tile = ((x + index as u32 * 24) / 120 + y / 120) % 2 * 48;
            let ramp = (x * 160 / WIDTH) as u8;
            data.extend([ramp + tile as u8 + grain, (y * 200 / HEIGHT) as u8 + grain, 200 - ramp + grain]);
        }
    }
    Image::rgb8("camera", WIDTH, data)
}

const SEED: u64 = 0x00ca_3e4a;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::RosMessage;

    #[test]
    fn a_frame_is_full_hd_rgb8_and_the_next_one_differs() {
        let (first, second) = (frame(0), frame(1));
        assert_eq!((first.width, first.height, first.data.len()), (1920, 1080, 6_220_800));
        assert!(first.is_consistent());
        assert_ne!(first.data, second.data);
    }
}
