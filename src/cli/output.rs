//! What a person sees: errors, warnings, progress, tables.

use std::{
    fs::File,
    io::{ErrorKind, IsTerminal, Read, Write, stderr, stdout},
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget};
use loraloom::{
    Method,
    error::{Error, Result},
    experiment::results::Run,
    files::{check_writable, write_json},
    project::Difference,
    report::{CoefficientReport, MethodReport, Prediction},
    write_atomic,
};
use serde::Serialize;

/// Prints an error with its code.
pub fn error(error: &Error) {
    say("error", error);
}

/// Prints a warning with its code.
pub fn warning(error: &Error) {
    say("warning", error);
}

/// Prints what a person should know and is no fault.
pub fn note(text: &str) {
    // As with every message, a closed pipe is the reader's choice.
    let _ = writeln!(stderr(), "note: {text}");
}

fn say(kind: &str, error: &Error) {
    // Nothing sensible is left to do when stderr is closed.
    let _ = writeln!(stderr(), "{kind}[{}]: {error}", error.code());
}

/// Prints to standard output, or to standard error where JSON has the former.
pub fn print(text: &str) {
    let written = match JSON_ON_STDOUT.load(Ordering::Relaxed) {
        true => writeln!(stderr(), "{text}"),
        false => writeln!(stdout(), "{text}"),
    };
    // A closed pipe is the reader's choice. What is lost otherwise is told once, at the end.
    if let Err(error) = written
        && error.kind() != ErrorKind::BrokenPipe
        && let Ok(mut lost) = LOST.lock()
    {
        lost.get_or_insert(error);
    }
}

/// Whether standard output is for JSON.
static JSON_ON_STDOUT: AtomicBool = AtomicBool::new(false);

/// Why something could not be printed.
static LOST: Mutex<Option<std::io::Error>> = Mutex::new(None);

/// What `--json` calls standard output.
const STDOUT: &str = "-";

/// The error of what could not be printed, as on a full disk.
pub fn lost() -> Option<Error> {
    let error = LOST.lock().ok()?.take()?;
    Some(Error::io("write", Path::new("standard output"), error))
}

/// A progress bar on a terminal, nothing on a pipe.
pub fn bar(length: u64) -> ProgressBar {
    let target = match stderr().is_terminal() {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    };
    let bar = ProgressBar::with_draw_target(Some(length), target);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Moves a bar. Both numbers change at once: one after the other would show the old position of the new length.
pub fn advance(bar: &ProgressBar, done: u64, total: u64) {
    bar.update(|state| {
        state.set_len(total);
        state.set_pos(done);
    });
}

/// One line per finished method for a log; a terminal has the bar.
pub fn progress_line(done: usize, all: usize, report: &MethodReport) {
    if !stderr().is_terminal() {
        let (test, held_out) = (percent(report.test_accuracy), percent(report.held_out_accuracy));
        let MethodReport { method, seconds, .. } = report;
        // As with every message, a closed pipe is the reader's choice.
        let _ =
            writeln!(stderr(), "[{done}/{all}] {method}: test {test}, held out {held_out}, {seconds:.1} s");
    }
}

/// One line per finished run of a grid for a log; a terminal has the bar.
pub fn run_line(done: usize, all: usize, run: &Run) {
    if !stderr().is_terminal() {
        let (Run { task, seed, .. }, shots) = (run, run.shots.words());
        let (name, accuracy) = (run.method.name(), percent(Some(run.test_accuracy)));
        let seconds = run.seconds + run.test_seconds;
        let draw = run.draw.words();
        // As with every message, a closed pipe is the reader's choice.
        let _ = writeln!(
            stderr(),
            "[{done}/{all}] {task}, {shots}{draw}, seed {seed}, {name}: test {accuracy}, {seconds:.1} s"
        );
    }
}

/// Refuses a file for a report that cannot be written, or that holds something else, before hours are spent on it: whoever
/// forgets the file's name gives the first picture instead.
///
/// # Errors
/// The file, and what is wrong with it.
pub fn check_json(path: &Path) -> Result<()> {
    if path == Path::new(STDOUT) {
        JSON_ON_STDOUT.store(true, Ordering::Relaxed);
        return Ok(());
    }
    if path.is_dir() {
        return Err(Error::mismatch(path.display().to_string(), "--json is a folder; name a file in it"));
    }
    if path.exists() && !path.is_file() {
        return Ok(());
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    check_writable(folder.unwrap_or(Path::new(".")))?;
    let Ok(mut file) = File::open(path) else { return Ok(()) };
    let mut first = [0];
    let held = file.read(&mut first).is_ok_and(|read| read == 1);
    if held && !b"{[".contains(&first[0]) {
        let reason = "--json would replace it, and it is no JSON; name another file";
        return Err(Error::mismatch(path.display().to_string(), reason));
    }
    Ok(())
}

/// Writes a report if asked to.
///
/// # Errors
/// The file cannot be written.
pub fn json(path: Option<&Path>, report: &impl Serialize) -> Result<()> {
    match path {
        Some(path) if path == Path::new(STDOUT) => {
            let failed = |error: std::io::Error| Error::io("write", Path::new("standard output"), error);
            let text = serde_json::to_string_pretty(report).map_err(|error| failed(error.into()))?;
            writeln!(stdout(), "{text}").or_else(|error| match error.kind() {
                ErrorKind::BrokenPipe => Ok(()),
                _ => Err(failed(error)),
            })
        }
        Some(path) => write_json(path, report),
        None => Ok(()),
    }
}

/// Writes classes of images as CSV if asked to, one row each, with the class that an image is of where that is known.
///
/// # Errors
/// The file cannot be written.
pub fn csv<'a>(
    path: Option<&Path>,
    answers: impl Iterator<Item = (&'a Prediction, Option<&'a str>)>,
    top: usize,
) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    let mut text = String::new();
    for (prediction, class) in answers {
        if text.is_empty() {
            text += if class.is_some() { "image,class," } else { "image," };
            text += "rank,label,probability\n";
        }
        for (index, own) in prediction.top.iter().take(top).enumerate() {
            let (rank, probability) = ((index + 1).to_string(), own.probability.to_string());
            let known = [prediction.image.as_str()].into_iter().chain(class);
            let cells: Vec<String> =
                known.chain([&*rank, own.label.as_str(), &*probability]).map(quoted).collect();
            text += &cells.join(",");
            text.push('\n');
        }
    }
    write_atomic(path, text.as_bytes())
}

