//! Methods that fit a head on the features of fixed weights: one cached pass, no training steps.

use super::{
    adapted::Adapted,
    arm::Arm,
    choice,
    progress::{Flow, may_go_on},
};
use crate::{
    dataset::{Example, folds, labels},
    error::{Error, Result},
    head::{Features, views::Views},
    lora::{cat::Updates, library::merge_updates},
    methods::{
        lorahub::{self, Search},
        registry::{FrozenWeights, Method, SCALES},
    },
    report::CoefficientReport,
    vit::model::Vit,
};

/// Fixed weights that a method decided on.
struct Chosen {
    vit: Vit,
    features: Views,
    frozen: Option<FrozenWeights>,
    weights: Option<Vec<f32>>,
    module: Option<usize>,
    extra_parameters: usize,
    updates: Updates,
}

impl Arm<'_> {
    /// Runs a method that trains no weights.
    ///
    /// When `ask` says stop, a method that tries several weights takes the best of those that it tried.
    pub(super) async fn run_frozen(
        &self,
        examples: &[Example],
        ask: &mut dyn FnMut() -> Flow,
    ) -> Result<Adapted> {
        let chosen = match self.method {
            Method::LoraHub => self.lorahub(examples, ask).await?,
            _ => self.frozen(self.weights(examples, ask).await?, examples).await?,
        };
        let head = self.config.fit_head(self.method, &chosen.features.all(), self.classes);
        let trained_head = if self.method == Method::NearestMean { 0 } else { head.num_parameters() };
        let names = self.session.module_names();
        let report = |weights| CoefficientReport::new(names, vec!["model".into()], vec![weights]);
        Ok(Adapted {
            method: self.method,
            vit: chosen.vit,
            weights: chosen.frozen,
            multi_crop: self.config.multi_crop,
            library: self.session.module_digests(),
            head,
            features: chosen.features,
            trained: None,
            scale: 1.0,
            updates: Some(chosen.updates),
            coefficients: chosen.weights.map(report),
            chosen_module: chosen.module,
            trainable_parameters: trained_head + chosen.extra_parameters,
            losses: Vec::new(),
            measured: None,
        })
    }

    /// The weights that methods share; chosen, where there is a choice.
    async fn weights(&self, examples: &[Example], ask: &mut dyn FnMut() -> Flow) -> Result<FrozenWeights> {
        match self.method {
            Method::Uniform => Ok(FrozenWeights::Uniform),
            Method::UniformScaled => self.scale(examples, ask).await,
            Method::BestModule => self.choice(examples, ask).await,
            _ => Ok(FrozenWeights::Base),
        }
    }

    async fn frozen(&self, weights: FrozenWeights, examples: &[Example]) -> Result<Chosen> {
        let shares = weights.shares(self.session.modules().len());
        let updates = match (&shares, self.session.library()) {
            (Some(shares), Some(library)) => library.updates(|_| shares.clone()),
            _ => Updates::new(),
        };
        Ok(Chosen {
            vit: self.session.frozen_vit(weights)?,
            features: self.session.frozen_views(weights, examples, self.config).await?,
            frozen: Some(weights),
            weights: shares,
            module: if let FrozenWeights::Module(index) = weights { Some(index) } else { None },
            extra_parameters: usize::from(matches!(weights, FrozenWeights::Scaled(_))),
            updates,
        })
    }

    /// The mean update times the one of [`SCALES`] that is closest to 1 among those whose held-out loss of a class-mean head
    /// is within one standard error of the lowest ([`choice::simplest`]); times 1 when nothing can be held out. When `ask` says
    /// stop, one of those that were tried.
    pub(super) async fn scale(
        &self,
        examples: &[Example],
        ask: &mut dyn FnMut() -> Flow,
    ) -> Result<FrozenWeights> {
        let labels = labels(examples);
        if self.holds_nothing_out(&labels) {
            return Ok(FrozenWeights::Scaled(0));
        }
        self.choice(examples, ask).await
    }

    /// The weights that the method chooses among: modules, or scales.
    pub(super) fn candidates(&self) -> Vec<FrozenWeights> {
        match self.method {
            Method::BestModule => (0..self.session.modules().len()).map(FrozenWeights::Module).collect(),
            _ => (0..SCALES.len()).map(FrozenWeights::Scaled).collect(),
        }
    }

    /// The one of the candidates that held-out images prefer, or of the first ones when `ask` says stop.
    async fn choice(&self, examples: &[Example], ask: &mut dyn FnMut() -> Flow) -> Result<FrozenWeights> {
        let candidates = self.candidates();
        let mut features = Vec::with_capacity(candidates.len());
        for (index, weights) in candidates.iter().enumerate() {
            if index > 0 && !may_go_on(&mut *ask).await {
                break;
            }
            features.push(self.finite_features(*weights, examples).await?);
        }
        Ok(candidates[self.choose(&features)])
    }

    /// Which of the candidates held-out images prefer, by their features under each.
    pub(super) fn choose(&self, features: &[Option<Features>]) -> usize {
        let labels = features.iter().flatten().next().map_or(&[][..], |features| &features.labels);
        let scales = self.method != Method::BestModule;
        if scales && self.holds_nothing_out(labels) {
            return 0;
        }
        let losses: Vec<Vec<f32>> = features.iter().map(|features| self.losses(features.as_ref())).collect();
        match scales {
            true => choice::simplest(&losses, |index| SCALES[index].ln().abs()),
            false => choice::lowest(&losses),
        }
    }

    fn holds_nothing_out(&self, labels: &[usize]) -> bool {
        folds(labels, self.config.head_folds, self.config.train.seed).is_empty()
    }

    /// Features under frozen weights; `None` where they are not finite.
    pub(super) async fn finite_features(
        &self,
        weights: FrozenWeights,
        examples: &[Example],
    ) -> Result<Option<Features>> {
        finite(self.session.frozen_features(weights, examples).await)
    }

    async fn lorahub(&self, examples: &[Example], ask: &mut dyn FnMut() -> Flow) -> Result<Chosen> {
        let session = self.session;
        let modules = session.modules();
        let mut search = Search::new(modules.len(), self.config.train.seed);
        // With one image of a class nothing of it can be held out.
        let looked_at = first_of_each_class(examples, self.config.search_images.max(2 * self.classes));
        while let Some(weights) = search.ask() {
            let updates = lorahub::combine(modules, &weights)?;
            let vit = merge_updates(&session.model.vit, &updates, &session.device.plain);
            let losses = self.losses(finite(session.features(&vit, &looked_at).await)?.as_ref());
            search.tell(weights, choice::mean(&losses));
            if !may_go_on(&mut *ask).await {
                break;
            }
        }
        let best = search.best().to_vec();
        let updates = lorahub::combine(modules, &best)?;
        let vit = merge_updates(&session.model.vit, &updates, &session.device.plain);
        let features = session.views(&vit, examples, self.config).await?;
        let weights = Some(best);
        let extra_parameters = modules.len();
        Ok(Chosen { vit, features, frozen: None, weights, module: None, extra_parameters, updates })
    }

    /// Held-out cross-entropy of a class-mean head, image by image; with one image per class, its training losses. Weights
    /// that give no finite features are the worst choice, and none that ends the search.
    fn losses(&self, features: Option<&Features>) -> Vec<f32> {
        features.map_or(vec![f32::INFINITY], |features| choice::losses(features, self.classes, self.config))
    }
}

