//! `predict`: what a saved task sees in images.

use loraloom::{
    block_on,
    error::{Error, Result},
    session::{Session, task::TaskFile},
};

use super::{Outcome, args::PredictArgs, classify::say_all, model, output, score};

/// Runs the command.
///
/// # Errors
/// The task or its model cannot be loaded, or no image can be read.
pub fn run(arguments: &PredictArgs) -> Result<Outcome> {
    let task = TaskFile::read(&arguments.task)?;
    let (session, opened) = open(arguments, &task)?;
    let outcome = match &arguments.test {
        Some(dir) => score::run(&session, dir, arguments)?,
        None => say_all(&session, &arguments.images, arguments.top, &arguments.answers)?,
    };
    Ok(if opened == Outcome::Warned { opened } else { outcome })
}

fn open(arguments: &PredictArgs, task: &TaskFile) -> Result<(Session, Outcome)> {
    let options = task.model_options();
    if task.is_whole_model() {
        let dir = arguments.task.display().to_string();
        let session = model::open_named(&dir, &options, arguments.answers.compute.device)?;
        return Ok((session, Outcome::Fine));
    }
    let base = arguments.model.as_deref().unwrap_or(&task.model);
    let opened = model::open_named(base, &options, arguments.answers.compute.device);
    let mut session = opened.map_err(|error| match (&arguments.model, &error) {
        (None, Error::Mismatch { .. } | Error::Download { .. }) => {
            let task = arguments.task.display();
            let reason = format!("the base model of {task} is not there ({error}); say where it is now");
            Error::mismatch("--model", reason)
        }
        _ => error,
    })?;
    let warnings = block_on(session.load_task(&arguments.task, task))?;
    warnings.iter().for_each(output::warning);
    Ok((session, if warnings.is_empty() { Outcome::Fine } else { Outcome::Warned }))
}
