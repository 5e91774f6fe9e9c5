//! Writing a model in the Hugging Face layout, with the on-disk names that every transformers reads.

use std::{collections::BTreeMap, path::Path};

use serde_json::{Value, json};

use super::config::swiglu_width;
use crate::{
    device,
    error::{Error, Result},
    head::Head,
    lora::tensor_file::{Precision, TensorWriter},
    matrix::transpose,
    vit::{
        config::{MlpKind, Pooling, VitConfig},
        model::Vit,
    },
};

/// What a person can do whose model has no form in transformers.
const INSTEAD: &str =
    "save an adapter of another method instead, without `full` among the methods and without merging";

/// A tensor on the host: shape and values.
type Host = (Vec<usize>, Vec<f32>);

/// `config.json` of a model and its head.
///
/// # Errors
/// An architecture that transformers has no name for (timm's average pooling).
pub fn config_json(name: &str, config: &VitConfig, labels: &[String], precision: Precision) -> Result<Value> {
    let family = family(name, config)?;
    let id2label: serde_json::Map<String, Value> =
        labels.iter().enumerate().map(|(index, label)| (index.to_string(), json!(label))).collect();
    let label2id: serde_json::Map<String, Value> =
        labels.iter().enumerate().map(|(index, label)| (label.clone(), json!(index))).collect();
    let side = |(height, width): (usize, usize)| {
        if height == width { json!(height) } else { json!([height, width]) }
    };
    let mut json = json!({
        "architectures": [family.architecture],
        "model_type": family.model_type,
        "hidden_size": config.embed_dim,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.num_heads,
        "hidden_act": "gelu",
        "layer_norm_eps": config.layer_norm_eps,
        "image_size": side(config.img_size),
        "patch_size": side(config.patch_size),
        "num_channels": 3,
        "qkv_bias": config.qkv_bias,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "dtype": precision.torch_name(),
        "id2label": id2label,
        "label2id": label2id,
    });
    if family.model_type == "dinov2" {
        json["mlp_ratio"] = json!(mlp_ratio(name, config)?);
        json["use_swiglu_ffn"] = json!(config.mlp == MlpKind::SwiGlu);
    } else {
        json["intermediate_size"] = json!(config.mlp_dim);
    }
    Ok(json)
}

/// The whole multiple of the width that DINOv2's files give instead of the channels of the feed-forward part.
fn mlp_ratio(name: &str, config: &VitConfig) -> Result<usize> {
    let channels = |ratio: usize| match config.mlp {
        MlpKind::Gelu => ratio * config.embed_dim,
        MlpKind::SwiGlu => swiglu_width(ratio * config.embed_dim),
    };
    let found = (1..=config.mlp_dim).find(|ratio| channels(*ratio) >= config.mlp_dim);
    found.filter(|ratio| channels(*ratio) == config.mlp_dim).ok_or_else(|| Error::Unsupported {
        name: name.into(),
        option: format!("saving a feed-forward part of {} channels", config.mlp_dim),
        reason: format!(
            "they follow from no whole multiple of {} as transformers counts them; {INSTEAD}",
            config.embed_dim
        ),
    })
}

/// `model.safetensors` of a model and its head.
///
/// # Errors
/// As [`config_json`]; a value that is not finite at this precision, or a lost device.
pub async fn safetensors(name: &str, vit: &Vit, head: &Head, precision: Precision) -> Result<Vec<u8>> {
    let family = family(name, &vit.config)?;
    let mut tensors = BTreeMap::new();
    let mut copy = vit.clone();
    for (timm_name, tensor) in copy.tensors_mut() {
        let host = (tensor.shape(), device::read(tensor.to_matrix()).await?);
        insert(&mut tensors, &family, &vit.config, &timm_name, host);
    }
    insert_head(&mut tensors, &family, head);
    let shapes: Vec<_> = tensors.iter().map(|(key, (shape, _))| (key.clone(), shape.clone())).collect();
    let mut file = TensorWriter::new(Vec::new(), Path::new(name), &shapes, precision)?;
    for (_, values) in tensors.into_values() {
        file.write(&values)?;
    }
    file.finish()
}

/// What transformers calls an architecture.
struct Family {
    model_type: &'static str,
    architecture: &'static str,
    prefix: &'static str,
}

