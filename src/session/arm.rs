//! One method on one set of training images, step by step: what the page draws and the CLI waits for.

use super::{Session, digest::Digest, frozen::FrozenArm};
use crate::{
    dataset::Example,
    device,
    error::{Error, Result},
    evaluate,
    head::{Features, Head, views::Views},
    lora::cat::Updates,
    methods::registry::{FrozenWeights, Ingredients, Method, Plan},
    report::{CoefficientReport, Measured},
    session::adapt::{AdaptConfig, Flow, may_go_on},
    train::trainer::{StepResult, Trained, Trainer},
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

/// Where training is.
#[derive(Clone, Debug, PartialEq)]
pub struct StepState {
    /// Steps done.
    pub step: usize,
    /// Loss of the last one.
    pub loss: f32,
    /// Share of its minibatch that was classified correctly before the step.
    pub accuracy: f32,
    /// Composition weights now, every few steps.
    pub coefficients: Option<CoefficientReport>,
}

/// What the loop around an arm is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Training {
    /// A step goes on; so many are done.
    Within(usize),
    /// A step is done.
    Step(StepState),
}

/// The loop around an arm is told within and after every step, and says what to do next.
pub type OnSteps<'a> = &'a mut dyn FnMut(&Training) -> Flow;

/// Steps between two looks at the composition weights: reading them back takes time on a GPU.
const LOOK_EVERY: usize = 5;

impl Session {
    /// Runs one method on some examples from its start to its fixed number of steps.
    ///
    /// A run that `on_steps` stops keeps what it has learned.
    ///
    /// # Errors
    /// Modules are needed and absent, or the device was lost.
    pub async fn run_arm(
        &self,
        method: Method,
        examples: &[Example],
        classes: usize,
        config: &AdaptConfig,
        on_steps: OnSteps<'_>,
    ) -> Result<Adapted> {
        let frozen = FrozenArm { session: self, config, classes };
        let mut ingredients = self.ingredients(config);
        if method.needs_modules() {
            ingredients.library(method)?;
        }
        let mut start = method.starts_from();
        if method.is_scaled() && method.is_trained() {
            let mut ask = || on_steps(&Training::Within(0));
            let chosen = frozen.scale(examples, &mut ask).await?;
            ingredients.scale = chosen.scale();
            start = Some(chosen);
        }
        match ingredients.plan(method)? {
            Some(plan) => self.train_plan(method, (plan, start), examples, classes, config, on_steps).await,
            None => frozen.run(method, examples, &mut || on_steps(&Training::Within(0))).await,
        }
    }

    pub(super) fn ingredients<'a>(&'a self, config: &'a AdaptConfig) -> Ingredients<'a> {
        Ingredients {
            vit: &self.model.vit,
            library: self.library.as_ref(),
            granularity: config.granularity,
            scale: 1.0,
            lora: &config.lora,
            device: &self.device,
            seed: config.train.seed,
        }
    }

    async fn train_plan(
        &self,
        method: Method,
        (plan, start): (Plan, Option<FrozenWeights>),
        examples: &[Example],
        classes: usize,
        config: &AdaptConfig,
        on_steps: OnSteps<'_>,
    ) -> Result<Adapted> {
        // The head starts from the class means of the arm's own starting weights.
        let start = match start {
            Some(weights) => self.frozen_features(weights, examples).await?,
            None => self.features(&start_of(&plan), examples).await?,
        };
        let head = Head::nearest_mean(&start, classes);
        let preprocess = &self.model.preprocess;
        let autodiff = &self.device.autodiff;
        let mut trainer =
            Trainer::new(&*plan.adapt, &plan.vit, &head, examples, preprocess, &config.train, autodiff);
        let mut losses = Vec::new();
        let per_read = device::steps_per_read(&self.device.plain);
        while !trainer.is_done() {
            let whole = trainer.train_part()?;
            let read = whole && (trainer.step().is_multiple_of(per_read) || trainer.is_done());
            let states = match read {
                true => self.step_states(&mut trainer, method, config).await?,
                false => vec![Training::Within(trainer.step())],
            };
            losses.extend(states.iter().filter_map(loss_of));
            if !tell(&states, on_steps).await {
                break;
            }
        }
        // A run that was stopped between two read-backs.
        losses.extend(finite(method, &mut trainer).await?.iter().map(|result| result.loss));
        let trained = trainer.trained().await?;
        let vit = trainer.adapted();
        let features = self.views(&vit, examples, config).await?;
        Ok(self.learned(method, &plan, (vit, features), trained, losses, config))
    }

