//! `pretrain`: a base model from random weights, with checkpoints and exact resume.

use std::time::Instant;

use loraloom::{
    DeviceInfo, block_on,
    error::{Error, Result},
    files::check_writable,
    open_device,
    pretrain::{
        config::PretrainConfig,
        photos::Photos,
        run::{self, CHECKPOINT, OnProgress, PretrainReport, Quality, RunFiles, RunModels},
        teacher::Teacher,
    },
    report::Warning,
    session::{ModelOptions, Session, place::check_base_place},
};
use serde::Serialize;

use super::{Outcome, adapt::steps_bar, args::PretrainArgs, interrupt, model, output};

/// Name of the card that lies beside the model.
pub const CARD: &str = "pretraining.json";

/// What `--json` gets: what lies beside the model, and what is of this machine only.
#[derive(Serialize)]
struct Report {
    device: &'static str,
    device_name: String,
    data: Vec<String>,
    init: Option<String>,
    teacher_model: Option<String>,
    #[serde(flatten)]
    run: PretrainReport,
    /// Wall-clock seconds; of a run that was resumed, since then.
    seconds: f64,
    stopped: bool,
    warnings: Vec<Warning>,
}

impl Report {
    fn new(
        arguments: &PretrainArgs,
        device: DeviceInfo,
        run: PretrainReport,
        seconds: f64,
        warnings: &[Error],
    ) -> Self {
        Self {
            device: device.kind,
            device_name: device.name,
            data: arguments.data.iter().map(|path| path.display().to_string()).collect(),
            init: arguments.init.clone(),
            teacher_model: arguments.teacher.clone(),
            run,
            seconds,
            stopped: interrupt::stopped(),
            warnings: warnings.iter().map(Warning::from).collect(),
        }
    }
}

/// Runs the command.
///
/// # Errors
/// Photos, teacher or checkpoint cannot be read, or the folder cannot be written.
pub fn run(arguments: &PretrainArgs) -> Result<Outcome> {
    let started = Instant::now();
    let device = block_on(open_device(arguments.compute.device.into()))?;
    let config = config(arguments);
    config.check()?;
    config.precision(&device)?;
    check_writable(&arguments.out)?;
    check_base_place(&arguments.out, CHECKPOINT)?;
    let own_size = |name| model::open_named(name, &ModelOptions::default(), arguments.compute.device);
    let sized = |name, side| {
        let options = ModelOptions { img_size: Some(side), ..ModelOptions::default() };
        model::open_named(name, &options, arguments.compute.device)
    };
    let init = arguments.init.as_deref().map(|name| sized(name, config.img_size)).transpose()?;
    let as_shipped = arguments.teacher.as_deref().map(own_size).transpose()?;
    let teacher = match (&arguments.teacher, &as_shipped) {
        (Some(name), Some(session)) => {
            let same_grid = Teacher::img_size(&session.model().vit.config, &config.vit());
            Some(sized(name, config.teacher_size.unwrap_or(same_grid))?)
        }
        _ => None,
    };
    let models = RunModels {
        init: init.as_ref().map(Session::model),
        teacher: teacher.as_ref().map(Session::model),
        teacher_as_shipped: as_shipped.as_ref().map(Session::model),
    };
    let files = RunFiles { out: arguments.out.clone(), checkpoint_minutes: arguments.checkpoint_minutes };
    let (photos, warnings) = Photos::read(&arguments.data, arguments.validation)?;
    warnings.iter().for_each(output::warning);
    interrupt::listen();
    let report = with_bar(|show| block_on(run::run(&config, &photos, &files, models, &device, show)))?;
    output::json(Some(&arguments.out.join(CARD)), &report)?;
    let lines = [summary(&report), format!("wrote {}", arguments.out.display())];
    output::print(lines.join("\n").trim_start());
    if interrupt::stopped() {
        let reason = format!("after {} steps; the same command goes on", report.steps);
        output::warning(&Error::mismatch("stopped", reason));
    }
    let seconds = started.elapsed().as_secs_f64();
    let report = Report::new(arguments, device.info, report, seconds, &warnings);
    output::json(arguments.compute.json.as_deref(), &report)?;
    Ok(if warnings.is_empty() && !interrupt::stopped() { Outcome::Fine } else { Outcome::Warned })
}

/// Shows where a run is; Ctrl-C stops it.
fn with_bar(train: impl FnOnce(OnProgress<'_>) -> Result<PretrainReport>) -> Result<PretrainReport> {
    let bar = steps_bar();
    let report = train(&mut |what, done, total| {
        output::advance(&bar, done as u64, total as u64);
        bar.set_message(what);
        interrupt::go_on()
    })?;
    bar.finish_and_clear();
    Ok(report)
}

fn config(arguments: &PretrainArgs) -> PretrainConfig {
    let mut config = PretrainConfig {
        seed: arguments.seed,
        mixed_precision: arguments.mixed_precision,
        teacher_size: arguments.teacher_size,
        ..PretrainConfig::default()
    };
    config.epochs = arguments.epochs.unwrap_or(config.epochs);
    config.batch_size = arguments.batch_size.unwrap_or(config.batch_size);
    config.learning_rate = arguments.learning_rate.unwrap_or(config.learning_rate);
    config.teacher_weight = arguments.teacher_weight.unwrap_or(config.teacher_weight);
    config.hidden_weight = arguments.hidden_weight.unwrap_or(config.hidden_weight);
    config.min_scale = arguments.min_scale.unwrap_or(config.min_scale);
    config.mixup = arguments.mixup.unwrap_or(config.mixup);
    config.cutmix = arguments.cutmix.unwrap_or(config.cutmix);
    config.ema_decay = arguments.ema_decay.unwrap_or(config.ema_decay);
    config.img_size = arguments.img_size.unwrap_or(config.img_size);
    config.patch_size = arguments.patch_size.unwrap_or(config.patch_size);
    config.embed_dim = arguments.embed_dim.unwrap_or(config.embed_dim);
    config.depth = arguments.depth.unwrap_or(config.depth);
    config.num_heads = arguments.num_heads.unwrap_or(config.num_heads);
    config
}

fn summary(report: &PretrainReport) -> String {
    let line = |name: &str, quality: &Quality| {
        let top1 = quality.top1.map_or(String::new(), |value| format!("top-1 {:.1} %, ", 100.0 * value));
        let few_shot = match quality.few_shot_5way_5shot.zip(quality.few_shot_interval) {
            Some((mean, half)) => {
                format!("5-way 5-shot nearest mean {:.1} ± {:.1} %, ", 100.0 * mean, 100.0 * half)
            }
            None => String::new(),
        };
        format!("{name}: {top1}{few_shot}on {} validation images", quality.num_images)
    };
    let measured = [("student", &report.student), ("teacher", &report.teacher)];
    let lines = measured.into_iter().filter_map(|(name, own)| own.as_ref().map(|own| line(name, own)));
    lines.collect::<Vec<_>>().join("\n")
}
