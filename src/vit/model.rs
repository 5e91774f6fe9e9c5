//! The Vision Transformer: patch embedding, blocks, final norm, and the three-way forward of timm.
//!
//! The model holds plain tensors. It does not know which of them are trained, nor that LoRA exists: a method replaces
//! weights, or adds products of factors to them, and runs the same passes.

use burn::tensor::{FloatDType, Tensor};

use super::{
    block::Block,
    config::{Pooling, VitConfig},
    layers::{LayerNorm, Linear},
    target::Target,
};

/// A Vision Transformer without its classification head.
#[derive(Clone, Debug)]
pub struct Vit {
    /// Sizes and variants.
    pub config: VitConfig,
    /// Patch embedding as a linear map of flattened patches, `[3 * p * p, D]`.
    pub patch_embed: Linear,
    /// Class token, and distillation token if any, `[1, P, D]`.
    pub prefix_tokens: Tensor<3>,
    /// Position embedding of all tokens, `[1, T, D]`.
    pub pos_embed: Tensor<3>,
    /// The blocks.
    pub blocks: Vec<Block>,
    /// Final norm.
    pub norm: LayerNorm,
    /// Norm of the pooled features, where the checkpoint pools before it norms (timm `fc_norm`).
    pub fc_norm: Option<LayerNorm>,
}

/// A linear classification head on the pooled features.
#[derive(Clone, Debug)]
pub struct HeadTensors {
    /// Weight, `[F, C]`.
    pub weight: Tensor<2>,
    /// Bias, `[1, C]`.
    pub bias: Tensor<2>,
}

impl HeadTensors {
    /// Logits of pooled features.
    ///
    /// # Shapes
    /// - features: `[B, F]`
    /// - output: `[B, C]`
    pub fn forward(&self, features: Tensor<2>) -> Tensor<2> {
        features.matmul(self.weight.clone()) + self.bias.clone()
    }
}

impl Vit {
    /// The same model with the linear layers of its blocks, and their attention, multiplied in another precision; all
    /// else stays as it is.
    pub fn with_matmul_in(mut self, precision: FloatDType) -> Self {
        for block in &mut self.blocks {
            for target in Target::ALL {
                let layer = block.linear_mut(target);
                if layer.weight.dtype() != precision.into() {
                    layer.weight = layer.weight.clone().cast(precision);
                }
            }
        }
        self
    }

    /// Embeds patches and adds positions: everything before the first block.
    ///
    /// # Shapes
    /// - images: `[B, 3, H, W]`, normalised
    /// - output: `[B, T, D]`
    pub fn embed(&self, images: Tensor<4>) -> Tensor<3> {
        let [batch, channels, _, _] = images.dims();
        let (rows, columns) = self.config.grid();
        let (height, width) = self.config.patch_size;
        let patches = images
            .reshape([batch, channels, rows, height, columns, width])
            .permute([0, 2, 4, 1, 3, 5]) // [B, rows, columns, 3, p, p]
            .reshape([batch, rows * columns, channels * height * width]);
        let patches = self.patch_embed.forward(patches); // [B, N, D]
        let [_, prefix, dim] = self.prefix_tokens.dims();
        let prefix_tokens = self.prefix_tokens.clone().expand([batch, prefix, dim]);
        Tensor::cat(vec![prefix_tokens, patches], 1) + self.pos_embed.clone()
    }

    /// Runs the blocks and the final norm on embedded tokens.
    ///
    /// # Shapes
    /// - tokens and output: `[B, T, D]`
    pub fn forward_tokens(&self, tokens: Tensor<3>) -> Tensor<3> {
        self.final_norm(self.blocks.iter().fold(tokens, |tokens, block| block.forward(tokens)))
    }

    /// What every block gives, before the final norm.
    ///
    /// # Shapes
    /// - tokens and every output: `[B, T, D]`
    pub fn hidden_states(&self, tokens: Tensor<3>) -> Vec<Tensor<3>> {
        let mut states = Vec::with_capacity(self.blocks.len());
        for block in &self.blocks {
            let input = states.last().unwrap_or(&tokens);
            states.push(block.forward(input.clone()));
        }
        states
    }

    /// The final norm on what the last block gives; with `fc_norm` the pooled features are normed instead.
    ///
    /// # Shapes
    /// - hidden and output: `[B, T, D]`
    pub fn final_norm(&self, hidden: Tensor<3>) -> Tensor<3> {
        match self.fc_norm {
            Some(_) => hidden,
            None => self.norm.forward(hidden),
        }
    }

    /// Last hidden state of images.
    ///
    /// # Shapes
    /// - images: `[B, 3, H, W]`
    /// - output: `[B, T, D]`
    pub fn forward_features(&self, images: Tensor<4>) -> Tensor<3> {
        self.forward_tokens(self.embed(images))
    }

    /// The feature vector that a head sees.
    ///
    /// # Shapes
    /// - hidden: `[B, T, D]`, from [`Vit::forward_features`]
    /// - output: `[B, F]`
    pub fn pool(&self, hidden: Tensor<3>) -> Tensor<2> {
        let [batch, tokens, dim] = hidden.dims();
        let prefix = self.config.num_prefix_tokens;
        let token = |index: usize| hidden.clone().narrow(1, index, 1).reshape([batch, dim]);
        let patch_mean =
            || hidden.clone().narrow(1, prefix, tokens - prefix).mean_dim(1).reshape([batch, dim]);
        let pooled = match self.config.pooling {
            Pooling::Cls => token(0),
            Pooling::ClsDist => Tensor::cat(vec![token(0), token(1)], 1),
            Pooling::ClsPatchMean => Tensor::cat(vec![token(0), patch_mean()], 1),
            Pooling::PatchMean => patch_mean(),
        };
        match &self.fc_norm {
            Some(norm) => {
                let width = pooled.dims()[1];
                norm.forward(pooled.reshape([batch, 1, width])).reshape([batch, width])
            }
            None => pooled,
        }
    }

    /// Pooled features of images: what [`Vit::pool`] makes of [`Vit::forward_features`], without what the last block
    /// would do for tokens that nobody pools.
    ///
    /// # Shapes
    /// - images: `[B, 3, H, W]`
    /// - output: `[B, F]`
    pub fn forward_pooled(&self, images: Tensor<4>) -> Tensor<2> {
        let Some((last, others)) = self.blocks.split_last() else {
            return self.pool(self.forward_features(images));
        };
        let tokens = others.iter().fold(self.embed(images), |tokens, block| block.forward(tokens));
        let pooled = match self.config.pooling {
            Pooling::Cls => 1,
            Pooling::ClsDist => 2,
            Pooling::ClsPatchMean | Pooling::PatchMean => tokens.dims()[1],
        };
        self.pool(self.final_norm(last.forward_first(tokens, pooled)))
    }

    /// Logits from the last hidden state.
    ///
    /// # Shapes
    /// - hidden: `[B, T, D]`
    /// - output: `[B, C]`
    pub fn forward_head(&self, hidden: Tensor<3>, head: &HeadTensors) -> Tensor<2> {
        head.forward(self.pool(hidden))
    }

    /// Logits of images.
    ///
    /// # Shapes
    /// - images: `[B, 3, H, W]`
    /// - output: `[B, C]`
    pub fn forward(&self, images: Tensor<4>, head: &HeadTensors) -> Tensor<2> {
        head.forward(self.forward_pooled(images))
    }
}
