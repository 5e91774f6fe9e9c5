//! One pre-norm transformer block.

use burn::tensor::{Device, Tensor};

use super::{
    attention::Attention,
    config::MlpKind,
    layers::{LayerNorm, Linear},
    mlp::Mlp,
    target::Target,
};
use crate::kernels::{self, BlockOptions, BlockWeights, LayerWeights};

/// Pre-norm block: `x + ls1(attn(norm1(x)))`, then `x + ls2(mlp(norm2(x)))`.
#[derive(Clone, Debug)]
pub struct Block {
    /// Norm before attention.
    pub norm1: LayerNorm,
    /// Self-attention.
    pub attn: Attention,
    /// Scale per channel of the attention branch, `[D]`.
    pub ls1: Option<Tensor<1>>,
    /// Norm before the feed-forward part.
    pub norm2: LayerNorm,
    /// Feed-forward part.
    pub mlp: Mlp,
    /// Scale per channel of the feed-forward branch, `[D]`.
    pub ls2: Option<Tensor<1>>,
}

impl Block {
    /// Applies the block.
    ///
    /// # Shapes
    /// - input and output: `[B, T, D]`
    pub fn forward(&self, input: Tensor<3>) -> Tensor<3> {
        let [_, tokens, _] = input.dims();
        self.forward_first(input, tokens)
    }

    /// Applies the block for its first tokens, which attend to all; on the CPU device the others cost little.
    ///
    /// # Shapes
    /// - input: `[B, T, D]`
    /// - output: `[B, queries, D]`
    pub fn forward_first(&self, input: Tensor<3>, queries: usize) -> Tensor<3> {
        match self.fused_weights(&input) {
            Some(weights) => {
                let (num_heads, epsilon) = (self.attn.num_heads, self.norm1.epsilon as f32);
                kernels::block(input, weights, BlockOptions { queries, num_heads, epsilon })
            }
            // On a GPU every shape of its own compiles shaders of its own.
            None => self.composed(input).narrow(1, 0, queries),
        }
    }

    /// The block in burn's operations.
    fn composed(&self, input: Tensor<3>) -> Tensor<3> {
        let attended = self.attn.forward(self.norm1.forward(input.clone()));
        let x = input + scale(attended, &self.ls1);
        let fed = self.mlp.forward(self.norm2.forward(x.clone()));
        x + scale(fed, &self.ls2)
    }

    /// The weights for the fused operation of the CPU device, where it computes what this block does.
    fn fused_weights(&self, input: &Tensor<3>) -> Option<BlockWeights> {
        if !self.is_fused(&input.device()) {
            return None;
        }
        let norm = |norm: &LayerNorm| [norm.weight.clone(), norm.bias.clone()];
        let [query, key, value] =
            [&self.attn.query, &self.attn.key, &self.attn.value].map(|layer| fused(layer, &None));
        Some(BlockWeights {
            norm1: norm(&self.norm1),
            attention: [query, key, value, fused(&self.attn.proj, &self.ls1)],
            norm2: norm(&self.norm2),
            mlp: [fused(&self.mlp.fc1, &None), fused(&self.mlp.fc2, &self.ls2)],
        })
    }

    fn is_fused(&self, device: &Device) -> bool {
        self.mlp.kind == MlpKind::Gelu && kernels::is_available(device)
    }

    /// Adds the product of factors `[in, R]` and `[R, out]`, trained or not, to the weight of a linear layer.
    pub fn add_product(&mut self, target: Target, a: Tensor<2>, b: Tensor<2>) {
        let apart = self.is_fused(&a.device());
        self.linear_mut(target).add_product(a, b, apart);
    }

    /// The linear layer that a LoRA target names.
    pub fn linear(&self, target: Target) -> &Linear {
        match target {
            Target::Query => &self.attn.query,
            Target::Key => &self.attn.key,
            Target::Value => &self.attn.value,
            Target::Proj => &self.attn.proj,
            Target::Fc1 => &self.mlp.fc1,
            Target::Fc2 => &self.mlp.fc2,
        }
    }

    /// The same, to replace its weight.
    pub fn linear_mut(&mut self, target: Target) -> &mut Linear {
        match target {
            Target::Query => &mut self.attn.query,
            Target::Key => &mut self.attn.key,
            Target::Value => &mut self.attn.value,
            Target::Proj => &mut self.attn.proj,
            Target::Fc1 => &mut self.mlp.fc1,
            Target::Fc2 => &mut self.mlp.fc2,
        }
    }
}

/// A layer with a layer scale folded in; a missing bias is zero.
fn fused(layer: &Linear, gamma: &Option<Tensor<1>>) -> LayerWeights {
    let [_, outputs] = layer.weight.dims();
    let bias = layer.bias.clone().unwrap_or_else(|| Tensor::zeros([outputs], &layer.weight.device()));
    let (weight, factors) = (layer.weight.clone(), layer.factors.clone());
    match gamma {
        Some(gamma) => {
            let columns = gamma.clone().unsqueeze::<2>();
            LayerWeights {
                weight: weight * columns.clone(),
                bias: bias * gamma.clone(),
                factors: factors.map(|[a, b]| [a, b * columns]),
            }
        }
        None => LayerWeights { weight, bias, factors },
    }
}

fn scale(branch: Tensor<3>, gamma: &Option<Tensor<1>>) -> Tensor<3> {
    match gamma {
        Some(gamma) => branch * gamma.clone().unsqueeze::<3>(),
        None => branch,
    }
}
