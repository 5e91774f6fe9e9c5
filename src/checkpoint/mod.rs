//! Checkpoints of Vision Transformers: transformers (ViT, DeiT, DINOv2) and timm, from files or the Hub.
//!
//! [`weights`] reads a safetensors file and renames its tensors to timm's names, [`config`] reads the
//! architecture, [`load`] builds the model and refuses whatever does not fit.

pub mod config;
pub mod load;
mod options;
pub mod save;
mod timm_args;
pub mod weights;
