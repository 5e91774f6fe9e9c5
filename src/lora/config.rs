//! `adapter_config.json`: which options we follow, which we refuse, and how we write it.

use std::collections::BTreeMap;

use regex::Regex;
use serde::{
    Deserialize,
    de::{DeserializeOwned, Deserializer, MapAccess, Visitor},
};
use serde_json::{Map, Value, json};

use super::targets::Targets;
use crate::error::{Error, Result};

/// What an adapter's configuration says about the mathematics and its origin.
#[derive(Clone, Debug)]
pub struct PeftConfig {
    /// Folder or file, for messages.
    pub name: String,
    /// `base_model_name_or_path`.
    pub base_model: Option<String>,
    /// `task_type`, such as `CAUSAL_LM`.
    pub task_type: Option<String>,
    /// The base weight is stored `[in, out]`, so the update is added transposed (GPT-2's Conv1D).
    pub fan_in_fan_out: bool,
    /// `modules_to_save`: modules whose weights are in the file whole.
    pub modules_to_save: Vec<String>,
    rank: usize,
    alpha: f64,
    rank_pattern: Vec<Pattern>,
    alpha_pattern: Vec<Pattern>,
    rslora: bool,
    targets: Targets,
    unknown: Vec<String>,
}

/// A module path pattern and its value.
#[derive(Clone, Debug)]
struct Pattern {
    regex: Regex,
    value: f64,
}

/// Options that change the mathematics; each must be absent or off.
const REFUSED: [(&str, &str); 13] = [
    ("use_dora", "DoRA rescales the base weight; merge it into the base model first"),
    ("lora_bias", "LoRA factors with a bias are not read; train without it"),
    ("target_parameters", "updates of bare parameters are not read; target modules instead"),
    ("trainable_token_indices", "trained tokens are not read; train without them"),
    ("layer_replication", "the base model has other layers than its checkpoint"),
    ("use_qalora", "QA-LoRA pools the input; merge it into the base model first"),
    ("alora_invocation_tokens", "the update depends on the input; no single weight stands for it"),
    ("kasa_config", "KaSA changes the base weight; merge it into the base model first"),
    ("monteclora_config", "the update is sampled; no single weight stands for it"),
    ("velora_config", "VeLoRA changes the layer's input; merge it into the base model first"),
    ("use_bdlora", "block-diagonal factors are not read; use plain LoRA"),
    ("arrow_config", "the update depends on the input; no single weight stands for it"),
    ("ensure_weight_tying", "tied updates are not read; train without it"),
];

/// Options that leave the mathematics of a saved adapter as it is, or that are followed.
const KNOWN: [&str; 29] = [
    "alpha_pattern",
    "auto_mapping",
    "base_model_name_or_path",
    "bias",
    "corda_config",
    "eva_config",
    "exclude_modules",
    "fan_in_fan_out",
    "inference_mode",
    "init_lora_weights",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_alpha",
    "lora_dropout",
    "lora_ga_config",
    "megatron_config",
    "megatron_core",
    "modules_to_save",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "r",
    "rank_pattern",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
    "use_rslora",
];

/// Initialisations that leave the base weight as it is.
const PLAIN_INIT: [&str; 5] = ["true", "false", "gaussian", "eva", "orthogonal"];

impl PeftConfig {
    /// Reads a configuration.
    ///
    /// # Errors
    /// No JSON object, a bad field, another PEFT method than LoRA, or an option that changes the
    /// mathematics and is not supported, by name.
    pub fn parse(name: &str, json: &str) -> Result<Self> {
        let bad = |error: serde_json::Error| Error::config(name, "-", error.to_string());
        let map: Map<String, Value> = serde_json::from_str(json).map_err(bad)?;
        refuse_options(name, &map)?;
        let patterns: Patterns = serde_json::from_str(json)
            .map_err(|error| Error::config(name, "rank_pattern, alpha_pattern", error.to_string()))?;
        let config = Self {
            name: name.into(),
            base_model: field(name, &map, "base_model_name_or_path")?,
            task_type: field(name, &map, "task_type")?,
            fan_in_fan_out: field(name, &map, "fan_in_fan_out")?.unwrap_or(false),
            modules_to_save: field(name, &map, "modules_to_save")?.unwrap_or_default(),
            rank: field(name, &map, "r")?.unwrap_or(8),
            alpha: field(name, &map, "lora_alpha")?.unwrap_or(8.0),
            rank_pattern: compile(name, "rank_pattern", patterns.rank_pattern)?,
            alpha_pattern: compile(name, "alpha_pattern", patterns.alpha_pattern)?,
            rslora: field(name, &map, "use_rslora")?.unwrap_or(false),
            targets: Targets::parse(name, &map)?,
            unknown: unknown(&map),
        };
        match config.alpha.is_finite() {
            true => Ok(config),
            false => Err(Error::config(name, "lora_alpha", "it must be a finite number")),
        }
    }

