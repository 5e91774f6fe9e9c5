//! A whole run: photos, teacher, steps with checkpoints and a log, and at the end what it is worth.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::Instant,
};

use serde::Serialize;

use super::{
    EPISODE_SEED, Pretrain,
    config::PretrainConfig,
    passes,
    photos::{Photo, Photos},
    state::{Identity, State},
    teacher::Teacher,
};
use crate::{
    device::{OpenDevice, block_on},
    error::{Error, Result},
    evaluate,
    files::{Together, create_folder},
    head::Head,
    image::preprocess::Preprocess,
    lora::tensor_file::Precision,
    session::{Model, export::model_files},
    vit::model::Vit,
};

/// The file from which a run goes on.
pub const CHECKPOINT: &str = "checkpoint.safetensors";

/// Where a run writes.
#[derive(Clone, Debug)]
pub struct RunFiles {
    /// Folder to write; a checkpoint in it is resumed.
    pub out: PathBuf,
    /// Least minutes between checkpoints, which are written where the losses are read: every twenty steps, and at the end.
    pub checkpoint_minutes: f64,
}

/// Models that a run knows besides its own.
#[derive(Clone, Copy, Default)]
pub struct RunModels<'a> {
    /// Where the weights start; random ones without it.
    pub init: Option<&'a Model>,
    /// Who teaches, opened at `teacher_size` or [`Teacher::img_size`].
    pub teacher: Option<&'a Model>,
    /// The same at its own input size, to compare with.
    pub teacher_as_shipped: Option<&'a Model>,
}

