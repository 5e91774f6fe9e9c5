//! One line of JSON per run, appended and flushed as soon as a run is done.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{Read, Seek, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    plan::{Cell, Draw, Shard, Shots},
    shifts::Corruption,
};
use crate::{
    error::{Error, Result},
    files::create_folder,
    methods::registry::Method,
    report::CoefficientReport,
    session::files::read_bytes,
};

/// Accuracy on corrupted test images: covariate shift.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Corrupted {
    /// What was done to the images.
    pub kind: Corruption,
    /// How strongly, 1 to 3; 0 for the same images as they are.
    pub strength: usize,
    /// Share classified correctly.
    pub test_accuracy: f64,
    /// Number of images.
    pub test_images: usize,
}

/// How similar a module's features are to those of a method that was trained on the task itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModuleCka {
    /// Name of the module.
    pub module: String,
    /// Linear CKA on training images of the task, between 0 and 1.
    pub cka: f32,
}

/// One method on one cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Name of the task.
    pub task: String,
    /// Images per class.
    pub shots: Shots,
    /// Seed.
    pub seed: u64,
    /// The method.
    pub method: Method,
    /// How the training images were drawn.
    pub draw: Draw,
    /// Share of test images classified correctly.
    pub test_accuracy: f64,
    /// Number of test images.
    pub test_images: usize,
    /// Share of training images classified correctly.
    pub train_accuracy: f64,
    /// Number of training images.
    pub train_images: usize,
    /// Whether these are all that the task has; older results do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_all: Option<bool>,
    /// Held-out accuracy, where folds were asked for.
    #[serde(alias = "loo_accuracy")]
    pub held_out_accuracy: Option<f64>,
    /// Whether the trained head was replaced by one fitted on the final features.
    pub head_refitted: bool,
    /// Trained values, the head included.
    pub trainable_parameters: usize,
    /// Optimiser steps.
    pub steps: usize,
    /// Seconds of training.
    pub seconds: f64,
    /// Seconds of testing.
    pub test_seconds: f64,
    /// Composition weights per layer and module.
    pub composition: Option<CoefficientReport>,
    /// The module that `best-module` chose.
    pub chosen_module: Option<String>,
    /// CKA of every module with this run, for methods that compose nothing and train the model.
    pub cka: Vec<ModuleCka>,
    /// Corrupted test images, where they were asked for.
    pub corrupted: Vec<Corrupted>,
    /// Last part of the model's name.
    pub model: String,
    /// Hash of the model.
    pub model_sha256: String,
    /// Hash of the settings.
    pub settings: String,
    /// `cpu` or `gpu`.
    pub device: String,
}

/// What tells runs apart.
pub type Key = (Cell, &'static str);

impl Run {
    /// The run's cell.
    pub fn cell(&self) -> Cell {
        Cell { task: self.task.clone(), shots: self.shots, seed: self.seed, draw: self.draw }
    }

    /// What tells the run from others.
    pub fn key(&self) -> Key {
        (self.cell(), self.method.name())
    }
}

/// The runs of a folder, and the file that new ones go to.
pub struct Results {
    path: PathBuf,
    file: File,
    done: BTreeMap<Key, Run>,
}

impl Results {
    /// Opens a shard's file, without a last line that was cut short, and reads what all files of the folder hold.
    ///
    /// # Errors
    /// A file that cannot be read or written.
    pub fn open(dir: &Path, shard: Shard) -> Result<(Self, Vec<Error>)> {
        let path = dir.join(shard.file_name());
        let failed = |error| Error::io("write", &path, error);
        create_folder(dir)?;
        let file = OpenOptions::new().create(true).read(true).append(true).open(&path).map_err(failed)?;
        cut_torn_line(&file).map_err(failed)?;
        let (runs, warnings) = read_dir(dir)?;
        let done = runs.into_iter().map(|run| (run.key(), run)).collect();
        Ok((Self { path, file, done }, warnings))
    }

    /// The file that runs are appended to.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.done.is_empty()
    }

    /// The run of a cell and method, if it is there.
    pub fn get(&self, cell: &Cell, method: Method) -> Option<&Run> {
        self.done.get(&(cell.clone(), method.name()))
    }

    /// Appends a run.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn append(&mut self, run: Run) -> Result<()> {
        let failed = |error| Error::io("write", &self.path, error);
        let mut line = serde_json::to_string(&run).map_err(|error| failed(error.into()))?;
        line.push('\n');
        // One write: a process that is killed leaves a whole line, or the start of one.
        self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data()).map_err(failed)?;
        self.done.insert(run.key(), run);
        Ok(())
    }
}

fn cut_torn_line(mut file: &File) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    if whole < bytes.len() { file.set_len(whole as u64) } else { Ok(()) }
}

