//! Tables and numbers as Markdown.

use super::statistics::Interval;

/// A table from its head and rows; the first column is set to the left.
pub fn table(head: &[String], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let rule = format!("| --- |{}\n", " ---: |".repeat(head.len().saturating_sub(1)));
    let rows: String = rows.iter().map(|row| line(row)).collect();
    format!("{}{rule}{rows}\n", line(head))
}

/// A share as a percentage.
pub fn percent(value: f64) -> String {
    format!("{:.1}", 100.0 * value)
}

/// A difference in points with its interval.
pub fn points(interval: Option<Interval>) -> String {
    // What rounding leaves of nothing has a sign of its own.
    let percent = |share: f64| if share.abs() < 1e-9 { 0.0 } else { 100.0 * share };
    let show = |one: Interval| {
        let [mean, low, high] = [one.mean, one.low, one.high].map(percent);
        format!("{mean:+.1} [{low:+.1}, {high:+.1}]")
    };
    interval.map_or("-".into(), show)
}

/// A value with some digits, or a dash.
pub fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or("-".into(), |value| format!("{value:.digits$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_cannot_break_a_table() {
        let text = table(&["a".into(), "b".into()], &[vec!["x|y".into(), "1".into()]]);
        assert_eq!(text, "| a | b |\n| --- | ---: |\n| x\\|y | 1 |\n\n");
        let interval = Interval { mean: 0.081, low: -0.01, high: 0.1, count: 3 };
        assert_eq!(points(Some(interval)), "+8.1 [-1.0, +10.0]");
        let nothing = Interval { mean: -2.7e-15, low: -1e-12, high: 1e-12, count: 3 };
        assert_eq!(points(Some(nothing)), "+0.0 [+0.0, +0.0]");
        assert_eq!((points(None), number(Some(1.25), 1)), ("-".into(), "1.2".into()));
    }
}