/// Told (what, done, total); says whether to go on.
pub type OnProgress<'a> = &'a mut dyn FnMut(&'static str, usize, usize) -> bool;

/// How good a base model is, on validation photos.
#[derive(Clone, Debug, Serialize)]
pub struct Quality {
    /// Number of photos.
    pub num_images: usize,
    /// Accuracy of the model's own head, if it was trained on these classes and there are photos.
    pub top1: Option<f64>,
    /// Mean accuracy of nearest class means over 600 episodes; absent with too few photos.
    pub few_shot_5way_5shot: Option<f64>,
    /// Half width of its 95 % interval.
    pub few_shot_interval: Option<f64>,
}

/// What is written next to the model.
#[derive(Clone, Debug, Serialize)]
pub struct PretrainReport {
    /// Settings.
    pub config: PretrainConfig,
    /// Classes.
    pub num_classes: usize,
    /// Training photos.
    pub num_train: usize,
    /// Steps taken.
    pub steps: usize,
    /// Values of model and head.
    pub parameters: usize,
    /// The trained model; not measured where the run was stopped.
    pub student: Option<Quality>,
    /// The teacher on the same photos, if there is one and the model was measured.
    pub teacher: Option<Quality>,
}

/// Trains a base model, or goes on with one, and measures it.
///
/// # Errors
/// The checkpoint cannot be read, the teacher does not fit, or the folder cannot be written.
pub async fn run(
    config: &PretrainConfig,
    photos: &Photos,
    files: &RunFiles,
    models: RunModels<'_>,
    device: &OpenDevice,
    on_progress: OnProgress<'_>,
) -> Result<PretrainReport> {
    config.check()?;
    let identity = Identity::new(config, photos, models.teacher, models.init).await?;
    let taught = models.teacher.map(|model| Teacher::new(model, &config.vit(), device)).transpose()?;
    let mut run = Pretrain::new(config.clone(), photos, taught, models.init, device.clone())?;
    let checkpoint = files.out.join(CHECKPOINT);
    if checkpoint.exists() {
        let saved = State::load(&checkpoint, &identity, &device.plain)?;
        let fresh = std::mem::replace(&mut run.state, saved);
        if !run.state.fits(&fresh) {
            let reason = "its checkpoint is of another model; use another --out";
            return Err(Error::mismatch(checkpoint.display().to_string(), reason));
        }
    }
    steps(&mut run, &identity, files, photos, on_progress)?;
    let (vit, head) = run.model().await?;
    let mut measure = Measure { photos: &photos.validation, device, on_progress };
    let is_whole = run.state.step == run.num_steps();
    let student = match is_whole {
        true => measure.quality(&vit, Some(&head), &config.preprocess()?).await?,
        // Who stops it does not wait for minutes of validation.
        false => None,
    };
    let teacher = match models.teacher_as_shipped.filter(|_| student.is_some()) {
        Some(model) => measure.quality(&model.vit, None, &model.preprocess).await?,
        None => None,
    };
    Ok(PretrainReport {
        config: config.clone(),
        num_classes: photos.classes.len(),
        num_train: photos.train.len(),
        steps: run.state.step,
        parameters: vit.num_parameters() + head.num_parameters(),
        student,
        teacher,
    })
}

/// Steps until the end, or until told to stop; every so many minutes a checkpoint and the model so far.
fn steps(
    run: &mut Pretrain<'_>,
    identity: &Identity,
    files: &RunFiles,
    photos: &Photos,
    on_progress: OnProgress<'_>,
) -> Result<()> {
    let (first, total) = (run.state.step, run.num_steps());
    let mut saved = Instant::now();
    let started = Instant::now();
    let device = run.device().clone();
    run.feed.clone().ahead(first..total, &device, |batches| {
        for batch in batches {
            run.learn(&batch?)?;
            let step = run.state.step;
            let go_on = on_progress("steps", step, total);
            let last = step == total || !go_on;
            if step.is_multiple_of(20) || last {
                let rate = run.feed.photos_in(step - first) / started.elapsed().as_secs_f64();
                let losses = block_on(run.take_losses())?;
                check_finite(&losses, step)?;
                log(&files.out, step, &losses, rate)?;
                // Only what is known to be numbers takes the place of a checkpoint.
                if last || saved.elapsed().as_secs_f64() > 60.0 * files.checkpoint_minutes {
                    block_on(save(run, identity, files, photos))?;
                    saved = Instant::now();
                }
            }
            if !go_on {
                break;
            }
        }
        Ok(())
    })
}

fn check_finite(losses: &[f32], step: usize) -> Result<()> {
    if losses.iter().all(|loss| loss.is_finite()) {
        return Ok(());
    }
    let reason = format!(
        "the loss is not a number any more in the steps up to {step}; what was saved before stays. Lower --learning-rate and take another --out"
    );
    Err(Error::mismatch("pretrain", reason))
}

/// A checkpoint, and the model so far.
async fn save(run: &Pretrain<'_>, identity: &Identity, files: &RunFiles, photos: &Photos) -> Result<()> {
    run.state.save(&files.out.join(CHECKPOINT), identity).await?;
    let (vit, head) = run.model().await?;
    let (name, preprocess) = (files.out.display().to_string(), identity.config.preprocess()?);
    let model = (&vit, &head, Precision::F16);
    let saved = model_files(&name, model, &photos.classes, &preprocess).await?;
    Together::of(&files.out, &saved)?.finish()
}

/// One line of JSON per twenty steps: step, mean loss, photos per second.
fn log(out: &Path, step: usize, losses: &[f32], rate: f64) -> Result<()> {
    let mean = losses.iter().sum::<f32>() / losses.len().max(1) as f32;
    let path = out.join("log.jsonl");
    let failed = |error| Error::io("write", &path, error);
    create_folder(out)?;
    let mut file = fs::OpenOptions::new().create(true).append(true).open(&path).map_err(failed)?;
    let line = serde_json::json!({"step": step, "loss": mean, "images_per_second": rate.round()});
    writeln!(file, "{line}").map_err(failed)
}

struct Measure<'a> {
    photos: &'a [Photo],
    device: &'a OpenDevice,
    on_progress: OnProgress<'a>,
}

impl Measure<'_> {
    /// `None` if it was stopped.
    async fn quality(
        &mut self,
        vit: &Vit,
        head: Option<&Head>,
        preprocess: &Preprocess,
    ) -> Result<Option<Quality>> {
        let total = self.photos.len();
        let mut show = |done: usize| (self.on_progress)("validation", done, total);
        let features = passes::features(vit, preprocess, self.photos, self.device, &mut show).await?;
        let Some(features) = features else { return Ok(None) };
        let few_shot = passes::few_shot_accuracy(&features, 5, 5, 600, EPISODE_SEED);
        Ok(Some(Quality {
            num_images: total,
            top1: head.filter(|_| total > 0).map(|head| evaluate::accuracy(head, &features).value),
            few_shot_5way_5shot: few_shot.map(|(mean, _)| mean),
            few_shot_interval: few_shot.map(|(_, half)| half),
        }))
    }
}
