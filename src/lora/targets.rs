//! Which modules of a file PEFT would attach: `target_modules`, `exclude_modules`, `layers_to_transform`.

use regex::Regex;
use serde_json::{Map, Value};

use super::config::{ends_with_path, field};
use crate::error::Result;

/// What a configuration says about the modules that it is for.
#[derive(Clone, Debug)]
pub struct Targets {
    targeted: Names,
    excluded: Names,
    layers: Option<Layers>,
}

/// Names of modules as PEFT matches them.
#[derive(Clone, Debug)]
enum Names {
    /// Whole paths, or their last components.
    List(Vec<String>),
    Regex(Regex),
    /// Not given, or in a way that only Python can read: nothing is known.
    Unknown,
}

/// Blocks by index.
#[derive(Clone, Debug)]
struct Layers {
    indices: Vec<u64>,
    /// Where the index stands in a path.
    places: Vec<Regex>,
}

impl Targets {
    /// Reads the three options.
    ///
    /// # Errors
    /// One of another type than PEFT writes.
    pub fn parse(name: &str, map: &Map<String, Value>) -> Result<Self> {
        Ok(Self {
            targeted: Names::parse(name, map, "target_modules")?,
            excluded: Names::parse(name, map, "exclude_modules")?,
            layers: Layers::parse(name, map)?,
        })
    }

    /// The options by which PEFT would ignore some of these modules, each with the modules.
    pub fn ignored<'a>(&self, paths: &[&'a str]) -> Vec<(&'static str, Vec<&'a str>)> {
        let targeted = |path: &str| self.targeted.contains(path) != Some(false);
        let excluded = |path: &str| self.excluded.contains(path) == Some(true);
        let outside = |path: &str| self.layers.as_ref().is_some_and(|layers| !layers.contains(path));
        let missed =
            |ignores: &dyn Fn(&str) -> bool| paths.iter().copied().filter(|path| ignores(path)).collect();
        let found: [(&str, Vec<&str>); 3] = [
            ("target_modules", missed(&|path| !targeted(path))),
            ("exclude_modules", missed(&excluded)),
            ("layers_to_transform", missed(&outside)),
        ];
        found.into_iter().filter(|(_, missed)| !missed.is_empty()).collect()
    }
}

impl Names {
    fn parse(name: &str, map: &Map<String, Value>, key: &str) -> Result<Self> {
        Ok(match map.get(key) {
            None | Some(Value::Null) => Self::Unknown,
            Some(Value::String(text)) if text.eq_ignore_ascii_case("all-linear") => Self::Unknown,
            Some(Value::String(text)) => {
                Regex::new(&format!("^(?:{text})$")).map_or(Self::Unknown, Self::Regex)
            }
            Some(_) => Self::List(field(name, map, key)?.unwrap_or_default()),
        })
    }

    fn contains(&self, path: &str) -> Option<bool> {
        match self {
            Self::List(names) => Some(names.iter().any(|name| ends_with_path(path, name))),
            Self::Regex(regex) => Some(regex.is_match(path)),
            Self::Unknown => None,
        }
    }
}

impl Layers {
    fn parse(name: &str, map: &Map<String, Value>) -> Result<Option<Self>> {
        let indices = match map.get("layers_to_transform") {
            Some(Value::Number(index)) => index.as_u64().into_iter().collect(),
            _ => field::<Vec<u64>>(name, map, "layers_to_transform")?.unwrap_or_default(),
        };
        let patterns = match map.get("layers_pattern") {
            Some(Value::String(pattern)) if pattern.is_empty() => Vec::new(),
            Some(Value::String(pattern)) => vec![pattern.clone()],
            _ => field::<Vec<String>>(name, map, "layers_pattern")?.unwrap_or_default(),
        };
        let patterns = if patterns.is_empty() { vec!["[^.]*".into()] } else { patterns };
        let place = |pattern: &String| Regex::new(&format!(r"^.*\.(?:{pattern})\.(\d+)\.")).ok();
        let places: Option<Vec<Regex>> = patterns.iter().map(place).collect();
        Ok(places.filter(|_| !indices.is_empty()).map(|places| Self { indices, places }))
    }

    /// As PEFT, a path without an index is in none of the blocks.
    fn contains(&self, path: &str) -> bool {
        let found = self.places.iter().find_map(|place| place.captures(path));
        let index = found.and_then(|found| found[1].parse().ok());
        index.is_some_and(|index| self.indices.contains(&index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_peft_would_ignore_is_found_by_its_option() {
        let paths = ["vit.layers.0.attention.q_proj", "vit.layers.1.attention.v_proj"];
        let ignored = |json: &str| {
            let map: Map<String, Value> = serde_json::from_str(json).expect("JSON");
            let targets = Targets::parse("own", &map).expect("reads");
            let found = targets.ignored(&paths);
            found.into_iter().map(|(option, missed)| (option, missed.len())).collect::<Vec<_>>()
        };
        for (json, expected) in [
            (r#"{"target_modules": ["q_proj", "v_proj"], "exclude_modules": []}"#, vec![]),
            (r#"{"target_modules": "all-linear", "exclude_modules": null}"#, vec![]),
            (r#"{"target_modules": ["q_proj"]}"#, vec![("target_modules", 1)]),
            (r#"{"exclude_modules": ["q_proj"]}"#, vec![("exclude_modules", 1)]),
            (r#"{"exclude_modules": ".*_proj"}"#, vec![("exclude_modules", 2)]),
            (r#"{"layers_to_transform": 1}"#, vec![("layers_to_transform", 1)]),
            (r#"{"layers_to_transform": [0, 1]}"#, vec![]),
            (r#"{"layers_to_transform": [0], "layers_pattern": "blocks"}"#, vec![("layers_to_transform", 2)]),
            (
                r#"{"layers_to_transform": [7], "layers_pattern": ["blocks", "layers"]}"#,
                vec![("layers_to_transform", 2)],
            ),
        ] {
            assert_eq!(ignored(json), expected, "{json}");
        }
    }
}
