//! The command line. Progress goes to stderr, results to stdout; `--json` prints one JSON object
//! a line. Exit codes: 0 done, 1 the work failed, 2 wrong usage.

mod bench;
mod check;
mod common;
mod console;
mod eval;
mod feed;
mod fmt;
mod gradcheck;
mod inspect;
mod progress;
mod results;
mod run;
mod train;
mod tune;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use console::Console;

/// A small language for neural networks, compiled to native CPU code as one optimized graph.
#[derive(Parser)]
#[command(name = "cygnet", version, propagate_version = true)]
struct Command {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Check a file: names, shapes, parameters. Runs nothing
    Check(check::Arguments),
    /// Train a recipe
    Train(train::Arguments),
    /// Search settings of a recipe: trainings side by side, compared on samples held out
    Tune(tune::Arguments),
    /// Evaluate trained weights on a recipe's test samples
    Eval(eval::Arguments),
    /// Run a model on arrays
    Run(run::Arguments),
    /// Measure the time of a training step or of inference
    Bench(bench::Arguments),
    /// Check gradients against finite differences, on random sizes and values
    Gradcheck(gradcheck::Arguments),
    /// Show a stage of compilation: source, graphs, kernels, memory, machine code
    Inspect(inspect::Arguments),
    /// Format files
    Fmt(fmt::Arguments),
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let command = Command::parse();
    let console = Console::new();
    let outcome = match &command.task {
        Task::Check(arguments) => check::run(arguments, &console),
        Task::Train(arguments) => train::run(arguments, &console),
        Task::Tune(arguments) => tune::run(arguments, &console),
        Task::Eval(arguments) => eval::run(arguments, &console),
        Task::Run(arguments) => run::run(arguments, &console),
        Task::Bench(arguments) => bench::run(arguments, &console),
        Task::Gradcheck(arguments) => gradcheck::run(arguments, &console),
        Task::Inspect(arguments) => inspect::run(arguments, &console),
        Task::Fmt(arguments) => fmt::run(arguments, &console),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            console.report(&failure);
            failure.exit_code()
        }
    }
}
