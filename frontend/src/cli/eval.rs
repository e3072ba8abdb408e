//! `cygnet eval`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::error::Error;
use crate::language::package::Package;
use crate::train::{Metrics, StoredWeights, TrainOptions, Trainer};

use super::common::{Execution, Settings, base_of, load_package};
use super::console::{Console, Failure};
use super::results;

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

/// Sets what the recipe was trained with, unless it is set already.
fn restore_settings(
    package: &Package,
    arguments: &Arguments,
    stored: &StoredWeights,
    settings: &mut BTreeMap<String, String>,
) {
    let chosen = package
        .recipes()
        .filter(|recipe| arguments.recipe.as_ref().is_none_or(|name| recipe.name.name == *name));
    for recipe in chosen {
        for (name, value) in stored.recipe_settings(&recipe.name.name) {
            if recipe.parameters.iter().any(|parameter| parameter.name.name == name) {
                settings.entry(name).or_insert(value);
            }
        }
    }
}

/// Evaluates weights on the test samples of a recipe.
pub fn run(arguments: &Arguments, console: &Console) -> Result<(), Failure> {
    let session = arguments.execution.options()?;
    let package = load_package(&arguments.file, console)?;
    let recipe = arguments.recipe.as_deref();
    let fail = |error: Error| Failure::new(&error, package.sources());
    let mut settings = arguments.settings.to_map();
    let stored = StoredWeights::read(&arguments.weights).map_err(fail)?;
    restore_settings(&package, arguments, &stored, &mut settings);
    let scales = (!stored.scales.is_empty()).then_some(stored.scales);
    let options = TrainOptions { settings, session, scales, ..TrainOptions::default() };
    let mut trainer =
        Trainer::new(&package, recipe, &base_of(&arguments.file), options).map_err(fail)?;
    trainer.load(&arguments.weights).map_err(fail)?;
    let result = trainer.evaluate().map_err(fail)?;
    if arguments.json {
        console.print_json(&Evaluated { event: "evaluated", metrics: result });
    } else {
        console.print(&results::line(&result));
        results::tables(&result).iter().for_each(|table| console.print(table));
    }
    Ok(())
}
