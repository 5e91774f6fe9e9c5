//! Crops of a picture's corners, beside which it is asked about ("multi-crop" testing: Krizhevsky et al., "ImageNet Classification with
//! Deep Convolutional Neural Networks" (2012), whose fifth crop is of the middle; here it is the whole).

use super::{
    Picture,
    resize::{Filter, resize},
};
use crate::error::Result;

/// Side of a crop, as a part of the picture's.
const SIDE: f32 = 0.85;

impl Picture {
    /// Crops of its four corners, each of the picture's own size.
    ///
    /// # Errors
    /// As [`resize`].
    pub fn corners(&self) -> Result<[Self; 4]> {
        let [width, height] =
            [self.width, self.height].map(|side| ((side as f32 * SIDE).round() as usize).max(1));
        let [right, bottom] = [self.width - width, self.height - height].map(|place| place as isize);
        let crop = |left, top| {
            resize(&self.window(left, top, width, height), self.width, self.height, Filter::Bilinear)
        };
        Ok([crop(0, 0)?, crop(right, 0)?, crop(0, bottom)?, crop(right, bottom)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_corner_is_of_its_own_quarter_and_of_the_pictures_size() {
        // A colour for every quarter.
        let mut picture = Picture::filled(20, 10, [0; 3]);
        for row in 0..10 {
            for column in 0..20 {
                let at = 3 * (20 * row + column);
                picture.rgb[at..at + 3].fill((100 * (row / 5) + 50 * (column / 10)) as u8);
            }
        }
        let corners = picture.corners().expect("crops");
        for (index, crop) in corners.iter().enumerate() {
            assert_eq!((crop.width, crop.height), (20, 10));
            // More than a quarter is what the picture has there.
            let own = 100 * (index / 2) + 50 * (index % 2);
            let share = crop.rgb.chunks(3).filter(|pixel| usize::from(pixel[0]) == own).count();
            assert!(share > 200 / 4, "{index}: {share}");
        }
        assert_eq!(Picture::filled(1, 1, [7; 3]).corners().expect("crops")[3], Picture::filled(1, 1, [7; 3]));
    }
}