fn family(name: &str, config: &VitConfig) -> Result<Family> {
    let family = |model_type, architecture, prefix| Ok(Family { model_type, architecture, prefix });
    match config.pooling {
        Pooling::ClsPatchMean => family("dinov2", "Dinov2ForImageClassification", "dinov2"),
        Pooling::ClsDist => family("deit", "DeiTForImageClassificationWithTeacher", "deit"),
        Pooling::Cls if config.num_prefix_tokens == 2 => family("deit", "DeiTForImageClassification", "deit"),
        Pooling::Cls if !config.layer_scale => family("vit", "ViTForImageClassification", "vit"),
        _ => Err(Error::Unsupported {
            name: name.into(),
            option: "saving this architecture".into(),
            reason: format!("transformers has no name for it; {INSTEAD}"),
        }),
    }
}

/// Adds a tensor under its Hugging Face name in PyTorch's layout.
fn insert(tensors: &mut BTreeMap<String, Host>, family: &Family, config: &VitConfig, name: &str, host: Host) {
    let (shape, values) = host;
    let prefix = family.prefix;
    match name {
        "prefix_tokens" => {
            for (part, values) in
                ["cls_token", "distillation_token"].iter().zip(values.chunks(config.embed_dim))
            {
                let host = (vec![1, 1, config.embed_dim], values.to_vec());
                tensors.insert(format!("{prefix}.embeddings.{part}"), host);
            }
        }
        "patch_embed.proj.weight" => {
            let shape = vec![config.embed_dim, 3, config.patch_size.0, config.patch_size.1];
            let weight = transpose(&values, config.patch_dim(), config.embed_dim);
            tensors
                .insert(format!("{prefix}.embeddings.patch_embeddings.projection.weight"), (shape, weight));
        }
        _ => {
            let host = match shape.as_slice() {
                &[rows, columns] => (vec![columns, rows], transpose(&values, rows, columns)),
                _ => (shape, values),
            };
            tensors.insert(format!("{prefix}.{}", hf_name(family, config, name)), host);
        }
    }
}

/// timm's name to the one on disk.
fn hf_name(family: &Family, config: &VitConfig, name: &str) -> String {
    let dinov2 = family.model_type == "dinov2";
    let swiglu = config.mlp == MlpKind::SwiGlu;
    let Some((index, part)) = name.strip_prefix("blocks.").and_then(|rest| rest.split_once('.')) else {
        return match name {
            "pos_embed" => "embeddings.position_embeddings".into(),
            _ => name
                .replace("patch_embed.proj", "embeddings.patch_embeddings.projection")
                .replace("norm.", "layernorm."),
        };
    };
    let (module, kind) = part.rsplit_once('.').unwrap_or((part, ""));
    let module = match module {
        "attn.query" => "attention.attention.query",
        "attn.key" => "attention.attention.key",
        "attn.value" => "attention.attention.value",
        "attn.proj" => "attention.output.dense",
        "norm1" if !dinov2 => "layernorm_before",
        "norm2" if !dinov2 => "layernorm_after",
        "mlp.fc1" if swiglu => "mlp.weights_in",
        "mlp.fc2" if swiglu => "mlp.weights_out",
        "mlp.fc1" if !dinov2 => "intermediate.dense",
        "mlp.fc2" if !dinov2 => "output.dense",
        "ls1" => "layer_scale1",
        "ls2" => "layer_scale2",
        other => other,
    };
    let kind = if kind == "gamma" { "lambda1" } else { kind };
    format!("encoder.layer.{index}.{module}.{kind}")
}

/// One head, or for DeiT's two tokens the two heads whose mean it is.
fn insert_head(tensors: &mut BTreeMap<String, Host>, family: &Family, head: &Head) {
    let classes = head.classes();
    if family.architecture != "DeiTForImageClassificationWithTeacher" {
        tensors.insert("classifier.weight".into(), (vec![classes, head.features], head.weight.clone()));
        tensors.insert("classifier.bias".into(), (vec![classes], head.bias.clone()));
        return;
    }
    let dim = head.features / 2;
    for (offset, name) in [(0, "cls_classifier"), (dim, "distillation_classifier")] {
        let rows = head.weight.chunks(head.features);
        let weight = rows.flat_map(|row| row[offset..offset + dim].iter().map(|value| 2.0 * value)).collect();
        tensors.insert(format!("{name}.weight"), (vec![classes, dim], weight));
        tensors.insert(format!("{name}.bias"), (vec![classes], head.bias.clone()));
    }
}
