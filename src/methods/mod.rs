//! The methods: each one is a map from trainable numbers to the weights of the same plain ViT.
//!
//! [`Adapt`] is that map; [`registry`] lists the arms by their command-line names and builds them;
//! [`composition`] holds the paper's learned composition and its variants, [`factors`] a LoRA from
//! scratch, [`full`] full fine-tuning, [`lorahub`] the gradient-free baseline.

pub mod composition;
pub mod factors;
pub mod full;
pub mod lorahub;
pub mod registry;

use burn::tensor::Tensor;

use crate::{
    lora::cat::{self, Updates},
    vit::model::Vit,
};

/// Which learning rate and weight decay a parameter gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// The classification head.
    Head,
    /// Softmax logits of a composition; never decayed (decay would pull them towards uniform).
    Logits,
    /// Logarithms of what the weights of a composition sum to; never decayed.
    Scales,
    /// Free coefficients of a composition; never decayed.
    Coefficients,
    /// Factors of a LoRA trained from scratch.
    Factors,
    /// The ViT's own weights.
    Weights,
}

/// One trainable tensor. Everything trained is stored as a matrix, so that one optimiser serves all.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Initial value, on the plain device.
    pub value: Tensor<2>,
    /// Learning rate and decay group.
    pub group: Group,
}

/// A parameterisation of the ViT's weights.
pub trait Adapt {
    /// Trainable tensors with their initial values; empty for a method that only trains a head.
    fn parameters(&self) -> Vec<Parameter>;

    /// The model whose weights follow from `values`, one per parameter, in the same order.
    ///
    /// Values may be plain (evaluation) or autodiff tensors (training); frozen weights stay plain. An update of low rank
    /// is added by [`Block::add_product`](crate::vit::block::Block::add_product), which keeps its gradients small.
    fn apply(&self, vit: &Vit, values: &[Tensor<2>]) -> Vit;

    /// Composition weights that `values` (row-major, as read back) stand for: one row per layer
    /// group, one column per module. `None` for methods that compose nothing.
    fn coefficients(&self, values: &[Vec<f32>]) -> Option<Vec<Vec<f32>>>;

    /// The low-rank updates that `values` stand for, for saving; `None` if they are not low-rank.
    fn updates(&self, values: &[Vec<f32>]) -> Option<Updates>;
}

/// One method after another on the same weights, e.g. a composition and a fresh LoRA.
pub struct Chain(pub Vec<Box<dyn Adapt>>);

impl Adapt for Chain {
    fn parameters(&self) -> Vec<Parameter> {
        self.0.iter().flat_map(|part| part.parameters()).collect()
    }

    fn apply(&self, vit: &Vit, values: &[Tensor<2>]) -> Vit {
        let mut rest = values;
        self.0.iter().fold(vit.clone(), |vit, part| {
            let (own, others) = rest.split_at(part.parameters().len());
            rest = others;
            part.apply(&vit, own)
        })
    }

    fn coefficients(&self, values: &[Vec<f32>]) -> Option<Vec<Vec<f32>>> {
        let mut rest = values;
        self.0.iter().find_map(|part| {
            let (own, others) = rest.split_at(part.parameters().len());
            rest = others;
            part.coefficients(own)
        })
    }

    fn updates(&self, values: &[Vec<f32>]) -> Option<Updates> {
        let mut rest = values;
        self.0.iter().try_fold(Updates::new(), |total, part| {
            let (own, others) = rest.split_at(part.parameters().len());
            rest = others;
            Some(cat::sum(total, part.updates(own)?))
        })
    }
}
