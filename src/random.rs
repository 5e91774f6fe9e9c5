//! Seeded random numbers: the same on every machine, in a browser and natively.
//!
//! One ChaCha8 stream per purpose (shots, order, initial values, augmentation), so that an arm that
//! draws more does not shift what another arm sees.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What a stream of random numbers is for.
#[derive(Clone, Copy, Debug)]
pub enum Purpose {
    /// Order of the images in minibatches.
    Order = 1,
    /// Initial values of fresh parameters.
    Init = 2,
    /// Augmentation.
    Augment = 3,
    /// Random modules (the control arm).
    Modules = 4,
    /// Gradient-free search.
    Search = 5,
    /// Which images a few-shot task keeps.
    Shots = 6,
    /// Which images are held out together.
    Folds = 7,
    /// Episodes of few-shot evaluation.
    Episodes = 8,
    /// Noise on test images.
    Corruption = 9,
    /// Which classes have many images under label shift.
    Labels = 10,
    /// Resampling for intervals.
    Bootstrap = 11,
    /// How photos are mixed.
    Mix = 12,
    /// Which images representations are compared on.
    Compared = 13,
    /// Views of training images that heads are fitted on.
    Views = 14,
}

/// The stream of a seed for a purpose.
pub fn stream(seed: u64, purpose: Purpose) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(purpose as u64);
    rng
}

/// A number between `low` and `high`.
pub fn uniform(rng: &mut ChaCha8Rng, low: f32, high: f32) -> f32 {
    low + (high - low) * rng.random::<f32>()
}

/// A standard normal number (Box and Muller).
pub fn normal(rng: &mut ChaCha8Rng) -> f32 {
    let radius = (-2.0 * (1.0 - rng.random::<f32>()).ln()).sqrt();
    radius * (std::f32::consts::TAU * rng.random::<f32>()).cos()
}

/// Puts a slice in random order (Fisher and Yates).
pub fn shuffle<T>(rng: &mut ChaCha8Rng, items: &mut [T]) {
    for last in (1..items.len()).rev() {
        items.swap(last, rng.random_range(0..=last));
    }
}
