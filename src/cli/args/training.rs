//! What can be typed about training: how, and of what.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use loraloom::{Precision, Target, session::config::AdaptConfig};

use super::{ComputeArgs, ModelArgs, NamesName, at_least_one};

/// How every method learns and answers.
#[derive(Debug, Args)]
pub struct LearningArgs {
    /// Optimiser steps.
    #[arg(long, value_parser = at_least_one())]
    pub steps: Option<usize>,
    /// Images per step, at most.
    #[arg(long, value_parser = at_least_one())]
    pub batch_size: Option<usize>,
    /// Crop training images at random in every step; `--augment false` takes them as they are.
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    pub augment: Option<bool>,
    /// Mirror half of the crops and views, too; not for letters, digits and signs, which mean something else in a mirror.
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    pub mirror: Option<bool>,
    /// Varied copies of every training image that heads are fitted on, too: cropped and, with --mirror, mirrored at random; fewer
    /// where a class has more than ten images, none where one has more than 40, and none at all with 0.
    #[arg(long)]
    pub views: Option<usize>,
    /// Answer held-out, test and new images by the mean over the whole and its four corners, which is right more often and takes five
    /// times as long; `--multi-crop false` looks at the whole alone.
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    pub multi_crop: Option<bool>,
}

impl LearningArgs {
    /// Puts what was typed in place of what there is.
    pub fn lay_over(&self, config: &mut AdaptConfig) {
        let train = &mut config.train;
        train.num_steps = self.steps.unwrap_or(train.num_steps);
        train.batch_size = self.batch_size.unwrap_or(train.batch_size);
        train.augment = self.augment.unwrap_or(train.augment);
        train.mirror = self.mirror.unwrap_or(train.mirror);
        config.views = self.views.unwrap_or(config.views);
        config.multi_crop = self.multi_crop.unwrap_or(config.multi_crop);
    }
}

/// How to train.
#[derive(Debug, Args)]
pub struct TrainingArgs {
    #[command(flatten)]
    pub learning: LearningArgs,
    /// Rank of a LoRA from scratch.
    #[arg(long, value_parser = at_least_one())]
    pub rank: Option<usize>,
    /// Alpha of a LoRA from scratch, whose update is scaled by alpha / rank; twice the rank if absent.
    #[arg(long, value_parser = finite, allow_hyphen_values = true)]
    pub alpha: Option<f32>,
    /// Linear layers that a LoRA from scratch adapts: query, key, value, proj, fc1, fc2.
    #[arg(long, value_delimiter = ',', value_parser = target)]
    pub targets: Option<Vec<Target>>,
    /// Seed of the choice of images, their order, and initial values.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  loraloom train-module --model DIR --data animals/train --test animals/test --out lora/animals"
)]
pub struct TrainModuleArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Folder with one folder of images per class.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Folder with the same classes, to measure accuracy on.
    #[arg(long, value_name = "DIR")]
    pub test: Option<PathBuf>,
    /// Folder to write.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Names in the file as transformers has them up to 5.8 (old) or from 5.9 (new), for DINOv2 5.17 and 5.18.
    #[arg(long, value_enum, default_value_t = NamesName::New)]
    pub names: NamesName,
    /// What the images are and their licence, for the module's card.
    #[arg(long, value_name = "TEXT")]
    pub source: Option<String>,
    /// Precision of the values in the file.
    #[arg(long, value_enum, default_value_t = PrecisionName::F32)]
    pub precision: PrecisionName,
    /// Highest learning rate, of the module and of its head.
    #[arg(long, default_value_t = 6e-3, value_parser = rate, allow_hyphen_values = true)]
    pub learning_rate: f64,
    #[command(flatten)]
    pub training: TrainingArgs,
    #[command(flatten)]
    pub compute: ComputeArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum PrecisionName {
    /// As trained.
    F32,
    /// Half the size.
    F16,
}