/// The runs of all `results*.jsonl` of a folder in a fixed order; of several lines of one run the last one counts, but
/// none that lacks the corrupted tests of another.
///
/// # Errors
/// The folder or a file cannot be read.
pub fn read_dir(dir: &Path) -> Result<(Vec<Run>, Vec<Error>)> {
    let paths = files(dir, "results")?;
    let (mut runs, mut warnings) = (BTreeMap::new(), Vec::new());
    for path in paths {
        let name = path.display().to_string();
        let (own, bad) = parse(&name, &String::from_utf8_lossy(&read_bytes(&path)?));
        for run in own {
            // A shard of another count may hold the same run: the one that was corrupted, too, says more.
            let says_less = |old: &Run| !old.corrupted.is_empty() && run.corrupted.is_empty();
            if !runs.get(&run.key()).is_some_and(says_less) {
                runs.insert(run.key(), run);
            }
        }
        warnings.extend(bad);
    }
    Ok((runs.into_values().collect(), warnings))
}

/// Whether a folder has the file of a shard, as yet empty maybe.
///
/// # Errors
/// The folder cannot be read.
pub fn has_shards(dir: &Path) -> Result<bool> {
    Ok(!files(dir, "results-")?.is_empty())
}

/// Files of runs whose names begin like this, in order.
fn files(dir: &Path, start: &str) -> Result<Vec<PathBuf>> {
    let failed = |error| Error::io("list", dir, error);
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with(start) && name.ends_with(".jsonl") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Runs of a text; a line that is no run is named and the rest counts. A last line without its end is a run in
/// progress, or one that was cut short: no fault.
fn parse(name: &str, text: &str) -> (Vec<Run>, Vec<Error>) {
    let (mut runs, mut bad) = (Vec::new(), Vec::new());
    for (index, line) in text.split_inclusive('\n').enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        match serde_json::from_str(line) {
            Ok(run) => runs.push(run),
            Err(_) if !line.ends_with('\n') => {}
            Err(error) => {
                bad.push(Error::config(name, &format!("line {}", index + 1), format!("{error}; left out")));
            }
        }
    }
    (runs, bad)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn run(task: &str, shots: usize, seed: u64, method: Method, test_accuracy: f64) -> Run {
        Run {
            task: task.into(),
            shots: Shots::PerClass(shots),
            seed,
            method,
            draw: Draw::Even,
            test_accuracy,
            test_images: 100,
            train_accuracy: 1.0,
            train_images: 10,
            took_all: None,
            held_out_accuracy: None,
            head_refitted: false,
            trainable_parameters: 7,
            steps: 4,
            seconds: 0.5,
            test_seconds: 0.1,
            composition: None,
            chosen_module: None,
            cka: Vec::new(),
            corrupted: Vec::new(),
            model: "base".into(),
            model_sha256: "00".into(),
            settings: "11".into(),
            device: "cpu".into(),
        }
    }

    #[test]
    fn a_torn_last_line_is_cut_and_written_again() {
        let dir = tempfile::tempdir().expect("a folder");
        let runs: Vec<Run> = (0..3).map(|seed| run("a", 5, seed, Method::Lora, 0.25)).collect();
        let path = dir.path().join("results.jsonl");
        let open = || Results::open(dir.path(), Shard::default()).expect("opens");
        let (mut results, _) = open();
        runs.iter().for_each(|run| results.append(run.clone()).expect("appends"));
        drop(results);
        let whole = std::fs::read_to_string(&path).expect("file");
        std::fs::write(&path, &whole[..whole.len() - 20]).expect("torn");
        assert_eq!(read_dir(dir.path()).expect("reads").0, runs[..2]);
        let (mut results, warnings) = open();
        assert!(warnings.is_empty() && results.get(&runs[1].cell(), Method::Lora).is_some());
        assert!(results.get(&runs[2].cell(), Method::Lora).is_none());
        results.append(runs[2].clone()).expect("appends");
        assert_eq!(std::fs::read_to_string(&path).expect("file"), whole);
    }

    #[test]
    fn a_broken_line_is_named_and_the_rest_counts() {
        let line = |seed| serde_json::to_string(&run("a", 1, seed, Method::Full, 0.5)).expect("JSON");
        let (runs, bad) = parse("results.jsonl", &format!("{}\n{{oops\n\n{}\n", line(0), line(1)));
        assert_eq!(runs.len(), 2);
        assert!(bad.len() == 1 && bad[0].to_string().contains("line 2"), "{bad:?}");
    }

    #[test]
    fn shards_are_merged_and_the_last_line_of_a_run_counts() {
        let dir = tempfile::tempdir().expect("a folder");
        for (index, accuracy) in [(1, 0.25), (2, 0.5)] {
            let (mut results, _) = Results::open(dir.path(), Shard { index, count: 2 }).expect("opens");
            results.append(run("a", 5, 0, Method::Lora, accuracy)).expect("appends");
            results.append(run("a", 5, index as u64, Method::Full, accuracy)).expect("appends");
        }
        let (runs, _) = read_dir(dir.path()).expect("reads");
        assert_eq!(runs.iter().map(|run| run.seed).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(runs[0].test_accuracy, 0.5);
    }
}
