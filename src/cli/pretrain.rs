//! `pretrain`: a base model from random weights, with checkpoints and exact resume.

use std::{fs, io::Write, path::Path, time::Instant};

use indicatif::ProgressBar;
use loraloom::{
    block_on,
    error::{Error, Result},
    head::Head,
    open_device,
    pretrain::{
        EPISODE_SEED, Pretrain, PretrainConfig, passes,
        photos::{Photo, Photos},
        state::State,
        teacher::Teacher,
    },
    session::{ModelOptions, Session, task::write_model},
    vit::model::Vit,
};
use serde::Serialize;

use super::{Outcome, args::PretrainArgs, interrupt, model, output};

/// How good a base model is, on validation photos.
#[derive(Clone, Debug, Serialize)]
struct Quality {
    num_images: usize,
    top1: Option<f64>,
    few_shot_5way_5shot: f64,
    few_shot_interval: f64,
}

/// What is written next to the model.
#[derive(Serialize)]
struct Report<'a> {
    config: &'a PretrainConfig,
    num_classes: usize,
    num_train: usize,
    steps: usize,
    parameters: usize,
    student: Quality,
    teacher: Option<Quality>,
}

/// Runs the command.
///
/// # Errors
/// Photos, teacher or checkpoint cannot be read, or the folder cannot be written.
pub fn run(arguments: &PretrainArgs) -> Result<Outcome> {
    let config = config(arguments);
    let device = block_on(open_device(arguments.device.into()))?;
    let photos = Photos::read(&arguments.data, arguments.validation)?;
    let teacher_session = arguments
        .teacher
        .as_deref()
        .map(|name| model::open_named(name, &ModelOptions::default(), arguments.device))
        .transpose()?;
    let teacher =
        teacher_session.as_ref().map(|session| teach(session, &config, &photos, arguments)).transpose()?;
    let checkpoint = arguments.out.join("checkpoint.safetensors");
    let mut run = Pretrain::new(config.clone(), &photos, teacher, device.clone())?;
    if checkpoint.exists() {
        run.state = State::load(&checkpoint, &config, &device.plain)?;
    }
    interrupt::listen();
    train(&mut run, arguments, &config, &photos)?;
    let (vit, head) = block_on(run.model())?;
    save(&arguments.out, &config, &photos, &vit, &head)?;
    let student = quality(&vit, Some(&head), &config.preprocess()?, &photos.validation, &device)?;
    let report = Report {
        config: &config,
        num_classes: photos.classes.len(),
        num_train: photos.train.len(),
        steps: run.state.step,
        parameters: vit.num_parameters() + head.num_parameters(),
        teacher: teacher_session
            .map(|session| {
                let model = session.model();
                quality(&model.vit, None, &model.preprocess, &photos.validation, &device)
            })
            .transpose()?,
        student,
    };
    output::json(Some(&arguments.out.join("pretraining.json")), &report)?;
    output::print(&summary(&report));
    Ok(if interrupt::stopped() { Outcome::Warned } else { Outcome::Fine })
}

fn config(arguments: &PretrainArgs) -> PretrainConfig {
    let mut config = PretrainConfig { seed: arguments.seed, ..PretrainConfig::default() };
    config.epochs = arguments.epochs.unwrap_or(config.epochs);
    config.batch_size = arguments.batch_size.unwrap_or(config.batch_size);
    config.learning_rate = arguments.learning_rate.unwrap_or(config.learning_rate);
    config.teacher_weight = arguments.teacher_weight.unwrap_or(config.teacher_weight);
    config.img_size = arguments.img_size.unwrap_or(config.img_size);
    config.patch_size = arguments.patch_size.unwrap_or(config.patch_size);
    config.embed_dim = arguments.embed_dim.unwrap_or(config.embed_dim);
    config.depth = arguments.depth.unwrap_or(config.depth);
    config.num_heads = arguments.num_heads.unwrap_or(config.num_heads);
    config
}

