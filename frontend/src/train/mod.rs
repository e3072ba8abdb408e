//! Training: running a recipe on its data.

mod batches;
mod checkpoint;
mod evaluation;
mod metrics;
mod non_finite;
mod plateau;
mod samples;
mod showing;
mod steps;
mod trainer;
mod transfer;
mod weights;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use crate::data::load::Loaded;
use crate::data::scale::Scale;
use crate::error::Error;
use crate::language::bindings::Bindings;
use crate::language::package::Package;
use crate::language::program::RecipePlan;
use crate::language::recipe::plan_recipe;
use crate::session::SessionOptions;

pub use checkpoint::{CHECKPOINT, Checkpoint, Conditions};
pub use evaluation::Evaluation;
pub use metrics::{MetricValue, Metrics};
pub use samples::Samples;
pub use trainer::Trainer;
pub use weights::{StoredWeights, load_weights, save_weights};

/// What a training run is asked for.
#[derive(Clone, Debug, Default)]
pub struct TrainOptions {
    /// Recipe parameters, `batch` and `epochs`, as `NAME=VALUE` sets them.
    pub settings: BTreeMap<String, String>,
    /// Seed of initial weights, order of samples and random streams.
    pub seed: u64,
    /// Compilation and threads.
    pub session: SessionOptions,
    /// The folder for checkpoints and for what is shown; without it neither is written.
    pub out: Option<PathBuf>,
    /// Batches between checkpoints; without it there is one after an epoch, if the last one is
    /// some time ago.
    pub checkpoint_every: Option<usize>,
    /// How columns are standardized, if trained weights say so; otherwise the training samples do.
    pub scales: Option<Vec<Scale>>,
    /// The training samples that are held out and evaluated in the place of the test samples.
    pub validate: Option<Validation>,
    /// What other trainings have read, to share with them.
    pub samples: Option<Arc<Samples>>,
}

/// Which of the training samples are held out, to compare trainings by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Validation {
    /// This part of them, between 0 and 1.
    Share(f64),
    /// One of several parts of equal size.
    Fold {
        /// Which, from 0.
        fold: usize,
        /// The number of parts.
        folds: usize,
    },
}

/// What happens during training.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    /// Everything is compiled and loaded; the first step is next.
    Started {
        /// Trained numbers.
        parameters: usize,
        /// Samples to train on.
        samples: usize,
        /// Steps per epoch.
        steps_per_epoch: usize,
        /// Number of epochs.
        epochs: usize,
        /// Milliseconds of compilation.
        compile_ms: f64,
        /// Bytes of the arena.
        planned_bytes: usize,
    },
    /// A step is done.
    Step {
        /// The epoch, from 1.
        epoch: usize,
        /// Steps done in this epoch.
        step: usize,
        /// Sum of the objectives before the step.
        loss: f64,
    },
    /// An epoch is done.
    Epoch {
        /// The epoch, from 1.
        epoch: usize,
        /// Seconds it took.
        seconds: f64,
        /// Results over the samples of its steps.
        train: Metrics,
        /// Averages over the test samples, if the recipe asks about their course.
        #[serde(skip_serializing_if = "Option::is_none")]
        test: Option<Metrics>,
    },
}

/// How a training run ended well.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Epochs done.
    pub epochs: usize,
    /// Steps done.
    pub steps: u64,
    /// Seconds from the first step to the last evaluation.
    pub seconds: f64,
    /// Milliseconds of compilation.
    pub compile_ms: f64,
    /// Results of the last epoch, and over the test samples.
    pub metrics: TrainAndTest,
}

/// Metrics on both parts of the data.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TrainAndTest {
    /// Of the last epoch of training.
    pub train: Metrics,
    /// Of the test samples, if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<Metrics>,
    /// Of the samples held out for validation; the test samples are not evaluated then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<Metrics>,
}

/// A recipe's data, and what they say about it.
#[derive(Debug)]
pub struct RecipeData {
    /// What the recipe says besides its graphs.
    pub plan: RecipePlan,
    /// The settings, and the dims that the data give.
    pub bindings: Bindings,
    /// The samples.
    pub data: Arc<Loaded>,
}

/// Loads the data of a recipe. Without a name, the program's only recipe is taken. Paths of the
/// recipe are relative to `base`.
///
/// # Errors
/// If the program, the data or a setting is wrong.
pub fn load_data(
    package: &Package,
    recipe: Option<&str>,
    base: &Path,
    settings: BTreeMap<String, String>,
) -> Result<RecipeData, Error> {
    load_for(package, recipe, base, &TrainOptions { settings, ..TrainOptions::default() })
}

/// As [`load_data`], for a training with these options.
///
/// # Errors
/// If the program, the data or a setting is wrong.
pub fn load_for(
    package: &Package,
    recipe: Option<&str>,
    base: &Path,
    options: &TrainOptions,
) -> Result<RecipeData, Error> {
    let settings = options.settings.clone();
    let mut bindings = Bindings { settings, ..Bindings::default() };
    let plan = plan_recipe(package, recipe, &bindings)?;
    let clause = batches::data_clause(&plan)?;
    let fields = batches::fields(package, &plan, clause, &bindings);
    let data = samples::load(&clause.source, &fields, base, options)
        .map_err(|error| Error::Data { error, span: Some(clause.span) })?;
    bindings.dims = plan.dims(&batches::shapes(clause, &data.train));
    Ok(RecipeData { plan, bindings, data })
}
