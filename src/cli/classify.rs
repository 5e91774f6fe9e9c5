//! `classify`: what a checkpoint's own head sees in images.

use std::path::{Path, PathBuf};

use loraloom::{
    Example, block_on,
    error::{Error, Result},
    read_crops,
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

/// Images that are read before they pass the model together.
const AT_ONCE: usize = 32;

/// Classifies images; a bad one is a warning, unless none is left.
///
/// # Errors
/// No image can be read, or the device was lost.
pub fn predict_all(session: &Session, images: &[PathBuf], top: usize) -> Result<(Vec<Prediction>, Outcome)> {
    let mut predictions = Vec::new();
    let bar = output::bar(images.len() as u64);
    let mut outcome = Outcome::Fine;
    for some in images.chunks(AT_ONCE) {
        let paths: Vec<&Path> = some.iter().map(PathBuf::as_path).collect();
        let mut examples = Vec::new();
        for (path, crop) in paths.iter().zip(read_crops(&paths, &session.model().preprocess)) {
            match crop {
                Ok(crop) => examples.push(Example { name: path.display().to_string(), class: 0, crop }),
                Err(error) => {
                    bar.suspend(|| output::warning(&error));
                    outcome = Outcome::Warned;
                }
            }
        }
        predictions.extend(block_on(session.classify(&examples, top))?);
        bar.inc(some.len() as u64);
    }
    bar.finish_and_clear();
    if predictions.is_empty() {
        let hint = match images.iter().find(|path| path.is_dir()) {
            Some(dir) => format!("; {0} is a folder: name the pictures in it, as in {0}/*", dir.display()),
            None => String::new(),
        };
        return Err(Error::mismatch("images", format!("none of them could be read{hint}")));
    }
    Ok((predictions, outcome))
}
