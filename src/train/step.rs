//! One step on its way: a minibatch whose gradients are taken at once or in parts.
//!
//! In parts, the weights of the ViT are made of a method's values once: every part is differentiated by the weights,
//! and one pass from there, whatever the number of parts, gives the gradients of the values.

use burn::tensor::Tensor;

use super::parameters::{Gradients, cross_entropy, gradients_of, sum, tracked};
use crate::{
    methods::Adapt,
    vit::model::{HeadTensors, Vit},
};

/// Head weight and bias come first among the values.
const HEAD: usize = 2;

/// A minibatch on its way through a model.
pub struct Step {
    images: Tensor<4>,
    targets: Tensor<2>,
    /// Images whose gradients are in.
    done: usize,
    weights: Weights,
    gradients: Gradients,
    /// Sums over the parts, `[1]` each.
    loss: Option<Tensor<1>>,
    accuracy: Option<Tensor<1>>,
}

/// What a part is differentiated by, after the head's two values.
enum Weights {
    /// The method's values.
    Values,
    /// The weights that are made of them.
    Made(Box<Made>),
}

/// A model whose weights hang on a method's values.
struct Made {
    values: Vec<Tensor<2>>,
    vit: Vit,
    /// The weights that hang on the values, in the model's order.
    weights: Vec<Tensor<2>>,
}

/// What a whole step gave.
pub struct Done {
    /// Gradients of the head's and the method's values.
    pub gradients: Gradients,
    /// Mean cross-entropy, `[1]`.
    pub loss: Option<Tensor<1>>,
    /// Share of the images that was classified correctly, `[1]`.
    pub accuracy: Option<Tensor<1>>,
}

impl Step {
    /// A step of `method` at `values` with a minibatch: images `[B, 3, H, W]`, target probabilities `[B, C]`.
    pub fn new(
        (images, targets): (Tensor<4>, Tensor<2>),
        in_parts: bool,
        (method, vit): (&dyn Adapt, &Vit),
        values: &[Tensor<2>],
    ) -> Self {
        let weights = match in_parts && values.len() > HEAD {
            true => Weights::Made(Box::new(Made::new(method, vit, &values[HEAD..]))),
            false => Weights::Values,
        };
        let gradients = Gradients::default();
        Self { images, targets, done: 0, weights, gradients, loss: None, accuracy: None }
    }

    /// Whether the gradients of all images are in.
    pub fn is_complete(&self) -> bool {
        self.done == self.images.dims()[0]
    }

    /// Goes on by at most so many images; says how many they were.
    ///
    /// Rows that pad the minibatch add nothing to the sums: `batch_size` counts the images without them.
    pub fn add_part(
        &mut self,
        (method, vit): (&dyn Adapt, &Vit),
        values: &[Tensor<2>],
        batch_size: usize,
        most: usize,
    ) -> usize {
        let count = most.min(self.images.dims()[0] - self.done);
        let images = self.images.clone().narrow(0, self.done, count);
        let targets = self.targets.clone().narrow(0, self.done, count);
        let share = count as f64 / batch_size as f64;
        let leaves = match &self.weights {
            Weights::Values => tracked(values),
            Weights::Made(made) => tracked(&[&values[..HEAD], &made.leaves()].concat()),
        };
        let adapted = match &self.weights {
            Weights::Values => method.apply(vit, &leaves[HEAD..]),
            Weights::Made(made) => made.at(&leaves[HEAD..]),
        };
        let head = HeadTensors { weight: leaves[0].clone(), bias: leaves[1].clone() };
        let logits = adapted.forward(images, &head);
        let accuracy = share_correct(logits.clone().inner(), &targets) * share;
        let loss = cross_entropy(logits, targets) * share;
        self.gradients.add(gradients_of(&loss, &leaves));
        self.loss = sum(self.loss.take(), Some(loss.inner()));
        self.accuracy = sum(self.accuracy.take(), Some(accuracy));
        self.done += count;
        count
    }

    /// What the step gave, once it is complete.
    pub fn finish(self) -> Done {
        let gradients = match self.weights {
            Weights::Values => self.gradients,
            Weights::Made(made) => made.back(self.gradients),
        };
        Done { gradients, loss: self.loss, accuracy: self.accuracy }
    }
}

impl Made {
    fn new(method: &dyn Adapt, vit: &Vit, values: &[Tensor<2>]) -> Self {
        let values = tracked(values);
        let mut vit = method.apply(vit, &values);
        let tensors = vit.tensors_mut().into_iter().map(|(_, tensor)| tensor.to_matrix());
        let weights = tensors.filter(Tensor::is_autodiff).collect();
        Self { values, vit, weights }
    }

    /// The weights without the values that they hang on.
    fn leaves(&self) -> Vec<Tensor<2>> {
        self.weights.iter().map(|weight| weight.clone().inner()).collect()
    }

    /// The model with other weights in the place of those that hang on the values.
    fn at(&self, weights: &[Tensor<2>]) -> Vit {
        let mut vit = self.vit.clone();
        let made = vit.tensors_mut().into_iter().filter(|(_, tensor)| tensor.is_autodiff());
        made.zip(weights).for_each(|((_, tensor), weight)| tensor.replace(weight.clone()));
        vit
    }

    /// Gradients of the values from those of the weights: of `sum_w <w(values), dL/dw>`, whose gradient is the loss's.
    fn back(self, gradients: Gradients) -> Gradients {
        let Gradients(mut head) = gradients;
        let of_weights = head.split_off(HEAD);
        let products = self
            .weights
            .into_iter()
            .zip(of_weights)
            .filter_map(|(weight, gradient)| Some((weight * gradient?).sum()));
        let of_values = match products.reduce(|total, product| total + product) {
            Some(total) => gradients_of(&total, &self.values),
            None => Gradients(vec![None; self.values.len()]),
        };
        head.extend(of_values.0);
        Gradients(head)
    }
}

/// Share of rows whose largest logit is the target's, `[1]`; no indices, which backends keep differently.
fn share_correct(logits: Tensor<2>, targets: &Tensor<2>) -> Tensor<1> {
    let of_target = (logits.clone() * targets.clone()).sum_dim(1);
    let has_target = targets.clone().sum_dim(1);
    (of_target.greater_equal(logits.max_dim(1)).float() * has_target).mean()
}
