//! `train-module`: one upstream LoRA module, written as PEFT files.

use loraloom::{
    Dataset, Method, block_on,
    error::{Error, Result},
    files::check_writable,
    report::{MethodReport, Warning, count},
    session::{
        Session,
        config::AdaptConfig,
        digest::hex,
        files::{Selection, repeats},
        place::{CARD, check_module_place},
    },
};
use serde::Serialize;

use super::{
    Outcome,
    adapt::{self, load},
    args::TrainModuleArgs,
    interrupt, model, output,
    settings::Settings,
};

/// What is written next to the module: how it came about and how well it does.
#[derive(Serialize)]
struct Report {
    model: String,
    /// Hash of the model and of how pictures reach it, as in `task.json`.
    model_sha256: String,
    source: Option<String>,
    classes: Vec<String>,
    rank: usize,
    alpha: f32,
    targets: Vec<&'static str>,
    num_train: usize,
    num_test: usize,
    probe_test_accuracy: Option<f64>,
    module: MethodReport,
    warnings: Vec<Warning>,
}

/// Runs the command.
///
/// # Errors
/// The model or images cannot be loaded, the folder cannot be written, or it was stopped before there was a module.
pub fn run(arguments: &TrainModuleArgs) -> Result<Outcome> {
    let session = model::open(&arguments.model, arguments.compute.device)?;
    let config = config(arguments);
    config.check_for(&session.model().vit.config)?;
    check_writable(&arguments.out)?;
    check_module_place(&arguments.out)?;
    let mut warnings = Vec::new();
    let train = load(&session, &arguments.data, None, Selection::All, &mut warnings)?;
    let test = match &arguments.test {
        Some(dir) => Some(load(&session, dir, Some(&train.classes), Selection::All, &mut warnings)?),
        None => None,
    };
    warnings.extend(repeats(&train, test.as_ref()).into_iter().inspect(output::warning));
    interrupt::listen();
    let probe = run_method(&session, Method::LinearProbe, &train, test.as_ref(), &config)?.0;
    // A module of one step would take the place of an earlier one.
    if interrupt::stopped() {
        let reason = "no step of the module was taken, and nothing is written; the same command begins again";
        return Err(Error::mismatch("stopped", reason));
    }
    let (mut report, adapted) = run_method(&session, Method::Lora, &train, test.as_ref(), &config)?;
    if interrupt::stopped() && arguments.out.join(CARD).exists() {
        let reason = format!(
            "{} of {} steps were taken; {} keeps the module that was there, another --out takes one of fewer steps",
            report.steps,
            config.train.num_steps,
            arguments.out.display()
        );
        return Err(Error::mismatch("stopped", reason));
    }
    report.method = "train-module".into();
    // The answers would be most of the card, and nobody asks a card for them.
    report.answers = None;
    if interrupt::stopped() {
        let reason = format!(
            "{} of {} steps were taken; the module is what they gave",
            report.steps, config.train.num_steps
        );
        warnings.push(Error::mismatch("stopped", reason));
        output::warning(&warnings[warnings.len() - 1]);
    }
    let updates = adapted.updates.clone().unwrap_or_default();
    let mut module = session.module(&adapted, &updates);
    module.name = arguments.out.file_name().map_or_else(String::new, |name| name.to_string_lossy().into());
    module
        .save_dir(&arguments.out, &session.peft_format(arguments.names.into(), arguments.precision.into()))?;
    output::print(&format!("{}\nwrote {}", summary(&probe, &report), arguments.out.display()));
    let report = Report {
        model: session.model().name.clone(),
        model_sha256: hex(&block_on(session.model_digest())?),
        source: arguments.source.clone(),
        rank: config.lora.rank,
        alpha: config.lora.alpha,
        targets: config.lora.targets.iter().map(|target| target.name()).collect(),
        num_train: train.examples.len(),
        num_test: test.map_or(0, |test| test.examples.len()),
        classes: train.classes,
        probe_test_accuracy: probe.test_accuracy,
        module: report,
        warnings: warnings.iter().map(Warning::from).collect(),
    };
    output::json(Some(&arguments.out.join(CARD)), &report)?;
    output::json(arguments.compute.json.as_deref(), &report)?;
    Ok(if warnings.is_empty() { Outcome::Fine } else { Outcome::Warned })
}

fn run_method(
    session: &Session,
    method: Method,
    train: &Dataset,
    test: Option<&Dataset>,
    config: &AdaptConfig,
) -> Result<(MethodReport, loraloom::session::adapted::Adapted)> {
    let bar = adapt::steps_bar();
    let mut show = |progress| adapt::show(&bar, &progress);
    let result = block_on(session.adapt_method(method, train, test, config, &mut show));
    bar.finish_and_clear();
    result
}

/// What a module for others gets where nothing is said: that of the modules that ship (`docs/models.md`).
pub fn defaults() -> AdaptConfig {
    let mut config = AdaptConfig { folds: 0, views: 0, multi_crop: false, ..AdaptConfig::default() };
    config.train.num_steps = 100;
    config.train.batch_size = 32;
    // Whatever else is the default.
    config.train.augment = true;
    config.train.mirror = true;
    config
}

fn config(arguments: &TrainModuleArgs) -> AdaptConfig {
    let mut config = defaults();
    config.train.factor_rate = arguments.learning_rate;
    config.train.head_rate = arguments.learning_rate;
    Settings::of(config).typed(&arguments.training)
}

fn summary(probe: &MethodReport, module: &MethodReport) -> String {
    let tested = match probe.test_accuracy.zip(module.test_accuracy) {
        Some((probe, module)) => {
            format!("test accuracy: linear probe {:.1} %, module {:.1} %; ", 100.0 * probe, 100.0 * module)
        }
        None => String::new(),
    };
    format!(
        "{tested}training images {:.1} %; {}, {}, {:.0} s",
        100.0 * module.train_accuracy,
        count(module.trainable_parameters, "parameter", "parameters"),
        count(module.steps, "step", "steps"),
        module.seconds
    )
}
