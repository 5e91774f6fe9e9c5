//! Settings of training: defaults, what a file says in their place, and what was typed on top.

use std::{path::Path, slice};

use loraloom::{
    error::{Error, Result},
    session::{config::AdaptConfig, files::read_text},
};
use serde_json::Value;

use super::args::TrainingArgs;

/// Settings that what was typed comes on top of.
#[derive(Debug)]
pub struct Settings {
    /// As far as they are known.
    pub config: AdaptConfig,
    /// Whether a file says alpha; what nobody says follows the rank.
    says_alpha: bool,
}

impl Settings {
    /// Settings of no file.
    pub fn of(config: AdaptConfig) -> Self {
        Self { config, says_alpha: false }
    }

    /// Defaults and, in their place, what a JSON file names if there is one; `seed` says where seeds are given instead.
    ///
    /// # Errors
    /// A file that cannot be read, is no JSON object, names what is not known or of another type, or names a seed of its own.
    pub fn read(file: Option<&Path>, defaults: AdaptConfig, seed: &str) -> Result<Self> {
        let Some(path) = file else { return Ok(Self::of(defaults)) };
        let name = path.display().to_string();
        let bad = |error: serde_json::Error| Error::config(&name, "-", error.to_string());
        let json: Value = serde_json::from_str(&read_text(path)?).map_err(bad)?;
        // Records of an experiment have its first seed, which is the default.
        let recorded = &json["train"]["seed"];
        if !recorded.is_null() && *recorded != defaults.train.seed {
            return Err(Error::config(&name, "train.seed", seed));
        }
        let says = |field: &str| json["lora"].get(field).is_some();
        let (says_rank, says_alpha) = (says("rank"), says("alpha"));
        let mut config = lay_over(&name, serde_json::to_value(defaults).map_err(bad)?, json)?;
        if says_rank && !says_alpha {
            config.lora.alpha = alpha_of(config.lora.rank);
        }
        Ok(Self { config, says_alpha })
    }

    /// With what was typed.
    pub fn typed(self, arguments: &TrainingArgs) -> AdaptConfig {
        let Self { mut config, says_alpha } = self;
        arguments.learning.lay_over(&mut config);
        config.train.seed = arguments.seed;
        let lora = &mut config.lora;
        lora.rank = arguments.rank.unwrap_or(lora.rank);
        if arguments.rank.is_some() && !says_alpha {
            lora.alpha = alpha_of(lora.rank);
        }
        lora.alpha = arguments.alpha.unwrap_or(lora.alpha);
        if let Some(targets) = &arguments.targets {
            lora.targets = targets.clone();
        }
        config
    }
}

/// Alpha where a rank is said and no alpha.
fn alpha_of(rank: usize) -> f32 {
    2.0 * rank as f32
}

/// Puts what a file names into defaults, one field after the other, so that what is wrong can be named.
fn lay_over(file: &str, mut config: Value, named: Value) -> Result<AdaptConfig> {
    let mut found = Vec::new();
    fields(&config, Vec::new(), named, &mut found).map_err(|path| {
        let field = if path.is_empty() { "-".into() } else { path.join(".") };
        let reason = r#"it is no object; name settings in braces, as {"train": {"num_steps": 40}}"#;
        Error::config(file, &field, reason)
    })?;
    let parse = |config: &Value, field: &str| {
        let parsed = serde_json::from_value::<AdaptConfig>(config.clone());
        parsed.map_err(|error| Error::config(file, field, error.to_string()))
    };
    for (path, value) in found {
        *path.iter().fold(&mut config, |place, name| &mut place[name]) = value;
        parse(&config, &path.join("."))?;
    }
    parse(&config, "-")
}

/// The fields that a file names, each with its path and value.
///
/// # Errors
/// The path of what is no object where the defaults have one.
fn fields(
    defaults: &Value,
    path: Vec<String>,
    named: Value,
    found: &mut Vec<(Vec<String>, Value)>,
) -> std::result::Result<(), Vec<String>> {
    match named {
        value if !defaults.is_object() => found.push((path, value)),
        Value::Object(named) => {
            for (name, value) in named {
                let below = [&path[..], slice::from_ref(&name)].concat();
                fields(&defaults[&name], below, value, found)?;
            }
        }
        _ => return Err(path),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::args::{Arguments, Command};

    /// Settings of a file, and what is typed on top.
    fn settings(json: &str, typed: &[&str]) -> Result<AdaptConfig> {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("set.json");
        std::fs::write(&file, json).expect("writes");
        let words = [&["loraloom", "adapt", "--train", "photos"], typed].concat();
        let Command::Adapt(arguments) = Arguments::try_parse_from(words).expect("arguments").command else {
            panic!("another command")
        };
        let read = Settings::read(Some(&file), AdaptConfig::default(), "--seed")?;
        Ok(read.typed(&arguments.training))
    }

    #[test]
    fn alpha_is_twice_the_rank_where_nobody_says_it() {
        for (json, typed, shape) in [
            ("{}", &[][..], (4, 8.0)),
            ("{}", &["--rank", "6"], (6, 12.0)),
            (r#"{"lora": {"rank": 3}}"#, &[], (3, 6.0)),
            (r#"{"lora": {"rank": 3}}"#, &["--rank", "6"], (6, 12.0)),
            (r#"{"lora": {"alpha": 5}}"#, &[], (4, 5.0)),
            (r#"{"lora": {"alpha": 5}}"#, &["--rank", "6"], (6, 5.0)),
            (r#"{"lora": {"rank": 3, "alpha": 5}}"#, &["--rank", "6"], (6, 5.0)),
            (r#"{"lora": {"rank": 3, "alpha": 5}}"#, &["--rank", "6", "--alpha", "7"], (6, 7.0)),
            (r#"{"lora": {"rank": 3}}"#, &["--alpha", "7"], (3, 7.0)),
        ] {
            let lora = settings(json, typed).expect("settings").lora;
            assert_eq!((lora.rank, lora.alpha), shape, "{json} {typed:?}");
        }
    }

    #[test]
    fn what_is_wrong_in_a_file_is_named() {
        for (json, parts) in [
            ("[]", ["set.json: it is no object", "braces"]),
            ("null", ["set.json: it is no object", "braces"]),
            (r#"{"train": []}"#, ["field `train`: it is no object", "braces"]),
            (r#"{"train": null}"#, ["field `train`: it is no object", "braces"]),
            (r#"{"train": {"num_steps": 1.5}}"#, ["field `train.num_steps`: ", "expected usize"]),
            (r#"{"lora": {"rank": 3, "targets": ["magic"]}}"#, ["field `lora.targets`: ", "`magic`"]),
            (r#"{"folds": {"many": 3}}"#, ["field `folds`: ", "expected usize"]),
            (r#"{"train": {"steps": 1}}"#, ["field `train.steps`: ", "unknown field `steps`"]),
        ] {
            let error = settings(json, &[]).expect_err(json).to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{json}: {error}");
        }
    }
}
