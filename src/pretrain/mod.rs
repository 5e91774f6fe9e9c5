//! A base model from random weights: supervised, with an optional teacher (Hinton et al., 2015).
//!
//! The student's head learns the labels; a teacher, if there is one, pulls its features and hidden states towards its own
//! ([`teacher`]). A run may start from another run's model instead of random weights, at another input size: most epochs
//! at a small size, the last ones at the final size, cost less than all at the final one. The same ViT, the same
//! optimiser, the same kernels as everything else; order and augmentation follow from (seed, step), so a run that is
//! resumed takes the same steps.

pub mod config;
pub mod feed;
pub mod mix;
pub mod passes;
pub mod photos;
pub mod run;
pub mod state;
pub mod teacher;

use burn::tensor::{Device, FloatDType, Tensor};

use crate::{
    device::{self, OpenDevice},
    error::{Error, Result},
    head::Head,
    methods::{Adapt, full::Full},
    session::Model,
    train::{
        optimizer::{Rate, schedule},
        parameters::cross_entropy,
    },
    vit::{
        config::VitConfig,
        model::{HeadTensors, Vit},
    },
};
use config::PretrainConfig;
use feed::{Feed, Inputs};
use photos::Photos;
use state::State;
use teacher::Teacher;

/// A run in progress.
pub struct Pretrain<'a> {
    config: PretrainConfig,
    photos: &'a Photos,
    teacher: Option<Teacher>,
    device: OpenDevice,
    full: Full,
    skeleton: Vit,
    /// What its steps see.
    pub feed: Feed<'a>,
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
        let teacher = match config.mixed_precision && device::has_half_precision(&device.plain) {
            true => teacher.map(|teacher| teacher.with_matmul_in(FloatDType::F16)),
            false => teacher,
        };
        let full = Full::new(&skeleton);
        let head = head.to_tensors(&device.plain);
        let mut values = vec![head.weight, head.bias];
        values.extend(full.parameters().into_iter().map(|parameter| parameter.value));
        let feed = Feed::new(&config, photos)?;
        let state = State::new(values);
        Ok(Self { config, photos, teacher, device, full, skeleton, feed, state, losses: Vec::new() })
    }

    /// Where the values are.
    fn device(&self) -> &Device {
        &self.device.plain
    }

    /// Steps in all.
    pub fn num_steps(&self) -> usize {
        self.config.num_steps(self.photos.train.len())
    }

    /// Takes one step.
    ///
    /// # Errors
    /// As [`Pretrain::learn`]; a photo cannot be read.
    pub fn step(&mut self) -> Result<()> {
        let inputs = self.feed.batch(self.state.step, &self.device.plain)?;
        self.learn(&inputs)
    }

    /// Takes one step on the batch that [`Pretrain::feed`] made for it.
    ///
    /// # Errors
    /// The device has no half precision, and the settings want it.
    pub fn learn(&mut self, inputs: &Inputs) -> Result<()> {
        let precision = self.config.precision(&self.device)?;
        let lesson = |teacher: &Teacher| teacher.lesson(inputs.images(&teacher.preprocess));
        let taught = self.teacher.as_ref().map(|teacher| (teacher, lesson(teacher)));
        let images = inputs.images(&self.config.preprocess()?);
        let factor = schedule(self.state.step, self.num_steps(), self.config.warmup);
        let rates = self.rates(factor);
        let (full, skeleton, config) = (&self.full, &self.skeleton, &self.config);
        let scale = if config.mixed_precision { LOSS_SCALE } else { 1.0 };
        let loss = self.state.parameters.step_scaled(scale, &rates, config.clip_norm, |values| {
            let vit = full.apply(skeleton, &values[2..]).with_matmul_in(precision);
            let states = vit.hidden_states(vit.embed(images));
            let features = vit.pool(vit.final_norm(states[states.len() - 1].clone()));
            let own = HeadTensors { weight: values[0].clone(), bias: values[1].clone() };
            let label_loss = cross_entropy(own.forward(features.clone()), inputs.labels.clone());
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

/// Weights and head of a model to start from; a head for another number of classes starts at zero.
fn initial(model: &Model, config: &PretrainConfig, photos: &Photos) -> Result<(Vit, Head)> {
    let name = format!("--init {}", model.name);
    if model.vit.config != config.vit() {
        let shape = |vit: &VitConfig| {
            let (side, patch) = (vit.img_size.0, vit.patch_size.0);
            format!(
                "{side} px in patches of {patch}, width {}, {} blocks, {} heads",
                vit.embed_dim, vit.depth, vit.num_heads
            )
        };
        let (own, asked) = (shape(&model.vit.config), shape(&config.vit()));
        let reason = match own == asked {
            true => "it is built in another way than what `pretrain` makes".into(),
            false => {
                format!("it has {own}, the settings ask for {asked}; give them alike (--depth and so on)")
            }
        };
        return Err(Error::mismatch(name, reason));
    }
    let classes = photos.classes.len();
    match &model.head {
        Some(head) if head.classes() == classes => Ok((model.vit.clone(), head.clone())),
        _ => Ok((model.vit.clone(), Head::zeros(classes, config.embed_dim))),
    }
}

/// Factor on the loss in mixed precision, so that small gradients do not vanish in half precision (Micikevicius et al.,
/// 2018); a step whose gradients overflow nonetheless moves no value by them.
const LOSS_SCALE: f64 = 4096.0;

/// Seed with which base models are compared on few-shot episodes.
pub const EPISODE_SEED: u64 = 0;
