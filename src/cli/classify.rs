//! `classify`: what a checkpoint's own head sees in images.

use std::path::{Path, PathBuf};

use loraloom::{
    Example, block_on,
    error::{Error, Result},
    image_files, read_crops,
    report::Prediction,
    session::Session,
};

use super::{
    Outcome,
    args::{AnswerArgs, ClassifyArgs},
    interrupt, model, output,
};

/// Runs the command.
///
/// # Errors
/// The model cannot be loaded, or no image can be read.
pub fn run(arguments: &ClassifyArgs) -> Result<Outcome> {
    let session = model::open(&arguments.model, arguments.answers.compute.device)?;
    say_all(&session, &arguments.images, arguments.top, &arguments.answers)
}

/// Says what a model sees in images and in those inside folders: prints it and writes what was asked for.
///
/// # Errors
/// No image can be read, the device was lost, or a file cannot be written.
pub fn say_all(session: &Session, paths: &[PathBuf], top: usize, files: &AnswerArgs) -> Result<Outcome> {
    let (images, left_out) = image_files(paths);
    left_out.iter().for_each(output::warning);
    let (predictions, outcome) = predict_all(session, &images, top, files.unsure)?;
    output::json(files.compute.json.as_deref(), &predictions)?;
    output::csv(files.csv.as_deref(), predictions.iter().map(|own| (own, None)), top)?;
    Ok(if left_out.is_empty() { outcome } else { Outcome::Warned })
}

/// Images that are read before they pass the model together.
const AT_ONCE: usize = 32;

/// Classifies images and prints what it finds as it goes; a bad one is a warning, unless none is left.
///
/// # Errors
/// No image can be read, or the device was lost.
fn predict_all(
    session: &Session,
    images: &[PathBuf],
    top: usize,
    unsure: Option<f32>,
) -> Result<(Vec<Prediction>, Outcome)> {
    let mut predictions = Vec::new();
    let bar = output::bar(images.len() as u64);
    let mut outcome = Outcome::Fine;
    let mut done = 0;
    interrupt::listen();
    for some in images.chunks(AT_ONCE).take_while(|_| interrupt::go_on()) {
        let (examples, bad) = read(session, some);
        let found = block_on(session.classify(&examples, top))?;
        done += some.len();
        bar.suspend(|| {
            bad.iter().for_each(output::warning);
            output::predictions(&found, unsure);
        });
        bar.inc(some.len() as u64);
        predictions.extend(found);
        if !bad.is_empty() {
            outcome = Outcome::Warned;
        }
    }
    bar.finish_and_clear();
    if done < images.len() {
        let reason = format!("{done} of {} images were looked at", images.len());
        output::warning(&Error::mismatch("stopped", reason));
        outcome = Outcome::Warned;
    } else if predictions.is_empty() {
        let reason = if images.is_empty() { "there are none" } else { "none of them could be read" };
        return Err(Error::mismatch("images", reason));
    }
    Ok((predictions, outcome))
}

/// Images that can be read, and why the others cannot.
fn read(session: &Session, images: &[PathBuf]) -> (Vec<Example>, Vec<Error>) {
    let paths: Vec<&Path> = images.iter().map(PathBuf::as_path).collect();
    let (mut examples, mut bad) = (Vec::new(), Vec::new());
    for (path, crop) in paths.iter().zip(read_crops(&paths, &session.model().preprocess)) {
        match crop {
            Ok(crop) => examples.push(Example { name: path.display().to_string(), class: 0, crop }),
            Err(error) => bad.push(error),
        }
    }
    (examples, bad)
}
