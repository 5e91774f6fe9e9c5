//! Building a [`Vit`] and its head from a checkpoint's bytes, strictly.

use burn::tensor::{Device, Tensor, TensorData};

use super::{
    config::{ModelInfo, vit_config},
    weights::Weights,
};
use crate::{
    error::{Error, Result},
    head::Head,
    matrix::transpose,
    vit::{
        attention::Attention,
        block::Block,
        config::{MlpKind, Pooling, VitConfig},
        layers::{LayerNorm, Linear},
        mlp::Mlp,
        model::Vit,
        pos_embed::interpolate,
    },
};

/// A loaded checkpoint: the model, its own head if it has one, and its class names.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The model on its device.
    pub vit: Vit,
    /// The checkpoint's classification head.
    pub head: Option<Head>,
    /// What the configuration says beyond the architecture.
    pub info: ModelInfo,
}

/// Loads a checkpoint onto a device.
///
/// `img_size` asks for another input size (height, width in pixels) than the configuration's: the
/// position embeddings are interpolated to it.
///
/// # Errors
/// Unreadable, missing, unexpected or mis-shaped tensors, and unsupported configurations, by name.
pub fn load(
    config: (&str, &str),
    safetensors: (&str, &[u8]),
    img_size: Option<(usize, usize)>,
    device: &Device,
) -> Result<Checkpoint> {
    let mut weights = Weights::from_bytes(safetensors.0, safetensors.1)?;
    let (mut vit_config, info) = vit_config(config.0, config.1, &weights)?;
    let stored = stored_grid(&weights, &vit_config, info.prefix_positions)?;
    if let Some(size) = img_size {
        vit_config.img_size = size;
    }
    check_size(config.0, &vit_config)?;
    let mut loader = Loader { weights: &mut weights, device, dim: vit_config.embed_dim };
    let vit = loader.vit(&vit_config, stored)?;
    let head = loader.head(&vit_config)?;
    weights.finish()?;
    Ok(Checkpoint { vit, head, info })
}

fn check_size(name: &str, config: &VitConfig) -> Result<()> {
    let ((height, width), (rows, columns)) = (config.img_size, config.patch_size);
    let limit = 2048;
    if height.max(width) > limit
        || !height.is_multiple_of(rows)
        || !width.is_multiple_of(columns)
        || height.min(width) == 0
    {
        let reason = format!("it is not a multiple of the {rows}x{columns} patch up to {limit}");
        return Err(Error::mismatch(format!("an input of {height}x{width} px for {name}"), reason));
    }
    let patches = (height / rows) * (width / columns);
    if patches > MAX_PATCHES {
        let reason = format!(
            "{patches} patches of {rows}x{columns} px are more than the {MAX_PATCHES} that are computed; take a smaller one"
        );
        return Err(Error::mismatch(format!("an input of {height}x{width} px for {name}"), reason));
    }
    Ok(())
}

/// What is larger takes all memory: attention has as many values as patches squared.
const MAX_PATCHES: usize = 10_000;

/// Patch grid of the stored position embeddings: the configured one, or a square (DINOv2 is stored
/// at another size than some configurations say).
fn stored_grid(weights: &Weights, config: &VitConfig, prefix_positions: bool) -> Result<Stored> {
    let tokens = weights.shape("pos_embed")?.get(1).copied().unwrap_or(0);
    let prefix = if prefix_positions { config.num_prefix_tokens } else { 0 };
    let patches = tokens.saturating_sub(prefix);
    let side = patches.isqrt();
    if patches == config.num_patches() {
        Ok(Stored { grid: config.grid(), prefix })
    } else if side > 0 && side * side == patches {
        Ok(Stored { grid: (side, side), prefix })
    } else {
        Err(Error::TensorShape {
            name: weights.name().into(),
            tensor: "pos_embed".into(),
            found: weights.shape("pos_embed")?.to_vec(),
            expected: vec![1, config.num_patches() + prefix, config.embed_dim],
        })
    }
}

/// What the stored position embeddings are for.
struct Stored {
    /// Rows and columns of patches.
    grid: (usize, usize),
    /// Prefix tokens.
    prefix: usize,
}

struct Loader<'a> {
    weights: &'a mut Weights,
    device: &'a Device,
    dim: usize,
}

