//! Features of frozen weights, kept per image: methods and folds that share weights share passes, and with a folder to
//! keep them in ([`super::store`]) so do later runs.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    path::Path,
    rc::Rc,
};

use async_channel::{Receiver, Sender, bounded};

use super::{
    Session,
    crops::mean,
    digest::{Digest, picture_digest},
    store::FeatureStore,
};
use crate::{
    dataset::{Example, labels},
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
    turns: RefCell<HashMap<FrozenWeights, Turn>>,
}

/// A lock that is waited for: a channel with one place.
#[derive(Clone)]
struct Turn {
    place: Sender<()>,
    taken: Receiver<()>,
}

impl Turn {
    fn new() -> Self {
        let (place, taken) = bounded(1);
        Self { place, taken }
    }

    /// Waits until nobody has the turn, and has it until what is returned is dropped.
    async fn take(&self) -> Taken {
        // It fails only where the receiver is gone, and that is beside it.
        let _ = self.place.send(()).await;
        Taken(self.taken.clone())
    }
}

/// Gives the turn back at its end, also where a run is stopped half-way.
struct Taken(Receiver<()>);

impl Drop for Taken {
    fn drop(&mut self) {
        let _ = self.0.try_recv();
    }
}

impl FeatureCache {
    /// Forgets everything: the model or the modules have changed.
    pub fn clear(&self) {
        self.rows.borrow_mut().clear();
        self.loaded.borrow_mut().clear();
    }

    /// Whose turn it is to pass images through weights: methods that learn side by side ask for the same features at the
    /// same time, and those that come later shall find them.
    fn turn(&self, weights: FrozenWeights) -> Turn {
        self.turns.borrow_mut().entry(weights).or_insert_with(Turn::new).clone()
    }

    /// How many features are kept.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.rows.borrow().len()
    }

    /// The mean of crops' features, if all are kept; asks for no turn.
    pub fn known(&self, weights: FrozenWeights, crops: &[Digest]) -> Option<Rc<[f32]>> {
        let rows = self.rows.borrow();
        let known = crops.iter().map(|crop| rows.get(&(weights, *crop)));
        let known = known.collect::<Option<Vec<_>>>()?;
        let dim = known.first()?.len();
        Some(mean(&known.iter().flat_map(|row| row.iter().copied()).collect::<Vec<f32>>(), dim).into())
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
        match (weights.shares(self.modules().len()), self.library()) {
            (None, _) => Ok(base.clone()),
            (Some(shares), Some(library)) => Ok(library.merge_alike(base, &shares)),
            (Some(_), None) => Err(Error::mismatch("--modules", "there are none")),
        }
    }

    /// Features of examples under frozen weights; only images that are new to these weights are passed through.
    ///
    /// # Errors
    /// There are no modules, the device was lost, or the folder of features cannot be used.
    pub async fn frozen_features(&self, weights: FrozenWeights, examples: &[Example]) -> Result<Features> {
        let weights = weights.canonical();
        let turn = self.cache.turn(weights);
        let _taken = turn.take().await;
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
        let labels = labels(examples);
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

#[cfg(test)]
mod tests {
    use std::{
        path::Path,
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::*;
    use crate::{
        device::block_on,
        image::Picture,
        methods::registry::{Method, SCALES},
        session::{config::AdaptConfig, progress::Flow, tiny},
    };

    fn session() -> (Session, Vec<Example>) {
        let session = tiny::session(&["qv"], 1.0);
        let (height, width) = session.preprocess().input_size();
        let crop = |value| Picture::filled(width, height, [value; 3]);
        let example = |value| Example { name: String::new(), class: 0, crop: crop(value) };
        (session, [10, 200].map(example).into())
    }

    /// Features under weights of the session as it is, and of one that has the same modules and never had others.
    fn assert_fresh(session: &Session, modules: &[&str], examples: &[Example]) {
        let fresh = tiny::session(modules, 1.0);
        for weights in [FrozenWeights::Uniform, FrozenWeights::Scaled(3), FrozenWeights::Module(0)] {
            let [own, new] = [session, &fresh].map(|session| {
                block_on(session.frozen_features(weights, examples)).expect("features").values
            });
            assert_eq!(own, new, "{weights:?}");
        }
    }

    #[test]
    fn features_are_those_of_the_modules_that_there_are() {
        let (mut session, examples) = session();
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/adapters");
        assert_fresh(&session, &["qv"], &examples);
        let features = || block_on(session.frozen_features(FrozenWeights::Uniform, &examples));
        let one = features().expect("features").values;
        session.add_module_dir(&golden.join("qv-other"), "qv-other").expect("a module");
        assert_fresh(&session, &["qv", "qv-other"], &examples);
        session.remove_module("qv").expect("a module");
        assert_fresh(&session, &["qv-other"], &examples);
        let other = block_on(session.frozen_features(FrozenWeights::Uniform, &examples));
        assert_ne!(one, other.expect("features").values);
    }

    /// Whether a future is done when it is asked once.
    fn is_done<T>(future: impl Future<Output = T>) -> bool {
        matches!(pin!(future).poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(_))
    }

    #[test]
    fn who_comes_while_images_pass_waits_and_then_finds_them() {
        let (session, examples) = session();
        let (config, go_on) = (AdaptConfig::default(), &mut |_: &_| Flow::GoOn);
        let learned = block_on(session.arm(Method::Uniform, 1, &config).run(&[], go_on)).expect("learned");
        let weights = FrozenWeights::Scaled(SCALES.iter().position(|scale| *scale == 1.0).expect("1"));
        let turn = session.cache.turn(FrozenWeights::Uniform);
        let first = block_on(turn.take());
        assert!(!is_done(session.frozen_features(weights, &examples)), "waits");
        assert!(is_done(session.frozen_features(FrozenWeights::Base, &examples)), "others go on");
        let names = ["a".to_string()];
        assert!(
            is_done(session.answers(&[(&learned, &names)], &examples[0], false)),
            "who only asks goes on"
        );
        drop(first);
        assert!(is_done(session.frozen_features(weights, &examples)));
        let known = session.cache.rows.borrow().keys().filter(|key| key.0 == FrozenWeights::Uniform).count();
        assert_eq!(known, 2, "under the one name of the same weights");
    }
}
