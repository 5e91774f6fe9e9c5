//! Learned composition: one weight per module and layer group, softmax or free.
//!
//! Asadi et al., "Does Combining Parameter-efficient Modules Improve Few-shot Transfer Accuracy?":
//! `W = W0 + sum_n softmax(v)_n dW_n`, per linear layer. Products are averaged, never the factors.
//! The free variant has signed coefficients of any size, as aTLAS (Zhang et al., 2024), which starts them at 0. Here they start
//! at the mean, which is worth about three points (docs/experiment.md): a few steps from 0 do not get there.

use burn::tensor::{Tensor, activation::softmax};
use serde::{Deserialize, Serialize};

use super::{Adapt, Group, Parameter};
use crate::{
    head,
    lora::{
        cat::Updates,
        library::{LayerKey, LoraLibrary},
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

/// Layers that share a set of composition weights.
pub struct Groups {
    /// Their names, in the order of the sets.
    pub names: Vec<String>,
    /// The set that serves each layer.
    pub row_of: Vec<usize>,
}

impl Granularity {
    /// The groups of some layers, in the layers' order.
    pub fn groups<'a>(self, layers: impl Iterator<Item = &'a LayerKey>) -> Groups {
        let mut groups = Groups { names: Vec::new(), row_of: Vec::new() };
        for &(block, target) in layers {
            let name = match self {
                Self::Layer => format!("blocks.{block}.{}", target.name()),
                Self::Block => format!("blocks.{block}"),
                Self::Module => "model".into(),
            };
            let known = groups.names.iter().position(|own| *own == name);
            groups.row_of.push(known.unwrap_or(groups.names.len()));
            groups.names.extend(known.is_none().then_some(name));
        }
        groups
    }
}

/// What a trained number means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Normalization {
    /// Logits: positive weights that sum to 1. They start at 0, that is at uniform composition.
    Softmax,
    /// Logits, and the logarithm of what the weights sum to per group, which starts at this sum.
    Scaled(f32),
    /// The weights themselves: signed, of any size. They start at uniform composition.
    Free,
}

/// Learned composition of a library.
pub struct Composition {
    library: LoraLibrary,
    groups: Groups,
    normalization: Normalization,
}

impl Composition {
    /// A composition of all modules of a library.
    pub fn new(library: LoraLibrary, granularity: Granularity, normalization: Normalization) -> Self {
        Self { groups: granularity.groups(library.layers.keys()), library, normalization }
    }
}

impl Adapt for Composition {
    fn parameters(&self) -> Vec<Parameter> {
        let groups = self.groups.names.len();
        let Some(layer) = self.library.layers.values().next() else { return Vec::new() };
        let modules = self.library.num_modules();
        let start = if self.normalization == Normalization::Free { 1.0 / modules as f32 } else { 0.0 };
        let value = Tensor::full([groups, modules], start, &layer.a.device());
        let scales = |sum: f32| Tensor::full([groups, 1], sum.ln(), &layer.a.device());
        match self.normalization {
            Normalization::Softmax => vec![Parameter { value, group: Group::Logits }],
            Normalization::Free => vec![Parameter { value, group: Group::Coefficients }],
            Normalization::Scaled(sum) => vec![
                Parameter { value, group: Group::Logits },
                Parameter { value: scales(sum), group: Group::Scales },
            ],
        }
    }

    fn apply(&self, vit: &Vit, values: &[Tensor<2>]) -> Vit {
        let mut composed = vit.clone();
        let coefficients = match (self.normalization, values) {
            (Normalization::Softmax, [logits]) => softmax(logits.clone(), 1),
            (Normalization::Scaled(_), [logits, scales]) => softmax(logits.clone(), 1) * scales.clone().exp(),
            (Normalization::Free, [value]) => value.clone(),
            _ => return composed,
        };
        self.library.add(&mut composed, |layer| coefficients.clone().narrow(0, self.groups.row_of[layer], 1));
        composed
    }

    fn coefficients(&self, values: &[Vec<f32>]) -> Option<Vec<Vec<f32>>> {
        let rows = values.first()?.chunks(self.library.num_modules());
        Some(match self.normalization {
            Normalization::Softmax => rows.map(head::softmax).collect(),
            Normalization::Scaled(_) => {
                let scaled = |(row, scale): (&[f32], &f32)| {
                    head::softmax(row).iter().map(|weight| weight * scale.exp()).collect()
                };
                rows.zip(values.get(1)?).map(scaled).collect()
            }
            Normalization::Free => rows.map(<[f32]>::to_vec).collect(),
        })
    }

    fn updates(&self, values: &[Vec<f32>]) -> Option<Updates> {
        let weights = self.coefficients(values)?;
        Some(self.library.updates(|layer| weights[self.groups.row_of[layer]].clone()))
    }
}
