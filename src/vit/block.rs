//! One pre-norm transformer block.

use burn::tensor::Tensor;

use super::{
    attention::Attention,
    layers::{LayerNorm, Linear},
    mlp::Mlp,
    target::Target,
};

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
        let attended = self.attn.forward(self.norm1.forward(input.clone()));
        let x = input + scale(attended, &self.ls1);
        let fed = self.mlp.forward(self.norm2.forward(x.clone()));
        x + scale(fed, &self.ls2)
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

fn scale(branch: Tensor<3>, gamma: &Option<Tensor<1>>) -> Tensor<3> {
    match gamma {
        Some(gamma) => branch * gamma.clone().unsqueeze::<3>(),
        None => branch,
    }
}
