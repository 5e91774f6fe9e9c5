//! `config.json` of transformers (ViT, DeiT, DINOv2) and of timm, turned into a [`VitConfig`].

use serde_json::Value;

use super::{options, timm_args, weights::Weights};
use crate::{
    error::{Error, Result},
    vit::config::{MlpKind, Pooling, VitConfig},
};

/// What `config.json` says beyond the architecture.
#[derive(Clone, Debug, Default)]
pub struct ModelInfo {
    /// Class names of the checkpoint's own head, by index; empty when the file names none.
    pub labels: Vec<String>,
    /// Whether the file is timm's.
    pub timm: bool,
    /// Whether the position embeddings begin with rows for the prefix tokens; DeiT III has none.
    pub prefix_positions: bool,
}

/// Reads the architecture, checking it against the tensors that are there.
///
/// # Errors
/// A field that is absent, of the wrong type, or whose value is not supported, by name.
pub fn vit_config(name: &str, json: &str, weights: &Weights) -> Result<(VitConfig, ModelInfo)> {
    let config: Value =
        serde_json::from_str(json).map_err(|error| Error::config(name, "-", format!("not JSON: {error}")))?;
    config.as_object().map_or(Ok(()), |fields| options::refuse(name, fields))?;
    let reader = Reader { name, config: &config };
    let architecture = config.get("architecture").map(|name| name.as_str().unwrap_or("-"));
    let parsed = match architecture {
        Some(architecture) => timm(&reader, architecture, weights)?,
        None => transformers(&reader, weights)?,
    };
    check(name, &parsed, weights)?;
    let patches_only = architecture.is_some_and(|name| name.starts_with("deit3_"))
        || (config.pointer("/model_args/no_embed_class") == Some(&Value::Bool(true)));
    let info =
        ModelInfo { labels: labels(&config), timm: architecture.is_some(), prefix_positions: !patches_only };
    Ok((parsed, info))
}

/// Typed access to fields, with the file's name in every error.
struct Reader<'a> {
    name: &'a str,
    config: &'a Value,
}

impl Reader<'_> {
    fn error(&self, field: &str, reason: impl Into<String>) -> Error {
        Error::config(self.name, field, reason)
    }

    fn size(&self, field: &str) -> Result<usize> {
        let value = self.config.get(field).ok_or_else(|| self.error(field, "missing"))?;
        self.positive(field, value)
    }

    fn positive(&self, field: &str, value: &Value) -> Result<usize> {
        match value.as_u64() {
            Some(size) if (1..=1 << 20).contains(&size) => Ok(size as usize),
            _ => Err(self.error(field, format!("{value} is not a size between 1 and {}", 1 << 20))),
        }
    }

    /// One number for both sides, or `[height, width]`.
    fn pair(&self, field: &str, value: Option<&Value>) -> Result<(usize, usize)> {
        match value {
            Some(Value::Array(sides)) if sides.len() == 2 => {
                Ok((self.positive(field, &sides[0])?, self.positive(field, &sides[1])?))
            }
            Some(value) => self.positive(field, value).map(|side| (side, side)),
            None => Err(self.error(field, "missing")),
        }
    }

    fn flag(&self, field: &str, default: bool) -> Result<bool> {
        match self.config.get(field) {
            None | Some(Value::Null) => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(self.error(field, format!("{other} is neither true nor false"))),
        }
    }

    fn epsilon(&self, default: f64) -> Result<f64> {
        match self.config.get("layer_norm_eps") {
            None => Ok(default),
            Some(value) => value
                .as_f64()
                .filter(|epsilon| (0.0..1.0).contains(epsilon))
                .ok_or_else(|| self.error("layer_norm_eps", format!("{value} is not between 0 and 1"))),
        }
    }

    fn refuse(&self, field: &str, found: &str, supported: &str) -> Error {
        Error::Unsupported {
            name: self.name.into(),
            option: format!("{field} = {found}"),
            reason: format!("supported: {supported}"),
        }
    }
}

