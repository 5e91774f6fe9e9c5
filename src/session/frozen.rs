//! Methods that fit a head on the features of fixed weights: one cached pass, no training steps.

use super::{Session, adapt::AdaptConfig, arm::Adapted, held_out};
use crate::{
    dataset::Example,
    error::Result,
    head::{Features, Head},
    lora::{
        cat::Updates,
        library::{LoraLibrary, merge_updates},
    },
    methods::{
        lorahub::{self, Search},
        registry::Method,
    },
    report::CoefficientReport,
    vit::model::Vit,
};

/// A frozen method on its way.
pub(super) struct FrozenArm<'a> {
    pub session: &'a Session,
    pub config: &'a AdaptConfig,
    pub classes: usize,
}

/// Fixed weights that a method decided on.
struct Chosen {
    vit: Vit,
    features: Features,
    weights: Option<Vec<f32>>,
    module: Option<usize>,
    extra_parameters: usize,
    updates: Updates,
}

impl FrozenArm<'_> {
    /// Runs the method.
    pub async fn run(&self, method: Method, examples: &[Example]) -> Result<Adapted> {
        let chosen = match method {
            Method::Uniform => self.uniform(examples).await?,
            Method::BestModule => self.best_module(examples).await?,
            Method::LoraHub => self.lorahub(examples).await?,
            _ => self.base(examples).await?,
        };
        let head = self.config.fit_head(method, &chosen.features, self.classes);
        let trained_head = if method == Method::NearestMean { 0 } else { head.num_parameters() };
        let names = self.session.module_names();
        let report = |weights| CoefficientReport::new(names, vec!["model".into()], vec![weights]);
        Ok(Adapted {
            method,
            vit: chosen.vit,
            head,
            features: chosen.features,
            trained: None,
            updates: Some(chosen.updates),
            coefficients: chosen.weights.map(report),
            chosen_module: chosen.module,
            trainable_parameters: trained_head + chosen.extra_parameters,
            losses: Vec::new(),
        })
    }

    async fn base(&self, examples: &[Example]) -> Result<Chosen> {
        self.fixed(self.session.model.vit.clone(), None, examples).await
    }

    /// Fixed weights, one per module, the same in every layer.
    async fn composed(
        &self,
        library: &LoraLibrary,
        weights: Vec<f32>,
        examples: &[Example],
    ) -> Result<Chosen> {
        let vit = library.merge(&self.session.model.vit, &library.broadcast(&weights));
        let updates = library.updates(|_| weights.clone());
        Ok(Chosen { updates, ..self.fixed(vit, Some(weights), examples).await? })
    }

    async fn uniform(&self, examples: &[Example]) -> Result<Chosen> {
        let library = self.session.ingredients(self.config).library(Method::Uniform)?.clone();
        let share = 1.0 / library.num_modules() as f32;
        self.composed(&library, vec![share; library.num_modules()], examples).await
    }

    /// Tries every module; the held-out loss of a class-mean head decides.
    async fn best_module(&self, examples: &[Example]) -> Result<Chosen> {
        let library = self.session.ingredients(self.config).library(Method::BestModule)?.clone();
        let mut best: Option<(f32, Chosen)> = None;
        for module in 0..library.num_modules() {
            let mut one_hot = vec![0.0; library.num_modules()];
            one_hot[module] = 1.0;
            let candidate =
                Chosen { module: Some(module), ..self.composed(&library, one_hot, examples).await? };
            let loss = self.mean_head_loss(&candidate.features);
            if best.as_ref().is_none_or(|(lowest, _)| loss < *lowest) {
                best = Some((loss, candidate));
            }
        }
        match best {
            Some((_, chosen)) => Ok(chosen),
            None => self.base(examples).await,
        }
    }

    async fn lorahub(&self, examples: &[Example]) -> Result<Chosen> {
        let session = self.session;
        let modules = session.ingredients(self.config).library(Method::LoraHub)?.num_modules();
        let mut search = Search::new(modules, self.config.train.seed);
        while let Some(weights) = search.ask() {
            let updates = lorahub::combine(&session.modules, &weights)?;
            let vit = merge_updates(&session.model.vit, &updates, &session.device.plain);
            let features = session.features(&vit, examples).await?;
            let loss = self.mean_head_loss(&features);
            search.tell(weights, loss);
        }
        let best = search.best().to_vec();
        let updates = lorahub::combine(&session.modules, &best)?;
        let vit = merge_updates(&session.model.vit, &updates, &session.device.plain);
        let chosen = self.fixed(vit, Some(best), examples).await?;
        Ok(Chosen { extra_parameters: modules, updates, ..chosen })
    }

    async fn fixed(&self, vit: Vit, weights: Option<Vec<f32>>, examples: &[Example]) -> Result<Chosen> {
        let features = self.session.features(&vit, examples).await?;
        Ok(Chosen { vit, features, weights, module: None, extra_parameters: 0, updates: Updates::new() })
    }

    /// Held-out cross-entropy of a class-mean head; with one image per class, its training loss.
    fn mean_head_loss(&self, features: &Features) -> f32 {
        held_out::loss(features, self.config, &|rest| Head::nearest_mean(rest, self.classes))
    }
}
