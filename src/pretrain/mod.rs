//! A base model from random weights: supervised, with an optional teacher (Hinton et al., 2015).
//!
//! The student's head learns the labels; a teacher, if there is one, pulls its features and hidden states towards its own
//! ([`teacher`]). A run may start from another run's model instead of random weights, at another input size: most epochs
//! at a small size, the last ones at the final size, cost less than all at the final one. The same ViT, the same
//! optimiser, the same kernels as everything else; order and augmentation follow from (seed, step), so a run that is
//! resumed takes the same steps.

pub mod config;
pub mod passes;
pub mod photos;
pub mod run;
pub mod state;
pub mod teacher;

use burn::tensor::{Tensor, TensorData};

use crate::{
    device::{self, OpenDevice},
    error::{Error, Result},
    head::Head,
    image::{Picture, augment::Augment, preprocess::Preprocess},
    methods::{Adapt, full::Full},
    random::{self, Purpose},
    session::{Model, digest::hex},
    train::{
        optimizer::{Rate, schedule},
        parameters::cross_entropy,
    },
    vit::model::{HeadTensors, Vit},
};
use config::PretrainConfig;
use photos::{Photo, Photos};
use state::{Identity, State};
use teacher::Teacher;

/// A run in progress.
pub struct Pretrain<'a> {
    config: PretrainConfig,
    photos: &'a Photos,
    digest: String,
    teacher: Option<Teacher>,
    device: OpenDevice,
    full: Full,
    skeleton: Vit,
    preprocess: Preprocess,
    /// Values, their average, and the step.
    pub state: State,
    losses: Vec<Tensor<1>>,
}

impl<'a> Pretrain<'a> {
    /// A run from its first step; replace [`Pretrain::state`] to resume. It starts from `init`, a model of the same
    /// architecture, or from random weights.
    ///
    /// # Errors
    /// As [`PretrainConfig::preprocess`]; another architecture or other classes of `init`.
    pub fn new(
        config: PretrainConfig,
        photos: &'a Photos,
        teacher: Option<Teacher>,
        init: Option<&Model>,
        device: OpenDevice,
    ) -> Result<Self> {
        let (skeleton, head) = match init {
            Some(model) => initial(model, &config, photos)?,
            None => {
                let head = Head::zeros(photos.classes.len(), config.embed_dim);
                (Vit::init(config.vit(), config.seed, &device.plain), head)
            }
        };
        let full = Full::new(&skeleton);
        let head = head.to_tensors(&device.plain);
        let mut values = vec![head.weight, head.bias];
        values.extend(full.parameters().into_iter().map(|parameter| parameter.value));
        let preprocess = config.preprocess()?;
        let state = State::new(values);
        let digest = hex(&photos.digest());
        Ok(Self {
            config,
            photos,
            digest,
            teacher,
            device,
            full,
            skeleton,
            preprocess,
            state,
            losses: Vec::new(),
        })
    }

    /// What a checkpoint of this run belongs to.
    pub fn identity(&self) -> Identity {
        let taught = self.teacher.is_some();
        Identity { config: self.config.clone(), photos: self.digest.clone(), taught }
    }

    /// Steps in all.
    pub fn num_steps(&self) -> usize {
        self.config.num_steps(self.photos.train.len())
    }

    /// Takes one step.
    ///
    /// # Errors
    /// A photo cannot be read.
    pub fn step(&mut self) -> Result<()> {
        let step = self.state.step;
        let indices = self.indices(step);
        let (images, seen) = self.images(&indices, step)?;
        let labels = self.labels(&indices);
        let taught =
            self.teacher.as_ref().zip(seen).map(|(teacher, images)| (teacher, teacher.lesson(images)));
        let factor = schedule(step, self.num_steps(), self.config.warmup);
        let rates = self.rates(factor);
        let (full, skeleton, config) = (&self.full, &self.skeleton, &self.config);
        let loss = self.state.parameters.step(&rates, self.config.clip_norm, |values| {
            let vit = full.apply(skeleton, &values[2..]);
            let states = vit.hidden_states(vit.embed(images));
            let features = vit.pool(vit.final_norm(states[states.len() - 1].clone()));
            let own = HeadTensors { weight: values[0].clone(), bias: values[1].clone() };
            let label_loss = cross_entropy(own.forward(features.clone()), labels);
            match taught {
                Some((teacher, lesson)) => {
                    let loss = teacher.loss(&states, features, lesson);
                    label_loss * (1.0 - config.teacher_weight)
                        + loss.soft_labels * config.teacher_weight
                        + loss.hidden * config.hidden_weight
                }
                None => label_loss,
            }
        });
        self.losses.push(loss);
        self.state.step += 1;
        self.average();
        Ok(())
    }

