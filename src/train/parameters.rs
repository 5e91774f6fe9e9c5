//! Trained values with their optimiser: one step from a loss to new values.

use burn::tensor::{Tensor, activation::log_softmax};

use super::optimizer::{AdamW, Rate};

/// Values that a loss is minimised over.
#[derive(Clone, Debug, Default)]
pub struct Parameters {
    /// The values, on the plain device.
    pub values: Vec<Tensor<2>>,
    /// The optimiser's state.
    pub optimizer: AdamW,
}

/// Gradients of all values, summed over the terms of a loss; `None` where no term depends on a value.
#[derive(Debug, Default)]
pub struct Gradients(pub Vec<Option<Tensor<2>>>);

impl Parameters {
    /// Values with a fresh optimiser.
    pub fn new(values: Vec<Tensor<2>>) -> Self {
        Self { values, optimizer: AdamW::default() }
    }

    /// Takes one step and returns the loss, which stays on the device.
    ///
    /// `loss` gets the values as autodiff tensors; `rates` has one entry per value, and `clip` is the largest global
    /// norm of the gradients, which are those of `scale` times the loss on the way back, for half precision.
    pub fn step_scaled(
        &mut self,
        scale: f64,
        rates: &[Rate],
        clip: f64,
        loss: impl FnOnce(&[Tensor<2>]) -> Tensor<1>,
    ) -> Tensor<1> {
        let values = tracked(&self.values);
        let loss = loss(&values);
        let gradients = match scale {
            1.0 => gradients_of(&loss, &values),
            _ => gradients_of(&(loss.clone() * scale), &values).unscaled(scale),
        };
        self.update(gradients, rates, clip);
        loss.inner()
    }

    /// Moves the values by gradients; `rates` and `clip` as in [`Parameters::step_scaled`].
    pub fn update(&mut self, gradients: Gradients, rates: &[Rate], clip: f64) {
        self.optimizer.step(&mut self.values, gradients.0, rates, clip);
    }
}

impl Gradients {
    /// Adds the gradients of another term of a loss at the same values.
    pub fn add(&mut self, other: Self) {
        self.0.resize(other.0.len(), None);
        for (total, own) in self.0.iter_mut().zip(other.0) {
            *total = sum(total.take(), own);
        }
    }

    /// Gradients of a loss that was multiplied by `scale`, divided by it; all zero if any of them overflowed. Nothing
    /// is read back.
    fn unscaled(self, scale: f64) -> Self {
        let scaled = self.0.iter().flatten();
        let Some(total) = scaled.map(|own| own.clone().sum()).reduce(|total, own| total + own) else {
            return self;
        };
        let overflow = total.is_finite().bool_not().unsqueeze::<2>();
        let divide = |own: Tensor<2>| {
            let overflow = overflow.clone().expand(own.dims());
            (own / scale).mask_fill(overflow, 0.0)
        };
        Self(self.0.into_iter().map(|own| own.map(divide)).collect())
    }
}

/// Values as autodiff tensors whose gradients are wanted.
pub fn tracked(values: &[Tensor<2>]) -> Vec<Tensor<2>> {
    values.iter().map(|value| value.clone().autodiff().require_grad()).collect()
}

/// Gradients of a loss `[1]` by [`tracked`] values, on the plain device.
pub fn gradients_of(loss: &Tensor<1>, values: &[Tensor<2>]) -> Gradients {
    let mut found = loss.backward();
    Gradients(values.iter().map(|value| value.grad_remove(&mut found)).collect())
}

/// The sum of what is there.
pub fn sum<const D: usize>(left: Option<Tensor<D>>, right: Option<Tensor<D>>) -> Option<Tensor<D>> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left + right),
        (left, right) => left.or(right),
    }
}

/// Mean cross-entropy of logits `[B, C]` with target probabilities `[B, C]`.
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    let batch = targets.dims()[0] as f64;
    (log_softmax(logits, 1) * targets).sum() / -batch
}
