//! The one loop: parameters -> weights of the ViT -> forward -> loss -> gradients -> optimiser.
//!
//! No read-back and no I/O inside a step; losses stay on the device until they are asked for.

use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::{
    batches::Batches,
    optimizer::{Rate, schedule},
    pace::Pace,
    parameters::Parameters,
    step::Step,
};
use crate::{
    dataset::Example,
    device,
    error::{Error, Result},
    head::Head,
    image::{augment::Augment, preprocess::Preprocess},
    methods::{Adapt, Group, Parameter},
    vit::model::Vit,
};

/// Part of the steps that rates rise over.
const WARMUP: f64 = 0.1;

/// Everything that decides a training run; the same for every method.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Optimiser steps; fixed in advance, nothing stops earlier.
    pub num_steps: usize,
    /// Images per step, at most. It was 32 where a configuration does not say it.
    #[serde(default = "former_batch_size")]
    pub batch_size: usize,
    /// Learning rate of the head.
    pub head_rate: f64,
    /// Learning rate of softmax logits.
    pub logit_rate: f64,
    /// Learning rate of logarithms of scales.
    pub scale_rate: f64,
    /// Learning rate of free coefficients.
    pub free_rate: f64,
    /// Learning rate of LoRA factors.
    pub factor_rate: f64,
    /// Learning rate of the ViT's own weights.
    pub full_rate: f64,
    /// Weight decay of everything but composition weights.
    pub weight_decay: f64,
    /// Largest global norm of the gradients.
    pub clip_norm: f64,
    /// Whether training images are cropped at random in every step and, with `mirror`, half of them mirrored. Configurations that do
    /// not say it were made when none were.
    #[serde(default)]
    pub augment: bool,
    /// Whether augmentation and views mirror: letters, digits and signs do not mean the same in a mirror. It was so where a
    /// configuration does not say it.
    #[serde(default = "yes")]
    pub mirror: bool,
    /// Seed of order, initial values and augmentation.
    pub seed: u64,
}

fn yes() -> bool {
    true
}

fn former_batch_size() -> usize {
    32
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            num_steps: 40,
            batch_size: 16,
            head_rate: 2e-3,
            logit_rate: 0.1,
            scale_rate: 0.02,
            free_rate: 0.01,
            factor_rate: 2e-3,
            full_rate: 1e-4,
            weight_decay: 1e-4,
            clip_norm: 1.0,
            augment: true,
            mirror: false,
            seed: 0,
        }
    }
}

impl TrainConfig {
    /// The defaults of configurations that say nothing of training: images as they are.
    pub fn unvaried() -> Self {
        Self { batch_size: former_batch_size(), augment: false, mirror: yes(), ..Self::default() }
    }

    /// Refuses what teaches nothing, or the opposite.
    ///
    /// # Errors
    /// No steps or images per step, a rate or a decay below 0, or a norm that leaves nothing of a gradient; each by name.
    pub fn check(&self) -> Result<()> {
        if self.num_steps == 0 || self.batch_size == 0 {
            return Err(Error::mismatch("steps and batch size", "both must be 1 or more"));
        }
        let from_zero = [
            ("head_rate", self.head_rate),
            ("logit_rate", self.logit_rate),
            ("scale_rate", self.scale_rate),
            ("free_rate", self.free_rate),
            ("factor_rate", self.factor_rate),
            ("full_rate", self.full_rate),
            ("weight_decay", self.weight_decay),
        ];
        if let Some((name, value)) =
            from_zero.into_iter().find(|(_, value)| !(0.0..f64::INFINITY).contains(value))
        {
            return Err(Error::mismatch(name, format!("{value} is no rate; give a number of 0 or more")));
        }
        match self.clip_norm > 0.0 {
            true => Ok(()),
            false => Err(Error::mismatch(
                "clip_norm",
                format!("{} leaves no gradient; give more than 0", self.clip_norm),
            )),
        }
    }

    fn rate(&self, group: Group, factor: f64) -> Rate {
        let (rate, decay) = match group {
            Group::Head => (self.head_rate, self.weight_decay),
            Group::Logits => (self.logit_rate, 0.0),
            Group::Scales => (self.scale_rate, 0.0),
            Group::Coefficients => (self.free_rate, 0.0),
            Group::Factors => (self.factor_rate, self.weight_decay),
            Group::Weights => (self.full_rate, self.weight_decay),
        };
        Rate { learning_rate: rate * factor, weight_decay: decay }
    }

