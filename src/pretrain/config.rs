//! The settings of a base model's training: its shape, its schedule, its teacher's weight.

use burn::tensor::FloatDType;
use serde::{Deserialize, Serialize};

use super::mix::Mixing;
use crate::{
    device::{self, OpenDevice},
    error::{Error, Result},
    image::{
        preprocess::{Preprocess, Scale},
        resize::Filter,
    },
    vit::config::{MlpKind, Pooling, VitConfig},
};

/// Largest input side: what a slip of the finger asks for takes all memory.
const MAX_SIDE: usize = 1024;

/// Largest width and number of blocks, for the same reason.
const MAX_WIDTH: usize = 8192;
const MAX_DEPTH: usize = 128;

/// Most photos per step, likewise.
const MAX_BATCH: usize = 65_536;

/// Everything that decides a pre-training run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PretrainConfig {
    /// Input side in pixels.
    pub img_size: usize,
    /// Patch side in pixels.
    pub patch_size: usize,
    /// Width.
    pub embed_dim: usize,
    /// Blocks.
    pub depth: usize,
    /// Attention heads.
    pub num_heads: usize,
    /// Passes over the training photos.
    pub epochs: f64,
    /// Photos per step.
    pub batch_size: usize,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Weight decay of matrices; biases and norms are not decayed.
    pub weight_decay: f64,
    /// Part of the steps that the learning rate rises over.
    pub warmup: f64,
    /// Largest global norm of the gradients.
    pub clip_norm: f64,
    /// Label smoothing.
    pub label_smoothing: f32,
    /// Weight of the teacher's soft labels; the labels' loss has the rest.
    pub teacher_weight: f64,
    /// Weight of the distance from the teacher's hidden states and features.
    pub hidden_weight: f64,
    /// Input side of the teacher in pixels; without it the one that gives it the student's grid of patches.
    pub teacher_size: Option<usize>,
    /// Decay of the moving average of the weights.
    pub ema_decay: f64,
    /// Smallest area of a random crop.
    pub min_scale: f32,
    /// Strength of mixup: shares are drawn from Beta(mixup, mixup); 0 is none.
    pub mixup: f32,
    /// Strength of CutMix, likewise; with both every photo takes one of them.
    pub cutmix: f32,
    /// Whether the large matrix products are computed in half precision, on a GPU that has it.
    pub mixed_precision: bool,
    /// Seed of initial values, order and augmentation.
    pub seed: u64,
}

impl Default for PretrainConfig {
    fn default() -> Self {
        Self {
            img_size: 96,
            patch_size: 12,
            embed_dim: 192,
            depth: 8,
            num_heads: 3,
            epochs: 16.0,
            batch_size: 64,
            learning_rate: 1e-3,
            weight_decay: 0.05,
            warmup: 0.05,
            clip_norm: 1.0,
            label_smoothing: 0.1,
            teacher_weight: 0.5,
            hidden_weight: 1.0,
            teacher_size: None,
            ema_decay: 0.999,
            min_scale: 0.4,
            mixup: 0.0,
            cutmix: 0.0,
            mixed_precision: false,
            seed: 0,
        }
    }
}

impl PretrainConfig {
    /// The student's architecture: a plain ViT with a class token.
    pub fn vit(&self) -> VitConfig {
        VitConfig {
            img_size: (self.img_size, self.img_size),
            patch_size: (self.patch_size, self.patch_size),
            embed_dim: self.embed_dim,
            depth: self.depth,
            num_heads: self.num_heads,
            mlp_dim: 4 * self.embed_dim,
            mlp: MlpKind::Gelu,
            qkv_bias: true,
            layer_scale: false,
            layer_norm_eps: 1e-6,
            num_prefix_tokens: 1,
            pooling: Pooling::Cls,
        }
    }

