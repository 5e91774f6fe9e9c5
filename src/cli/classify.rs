//! `classify`: what a checkpoint's own head sees in images.

use std::path::PathBuf;

use loraloom::{
    block_on,
    error::{Error, Result},
    report::Prediction,
    session::{Session, files::read_picture},
};

use super::{Outcome, args::ClassifyArgs, model, output};

/// Runs the command.
///
/// # Errors
/// The model cannot be loaded, or no image can be read.
pub fn run(arguments: &ClassifyArgs) -> Result<Outcome> {
    let session = model::open(&arguments.model, arguments.compute.device)?;
    let (predictions, outcome) = predict_all(&session, &arguments.images, arguments.top)?;
    output::predictions(&predictions);
    output::json(arguments.compute.json.as_deref(), &predictions)?;
    Ok(outcome)
}

/// Classifies images; a bad one is a warning, unless none is left.
///
/// # Errors
/// No image can be read, or the device was lost.
pub fn predict_all(session: &Session, images: &[PathBuf], top: usize) -> Result<(Vec<Prediction>, Outcome)> {
    let mut predictions = Vec::new();
    let bar = output::bar(images.len() as u64);
    let mut outcome = Outcome::Fine;
    for path in images {
        match read_picture(path) {
            Ok(picture) => {
                let name = path.display().to_string();
                predictions.push(block_on(session.classify(&name, &picture, top))?);
            }
            Err(error) => {
                bar.suspend(|| output::warning(&error));
                outcome = Outcome::Warned;
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    if predictions.is_empty() {
        return Err(Error::mismatch("images", "none of them could be read"));
    }
    Ok((predictions, outcome))
}