    /// The scale of a module's update, after checking the factors' rank against the configured one.
    ///
    /// `alpha / rank`, or `alpha / sqrt(rank)` for rsLoRA; as PEFT, the first pattern that matches the
    /// end of the path wins.
    ///
    /// # Errors
    /// [`Error::Config`] when the ranks differ, or alpha is too large.
    pub fn scaling(&self, path: &str, rank: usize) -> Result<f64> {
        let found = |patterns: &[Pattern]| {
            patterns.iter().find(|pattern| pattern.regex.is_match(path)).map(|pattern| pattern.value)
        };
        let expected = found(&self.rank_pattern).unwrap_or(self.rank as f64);
        if rank == 0 || expected != rank as f64 {
            let reason = format!("it asks for rank {expected} at `{path}`, the file holds rank {rank}");
            return Err(Error::config(&self.name, "r", reason));
        }
        let alpha = found(&self.alpha_pattern).unwrap_or(self.alpha);
        let scaling = if self.rslora { alpha / expected.sqrt() } else { alpha / expected };
        // What is computed with has 32 bits.
        if !(scaling as f32).is_finite() {
            let reason = format!("{alpha:e} at `{path}` is too large a number");
            return Err(Error::config(&self.name, "lora_alpha", reason));
        }
        Ok(scaling)
    }

    /// What a person should know: options that are not followed because nobody here knows them, modules (`paths`) that
    /// PEFT would ignore, and modules that should be in the file whole (`saved`) and are not.
    pub fn warnings<'a>(
        &self,
        paths: impl Iterator<Item = &'a str>,
        saved: impl Iterator<Item = &'a str>,
    ) -> Vec<Error> {
        let reason =
            "not an option that is known here; its effect, if it has one on the weights, is left out";
        let unknown =
            (!self.unknown.is_empty()).then(|| Error::config(&self.name, &self.unknown.join("`, `"), reason));
        let (paths, saved): (Vec<&str>, Vec<&str>) = (paths.collect(), saved.collect());
        let ignored = self.targets.ignored(&paths).into_iter().map(|(option, missed)| {
            let reason = format!(
                "it leaves out {} module(s) that the file holds, the first is `{}`; they are used here, PEFT ignores them",
                missed.len(),
                missed[0]
            );
            Error::config(&self.name, option, reason)
        });
        let absent = |module: &&String| !saved.iter().any(|path| is_inside(path, module));
        let absent = self.modules_to_save.iter().filter(absent).map(|module| {
            let reason =
                format!("the file has no `{module}`; that of the model is used here, PEFT starts a new one");
            Error::config(&self.name, "modules_to_save", reason)
        });
        unknown.into_iter().chain(ignored).chain(absent).collect()
    }
}

/// Whether a path is a module or something in it.
pub fn is_inside(path: &str, module: &str) -> bool {
    format!(".{path}").contains(&format!(".{module}."))
}

fn refuse_options(name: &str, map: &Map<String, Value>) -> Result<()> {
    let unsupported = |option: &str, reason: &str| {
        Err(Error::Unsupported { name: name.into(), option: option.into(), reason: reason.into() })
    };
    match map.get("peft_type").and_then(Value::as_str) {
        Some(kind) if kind.eq_ignore_ascii_case("lora") => {}
        Some(kind) => return unsupported(&format!("peft_type: {kind}"), "only LORA is read"),
        None => return Err(Error::config(name, "peft_type", "missing; expected \"LORA\"")),
    }
    for (option, reason) in REFUSED {
        if map.get(option).is_some_and(is_set) {
            return unsupported(option, reason);
        }
    }
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_lowercase);
    if let Some(value) = map.get("bias").filter(|value| is_set(value) && text(value) != "none") {
        return unsupported(
            &format!("bias: {}", text(value)),
            "the file changes biases of the base; train with none",
        );
    }
    match map.get("init_lora_weights").filter(|value| is_set(value)).map(text) {
        Some(init) if !PLAIN_INIT.contains(&init.as_str()) => unsupported(
            &format!("init_lora_weights: {init}"),
            "it changes the base weight; save it from PEFT with path_initial_model_for_weight_conversion",
        ),
        _ => Ok(()),
    }
}

/// Options that are set and that this version has never heard of.
fn unknown(map: &Map<String, Value>) -> Vec<String> {
    let known = |key: &str| KNOWN.contains(&key) || REFUSED.iter().any(|(option, _)| *option == key);
    map.iter().filter(|(key, value)| is_set(value) && !known(key)).map(|(key, _)| key.clone()).collect()
}

/// Whether an option is there and not off.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    }
}

