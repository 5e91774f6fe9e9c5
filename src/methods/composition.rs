//! Learned composition: one weight per module and layer group, softmax or free.
//!
//! Asadi et al., "Does Combining Parameter-efficient Modules Improve Few-shot Transfer Accuracy?":
//! `W = W0 + sum_n softmax(v)_n dW_n`, per linear layer. Products are averaged, never the factors.
//! The free variant follows aTLAS (Zhang et al., 2024): signed coefficients of any size that start at 0.

use burn::tensor::{Tensor, activation::softmax};
use serde::{Deserialize, Serialize};

use super::{Adapt, Group, Parameter};
use crate::{
    head,
    lora::{
        cat::Updates,
        library::{LayerKey, LoraLibrary, add_delta},
    },
    vit::model::Vit,
};

/// How many sets of weights there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Granularity {
    /// One set per linear layer: the paper's.
    #[default]
    Layer,
    /// One set per block, shared by its linear layers.
    Block,
    /// One set for the whole model.
    Module,
}

/// What a trained number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Normalization {
    /// Logits: positive weights that sum to 1. They start at 0, that is at uniform composition.
    Softmax,
    /// The weights themselves: signed, of any size. They start at 0, that is at the base model.
    Free,
}

/// Learned composition of a library.
pub struct Composition {
    library: LoraLibrary,
    granularity: Granularity,
    normalization: Normalization,
}

impl Composition {
    /// A composition of all modules of a library.
    pub fn new(library: LoraLibrary, granularity: Granularity, normalization: Normalization) -> Self {
        Self { library, granularity, normalization }
    }

    /// Row of the coefficient matrix that serves each layer, in the library's order.
    fn rows(&self) -> Vec<usize> {
        let mut groups: Vec<LayerKey> = Vec::new();
        let mut rows = Vec::new();
        for (index, key) in self.library.layers.keys().enumerate() {
            let same = |other: &LayerKey| match self.granularity {
                Granularity::Layer => false,
                Granularity::Block => other.0 == key.0,
                Granularity::Module => true,
            };
            let row = groups.iter().position(same).unwrap_or_else(|| {
                groups.push(*key);
                groups.len() - 1
            });
            debug_assert!(row <= index);
            rows.push(row);
        }
        rows
    }
}

impl Adapt for Composition {
    fn parameters(&self) -> Vec<Parameter> {
        let groups = self.rows().into_iter().max().map_or(0, |last| last + 1);
        let Some(layer) = self.library.layers.values().next() else { return Vec::new() };
        let value = Tensor::zeros([groups, self.library.num_modules()], &layer.a.device());
        let group = match self.normalization {
            Normalization::Softmax => Group::Logits,
            Normalization::Free => Group::Coefficients,
        };
        vec![Parameter { value, group }]
    }

    fn apply(&self, vit: &Vit, values: &[Tensor<2>]) -> Vit {
        let mut composed = vit.clone();
        let [value] = values else { return composed };
        let coefficients = match self.normalization {
            Normalization::Softmax => softmax(value.clone(), 1),
            Normalization::Free => value.clone(),
        };
        for ((key, layer), row) in self.library.layers.iter().zip(self.rows()) {
            let delta = self.library.delta(layer, coefficients.clone().narrow(0, row, 1));
            add_delta(&mut composed, *key, delta);
        }
        composed
    }

    fn coefficients(&self, values: &[Vec<f32>]) -> Option<Vec<Vec<f32>>> {
        let rows = values.first()?.chunks(self.library.num_modules());
        Some(match self.normalization {
            Normalization::Softmax => rows.map(head::softmax).collect(),
            Normalization::Free => rows.map(<[f32]>::to_vec).collect(),
        })
    }

    fn updates(&self, values: &[Vec<f32>]) -> Option<Updates> {
        let weights = self.coefficients(values)?;
        let rows = self.rows();
        Some(self.library.updates(|layer| weights[rows[layer]].clone()))
    }
}
