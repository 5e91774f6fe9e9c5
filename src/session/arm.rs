//! One method on one set of training images, step by step: what the page draws and the CLI waits for.

use super::{
    Session,
    adapted::Adapted,
    config::AdaptConfig,
    progress::{Flow, may_go_on},
};
use crate::{
    dataset::Example,
    device,
    error::{Error, Result},
    head::{Head, views::Views},
    methods::registry::{FrozenWeights, Ingredients, Method, Plan},
    report::CoefficientReport,
    train::trainer::{StepResult, Trained, Trainer},
    vit::model::Vit,
};

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

/// One method on its way: what stays the same while it runs and while folds are left out.
#[derive(Clone, Copy)]
pub struct Arm<'a> {
    pub(super) session: &'a Session,
    pub(super) method: Method,
    pub(super) classes: usize,
    pub(super) config: &'a AdaptConfig,
}

impl Session {
    /// A method that tells so many classes apart.
    pub fn arm<'a>(&'a self, method: Method, classes: usize, config: &'a AdaptConfig) -> Arm<'a> {
        Arm { session: self, method, classes, config }
    }
}

impl<'a> Arm<'a> {
    /// Runs the method on some examples from its start to its fixed number of steps.
    ///
    /// A run that `on_steps` stops keeps what it has learned.
    ///
    /// # Errors
    /// Modules are needed and absent, or the device was lost.
    pub async fn run(&self, examples: &[Example], on_steps: OnSteps<'_>) -> Result<Adapted> {
        let mut ingredients = self.ingredients();
        if self.method.needs_modules() {
            ingredients.library(self.method)?;
        }
        let mut start = self.method.starts_from();
        if self.method.is_scaled() && self.method.is_trained() {
            let mut ask = || on_steps(&Training::Within(0));
            let chosen = self.scale(examples, &mut ask).await?;
            ingredients.scale = chosen.scale();
            start = Some(chosen);
        }
        match ingredients.plan(self.method)? {
            Some(plan) => self.train(&plan, start, examples, on_steps).await,
            None => self.run_frozen(examples, &mut || on_steps(&Training::Within(0))).await,
        }
    }

    pub(super) fn ingredients(&self) -> Ingredients<'a> {
        Ingredients {
            vit: &self.session.model.vit,
            library: self.session.library(),
            granularity: self.config.granularity,
            scale: 1.0,
            lora: &self.config.lora,
            device: &self.session.device,
            seed: self.config.train.seed,
        }
    }

    async fn train(
        &self,
        plan: &Plan,
        start: Option<FrozenWeights>,
        examples: &[Example],
        on_steps: OnSteps<'_>,
    ) -> Result<Adapted> {
        let (session, config) = (self.session, self.config);
        // The head starts from the class means of the arm's own starting weights.
        let start = match start {
            Some(weights) => session.frozen_features(weights, examples).await?,
            None => session.features(&start_of(plan), examples).await?,
        };
        let head = Head::nearest_mean(&start, self.classes);
        let preprocess = &session.model.preprocess;
        let autodiff = &session.device.autodiff;
        let mut trainer =
            Trainer::new(&*plan.adapt, &plan.vit, &head, examples, preprocess, &config.train, autodiff);
        let mut losses = Vec::new();
        let per_read = device::steps_per_read(&session.device.plain);
        while !trainer.is_done() {
            let whole = trainer.train_part()?;
            let read = whole && (trainer.step().is_multiple_of(per_read) || trainer.is_done());
            let states = match read {
                true => self.step_states(&mut trainer).await?,
                false => vec![Training::Within(trainer.step())],
            };
            losses.extend(states.iter().filter_map(loss_of));
            if !tell(&states, on_steps).await {
                break;
            }
        }
        // A run that was stopped between two read-backs.
        losses.extend(self.finite(&mut trainer).await?.iter().map(|result| result.loss));
        let trained = trainer.trained().await?;
        let vit = trainer.adapted();
        let features = session.views(&vit, examples, config).await?;
        Ok(self.learned(plan, (vit, features), trained, losses))
    }

    /// A trained method's result: what follows from its plan and from what was trained.
    pub(super) fn learned(
        &self,
        plan: &Plan,
        (vit, features): (Vit, Views),
        trained: Trained,
        losses: Vec<f32>,
    ) -> Adapted {
        let values: usize = trained.values.iter().map(Vec::len).sum();
        let weights = plan.adapt.coefficients(&trained.values);
        Adapted {
            method: self.method,
            features,
            vit,
            weights: None,
            multi_crop: self.config.multi_crop,
            library: self.session.module_digests(),
            trainable_parameters: values + trained.head.num_parameters(),
            head: trained.head.clone(),
            coefficients: weights.map(|weights| self.coefficient_report(weights)),
            updates: plan.updates(&trained.values),
            trained: Some(trained),
            scale: plan.scale,
            chosen_module: None,
            losses,
            measured: None,
        }
    }

    /// The steps since the last read-back: what they gave comes in one go, and now and then the weights with them.
    async fn step_states(&self, trainer: &mut Trainer<'_>) -> Result<Vec<Training>> {
        let results = self.finite(trainer).await?;
        let first = trainer.step() - results.len() + 1;
        let look = (first..=trainer.step()).any(|step| step.is_multiple_of(LOOK_EVERY)) || trainer.is_done();
        let weights = if look { trainer.coefficients().await? } else { None };
        let mut coefficients = weights.map(|weights| self.coefficient_report(weights));
        let mut states = Vec::with_capacity(results.len());
        for (index, StepResult { loss, accuracy }) in results.iter().copied().enumerate() {
            let step = first + index;
            let coefficients = if step == trainer.step() { coefficients.take() } else { None };
            states.push(Training::Step(StepState { step, loss, accuracy, coefficients }));
        }
        Ok(states)
    }

    /// What the steps since the last read-back gave; an error if training has run away.
    async fn finite(&self, trainer: &mut Trainer<'_>) -> Result<Vec<StepResult>> {
        let results = trainer.take_results().await?;
        if results.iter().all(|result| result.loss.is_finite()) {
            return Ok(results);
        }
        let reason = format!(
            "the loss is not a number any more after step {}; lower the learning rate or take fewer steps",
            trainer.step()
        );
        Err(Error::mismatch(self.method.name(), reason))
    }

    fn coefficient_report(&self, weights: Vec<Vec<f32>>) -> CoefficientReport {
        let suffix = if self.method == Method::RandomModules { " (random)" } else { "" };
        let session = self.session;
        let modules: Vec<String> =
            session.modules().iter().map(|module| format!("{}{suffix}", module.name)).collect();
        let keys = session.library().into_iter().flat_map(|library| library.layers.keys());
        CoefficientReport::new(modules, self.config.granularity.groups(keys).names, weights)
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

/// The model at a plan's initial values.
fn start_of(plan: &Plan) -> Vit {
    let initial: Vec<_> = plan.adapt.parameters().into_iter().map(|parameter| parameter.value).collect();
    plan.adapt.apply(&plan.vit, &initial)
}
