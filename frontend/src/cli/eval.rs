//! `cygnet eval`.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::error::Error;
use crate::train::{Metrics, TrainOptions, Trainer};

use super::common::{Execution, Settings, base_of, load_package};
use super::console::{Console, Failure};
use super::progress::metrics;

/// Arguments of `cygnet eval`.
#[derive(Args)]
pub struct Arguments {
    /// The .cyg file
    file: PathBuf,
    /// The recipe; may be left out if the file has one
    recipe: Option<String>,
    /// Trained weights
    #[arg(long, value_name = "FILE.safetensors")]
    weights: PathBuf,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    execution: Execution,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Evaluated {
    event: &'static str,
    metrics: Metrics,
}

/// Evaluates weights on the test samples of a recipe.
pub fn run(arguments: &Arguments, console: &Console) -> Result<(), Failure> {
    let session = arguments.execution.options()?;
    let package = load_package(&arguments.file, console)?;
    let recipe = arguments.recipe.as_deref();
    let fail = |error: Error| Failure::new(&error, package.sources());
    let options = TrainOptions { settings: arguments.settings.to_map(), seed: 0, session };
    let mut trainer =
        Trainer::new(&package, recipe, &base_of(&arguments.file), options).map_err(fail)?;
    trainer.load(&arguments.weights).map_err(fail)?;
    let result = trainer.evaluate().map_err(fail)?;
    if arguments.json {
        console.print_json(&Evaluated { event: "evaluated", metrics: result });
    } else {
        console.print(&metrics(&result));
    }
    Ok(())
}
