//! The feed-forward part of a block.

use burn::tensor::{
    Tensor,
    activation::{gelu, silu},
};

use super::{config::MlpKind, layers::Linear};

/// Feed-forward part: GELU as in ViT, or SwiGLU as in DINOv2 giant.
///
/// For SwiGLU `fc1` is `weights_in` (`[D, 2M]`, gate first) and `fc2` is `weights_out` (`[M, D]`).
#[derive(Clone, Debug)]
pub struct Mlp {
    /// First layer, `[D, M]` or `[D, 2M]`.
    pub fc1: Linear,
    /// Second layer, `[M, D]`.
    pub fc2: Linear,
    /// Which nonlinearity stands between them.
    pub kind: MlpKind,
}

impl Mlp {
    /// Applies the feed-forward part.
    ///
    /// # Shapes
    /// - input and output: `[B, T, D]`
    pub fn forward(&self, input: Tensor<3>) -> Tensor<3> {
        let hidden = self.fc1.forward(input);
        let hidden = match self.kind {
            MlpKind::Gelu => gelu(hidden),
            MlpKind::SwiGlu => {
                let halves = hidden.chunk(2, 2);
                silu(halves[0].clone()) * halves[1].clone()
            }
        };
        self.fc2.forward(hidden)
    }
}
