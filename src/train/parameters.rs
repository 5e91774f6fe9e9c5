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

impl Parameters {
    /// Values with a fresh optimiser.
    pub fn new(values: Vec<Tensor<2>>) -> Self {
        Self { values, optimizer: AdamW::default() }
    }

    /// Takes one step and returns the loss, which stays on the device.
    ///
    /// `loss` gets the values as autodiff tensors; `rates` has one entry per value, and `clip` is the largest global
    /// norm of the gradients.
    pub fn step(
        &mut self,
        rates: &[Rate],
        clip: f64,
        loss: impl FnOnce(&[Tensor<2>]) -> Tensor<1>,
    ) -> Tensor<1> {
        let tracked: Vec<Tensor<2>> =
            self.values.iter().map(|value| value.clone().autodiff().require_grad()).collect();
        let loss = loss(&tracked);
        let mut gradients = loss.backward();
        let gradients = tracked.iter().map(|value| value.grad_remove(&mut gradients)).collect();
        self.optimizer.step(&mut self.values, gradients, rates, clip);
        loss.inner()
    }
}

/// Mean cross-entropy of logits `[B, C]` with target probabilities `[B, C]`.
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    let batch = targets.dims()[0] as f64;
    (log_softmax(logits, 1) * targets).sum() / -batch
}
