//! `replay`: a project that the page saved, computed again.

use loraloom::{
    block_on,
    error::{Error, Result},
    project::{Difference, Project},
    session::{ModelOptions, files::read_bytes},
};

use super::{
    Outcome,
    adapt::{show, steps_bar},
    args::ReplayArgs,
    interrupt, model, output, tables,
};

/// Largest difference that counts as the same.
const TOLERANCE: f64 = 1e-3;

/// Runs the command.
///
/// # Errors
/// The project or its model cannot be loaded, or a method cannot run.
pub fn run(arguments: &ReplayArgs) -> Result<Outcome> {
    let name = arguments.project.display().to_string();
    if arguments.project.is_dir() {
        let reason = "it is a folder, and a project is a zip; name the zip that the page saved";
        return Err(Error::mismatch(name, reason));
    }
    let mut project = Project::open(&name, read_bytes(&arguments.project)?)?;
    if project.file.results.is_empty() {
        let reason = "it has no results to compare with; run a method in the page and save the project again";
        return Err(Error::config(&name, "results", reason));
    }
    let base = arguments.model.clone().unwrap_or_else(|| project.file.model.clone());
    let options = ModelOptions { img_size: project.file.img_size, ..ModelOptions::default() };
    let mut session = model::open_named(&base, &options, arguments.compute.device)?;
    project.add_modules(&mut session)?;
    let (train, test) = project.datasets(&session)?;
    interrupt::listen();
    let bar = steps_bar();
    let mut differences = Vec::new();
    for saved in &project.file.results {
        let method = loraloom::Method::from_name(&saved.method)?;
        bar.set_message(method.name());
        let mut show = |progress| show(&bar, &progress);
        let config = &project.file.config;
        let run = session.adapt_method(method, &train, test.as_ref(), config, &mut show);
        let (replayed, _) = block_on(run)?;
        if interrupt::stopped() {
            break;
        }
        differences.push(Difference::new(saved, &replayed));
    }
    bar.finish_and_clear();
    if !differences.is_empty() {
        tables::differences(&differences);
    }
    output::json(arguments.compute.json.as_deref(), &differences)?;
    let warnings = warnings(&differences, project.file.results.len());
    warnings.iter().for_each(output::warning);
    Ok(if warnings.is_empty() { Outcome::Fine } else { Outcome::Warned })
}

/// What is wrong with a replay of so many methods.
fn warnings(differences: &[Difference], methods: usize) -> Vec<Error> {
    let mut warnings = Vec::new();
    if interrupt::stopped() {
        let reason = format!("{} of {methods} methods were replayed", differences.len());
        warnings.push(Error::mismatch("stopped", reason));
    }
    let apart: Vec<&str> =
        differences.iter().filter(|own| !own.within(TOLERANCE)).map(|own| own.method.as_str()).collect();
    if !apart.is_empty() {
        let reason = format!("differs by more than {TOLERANCE} from what was saved");
        warnings.push(Error::mismatch(apart.join(", "), reason));
    }
    warnings
}