    /// How photos reach the student.
    ///
    /// # Errors
    /// Never for a valid size.
    pub fn preprocess(&self) -> Result<Preprocess> {
        let size = (self.img_size, self.img_size);
        let mut preprocess =
            Preprocess::new("pretrain", Scale::ShortestEdge(self.img_size), Some(size), size)?;
        preprocess.filter = Filter::Bicubic;
        Ok(preprocess.with_mean_std([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    }

    /// Refuses sizes that make no model, before anything is read.
    ///
    /// # Errors
    /// The option is named.
    pub fn check(&self) -> Result<()> {
        let bad = |option: &str, reason: String| Err(Error::mismatch(option, reason));
        let divides = |part: usize, whole: usize| part > 0 && whole > 0 && whole.is_multiple_of(part);
        if !divides(self.patch_size, self.img_size) || self.img_size > MAX_SIDE {
            let reason = format!(
                "{} px is no multiple of patches of {} px up to {MAX_SIDE}",
                self.img_size, self.patch_size
            );
            return bad("--img-size", reason);
        }
        if self.embed_dim > MAX_WIDTH {
            return bad("--embed-dim", format!("{} is more than {MAX_WIDTH}", self.embed_dim));
        }
        if !divides(self.num_heads, self.embed_dim) {
            let reason = format!("{} heads do not divide {} channels", self.num_heads, self.embed_dim);
            return bad("--num-heads", reason);
        }
        if !(1..=MAX_DEPTH).contains(&self.depth) || !(1..=MAX_BATCH).contains(&self.batch_size) {
            return bad(
                "--depth and --batch-size",
                format!("both must be 1 or more, a batch at most {MAX_BATCH}, {MAX_DEPTH} blocks at most"),
            );
        }
        if !(self.epochs > 0.0 && self.epochs.is_finite()) {
            return bad("--epochs", format!("{} is not above 0", self.epochs));
        }
        let numbers = [
            ("--learning-rate", self.learning_rate, 0.0..=f64::MAX, "0 or more"),
            ("--teacher-weight", self.teacher_weight, 0.0..=1.0, "between 0 and 1"),
            ("--hidden-weight", self.hidden_weight, 0.0..=f64::MAX, "0 or more"),
            ("--ema-decay", self.ema_decay, 0.0..=1.0, "between 0 and 1"),
            ("--min-scale", f64::from(self.min_scale), f64::MIN_POSITIVE..=1.0, "above 0 and at most 1"),
        ];
        if let Some((option, value, _, range)) =
            numbers.iter().find(|(_, value, range, _)| !range.contains(value))
        {
            return bad(option, format!("{value} is not {range}"));
        }
        Mixing::new(self).map(|_| ())
    }

    /// What the large matrix products of a step are computed in.
    ///
    /// # Errors
    /// Half precision is asked for, and the device has none.
    pub fn precision(&self, device: &OpenDevice) -> Result<FloatDType> {
        match self.mixed_precision {
            false => Ok(FloatDType::F32),
            true if device::has_half_precision(&device.plain) => Ok(FloatDType::F16),
            true => {
                let reason = format!("{} has no half precision; leave it out", device.info.name);
                Err(Error::mismatch("--mixed-precision", reason))
            }
        }
    }

    /// Steps in all.
    pub fn num_steps(&self, photos: usize) -> usize {
        ((self.epochs * photos as f64 / self.batch_size as f64).ceil() as usize).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_make_no_model_are_refused_by_the_option() {
        let refused = |change: fn(&mut PretrainConfig)| {
            let mut config = PretrainConfig::default();
            change(&mut config);
            config.check().expect_err("refused").to_string()
        };
        assert!(PretrainConfig::default().check().is_ok());
        assert!(refused(|config| config.img_size = 100).contains("--img-size"));
        assert!(refused(|config| config.patch_size = 0).contains("--img-size"));
        assert!(refused(|config| config.num_heads = 5).contains("5 heads do not divide 192"));
        assert!(refused(|config| config.batch_size = 0).contains("--batch-size"));
        assert!(refused(|config| config.batch_size = usize::MAX).contains("--batch-size"));
        assert!(refused(|config| config.embed_dim = 3 << 40).contains("--embed-dim"));
        assert!(refused(|config| config.depth = usize::MAX).contains("--depth"));
        assert!(refused(|config| config.learning_rate = f64::NAN).contains("--learning-rate"));
        assert!(
            refused(|config| config.teacher_weight = 2.0)
                .contains("--teacher-weight: 2 is not between 0 and 1")
        );
        assert!(refused(|config| config.ema_decay = f64::NAN).contains("--ema-decay"));
        assert!(refused(|config| config.min_scale = 0.0).contains("--min-scale"));
        assert!(refused(|config| config.epochs = f64::NAN).contains("--epochs"));
    }
}
