//! What decides the numbers of a run besides its cell and method; results of other settings are refused.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    plan::{Cell, Shots},
    results::{Run, has_shards, read_dir},
};
use crate::{
    error::{Error, Result},
    files::{check_free, last_part, write_json},
    session::{
        Session,
        config::AdaptConfig,
        digest::{hex, sha256},
        files::read_text,
    },
};

/// File that says with which settings the results of a folder came about.
const FILE: &str = "experiment.json";

/// What an experiment writes beside it.
const OWN: [&str; 3] = ["results.jsonl", "report.md", "plots"];

/// Most test images of a task where nothing is said.
pub const MAX_TEST: usize = 300;
/// Most test images of a task that are corrupted, likewise.
pub const MAX_CORRUPTED: usize = 100;
/// Training images that representations are compared on, likewise.
pub const CKA_IMAGES: usize = 100;

/// A module as it was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleEntry {
    /// Its name.
    pub name: String,
    /// Hash of its updates.
    pub sha256: String,
}

/// Everything that decides the numbers of a run besides its cell and method.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Last part of the model's name.
    pub model: String,
    /// Hash of the model's weights and preprocessing.
    pub model_sha256: String,
    /// Input side in pixels, if one was asked for; absent it is the model's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub img_size: Option<usize>,
    /// The library.
    pub modules: Vec<ModuleEntry>,
    /// Steps, rates, shape of a fresh LoRA; the seed is the cell's.
    pub adapt: AdaptConfig,
    /// Steps of runs on all training images.
    pub full_steps: usize,
    /// Most test images of a task, evenly over its classes.
    pub max_test: usize,
    /// Most test images of a task that are corrupted.
    pub max_corrupted: usize,
    /// Training images that representations are compared on; 0 leaves CKA out.
    pub cka_images: usize,
}

impl Settings {
    /// The settings of a session.
    ///
    /// # Errors
    /// The device was lost.
    pub async fn new(session: &Session, adapt: AdaptConfig) -> Result<Self> {
        let modules = session.module_names().into_iter().zip(session.module_digests());
        Ok(Self {
            model: last_part(&session.model().name).into(),
            model_sha256: hex(&session.model_digest().await?),
            img_size: session.model().options.img_size,
            modules: modules.map(|(name, digest)| ModuleEntry { name, sha256: hex(&digest) }).collect(),
            full_steps: adapt.train.num_steps,
            adapt,
            max_test: MAX_TEST,
            max_corrupted: MAX_CORRUPTED,
            cka_images: CKA_IMAGES,
        })
    }

    /// A short hash, written into every line of results.
    pub fn hash(&self) -> String {
        hash_of(&self.to_value())
    }

    /// The configuration of one cell.
    pub fn of_cell(&self, cell: &Cell) -> AdaptConfig {
        let mut config = self.adapt.clone();
        config.train.seed = cell.seed;
        if cell.shots == Shots::Full {
            config.train.num_steps = self.full_steps;
        }
        config
    }

    /// Writes the settings into a folder without results, or compares them with those of the results.
    ///
    /// # Errors
    /// The folder holds results of other settings: the first one that differs is named; or results of which none can be read.
    pub fn claim(&self, dir: &Path) -> Result<()> {
        let path = dir.join(FILE);
        let (runs, unread) = if dir.exists() { read_dir(dir)? } else { Default::default() };
        // Whatever it is that cannot be read, it is not of these settings.
        if let (true, Some(reason)) = (runs.is_empty(), unread.first()) {
            let reason = format!("no run in it can be read ({reason}); {OTHERWISE}");
            return Err(Error::config(&dir.display().to_string(), "-", reason));
        }
        // A shard that has begun will have results.
        if runs.is_empty() && !(path.exists() && has_shards(dir)?) {
            if !path.exists() {
                check_free(dir, &OWN)?;
            }
            return write_json(&path, self);
        }
        if !path.exists() {
            let reason = format!("the results beside it need it; {OTHERWISE}");
            return Err(Error::config(&path.display().to_string(), "-", reason));
        }
        // As it was written: a setting that did not exist then is a difference.
        let old = written(&path)?;
        match difference("", &old, &self.to_value()) {
            None => check_runs(dir, &runs, &self.hash()),
            Some((field, [old, new])) => {
                let reason =
                    format!("the results there were made with {old}, this run asks for {new}; {OTHERWISE}");
                Err(Error::config(&path.display().to_string(), &field, reason))
            }
        }
    }

    /// The settings of a folder of results, and the hash that its runs have: what was no setting when they were made is
    /// as it was then, and has no part in the hash.
    ///
    /// # Errors
    /// There are none, or they cannot be read.
    pub fn read(dir: &Path) -> Result<(Self, String)> {
        let path = dir.join(FILE);
        let written = written(&path)?;
        let hash = hash_of(&written);
        let settings = serde_json::from_value(written)
            .map_err(|error| Error::config(&path.display().to_string(), "-", error.to_string()))?;
        Ok((settings, hash))
    }

    fn to_value(&self) -> Value {
        // Plain numbers, strings and lists always become JSON. As text, because a number of 32 bits has more digits as
        // a value than in a file.
        let text = serde_json::to_string(self).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }
}

fn hash_of(settings: &Value) -> String {
    hex(&sha256([settings.to_string().as_bytes()]))[..16].into()
}

fn written(path: &Path) -> Result<Value> {
    serde_json::from_str(&read_text(path)?)
        .map_err(|error| Error::config(&path.display().to_string(), "-", error.to_string()))
}

/// What a person can do about results of other settings.
const OTHERWISE: &str = "use another --out, or remove the whole folder";