    /// The augmentation that the configuration asks for.
    pub fn augmentation(&self) -> Option<Augment> {
        self.augment.then(|| self.variation())
    }

    /// How images are varied where they are: crops of half the area or more, half of them mirrored with `mirror`.
    pub fn variation(&self) -> Augment {
        Augment { min_scale: 0.5, flip: self.mirror }
    }
}

/// A training run in progress. The head's weight and bias come first among the values.
pub struct Trainer<'a> {
    method: &'a dyn Adapt,
    vit: &'a Vit,
    examples: &'a [Example],
    preprocess: &'a Preprocess,
    config: TrainConfig,
    groups: Vec<Group>,
    parameters: Parameters,
    batches: Batches,
    step: usize,
    parts: Parts,
    pending: Option<Step>,
    results: Vec<Tensor<1>>,
    autodiff: Device,
}

/// How many images of a step are taken at once.
enum Parts {
    /// All of them.
    Whole,
    /// As many as this machine does in the time that a person may wait.
    InTime(Pace),
    /// So many.
    Of(usize),
}

/// What one step gave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepResult {
    /// Mean cross-entropy of the minibatch.
    pub loss: f32,
    /// Share of the minibatch that was classified correctly.
    pub accuracy: f32,
}

/// What a run has learned, read back to the host.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The head.
    pub head: Head,
    /// The method's values, row-major, in parameter order.
    pub values: Vec<Vec<f32>>,
}

impl<'a> Trainer<'a> {
    /// Prepares a run of `method` from an initial head.
    ///
    /// `autodiff` is the one autodiff device of the session.
    pub fn new(
        method: &'a dyn Adapt,
        vit: &'a Vit,
        head: &Head,
        examples: &'a [Example],
        preprocess: &'a Preprocess,
        config: &TrainConfig,
        autodiff: &Device,
    ) -> Self {
        let device = autodiff.clone().inner();
        let batches = Batches::new(examples.len(), config.batch_size, config.augmentation(), config.seed);
        // In whole usual batches: few shapes on a GPU, and no more rows than that for a batch size beyond the images.
        let most = config.batch_size.min(batches.size().next_multiple_of(TrainConfig::default().batch_size));
        let rows = device::rows(&device, batches.size(), most);
        let head = head.to_tensors(&device);
        let on_head = |value| Parameter { value, group: Group::Head };
        let mut parameters = vec![on_head(head.weight), on_head(head.bias)];
        parameters.extend(method.parameters());
        Self {
            method,
            vit,
            examples,
            preprocess,
            batches: batches.padded_to(rows),
            groups: parameters.iter().map(|parameter| parameter.group).collect(),
            parameters: Parameters::new(parameters.into_iter().map(|parameter| parameter.value).collect()),
            config: config.clone(),
            step: 0,
            parts: match device::trains_in_parts(autodiff) {
                true => Parts::InTime(Pace::new(vit.config.multiplications())),
                false => Parts::Whole,
            },
            pending: None,
            results: Vec::new(),
            autodiff: autodiff.clone(),
        }
    }

    /// The same run in parts of so many images instead of what suits the device.
    pub fn in_parts(self, images_per_part: usize) -> Self {
        Self { parts: Parts::Of(images_per_part.max(1)), ..self }
    }

    /// The same run with minibatches padded to so many rows instead of as many as suit the device.
    pub fn padded_to(self, rows: usize) -> Self {
        Self { batches: self.batches.padded_to(rows), ..self }
    }

    /// Steps taken so far.
    pub fn step(&self) -> usize {
        self.step
    }

    /// Whether all steps are taken.
    pub fn is_done(&self) -> bool {
        self.step >= self.config.num_steps
    }

    /// Takes one step; the loss stays on the device.
    ///
    /// # Errors
    /// An image that cannot be augmented.
    pub fn train_step(&mut self) -> Result<()> {
        while !self.train_part()? {}
        Ok(())
    }

