//! Initial weights: what pre-training starts from, and models of any size for tests and benchmarks.

use burn::tensor::{Device, Tensor, TensorData};

use super::{
    attention::Attention,
    block::Block,
    config::{MlpKind, VitConfig},
    layers::{LayerNorm, Linear},
    mlp::Mlp,
    model::Vit,
};
use crate::random::{self, Purpose};

/// Standard deviation of initial weights, as in timm's ViT.
const STD: f32 = 0.02;

/// Initial layer scale of DINOv2.
const LAYER_SCALE: f32 = 1.0;

/// Draws initial values on one device.
struct Init<'a> {
    rng: rand_chacha::ChaCha8Rng,
    device: &'a Device,
}

impl Vit {
    /// A model with initial weights: normal numbers cut at two standard deviations of 0.02, zero biases.
    pub fn init(config: VitConfig, seed: u64, device: &Device) -> Self {
        let mut init = Init { rng: random::stream(seed, Purpose::Init), device };
        let dim = config.embed_dim;
        Self {
            patch_embed: init.linear(config.patch_dim(), dim, true),
            prefix_tokens: init.tokens(config.num_prefix_tokens, dim),
            pos_embed: init.tokens(config.num_tokens(), dim),
            blocks: (0..config.depth).map(|_| init.block(&config)).collect(),
            norm: init.norm(dim, config.layer_norm_eps),
            fc_norm: None,
            config,
        }
    }
}

impl Init<'_> {
    fn values(&mut self, count: usize) -> Vec<f32> {
        let mut draw = || loop {
            let value = random::normal(&mut self.rng);
            if value.abs() <= 2.0 {
                return value * STD;
            }
        };
        (0..count).map(|_| draw()).collect()
    }

    fn tokens(&mut self, count: usize, dim: usize) -> Tensor<3> {
        Tensor::from_data(TensorData::new(self.values(count * dim), [1, count, dim]), self.device)
    }

    fn linear(&mut self, inputs: usize, outputs: usize, bias: bool) -> Linear {
        let weight = TensorData::new(self.values(inputs * outputs), [inputs, outputs]);
        let bias = bias.then(|| Tensor::zeros([outputs], self.device));
        Linear::new(Tensor::from_data(weight, self.device), bias)
    }

    fn norm(&self, dim: usize, epsilon: f64) -> LayerNorm {
        LayerNorm {
            weight: Tensor::ones([dim], self.device),
            bias: Tensor::zeros([dim], self.device),
            epsilon,
        }
    }

    fn block(&mut self, config: &VitConfig) -> Block {
        let dim = config.embed_dim;
        let mut square = |bias| self.linear(dim, dim, bias);
        let attn = Attention {
            query: square(config.qkv_bias),
            key: square(config.qkv_bias),
            value: square(config.qkv_bias),
            proj: square(true),
            num_heads: config.num_heads,
        };
        let gates = if config.mlp == MlpKind::SwiGlu { 2 } else { 1 };
        let gamma = || config.layer_scale.then(|| Tensor::full([dim], LAYER_SCALE, self.device));
        Block {
            norm1: self.norm(dim, config.layer_norm_eps),
            attn,
            ls1: gamma(),
            norm2: self.norm(dim, config.layer_norm_eps),
            ls2: gamma(),
            mlp: Mlp {
                fc1: self.linear(dim, gates * config.mlp_dim, true),
                fc2: self.linear(config.mlp_dim, dim, true),
                kind: config.mlp,
            },
        }
    }
}
