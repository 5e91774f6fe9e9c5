//! Names in PEFT files: tensor keys to module paths, and module paths of ViTs in every dialect.

use crate::vit::target::Target;

/// Which transformers' module names a file uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// transformers up to 5.8, for DINOv2 up to 5.17.
    Old,
    /// transformers since 5.9, for DINOv2 since 5.18.
    New,
}

/// What a tensor of a LoRA file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `lora_A`, `[rank, in]`.
    A,
    /// `lora_B`, `[out, rank]`.
    B,
    /// `lora_embedding_A`, `[rank, vocabulary]`.
    EmbeddingA,
    /// `lora_embedding_B`, `[dim, rank]`.
    EmbeddingB,
    /// A tensor of an option that changes the mathematics; the option's name.
    Refused(&'static str),
    /// No LoRA tensor.
    Other,
}

const PARTS: [(&str, Part); 7] = [
    ("lora_A.weight", Part::A),
    ("lora_B.weight", Part::B),
    ("lora_embedding_A", Part::EmbeddingA),
    ("lora_embedding_B", Part::EmbeddingB),
    ("lora_B.bias", Part::Refused("lora_bias")),
    ("lora_magnitude_vector", Part::Refused("use_dora")),
    ("lora_magnitude_vector.weight", Part::Refused("use_dora")),
];

/// Splits a key into module path and part; for [`Part::Other`] the path is the tensor's.
///
/// Takes away `base_model.model.`, and what dumps of a model in memory have more than saved files:
/// the adapter name `default` and `modules_to_save`.
pub fn split_key(key: &str) -> (String, Part) {
    let key = key.strip_prefix("base_model.model.").unwrap_or(key);
    if let Some((path, tail)) = key.rfind(".lora_").map(|dot| (&key[..dot], &key[dot + 1..])) {
        let tail = tail.replacen(".default", "", 1);
        if let Some((_, part)) = PARTS.iter().find(|(name, _)| *name == tail) {
            return (path.to_string(), *part);
        }
    }
    (key.replace(".modules_to_save.default.", ".").replace(".modules_to_save.", "."), Part::Other)
}

/// What a linear layer of a ViT block is called for LoRA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    /// One of ours.
    One(Target),
    /// timm's fused query, key and value.
    Qkv,
    /// The gated half of fc1.
    Gate,
    /// The other half of fc1.
    Up,
    /// A layer of timm's gated MLP, of which ours has no part.
    Gated,
}

impl Slot {
    /// The slots that hold parts of the same layer, or all of it: an update in both would count twice.
    pub fn overlapping(self) -> &'static [Self] {
        match self {
            Self::Qkv => &[Self::One(Target::Query), Self::One(Target::Key), Self::One(Target::Value)],
            Self::One(Target::Query | Target::Key | Target::Value) => &[Self::Qkv],
            Self::Gate | Self::Up => &[Self::One(Target::Fc1)],
            Self::One(Target::Fc1) => &[Self::Gate, Self::Up],
            Self::One(Target::Proj | Target::Fc2) | Self::Gated => &[],
        }
    }
}

/// The path of a linear layer of a ViT, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VitPath<'a> {
    /// `vit`, `deit`, `dinov2`, `timm_model`, or nothing for a bare model.
    pub prefix: &'a str,
    /// Block index.
    pub block: usize,
    /// Layer of the block.
    pub slot: Slot,
    /// Whether the name is timm's.
    pub timm: bool,
    /// Whether the name is one of a gated feed-forward part.
    pub gated: bool,
}

const PREFIXES: [&str; 4] = ["vit", "deit", "dinov2", "timm_model"];

const SLOTS: [(&str, Slot); 21] = [
    ("attention.attention.query", Slot::One(Target::Query)),
    ("attention.attention.key", Slot::One(Target::Key)),
    ("attention.attention.value", Slot::One(Target::Value)),
    ("attention.output.dense", Slot::One(Target::Proj)),
    ("intermediate.dense", Slot::One(Target::Fc1)),
    ("output.dense", Slot::One(Target::Fc2)),
    ("attention.q_proj", Slot::One(Target::Query)),
    ("attention.k_proj", Slot::One(Target::Key)),
    ("attention.v_proj", Slot::One(Target::Value)),
    ("attention.o_proj", Slot::One(Target::Proj)),
    ("mlp.fc1", Slot::One(Target::Fc1)),
    ("mlp.fc2", Slot::One(Target::Fc2)),
    ("attn.proj", Slot::One(Target::Proj)),
    ("attn.qkv", Slot::Qkv),
    ("mlp.weights_in", Slot::One(Target::Fc1)),
    ("mlp.weights_out", Slot::One(Target::Fc2)),
    ("mlp.gate_proj", Slot::Gate),
    ("mlp.up_proj", Slot::Up),
    ("mlp.down_proj", Slot::One(Target::Fc2)),
    ("mlp.fc1_g", Slot::Gated),
    ("mlp.fc1_x", Slot::Gated),
];

