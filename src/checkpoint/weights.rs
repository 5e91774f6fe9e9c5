//! Tensors of a checkpoint under timm names, whatever dialect the file speaks.

use std::collections::BTreeMap;

use safetensors::SafeTensors;

use crate::{
    error::{Error, Result},
    lora::tensor_file::decode,
    matrix::transpose,
};

/// Host tensors of one checkpoint, taken one by one; what is left at the end is an error.
pub struct Weights {
    name: String,
    tensors: BTreeMap<String, HostTensor>,
}

/// One tensor on the host.
struct HostTensor {
    /// Name in the file, for messages.
    original: String,
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl Weights {
    /// Reads a safetensors file and renames its tensors to timm's names.
    ///
    /// # Errors
    /// An unreadable file, a tensor type other than f64, f32, f16 or bf16, a value that is not
    /// finite, or two tensors that mean the same thing.
    pub fn from_bytes(name: &str, bytes: &[u8]) -> Result<Self> {
        let file = SafeTensors::deserialize(bytes)
            .map_err(|error| Error::Safetensors { name: name.into(), reason: error.to_string() })?;
        let mut tensors = BTreeMap::new();
        for (original, view) in file.iter() {
            let Some(key) = canonical_name(original) else { continue };
            let values = decode(name, original, view.dtype(), view.data())?;
            let tensor = HostTensor { original: original.to_string(), shape: view.shape().to_vec(), values };
            if let Some(other) = tensors.insert(key, tensor) {
                return Err(Error::Safetensors {
                    name: name.into(),
                    reason: format!("`{original}` and `{}` are the same tensor", other.original),
                });
            }
        }
        Ok(Self { name: name.into(), tensors })
    }

    /// File name, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether a tensor is there.
    pub fn contains(&self, key: &str) -> bool {
        self.tensors.contains_key(key)
    }

    /// Shape of a tensor.
    ///
    /// # Errors
    /// [`Error::MissingTensor`].
    pub fn shape(&self, key: &str) -> Result<&[usize]> {
        self.tensors.get(key).map(|tensor| tensor.shape.as_slice()).ok_or_else(|| self.missing(key))
    }

    /// Number of blocks: one more than the highest block index.
    pub fn depth(&self) -> usize {
        let index = |key: &String| key.strip_prefix("blocks.")?.split('.').next()?.parse::<usize>().ok();
        self.tensors.keys().filter_map(index).max().map_or(0, |last| last.saturating_add(1))
    }

    /// Removes a tensor and returns its values in row-major order.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], or [`Error::TensorShape`] when the shape is not the expected one.
    pub fn take(&mut self, key: &str, expected: &[usize]) -> Result<Vec<f32>> {
        let tensor = self.tensors.remove(key).ok_or_else(|| self.missing(key))?;
        if tensor.shape != expected {
            return Err(Error::TensorShape {
                name: self.name.clone(),
                tensor: tensor.original,
                found: tensor.shape,
                expected: expected.to_vec(),
            });
        }
        Ok(tensor.values)
    }

    /// Removes a PyTorch linear weight `[out, in]` and returns it as `[in, out]`.
    ///
    /// # Errors
    /// As [`Weights::take`].
    pub fn take_transposed(&mut self, key: &str, inputs: usize, outputs: usize) -> Result<Vec<f32>> {
        Ok(transpose(&self.take(key, &[outputs, inputs])?, outputs, inputs))
    }

    /// Splits timm's fused `attn.qkv` (rows: query, key, value) into three tensors.
    ///
    /// # Errors
    /// [`Error::TensorShape`] when its rows are not three times `dim`.
    pub fn split_qkv(&mut self, block: usize, dim: usize) -> Result<()> {
        for (part, row) in [("weight", dim), ("bias", 1)] {
            let fused = format!("blocks.{block}.attn.qkv.{part}");
            let Some(shape) = self.tensors.get(&fused).map(|tensor| tensor.shape.clone()) else { continue };
            let expected: &[usize] = if part == "weight" { &[3 * dim, dim] } else { &[3 * dim] };
            let values = self.take(&fused, expected)?;
            for (target, chunk) in ["query", "key", "value"].iter().zip(values.chunks(dim * row)) {
                let shape = if shape.len() == 2 { vec![dim, dim] } else { vec![dim] };
                let tensor = HostTensor { original: fused.clone(), shape, values: chunk.to_vec() };
                self.tensors.insert(format!("blocks.{block}.attn.{target}.{part}"), tensor);
            }
        }
        Ok(())
    }

    /// Checks that every tensor was used.
    ///
    /// # Errors
    /// [`Error::UnexpectedTensors`] with the names in the file.
    pub fn finish(self) -> Result<()> {
        if self.tensors.is_empty() {
            return Ok(());
        }
        let tensors = self.tensors.into_values().map(|tensor| tensor.original).collect();
        Err(Error::UnexpectedTensors { name: self.name, tensors })
    }

    fn missing(&self, key: &str) -> Error {
        Error::MissingTensor { name: self.name.clone(), tensor: key.into() }
    }
}

/// Renames a tensor to timm's names; `None` for tensors that a classifier never uses.
fn canonical_name(original: &str) -> Option<String> {
    let mut key = original;
    for prefix in ["vit.", "deit.", "dinov2."] {
        key = key.strip_prefix(prefix).unwrap_or(key);
    }
    if key.starts_with("pooler.") || key == "embeddings.mask_token" {
        return None;
    }
    let key = key.strip_prefix("encoder.").unwrap_or(key);
    let block = key.strip_prefix("layers.").or_else(|| key.strip_prefix("layer."));
    if let Some((index, rest)) = block.and_then(|rest| rest.split_once('.')) {
        return Some(format!("blocks.{index}.{}", rename(rest, &BLOCK_NAMES)));
    }
    Some(rename(key, &MODEL_NAMES))
}

/// Replaces the first matching prefix that ends at a dot or at the end.
fn rename(key: &str, names: &[(&str, &str)]) -> String {
    for (from, to) in names {
        if let Some(rest) = key.strip_prefix(from)
            && (rest.is_empty() || rest.starts_with('.'))
        {
            return format!("{to}{rest}");
        }
    }
    key.to_string()
}

/// transformers (old and new names, DINOv2) to timm, inside a block.
const BLOCK_NAMES: [(&str, &str); 16] = [
    ("layernorm_before", "norm1"),
    ("layernorm_after", "norm2"),
    ("attention.attention.query", "attn.query"),
    ("attention.attention.key", "attn.key"),
    ("attention.attention.value", "attn.value"),
    ("attention.output.dense", "attn.proj"),
    ("attention.q_proj", "attn.query"),
    ("attention.k_proj", "attn.key"),
    ("attention.v_proj", "attn.value"),
    ("attention.o_proj", "attn.proj"),
    ("intermediate.dense", "mlp.fc1"),
    ("output.dense", "mlp.fc2"),
    ("layer_scale1.lambda1", "ls1.gamma"),
    ("layer_scale2.lambda1", "ls2.gamma"),
    ("mlp.weights_in", "mlp.fc1"),
    ("mlp.weights_out", "mlp.fc2"),
];

/// The same outside the blocks.
const MODEL_NAMES: [(&str, &str); 8] = [
    ("embeddings.cls_token", "cls_token"),
    ("embeddings.distillation_token", "dist_token"),
    ("embeddings.position_embeddings", "pos_embed"),
    ("embeddings.patch_embeddings.projection", "patch_embed.proj"),
    ("layernorm", "norm"),
    ("classifier", "head"),
    ("cls_classifier", "head"),
    ("distillation_classifier", "head_dist"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dialect_gets_timm_names() {
        for (original, expected) in [
            ("vit.encoder.layer.3.attention.attention.query.weight", "blocks.3.attn.query.weight"),
            ("vit.layers.3.attention.q_proj.weight", "blocks.3.attn.query.weight"),
            ("encoder.layer.0.output.dense.bias", "blocks.0.mlp.fc2.bias"),
            ("dinov2.encoder.layer.1.layer_scale2.lambda1", "blocks.1.ls2.gamma"),
            ("dinov2.encoder.layer.1.norm1.weight", "blocks.1.norm1.weight"),
            ("deit.embeddings.distillation_token", "dist_token"),
            ("blocks.7.attn.qkv.weight", "blocks.7.attn.qkv.weight"),
            ("layernorm.weight", "norm.weight"),
            ("cls_classifier.bias", "head.bias"),
        ] {
            assert_eq!(canonical_name(original).as_deref(), Some(expected), "{original}");
        }
        assert_eq!(canonical_name("pooler.dense.weight"), None);
    }
}