/// Channels of DINOv2's gated feed-forward part: two thirds of the nominal ones, rounded up to a multiple of eight.
pub(super) fn swiglu_width(nominal: usize) -> usize {
    (nominal.saturating_mul(2) / 3).div_ceil(8) * 8
}

fn transformers(reader: &Reader, weights: &Weights) -> Result<VitConfig> {
    let text = |field: &str| reader.config.get(field).and_then(Value::as_str);
    let model_type = text("model_type").unwrap_or("-");
    if !["vit", "deit", "dinov2"].contains(&model_type) {
        return Err(reader.refuse("model_type", model_type, "vit, deit, dinov2, and timm ViTs"));
    }
    let activation = reader.config.get("hidden_act").filter(|activation| !activation.is_null());
    if let Some(other) = activation.filter(|activation| activation.as_str() != Some("gelu")) {
        return Err(reader.refuse("hidden_act", &other.to_string(), "gelu"));
    }
    let dinov2 = model_type == "dinov2";
    let swiglu = dinov2 && reader.flag("use_swiglu_ffn", false)?;
    let embed_dim = reader.size("hidden_size")?;
    let mlp_dim = match (dinov2, swiglu) {
        (false, _) => reader.size("intermediate_size")?,
        (true, false) => reader.size("mlp_ratio")?.saturating_mul(embed_dim),
        (true, true) => swiglu_width(reader.size("mlp_ratio")?.saturating_mul(embed_dim)),
    };
    let distilled = weights.contains("dist_token");
    let both_heads = distilled && weights.contains("head_dist.weight");
    Ok(VitConfig {
        img_size: reader.pair("image_size", reader.config.get("image_size"))?,
        patch_size: reader.pair("patch_size", reader.config.get("patch_size"))?,
        embed_dim,
        depth: reader.size("num_hidden_layers")?,
        num_heads: reader.size("num_attention_heads")?,
        mlp_dim,
        mlp: if swiglu { MlpKind::SwiGlu } else { MlpKind::Gelu },
        qkv_bias: qkv_bias(reader, weights)?,
        layer_scale: dinov2,
        layer_norm_eps: reader.epsilon(if dinov2 { 1e-6 } else { 1e-12 })?,
        num_prefix_tokens: if distilled { 2 } else { 1 },
        pooling: match (dinov2, both_heads) {
            (true, _) => Pooling::ClsPatchMean,
            (_, true) => Pooling::ClsDist,
            _ => Pooling::Cls,
        },
    })
}

/// Whether query, key and value have biases. `attention_bias`, which other architectures have, must agree with the tensors.
fn qkv_bias(reader: &Reader, weights: &Weights) -> Result<bool> {
    let found = weights.contains("blocks.0.attn.query.bias");
    let stated = reader.flag("attention_bias", found)?;
    if stated != found {
        let reason = "the tensors of query, key and value say otherwise; take it out if they are right";
        let option = format!("attention_bias = {stated}");
        return Err(Error::Unsupported { name: reader.name.into(), option, reason: reason.into() });
    }
    let given = reader.config.get("attention_bias").is_some_and(Value::is_boolean);
    reader.flag("qkv_bias", !given || stated)
}

