//! `adapt`: several methods side by side on a few labelled images.

use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use loraloom::{
    Dataset, Method, Why, block_on,
    error::{Error, Result},
    files::check_writable,
    is_outdone,
    report::{AdaptReport, MethodReport, Warning, count},
    session::{
        Session,
        adapted::Adapted,
        config::AdaptConfig,
        files::{Selection, never_held_out, repeats},
        progress::{Flow, Progress},
        task::TaskFile,
    },
    suggested,
};

use super::{
    Outcome,
    args::{AdaptArgs, Modules, leaves_choice},
    interrupt, model, output,
    settings::Settings,
    tables,
};

/// So many classes are named.
const SHOWN: usize = 12;

/// Runs the command.
///
/// # Errors
/// The model or the training images cannot be loaded, or a method cannot run.
pub fn run(arguments: &AdaptArgs) -> Result<Outcome> {
    let mut session = model::open(&arguments.model, arguments.compute.device)?;
    let mut warnings = model::add_modules(&mut session, &arguments.modules)?.warnings;
    model::note_without_modules(&session, &arguments.modules, &arguments.methods);
    let mut methods = arguments.methods(Modules::of(&session))?;
    let config = config(arguments)?;
    // Before any image is read, and once: every method would refuse the same.
    config.check_for(&session.model().vit.config)?;
    if let Some(dir) = &arguments.save {
        check_writable(dir)?;
        let form = arguments.form();
        let cannot = session.cannot_save(Method::Full, form);
        if let Some(error) = cannot.filter(|_| leaves_choice(&arguments.methods) && !arguments.merged) {
            methods.retain(|method| *method != Method::Full);
            output::warning(&error);
            warnings.push(error);
        }
        methods.iter().try_for_each(|method| session.check_savable(*method, form, dir))?;
    }
    let seed = arguments.training.seed;
    let selection = arguments.shots.map_or(Selection::All, |shots| Selection::Shots(shots, seed));
    let train = load(&session, &arguments.train, None, selection, &mut warnings)?;
    let test = match &arguments.test {
        Some(dir) => Some(load(&session, dir, Some(&train.classes), Selection::All, &mut warnings)?),
        None => None,
    };
    output::print(&data(&train, test.as_ref()));
    let alone = never_held_out(&train).filter(|_| config.folds > 0);
    warnings.extend(repeats(&train, test.as_ref()).into_iter().chain(alone).inspect(output::warning));
    interrupt::listen();
    let (reports, best) = compare(&session, &methods, &train, test.as_ref(), &config, &mut warnings)?;
    if interrupt::stopped() {
        warnings.push(Error::mismatch("stopped", stopped(&reports, methods.len(), &config)));
        output::warning(&warnings[warnings.len() - 1]);
    }
    tables::methods(&reports);
    let measured = reports.iter().any(|report| report.held_out_accuracy.is_some() || report.stopped);
    if config.folds > 0 && !measured && !reports.is_empty() {
        output::print("Nothing was held out: no class has two images.");
    }
    tables::compositions(&reports);
    let report = AdaptReport {
        model: session.model().name.clone(),
        device: session.device().kind.to_string(),
        device_name: session.device().name.clone(),
        num_train: train.examples.len(),
        num_test: test.map_or(0, |test| test.examples.len()),
        classes: train.classes.clone(),
        shots: arguments.shots,
        seed: arguments.training.seed,
        suggested: suggested(&reports).map(|own| own.report.method.clone()),
        methods: reports,
        warnings: warnings.iter().map(Warning::from).collect(),
    };
    // What cannot be written does not cost a person the other: what a run has found is worth more than the order.
    let written = output::json(arguments.compute.json.as_deref(), &report);
    let saved = best.map_or(Ok(()), |adapted| save(arguments, &session, &report, &adapted));
    if let (Err(error), Err(_)) = (&written, &saved) {
        output::error(error);
    }
    saved.and(written)?;
    Ok(if warnings.is_empty() { Outcome::Fine } else { Outcome::Warned })
}

/// How far methods came that somebody stopped.
fn stopped(reports: &[MethodReport], methods: usize, config: &AdaptConfig) -> String {
    let whole = config.train.num_steps;
    let last = reports.last().filter(|last| (1..whole).contains(&last.steps));
    let last = last.map_or("the last one kept its state".into(), |last| {
        format!("{} was stopped after {} of {whole} steps", last.method, last.steps)
    });
    format!("{} of {methods} methods were run; {last}", reports.len())
}

/// The first of some classes by name, and how many more there are.
fn named(classes: &[String]) -> String {
    let shown: Vec<&str> = classes.iter().take(SHOWN).map(String::as_str).collect();
    let more = classes.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", output::escaped(&shown.join(", ")))
}

/// What is learned, from how much.
fn data(train: &Dataset, test: Option<&Dataset>) -> String {
    let images = |part: &Dataset, kind: &str| {
        count(part.examples.len(), &format!("{kind} image"), &format!("{kind} images"))
    };
    let tested = test.map_or(String::new(), |test| format!(", {}", images(test, "test")));
    let classes = count(train.classes.len(), "class", "classes");
    format!("{classes} ({}), {}{tested}\n", named(&train.classes), images(train, "training"))
}

