//! `cygnet train`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::error::Error;
use crate::language::bindings::Bindings;
use crate::language::recipe::plan_recipe;
use crate::train::{Checkpoint, Summary, TrainAndTest, TrainOptions, Trainer, Validation};

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
    /// Seed of initial weights, order of samples and random streams; 0 if not given
    #[arg(long)]
    seed: Option<u64>,
    /// Hold out this part of the training samples and evaluate on it, not on the test samples
    #[arg(long, value_name = "SHARE", value_parser = share)]
    validate: Option<f64>,
    #[command(flatten)]
    execution: Execution,
    /// Where to save the weights; runs/RECIPE if not given
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Batches between checkpoints; some time and an epoch if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    checkpoint_every: Option<u64>,
    /// Go on with the run that was saved to this folder, with its settings and seed
    #[arg(long, value_name = "DIR")]
    resume: Option<PathBuf>,
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
    let fail = |error: Error| Failure::new(&error, package.sources());
    let resumed = arguments.resume.as_deref().map(Checkpoint::read).transpose().map_err(fail)?;
    let mut settings = BTreeMap::new();
    if let Some(checkpoint) = &resumed {
        settings = checkpoint.settings.clone();
        if arguments.seed.is_some_and(|seed| seed != checkpoint.seed) {
            return Err(Failure::usage(
                format!("the run to go on with has the seed {}", checkpoint.seed),
                "leave out --seed",
            ));
        }
    }
    settings.extend(arguments.settings.to_map());
    for (name, value) in [("epochs", arguments.epochs), ("batch", arguments.batch)] {
        if let Some(value) = value {
            settings.insert(name.to_owned(), value.to_string());
        }
    }
    let recipe = match (&arguments.recipe, &resumed) {
        (None, Some(checkpoint)) => Some(checkpoint.conditions.recipe.clone()),
        (given, _) => given.clone(),
    };
    let out = match (&arguments.out, &arguments.resume) {
        (Some(folder), _) | (None, Some(folder)) => folder.clone(),
        (None, None) => {
            let bindings = Bindings { settings: settings.clone(), ..Bindings::default() };
            let plan = plan_recipe(&package, recipe.as_deref(), &bindings);
            PathBuf::from("runs").join(plan.map_err(|found| fail(found.into()))?.name)
        }
    };
    let options = TrainOptions {
        settings,
        seed: resumed.as_ref().map_or(arguments.seed.unwrap_or(0), |checkpoint| checkpoint.seed),
        session: execution,
        out: Some(out.clone()),
        checkpoint_every: arguments.checkpoint_every.map(|every| every as usize),
        validate: arguments.validate.map(Validation::Share),
        ..TrainOptions::default()
    };
    let base = base_of(&arguments.file);
    let mut trainer = Trainer::new(&package, recipe.as_deref(), &base, options).map_err(fail)?;
    if let Some(checkpoint) = resumed {
        trainer.resume(checkpoint).map_err(fail)?;
    }
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
