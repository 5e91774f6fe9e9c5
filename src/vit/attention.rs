//! Multi-head self-attention with separate query, key and value layers, as LoRA modules name them.

use burn::tensor::{FloatDType, Tensor, activation::softmax};

use super::layers::Linear;

/// Multi-head self-attention.
#[derive(Clone, Debug)]
pub struct Attention {
    /// Query projection, `[D, D]`.
    pub query: Linear,
    /// Key projection, `[D, D]`.
    pub key: Linear,
    /// Value projection, `[D, D]`.
    pub value: Linear,
    /// Output projection, `[D, D]`.
    pub proj: Linear,
    /// Number of heads; divides D.
    pub num_heads: usize,
}

impl Attention {
    /// Applies self-attention.
    ///
    /// # Shapes
    /// - input and output: `[B, T, D]`
    pub fn forward(&self, input: Tensor<3>) -> Tensor<3> {
        let [batch, tokens, dim] = input.dims();
        let head_dim = dim / self.num_heads;
        // The scale goes on the query: T x D multiplications instead of H x T x T.
        let query = self.split_heads(self.query.forward(input.clone())) * (head_dim as f64).powf(-0.5);
        let key = self.split_heads(self.key.forward(input.clone()));
        let value = self.split_heads(self.value.forward(input));
        let scores = softmax(self.product(query, key.swap_dims(2, 3)), 3); // [B, H, T, T]
        let mixed = self.product(scores, value).swap_dims(1, 2).reshape([batch, tokens, dim]); // [B, T, D]
        self.proj.forward(mixed)
    }

    /// A matrix product in the precision of the layers' weights.
    fn product(&self, left: Tensor<4>, right: Tensor<4>) -> Tensor<4> {
        let (own, inner) = (left.dtype(), self.query.weight.dtype());
        if own == inner {
            return left.matmul(right);
        }
        let inner = FloatDType::from(inner);
        left.cast(inner).matmul(right.cast(inner)).cast(FloatDType::from(own))
    }

    /// `[B, T, D] -> [B, H, T, D / H]`.
    fn split_heads(&self, x: Tensor<3>) -> Tensor<4> {
        let [batch, tokens, dim] = x.dims();
        x.reshape([batch, tokens, self.num_heads, dim / self.num_heads]).swap_dims(1, 2)
    }
}
