//! Tables of results.

use loraloom::{
    Method,
    project::Difference,
    report::{CoefficientReport, MethodReport},
};

use super::output;

/// A table of methods.
pub fn methods(reports: &[MethodReport]) {
    let mut rows = vec![[
        "method".to_string(),
        "test".into(),
        "95 %".into(),
        "held out".into(),
        "95 %".into(),
        "folds".into(),
        "parameters".into(),
        "seconds".into(),
    ]];
    rows.extend(reports.iter().map(|report| {
        [
            report.method.clone(),
            percent(report.test_accuracy),
            interval(report.test_interval),
            percent(report.held_out_accuracy),
            interval(report.held_out_interval),
            report.held_out_accuracy.map_or("-".into(), |_| report.held_out_folds.to_string()),
            report.trainable_parameters.to_string(),
            format!("{:.1}", report.seconds),
        ]
    }));
    table(&rows);
}

/// A table of saved and replayed results.
pub fn differences(differences: &[Difference]) {
    let mut rows = vec![[
        "method".to_string(),
        "test: saved".into(),
        "replayed".into(),
        "held out: saved".into(),
        "replayed".into(),
        "largest difference of a probability".into(),
    ]];
    rows.extend(differences.iter().map(|own| {
        [
            own.method.clone(),
            percent(own.test_accuracy[0]),
            percent(own.test_accuracy[1]),
            percent(own.held_out_accuracy[0]),
            percent(own.held_out_accuracy[1]),
            own.probability.map_or("-".into(), |value| format!("{value:.1e}")),
        ]
    }));
    table(&rows);
}

/// A share in percent, or a dash.
pub fn percent(value: Option<f64>) -> String {
    value.map_or("-".into(), |value| format!("{:.1} %", 100.0 * value))
}

fn interval(ends: Option<[f64; 2]>) -> String {
    ends.map_or("-".into(), |[low, high]| format!("{:.0}-{:.0}", 100.0 * low, 100.0 * high))
}

/// Prints rows with aligned columns: the first one to the left, the others to the right.
pub fn table<R: AsRef<[String]>>(rows: &[R]) {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.as_ref().iter().map(|cell| output::escaped(cell)).collect()).collect();
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in &rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, width))| match column {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            })
            .collect();
        output::print(cells.join("  ").trim_end());
    }
}

/// What every composition is made of: a table of mean weights where they differ, a line where one says it all.
pub fn compositions(reports: &[MethodReport]) {
    let (mut columns, mut lines) = (Vec::new(), Vec::new());
    for report in reports {
        let Some(coefficients) = &report.coefficients else { continue };
        match made_of(&report.method, coefficients) {
            MadeOf::Nothing => {}
            MadeOf::Line(line) => lines.push(line),
            MadeOf::Weights => columns.push((&report.method, coefficients)),
        }
    }
    if let Some((_, first)) = columns.first() {
        let mut rows = vec![vec!["mean weight".to_string()]];
        rows[0].extend(columns.iter().map(|(method, _)| method.to_string()));
        rows.extend(first.modules.iter().enumerate().map(|(index, module)| {
            let means = columns
                .iter()
                .map(|(_, own)| own.means.get(index).map_or("-".into(), |mean| format!("{mean:.3}")));
            std::iter::once(module.clone()).chain(means).collect()
        }));
        output::print("");
        table(&rows);
    }
    if !lines.is_empty() {
        output::print("");
        lines.iter().for_each(|line| output::print(&output::escaped(line)));
    }
}

/// What there is to say of a composition.
enum MadeOf {
    /// Nothing that its name does not say.
    Nothing,
    Line(String),
    /// A weight per module.
    Weights,
}

fn made_of(method: &str, report: &CoefficientReport) -> MadeOf {
    match Method::from_name(method) {
        // The control's weights are of noise.
        Ok(Method::Uniform | Method::RandomModules) => MadeOf::Nothing,
        Ok(Method::UniformScaled) => {
            let scale: f32 = report.means.iter().sum();
            MadeOf::Line(format!("{method}: the mean of the modules times {scale:.1}"))
        }
        Ok(Method::BestModule) => {
            let best = report.modules.iter().zip(&report.means).max_by(|a, b| a.1.total_cmp(b.1));
            best.map_or(MadeOf::Nothing, |(module, _)| MadeOf::Line(format!("{method}: {module}")))
        }
        _ => MadeOf::Weights,
    }
}
