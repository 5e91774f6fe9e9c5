//! The Vision Transformer, in timm's names, on plain tensors.
//!
//! `patch_embed -> prefix tokens + pos_embed -> blocks (norm1, attn, ls1, norm2, mlp, ls2) -> norm`,
//! then a linear head on the pooled tokens. One configuration covers ViT, DeiT (distilled or not) and
//! DINOv2; which file format the weights came from is the business of [`crate::checkpoint`].
//!
//! Reading order: [`config`], [`layers`], [`attention`], [`mlp`], [`block`], [`model`].
//!
//! Axes in comments: B batch, T tokens, D embed, H heads, M hidden width of the feed-forward part,
//! N patches, P prefix tokens, F features, C classes.

pub mod attention;
pub mod block;
pub mod config;
pub mod init;
pub mod layers;
pub mod mlp;
pub mod model;
pub mod pos_embed;
pub mod target;
pub mod visit;
