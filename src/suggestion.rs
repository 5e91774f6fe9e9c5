//! Which of several methods' results to take, where nobody says.

use std::cmp::{Ordering, Reverse};

use crate::{methods::registry::Method, report::MethodReport};

/// A result to take, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Suggestion<'a> {
    /// The result.
    pub report: &'a MethodReport,
    /// What speaks for it.
    pub why: Why,
}

/// Why a result is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// There is no other.
    Alone,
    /// Its held-out accuracy is the highest.
    HeldOut,
    /// So many other methods have the same held-out accuracy, and [`Method::PREFERENCE`] decides.
    Tied(usize),
    /// Nothing was held out, and [`Method::PREFERENCE`] decides: accuracy on training images says nothing, nearly every method
    /// gets all of them right.
    Unmeasured,
}

/// The result to take: the one with the highest held-out accuracy, of equals the first of [`Method::PREFERENCE`]. Methods
/// whose estimate was cut off come after those that have one, and the control after all. `None` without results.
pub fn suggested(reports: &[MethodReport]) -> Option<Suggestion<'_>> {
    let report = reports.iter().max_by(|a, b| compare_results(a, b))?;
    let is_tied = |other: &&MethodReport| {
        other.method != report.method
            && !is_control(other)
            && other.held_out_accuracy == report.held_out_accuracy
    };
    let why = match (reports.len(), report.held_out_accuracy) {
        (1, _) => Why::Alone,
        (_, None) => Why::Unmeasured,
        _ => match reports.iter().filter(is_tied).count() {
            0 => Why::HeldOut,
            others => Why::Tied(others),
        },
    };
    Some(Suggestion { report, why })
}

/// Which of two results to take: the greater one.
pub fn compare_results(left: &MethodReport, right: &MethodReport) -> Ordering {
    let rank = |report: &MethodReport| {
        let place = Method::PREFERENCE.iter().position(|method| method.name() == report.method);
        // Of equals the earlier one; a name of no method comes last.
        (!is_control(report), report.held_out_accuracy, Reverse(place.unwrap_or(Method::PREFERENCE.len())))
    };
    rank(left).partial_cmp(&rank(right)).unwrap_or(Ordering::Equal)
}

fn is_control(report: &MethodReport) -> bool {
    report.method == Method::RandomModules.name()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    /// A case that the page's own rule answers as well (`tests/page/parts.spec.js`).
    #[derive(Deserialize)]
    struct Case {
        name: String,
        takes: Option<String>,
        why: Option<String>,
        others: usize,
        results: Vec<Result>,
    }

    #[derive(Deserialize)]
    struct Result {
        method: String,
        held_out_accuracy: Option<f64>,
    }

    fn report(result: &Result) -> MethodReport {
        serde_json::from_value(serde_json::json!({
            "method": result.method, "held_out_accuracy": result.held_out_accuracy, "held_out_interval": null,
            "held_out_folds": 3, "test_accuracy": null, "test_interval": null, "train_accuracy": 1.0,
            "trainable_parameters": 1, "steps": 0, "seconds": 0.0, "losses": [], "head_refitted": false,
            "coefficients": null, "chosen_module": null, "confusion": null,
        }))
        .expect("a report")
    }

    #[test]
    fn the_result_that_is_taken_and_why() {
        let cases = include_str!("../tests/golden/suggestions.json");
        for case in serde_json::from_str::<Vec<Case>>(cases).expect("cases") {
            let reports: Vec<MethodReport> = case.results.iter().map(report).collect();
            let found = suggested(&reports);
            assert_eq!(
                found.as_ref().map(|found| &found.report.method),
                case.takes.as_ref(),
                "{}",
                case.name
            );
            let why = case.why.as_deref().map(|why| match why {
                "alone" => Why::Alone,
                "held-out" => Why::HeldOut,
                "tied" => Why::Tied(case.others),
                "unmeasured" => Why::Unmeasured,
                other => panic!("{other} is no reason"),
            });
            assert_eq!(found.map(|found| found.why), why, "{}", case.name);
        }
    }

    #[test]
    fn every_method_has_its_place() {
        let mut methods = Method::PREFERENCE;
        methods.sort_by_key(|method| Method::ALL.iter().position(|own| own == method));
        assert_eq!(methods, Method::ALL);
    }
}
