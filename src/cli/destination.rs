//! Where a command is asked to write, looked at before its work: what cannot be written, or would cost another file, is found
//! out before hours are spent.

use std::{
    fs::{self, File},
    io::Read,
    path::Path,
};

use loraloom::{
    error::{Error, Result},
    files::{check_writable, follow},
    pretrain::run::CHECKPOINT,
    session::place::is_read_again,
};

use super::{args::Command, output, pretrain::CARD};

/// Files that are read again as what they are, beside those of [`is_read_again`]: of experiments, of base models and of
/// what ships.
const READ_AGAIN: [&str; 6] =
    ["experiment.json", "report.md", CHECKPOINT, CARD, "manifest.json", "project.json"];

/// What `--json` calls standard output.
pub const STDOUT: &str = "-";

/// Refuses files that a command could not write in the end, or that hold something else.
///
/// # Errors
/// The file, and what is wrong with it.
pub fn check(command: &Command) -> Result<()> {
    match json_of(command) {
        Some(path) if path == Path::new(STDOUT) => output::give_stdout_to_json(),
        Some(path) => check_json(path, settings_of(command))?,
        None => {}
    }
    let Some(csv) = csv_of(command) else { return Ok(()) };
    if json_of(command) == Some(csv) {
        return Err(Error::mismatch(csv.display().to_string(), "--json and --csv are one file; name two"));
    }
    check_place(csv, "--csv").map(|_| ())
}

/// Where a command writes its report.
fn json_of(command: &Command) -> Option<&Path> {
    let path = match command {
        Command::Adapt(arguments) => &arguments.compute.json,
        Command::Predict(arguments) => &arguments.answers.compute.json,
        Command::Classify(arguments) => &arguments.answers.compute.json,
        Command::Forward(arguments) => &arguments.compute.json,
        Command::TrainModule(arguments) => &arguments.compute.json,
        Command::Pretrain(arguments) => &arguments.compute.json,
        Command::Replay(arguments) => &arguments.compute.json,
        Command::Compose(arguments) => &arguments.json,
        Command::Experiment(arguments) => &arguments.json,
        Command::Info(arguments) => &arguments.json,
        Command::Completions { .. } => &None,
    };
    path.as_deref()
}

/// Where a command writes its table.
fn csv_of(command: &Command) -> Option<&Path> {
    match command {
        Command::Predict(arguments) => arguments.answers.csv.as_deref(),
        Command::Classify(arguments) => arguments.answers.csv.as_deref(),
        _ => None,
    }
}

/// Where a command reads settings.
fn settings_of(command: &Command) -> Option<&Path> {
    match command {
        Command::Adapt(arguments) => arguments.settings.as_deref(),
        Command::Experiment(arguments) => arguments.settings.as_deref(),
        _ => None,
    }
}

/// Refuses a file that cannot be written; whether it is one, and no pipe or device. What is in it stays.
fn check_place(path: &Path, option: &str) -> Result<bool> {
    if path.is_dir() {
        let reason = format!("{option} is a folder; name a file in it");
        return Err(Error::mismatch(path.display().to_string(), reason));
    }
    if path.exists() && !path.is_file() {
        return Ok(false);
    }
    let end = follow(path)?;
    let folder = end.parent().filter(|folder| !folder.as_os_str().is_empty());
    check_writable(folder.unwrap_or(Path::new(".")))?;
    Ok(true)
}

/// Refuses a file for a report that cannot be written, or in whose place is or will be something else: whoever forgets the
/// file's name gives the first picture instead, and a saved task is JSON, too.
fn check_json(path: &Path, settings: Option<&Path>) -> Result<()> {
    let refuse = |reason: &str| Err(Error::mismatch(path.display().to_string(), reason));
    // The name is looked at where a link leads, too.
    if is_taken(path) || is_taken(&follow(path)?) {
        return refuse(
            "loraloom has files of this name itself, and --json could replace one; choose another name, as report.json",
        );
    }
    let whole = |path: &Path| fs::canonicalize(path).ok();
    if settings.and_then(whole).is_some_and(|file| whole(path) == Some(file)) {
        return refuse("--json would replace the file of --settings; name another file");
    }
    if !check_place(path, "--json")? {
        return Ok(());
    }
    let Ok(mut file) = File::open(path) else { return Ok(()) };
    let mut first = [0];
    let held = file.read(&mut first).is_ok_and(|read| read == 1);
    match held && !b"{[".contains(&first[0]) {
        true => refuse("--json would replace it, and it is no JSON; name another file"),
        false => Ok(()),
    }
}

/// Whether a file of this name is read again as something else than a report.
fn is_taken(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    // Lines of runs and values of tensors can begin as JSON does.
    is_read_again(&name)
        || READ_AGAIN.contains(&name.as_str())
        || name.ends_with(".jsonl")
        || name.ends_with(".safetensors")
}
