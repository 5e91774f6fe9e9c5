//! Shifts between training and test images: unequal classes (label shift) and corrupted images (covariate shift).
//!
//! Corruptions are severities 1, 3 and 5 of ImageNet-C (Hendrycks and Dietterich, 2019), on the pixels that the model
//! sees; the blur's width is scaled with them, because ImageNet-C states it for 224 pixels.

use image::{RgbImage, imageops};
use libjpeg_turbo_rs::{PixelFormat, Subsampling};
use serde::{Deserialize, Serialize};

use crate::{
    dataset::{Dataset, Example},
    error::{Error, Result},
    image::{Picture, decode::decode},
    random::{self, Purpose},
};

/// Ratio of the largest class to the smallest under label shift, before rounding.
pub const UNEVENNESS: f64 = 10.0;

/// What is done to test images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Corruption {
    /// Nothing: the same images as they are.
    Clean,
    /// Gaussian noise.
    Noise,
    /// Gaussian blur.
    Blur,
    /// Less contrast.
    Contrast,
    /// JPEG at a low quality.
    Jpeg,
}

impl Corruption {
    /// Every kind of corruption at every strength, after the clean images.
    pub fn all() -> Vec<(Self, usize)> {
        let kinds = [Self::Noise, Self::Blur, Self::Contrast, Self::Jpeg];
        let corrupted = kinds.into_iter().flat_map(|kind| (1..=3).map(move |strength| (kind, strength)));
        std::iter::once((Self::Clean, 0)).chain(corrupted).collect()
    }

    /// Name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Noise => "noise",
            Self::Blur => "blur",
            Self::Contrast => "contrast",
            Self::Jpeg => "jpeg",
        }
    }

    /// A corrupted picture; `seed` decides the noise.
    ///
    /// # Errors
    /// A picture too large for a JPEG.
    pub fn apply(self, strength: usize, picture: &Picture, seed: u64) -> Result<Picture> {
        let of = |levels: [f32; 3]| levels[strength.clamp(1, 3) - 1];
        match self {
            Self::Clean => Ok(picture.clone()),
            Self::Noise => Ok(noisy(picture, of([0.08, 0.18, 0.38]), seed)),
            Self::Blur => blurred(picture, of([1.0, 3.0, 6.0]) * picture.width as f32 / 224.0),
            Self::Contrast => Ok(flattened(picture, of([0.4, 0.2, 0.05]))),
            Self::Jpeg => recompressed(picture, of([25.0, 15.0, 7.0]) as u8),
        }
    }

    /// A corrupted test set; every image has noise of its own.
    ///
    /// # Errors
    /// As [`Corruption::apply`].
    pub fn apply_to(self, strength: usize, test: &Dataset) -> Result<Dataset> {
        let corrupt = |(index, example): (usize, &Example)| {
            Ok(Example { crop: self.apply(strength, &example.crop, index as u64)?, ..example.clone() })
        };
        let examples = test.examples.iter().enumerate().map(corrupt).collect::<Result<_>>()?;
        Ok(Dataset { examples, ..test.clone() })
    }
}

fn noisy(picture: &Picture, deviation: f32, seed: u64) -> Picture {
    let mut rng = random::stream(seed, Purpose::Corruption);
    let mut vary =
        |value: &u8| (f32::from(*value) + 255.0 * deviation * random::normal(&mut rng)).round() as u8;
    Picture { rgb: picture.rgb.iter().map(&mut vary).collect(), ..*picture }
}

fn blurred(picture: &Picture, sigma: f32) -> Result<Picture> {
    let image = RgbImage::from_raw(picture.width as u32, picture.height as u32, picture.rgb.clone());
    let image = image.ok_or_else(|| unusable("it has another number of pixels than its size says"))?;
    Ok(Picture { rgb: imageops::blur(&image, sigma).into_raw(), ..*picture })
}

/// Every channel drawn towards its mean.
fn flattened(picture: &Picture, factor: f32) -> Picture {
    let pixels = (picture.rgb.len() / 3).max(1) as f32;
    let mean: [f32; 3] = std::array::from_fn(|channel| {
        picture.rgb.iter().skip(channel).step_by(3).map(|value| f32::from(*value)).sum::<f32>() / pixels
    });
    let flat = |(index, value): (usize, &u8)| {
        let mean = mean[index % 3];
        ((f32::from(*value) - mean) * factor + mean).round() as u8
    };
    Picture { rgb: picture.rgb.iter().enumerate().map(flat).collect(), ..*picture }
}

