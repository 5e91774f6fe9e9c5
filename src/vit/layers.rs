//! The two layers that every block is made of: linear and layer norm.

use burn::tensor::{FloatDType, Tensor, module};

/// Affine map of the last axis. Frozen or trained: the tensors decide, the layer does not know.
#[derive(Clone, Debug)]
pub struct Linear {
    /// Weight, `[in, out]` (the transpose of what PyTorch stores).
    pub weight: Tensor<2>,
    /// Bias, `[out]`.
    pub bias: Option<Tensor<1>>,
}

impl Linear {
    /// Applies the layer. The weight decides in which precision is multiplied; input, bias and output share theirs.
    ///
    /// # Shapes
    /// - input: `[B, T, in]`
    /// - output: `[B, T, out]`
    pub fn forward(&self, input: Tensor<3>) -> Tensor<3> {
        if self.weight.dtype() == input.dtype() {
            return module::linear(input, self.weight.clone(), self.bias.clone());
        }
        let output = in_groups(input, &self.weight);
        match &self.bias {
            Some(bias) => output + bias.clone().unsqueeze::<3>(),
            None => output,
        }
    }
}

/// Images whose rows are multiplied together. The gradient of the weight is a sum over all rows: over all at once it is
/// a product of few tiles and a very long sum, which leaves most of a GPU idle; in groups there are as many more tiles.
const GROUP: usize = 16;

/// `input · weight` in the weight's precision, `[B, T, out]`.
fn in_groups(input: Tensor<3>, weight: &Tensor<2>) -> Tensor<3> {
    let [batch, tokens, width] = input.dims();
    let (own, inner) = (input.dtype(), weight.dtype());
    let group = if batch.is_multiple_of(GROUP) { GROUP } else { batch };
    let rows = input.cast(FloatDType::from(inner)).reshape([batch / group, group * tokens, width]);
    let output = rows.matmul(weight.clone().unsqueeze::<3>());
    output.reshape([batch, tokens, weight.dims()[1]]).cast(FloatDType::from(own))
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
