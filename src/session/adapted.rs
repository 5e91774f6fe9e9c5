//! What a method ends with: a model and a head, and what can be made of them.

use super::{Session, config::AdaptConfig, digest::Digest};
use crate::{
    dataset::Example,
    error::{Error, Result},
    evaluate,
    head::{Features, Head, views::Views},
    lora::cat::Updates,
    methods::registry::{FrozenWeights, Method},
    report::{CoefficientReport, Measured},
    train::trainer::Trained,
    vit::model::Vit,
};

/// The result of a method: a model, a head, and how they came about.
#[derive(Clone, Debug)]
pub struct Adapted {
    /// The method.
    pub method: Method,
    /// The adapted model.
    pub vit: Vit,
    /// Which weights these are, if other methods share them.
    pub weights: Option<FrozenWeights>,
    /// Whether it answers by several crops of a picture ([`AdaptConfig::multi_crop`]).
    pub multi_crop: bool,
    /// The hashes of the modules that there were, in their order.
    pub library: Vec<Digest>,
    /// The trained head.
    pub head: Head,
    /// Features of the training images, and of their views, under the adapted model.
    pub features: Views,
    /// What was trained, read back; absent for methods that only fit a head.
    pub trained: Option<Trained>,
    /// What the mean update was multiplied by where training started; 1 but for scaled methods that train.
    pub scale: f32,
    /// The low-rank updates of the base model, for saving; `None` after full fine-tuning.
    pub updates: Option<Updates>,
    /// Composition weights.
    pub coefficients: Option<CoefficientReport>,
    /// The module that `best-module` chose.
    pub chosen_module: Option<usize>,
    /// Trained values, the head included.
    pub trainable_parameters: usize,
    /// Loss of every step.
    pub losses: Vec<f32>,
    /// How well it did; absent before it was measured, and of a mix by hand.
    pub measured: Option<Measured>,
}

impl Session {
    /// A composition with every module's weights multiplied by a factor; each group keeps its sum.
    ///
    /// The head stays, so that a person sees what the change of weights alone does.
    ///
    /// # Errors
    /// The method's model is no mix ([`Method::is_a_mix`]), the modules are not those that it was learned with, or there are
    /// not as many factors as modules.
    pub fn reweighted(&self, adapted: &Adapted, factors: &[f32], config: &AdaptConfig) -> Result<Adapted> {
        let name = adapted.method.name();
        let (Some(report), Some(library)) = (&adapted.coefficients, self.library()) else {
            return Err(Error::mismatch(name, "it composes no modules"));
        };
        if !adapted.method.is_a_mix() {
            return Err(Error::mismatch(name, "its model is no mix of the modules that could be changed"));
        }
        if adapted.library != self.digests {
            return Err(Error::mismatch(name, "the modules have changed since it was learned; run it again"));
        }
        if factors.len() != report.modules.len() {
            let reason = format!("{} factors for {} modules", factors.len(), report.modules.len());
            return Err(Error::mismatch(name, reason));
        }
        let weights: Vec<Vec<f32>> = report.weights.iter().map(|row| scaled(row, factors)).collect();
        let rows: Vec<Vec<f32>> = match &weights[..] {
            [all] => vec![all.clone(); library.layers.len()],
            _ => {
                let row_of = config.granularity.groups(library.layers.keys()).row_of;
                row_of.into_iter().map(|row| weights[row].clone()).collect()
            }
        };
        Ok(Adapted {
            vit: library.merge(&self.model.vit, &rows),
            weights: None,
            updates: Some(library.updates(|layer| rows[layer].clone())),
            coefficients: Some(CoefficientReport::new(
                report.modules.clone(),
                report.groups.clone(),
                weights,
            )),
            measured: None,
            ..adapted.clone()
        })
    }

    /// Features of examples under what a method ended with.
    ///
    /// # Errors
    /// The device was lost.
    pub async fn adapted_features(&self, adapted: &Adapted, examples: &[Example]) -> Result<Features> {
        match self.shared_weights(adapted) {
            Some(weights) => self.frozen_features(weights, examples).await,
            None => self.features(&adapted.vit, examples).await,
        }
    }

    /// The frozen weights under which features are kept that a method ended with: those of the modules that there are now.
    pub(super) fn shared_weights(&self, adapted: &Adapted) -> Option<FrozenWeights> {
        let weights = adapted.weights?.canonical();
        (weights == FrozenWeights::Base || adapted.library == self.digests).then_some(weights)
    }

    /// Features of examples under a model on the session's device.
    pub(super) async fn features(&self, vit: &Vit, examples: &[Example]) -> Result<Features> {
        evaluate::features(vit, examples, &self.model.preprocess, &self.device.plain).await
    }
}

/// A row times factors, with the sum that it had.
fn scaled(row: &[f32], factors: &[f32]) -> Vec<f32> {
    let changed: Vec<f32> = row.iter().zip(factors).map(|(weight, factor)| weight * factor).collect();
    let (before, after): (f32, f32) = (row.iter().sum(), changed.iter().sum());
    if after.abs() < 1e-6 {
        return changed;
    }
    changed.iter().map(|weight| weight * before / after).collect()
}
