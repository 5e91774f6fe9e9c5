//! How many images of a step are taken at once where one thread trains and has to answer a person in between.

use std::time::Duration;

/// Seconds between two looks at what a person says. An answer may take half a second; a machine does other things, too.
const PART: f64 = 0.3;

/// Multiplications per second, before anything is measured: those of a slow CPU in a browser.
const SLOW: f64 = 2.0e9;

/// The pace of one method on this machine: methods take different times for an image.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    seconds_per_image: f64,
}

impl Pace {
    /// A pace for a model that takes so many multiplications for a pass of one image.
    pub fn new(multiplications: f64) -> Self {
        Self { seconds_per_image: multiplications / SLOW }
    }

    /// Images of the next part.
    pub fn images(&self) -> usize {
        ((PART / self.seconds_per_image) as usize).max(1)
    }

    /// Tells how long the last part took.
    pub fn took(&mut self, images: usize, time: Duration) {
        // A clock of whole milliseconds may have stood still.
        self.seconds_per_image = time.as_secs_f64().max(1e-3) / images.max(1) as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_fit_the_time_that_was_measured() {
        let mut pace = Pace::new(0.24e9);
        assert_eq!(pace.images(), 2);
        pace.took(2, Duration::from_millis(140));
        assert_eq!(pace.images(), 4);
        pace.took(4, Duration::from_millis(800));
        assert_eq!(pace.images(), 1);
        pace.took(1, Duration::from_secs(5));
        assert_eq!(pace.images(), 1, "less than one image is no part");
        pace.took(1, Duration::ZERO);
        assert!(pace.images() > 100, "a clock that stood still");
    }
}
