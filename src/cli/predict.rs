//! `predict`: what a saved task sees in images.

use std::path::Path;

use loraloom::{
    block_on,
    error::{Error, Result},
    project::{Project, task::ZippedTask},
    session::{Session, files::read_bytes, task::TaskFile},
};

use super::{Outcome, args::PredictArgs, classify::say_all, model, output, score};

/// Runs the command.
///
/// # Errors
/// The task or its model cannot be loaded, or no image can be read.
pub fn run(arguments: &PredictArgs) -> Result<Outcome> {
    let path = &arguments.task;
    let (task, zip) = match path.is_file() {
        true => open_zip(path).map(|(task, zip)| (task, Some(zip)))?,
        false => (TaskFile::read(path)?, None),
    };
    let (session, opened) = open(arguments, &task, zip)?;
    let outcome = match &arguments.test {
        Some(dir) => score::run(&session, dir, arguments)?,
        None => say_all(&session, &arguments.images, arguments.top, &arguments.answers)?,
    };
    Ok(if opened == Outcome::Warned { opened } else { outcome })
}

/// A saved task in a zip; of the page's other zips it says what they are for.
fn open_zip(path: &Path) -> Result<(TaskFile, ZippedTask)> {
    let name = path.display().to_string();
    let is_project = || read_bytes(path).and_then(|bytes| Project::open(&name, bytes)).is_ok();
    ZippedTask::open(path).map_err(|error| match is_project() {
        true => {
            let reason =
                format!("it is a project and no saved task; compute it again with: loraloom replay {name}");
            Error::mismatch(&name, reason)
        }
        false => error,
    })
}

fn open(arguments: &PredictArgs, task: &TaskFile, zip: Option<ZippedTask>) -> Result<(Session, Outcome)> {
    let (path, device) = (&arguments.task, arguments.answers.compute.device);
    let options = task.model_options();
    if task.is_whole_model() {
        if arguments.model.is_some() {
            let reason = format!("{} holds a whole model of its own; leave it out", path.display());
            return Err(Error::mismatch("--model", reason));
        }
        let mut session = match zip {
            Some(mut zip) => block_on(zip.open_model(device.into(), &options))?,
            None => model::open_named(&path.display().to_string(), &options, device)?,
        };
        session.answer_as(task);
        return Ok((session, Outcome::Fine));
    }
    let base = arguments.model.as_deref().unwrap_or(&task.model);
    let opened = model::open_named(base, &options, device);
    let mut session = opened.map_err(|error| match (&arguments.model, &error) {
        (None, Error::Mismatch { .. } | Error::Download { .. }) => {
            let task = path.display();
            let reason = format!("the base model of {task} is not there ({error}); say where it is now");
            Error::mismatch("--model", reason)
        }
        _ => error,
    })?;
    let warnings = match zip {
        Some(mut zip) => block_on(zip.load_into(&mut session, task))?,
        None => block_on(session.load_task(path, task))?,
    };
    warnings.iter().for_each(output::warning);
    Ok((session, if warnings.is_empty() { Outcome::Fine } else { Outcome::Warned }))
}
