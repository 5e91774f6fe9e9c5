//! The main job: several methods side by side on the same few labelled images.

use std::{future::Future, pin::Pin};

use serde::{Deserialize, Serialize};

use super::{
    Session,
    adapted::Adapted,
    arm::{StepState, Training},
    held_out::{Fold, HeldOut},
};
use crate::{
    dataset::Dataset,
    device,
    error::{Error, Result},
    evaluate,
    head::{DEFAULT_L2, Features, Head},
    methods::{composition::Granularity, factors::LoraConfig, registry::Method},
    report::{CoefficientReport, Measured, MethodReport, TestReport, count},
    train::trainer::TrainConfig,
    vit::config::VitConfig,
};

/// When the trained head of a method is replaced by one fitted on its final features.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refit {
    /// Unless held-out images prefer the trained head. Where nothing is held out it is replaced: on upstream tasks
    /// that changed little, and it depends on no learning rate.
    #[default]
    HeldOut,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Everything that decides what `adapt` computes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdaptConfig {
    /// Steps, rates, seed.
    #[serde(default = "TrainConfig::unvaried")]
    pub train: TrainConfig,
    /// How many sets of composition weights.
    pub granularity: Granularity,
    /// Shape of a fresh LoRA.
    pub lora: LoraConfig,
    /// L2 penalty of logistic regression.
    pub l2: f32,
    /// Augmented views of every training image that heads are fitted on besides; fewer where a class has more than ten images, none
    /// where one has more than 40.
    ///
    /// Configurations that do not say it were made when there were none, and look as they did then.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub views: usize,
    /// Whether pictures that are asked about, the held-out and the test images too, are answered by the mean of five crops' features:
    /// of the whole and of its corners ([`Picture::corners`](crate::image::Picture::corners)).
    ///
    /// Configurations that do not say it were made when there was the whole alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub multi_crop: bool,
    /// When trained heads are refitted.
    pub refit: Refit,
    /// Folds of the held-out estimate, the same ones for every method; 0 leaves the estimate out.
    pub folds: usize,
    /// Most folds of the class-mean heads by which a scale or a module is chosen; up to this many images it is leave-one-out.
    pub head_folds: usize,
    /// Most training images that LoraHub's search looks at, evenly over the classes, but two of each where there are two;
    /// its head is fitted on all.
    pub search_images: usize,
}

fn is_zero(views: &usize) -> bool {
    *views == 0
}

impl Default for AdaptConfig {
    fn default() -> Self {
        Self {
            train: TrainConfig::default(),
            granularity: Granularity::default(),
            lora: LoraConfig::default(),
            l2: DEFAULT_L2,
            views: 4,
            multi_crop: true,
            refit: Refit::default(),
            folds: 3,
            head_folds: 50,
            search_images: 50,
        }
    }
}

impl AdaptConfig {
    /// Refuses what cannot be run.
    ///
    /// # Errors
    /// A LoRA of a shape that cannot be, what [`TrainConfig::check`] refuses, a penalty below 0, a search that sees nothing, or
    /// a single fold, which would hold everything out.
    pub fn check(&self) -> Result<()> {
        self.lora.check()?;
        self.train.check()?;
        if !(0.0..f32::INFINITY).contains(&self.l2) {
            return Err(Error::mismatch(
                "l2",
                format!("{} is no penalty; give a number of 0 or more", self.l2),
            ));
        }
        if self.search_images == 0 {
            return Err(Error::mismatch("search_images", "a search needs 1 or more"));
        }
        if self.folds == 1 {
            let reason = "one fold would hold everything out; give 2 or more, or 0 for no estimate";
            return Err(Error::mismatch("folds", reason));
        }
        Ok(())
    }

    /// Refuses what cannot be run on a model.
    ///
    /// # Errors
    /// As [`AdaptConfig::check`], and a LoRA of a higher rank than any update of the model can have.
    pub fn check_for(&self, model: &VitConfig) -> Result<()> {
        self.check()?;
        let (rank, most) = (self.lora.rank, model.embed_dim);
        if rank > most {
            let reason = format!(
                "{rank} is more than the {most} channels of the model, which is the most that an update can have"
            );
            return Err(Error::mismatch("rank of the LoRA", reason));
        }
        Ok(())
    }

    /// The head of a method that only fits one.
    pub(super) fn fit_head(&self, method: Method, features: &Features, classes: usize) -> Head {
        match method {
            Method::NearestMean => Head::nearest_mean(features, classes),
            _ => Head::logistic(features, classes, self.l2),
        }
    }
}

