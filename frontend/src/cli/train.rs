//! `cygnet train`.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::error::Error;
use crate::train::{Summary, TrainAndTest, TrainOptions, Trainer};

use super::common::{Execution, Settings, base_of, load_package, share};
use super::console::{Console, Failure};
use super::progress::Progress;
use super::results;

/// Arguments of `cygnet train`.
#[derive(Args)]
pub struct Arguments {
    /// The .cyg file
    file: PathBuf,
    /// The recipe; may be left out if the file has one
    recipe: Option<String>,
    /// Passes over the training samples
    #[arg(long)]
    epochs: Option<usize>,
    /// Samples per step
    #[arg(long)]
    batch: Option<usize>,
    #[command(flatten)]
    settings: Settings,
    /// Seed of initial weights, order of samples and random streams
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Hold out this part of the training samples and evaluate on it, not on the test samples
    #[arg(long, value_name = "SHARE", value_parser = share)]
    validate: Option<f64>,
    #[command(flatten)]
    execution: Execution,
    /// Where to save the weights; runs/RECIPE if not given
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// The last line of `--json`.
#[derive(Serialize)]
struct Finished<'a> {
    event: &'static str,
    #[serde(flatten)]
    summary: &'a Summary,
    weights: String,
}

/// Trains a recipe and saves its weights.
pub fn run(arguments: &Arguments, console: &Console) -> Result<(), Failure> {
    let execution = arguments.execution.options()?;
    let package = load_package(&arguments.file, console)?;
    let mut settings = arguments.settings.to_map();
    for (name, value) in [("epochs", arguments.epochs), ("batch", arguments.batch)] {
        if let Some(value) = value {
            settings.insert(name.to_owned(), value.to_string());
        }
    }
    let fail = |error: Error| Failure::new(&error, package.sources());
    let options = TrainOptions {
        settings,
        seed: arguments.seed,
        session: execution,
        validate: arguments.validate,
        ..TrainOptions::default()
    };
    let recipe = arguments.recipe.as_deref();
    let mut trainer =
        Trainer::new(&package, recipe, &base_of(&arguments.file), options).map_err(fail)?;
    let name = &trainer.recipe().plan.name;
    let out = arguments.out.clone().unwrap_or_else(|| PathBuf::from("runs").join(name));
    std::fs::create_dir_all(&out).map_err(|error| {
        Error::request(format!("{}: {error}", out.display()), "choose another --out")
    })?;
    let weights = out.join("weights.safetensors");

    let mut progress = Progress::new();
    let outcome = trainer.run(|event| {
        if arguments.json {
            if !matches!(event, crate::train::Event::Step { .. }) {
                console.print_json(event);
            }
        } else {
            progress.show(event);
        }
    });
    progress.finish();
    let summary = match outcome {
        Ok(summary) => summary,
        Err(error) => {
            trainer.save(&weights).map_err(fail)?;
            eprintln!("the last good weights are in {}", weights.display());
            return Err(fail(error));
        }
    };
    trainer.save(&weights).map_err(fail)?;
    if arguments.json {
        let weights = weights.display().to_string();
        console.print_json(&Finished { event: "finished", summary: &summary, weights });
    } else {
        let TrainAndTest { train, test, validation } = &summary.metrics;
        for (name, held_out) in [("test", test), ("validation", validation)] {
            if let Some(metrics) = held_out {
                console.print(&format!("{name}  {}", results::line(metrics)));
            }
        }
        let shown = test.as_ref().or(validation.as_ref()).unwrap_or(train);
        results::tables(shown).iter().for_each(|table| console.print(table));
        console.print(&format!("weights saved to {}", weights.display()));
    }
    Ok(())
}
