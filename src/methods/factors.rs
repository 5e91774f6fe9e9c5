//! A LoRA trained from scratch: `W = W0 + (alpha / r) B A`, A random, B zero.

use burn::tensor::{Device, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::{Adapt, Group, Parameter};
use crate::{
    error::{Error, Result},
    lora::{cat::Updates, library::LayerKey, module::LoraLayer},
    matrix::transpose,
    random,
    vit::{model::Vit, target::Target},
};

/// Shape of a fresh LoRA.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoraConfig {
    /// Rank of each update.
    pub rank: usize,
    /// The update is scaled by `alpha / rank`.
    pub alpha: f32,
    /// Linear layers of each block that get one.
    pub targets: Vec<Target>,
}

impl Default for LoraConfig {
    /// Rank 4 at scale 2 on all six linear layers: modules on all of them transfer better than on
    /// query and value alone.
    fn default() -> Self {
        Self { rank: 4, alpha: 8.0, targets: Target::ALL.to_vec() }
    }
}

impl LoraConfig {
    /// Refuses what is no LoRA.
    ///
    /// # Errors
    /// No rank, no finite alpha or one of 0, whose update is none, no layer, or a layer that is named twice: one update of it is
    /// what can be saved.
    pub fn check(&self) -> Result<()> {
        if self.rank == 0 || !self.alpha.is_finite() || self.alpha == 0.0 {
            return Err(Error::mismatch(
                "rank of the LoRA",
                "it must be 1 or more, and alpha a number, not 0",
            ));
        }
        if self.targets.is_empty() {
            return Err(Error::mismatch("targets of the LoRA", "none are named; name one or more"));
        }
        let repeated = |(index, target): &(usize, &Target)| self.targets[..*index].contains(target);
        match self.targets.iter().enumerate().find(repeated) {
            Some((_, target)) => {
                let reason = format!("{} is named twice; name every layer once", target.name());
                Err(Error::mismatch("targets of the LoRA", reason))
            }
            None => Ok(()),
        }
    }
}

/// A LoRA trained from scratch.
pub struct Factors {
    scaling: f32,
    layers: Vec<(LayerKey, Tensor<2>, Tensor<2>)>,
}

impl Factors {
    /// Fresh factors for every block: A uniform in ±1/sqrt(in) as PEFT draws it (Kaiming uniform with
    /// a = sqrt(5)), B zero.
    pub fn new(vit: &Vit, config: &LoraConfig, rng: &mut ChaCha8Rng, device: &Device) -> Self {
        let mut layers = Vec::new();
        for (index, block) in vit.blocks.iter().enumerate() {
            for &target in &config.targets {
                let [inputs, outputs] = block.linear(target).weight.dims();
                let bound = (inputs as f32).powf(-0.5);
                let values: Vec<f32> =
                    (0..inputs * config.rank).map(|_| random::uniform(rng, -bound, bound)).collect();
                let a = Tensor::from_data(TensorData::new(values, [inputs, config.rank]), device);
                layers.push(((index, target), a, Tensor::zeros([config.rank, outputs], device)));
            }
        }
        Self { scaling: config.alpha / config.rank as f32, layers }
    }

    /// The trained factors in PEFT's layout, from values read back in parameter order.
    fn layers(&self, values: &[Vec<f32>]) -> Updates {
        let pairs = self.layers.iter().zip(values.chunks_exact(2));
        pairs
            .map(|((key, a, b), values)| {
                let ([in_dim, rank], [_, out_dim]) = (a.dims(), b.dims());
                let layer = LoraLayer {
                    rank,
                    in_dim,
                    out_dim,
                    a: transpose(&values[0], in_dim, rank),
                    b: transpose(&values[1], rank, out_dim),
                    scaling: self.scaling,
                };
                (*key, layer)
            })
            .collect()
    }
}

impl Adapt for Factors {
    fn parameters(&self) -> Vec<Parameter> {
        let parameter = |value: &Tensor<2>| Parameter { value: value.clone(), group: Group::Factors };
        self.layers.iter().flat_map(|(_, a, b)| [parameter(a), parameter(b)]).collect()
    }

    fn apply(&self, vit: &Vit, values: &[Tensor<2>]) -> Vit {
        let mut adapted = vit.clone();
        for (&((block, target), ..), factors) in self.layers.iter().zip(values.chunks_exact(2)) {
            adapted.blocks[block].add_product(target, factors[0].clone(), factors[1].clone() * self.scaling);
        }
        adapted
    }

    fn coefficients(&self, _values: &[Vec<f32>]) -> Option<Vec<Vec<f32>>> {
        None
    }

    fn updates(&self, values: &[Vec<f32>]) -> Option<Updates> {
        Some(self.layers(values))
    }
}
