//! Which of several methods' results to take, where nobody says.

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There is no other.
    Alone,
    /// No other has a higher held-out accuracy.
    HeldOut,
    /// Another one's held-out accuracy is higher by less than its standard error, and [`Method::PREFERENCE`] decides.
    Near,
    /// Nothing was held out, and [`Method::PREFERENCE`] decides: accuracy on training images says nothing, nearly every method
    /// gets all of them right.
    Unmeasured,
}

/// The result to take: of those whose held-out accuracy is within one standard error of the highest, the first of
/// [`Method::PREFERENCE`]. A few images cannot tell methods apart that differ by less, and what many other tasks say counts
/// for more. (The rule of Breiman et al., "Classification and Regression Trees" (1984), 3.4.3, with the preferred
/// in place of the simplest.) Methods whose estimate was cut off come after those that have one, and the control after all.
/// `None` without results.
pub fn suggested(reports: &[MethodReport]) -> Option<Suggestion<'_>> {
    let mut rivals: Vec<&MethodReport> = reports.iter().filter(|report| !is_control(report)).collect();
    if rivals.is_empty() {
        rivals = reports.iter().collect();
    }
    rivals.sort_by_key(|report| place(report));
    let highest = rivals.iter().filter_map(|report| report.held_out_accuracy).max_by(f64::total_cmp);
    let best = rivals.iter().find(|report| report.held_out_accuracy == highest)?;
    let least = highest.map(|accuracy| accuracy - standard_error(best));
    let report = *rivals.iter().find(|report| report.held_out_accuracy >= least)?;
    let why = match report.held_out_accuracy {
        _ if reports.len() == 1 => Why::Alone,
        None => Why::Unmeasured,
        own if own == highest => Why::HeldOut,
        _ => Why::Near,
    };
    Some(Suggestion { report, why })
}

/// Whether a result cannot be taken as long as another one is there, whatever comes besides: that one is preferred, and its
/// held-out accuracy is no lower.
pub fn is_outdone(report: &MethodReport, by: &MethodReport) -> bool {
    place(by) < place(report) && by.held_out_accuracy >= report.held_out_accuracy
}

/// Where a result stands in [`Method::PREFERENCE`]; a name of no method comes last.
fn place(report: &MethodReport) -> usize {
    let place = Method::PREFERENCE.iter().position(|method| method.name() == report.method);
    place.unwrap_or(Method::PREFERENCE.len())
}

/// Of the held-out accuracy, from its 95 % interval.
fn standard_error(report: &MethodReport) -> f64 {
    report.held_out_interval.map_or(0.0, |[low, high]| (high - low) / (2.0 * 1.96))
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
        results: Vec<Result>,
    }

    #[derive(Deserialize)]
    struct Result {
        method: String,
        held_out_accuracy: Option<f64>,
        held_out_interval: Option<[f64; 2]>,
    }

    fn report(result: &Result) -> MethodReport {
        serde_json::from_value(serde_json::json!({
            "method": result.method, "held_out_accuracy": result.held_out_accuracy,
            "held_out_interval": result.held_out_interval,
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
                "near" => Why::Near,
                "unmeasured" => Why::Unmeasured,
                other => panic!("{other} is no reason"),
            });
            assert_eq!(found.as_ref().map(|found| found.why), why, "{}", case.name);
            let taken = found.map(|found| found.report);
            let is_lost = |own: &&MethodReport| {
                reports.iter().any(|other| taken == Some(*own) && is_outdone(own, other))
            };
            assert_eq!(reports.iter().find(is_lost), None, "{}: what is taken is kept", case.name);
        }
    }

    #[test]
    fn every_method_has_its_place() {
        let mut methods = Method::PREFERENCE;
        methods.sort_by_key(|method| Method::ALL.iter().position(|own| own == method));
        assert_eq!(methods, Method::ALL);
    }
}