/// timm states little: sizes that its file does not give are read off the tensors.
fn timm(reader: &Reader, architecture: &str, weights: &Weights) -> Result<VitConfig> {
    let known = ["vit_", "deit_", "deit3_"].iter().any(|prefix| architecture.starts_with(prefix));
    if !known || weights.contains("reg_token") || !weights.contains("cls_token") {
        let supported = "timm's vit_* and deit* with a class token and without registers";
        return Err(reader.refuse("architecture", architecture, supported));
    }
    let args = &reader.config["model_args"];
    for (option, value) in args.as_object().into_iter().flatten() {
        if !timm_args::is_known(option, value) {
            return Err(reader.refuse(&format!("model_args.{option}"), &value.to_string(), "timm's default"));
        }
    }
    let embed_dim = last(weights.shape("cls_token")?);
    let patch_shape = weights.shape("patch_embed.proj.weight")?;
    let patch_size = match patch_shape {
        [_, _, height, width] => (*height, *width),
        _ => return Err(reader.error("patch_embed.proj.weight", "it is not a 4-d convolution")),
    };
    let input = reader.config.pointer("/pretrained_cfg/input_size");
    let img_size = match (args.get("img_size"), input.and_then(Value::as_array)) {
        (Some(size), _) => reader.pair("model_args.img_size", Some(size))?,
        (None, Some(chw)) if chw.len() == 3 => {
            (reader.positive("input_size", &chw[1])?, reader.positive("input_size", &chw[2])?)
        }
        _ => return Err(reader.error("pretrained_cfg.input_size", "missing")),
    };
    let num_heads = match args.get("num_heads") {
        Some(value) => reader.positive("model_args.num_heads", value)?,
        None => timm_args::heads(architecture, embed_dim).ok_or_else(|| {
            let reason = format!(
                "missing, and the number of heads of `{architecture}` with {embed_dim} channels is not known; add it as timm prints it (`model.blocks[0].attn.num_heads`)"
            );
            reader.error("model_args.num_heads", reason)
        })?,
    };
    // As in timm, what the model was made with comes before what the file says of it.
    let pool = args.get("global_pool").filter(|pool| !pool.is_null()).or(reader.config.get("global_pool"));
    let average = match pool.map(|pool| pool.as_str().unwrap_or("-")) {
        None | Some("token") => false,
        Some("avg") => true,
        Some(other) => return Err(reader.refuse("global_pool", other, "token, avg")),
    };
    let distilled = weights.contains("dist_token");
    Ok(VitConfig {
        img_size,
        patch_size,
        embed_dim,
        depth: weights.depth(),
        num_heads,
        mlp_dim: weights.shape("blocks.0.mlp.fc1.weight")?.first().copied().unwrap_or(0),
        mlp: MlpKind::Gelu,
        qkv_bias: weights.contains("blocks.0.attn.qkv.bias"),
        layer_scale: weights.contains("blocks.0.ls1.gamma"),
        layer_norm_eps: 1e-6,
        num_prefix_tokens: if distilled { 2 } else { 1 },
        pooling: match (average, distilled) {
            (true, _) => Pooling::PatchMean,
            (_, true) => Pooling::ClsDist,
            _ => Pooling::Cls,
        },
    })
}

fn last(shape: &[usize]) -> usize {
    shape.last().copied().unwrap_or(0)
}

/// Sizes that would make later arithmetic fail, with the reason.
fn check(name: &str, config: &VitConfig, weights: &Weights) -> Result<()> {
    let fail = |field: &str, reason: String| Err(Error::config(name, field, reason));
    if config.embed_dim == 0 || !config.embed_dim.is_multiple_of(config.num_heads) {
        let reason = format!("{} heads do not divide {} channels", config.num_heads, config.embed_dim);
        return fail("num_attention_heads", reason);
    }
    let fits = |size: usize, patch: usize| patch <= size && size.is_multiple_of(patch);
    if !fits(config.img_size.0, config.patch_size.0) || !fits(config.img_size.1, config.patch_size.1) {
        let reason =
            format!("{:?} is not a multiple of the patch size {:?}", config.img_size, config.patch_size);
        return fail("image_size", reason);
    }
    if config.depth == 0 || config.depth > weights.depth() {
        let reason = format!("{} blocks asked for, {} in the weights", config.depth, weights.depth());
        return fail("num_hidden_layers", reason);
    }
    Ok(())
}

/// `id2label` in index order; empty unless it names every index from 0.
fn labels(config: &Value) -> Vec<String> {
    let Some(map) = config.get("id2label").and_then(Value::as_object) else { return Vec::new() };
    let label = |index: usize| map.get(&index.to_string())?.as_str().map(str::to_string);
    (0..map.len()).map(label).collect::<Option<Vec<_>>>().unwrap_or_default()
}