/// Refuses results that settings did not make.
///
/// # Errors
/// The first run of other settings.
pub fn check_runs(dir: &Path, runs: &[Run], settings: &str) -> Result<()> {
    let Some(other) = runs.iter().find(|run| run.settings != settings) else { return Ok(()) };
    let reason = format!(
        "a run of settings {} lies there, the settings of the folder are {settings}: another version or other settings made it; {OTHERWISE}",
        other.settings
    );
    Err(Error::Dataset { name: dir.display().to_string(), reason })
}

/// The first field whose values differ, with both.
fn difference(field: &str, old: &Value, new: &Value) -> Option<(String, [String; 2])> {
    let below = |name: &str| if field.is_empty() { name.to_string() } else { format!("{field}.{name}") };
    match (old, new) {
        (Value::Object(a), Value::Object(b)) => {
            let missing = Value::Null;
            let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            names.into_iter().find_map(|name| {
                let of = |map: &'_ serde_json::Map<String, Value>| map.get(name).unwrap_or(&missing).clone();
                difference(&below(name), &of(a), &of(b))
            })
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let pairs = a.iter().zip(b).enumerate();
            pairs.into_iter().find_map(|(index, (a, b))| difference(&below(&index.to_string()), a, b))
        }
        (Value::Array(a), Value::Array(b)) => {
            Some((field.into(), [a.len(), b.len()].map(|count| format!("{count} entries"))))
        }
        _ => (old != new).then(|| (field.into(), [old, new].map(words))),
    }
}

/// A setting as a person reads it.
fn words(value: &Value) -> String {
    if value.is_null() { "none".into() } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        experiment::{
            plan::Shard,
            results::{Results, tests::run},
        },
        methods::registry::Method,
    };

    fn settings() -> Settings {
        Settings {
            model: "base".into(),
            model_sha256: "00".into(),
            img_size: None,
            modules: vec![ModuleEntry { name: "animals".into(), sha256: "11".into() }],
            adapt: AdaptConfig::default(),
            full_steps: 40,
            max_test: 300,
            max_corrupted: 100,
            cka_images: 100,
        }
    }

    #[test]
    fn other_settings_are_refused_by_the_name_of_what_differs() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut other = settings();
        other.adapt.train.num_steps = 41;
        other.claim(dir.path()).expect("the first claim");
        let shard = dir.path().join("results-1-of-2.jsonl");
        std::fs::write(&shard, "").expect("writes");
        settings().claim(dir.path()).expect_err("a shard is at work with the others");
        std::fs::remove_file(shard).expect("removes");
        settings().claim(dir.path()).expect("nothing was made with the others");
        let made = Run { settings: settings().hash(), ..run("a", 1, 0, Method::LinearProbe, 0.5) };
        let (mut results, _) = Results::open(dir.path(), Shard::default()).expect("opens");
        results.append(made.clone()).expect("writes");
        settings().claim(dir.path()).expect("the same again");
        let error = other.claim(dir.path()).expect_err("differs").to_string();
        assert!(
            error.contains("adapt.train.num_steps") && error.contains("40") && error.contains("41"),
            "{error}"
        );
        assert_ne!(other.hash(), settings().hash());
        let sized = Settings { img_size: Some(128), ..settings() };
        let error = sized.claim(dir.path()).expect_err("differs").to_string();
        assert!(error.contains("img_size") && error.contains("128"), "{error}");
        other = settings();
        other.modules[0].sha256 = "12".into();
        let error = other.claim(dir.path()).expect_err("differs").to_string();
        assert!(error.contains("modules.0.sha256"), "{error}");
        other.modules.clear();
        let error = other.claim(dir.path()).expect_err("differs").to_string();
        assert!(error.contains("1 entries") && error.contains("0 entries"), "{error}");
        results.append(Run { settings: "22".into(), seed: 1, ..made }).expect("writes");
        let error = settings().claim(dir.path()).expect_err("two kinds of runs").to_string();
        assert!(error.contains("a run of settings 22"), "{error}");
    }

    #[test]
    fn results_from_before_a_setting_existed_are_reported_by_the_hash_that_they_have() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut old = settings().to_value();
        old["adapt"]["train"]
            .as_object_mut()
            .expect("fields")
            .remove("clip_norm")
            .expect("a setting with a default");
        write_json(&dir.path().join(FILE), &old).expect("writes");
        let made = Run { settings: hash_of(&old), ..run("a", 1, 0, Method::LinearProbe, 0.5) };
        assert_ne!(made.settings, settings().hash());
        let (read, hash) = Settings::read(dir.path()).expect("reads");
        assert_eq!((read.hash(), &hash), (settings().hash(), &made.settings));
        let (mut results, _) = Results::open(dir.path(), Shard::default()).expect("opens");
        results.append(made).expect("writes");
        let (runs, _) = read_dir(dir.path()).expect("reads");
        let summary = crate::experiment::report::write(dir.path(), &runs).expect("reports");
        assert_eq!(summary.settings, hash);
        // They go on with their own settings alone.
        let error = settings().claim(dir.path()).expect_err("differs").to_string();
        assert!(error.contains("adapt.train.clip_norm"), "{error}");
    }

    #[test]
    fn results_that_cannot_be_read_are_not_written_over() {
        let dir = tempfile::tempdir().expect("a folder");
        settings().claim(dir.path()).expect("the first claim");
        std::fs::write(dir.path().join("results.jsonl"), "{\"method\":\"of-tomorrow\"}\n").expect("writes");
        let mut other = settings();
        other.full_steps += 1;
        for claimed in [settings(), other] {
            let error = claimed.claim(dir.path()).expect_err("not ours").to_string();
            assert!(error.contains("no run in it can be read") && error.contains("of-tomorrow"), "{error}");
        }
    }
}
