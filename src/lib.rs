//! loraloom adapts a small Vision Transformer to a handful of labelled images by composing LoRA
//! modules that others trained.
//!
//! A method is a parameterisation of the ViT's weights: every arm is a map from some trainable
//! numbers to the weights of the same plain model, and one training loop serves them all.
//!
//! ```text
//! file -> RGB -> resized, cropped, normalised [3, H, W] -> batches of a fixed size
//!   -> frozen weights: features once, cached -> nearest-mean and linear-probe answer at once
//!   -> per method: parameters -> weights of the ViT -> forward -> logits -> loss -> gradients
//!   n steps without a read-back, then one transaction: losses, coefficients -> report
//! ```
//!
//! The modules in reading order; each one imports only what stands above it.
#![deny(missing_docs)]

pub mod error;
pub mod files;

pub mod device;
pub mod kernels;
pub mod matrix;
pub mod random;

pub mod image;

pub mod dataset;
pub mod report;
pub mod vit;

pub mod head;
pub mod lora;

pub mod methods;

pub mod checkpoint;
pub mod evaluate;
#[cfg(not(target_arch = "wasm32"))]
pub mod hub;
pub mod train;

pub mod session;
pub mod suggestion;

#[cfg(not(target_arch = "wasm32"))]
pub mod experiment;
#[cfg(not(target_arch = "wasm32"))]
pub mod pretrain;
#[cfg(not(target_arch = "wasm32"))]
pub mod project;
#[cfg(not(target_arch = "wasm32"))]
pub mod shipped;

pub use dataset::{Dataset, Example, image_files, read_crops};
pub use device::{DeviceChoice, DeviceInfo, block_on, breathe, open as open_device};
pub use files::write_atomic;
pub use image::{Picture, preprocess::Cropping, resize::Filter};
pub use lora::{
    compose::{ComposeReport, Form, compose},
    module::LoraModule,
    names::Dialect,
    tensor_file::Precision,
};
pub use methods::{composition::Granularity, registry::Method};
pub use suggestion::{Suggestion, Why, is_outdone, suggested};
pub use vit::{config::VitConfig, target::Target};
