//! `experiment`: the paper's comparison as a grid of runs, and its report.

use std::path::Path;

use loraloom::{
    block_on,
    error::{Error, Result},
    experiment::{
        images,
        plan::{Plan, Shots, task_names},
        report,
        results::{self, Results},
        run::{Event, Experiment},
        settings::Settings,
        task,
    },
    files::{check_folder, check_writable},
    report::count,
    session::{Session, config::AdaptConfig, progress::Flow},
};

use super::{
    Outcome, adapt,
    args::{ExperimentArgs, Modules, ShiftName},
    interrupt, model, output, settings,
};

/// Runs the command.
///
/// # Errors
/// The model, a module or a task cannot be used, or the folder holds results of other settings.
pub fn run(arguments: &ExperimentArgs) -> Result<Outcome> {
    if arguments.report_only {
        check_folder(&arguments.out)?;
        return write_report(arguments);
    }
    if arguments.shard.count > 1 && arguments.json.is_some() {
        let reason =
            "a shard has no summary; leave it out, and give it to --report-only once all shards are there";
        return Err(Error::mismatch("--json", reason));
    }
    check_writable(&arguments.out)?;
    let names = task_names(&arguments.tasks)?;
    arguments.tasks.iter().try_for_each(|dir| task::check(dir))?;
    let shifted = |shift| arguments.shift.contains(&shift).then_some(arguments.shift_shots);
    let plan = Plan {
        tasks: names.clone(),
        shots: arguments.shots.clone(),
        seeds: arguments.seeds,
        uneven: shifted(ShiftName::Label),
    };
    let (session, mut warnings) = open(arguments)?;
    model::note_without_modules(&session, &arguments.modules, &arguments.methods);
    let methods = arguments.methods(Modules::of(&session))?;
    let settings = settings(arguments, &session)?;
    settings.claim(&arguments.out)?;
    let (runs, _) = results::read_dir(&arguments.out)?;
    for (name, dir) in names.iter().zip(&arguments.tasks) {
        images::claim(&arguments.out, name, dir, &runs)?;
    }
    session.keep_features_in(&arguments.cache.clone().unwrap_or_else(|| arguments.out.join("cache")));
    let (mut results, bad) = Results::open(&arguments.out, arguments.shard)?;
    bad.iter().for_each(output::warning);
    warnings.extend(bad);
    let experiment = Experiment {
        session: &session,
        settings: &settings,
        tasks: names.into_iter().zip(arguments.tasks.iter().cloned()).collect(),
        methods,
        corrupted: shifted(ShiftName::Covariate),
    };
    interrupt::listen();
    warnings.extend(work(&experiment, arguments.shard.take(plan.cells()), &mut results)?);
    if interrupt::stopped() {
        output::warning(&Error::mismatch("stopped", "runs are missing; the same command goes on"));
    }
    let is_whole = arguments.shard.count == 1 && !(interrupt::stopped() && results.is_empty());
    let written = if is_whole { write_report(arguments)? } else { Outcome::Fine };
    if arguments.shard.count > 1 {
        let out = arguments.out.display();
        output::print(&format!(
            "{}; once all shards are there: loraloom experiment --report-only --out {out}",
            results.path().display()
        ));
    }
    Ok(if warnings.is_empty() && !interrupt::stopped() { written } else { Outcome::Warned })
}

/// Every module counts in a comparison: one that cannot be used, or does nothing, is an error.
fn open(arguments: &ExperimentArgs) -> Result<(Session, Vec<Error>)> {
    let options = model::options(&arguments.input)?;
    let mut session = model::open_named(&arguments.model, &options, arguments.device)?;
    let added = model::add_modules(&mut session, &arguments.modules)?;
    match added.incomplete {
        true => Err(Error::mismatch("--modules", "all of them must be usable in a comparison")),
        false => Ok((session, added.warnings)),
    }
}

fn settings(arguments: &ExperimentArgs, session: &Session) -> Result<Settings> {
    if arguments.shift.contains(&ShiftName::Label) && arguments.shift_shots == Shots::Full {
        let reason = "a label shift draws unequal numbers of images; give a number instead of full";
        return Err(Error::mismatch("--shift-shots", reason));
    }
    if arguments.shift.contains(&ShiftName::Covariate) && !arguments.shots.contains(&arguments.shift_shots) {
        let reason = format!(
            "runs with {} images per class are tested on corrupted images, and --shots asks for none; add it there, or name another number here",
            arguments.shift_shots
        );
        return Err(Error::mismatch("--shift-shots", reason));
    }
    let (file, seed) =
        (arguments.settings.as_deref(), "every run has its own seed; say how many with --seeds");
    // Folds are off here unless they are asked for, with a file or without.
    let mut config = settings::Settings::read(file, defaults(), seed)?.config;
    config.folds = arguments.folds.unwrap_or(config.folds);
    config.granularity = arguments.granularity.unwrap_or(config.granularity);
    arguments.learning.lay_over(&mut config);
    config.check_for(&session.model().vit.config)?;
    let mut settings = block_on(Settings::new(session, config))?;
    settings.full_steps = arguments.full_steps.unwrap_or(settings.full_steps);
    settings.max_test = arguments.max_test;
    settings.max_corrupted = arguments.max_corrupted;
    settings.cka_images = arguments.cka_images;
    Ok(settings)
}

/// What training takes where nothing is said: no folds, which cost a run each, and test images as they are, as papers have them.
pub fn defaults() -> AdaptConfig {
    AdaptConfig { folds: 0, multi_crop: false, ..AdaptConfig::default() }
}

/// Works the cells off with a bar on a terminal and a line per run elsewhere.
fn work(
    experiment: &Experiment,
    cells: Vec<loraloom::experiment::plan::Cell>,
    results: &mut Results,
) -> Result<Vec<Error>> {
    let bar = adapt::steps_bar();
    let mut show = |event: Event| {
        match event {
            Event::Read(task, done, total) => {
                bar.set_message(format!("{task}: image {done} of {total}"));
            }
            Event::At(done, all, cell, progress) => {
                adapt::show(&bar, progress);
                let message = bar.message();
                let at = format!("[{done}/{all}] {}, {}, seed {}", cell.task, cell.shots.words(), cell.seed);
                bar.set_message(format!("{at}: {message}"));
            }
            Event::Done(done, all, run) => output::run_line(done, all, run),
            Event::Warning(error) => bar.suspend(|| output::warning(error)),
        }
        if interrupt::go_on() { Flow::GoOn } else { Flow::Stop }
    };
    let found = block_on(experiment.run(cells, results, &mut show));
    bar.finish_and_clear();
    found
}

fn write_report(arguments: &ExperimentArgs) -> Result<Outcome> {
    let dir: &Path = &arguments.out;
    let (runs, warnings) = results::read_dir(dir)?;
    warnings.iter().for_each(output::warning);
    let summary = report::write(dir, &runs)?;
    output::json(arguments.json.as_deref(), &summary)?;
    let made = count(runs.len(), "run", "runs");
    output::print(&format!("{made}; report in {}", dir.join("report.md").display()));
    Ok(if warnings.is_empty() { Outcome::Fine } else { Outcome::Warned })
}
