//! Commands, their arguments, and exit codes: 0 fine, 1 finished with warnings, 2 failed.

mod adapt;
mod args;
mod classify;
mod compose;
mod destination;
mod experiment;
mod forward;
mod info;
mod interrupt;
mod model;
mod output;
mod predict;
mod pretrain;
mod replay;
mod score;
mod settings;
mod tables;
mod train_module;

use std::process::ExitCode;

use clap::{FromArgMatches, error::ErrorKind};
use loraloom::error::Result;

use args::{Arguments, Command};

/// Whether a command finished with warnings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything went as asked.
    Fine,
    /// Something was left out or stopped; stderr says what.
    Warned,
}

/// Runs the command line and returns the process's exit code.
pub fn run() -> ExitCode {
    let mut command = args::command();
    let parsed = command.try_get_matches_from_mut(std::env::args_os());
    let arguments = match parsed.and_then(|matches| Arguments::from_arg_matches(&matches)) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are answers, not failures.
            let answer = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            // A closed pipe is the reader's choice.
            let _ = error.print();
            return ExitCode::from(if answer { 0 } else { 2 });
        }
    };
    let result = dispatch(arguments);
    // What a command says of itself first.
    match result.and_then(|outcome| output::lost().map_or(Ok(outcome), Err)) {
        Ok(Outcome::Fine) => ExitCode::SUCCESS,
        Ok(Outcome::Warned) => ExitCode::from(1),
        Err(error) => {
            output::error(&error);
            ExitCode::from(2)
        }
    }
}

fn dispatch(arguments: Arguments) -> Result<Outcome> {
    destination::check(&arguments.command)?;
    match arguments.command {
        Command::Adapt(arguments) => adapt::run(&arguments),
        Command::Predict(arguments) => predict::run(&arguments),
        Command::Classify(arguments) => classify::run(&arguments),
        Command::Forward(arguments) => forward::run(&arguments),
        Command::Compose(arguments) => compose::run(&arguments),
        Command::TrainModule(arguments) => train_module::run(&arguments),
        Command::Experiment(arguments) => experiment::run(&arguments),
        Command::Pretrain(arguments) => pretrain::run(&arguments),
        Command::Replay(arguments) => replay::run(&arguments),
        Command::Info(arguments) => info::run(&arguments),
        Command::Completions { shell } => {
            completions(shell);
            Ok(Outcome::Fine)
        }
    }
}

/// The generator would panic at a closed pipe, so it writes to memory.
fn completions(shell: clap_complete::Shell) {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::command(), "loraloom", &mut script);
    output::print(String::from_utf8_lossy(&script).trim_end());
}
