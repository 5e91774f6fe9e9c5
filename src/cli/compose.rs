//! `compose`: the weighted sum of PEFT LoRA adapters, written as one adapter.

use std::{collections::BTreeMap, fs, path::PathBuf};

use loraloom::{
    ComposeReport, Dialect, Form, compose,
    error::{Error, Result},
    files::check_writable,
    report::{Warning, count},
    session::{
        files::file_digest,
        place::{ADAPTER_WEIGHTS, COMPOSITION, check_composition_place},
    },
};
use serde::Serialize;

use super::{
    Outcome,
    args::{ComposeArgs, FormName},
    model, output,
};

/// `composition.json`: where a composition comes from.
#[derive(Serialize)]
struct Card<'a> {
    adapters: &'a [PathBuf],
    weights: &'a [f64],
    form: &'static str,
    rank: Option<usize>,
    relative_error: f64,
    left_out: Vec<String>,
    kept: Option<&'a KeptLine>,
}

#[derive(Serialize)]
struct Report {
    modules: Vec<ModuleLine>,
    relative_error: f64,
    left_out: Vec<String>,
    kept: Option<KeptLine>,
    warnings: Vec<Warning>,
}

#[derive(Serialize)]
struct ModuleLine {
    path: String,
    rank: usize,
    relative_error: f64,
}

/// Heads that only one adapter has: they are in the sum as they are, whatever its weight.
#[derive(Serialize)]
struct KeptLine {
    adapter: PathBuf,
    modules: Vec<String>,
}

/// Weights of a mean.
const UNIFORM: &str = "uniform";

/// What factors of single precision lose anyway.
const ROUNDING: f64 = 1e-7;

/// Runs the command.
///
/// # Errors
/// An adapter cannot be read or has options that cannot be summed, or the folder cannot be written.
pub fn run(arguments: &ComposeArgs) -> Result<Outcome> {
    let adapters: Vec<PathBuf> =
        arguments.adapters.iter().map(|path| model::adapter_dir(path)).collect::<Result<_>>()?;
    let weights = weights(&arguments.weights, adapters.len())?;
    let whole = |path: &PathBuf| fs::canonicalize(path).ok();
    if whole(&arguments.out).is_some_and(|out| adapters.iter().any(|own| whole(own).as_ref() == Some(&out))) {
        return Err(Error::mismatch(
            "--out",
            "it is one of --adapters and would be overwritten; name another folder",
        ));
    }
    if weights.iter().all(|weight| *weight == 0.0) {
        return Err(Error::mismatch("--weights", "all are 0, and the sum would change nothing"));
    }
    check_writable(&arguments.out)?;
    check_composition_place(&arguments.out)?;
    let names = arguments.names.map(Dialect::from);
    let mut report = compose(&adapters, &weights, form(arguments)?, names, &arguments.out)?;
    // Who gives each a weight of its own means it.
    if arguments.weights == UNIFORM {
        report.warnings.extend(copies(&arguments.adapters, &adapters)?);
    }
    let kept = report.kept.as_ref().map(|(adapter, modules)| KeptLine {
        adapter: arguments.adapters[*adapter].clone(),
        modules: modules.clone(),
    });
    let card = Card {
        adapters: &arguments.adapters,
        weights: &weights,
        form: if arguments.form == FormName::Cat { "cat" } else { "svd" },
        rank: arguments.rank,
        relative_error: report.relative_error,
        left_out: report.left_out.iter().cloned().collect(),
        kept: kept.as_ref(),
    };
    output::json(Some(&arguments.out.join(COMPOSITION)), &card)?;
    report.warnings.iter().for_each(output::warning);
    output::print(&summary(arguments, &report, kept.as_ref()));
    let outcome = if report.warnings.is_empty() { Outcome::Fine } else { Outcome::Warned };
    let lines = report.modules.into_iter().map(|module| ModuleLine {
        path: module.path,
        rank: module.rank,
        relative_error: module.relative_error,
    });
    let report = Report {
        modules: lines.collect(),
        relative_error: report.relative_error,
        left_out: report.left_out.into_iter().collect(),
        kept,
        warnings: report.warnings.iter().map(Warning::from).collect(),
    };
    output::json(arguments.json.as_deref(), &report)?;
    Ok(outcome)
}

/// Warnings where an adapter is another one's copy, by the files of their weights; `named` is what a person called them.
fn copies(named: &[PathBuf], adapters: &[PathBuf]) -> Result<Vec<Error>> {
    let mut known = BTreeMap::new();
    let mut found = Vec::new();
    for (name, dir) in named.iter().zip(adapters) {
        if let Some(twin) = known.insert(file_digest(&dir.join(ADAPTER_WEIGHTS))?, name) {
            let reason = if twin == name {
                "it is named twice, and counts twice in the mean".into()
            } else {
                format!(
                    "its weights are those of {}, which count twice in the mean; leave one out",
                    twin.display()
                )
            };
            found.push(Error::mismatch(name.display().to_string(), reason));
        }
    }
    Ok(found)
}

fn weights(text: &str, adapters: usize) -> Result<Vec<f64>> {
    if text == UNIFORM {
        return Ok(vec![1.0 / adapters as f64; adapters]);
    }
    let weights: Vec<f64> = text
        .split(',')
        .map(|weight| {
            weight.trim().parse().map_err(|_| {
                Error::mismatch(
                    "--weights",
                    format!("{weight} is not a number; give `uniform` or e.g. 0.7,0.3"),
                )
            })
        })
        .collect::<Result<_>>()?;
    if weights.len() != adapters {
        let (adapters, weights) =
            (count(adapters, "adapter", "adapters"), count(weights.len(), "weight", "weights"));
        let reason = format!("{adapters} and {weights}; give one weight per adapter");
        return Err(Error::mismatch("--weights", reason));
    }
    Ok(weights)
}

fn form(arguments: &ComposeArgs) -> Result<Form> {
    match (arguments.form, arguments.rank) {
        (FormName::Cat, None) => Ok(Form::Cat),
        (FormName::Cat, Some(_)) => {
            Err(Error::mismatch("--rank", "it belongs to --form svd; `cat` is exact"))
        }
        (FormName::Svd, Some(rank)) => Ok(Form::Svd { rank }),
        (FormName::Svd, None) => Err(Error::mismatch("--form svd", "give the rank with --rank")),
    }
}

fn summary(arguments: &ComposeArgs, report: &ComposeReport, kept: Option<&KeptLine>) -> String {
    let largest = report.modules.iter().map(|module| module.rank).max().unwrap_or(0);
    let left_out: Vec<&str> = report.left_out.iter().map(String::as_str).collect();
    let without = match left_out[..] {
        [] => String::new(),
        _ => format!("; without {}: those of several adapters cannot be summed", left_out.join(", ")),
    };
    let with = kept.map_or(String::new(), |own| {
        format!("; with the {} of {}, as it is", own.modules.join(", "), own.adapter.display())
    });
    let exactly = match report.relative_error {
        error if error < ROUNDING => "the exact sum".to_string(),
        error => format!("{:.1} % of the sum's norm is lost", 100.0 * error),
    };
    format!(
        "wrote {} of rank up to {largest} to {}; {exactly}{with}{without}",
        count(report.modules.len(), "layer", "layers"),
        arguments.out.display(),
    )
}
