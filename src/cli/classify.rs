//! `classify`: what a checkpoint's own head sees in images.

use std::path::{Path, PathBuf};

use loraloom::{
    block_on, decode_file,
    error::{Error, Result},
    report::Prediction,
    session::Session,
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
        match predict(session, path, top) {
            Ok(prediction) => predictions.push(prediction),
            Err(error @ (Error::Image { .. } | Error::Io { .. })) => {
                bar.suspend(|| output::warning(&error));
                outcome = Outcome::Warned;
            }
            Err(error) => return Err(error),
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    if predictions.is_empty() {
        return Err(Error::mismatch("images", "none of them could be read"));
    }
    Ok((predictions, outcome))
}

fn predict(session: &Session, path: &Path, top: usize) -> Result<Prediction> {
    block_on(session.classify(&path.display().to_string(), &decode_file(path)?, top))
}
