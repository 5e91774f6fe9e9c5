//! Variations of training images: random resized crop and horizontal flip.

use rand_chacha::ChaCha8Rng;

use super::{
    Picture,
    resize::{Filter, resize},
};
use crate::{error::Result, random};

/// What is varied.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Augment {
    /// Smallest area of a crop, as a part of the whole (timm's `scale`).
    pub min_scale: f32,
    /// Whether half of the images are mirrored.
    pub flip: bool,
}

impl Augment {
    /// One variation, of the picture's own size.
    ///
    /// # Errors
    /// As [`resize`].
    pub fn apply(&self, picture: &Picture, rng: &mut ChaCha8Rng) -> Result<Picture> {
        self.apply_to((picture.height, picture.width), picture, rng)
    }

    /// One variation, of another size (height, width).
    ///
    /// The crop has an aspect ratio between 3:4 and 4:3, as torchvision's `RandomResizedCrop`; where the picture is too narrow
    /// for it, torchvision draws again, and here the crop is as wide as the picture.
    ///
    /// # Errors
    /// As [`resize`].
    pub fn apply_to(
        &self,
        (out_height, out_width): (usize, usize),
        picture: &Picture,
        rng: &mut ChaCha8Rng,
    ) -> Result<Picture> {
        let area = (picture.width * picture.height) as f32 * random::uniform(rng, self.min_scale, 1.0);
        let ratio = random::uniform(rng, (0.75f32).ln(), (4.0f32 / 3.0).ln()).exp();
        let width = side((area * ratio).sqrt(), picture.width);
        let height = side((area / ratio).sqrt(), picture.height);
        let left = random::uniform(rng, 0.0, (picture.width - width + 1) as f32) as usize;
        let top = random::uniform(rng, 0.0, (picture.height - height + 1) as f32) as usize;
        let left = left.min(picture.width - width) as isize;
        let top = top.min(picture.height - height) as isize;
        let crop = picture.window(left, top, width, height);
        let varied = resize(&crop, out_width, out_height, Filter::Bilinear)?;
        // The draw comes even when it is not used, so that `flip` does not shift the crops that follow.
        let mirror = random::uniform(rng, 0.0, 1.0) < 0.5;
        Ok(if self.flip && mirror { varied.mirrored() } else { varied })
    }
}

fn side(length: f32, whole: usize) -> usize {
    (length.round() as usize).clamp(1, whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, stream};

    #[test]
    fn what_is_not_mirrored_is_cropped_the_same() {
        let picture = Picture { width: 9, height: 5, rgb: (0..135).collect() };
        let draw = |flip| -> Vec<Picture> {
            let mut rng = stream(3, Purpose::Augment);
            let augment = Augment { min_scale: 0.5, flip };
            (0..20).map(|_| augment.apply(&picture, &mut rng).expect("resizes")).collect()
        };
        let pairs: Vec<_> = draw(false).into_iter().zip(draw(true)).collect();
        assert!(pairs.iter().all(|(plain, varied)| plain == varied || plain.mirrored() == *varied));
        assert!(pairs.iter().any(|(plain, varied)| plain != varied));
    }

    #[test]
    fn size_is_kept_and_the_seed_decides() {
        let picture = Picture { width: 9, height: 5, rgb: (0..135).collect() };
        let augment = Augment { min_scale: 0.3, flip: true };
        let draw = |seed| -> Vec<Picture> {
            let mut rng = stream(seed, Purpose::Augment);
            (0..20).map(|_| augment.apply(&picture, &mut rng).expect("resizes")).collect()
        };
        assert!(draw(1).iter().all(|varied| (varied.width, varied.height) == (9, 5)));
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert_ne!(draw(1)[0], draw(1)[1]);
    }
}
