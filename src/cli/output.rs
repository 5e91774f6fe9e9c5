//! What a person sees: errors, warnings, progress, tables.

use std::{
    io::{ErrorKind, IsTerminal, Write, stderr, stdout},
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget};
use loraloom::{
    error::{Error, Result},
    experiment::results::Run,
    files::write_json,
    report::{MethodReport, Prediction},
    write_atomic,
};
use serde::Serialize;

use super::{destination::STDOUT, tables};

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
    let _ = writeln!(stderr(), "note: {}", escaped(text));
}

fn say(kind: &str, error: &Error) {
    let text = error.to_string();
    let text = match error {
        // What a driver says has several lines.
        Error::Device { .. } => lines(&text),
        _ => escaped(&text),
    };
    // Nothing sensible is left to do when stderr is closed.
    let _ = writeln!(stderr(), "{kind}[{}]: {text}", error.code());
}

/// Text with its control characters written out: file names may hold them, and a terminal would obey.
pub fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character.is_control() {
            true => shown.extend(character.escape_default()),
            false => shown.push(character),
        }
    }
    shown
}

/// As [`escaped`], of text that has several lines itself.
fn lines(text: &str) -> String {
    text.split('\n').map(escaped).collect::<Vec<_>>().join("\n")
}

/// Prints to standard output, or to standard error where JSON has the former.
pub fn print(text: &str) {
    let text = lines(text);
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

/// Keeps standard output for JSON.
pub fn give_stdout_to_json() {
    JSON_ON_STDOUT.store(true, Ordering::Relaxed);
}

/// Whether standard output is for JSON.
static JSON_ON_STDOUT: AtomicBool = AtomicBool::new(false);

/// Why something could not be printed.
static LOST: Mutex<Option<std::io::Error>> = Mutex::new(None);

/// The error of what could not be printed, as on a full disk.
pub fn lost() -> Option<Error> {
    LOST.lock().ok()?.take().map(unprinted)
}

fn unprinted(error: std::io::Error) -> Error {
    Error::io("write", Path::new("standard output"), error)
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
        let (test, held_out) =
            (tables::percent(report.test_accuracy), tables::percent(report.held_out_accuracy));
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
        let task = escaped(task);
        let (name, accuracy) = (run.method.name(), tables::percent(Some(run.test_accuracy)));
        let seconds = run.seconds + run.test_seconds;
        let draw = run.draw.words();
        // As with every message, a closed pipe is the reader's choice.
        let _ = writeln!(
            stderr(),
            "[{done}/{all}] {task}, {shots}{draw}, seed {seed}, {name}: test {accuracy}, {seconds:.1} s"
        );
    }
}

/// Writes a report if asked to.
///
/// # Errors
/// The file cannot be written.
pub fn json(path: Option<&Path>, report: &impl Serialize) -> Result<()> {
    match path {
        Some(path) if path == Path::new(STDOUT) => {
            let text = serde_json::to_string_pretty(report).map_err(|error| unprinted(error.into()))?;
            writeln!(stdout(), "{text}").or_else(|error| match error.kind() {
                ErrorKind::BrokenPipe => Ok(()),
                _ => Err(unprinted(error)),
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

/// One line per image: its classes with their probabilities, and whether the first one is below `unsure`.
pub fn predictions(predictions: &[Prediction], unsure: Option<f32>) {
    for prediction in predictions {
        let classes: Vec<String> = prediction
            .top
            .iter()
            .map(|class| format!("{} {:.1} %", class.label, 100.0 * class.probability))
            .collect();
        let unsure = if prediction.is_sure(unsure) { "" } else { "not sure: " };
        print(&escaped(&format!("{}: {unsure}{}", prediction.image, classes.join(", "))));
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
