//! Full fine-tuning: every weight of the ViT is trained.

use burn::tensor::Tensor;

use super::{Adapt, Group, Parameter};
use crate::{lora::cat::Updates, vit::model::Vit};

/// Full fine-tuning of a model.
pub struct Full {
    vit: Vit,
}

impl Full {
    /// Starts from the weights of `vit`.
    pub fn new(vit: &Vit) -> Self {
        Self { vit: vit.clone() }
    }
}

impl Adapt for Full {
    fn parameters(&self) -> Vec<Parameter> {
        let mut vit = self.vit.clone();
        let flat = vit.tensors_mut().into_iter().map(|(_, tensor)| tensor.to_matrix());
        flat.map(|value| Parameter { value, group: Group::Weights }).collect()
    }

    fn apply(&self, vit: &Vit, values: &[Tensor<2>]) -> Vit {
        let mut trained = vit.clone();
        for ((_, tensor), value) in trained.tensors_mut().into_iter().zip(values) {
            tensor.replace(value.clone());
        }
        trained
    }

    fn coefficients(&self, _values: &[Vec<f32>]) -> Option<Vec<Vec<f32>>> {
        None
    }

    fn updates(&self, _values: &[Vec<f32>]) -> Option<Updates> {
        None
    }
}