/// Says which method to take, and saves it if asked to.
fn save(arguments: &AdaptArgs, session: &Session, report: &AdaptReport, adapted: &Adapted) -> Result<()> {
    let name = adapted.method.name();
    let why = suggested(&report.methods).map_or("", |own| because(own.why));
    let Some(dir) = &arguments.save else {
        if report.methods.len() > 1 {
            output::print(&format!("\nsuggested: {name}{why}"));
        }
        return Ok(());
    };
    let own = report.methods.iter().find(|own| own.method == name);
    if TaskFile::read(dir).is_ok() && own.is_some_and(|own| own.cut_short) {
        let reason = format!(
            "{name} was stopped and is not saved there: the task that was there is kept, another folder takes what was learned"
        );
        return Err(Error::mismatch(dir.display().to_string(), reason));
    }
    let replaced = replaced(dir, &report.classes);
    block_on(session.save_task(adapted, &report.classes, arguments.form(), arguments.names.into(), dir))?;
    output::print(&format!("\nsaved {name} to {}{why}", dir.display()));
    replaced.iter().for_each(|note| output::note(note));
    Ok(())
}

/// What to say where a folder holds a task of other classes, which is about to be replaced.
fn replaced(dir: &Path, classes: &[String]) -> Option<String> {
    let old = TaskFile::read(dir).ok()?.classes;
    let same = old.len() == classes.len() && old.iter().all(|class| classes.contains(class));
    (!same).then(|| format!("replaced the task of {} that was in {}", named(&old), dir.display()))
}

/// Why a method is taken among several.
fn because(why: Why) -> &'static str {
    match why {
        Why::Alone => "",
        Why::HeldOut => "; no other has a better held-out accuracy",
        Why::Near => ", which gained most on other tasks; held-out images do not tell it from the best",
        Why::Unmeasured => {
            ", which gained most on other tasks; nothing was held out here, so name one method to choose yourself"
        }
    }
}

/// Loads images with a progress bar and prints the warnings.
///
/// # Errors
/// As [`Session::load_dataset`].
pub fn load(
    session: &Session,
    dir: &Path,
    classes: Option<&[String]>,
    selection: Selection,
    warnings: &mut Vec<Error>,
) -> Result<Dataset> {
    let bar = output::bar(0);
    let mut show = |done: usize, total: usize| output::advance(&bar, done as u64, total as u64);
    let (dataset, found) = session.load_dataset(dir, classes, selection, &mut show)?;
    bar.finish_and_clear();
    found.iter().for_each(output::warning);
    warnings.extend(found);
    Ok(dataset)
}

/// Runs the methods one after another; the one that [`suggested`] would name is kept for saving.
fn compare(
    session: &Session,
    methods: &[Method],
    train: &Dataset,
    test: Option<&Dataset>,
    config: &AdaptConfig,
    warnings: &mut Vec<Error>,
) -> Result<(Vec<MethodReport>, Option<Adapted>)> {
    let mut reports: Vec<MethodReport> = Vec::new();
    // All that can still be suggested: a whole model each, so no more than these.
    let mut kept: Vec<(MethodReport, Adapted)> = Vec::new();
    let bar = steps_bar();
    for (index, &method) in methods.iter().enumerate() {
        if interrupt::stopped() {
            break;
        }
        let at = format!("[{}/{}]", index + 1, methods.len());
        bar.set_message(format!("{at} {method}", method = method.name()));
        let mut show = |progress: Progress| {
            let flow = show(&bar, &progress);
            let message = bar.message();
            if !message.starts_with(&at) {
                bar.set_message(format!("{at} {message}"));
            }
            flow
        };
        let (report, adapted) = match block_on(session.adapt_method(method, train, test, config, &mut show)) {
            Ok(found) => found,
            // What one method refuses does not cost a person the others.
            Err(error) if error.is_of_one_method() && methods.len() > 1 => {
                let name = method.name();
                let error = Error::mismatch(name, Error::after_name(&error.to_string(), name));
                output::warning(&error);
                warnings.push(error);
                continue;
            }
            Err(error) => return Err(error),
        };
        output::progress_line(index + 1, methods.len(), &report);
        if !kept.iter().any(|(other, _)| is_outdone(&report, other)) {
            kept.retain(|(other, _)| !is_outdone(other, &report));
            kept.push((report.clone(), adapted));
        }
        reports.push(report);
    }
    bar.finish_and_clear();
    if reports.is_empty() && !interrupt::stopped() {
        return Err(Error::mismatch("--methods", "none of them could be run"));
    }
    let taken = suggested(&reports).map(|own| &own.report.method);
    let best = kept.into_iter().find(|(report, _)| Some(&report.method) == taken);
    Ok((reports, best.map(|(_, adapted)| adapted)))
}

/// A bar that `show` moves.
pub fn steps_bar() -> ProgressBar {
    let bar = output::bar(0);
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {elapsed}") {
        bar.set_style(style);
    }
    bar
}

/// Shows where a run is; Ctrl-C stops it.
pub fn show(bar: &ProgressBar, progress: &Progress) -> Flow {
    match progress {
        // The bar moves with whole steps.
        Progress::Within { .. } => {}
        Progress::Step { method, step, num_steps, loss, .. } => {
            output::advance(bar, *step as u64, *num_steps as u64);
            bar.set_message(format!("{method}: loss {loss:.3}"));
        }
        Progress::Fold { method, fold, num_folds } => {
            output::advance(bar, *fold as u64, *num_folds as u64);
            bar.set_message(format!("{method}: held-out folds"));
        }
        Progress::Test { method } => bar.set_message(format!("{method}: test images")),
    }
    if interrupt::go_on() { Flow::GoOn } else { Flow::Stop }
}

fn config(arguments: &AdaptArgs) -> Result<AdaptConfig> {
    let file = arguments.settings.as_deref();
    let mut settings = Settings::read(file, AdaptConfig::default(), "say it with --seed")?;
    let config = &mut settings.config;
    config.granularity = arguments.granularity.unwrap_or(config.granularity);
    config.folds = arguments.folds.unwrap_or(config.folds);
    Ok(settings.typed(&arguments.training))
}