impl From<PrecisionName> for Precision {
    fn from(name: PrecisionName) -> Self {
        match name {
            PrecisionName::F32 => Self::F32,
            PrecisionName::F16 => Self::F16,
        }
    }
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  loraloom pretrain --data photos/*.tar --teacher facebook/deit-tiny-patch16-224 --out base"
)]
pub struct PretrainArgs {
    /// Folders with one folder of images per class, or tar files of them.
    #[arg(long, value_name = "DIR|TAR", num_args = 1.., required = true)]
    pub data: Vec<PathBuf>,
    /// Folder to write; a checkpoint in it is resumed, with the same images, settings, --teacher and --init.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// A model whose tokens, features and head teach, as wide as the student: `embedded`, a folder or a Hugging Face id.
    #[arg(long, value_name = "DIR|ID")]
    pub teacher: Option<String>,
    /// A model of an earlier run to start from, instead of random weights; its input size may be another one.
    #[arg(long, value_name = "DIR|ID")]
    pub init: Option<String>,
    /// Last images of every class, by name, that are kept for validation.
    #[arg(long, default_value_t = 100)]
    pub validation: usize,
    /// Passes over the training images.
    #[arg(long)]
    pub epochs: Option<f64>,
    /// Images per step.
    #[arg(long, value_parser = at_least_one())]
    pub batch_size: Option<usize>,
    /// Highest learning rate.
    #[arg(long, value_parser = rate, allow_hyphen_values = true)]
    pub learning_rate: Option<f64>,
    /// Weight of the teacher's soft labels, between 0 and 1; the labels have the rest.
    #[arg(long, requires = "teacher")]
    pub teacher_weight: Option<f64>,
    /// Weight of the distance from the teacher's hidden states.
    #[arg(long, requires = "teacher")]
    pub hidden_weight: Option<f64>,
    /// Input side of the teacher in pixels; without it the one that gives it the student's grid of patches. Larger ones cost more
    /// and teach more.
    #[arg(long, requires = "teacher")]
    pub teacher_size: Option<usize>,
    /// Smallest area of a random crop.
    #[arg(long)]
    pub min_scale: Option<f32>,
    /// Strength of mixup, which blends photos in pairs (0.8 is usual); 0 is none.
    #[arg(long)]
    pub mixup: Option<f32>,
    /// Strength of CutMix, which pastes a rectangle of another photo (1 is usual); 0 is none.
    #[arg(long)]
    pub cutmix: Option<f32>,
    /// Decay of the moving average of the weights, which is what is kept.
    #[arg(long)]
    pub ema_decay: Option<f64>,
    /// Multiply large matrices in half precision; needs a GPU.
    #[arg(long)]
    pub mixed_precision: bool,
    /// Input side in pixels.
    #[arg(long)]
    pub img_size: Option<usize>,
    /// Patch side in pixels.
    #[arg(long)]
    pub patch_size: Option<usize>,
    /// Width.
    #[arg(long)]
    pub embed_dim: Option<usize>,
    /// Blocks.
    #[arg(long)]
    pub depth: Option<usize>,
    /// Attention heads.
    #[arg(long)]
    pub num_heads: Option<usize>,
    /// Minutes between checkpoints.
    #[arg(long, default_value_t = 5.0, value_parser = minutes, allow_hyphen_values = true)]
    pub checkpoint_minutes: f64,
    /// Seed of initial values, order and augmentation.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    #[command(flatten)]
    pub compute: ComputeArgs,
}

fn finite(text: &str) -> Result<f32, String> {
    let number: Option<f32> = text.parse().ok();
    number
        .filter(|number| number.is_finite())
        .ok_or_else(|| format!("{text} is not a number that can be used"))
}

fn rate(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.parse().ok();
    number
        .filter(|number| *number > 0.0 && number.is_finite())
        .ok_or_else(|| format!("{text} is no learning rate; give a number above 0"))
}

fn minutes(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.parse().ok();
    number.filter(|number| *number >= 0.0).ok_or_else(|| format!("{text} is no time; give 0 or more minutes"))
}

fn target(text: &str) -> Result<Target, String> {
    Target::from_name(text).ok_or_else(|| format!("{text} is not query, key, value, proj, fc1 or fc2"))
}