fn finite(features: Result<Features>) -> Result<Option<Features>> {
    match features {
        Ok(features) => Ok(Some(features)),
        Err(Error::NotFinite { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// At most `count` examples: the first one of every class, then the second one, and so on.
fn first_of_each_class(examples: &[Example], count: usize) -> Vec<Example> {
    let mut seen = std::collections::BTreeMap::new();
    let place = |example: &Example| {
        let nth = seen.entry(example.class).or_insert(0);
        *nth += 1;
        (*nth, example.class)
    };
    let mut order: Vec<((usize, usize), usize)> =
        examples.iter().map(place).enumerate().map(|(index, place)| (place, index)).collect();
    order.sort_unstable();
    let mut kept: Vec<usize> = order.into_iter().take(count).map(|(_, index)| index).collect();
    kept.sort_unstable();
    kept.into_iter().map(|index| examples[index].clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        device::block_on,
        evaluate::{accuracy, logits},
        image::Picture,
        random::{Purpose, stream, uniform},
        session::{Session, config::AdaptConfig, tiny},
    };

    /// Modules so strong that it matters which one is chosen, and how much of it.
    const STRENGTH: f32 = 4.0;

    #[test]
    fn every_search_hears_that_it_should_stop() {
        let (session, config) = (tiny::session(&["qv", "qv--old"], STRENGTH), AdaptConfig::default());
        let (height, width) = session.preprocess().input_size();
        let example = |index: usize| Example {
            name: index.to_string(),
            class: index % 2,
            crop: Picture::filled(width, height, [(index * 40) as u8; 3]),
        };
        let examples: Vec<Example> = (0..6).map(example).collect();
        for method in [Method::LoraHub, Method::BestModule, Method::UniformScaled] {
            let mut asked = 0;
            let mut stop = |_: &_| {
                asked += 1;
                Flow::Stop
            };
            let adapted = block_on(session.arm(method, 2, &config).run(&examples, &mut stop));
            assert_eq!(adapted.expect("what it has").method, method);
            assert_eq!(asked, 1, "{method:?}");
        }
    }

    /// Compares held-out answers of noise with those of a run without the fold; how many folds change the weights.
    fn compare_choices(session: &Session, method: Method, seed: u64) -> usize {
        let config = AdaptConfig { folds: 9, ..AdaptConfig::default() };
        let (height, width) = session.preprocess().input_size();
        let mut rng = stream(seed, Purpose::Init);
        let mut example = |index: usize| {
            let mut crop = Picture::filled(width, height, [0; 3]);
            crop.rgb.iter_mut().for_each(|value| *value = uniform(&mut rng, 0.0, 255.0) as u8);
            Example { name: String::new(), class: index % 2, crop }
        };
        let examples: Vec<Example> = (0..9).map(&mut example).collect();
        let labels: Vec<usize> = examples.iter().map(|example| example.class).collect();
        let arm = session.arm(method, 2, &config);
        let run = |examples: &[Example]| block_on(arm.run(examples, &mut |_| Flow::GoOn)).expect("a run");
        let whole = run(&examples);
        let mut told = |fold, num_folds| {
            assert!(fold < num_folds && num_folds == 9, "{fold} of {num_folds}");
            Flow::GoOn
        };
        let held_out =
            block_on(arm.held_out(&whole, &examples, &mut told)).expect("no error").expect("folds");
        let folds = folds(&labels, config.folds, config.train.seed);
        assert_eq!((folds.len(), held_out.folds.len()), (9, 9));
        let mut others = 0;
        for (fold, answered) in folds.iter().zip(&held_out.folds) {
            let rest = (0..9).filter(|index| !fold.contains(index));
            let adapted = run(&rest.map(|index| examples[index].clone()).collect::<Vec<_>>());
            let held: Vec<Example> = fold.iter().map(|&index| examples[index].clone()).collect();
            let features = block_on(session.asked_features(&adapted, &held)).expect("features");
            let correct = accuracy(&adapted.head, &features).correct;
            assert_eq!((answered.labels.len(), answered.hits(false)), (1, correct), "{method:?}");
            assert_eq!(answered.trained.len(), 2, "a logit of every class");
            for (own, alone) in answered.trained.iter().zip(logits(&adapted.head, &features)) {
                assert!((own - alone).abs() < 1e-2, "{method:?}: {own} {alone}");
            }
            others += usize::from(adapted.weights != whole.weights);
        }
        others
    }

    #[test]
    fn held_out_answers_are_those_of_a_run_without_the_fold_and_its_views() {
        let session = tiny::session(&["qv", "qv-other"], STRENGTH);
        for method in [Method::BestModule, Method::UniformScaled] {
            let others: usize = (0..5).map(|seed| compare_choices(&session, method, seed)).sum();
            assert!(
                others > 0,
                "{method:?}: no fold changes the choice, so nothing shows that it was left out"
            );
        }
        for method in [Method::NearestMean, Method::LinearProbe, Method::Uniform] {
            compare_choices(&session, method, 0);
        }
    }

    #[test]
    fn the_search_looks_at_every_class_first() {
        let example =
            |class| Example { name: String::new(), class, crop: Picture::filled(1, 1, [class as u8; 3]) };
        let examples: Vec<Example> = [0, 0, 0, 1, 1, 2].into_iter().map(example).collect();
        let classes = |count| -> Vec<usize> {
            first_of_each_class(&examples, count).iter().map(|example| example.class).collect()
        };
        assert_eq!(classes(3), [0, 1, 2]);
        assert_eq!(classes(5), [0, 0, 1, 1, 2]);
        assert_eq!(first_of_each_class(&examples, 99), examples);
    }
}
