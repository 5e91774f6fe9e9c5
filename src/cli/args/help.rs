//! Help that says what training takes where an option is absent. The values are read off the library's own configurations, by the
//! options' names, so that the help cannot drift from them.

use std::collections::BTreeMap;

use clap::{Arg, Command, CommandFactory};
use loraloom::{Method, pretrain::config::PretrainConfig, session::config::AdaptConfig};
use serde::Serialize;
use serde_json::Value;

use super::Arguments;
use crate::cli::{experiment, train_module};

/// The command line with defaults in its help.
pub fn command() -> Command {
    let with = |command: Command, name: &'static str, values: BTreeMap<String, String>| {
        command.mut_subcommand(name, |own| own.mut_args(|arg| explained(arg, &values)))
    };
    let command = with(Arguments::command(), "adapt", values(&AdaptConfig::default()));
    let command = with(command, "train-module", values(&train_module::defaults()));
    let command = with(command, "experiment", values(&experiment::defaults()));
    let command = with(command, "pretrain", values(&PretrainConfig::default()));
    let command = command.mut_subcommand("predict", |own| own.mut_args(of_labelled));
    // A number below 0 is told by the option that it is given to, and not taken for an option.
    command.mut_subcommands(|own| own.mut_args(|arg| arg.allow_negative_numbers(true))).max_term_width(WIDTH)
}

/// Widest lines of help, in characters.
const WIDTH: usize = 120;

/// Help that says what an option does of labelled images, too.
fn of_labelled(arg: Arg) -> Arg {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    match LABELLED.iter().find(|(option, _)| arg.get_id() == option) {
        Some((_, more)) => arg.help(format!("{help}; {more}")),
        None => arg,
    }
}

/// What options that `classify` has, too, do where `predict` is asked about labelled images.
const LABELLED: [(&str, &str); 2] = [
    ("csv", "with --test `class` comes after `image`"),
    ("unsure", "with --test say how many images are left, and how many of those are right"),
];

fn explained(arg: Arg, values: &BTreeMap<String, String>) -> Arg {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    if arg.get_id() == "methods" {
        let names: Vec<&str> = Method::ALL.iter().map(|method| method.name()).collect();
        return arg.help(format!("{help}. There are {}", names.join(", ")));
    }
    match values.get(arg.get_id().as_str()) {
        Some(value) if arg.get_action().takes_values() && arg.get_default_values().is_empty() => {
            arg.help(format!("{help} [default: {value}]"))
        }
        _ => arg,
    }
}

/// What a configuration holds by the names of the options that set it.
fn values<T: Serialize>(config: &T) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    // By way of text, which has single precision's own digits.
    let text = serde_json::to_string(config).unwrap_or_default();
    gather(&serde_json::from_str(&text).unwrap_or_default(), &mut found);
    let moved = found.remove("num_steps");
    found.extend(moved.map(|steps| ("steps".into(), steps)));
    // None are not written.
    found.entry("views".into()).or_insert_with(|| "0".into());
    found.entry("multi_crop".into()).or_insert_with(|| "false".into());
    // It follows the rank, which its help says.
    found.remove("alpha");
    found
}

fn gather(config: &Value, found: &mut BTreeMap<String, String>) {
    for (name, value) in config.as_object().into_iter().flatten() {
        let shown = match value {
            Value::Object(_) => {
                gather(value, found);
                continue;
            }
            Value::Array(items) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
            Value::String(text) => text.clone(),
            Value::Null => continue,
            other => other.to_string(),
        };
        found.insert(name.clone(), shown);
    }
}
