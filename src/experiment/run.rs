//! Works the cells off: per task the images once, per cell one draw, per method one line of results.

use std::path::PathBuf;

use super::{
    plan::{Cell, Draw, Shots},
    results::{Corrupted, ModuleCka, Results, Run},
    settings::Settings,
    task::Task,
};
use crate::{
    dataset::Dataset,
    error::{Error, Result},
    evaluate,
    methods::registry::{FrozenWeights, Method},
    report::MethodReport,
    session::{
        Session,
        adapted::Adapted,
        progress::{Flow, Progress},
    },
};

/// A grid at work.
pub struct Experiment<'a> {
    /// Device, model and modules.
    pub session: &'a Session,
    /// What decides the numbers.
    pub settings: &'a Settings,
    /// Name and folder of every task.
    pub tasks: Vec<(String, PathBuf)>,
    /// Methods, in the order in which they run on a cell.
    pub methods: Vec<Method>,
    /// Images per class of the runs that are tested on corrupted images too; `None` without covariate shift.
    pub corrupted: Option<Shots>,
}

/// What is going on.
pub enum Event<'a> {
    /// The images of a task are read: task, done, in all.
    Read(&'a str, usize, usize),
    /// A run is at work: how many are done, how many there are, and where this one is.
    At(usize, usize, &'a Cell, &'a Progress),
    /// A run is done and written.
    Done(usize, usize, &'a Run),
    /// An image could not be used, or a method could not be run on a cell.
    Warning(&'a Error),
}

/// Told what is going on; says what to do next.
pub type OnEvent<'a> = &'a mut dyn FnMut(Event) -> Flow;

/// How far a grid is, and what went wrong on the way.
struct Tally {
    done: usize,
    all: usize,
    warnings: Vec<Error>,
}

impl Tally {
    fn warn(&mut self, error: Error, on_event: OnEvent<'_>) {
        on_event(Event::Warning(&error));
        self.warnings.push(error);
    }
}

impl Experiment<'_> {
    /// Runs what is missing of some cells; returns the warnings, each of which was told as an event.
    ///
    /// Seeds come one after the other, so that a grid that is stopped has something of everything. What one method refuses,
    /// or a loss that is no number any more, is a warning and costs one run: it stays missing.
    ///
    /// # Errors
    /// A task that cannot be read, a lost device, or results that cannot be written.
    pub async fn run(
        &self,
        cells: Vec<Cell>,
        results: &mut Results,
        on_event: OnEvent<'_>,
    ) -> Result<Vec<Error>> {
        let missing = |cell: &Cell, results: &Results| {
            self.methods.iter().filter(|method| !self.is_done(results, cell, **method)).count()
        };
        let all = cells.len() * self.methods.len();
        let todo: usize = cells.iter().map(|cell| missing(cell, results)).sum();
        let mut tally = Tally { done: all - todo, all, warnings: Vec::new() };
        for (name, dir) in &self.tasks {
            let mut own: Vec<&Cell> =
                cells.iter().filter(|cell| cell.task == *name && missing(cell, results) > 0).collect();
            if own.is_empty() {
                continue;
            }
            own.sort_by_key(|cell| (cell.seed, cell.draw, cell.shots));
            let corrupt = own.iter().any(|cell| self.corrupts(cell));
            let mut show = |done, total| {
                on_event(Event::Read(name, done, total));
            };
            let (task, bad) = Task::load(self.session, dir, self.settings, corrupt, &mut show)?;
            bad.into_iter().for_each(|error| tally.warn(error, on_event));
            for cell in own {
                if !self.run_cell(&task, cell, results, &mut tally, on_event).await? {
                    return Ok(tally.warnings);
                }
            }
        }
        Ok(tally.warnings)
    }

    /// Whether a run is there, with all that is asked of it.
    fn is_done(&self, results: &Results, cell: &Cell, method: Method) -> bool {
        let run = results.get(cell, method);
        run.is_some_and(|run| !self.corrupts(cell) || !run.corrupted.is_empty())
    }

    fn corrupts(&self, cell: &Cell) -> bool {
        cell.draw == Draw::Even && self.corrupted == Some(cell.shots)
    }

    /// Whether to go on.
    async fn run_cell(
        &self,
        task: &Task,
        cell: &Cell,
        results: &mut Results,
        tally: &mut Tally,
        on_event: OnEvent<'_>,
    ) -> Result<bool> {
        let train = task.draw(cell);
        for &method in &self.methods {
            if self.is_done(results, cell, method) {
                continue;
            }
            let mut stopped = false;
            let mut ask = |progress: Progress| {
                let flow = on_event(Event::At(tally.done, tally.all, cell, &progress));
                stopped |= flow == Flow::Stop;
                flow
            };
            let config = self.settings.of_cell(cell);
            let trained = self.session.adapt_method(method, &train, None, &config, &mut ask).await;
            // A run that was cut short is not the run that was asked for.
            if stopped {
                return Ok(false);
            }
            let run = match trained {
                Ok(trained) => self.finish(task, cell, &train, trained).await,
                Err(error) => Err(error),
            };
            let run = match run {
                Ok(run) => run,
                Err(error) if error.is_of_one_method() => {
                    tally.warn(named(cell, method, &error), on_event);
                    continue;
                }
                Err(error) => return Err(error),
            };
            results.append(run.clone())?;
            tally.done += 1;
            if on_event(Event::Done(tally.done, tally.all, &run)) == Flow::Stop {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Tests a trained method and puts its line together.
    async fn finish(
        &self,
        task: &Task,
        cell: &Cell,
        train: &Dataset,
        (report, adapted): (MethodReport, Adapted),
    ) -> Result<Run> {
        let started = web_time::Instant::now();
        let test_accuracy = self.test(&adapted, &task.test).await?;
        let test_seconds = started.elapsed().as_secs_f64();
        let corrupted = if self.corrupts(cell) { self.corrupted(&adapted, task).await? } else { Vec::new() };
        Ok(Run {
            task: cell.task.clone(),
            shots: cell.shots,
            seed: cell.seed,
            method: adapted.method,
            draw: cell.draw,
            test_accuracy,
            test_images: task.test.examples.len(),
            train_accuracy: report.train_accuracy,
            train_images: train.examples.len(),
            took_all: Some(task.is_all(train)),
            held_out_accuracy: report.held_out_accuracy,
            head_refitted: report.head_refitted,
            trainable_parameters: report.trainable_parameters,
            steps: report.steps,
            seconds: report.seconds,
            test_seconds,
            composition: report.coefficients,
            chosen_module: report.chosen_module,
            cka: self.cka(&adapted, task).await?,
            corrupted,
            model: self.settings.model.clone(),
            model_sha256: self.settings.model_sha256.clone(),
            settings: self.settings.hash(),
            device: self.session.device().kind.into(),
        })
    }

    async fn test(&self, adapted: &Adapted, test: &Dataset) -> Result<f64> {
        let features = self.session.asked_features(adapted, &test.examples).await?;
        Ok(evaluate::accuracy(&adapted.head, &features).value)
    }

    async fn corrupted(&self, adapted: &Adapted, task: &Task) -> Result<Vec<Corrupted>> {
        let mut found = Vec::new();
        for (kind, strength, test) in &task.corrupted {
            let (test_accuracy, test_images) = (self.test(adapted, test).await?, test.examples.len());
            found.push(Corrupted { kind: *kind, strength: *strength, test_accuracy, test_images });
        }
        Ok(found)
    }

    /// CKA of every module with a model that was trained on the task without modules.
    async fn cka(&self, adapted: &Adapted, task: &Task) -> Result<Vec<ModuleCka>> {
        let mut found = Vec::new();
        if !matches!(adapted.method, Method::Lora | Method::Full) || task.compared.is_empty() {
            return Ok(found);
        }
        let names = self.session.module_names();
        if names.is_empty() {
            return Ok(found);
        }
        let own = self.session.adapted_features(adapted, &task.compared).await?;
        for (index, module) in names.into_iter().enumerate() {
            let weights = FrozenWeights::Module(index);
            match self.session.frozen_features(weights, &task.compared).await {
                Ok(features) => found.push(ModuleCka { module, cka: evaluate::linear_cka(&own, &features) }),
                // The run uses no module: one that gives no numbers is only left out of the comparison.
                Err(Error::NotFinite { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }
}

/// An error of a method with the run that it happened in.
fn named(cell: &Cell, method: Method, error: &Error) -> Error {
    let name = method.name();
    let text = error.to_string();
    let reason = Error::after_name(&text, name);
    Error::mismatch(
        format!("{}, {}{}, seed {}, {name}", cell.task, cell.shots.words(), cell.draw.words(), cell.seed),
        format!("{reason}; this run is missing, the others go on"),
    )
}