    /// Losses since the last call.
    ///
    /// # Errors
    /// The device was lost.
    pub async fn take_losses(&mut self) -> Result<Vec<f32>> {
        let losses = std::mem::take(&mut self.losses);
        if losses.is_empty() { Ok(Vec::new()) } else { device::read(Tensor::cat(losses, 0)).await }
    }

    /// The averaged model and its head.
    ///
    /// # Errors
    /// The device was lost.
    pub async fn model(&self) -> Result<(Vit, Head)> {
        let average = &self.state.average;
        let head = passes::read_head(&average[0], &average[1]).await?;
        Ok((self.full.apply(&self.skeleton, &average[2..]), head))
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

    /// Cropped, mirrored, normalised photos, `[B, 3, H, W]`, for the student and, of the same crops, for the teacher.
    fn images(&self, indices: &[usize], step: usize) -> Result<(Tensor<4>, Option<Tensor<4>>)> {
        let base = (self.config.seed << 32).wrapping_add((step * indices.len()) as u64);
        let augment = Augment { min_scale: self.config.min_scale, flip: true };
        let student = &self.preprocess;
        let teacher = self.teacher.as_ref().map(|teacher| &teacher.preprocess);
        let one = |(row, photo): (usize, &Photo)| -> Result<(Vec<f32>, Option<Vec<f32>>)> {
            // Decoding costs more than the rest, so it is done once for both.
            let (picture, seed) = (photo.picture()?, base + row as u64);
            let vary = |preprocess| varied(augment, &picture, preprocess, seed);
            Ok((vary(student)?, teacher.map(vary).transpose()?))
        };
        let photos = indices.iter().map(|&index| &self.photos.train[index]).enumerate().collect();
        let rows = device::parallel(photos, one).into_iter().collect::<Result<Vec<_>>>()?;
        let (own, seen): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
        let seen: Vec<_> = seen.into_iter().flatten().collect();
        Ok((self.batch(own, student), teacher.map(|preprocess| self.batch(seen, preprocess))))
    }

    /// Photos side by side, `[B, 3, H, W]`.
    fn batch(&self, rows: Vec<Vec<f32>>, preprocess: &Preprocess) -> Tensor<4> {
        let (height, width) = preprocess.input_size();
        let data = TensorData::new(rows.concat(), [rows.len(), 3, height, width]);
        Tensor::from_data(data, &self.device.plain)
    }

    /// Smoothed one-hot labels, `[B, C]`.
    fn labels(&self, indices: &[usize]) -> Tensor<2> {
        let classes = self.photos.classes.len();
        let smooth = self.config.label_smoothing;
        let mut targets = vec![smooth / classes as f32; indices.len() * classes];
        for (row, &index) in indices.iter().enumerate() {
            targets[row * classes + self.photos.train[index].class] += 1.0 - smooth;
        }
        Tensor::from_data(TensorData::new(targets, [indices.len(), classes]), &self.device.plain)
    }

    /// One rate per value; biases, norms and tokens (single rows) are not decayed.
    fn rates(&self, factor: f64) -> Vec<Rate> {
        let learning_rate = self.config.learning_rate * factor;
        let rate = |value: &Tensor<2>| Rate {
            learning_rate,
            weight_decay: if value.dims()[0] == 1 { 0.0 } else { self.config.weight_decay },
        };
        self.state.parameters.values.iter().map(rate).collect()
    }

    /// Moves the average; it follows faster in the beginning.
    fn average(&mut self) {
        let step = self.state.step as f64;
        let decay = self.config.ema_decay.min((1.0 + step) / (10.0 + step));
        let pairs = self.state.average.iter_mut().zip(&self.state.parameters.values);
        for (average, value) in pairs {
            *average = average.clone() * decay + value.clone() * (1.0 - decay);
        }
    }
}

/// A varied, normalised photo, `[3, H, W]`; the seed decides the crop, whatever the size.
fn varied(augment: Augment, picture: &Picture, preprocess: &Preprocess, seed: u64) -> Result<Vec<f32>> {
    let (height, width) = preprocess.input_size();
    let mut rng = random::stream(seed, Purpose::Augment);
    let picture = augment.apply_to((height, width), picture, &mut rng)?;
    let mut pixels = vec![0.0; 3 * height * width];
    preprocess.normalize(&picture, &mut pixels);
    Ok(pixels)
}

/// Weights and head of a model to start from.
fn initial(model: &Model, config: &PretrainConfig, photos: &Photos) -> Result<(Vit, Head)> {
    let name = format!("--init {}", model.name);
    if model.vit.config != config.vit() {
        let reason = "its architecture is another one than the settings ask for";
        return Err(Error::mismatch(name, reason));
    }
    let classes = photos.classes.len();
    match &model.head {
        Some(head) if head.classes() == classes => Ok((model.vit.clone(), head.clone())),
        _ => Err(Error::mismatch(name, format!("its head is not one of the photos' {classes} classes"))),
    }
}

/// Seed with which base models are compared on few-shot episodes.
pub const EPISODE_SEED: u64 = 0;
