//! Full fine-tuning: every weight of the ViT is trained.

use burn::tensor::Tensor;

use super::{Adapt, Group, Parameter};
use crate::{
    lora::cat::Updates,
    vit::{model::Vit, visit::TensorMut},
};

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
        let flat = vit.tensors_mut().into_iter().map(|(_, tensor)| as_matrix(&tensor));
        flat.map(|value| Parameter { value, group: Group::Weights }).collect()
    }

    fn apply(&self, vit: &Vit, values: &[Tensor<2>]) -> Vit {
        let mut trained = vit.clone();
        for ((_, tensor), value) in trained.tensors_mut().into_iter().zip(values) {
            replace(tensor, value.clone());
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

/// A vector becomes one row; a 3-d tensor keeps its last axis.
fn as_matrix(tensor: &TensorMut) -> Tensor<2> {
    match tensor {
        TensorMut::One(vector) => (*vector).clone().unsqueeze(),
        TensorMut::Two(matrix) => (*matrix).clone(),
        TensorMut::Three(tensor) => {
            let [first, second, last] = tensor.dims();
            (*tensor).clone().reshape([first * second, last])
        }
    }
}

fn replace(tensor: TensorMut, value: Tensor<2>) {
    match tensor {
        TensorMut::One(vector) => *vector = value.squeeze_dim(0),
        TensorMut::Two(matrix) => *matrix = value,
        TensorMut::Three(tensor) => *tensor = value.reshape(tensor.dims()),
    }
}