impl<'a> VitPath<'a> {
    /// Takes a module path apart; `None` when it is not a linear layer of a ViT block.
    pub fn parse(path: &'a str) -> Option<Self> {
        let prefixed = |prefix: &&str| path.strip_prefix(*prefix).is_some_and(|rest| rest.starts_with('.'));
        let prefix =
            PREFIXES.iter().find(|prefix| prefixed(prefix)).map_or("", |prefix| &path[..prefix.len()]);
        let rest = path.strip_prefix(prefix)?.trim_start_matches('.');
        let rest = rest.strip_prefix("encoder.").unwrap_or(rest);
        let (blocks, rest) =
            rest.split_once('.').filter(|(blocks, _)| ["layer", "layers", "blocks"].contains(blocks))?;
        let (index, layer) = rest.split_once('.')?;
        let block = index.parse().ok()?;
        let slot = SLOTS.iter().find(|(name, _)| *name == layer)?.1;
        let plain = ["fc1", "fc2", "dense"].iter().any(|name| layer.ends_with(name));
        let gated = layer.starts_with("mlp.") && !plain;
        Some(Self { prefix, block, slot, timm: blocks == "blocks", gated })
    }
}

/// Module path of a linear layer.
///
/// `prefix` is `vit`, `deit`, `dinov2`, or nothing for a bare ViT.
pub fn vit_path(prefix: &str, block: usize, target: Target, dialect: Dialect) -> String {
    let dinov2 = prefix == "dinov2";
    let blocks = if dinov2 || dialect == Dialect::Old { "encoder.layer" } else { "layers" };
    let layer = match (dialect, target) {
        (Dialect::Old, Target::Query) => "attention.attention.query",
        (Dialect::Old, Target::Key) => "attention.attention.key",
        (Dialect::Old, Target::Value) => "attention.attention.value",
        (Dialect::Old, Target::Proj) => "attention.output.dense",
        (Dialect::Old, Target::Fc1) if !dinov2 => "intermediate.dense",
        (Dialect::Old, Target::Fc2) if !dinov2 => "output.dense",
        (Dialect::New, Target::Query) => "attention.q_proj",
        (Dialect::New, Target::Key) => "attention.k_proj",
        (Dialect::New, Target::Value) => "attention.v_proj",
        (Dialect::New, Target::Proj) => "attention.o_proj",
        (_, Target::Fc1) => "mlp.fc1",
        (_, Target::Fc2) => "mlp.fc2",
    };
    let dot = if prefix.is_empty() { "" } else { "." };
    format!("{prefix}{dot}{blocks}.{block}.{layer}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_paths_are_read_back() {
        for prefix in ["vit", "deit", "dinov2", ""] {
            for dialect in [Dialect::Old, Dialect::New] {
                for target in Target::ALL {
                    let path = vit_path(prefix, 11, target, dialect);
                    let slot = Slot::One(target);
                    let expected = VitPath { prefix, block: 11, slot, timm: false, gated: false };
                    assert_eq!(VitPath::parse(&path), Some(expected), "{path}");
                }
            }
        }
    }

    #[test]
    fn other_models_are_not_taken_for_a_vit() {
        for path in [
            "model.layers.0.mlp.fc1",
            "bert.encoder.layer.0.output.dense",
            "vit.layers.x.mlp.fc1",
            "vit.layers.0.mlp",
            "vitx.layers.0.mlp.fc1",
            "classifier",
        ] {
            assert_eq!(VitPath::parse(path), None, "{path}");
        }
    }

    #[test]
    fn keys_are_split_with_and_without_the_adapter_name() {
        for (key, path, part) in [
            ("base_model.model.vit.layers.0.mlp.fc1.lora_A.weight", "vit.layers.0.mlp.fc1", Part::A),
            ("layers.0.mlp.fc1.lora_B.default.weight", "layers.0.mlp.fc1", Part::B),
            ("base_model.model.wte.lora_embedding_A.default", "wte", Part::EmbeddingA),
            ("x.lora_magnitude_vector.default.weight", "x", Part::Refused("use_dora")),
            ("x.lora_B.bias", "x", Part::Refused("lora_bias")),
            ("base_model.model.classifier.modules_to_save.default.weight", "classifier.weight", Part::Other),
        ] {
            assert_eq!(split_key(key), (path.to_string(), part), "{key}");
        }
    }
}