fn recompressed(picture: &Picture, quality: u8) -> Result<Picture> {
    let (width, height) = (picture.width, picture.height);
    let jpeg =
        libjpeg_turbo_rs::compress(&picture.rgb, width, height, PixelFormat::Rgb, quality, Subsampling::S420);
    decode("corrupted image", &jpeg.map_err(|error| unusable(error.to_string()))?)
}

fn unusable(reason: impl Into<String>) -> Error {
    Error::Image { name: "corrupted image".into(), reason: reason.into() }
}

/// Images per class under label shift: a geometric profile over the classes in an order that the seed draws, whose
/// ends differ by [`UNEVENNESS`], with as many images in all as `shots` of every class and at least one of each.
pub fn uneven_shots(shots: usize, classes: usize, seed: u64) -> Vec<usize> {
    let total = shots.max(1) * classes;
    let step = (classes.max(2) - 1) as f64;
    let shares: Vec<f64> = (0..classes).map(|class| UNEVENNESS.powf(-(class as f64) / step)).collect();
    let sum: f64 = shares.iter().sum();
    let ideal = |class: usize| shares[class] / sum * total as f64;
    let mut counts: Vec<usize> = (0..classes).map(|class| (ideal(class) as usize).max(1)).collect();
    // What rounding left over or took too much goes where it is missed most.
    while counts.iter().sum::<usize>() != total {
        let short = counts.iter().sum::<usize>() < total;
        let gap = |class: usize| (ideal(class) - counts[class] as f64) * if short { 1.0 } else { -1.0 };
        let free = (0..classes).filter(|class| short || counts[*class] > 1);
        let Some(class) = free.max_by(|a, b| gap(*a).total_cmp(&gap(*b))) else { break };
        if short { counts[class] += 1 } else { counts[class] -= 1 }
    }
    random::shuffle(&mut random::stream(seed, Purpose::Labels), &mut counts);
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture() -> Picture {
        Picture {
            width: 96,
            height: 64,
            rgb: (0..96 * 64 * 3).map(|value| (value * 7 % 251) as u8).collect(),
        }
    }

    fn distance(a: &Picture, b: &Picture) -> f64 {
        a.rgb.iter().zip(&b.rgb).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs()).sum::<f64>()
            / a.rgb.len() as f64
    }

    #[test]
    fn corruptions_keep_the_size_and_repeat_exactly() {
        for (kind, strength) in Corruption::all() {
            let corrupt = |seed| kind.apply(strength, &picture(), seed).expect("corrupts");
            assert_eq!((corrupt(1).width, corrupt(1).height), (96, 64));
            assert_eq!(corrupt(1), corrupt(1), "{kind:?}");
            assert_eq!(kind == Corruption::Clean, corrupt(1) == picture(), "{kind:?}");
            assert_eq!(kind == Corruption::Noise, corrupt(1) != corrupt(2), "{kind:?}");
        }
    }

    #[test]
    fn stronger_is_further_from_the_picture() {
        for kind in [Corruption::Noise, Corruption::Contrast, Corruption::Jpeg] {
            let far = [1, 2, 3].map(|strength| {
                distance(&kind.apply(strength, &picture(), 0).expect("corrupts"), &picture())
            });
            assert!(far[0] < far[1] && far[1] < far[2], "{kind:?} {far:?}");
        }
        assert_eq!(Corruption::all().len(), 13);
    }

    #[test]
    fn uneven_classes_keep_the_total_and_every_class() {
        for (shots, classes) in [(1, 3), (2, 2), (5, 2), (5, 3), (5, 12), (20, 7), (3, 1)] {
            let counts = uneven_shots(shots, classes, 4);
            assert_eq!(counts.iter().sum::<usize>(), shots * classes, "{counts:?}");
            assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
        }
        let mut counts = uneven_shots(5, 3, 0);
        counts.sort_unstable();
        assert_eq!(counts, [1, 3, 11]);
        assert_ne!(uneven_shots(5, 12, 0), uneven_shots(5, 12, 1));
    }
}
