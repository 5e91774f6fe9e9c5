//! Features of frozen weights, kept per image: methods and folds that share weights share passes, and with a folder to
//! keep them in ([`super::store`]) so do later runs.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    path::Path,
    rc::Rc,
};

use super::{
    Session,
    digest::{Digest, picture_digest},
    store::FeatureStore,
};
use crate::{
    dataset::Example,
    error::{Error, Result},
    head::Features,
    methods::registry::FrozenWeights,
    vit::model::Vit,
};

/// Weights, and a hash of the crop.
type Key = (FrozenWeights, Digest);

/// Pooled features `[F]`.
#[derive(Default)]
pub(super) struct FeatureCache {
    rows: RefCell<HashMap<Key, Rc<[f32]>>>,
    store: RefCell<Option<FeatureStore>>,
    /// Weights whose stored features are in `rows`.
    loaded: RefCell<HashSet<FrozenWeights>>,
}

impl FeatureCache {
    /// Forgets everything: the model or the modules have changed.
    pub fn clear(&self) {
        self.rows.borrow_mut().clear();
        self.loaded.borrow_mut().clear();
    }

    fn insert(&self, weights: FrozenWeights, rows: impl IntoIterator<Item = (Digest, Vec<f32>)>) {
        self.rows.borrow_mut().extend(rows.into_iter().map(|(crop, row)| ((weights, crop), row.into())));
    }
}

impl Session {
    /// Keeps features of frozen weights in a folder from now on, and uses what it holds.
    pub fn keep_features_in(&self, dir: &Path) {
        *self.cache.store.borrow_mut() = Some(FeatureStore::new(dir, self.model.vit.config.feature_dim()));
        self.cache.loaded.borrow_mut().clear();
    }

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
            FrozenWeights::Scaled(_) => {
                let library = library?;
                let share = weights.scale() / library.num_modules() as f32;
                Ok(library.merge(base, &library.broadcast(&vec![share; library.num_modules()])))
            }
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
    /// There are no modules, the device was lost, or the folder of features cannot be used.
    pub async fn frozen_features(&self, weights: FrozenWeights, examples: &[Example]) -> Result<Features> {
        self.load_stored(weights).await?;
        let keys: Vec<Key> =
            examples.iter().map(|example| (weights, picture_digest(&example.crop))).collect();
        let mut asked = HashSet::new();
        let is_new = |key: &Key| !self.cache.rows.borrow().contains_key(key);
        let new: Vec<usize> =
            (0..keys.len()).filter(|&index| is_new(&keys[index]) && asked.insert(keys[index])).collect();
        if !new.is_empty() {
            let missing: Vec<Example> = new.iter().map(|&index| examples[index].clone()).collect();
            let computed = self.features(&self.frozen_vit(weights)?, &missing).await?;
            let row = |(row, &index): (usize, &usize)| (keys[index].1, computed.row(row).to_vec());
            let rows: Vec<(Digest, Vec<f32>)> = new.iter().enumerate().map(row).collect();
            self.store_rows(weights, &rows).await?;
            self.cache.insert(weights, rows);
        }
        let rows = self.cache.rows.borrow();
        let values = keys.iter().flat_map(|key| rows[key].iter().copied()).collect();
        let labels = examples.iter().map(|example| example.class).collect();
        Ok(Features { dim: self.model.vit.config.feature_dim(), values, labels })
    }

    async fn load_stored(&self, weights: FrozenWeights) -> Result<()> {
        let store = self.cache.store.borrow().clone();
        let Some(store) = store.filter(|_| !self.cache.loaded.borrow().contains(&weights)) else {
            return Ok(());
        };
        let rows = store.load(&self.weights_digest(weights).await?)?;
        self.cache.insert(weights, rows);
        self.cache.loaded.borrow_mut().insert(weights);
        Ok(())
    }

    async fn store_rows(&self, weights: FrozenWeights, rows: &[(Digest, Vec<f32>)]) -> Result<()> {
        let store = self.cache.store.borrow().clone();
        match store {
            Some(store) => store.save(&self.weights_digest(weights).await?, rows),
            None => Ok(()),
        }
    }
}
