//! The main job: several methods side by side on the same few labelled images.

use std::{future::Future, pin::Pin};

use super::{
    Session,
    adapted::Adapted,
    arm::{StepState, Training},
    config::{AdaptConfig, Refit},
    held_out::{Fold, HeldOut},
    progress::{Flow, OnProgress, Progress},
};
use crate::{
    dataset::Dataset,
    error::{Error, Result},
    evaluate,
    head::Head,
    methods::registry::Method,
    report::{Measured, MethodReport, TestReport, count},
};

/// What others make of a trained method's folds ([`Session::fold`]), waited for once it is trained itself; `None` if they were
/// stopped.
pub type Folds<'a> = Pin<Box<dyn Future<Output = Result<Option<Vec<Fold>>>> + 'a>>;

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
        self.check_task(train, config)?;
        let classes = train.classes.len();
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
        let cut_short = if method.is_trained() { adapted.losses.len() < num_steps } else { interrupted };
        let mut stopped = cut_short;
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
        report.cut_short = cut_short;
        report.temperature = temperature;
        if let Some(test) = test {
            let TestReport { test_accuracy, test_interval, confusion, answers } =
                self.test(&adapted, test).await?;
            report = MethodReport { test_accuracy, test_interval, confusion, answers, ..report };
        }
        adapted.measured = Some(Measured::of(&report, train.examples.len()));
        Ok((report, adapted))
    }

    /// Refuses what no method can learn from, before any is trained.
    fn check_task(&self, train: &Dataset, config: &AdaptConfig) -> Result<()> {
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
        config.check_for(&self.model.vit.config)
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
            cut_short: false,
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