    /// A trained method's result: what follows from its plan and from what was trained.
    pub(super) fn learned(
        &self,
        method: Method,
        plan: &Plan,
        (vit, features): (Vit, Views),
        trained: Trained,
        losses: Vec<f32>,
        config: &AdaptConfig,
    ) -> Adapted {
        let values: usize = trained.values.iter().map(Vec::len).sum();
        let weights = plan.adapt.coefficients(&trained.values);
        Adapted {
            method,
            features,
            vit,
            weights: None,
            multi_crop: config.multi_crop,
            library: self.module_digests(),
            trainable_parameters: values + trained.head.num_parameters(),
            head: trained.head.clone(),
            coefficients: weights.map(|weights| self.coefficient_report(method, weights, config)),
            updates: plan.updates(&trained.values),
            trained: Some(trained),
            scale: plan.scale,
            chosen_module: None,
            losses,
            measured: None,
        }
    }

    /// The steps since the last read-back: what they gave comes in one go, and now and then the weights with them.
    async fn step_states(
        &self,
        trainer: &mut Trainer<'_>,
        method: Method,
        config: &AdaptConfig,
    ) -> Result<Vec<Training>> {
        let results = finite(method, trainer).await?;
        let first = trainer.step() - results.len() + 1;
        let look = (first..=trainer.step()).any(|step| step.is_multiple_of(LOOK_EVERY)) || trainer.is_done();
        let weights = if look { trainer.coefficients().await? } else { None };
        let mut coefficients = weights.map(|weights| self.coefficient_report(method, weights, config));
        let mut states = Vec::with_capacity(results.len());
        for (index, StepResult { loss, accuracy }) in results.iter().copied().enumerate() {
            let step = first + index;
            let coefficients = if step == trainer.step() { coefficients.take() } else { None };
            states.push(Training::Step(StepState { step, loss, accuracy, coefficients }));
        }
        Ok(states)
    }

    /// A composition with every module's weights multiplied by a factor; each group keeps its sum.
    ///
    /// The head stays, so that a person sees what the change of weights alone does.
    ///
    /// # Errors
    /// The method's model is no mix ([`Method::is_a_mix`]), the modules are not those that it was learned with, or there are
    /// not as many factors as modules.
    pub fn reweighted(&self, adapted: &Adapted, factors: &[f32], config: &AdaptConfig) -> Result<Adapted> {
        let name = adapted.method.name();
        let (Some(report), Some(library)) = (&adapted.coefficients, &self.library) else {
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

    fn coefficient_report(
        &self,
        method: Method,
        weights: Vec<Vec<f32>>,
        config: &AdaptConfig,
    ) -> CoefficientReport {
        let suffix = if method == Method::RandomModules { " (random)" } else { "" };
        let modules: Vec<String> =
            self.modules().iter().map(|module| format!("{}{suffix}", module.name)).collect();
        let keys = self.library.iter().flat_map(|library| library.layers.keys());
        CoefficientReport::new(modules, config.granularity.groups(keys).names, weights)
    }
}

fn loss_of(state: &Training) -> Option<f32> {
    if let Training::Step(done) = state { Some(done.loss) } else { None }
}

/// Tells every state, and gives way to whoever waits; what was said to the last one counts.
async fn tell(states: &[Training], on_steps: OnSteps<'_>) -> bool {
    let Some((last, before)) = states.split_last() else { return true };
    before.iter().for_each(|state| {
        on_steps(state);
    });
    may_go_on(|| on_steps(last)).await
}

/// What the steps since the last read-back gave; an error if training has run away.
async fn finite(method: Method, trainer: &mut Trainer<'_>) -> Result<Vec<StepResult>> {
    let results = trainer.take_results().await?;
    if results.iter().all(|result| result.loss.is_finite()) {
        return Ok(results);
    }
    let reason = format!(
        "the loss is not a number any more after step {}; lower the learning rate or take fewer steps",
        trainer.step()
    );
    Err(Error::mismatch(method.name(), reason))
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

/// The model at a plan's initial values.
fn start_of(plan: &Plan) -> Vit {
    let initial: Vec<_> = plan.adapt.parameters().into_iter().map(|parameter| parameter.value).collect();
    plan.adapt.apply(&plan.vit, &initial)
}
