//! Minibatches of a fixed size: order, augmentation, and the tensors of one step.

use burn::tensor::{Device, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;

use crate::{
    dataset::Example,
    error::Result,
    image::{augment::Augment, preprocess::Preprocess},
    random::{self, Purpose},
};

/// Endless minibatches over a few images, each epoch in a new order.
///
/// Every batch has the same size: an epoch that does not divide evenly runs over into the next one.
pub struct Batches {
    size: usize,
    rows: usize,
    order: Vec<usize>,
    position: usize,
    rng: ChaCha8Rng,
    augment_rng: ChaCha8Rng,
    augment: Option<Augment>,
}

impl Batches {
    /// Batches of at most `batch_size` out of `count` examples.
    pub fn new(count: usize, batch_size: usize, augment: Option<Augment>, seed: u64) -> Self {
        let size = batch_size.clamp(1, count.max(1));
        Self {
            size,
            rows: size,
            order: (0..count).collect(),
            position: count,
            rng: random::stream(seed, Purpose::Order),
            augment_rng: random::stream(seed, Purpose::Augment),
            augment,
        }
    }

    /// The same batches with rows of zeros after the images, so many rows in all.
    pub fn padded_to(self, rows: usize) -> Self {
        Self { rows: rows.max(self.size), ..self }
    }

    /// Images in every batch.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Indices of the next batch.
    pub fn next_indices(&mut self) -> Vec<usize> {
        (0..self.size).map(|_| self.next_index()).collect()
    }

    fn next_index(&mut self) -> usize {
        if self.position == self.order.len() {
            random::shuffle(&mut self.rng, &mut self.order);
            self.position = 0;
        }
        self.position += 1;
        self.order[self.position - 1]
    }

    /// The next batch as tensors.
    ///
    /// # Shapes
    /// - images: `[B, 3, H, W]`, normalised
    /// - targets: `[B, C]`, one-hot (built here: burn's `one_hot` reads back)
    ///
    /// `B` counts the rows of [`Batches::padded_to`]; these have no target.
    ///
    /// # Errors
    /// An image that cannot be augmented.
    pub fn next(
        &mut self,
        examples: &[Example],
        classes: usize,
        preprocess: &Preprocess,
        device: &Device,
    ) -> Result<(Tensor<4>, Tensor<2>)> {
        let indices = self.next_indices();
        let (height, width) = preprocess.input_size();
        let mut pixels = vec![0.0; self.rows * 3 * height * width];
        let mut targets = vec![0.0; self.rows * classes];
        for (row, &index) in indices.iter().enumerate() {
            let example = &examples[index];
            let out = &mut pixels[row * 3 * height * width..(row + 1) * 3 * height * width];
            match &self.augment {
                Some(augment) => {
                    preprocess.normalize(&augment.apply(&example.crop, &mut self.augment_rng)?, out);
                }
                None => preprocess.normalize(&example.crop, out),
            }
            targets[row * classes + example.class] = 1.0;
        }
        let images = TensorData::new(pixels, [self.rows, 3, height, width]);
        let targets = TensorData::new(targets, [self.rows, classes]);
        Ok((Tensor::from_data(images, device), Tensor::from_data(targets, device)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_comes_once_per_epoch() {
        let mut batches = Batches::new(7, 3, None, 5);
        let drawn: Vec<usize> = (0..7).flat_map(|_| batches.next_indices()).collect();
        for epoch in drawn.chunks(7) {
            let mut epoch = epoch.to_vec();
            epoch.sort_unstable();
            assert_eq!(epoch, [0, 1, 2, 3, 4, 5, 6]);
        }
    }

    #[test]
    fn the_seed_decides_the_order() {
        let draw = |seed| Batches::new(50, 32, None, seed).next_indices();
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert_eq!(Batches::new(5, 32, None, 0).size(), 5);
    }
}