/// The teacher's features of the training photos, computed once and kept next to the checkpoint.
fn teach(
    session: &Session,
    config: &PretrainConfig,
    photos: &Photos,
    arguments: &PretrainArgs,
) -> Result<Teacher> {
    let cache = arguments.out.join("teacher.f32");
    let bytes = fs::read(&cache).unwrap_or_default();
    let head = session.model().head.clone();
    if let (Some(head), true) = (head, bytes.len() == 4 * photos.train.len() * config.embed_dim) {
        let features = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        return Ok(Teacher { features, head });
    }
    let bar = output::bar(photos.train.len() as u64);
    let mut show = |done: usize| bar.set_position(done as u64);
    let teacher = block_on(Teacher::new(
        session.model(),
        config.embed_dim,
        &photos.train,
        session.open_device(),
        &mut show,
    ))?;
    bar.finish_and_clear();
    let bytes: Vec<u8> = teacher.features.iter().flat_map(|value| value.to_le_bytes()).collect();
    loraloom::session::files::write_atomic(&cache, &bytes)?;
    Ok(teacher)
}

/// Steps until the end or Ctrl-C; every so many minutes a checkpoint and a line in the log.
fn train(
    run: &mut Pretrain,
    arguments: &PretrainArgs,
    config: &PretrainConfig,
    photos: &Photos,
) -> Result<()> {
    let total = run.num_steps();
    let bar = output::bar(total as u64);
    let mut saved = Instant::now();
    let started = (Instant::now(), run.state.step);
    while run.state.step < total && interrupt::go_on() {
        run.step()?;
        bar.set_position(run.state.step as u64);
        let last = run.state.step == total || interrupt::stopped();
        if run.state.step.is_multiple_of(20) || last {
            let losses = block_on(run.take_losses())?;
            let rate = (run.state.step - started.1) as f64 * config.batch_size as f64
                / started.0.elapsed().as_secs_f64();
            log(&arguments.out, run.state.step, &losses, rate)?;
        }
        if saved.elapsed().as_secs_f64() > 60.0 * arguments.checkpoint_minutes || last {
            block_on(run.state.save(&arguments.out.join("checkpoint.safetensors"), config))?;
            let (vit, head) = block_on(run.model())?;
            save(&arguments.out, config, photos, &vit, &head)?;
            saved = Instant::now();
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// One line of JSON per twenty steps: step, mean loss, photos per second.
fn log(out: &Path, step: usize, losses: &[f32], rate: f64) -> Result<()> {
    let mean = losses.iter().sum::<f32>() / losses.len().max(1) as f32;
    let path = out.join("log.jsonl");
    let failed = |error| Error::io("write", &path, error);
    fs::create_dir_all(out).map_err(failed)?;
    let mut file = fs::OpenOptions::new().create(true).append(true).open(&path).map_err(failed)?;
    let line = serde_json::json!({"step": step, "loss": mean, "images_per_second": rate.round()});
    writeln!(file, "{line}").map_err(failed)
}

fn save(out: &Path, config: &PretrainConfig, photos: &Photos, vit: &Vit, head: &Head) -> Result<()> {
    let name = out.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    block_on(write_model(out, &name, vit, head, &photos.classes, &config.preprocess()?))
}

fn quality(
    vit: &Vit,
    head: Option<&Head>,
    preprocess: &loraloom::image::preprocess::Preprocess,
    photos: &[Photo],
    device: &loraloom::device::OpenDevice,
) -> Result<Quality> {
    let bar: ProgressBar = output::bar(photos.len() as u64);
    let mut show = |done: usize| bar.set_position(done as u64);
    let features = block_on(passes::features(vit, preprocess, photos, device, &mut show))?;
    bar.finish_and_clear();
    let (accuracy, interval) = passes::few_shot_accuracy(&features, 5, 5, 600, EPISODE_SEED);
    Ok(Quality {
        num_images: photos.len(),
        top1: head.map(|head| passes::top1(head, &features).value),
        few_shot_5way_5shot: accuracy,
        few_shot_interval: interval,
    })
}

fn summary(report: &Report) -> String {
    let line = |name: &str, quality: &Quality| {
        let top1 = quality.top1.map_or(String::new(), |value| format!("top-1 {:.1} %, ", 100.0 * value));
        format!(
            "{name}: {top1}5-way 5-shot nearest mean {:.1} ± {:.1} % on {} validation images",
            100.0 * quality.few_shot_5way_5shot,
            100.0 * quality.few_shot_interval,
            quality.num_images
        )
    };
    let mut text = line("student", &report.student);
    if let Some(teacher) = &report.teacher {
        text.push('\n');
        text.push_str(&line("teacher", teacher));
    }
    text
}