    /// Takes a step where the device takes all images at once. Where it does not, goes on with a step for less time than
    /// a person may wait: reads its images, differentiates by a few of them, or takes all gradients to the values. Says
    /// whether that completes it.
    ///
    /// Gradients are those of the whole minibatch, up to rounding. A step that is left half-way changes no value.
    ///
    /// # Errors
    /// An image that cannot be augmented.
    pub fn train_part(&mut self) -> Result<bool> {
        let whole = matches!(self.parts, Parts::Whole);
        loop {
            let done = self.advance()?;
            if done || !whole {
                return Ok(done);
            }
        }
    }

    fn advance(&mut self) -> Result<bool> {
        match self.pending.take() {
            None => self.pending = Some(self.next_step()?),
            Some(step) if step.is_complete() => {
                self.finish(step);
                return Ok(true);
            }
            Some(mut step) => {
                self.add_part(&mut step);
                self.pending = Some(step);
            }
        }
        Ok(false)
    }

    fn next_step(&mut self) -> Result<Step> {
        let device = self.autodiff.clone().inner();
        let classes = self.values()[1].dims()[1];
        let batch = self.batches.next(self.examples, classes, self.preprocess, &device)?;
        let in_parts = !matches!(self.parts, Parts::Whole);
        Ok(Step::new(batch, in_parts, (self.method, self.vit), self.values()))
    }

    fn add_part(&mut self, step: &mut Step) {
        let most = match &self.parts {
            Parts::Whole => usize::MAX,
            Parts::InTime(pace) => pace.images(),
            Parts::Of(images) => *images,
        };
        let started = web_time::Instant::now();
        let count = step.add_part((self.method, self.vit), self.values(), self.batches.size(), most);
        if let Parts::InTime(pace) = &mut self.parts {
            pace.took(count, started.elapsed());
        }
    }

    fn finish(&mut self, step: Step) {
        let done = step.finish();
        let factor = schedule(self.step, self.config.num_steps, WARMUP);
        let rates: Vec<Rate> = self.groups.iter().map(|group| self.config.rate(*group, factor)).collect();
        self.parameters.update(done.gradients, &rates, self.config.clip_norm);
        self.results.extend([done.loss, done.accuracy].into_iter().flatten());
        self.step += 1;
    }

    fn values(&self) -> &[Tensor<2>] {
        &self.parameters.values
    }

    /// What the steps since the last call gave, read back in one go.
    ///
    /// # Errors
    /// The device was lost.
    pub async fn take_results(&mut self) -> Result<Vec<StepResult>> {
        let results = std::mem::take(&mut self.results);
        if results.is_empty() {
            return Ok(Vec::new());
        }
        let values = device::read(Tensor::cat(results, 0)).await?;
        Ok(values.chunks_exact(2).map(|pair| StepResult { loss: pair[0], accuracy: pair[1] }).collect())
    }

    /// Composition weights now; `None` for methods that compose nothing.
    ///
    /// # Errors
    /// The device was lost.
    pub async fn coefficients(&self) -> Result<Option<Vec<Vec<f32>>>> {
        let composes = |group: &Group| matches!(group, Group::Logits | Group::Scales | Group::Coefficients);
        if !self.groups.iter().any(composes) {
            return Ok(None);
        }
        let mut values = Vec::with_capacity(self.groups.len() - 2);
        for (group, value) in self.groups.iter().zip(self.values()).skip(2) {
            // Factors and weights say nothing about a composition and stay on the device.
            values.push(if composes(group) { device::read(value.clone()).await? } else { Vec::new() });
        }
        Ok(self.method.coefficients(&values))
    }

    /// Reads the head and the method's values back.
    ///
    /// # Errors
    /// The device was lost.
    pub async fn trained(&self) -> Result<Trained> {
        let [features, _] = self.values()[0].dims();
        let mut values = Vec::with_capacity(self.values().len());
        let head_weight = self.values()[0].clone().transpose();
        for value in std::iter::once(&head_weight).chain(&self.values()[1..]) {
            values.push(device::read(value.clone()).await?);
        }
        let mut values = values.into_iter();
        let head = Head {
            features,
            weight: values.next().unwrap_or_default(),
            bias: values.next().unwrap_or_default(),
        };
        Ok(Trained { head, values: values.collect() })
    }

    /// The adapted model at the current values, on the plain device.
    pub fn adapted(&self) -> Vit {
        self.method.apply(self.vit, &self.values()[2..])
    }
}