/// Where a run is, for a progress bar.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "kebab-case")]
pub enum Progress {
    /// A step of the final run goes on.
    Within {
        /// Command-line name of the method.
        method: String,
        /// Steps done.
        step: usize,
        /// Steps in all.
        num_steps: usize,
    },
    /// Training steps of the final run.
    Step {
        /// Command-line name of the method.
        method: String,
        /// Steps done.
        step: usize,
        /// Steps in all.
        num_steps: usize,
        /// Loss of the last step.
        loss: f32,
        /// Share of the last minibatch that was classified correctly before the step.
        accuracy: f32,
        /// Composition weights now, every few steps.
        coefficients: Option<CoefficientReport>,
    },
    /// Folds of the held-out estimate.
    Fold {
        /// Command-line name of the method.
        method: String,
        /// Folds done.
        fold: usize,
        /// Folds in all.
        num_folds: usize,
    },
    /// The test images.
    Test {
        /// Command-line name of the method.
        method: String,
    },
}

/// What a run should do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    GoOn,
    /// Wait, and ask again.
    Pause,
    /// End with what was learned so far.
    Stop,
}

/// Told where a run is; says what to do next. Asked again and again while a run is paused.
pub type OnProgress<'a> = &'a mut dyn FnMut(Progress) -> Flow;

/// What others make of a trained method's folds ([`Session::fold`]), waited for once it is trained itself; `None` if they were
/// stopped.
pub type Folds<'a> = Pin<Box<dyn Future<Output = Result<Option<Vec<Fold>>>> + 'a>>;

/// Lets a browser's event loop run, waits while paused, and says whether to go on.
pub(super) async fn may_go_on(mut ask: impl FnMut() -> Flow) -> bool {
    loop {
        // What a person said during the step is heard before the question, not after it.
        device::breathe(0).await;
        match ask() {
            Flow::Stop => return false,
            Flow::Pause => device::breathe(PAUSE).await,
            Flow::GoOn => return true,
        }
    }
}

/// Milliseconds between two questions while a run is paused.
pub const PAUSE: u32 = 50;

impl Session {
    /// Runs one method: trains it, estimates its held-out accuracy, and tests it.
    ///
    /// When `on_progress` says stop, the method keeps what it has learned so far and is still tested.
    ///
    /// # Errors
    /// A dataset without examples, settings that [`AdaptConfig::check`] refuses, missing modules, or a lost device.
    pub async fn adapt_method(
        &self,
        method: Method,
        train: &Dataset,
        test: Option<&Dataset>,
        config: &AdaptConfig,
        on_progress: OnProgress<'_>,
    ) -> Result<(MethodReport, Adapted)> {
        self.adapt_with(None, method, train, test, config, on_progress).await
    }

