//! LoRA modules: their factors, PEFT's files in every key dialect, and sums of them.
//!
//! One update of a linear layer is `dW = scaling * B A` with `A [rank, in]` and `B [out, rank]`.
//! Files name a layer by the path of its module, and that path depends on who wrote it:
//!
//! | layer | older transformers | newer transformers | timm |
//! | --- | --- | --- | --- |
//! | query | `encoder.layer.N.attention.attention.query` | `layers.N.attention.q_proj` | `blocks.N.attn.qkv` |
//! | proj | `encoder.layer.N.attention.output.dense` | `layers.N.attention.o_proj` | `blocks.N.attn.proj` |
//! | fc1 | `encoder.layer.N.intermediate.dense` | `layers.N.mlp.fc1` | `blocks.N.mlp.fc1` |
//! | fc2 | `encoder.layer.N.output.dense` | `layers.N.mlp.fc2` | `blocks.N.mlp.fc2` |
//!
//! Key and value go like query. A classifier puts `vit.`, `deit.` or `dinov2.` in front, PEFT puts
//! `base_model.model.` in front of that. The newer names came with 5.9 for ViT and DeiT and with 5.18 for DINOv2, which
//! keeps `encoder.layer` and `mlp.fc1` in both; with a gated feed-forward part it has `mlp.weights_in` and
//! `mlp.weights_out`, then `mlp.gate_proj`, `mlp.up_proj` and `mlp.down_proj`.
//!
//! - [`module`] is one upstream module in memory
//! - [`names`] has paths and tensor names
//! - [`layout`] has how a model's own layers are joined or cut from ours
//! - [`pairs`] says which factors of a file belong together
//! - [`config`] has `adapter_config.json`, [`targets`] which modules it is for
//! - [`folder`] has the two files of an adapter, each written whole
//! - [`tensor_file`] has element types, and single tensors out of a file on disk
//! - [`peft`] has files to modules and back
//! - [`svd`] has truncation to a lower rank
//! - [`cat`] has sums of modules in memory, exact
//! - [`compose`] has weighted sums of any adapters, file to file
//! - [`library`] has upstream modules on a device
//! - [`random_modules`] has the control of random factors

pub mod cat;
pub mod compose;
pub mod config;
pub mod folder;
pub mod layout;
pub mod library;
pub mod module;
pub mod names;
pub mod pairs;
pub mod peft;
pub mod random_modules;
pub mod svd;
pub mod targets;
pub mod tensor_file;