impl Loader<'_> {
    fn vit(&mut self, config: &VitConfig, stored: Stored) -> Result<Vit> {
        let (rows, columns) = config.patch_size;
        let patch = self.weights.take("patch_embed.proj.weight", &[self.dim, 3, rows, columns])?;
        let patch_weight = transpose(&patch, self.dim, config.patch_dim());
        let patch_bias = self.vector("patch_embed.proj.bias", self.dim)?;
        let mut prefix = self.weights.take("cls_token", &[1, 1, self.dim])?;
        if config.num_prefix_tokens == 2 {
            prefix.extend(self.weights.take("dist_token", &[1, 1, self.dim])?);
        }
        let pos_embed = self.pos_embed(config, stored)?;
        let blocks = (0..config.depth).map(|index| self.block(index, config)).collect::<Result<_>>()?;
        let epsilon = config.layer_norm_eps;
        // timm names the norm `fc_norm` when it pools first.
        let pooled_first = self.weights.contains("fc_norm.weight");
        let norm = self.norm(if pooled_first { "fc_norm" } else { "norm" }, epsilon)?;
        Ok(Vit {
            patch_embed: Linear::new(
                self.tensor(patch_weight, [config.patch_dim(), self.dim]),
                Some(patch_bias),
            ),
            prefix_tokens: self.tensor(prefix, [1, config.num_prefix_tokens, self.dim]),
            pos_embed: self.tensor(pos_embed, [1, config.num_tokens(), self.dim]),
            blocks,
            fc_norm: pooled_first.then(|| norm.clone()),
            norm,
            config: config.clone(),
        })
    }

    /// Position embeddings at the model's grid; where the prefix tokens have none, zeros are as good.
    fn pos_embed(&mut self, config: &VitConfig, stored: Stored) -> Result<Vec<f32>> {
        let Stored { grid, prefix } = stored;
        let stored = self.weights.take("pos_embed", &[1, prefix + grid.0 * grid.1, self.dim])?;
        let mut rows = vec![0.0; (config.num_prefix_tokens - prefix) * self.dim];
        rows.extend(interpolate(&stored, prefix, self.dim, grid, config.grid()));
        Ok(rows)
    }

    fn block(&mut self, index: usize, config: &VitConfig) -> Result<Block> {
        let dim = self.dim;
        self.weights.split_qkv(index, dim)?;
        let name = |part: &str| format!("blocks.{index}.{part}");
        let (epsilon, hidden) = (config.layer_norm_eps, config.mlp_dim);
        let gated = if config.mlp == MlpKind::SwiGlu { 2 * hidden } else { hidden };
        Ok(Block {
            norm1: self.norm(&name("norm1"), epsilon)?,
            attn: Attention {
                query: self.linear(&name("attn.query"), dim, dim, config.qkv_bias)?,
                key: self.linear(&name("attn.key"), dim, dim, config.qkv_bias)?,
                value: self.linear(&name("attn.value"), dim, dim, config.qkv_bias)?,
                proj: self.linear(&name("attn.proj"), dim, dim, true)?,
                num_heads: config.num_heads,
            },
            ls1: self.layer_scale(&name("ls1.gamma"), config.layer_scale)?,
            norm2: self.norm(&name("norm2"), epsilon)?,
            mlp: Mlp {
                fc1: self.linear(&name("mlp.fc1"), dim, gated, true)?,
                fc2: self.linear(&name("mlp.fc2"), hidden, dim, true)?,
                kind: config.mlp,
            },
            ls2: self.layer_scale(&name("ls2.gamma"), config.layer_scale)?,
        })
    }

    /// The head on the pooled features; DeiT's two heads become one linear map of both tokens.
    fn head(&mut self, config: &VitConfig) -> Result<Option<Head>> {
        if !self.weights.contains("head.weight") {
            return Ok(None);
        }
        let classes = self.weights.shape("head.weight")?.first().copied().unwrap_or(0);
        if config.pooling != Pooling::ClsDist {
            let features = config.feature_dim();
            let weight = self.weights.take("head.weight", &[classes, features])?;
            let bias = self.weights.take("head.bias", &[classes])?;
            return Ok(Some(Head { features, weight, bias }));
        }
        let mut parts = Vec::new();
        for head in ["head", "head_dist"] {
            let weight = self.weights.take(&format!("{head}.weight"), &[classes, self.dim])?;
            parts.push((weight, self.weights.take(&format!("{head}.bias"), &[classes])?));
        }
        let halves = |values: &[f32]| values.iter().map(|value| value / 2.0).collect::<Vec<_>>();
        let rows = parts[0].0.chunks(self.dim).zip(parts[1].0.chunks(self.dim));
        let weight = rows.flat_map(|(cls, dist)| [halves(cls), halves(dist)].concat()).collect();
        let bias = parts[0].1.iter().zip(&parts[1].1).map(|(cls, dist)| (cls + dist) / 2.0).collect();
        Ok(Some(Head { features: 2 * self.dim, weight, bias }))
    }

    fn linear(&mut self, name: &str, inputs: usize, outputs: usize, bias: bool) -> Result<Linear> {
        let weight = self.weights.take_transposed(&format!("{name}.weight"), inputs, outputs)?;
        let bias = match bias {
            true => Some(self.vector(&format!("{name}.bias"), outputs)?),
            false => None,
        };
        Ok(Linear::new(self.tensor(weight, [inputs, outputs]), bias))
    }

    fn norm(&mut self, name: &str, epsilon: f64) -> Result<LayerNorm> {
        let weight = self.vector(&format!("{name}.weight"), self.dim)?;
        Ok(LayerNorm { weight, bias: self.vector(&format!("{name}.bias"), self.dim)?, epsilon })
    }

    fn layer_scale(&mut self, name: &str, present: bool) -> Result<Option<Tensor<1>>> {
        present.then(|| self.vector(name, self.dim)).transpose()
    }

    fn vector(&mut self, name: &str, len: usize) -> Result<Tensor<1>> {
        let values = self.weights.take(name, &[len])?;
        Ok(self.tensor(values, [len]))
    }

    fn tensor<const D: usize>(&self, values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
        Tensor::from_data(TensorData::new(values, shape), self.device)
    }
}
