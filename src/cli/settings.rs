//! Settings of training: defaults, what a file says in their place, and what was typed on top.

use std::path::Path;

use loraloom::{
    error::{Error, Result},
    session::{adapt::AdaptConfig, files::read_text},
};
use serde_json::Value;

use super::args::TrainingArgs;

/// Settings of a JSON file, which names only what differs from `defaults`; `seed` says where seeds are given instead.
///
/// # Errors
/// A file that cannot be read, is no JSON, names what is not known, or names a seed.
pub fn read(path: &Path, defaults: AdaptConfig, seed: &str) -> Result<AdaptConfig> {
    let name = path.display().to_string();
    let bad = |error: serde_json::Error| Error::config(&name, "-", error.to_string());
    let json: Value = serde_json::from_str(&read_text(path)?).map_err(bad)?;
    if !json["train"]["seed"].is_null() {
        return Err(Error::config(&name, "train.seed", seed));
    }
    let mut config = serde_json::to_value(defaults).map_err(bad)?;
    lay_over(&mut config, json);
    serde_json::from_value(config).map_err(bad)
}

/// Puts what a file names into defaults, field by field.
fn lay_over(config: &mut Value, named: Value) {
    match (config, named) {
        (Value::Object(config), Value::Object(named)) => {
            for (field, value) in named {
                lay_over(config.entry(field).or_insert(Value::Null), value);
            }
        }
        (config, named) => *config = named,
    }
}

/// Puts what was typed into a configuration.
pub fn typed(arguments: &TrainingArgs, config: &mut AdaptConfig) {
    let train = &mut config.train;
    train.num_steps = arguments.steps.unwrap_or(train.num_steps);
    train.batch_size = arguments.batch_size.unwrap_or(train.batch_size);
    train.augment = arguments.augment.unwrap_or(train.augment);
    train.mirror = arguments.mirror.unwrap_or(train.mirror);
    train.seed = arguments.seed;
    config.views = arguments.views.unwrap_or(config.views);
    if let Some(rank) = arguments.rank {
        config.lora.rank = rank;
        config.lora.alpha = 2.0 * rank as f32;
    }
    config.lora.alpha = arguments.alpha.unwrap_or(config.lora.alpha);
    if let Some(targets) = &arguments.targets {
        config.lora.targets = targets.clone();
    }
}
