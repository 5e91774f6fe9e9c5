//! Whether a device computes what another one computes: drivers and shader compilers have errors.

use super::Session;
use crate::error::{Error, Result};

/// Images in the pass that is compared.
const IMAGES: usize = 8;

/// Largest difference of a final hidden value that rounding explains, as a part of the largest value.
const TOLERANCE: f32 = 1e-2;

impl Session {
    /// Compares one forward pass with that of a session of the same model on a device that is trusted.
    ///
    /// # Errors
    /// [`Error::Device`] when the results differ by more than rounding, or the device was lost.
    pub async fn agrees_with(&self, reference: &Session) -> Result<()> {
        let (height, width) = self.info().input_size;
        let image: Vec<f32> = (0..3 * height * width).map(|at| (at as f32 * 0.37).sin()).collect();
        let expected = reference.forward(image.clone(), [1, 3, height, width]).await?.last_hidden_state.0;
        let found = match self.forward(image.repeat(IMAGES), [IMAGES, 3, height, width]).await {
            Ok(outputs) => outputs.last_hidden_state.0,
            // That a device gives what is no number is found below, where it says what to do.
            Err(Error::NotFinite { .. }) => vec![f32::NAN; IMAGES * expected.len()],
            Err(error) => return Err(error),
        };
        let largest = expected.iter().fold(1.0_f32, |largest, value| largest.max(value.abs()));
        // The last image of the batch: a kernel that stops too early leaves it out.
        let last = &found[found.len() - expected.len()..];
        // Written so that a NaN does not agree.
        let agrees = last.iter().zip(&expected).all(|(a, b)| (a - b).abs() <= TOLERANCE * largest);
        if agrees {
            return Ok(());
        }
        let reason = "its results differ from the CPU's; a newer browser or driver may help";
        Err(Error::Device { device: self.info().device_name, reason: reason.into() })
    }
}