/// A cell of a CSV file, in quotes where RFC 4180 asks for them.
fn quoted(cell: &str) -> String {
    match cell.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell.into(),
    }
}

/// One line per image: its classes with their probabilities.
pub fn predictions(predictions: &[Prediction]) {
    for prediction in predictions {
        let classes: Vec<String> = prediction
            .top
            .iter()
            .map(|class| format!("{} {:.1} %", class.label, 100.0 * class.probability))
            .collect();
        print(&format!("{}: {}", prediction.image, classes.join(", ")));
    }
}

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

fn percent(value: Option<f64>) -> String {
    value.map_or("-".into(), |value| format!("{:.1} %", 100.0 * value))
}

fn interval(ends: Option<[f64; 2]>) -> String {
    ends.map_or("-".into(), |[low, high]| format!("{:.0}-{:.0}", 100.0 * low, 100.0 * high))
}

/// Prints rows with aligned columns: the first one to the left, the others to the right.
pub fn table<R: AsRef<[String]>>(rows: &[R]) {
    let columns = rows.first().map_or(0, |row| row.as_ref().len());
    let width =
        |column: usize| rows.iter().map(|row| row.as_ref()[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let cells: Vec<String> = row
            .as_ref()
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, width))| match column {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            })
            .collect();
        print(cells.join("  ").trim_end());
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
        print("");
        table(&rows);
    }
    if !lines.is_empty() {
        print("");
        lines.iter().for_each(|line| print(line));
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

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use indicatif::{ProgressStyle, TermLike};

    use super::*;

    /// A terminal that keeps all that was ever shown.
    #[derive(Clone, Debug, Default)]
    struct Shown(Arc<Mutex<String>>);

    impl TermLike for Shown {
        fn width(&self) -> u16 {
            80
        }

        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)
        }

        fn write_str(&self, text: &str) -> io::Result<()> {
            self.0.lock().expect("no panic").push_str(text);
            Ok(())
        }

        fn clear_line(&self) -> io::Result<()> {
            Ok(())
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_bar_never_shows_more_done_than_there_is() {
        let shown = Shown::default();
        let target = ProgressDrawTarget::term_like(Box::new(shown.clone()));
        let bar = ProgressBar::with_draw_target(Some(20), target);
        bar.set_style(ProgressStyle::with_template("<{pos}/{len}>").expect("a template"));
        for (done, total) in [(20, 20), (4, 12), (30, 40)] {
            advance(&bar, done, total);
        }
        bar.abandon();
        let text = shown.0.lock().expect("no panic").clone();
        assert!(text.contains("<20/20>") && text.contains("<4/12>") && text.contains("<30/40>"), "{text}");
        assert!(!text.contains("<20/12>") && !text.contains("<30/12>"), "{text}");
    }
}
