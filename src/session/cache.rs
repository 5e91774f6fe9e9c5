//! Features of frozen weights, kept per image: methods and folds that share weights share passes.

use std::{
    cell::RefCell,
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    rc::Rc,
};

use super::Session;
use crate::{
    dataset::Example,
    error::{Error, Result},
    head::Features,
    image::Picture,
    methods::registry::FrozenWeights,
    vit::model::Vit,
};

/// Weights, and a hash of the crop.
type Key = (FrozenWeights, u64);

/// Pooled features `[F]`.
#[derive(Default)]
pub(super) struct FeatureCache(RefCell<HashMap<Key, Rc<[f32]>>>);

impl FeatureCache {
    /// Forgets everything: the model or the modules have changed.
    pub fn clear(&self) {
        self.0.borrow_mut().clear();
    }
}

fn content(crop: &Picture) -> u64 {
    let mut hasher = DefaultHasher::new();
    (crop.width, crop.height, &crop.rgb).hash(&mut hasher);
    hasher.finish()
}

impl Session {
    /// The model with frozen weights.
    ///
    /// # Errors
    /// There are no modules.
    pub(super) fn frozen_vit(&self, weights: FrozenWeights) -> Result<Vit> {
        let base = &self.model.vit;
        let library = self.library.as_ref().ok_or_else(|| Error::mismatch("--modules", "there are none"));
        match weights {
            FrozenWeights::Base => Ok(base.clone()),
            FrozenWeights::Uniform => Ok(library?.merge_uniform(base)),
            FrozenWeights::Module(index) => {
                let library = library?;
                let one_hot: Vec<f32> =
                    (0..library.num_modules()).map(|module| f32::from(module == index)).collect();
                Ok(library.merge(base, &library.broadcast(&one_hot)))
            }
        }
    }

    /// Features of examples under frozen weights; only images that are new to these weights are passed through.
    ///
    /// # Errors
    /// There are no modules, or the device was lost.
    pub(super) async fn frozen_features(
        &self,
        weights: FrozenWeights,
        examples: &[Example],
    ) -> Result<Features> {
        let keys: Vec<_> = examples.iter().map(|example| (weights, content(&example.crop))).collect();
        let known = |key| self.cache.0.borrow().contains_key(key);
        let new: Vec<usize> = (0..keys.len()).filter(|&index| !known(&keys[index])).collect();
        if !new.is_empty() {
            let missing: Vec<Example> = new.iter().map(|&index| examples[index].clone()).collect();
            let computed = self.features(&self.frozen_vit(weights)?, &missing).await?;
            let mut cache = self.cache.0.borrow_mut();
            for (row, &index) in new.iter().enumerate() {
                cache.insert(keys[index], computed.row(row).into());
            }
        }
        let cache = self.cache.0.borrow();
        let values = keys.iter().flat_map(|key| cache[key].iter().copied()).collect();
        let labels = examples.iter().map(|example| example.class).collect();
        Ok(Features { dim: self.model.vit.config.feature_dim(), values, labels })
    }
}
