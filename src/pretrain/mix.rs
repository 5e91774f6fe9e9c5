//! Photos mixed with others of their batch, the way DeiT and timm do it: two are blended (mixup, Zhang et al., 2018), or a
//! rectangle of one is pasted into the other (CutMix, Yun et al., 2019).
//!
//! A teacher sees the mixed photo as the student does, so what it says of it is right (Beyer et al., 2022).

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Beta, Distribution};

use super::config::PretrainConfig;
use crate::error::{Error, Result};

/// Values of a pixel.
const CHANNELS: usize = 3;

/// How the photos of a run are mixed.
#[derive(Clone, Debug)]
pub struct Mixing {
    /// One or both, each with where its shares are drawn from.
    ways: Vec<(Way, Beta<f32>)>,
    /// Height and width.
    size: (usize, usize),
}

/// A way to mix two photos.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// Mixup.
    Blend,
    /// CutMix.
    Paste,
}

impl Mixing {
    /// What the settings ask for; `None` where they mix nothing.
    ///
    /// # Errors
    /// A strength below 0, infinite or not a number; the option is named.
    pub fn new(config: &PretrainConfig) -> Result<Option<Self>> {
        let strengths = [(Way::Blend, "--mixup", config.mixup), (Way::Paste, "--cutmix", config.cutmix)];
        let mut ways = Vec::new();
        for (way, option, alpha) in strengths.into_iter().filter(|(_, _, alpha)| *alpha != 0.0) {
            let shares = Beta::new(alpha, alpha).ok().filter(|_| alpha.is_finite());
            let refused = || Error::mismatch(option, format!("{alpha} is not a finite number of 0 or more"));
            ways.push((way, shares.ok_or_else(refused)?));
        }
        let size = (config.img_size, config.img_size);
        Ok((!ways.is_empty()).then_some(Self { ways, size }))
    }

    /// A photo with another one mixed in, and its own share of the label.
    ///
    /// Where both ways are on, every photo takes one of them with equal odds.
    ///
    /// # Shapes
    /// - own, other, result: `[H, W, 3]`
    pub fn apply(&self, own: &[u8], other: &[u8], rng: &mut ChaCha8Rng) -> (Vec<u8>, f32) {
        let (way, shares) = self.ways[rng.random_range(0..self.ways.len())];
        let share = shares.sample(rng);
        match way {
            Way::Blend => blended(own, other, share),
            Way::Paste => self.pasted(own, other, share, rng),
        }
    }

    /// A rectangle of `1 - share` of the area around a random place, cut off where it leaves the photo: what is left of it
    /// decides the share.
    fn pasted(&self, own: &[u8], other: &[u8], share: f32, rng: &mut ChaCha8Rng) -> (Vec<u8>, f32) {
        let (height, width) = self.size;
        let side = (1.0 - share).sqrt();
        let mut span = |whole: usize| {
            let (center, half) = (rng.random_range(0..whole), (side * whole as f32) as usize / 2);
            center.saturating_sub(half)..(center + half).min(whole)
        };
        let (rows, columns) = (span(height), span(width));
        let mut mixed = own.to_vec();
        for row in rows.clone() {
            let start = row * width;
            let part = CHANNELS * (start + columns.start)..CHANNELS * (start + columns.end);
            mixed[part.clone()].copy_from_slice(&other[part]);
        }
        let taken = rows.len() * columns.len();
        (mixed, 1.0 - taken as f32 / (height * width) as f32)
    }
}

fn blended(own: &[u8], other: &[u8], share: f32) -> (Vec<u8>, f32) {
    let blend = |(own, other): (&u8, &u8)| {
        (f32::from(*own) * share + f32::from(*other) * (1.0 - share)).round() as u8
    };
    (own.iter().zip(other).map(blend).collect(), share)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, stream};

    const SIDE: usize = 24;

    fn mixing(mixup: f32, cutmix: f32) -> Option<Mixing> {
        Mixing::new(&PretrainConfig { img_size: SIDE, mixup, cutmix, ..PretrainConfig::default() })
            .expect("valid")
    }

    /// Mixes a black photo with a white one many times and checks every label; says how often there was grey.
    fn greys(mixing: Mixing) -> usize {
        let [black, white] = [0u8, 255].map(|level| vec![level; SIDE * SIDE * CHANNELS]);
        let mut rng = stream(5, Purpose::Mix);
        let mut greys = 0;
        for _ in 0..400 {
            let (mixed, share) = mixing.apply(&black, &white, &mut rng);
            let mean = mixed.iter().map(|&level| f32::from(level)).sum::<f32>() / (255 * mixed.len()) as f32;
            assert!((0.0..=1.0).contains(&share) && (1.0 - share - mean).abs() < 2e-3, "{share} {mean}");
            greys += usize::from(mixed.iter().any(|&level| level != 0 && level != 255));
        }
        greys
    }

    #[test]
    fn the_label_follows_what_is_seen() {
        assert!(mixing(0.0, 0.0).is_none());
        assert_eq!(greys(mixing(0.0, 1.0).expect("CutMix")), 0);
        // A share very near 0 or 1 rounds to black or white.
        assert!(greys(mixing(0.8, 0.0).expect("mixup")) > 350);
        assert!((120..280).contains(&greys(mixing(0.8, 1.0).expect("both"))));
    }

    #[test]
    fn a_strength_that_cannot_be_is_refused() {
        for alpha in [-1.0, f32::NAN, f32::INFINITY] {
            let config = PretrainConfig { mixup: alpha, ..PretrainConfig::default() };
            assert!(Mixing::new(&config).expect_err("refused").to_string().contains("--mixup"));
        }
    }
}
