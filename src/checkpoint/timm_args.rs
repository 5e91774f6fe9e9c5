//! What timm's names and arguments say of a ViT.

use serde_json::Value;

/// Arguments that are read here, that the tensors tell, or that change nothing after training.
const FREE: [&str; 25] = [
    "attn_drop_rate",
    "depth",
    "drop_path_rate",
    "drop_rate",
    "dynamic_img_pad",
    "dynamic_img_size",
    "embed_dim",
    "fc_norm",
    "fix_init",
    "global_pool",
    "img_size",
    "in_chans",
    "init_values",
    "mlp_ratio",
    "no_embed_class",
    "num_classes",
    "num_heads",
    "patch_drop_rate",
    "patch_size",
    "pos_drop_rate",
    "proj_bias",
    "proj_drop_rate",
    "qkv_bias",
    "strict_img_size",
    "weight_init",
];

/// Arguments that would change the mathematics without a trace in the tensors, with timm's default as JSON.
const DEFAULTS: [(&str, &str); 9] = [
    ("class_token", "true"),
    ("final_norm", "true"),
    ("pool_include_prefix", "false"),
    ("pos_embed", "\"learn\""),
    ("pre_norm", "false"),
    ("qk_norm", "false"),
    ("reg_tokens", "0"),
    ("scale_attn_norm", "false"),
    ("scale_mlp_norm", "false"),
];

/// Whether a model with this argument is computed here as timm computes it. Null is timm's default.
pub fn is_known(option: &str, value: &Value) -> bool {
    let is = |json: &str| serde_json::from_str(json).is_ok_and(|default: Value| default == *value);
    let default = || DEFAULTS.iter().any(|(name, json)| *name == option && is(json));
    value.is_null() || FREE.contains(&option) || default()
}

/// Channels and attention heads by the name up to `_patch`: timm's files leave them out, and heads have 64 channels in
/// the smaller models only.
const TIMM_HEADS: [(&str, usize, usize); 20] = [
    ("vit_tiny", 192, 3),
    ("vit_small", 384, 6),
    ("vit_base", 768, 12),
    ("vit_base", 896, 14),
    ("vit_large", 1024, 16),
    ("vit_huge", 1280, 16),
    ("vit_giant", 1408, 16),
    ("vit_gigantic", 1664, 16),
    ("vit_intern300m", 1024, 16),
    ("deit_tiny", 192, 3),
    ("deit_tiny_distilled", 192, 3),
    ("deit_small", 384, 6),
    ("deit_small_distilled", 384, 6),
    ("deit_base", 768, 12),
    ("deit_base_distilled", 768, 12),
    ("deit3_small", 384, 6),
    ("deit3_medium", 512, 8),
    ("deit3_base", 768, 12),
    ("deit3_large", 1024, 16),
    ("deit3_huge", 1280, 16),
];

/// The number of heads of a model by its name and width; `None` when nobody has said.
pub fn heads(architecture: &str, embed_dim: usize) -> Option<usize> {
    let size = architecture.split("_patch").next()?;
    TIMM_HEADS.iter().find(|(name, width, _)| *name == size && *width == embed_dim).map(|(.., heads)| *heads)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_published_models_are_known_and_others_are_not() {
        let published = r#"{"img_size": 224, "in_chans": 3, "patch_size": 16, "embed_dim": 1024, "depth": 24,
            "num_heads": 16, "init_values": 1e-05, "mlp_ratio": 5.33, "num_classes": 0, "global_pool": "token",
            "class_token": true, "qkv_bias": true, "dynamic_img_size": true, "no_embed_class": true, "reg_tokens": 0,
            "drop_path_rate": 0.4, "act_layer": null, "qk_norm": false, "final_norm": true}"#;
        let args: Value = serde_json::from_str(published).expect("JSON");
        for (option, value) in args.as_object().expect("an object") {
            assert!(is_known(option, value), "{option}");
        }
        for (option, value) in [
            ("pool_include_prefix", Value::Bool(true)),
            ("final_norm", Value::Bool(false)),
            ("class_token", Value::Bool(false)),
            ("qk_norm", Value::Bool(true)),
            ("reg_tokens", 4.into()),
            ("act_layer", "gelu_tanh".into()),
            ("mlp_layer", "SwiGLUPacked".into()),
            ("rope_theta", 100.into()),
        ] {
            assert!(!is_known(option, &value), "{option}");
        }
    }

    #[test]
    fn heads_of_timm_models_are_known_by_name_and_width_or_not_at_all() {
        for (architecture, embed_dim, expected) in [
            ("vit_tiny_patch16_224", 192, Some(3)),
            ("vit_base_patch14_dinov2", 768, Some(12)),
            ("vit_base_patch16_plus_240", 896, Some(14)),
            ("vit_huge_patch14_224", 1280, Some(16)),
            ("vit_giant_patch14_224", 1408, Some(16)),
            ("vit_gigantic_patch14_224", 1664, Some(16)),
            ("deit_small_distilled_patch16_224", 384, Some(6)),
            ("deit3_huge_patch14_224", 1280, Some(16)),
            ("vit_giant_patch14_dinov2", 1536, None),
            ("vit_so150m_patch16_reg4_gap_256", 896, None),
            ("vit_base_r50_s16_224", 768, None),
            ("vit_small_patch16_224", 512, None),
        ] {
            assert_eq!(heads(architecture, embed_dim), expected, "{architecture}");
        }
    }
}
