//! The two layers that every block is made of: linear and layer norm.

use burn::tensor::{Tensor, module};

/// Affine map of the last axis. Frozen or trained: the tensors decide, the layer does not know.
#[derive(Clone, Debug)]
pub struct Linear {
    /// Weight, `[in, out]` (the transpose of what PyTorch stores).
    pub weight: Tensor<2>,
    /// Bias, `[out]`.
    pub bias: Option<Tensor<1>>,
}

impl Linear {
    /// Applies the layer.
    ///
    /// # Shapes
    /// - input: `[B, T, in]`
    /// - output: `[B, T, out]`
    pub fn forward(&self, input: Tensor<3>) -> Tensor<3> {
        module::linear(input, self.weight.clone(), self.bias.clone())
    }
}

/// Layer norm over the last axis with a learned scale and shift.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    /// Scale, `[D]`.
    pub weight: Tensor<1>,
    /// Shift, `[D]`.
    pub bias: Tensor<1>,
    /// Added to the variance.
    pub epsilon: f64,
}

impl LayerNorm {
    /// Applies the layer.
    ///
    /// # Shapes
    /// - input and output: `[B, T, D]`
    pub fn forward(&self, input: Tensor<3>) -> Tensor<3> {
        module::layer_norm(input, self.weight.clone(), Some(self.bias.clone()), self.epsilon)
    }
}
