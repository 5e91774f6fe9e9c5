//! What the steps of a run see: varied photos and their labels, made ahead while the device computes.
//!
//! Order and variations follow from (seed, step) alone, so a run that is resumed sees the same.

use std::{ops::Range, sync::mpsc, thread};

use burn::tensor::{
    DType, Device, Int, Tensor, TensorData, module,
    ops::{InterpolateMode, InterpolateOptions},
};

use super::{
    config::PretrainConfig,
    mix::Mixing,
    photos::{Photo, Photos},
};
use crate::{
    device,
    error::Result,
    image::{augment::Augment, preprocess::Preprocess},
    random::{self, Purpose},
};

/// Batches that wait on the device.
const AHEAD: usize = 2;

/// Makes batches.
#[derive(Clone)]
pub struct Feed<'a> {
    config: PretrainConfig,
    photos: &'a Photos,
    student: Preprocess,
    mixing: Option<Mixing>,
}

/// What one step sees, on the device.
pub struct Inputs {
    /// Red, green and blue from 0 to 255, `[B, 3, H, W]`, at the student's size.
    pixels: Tensor<4>,
    /// Smoothed labels, one-hot or of two photos, `[B, C]`.
    pub labels: Tensor<2>,
}

impl<'a> Feed<'a> {
    /// Batches of photos for a student.
    ///
    /// # Errors
    /// As [`PretrainConfig::preprocess`] and [`Mixing::new`].
    pub fn new(config: &PretrainConfig, photos: &'a Photos) -> Result<Self> {
        let (student, mixing) = (config.preprocess()?, Mixing::new(config)?);
        Ok(Self { config: config.clone(), photos, student, mixing })
    }

    /// Makes the batches of `steps` on a thread of its own, a few ahead of who takes them.
    pub fn ahead<T>(
        &self,
        steps: Range<usize>,
        device: &Device,
        take: impl FnOnce(mpsc::Receiver<Result<Inputs>>) -> T,
    ) -> T {
        thread::scope(|scope| {
            let (sender, receiver) = mpsc::sync_channel(AHEAD);
            // Sending fails when nobody takes any more: then the rest is not wanted.
            scope.spawn(move || {
                let mut batches = steps.map(|step| self.batch(step, device));
                batches.all(|batch| sender.send(batch).is_ok())
            });
            take(receiver)
        })
    }

    /// The batch of a step.
    ///
    /// # Errors
    /// A photo cannot be read.
    pub fn batch(&self, step: usize, device: &Device) -> Result<Inputs> {
        let indices = self.indices(step);
        let base = (self.config.seed << 32).wrapping_add((step * indices.len()) as u64);
        let augment = Augment { min_scale: self.config.min_scale, flip: true };
        let (height, width) = self.student.input_size();
        let vary = |(row, photo): (usize, &Photo)| -> Result<Vec<u8>> {
            let mut draws = random::stream(base + row as u64, Purpose::Augment);
            Ok(augment.apply_to((height, width), &photo.picture()?, &mut draws)?.rgb)
        };
        let photos = indices.iter().map(|&index| &self.photos.train[index]).enumerate().collect();
        let rows = device::parallel(photos, vary).into_iter().collect::<Result<Vec<_>>>()?;
        let (rows, shares) = self.mixed(rows, base);
        // As bytes: four times as many would take longer to get there than a GPU takes for the step.
        let bytes = TensorData::new(rows.concat(), [rows.len(), height, width, 3]);
        let dtype = if device.supports_dtype(DType::U8) { DType::U8 } else { DType::I32 };
        Ok(Inputs {
            pixels: Tensor::<4, Int>::from_data(bytes, (device, dtype)).float().permute([0, 3, 1, 2]),
            labels: Tensor::from_data(self.labels(&indices, &shares), device),
        })
    }

    /// Photos in so many steps.
    pub fn photos_in(&self, steps: usize) -> f64 {
        (steps * self.config.batch_size) as f64
    }

    /// Photos of one step: every epoch has its own order, which follows from the seed.
    fn indices(&self, step: usize) -> Vec<usize> {
        let (count, size) = (self.photos.train.len(), self.config.batch_size);
        let mut order: Vec<usize> = Vec::new();
        let mut epoch = usize::MAX;
        (step * size..(step + 1) * size)
            .map(|position| {
                if position / count != epoch {
                    epoch = position / count;
                    order = (0..count).collect();
                    let seed = self.config.seed.wrapping_mul(0x9e37_79b9).wrapping_add(epoch as u64);
                    random::shuffle(&mut random::stream(seed, Purpose::Order), &mut order);
                }
                order[position % count]
            })
            .collect()
    }

    /// Every photo mixed with the one that is as far from the end of the batch, and its own share of the label.
    fn mixed(&self, rows: Vec<Vec<u8>>, base: u64) -> (Vec<Vec<u8>>, Vec<f32>) {
        let Some(mixing) = &self.mixing else {
            let shares = vec![1.0; rows.len()];
            return (rows, shares);
        };
        let pairs = rows.iter().zip(rows.iter().rev()).enumerate().collect();
        let mix = |(row, (own, other)): (usize, (&Vec<u8>, &Vec<u8>))| {
            mixing.apply(own, other, &mut random::stream(base + row as u64, Purpose::Mix))
        };
        device::parallel(pairs, mix).into_iter().unzip()
    }

    fn labels(&self, indices: &[usize], shares: &[f32]) -> TensorData {
        let classes = self.photos.classes.len();
        let smooth = self.config.label_smoothing;
        let mut targets = vec![smooth / classes as f32; indices.len() * classes];
        let others = indices.iter().rev();
        for (row, ((&own, &other), share)) in indices.iter().zip(others).zip(shares).enumerate() {
            let class = |photo: usize| row * classes + self.photos.train[photo].class;
            targets[class(own)] += (1.0 - smooth) * share;
            targets[class(other)] += (1.0 - smooth) * (1.0 - share);
        }
        TensorData::new(targets, [indices.len(), classes])
    }
}

impl Inputs {
    /// The images as a model wants them, normalised and at its size, `[B, 3, H, W]`.
    pub fn images(&self, preprocess: &Preprocess) -> Tensor<4> {
        let device = self.pixels.device();
        let per_channel =
            |values: [f32; 3]| Tensor::<1>::from_floats(values, &device).reshape([1usize, 3, 1, 1]);
        let centered = self.pixels.clone() * preprocess.rescale - per_channel(preprocess.mean());
        let images = centered / per_channel(preprocess.std());
        let ([_, _, height, width], size) = (images.dims(), preprocess.input_size());
        if (height, width) == size {
            return images;
        }
        let bilinear = InterpolateOptions::new(InterpolateMode::Bilinear).with_align_corners(false);
        module::interpolate(images, bilinear.with_output_size([size.0, size.1]))
    }
}
