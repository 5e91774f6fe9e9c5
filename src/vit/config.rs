//! Sizes and variants of a Vision Transformer, independent of the file they came from.

use serde::{Deserialize, Serialize};

/// Which tokens the linear head sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// The class token (ViT, DeiT).
    Cls,
    /// Class token joined with the mean of the patch tokens (DINOv2's classifier).
    ClsPatchMean,
    /// Class and distillation token joined: DeiT's two heads averaged are one linear map of both.
    ClsDist,
    /// Mean of the patch tokens (timm `global_pool = "avg"`).
    PatchMean,
}

/// The feed-forward part of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MlpKind {
    /// `fc2(gelu(fc1(x)))` with the exact (erf) GELU.
    Gelu,
    /// `weights_out(silu(first half) * second half)` of `weights_in(x)` (DINOv2 giant).
    SwiGlu,
}

/// Architecture of a [`Vit`](super::model::Vit); names follow timm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VitConfig {
    /// Height and width of the input in pixels.
    pub img_size: (usize, usize),
    /// Height and width of a patch in pixels.
    pub patch_size: (usize, usize),
    /// Width of a token.
    pub embed_dim: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Attention heads of a block.
    pub num_heads: usize,
    /// Hidden width of the feed-forward part (the width after the gate for SwiGLU).
    pub mlp_dim: usize,
    /// Kind of the feed-forward part.
    pub mlp: MlpKind,
    /// Whether query, key and value have biases.
    pub qkv_bias: bool,
    /// Whether each residual branch is scaled per channel.
    pub layer_scale: bool,
    /// Epsilon of every layer norm.
    pub layer_norm_eps: f64,
    /// Tokens before the patch tokens: class, and for distilled DeiT the distillation token.
    pub num_prefix_tokens: usize,
    /// What the head sees.
    pub pooling: Pooling,
}

impl VitConfig {
    /// Rows and columns of the patch grid.
    pub fn grid(&self) -> (usize, usize) {
        (self.img_size.0 / self.patch_size.0, self.img_size.1 / self.patch_size.1)
    }

    /// Number of patch tokens.
    pub fn num_patches(&self) -> usize {
        let (rows, columns) = self.grid();
        rows * columns
    }

    /// Number of tokens, prefix included.
    pub fn num_tokens(&self) -> usize {
        self.num_patches() + self.num_prefix_tokens
    }

    /// Values per flattened patch: channels x height x width.
    pub fn patch_dim(&self) -> usize {
        3 * self.patch_size.0 * self.patch_size.1
    }

    /// Multiplications of the linear layers of all blocks for one image: what the time of a pass goes with.
    pub fn multiplications(&self) -> f64 {
        // Query, key, value and proj; fc1 and fc2.
        let per_token = (4 * self.embed_dim + 2 * self.mlp_dim) * self.embed_dim;
        (self.depth * self.num_tokens() * per_token) as f64
    }

    /// Width of one attention head.
    pub fn head_dim(&self) -> usize {
        self.embed_dim / self.num_heads
    }

    /// Width of the feature vector that the head sees.
    pub fn feature_dim(&self) -> usize {
        match self.pooling {
            Pooling::Cls | Pooling::PatchMean => self.embed_dim,
            Pooling::ClsPatchMean | Pooling::ClsDist => 2 * self.embed_dim,
        }
    }
}
