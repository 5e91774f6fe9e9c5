//! What the steps of a run see: varied photos and their labels, made ahead while the device computes.
//!
//! Order and variations follow from (seed, step) alone, so a run that is resumed sees the same.

use std::{ops::Range, sync::mpsc, thread};

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use super::{
    config::PretrainConfig,
    photos::{Photo, Photos},
};
use crate::{
    device,
    error::Result,
    image::{Picture, augment::Augment, preprocess::Preprocess},
    random::{self, Purpose},
};

/// Batches that wait for the device.
const AHEAD: usize = 2;

/// Makes batches.
#[derive(Clone)]
pub struct Feed<'a> {
    config: PretrainConfig,
    photos: &'a Photos,
    student: Preprocess,
    teacher: Option<Preprocess>,
}

/// The photos of one step, still on the CPU.
pub struct Batch {
    /// Bytes for the student, `[B, H, W, 3]`.
    images: TensorData,
    /// The same crops for the teacher, at its own size.
    seen: Option<TensorData>,
    /// Smoothed one-hot labels, `[B, C]`.
    labels: TensorData,
}

/// The same on the device.
pub struct Inputs {
    /// Normalised images for the student, `[B, 3, H, W]`.
    pub images: Tensor<4>,
    /// The same crops for the teacher.
    pub seen: Option<Tensor<4>>,
    /// Smoothed one-hot labels, `[B, C]`.
    pub labels: Tensor<2>,
}

impl<'a> Feed<'a> {
    /// Batches of photos for a student and perhaps a teacher.
    ///
    /// # Errors
    /// As [`PretrainConfig::preprocess`].
    pub fn new(config: &PretrainConfig, photos: &'a Photos, teacher: Option<Preprocess>) -> Result<Self> {
        Ok(Self { config: config.clone(), photos, student: config.preprocess()?, teacher })
    }

    /// Makes the batches of `steps` on a thread of its own, a few ahead of who takes them.
    pub fn ahead<T>(&self, steps: Range<usize>, take: impl FnOnce(mpsc::Receiver<Result<Batch>>) -> T) -> T {
        thread::scope(|scope| {
            let (sender, receiver) = mpsc::sync_channel(AHEAD);
            // Sending fails when nobody takes any more: then the rest is not wanted.
            scope.spawn(move || steps.map(|step| self.batch(step)).all(|batch| sender.send(batch).is_ok()));
            take(receiver)
        })
    }

    /// The batch of a step.
    ///
    /// # Errors
    /// A photo cannot be read.
    pub fn batch(&self, step: usize) -> Result<Batch> {
        let indices = self.indices(step);
        let base = (self.config.seed << 32).wrapping_add((step * indices.len()) as u64);
        let augment = Augment { min_scale: self.config.min_scale, flip: true };
        let one = |(row, photo): (usize, &Photo)| -> Result<(Picture, Option<Picture>)> {
            // Decoding costs more than the rest, so it is done once for both.
            let (picture, seed) = (photo.picture()?, base + row as u64);
            let vary = |preprocess: &Preprocess| {
                augment.apply_to(
                    preprocess.input_size(),
                    &picture,
                    &mut random::stream(seed, Purpose::Augment),
                )
            };
            Ok((vary(&self.student)?, self.teacher.as_ref().map(vary).transpose()?))
        };
        let photos = indices.iter().map(|&index| &self.photos.train[index]).enumerate().collect();
        let rows = device::parallel(photos, one).into_iter().collect::<Result<Vec<_>>>()?;
        let (own, seen): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
        let seen = self.teacher.as_ref().map(|preprocess| bytes(seen.into_iter().flatten(), preprocess));
        Ok(Batch { images: bytes(own, &self.student), seen, labels: self.labels(&indices) })
    }

    /// Photos in so many steps.
    pub fn photos_in(&self, steps: usize) -> f64 {
        (steps * self.config.batch_size) as f64
    }

    /// Brings a batch to a device.
    pub fn upload(&self, batch: Batch, device: &Device) -> Inputs {
        let seen = batch.seen.zip(self.teacher.as_ref());
        Inputs {
            images: normalized(batch.images, &self.student, device),
            seen: seen.map(|(seen, preprocess)| normalized(seen, preprocess, device)),
            labels: Tensor::from_data(batch.labels, device),
        }
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

    fn labels(&self, indices: &[usize]) -> TensorData {
        let classes = self.photos.classes.len();
        let smooth = self.config.label_smoothing;
        let mut targets = vec![smooth / classes as f32; indices.len() * classes];
        for (row, &index) in indices.iter().enumerate() {
            targets[row * classes + self.photos.train[index].class] += 1.0 - smooth;
        }
        TensorData::new(targets, [indices.len(), classes])
    }
}

/// Pictures of the same size side by side.
fn bytes(pictures: impl IntoIterator<Item = Picture>, preprocess: &Preprocess) -> TensorData {
    let (height, width) = preprocess.input_size();
    let rows: Vec<Vec<u8>> = pictures.into_iter().map(|picture| picture.rgb).collect();
    TensorData::new(rows.concat(), [rows.len(), height, width, 3])
}

/// Bytes as a model wants them, `[B, 3, H, W]`: they are normalised on the device, because four times as many bytes
/// would take longer to get there than a GPU takes for the step.
fn normalized(bytes: TensorData, preprocess: &Preprocess, device: &Device) -> Tensor<4> {
    let dtype = if device.supports_dtype(DType::U8) { DType::U8 } else { DType::I32 };
    let values = Tensor::<4, Int>::from_data(bytes, (device, dtype)).float();
    let per_channel = |values: [f32; 3]| Tensor::<1>::from_floats(values, device).reshape([1usize, 1, 1, 3]);
    let centered = values * preprocess.rescale - per_channel(preprocess.mean());
    (centered / per_channel(preprocess.std())).permute([0, 3, 1, 2])
}