/// A field's value; `None` when it is absent or null.
pub(super) fn field<T: DeserializeOwned>(
    name: &str,
    map: &Map<String, Value>,
    key: &str,
) -> Result<Option<T>> {
    let value = map.get(key).cloned().unwrap_or(Value::Null);
    serde_json::from_value(value).map_err(|error| Error::config(name, key, error.to_string()))
}

/// The two patterns in the order of the file, which decides between patterns that both match.
#[derive(Deserialize)]
struct Patterns {
    rank_pattern: Option<Ordered>,
    alpha_pattern: Option<Ordered>,
}

#[derive(Default)]
struct Ordered(Vec<(String, f64)>);

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Ordered;

            fn expecting(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
                formatter.write_str("a map of module names to numbers")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> std::result::Result<Ordered, M::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Ordered(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

fn compile(name: &str, field: &str, entries: Option<Ordered>) -> Result<Vec<Pattern>> {
    let compile = |(pattern, value): (String, f64)| {
        let regex =
            Regex::new(&format!(r"^(?:.*\.)?(?:{pattern})$")).map_err(|error| Error::Unsupported {
                name: name.into(),
                option: format!("{field}: {pattern}"),
                reason: format!("no regular expression that can be read here: {error}"),
            })?;
        Ok(Pattern { regex, value })
    };
    entries.unwrap_or_default().0.into_iter().map(compile).collect()
}

/// Whether a path is a name or ends with it as whole components.
pub fn ends_with_path(path: &str, name: &str) -> bool {
    path.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// A module that a configuration to be written lists.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Module path, without `base_model.model.`.
    pub path: String,
    /// Rank of its factors.
    pub rank: usize,
    /// Scale of its update.
    pub scaling: f64,
}

/// What a written configuration says beside its modules.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// `base_model_name_or_path`.
    pub base_model: Option<String>,
    /// `task_type`.
    pub task_type: Option<String>,
    /// `fan_in_fan_out`.
    pub fan_in_fan_out: bool,
    /// `modules_to_save`.
    pub modules_to_save: Vec<String>,
}

/// Writes an `adapter_config.json` with which PEFT attaches exactly these modules.
///
/// `target_modules` holds whole paths: a short name would also match blocks that have no update.
pub fn write_config(entries: &[Entry], origin: &Origin) -> String {
    let ranks: Vec<f64> = entries.iter().map(|entry| entry.rank as f64).collect();
    let alphas: Vec<f64> = entries.iter().map(|entry| entry.scaling * entry.rank as f64).collect();
    let (rank, alpha) = (most_common(&ranks), most_common(&alphas));
    let mut paths: Vec<&str> = entries.iter().map(|entry| entry.path.as_str()).collect();
    paths.sort_unstable();
    let config = json!({
        "alpha_pattern": pattern(entries, &alphas, alpha),
        "auto_mapping": null,
        "base_model_name_or_path": origin.base_model,
        "bias": "none",
        "fan_in_fan_out": origin.fan_in_fan_out,
        "inference_mode": true,
        "init_lora_weights": true,
        "lora_alpha": number(alpha),
        "lora_dropout": 0.0,
        "modules_to_save": (!origin.modules_to_save.is_empty()).then_some(&origin.modules_to_save),
        "peft_type": "LORA",
        "r": number(rank),
        "rank_pattern": pattern(entries, &ranks, rank),
        "target_modules": paths,
        "task_type": origin.task_type,
        "use_dora": false,
        "use_rslora": false,
    });
    format!("{config:#}\n")
}

/// The value of most entries; of two equally common ones the smaller.
fn most_common(values: &[f64]) -> f64 {
    let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
    values.iter().for_each(|value| *counts.entry(value.to_bits()).or_default() += 1);
    let best = counts.iter().max_by_key(|(bits, count)| (**count, std::cmp::Reverse(**bits)));
    best.map_or(1.0, |(bits, _)| f64::from_bits(*bits))
}

/// Entries that differ from the common value, by a pattern that matches their path only.
fn pattern(entries: &[Entry], values: &[f64], common: f64) -> BTreeMap<String, Value> {
    let differing = entries.iter().zip(values).filter(|(_, value)| **value != common);
    differing.map(|(entry, value)| (exact_pattern(&entry.path, entries), number(*value))).collect()
}

/// PEFT reads the key as a regular expression for the end of a path, and before 0.15 looked the plain
/// path up; so the path stays plain unless it would match another module too.
fn exact_pattern(path: &str, entries: &[Entry]) -> String {
    let plain = path.chars().all(|letter| letter.is_ascii_alphanumeric() || "._-".contains(letter));
    let ambiguous = entries.iter().any(|other| other.path != path && ends_with_path(&other.path, path));
    if plain && !ambiguous { path.to_string() } else { format!("^{}", regex::escape(path)) }
}

fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e15 { json!(value as i64) } else { json!(value) }
}