    /// As [`Session::adapt_method`], where others may run the folds of a method that trains.
    ///
    /// # Errors
    /// As [`Session::adapt_method`], and those of the others.
    pub async fn adapt_with(
        &self,
        folds: Option<Folds<'_>>,
        method: Method,
        train: &Dataset,
        test: Option<&Dataset>,
        config: &AdaptConfig,
        on_progress: OnProgress<'_>,
    ) -> Result<(MethodReport, Adapted)> {
        let classes = train.classes.len();
        if classes < 2 {
            let reason =
                format!("{}; at least two are needed to tell apart", count(classes, "class", "classes"));
            return Err(Error::Dataset { name: train.name.clone(), reason });
        }
        if train.examples.is_empty() {
            let reason = "no training images; every class needs one or more".into();
            return Err(Error::Dataset { name: train.name.clone(), reason });
        }
        config.check_for(&self.model.vit.config)?;
        let config = &config.for_images(&train.examples);
        let name = method.name().to_string();
        let started = web_time::Instant::now();
        let num_steps = config.train.num_steps;
        let mut interrupted = false;
        let mut step = |state: &Training| {
            let method = name.clone();
            let flow = on_progress(match state.clone() {
                Training::Within(step) => Progress::Within { method, step, num_steps },
                Training::Step(StepState { step, loss, accuracy, coefficients }) => {
                    Progress::Step { method, step, num_steps, loss, accuracy, coefficients }
                }
            });
            interrupted |= flow == Flow::Stop;
            flow
        };
        let arm = self.arm(method, classes, config);
        let mut adapted = arm.run(&train.examples, &mut step).await?;
        let seconds = started.elapsed().as_secs_f64();
        // One that was stopped at its last step is whole.
        let mut stopped = if method.is_trained() { adapted.losses.len() < num_steps } else { interrupted };
        let mut fold = |fold, num_folds| {
            let flow = on_progress(Progress::Fold { method: name.clone(), fold, num_folds });
            stopped |= flow == Flow::Stop;
            flow
        };
        let held_out = match folds.filter(|_| method.is_trained()) {
            None => arm.held_out(&adapted, &train.examples, &mut fold).await?,
            Some(folds) => {
                let folds = folds.await?;
                stopped |= folds.is_none();
                folds.and_then(HeldOut::of)
            }
        };
        let refitted = refit(&mut adapted, held_out.as_ref(), classes, config);
        let temperature = held_out.as_ref().map(|held| held.temperature(refitted));
        adapted.head = adapted.head.cooled(temperature.unwrap_or(1.0));
        let head = adapted.head.weight.iter().chain(&adapted.head.bias).copied().collect::<Vec<f32>>();
        Error::check_finite(&head, &name, "head")?;
        on_progress(Progress::Test { method: name });
        let mut report = self.report(&adapted, held_out.as_ref(), refitted, config);
        report.seconds = seconds;
        report.stopped = stopped;
        report.temperature = temperature;
        if let Some(test) = test {
            let TestReport { test_accuracy, test_interval, confusion, answers } =
                self.test(&adapted, test).await?;
            report = MethodReport { test_accuracy, test_interval, confusion, answers, ..report };
        }
        adapted.measured = Some(Measured::of(&report, train.examples.len()));
        Ok((report, adapted))
    }

    fn report(
        &self,
        adapted: &Adapted,
        held_out: Option<&HeldOut>,
        head_refitted: bool,
        config: &AdaptConfig,
    ) -> MethodReport {
        let refit = if adapted.method.is_trained() { config.refit } else { Refit::Never };
        let held = held_out.map(|held| held.accuracy(refit));
        MethodReport {
            method: adapted.method.name().into(),
            test_accuracy: None,
            test_interval: None,
            train_accuracy: evaluate::accuracy(&adapted.head, adapted.features.images()).value,
            held_out_accuracy: held.map(|held| held.value),
            held_out_interval: held.map(|held| [held.low, held.high]),
            held_out_folds: held_out.map_or(0, |held| held.folds.len()),
            trainable_parameters: adapted.trainable_parameters,
            steps: adapted.losses.len(),
            seconds: 0.0,
            losses: adapted.losses.clone(),
            stopped: false,
            head_refitted,
            temperature: None,
            coefficients: adapted.coefficients.clone(),
            chosen_module: adapted.chosen_module.map(|index| self.modules()[index].name.clone()),
            confusion: None,
            answers: None,
        }
    }
}

/// Replaces the trained head by one refitted on the final features if held-out images prefer it.
fn refit(adapted: &mut Adapted, held_out: Option<&HeldOut>, classes: usize, config: &AdaptConfig) -> bool {
    let wanted = match config.refit {
        Refit::HeldOut => held_out.is_none_or(HeldOut::prefers_refitted),
        Refit::Always => true,
        Refit::Never => false,
    };
    if wanted && adapted.method.is_trained() {
        adapted.head = Head::logistic(&adapted.features.all(), classes, config.l2);
        return true;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_from_before_there_were_views_mean_none_and_stay_as_they_are() {
        let none = AdaptConfig { views: 0, ..AdaptConfig::default() };
        let text = serde_json::to_string(&none).expect("JSON");
        assert!(!text.contains("views"), "{text}");
        assert_eq!(serde_json::from_str::<AdaptConfig>(&text).expect("a configuration"), none);
        let some = serde_json::to_string(&AdaptConfig::default()).expect("JSON");
        assert_eq!(
            serde_json::from_str::<AdaptConfig>(&some).expect("a configuration"),
            AdaptConfig::default()
        );
        assert_ne!(AdaptConfig::default().views, 0);
        for text in ["{}", r#"{"train": {}, "folds": 3}"#] {
            let said = serde_json::from_str::<AdaptConfig>(text).expect("a configuration");
            assert_eq!((said.views, said.train.augmentation()), (0, None), "{text}");
        }
        let mirrors: TrainConfig = serde_json::from_str(r#"{"augment": true}"#).expect("a configuration");
        assert!(mirrors.mirror, "as all that augmented did");
    }
}
