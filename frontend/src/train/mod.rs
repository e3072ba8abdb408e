//! Training: running a recipe on its data.

mod batches;
mod evaluation;
mod metrics;
mod non_finite;
mod samples;
mod weights;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cygnet_runtime::program::Outcome;
use cygnet_runtime::random::shuffle;
use serde::Serialize;

use crate::data::load::Loaded;
use crate::error::Error;
use crate::language::bindings::Bindings;
use crate::language::package::Package;
use crate::language::program::{RecipeGraph, RecipePlan};
use crate::language::recipe::{elaborate_recipe, plan_recipe};
use crate::session::{Session, SessionOptions};

pub use evaluation::Evaluation;
pub use metrics::{MetricValue, Metrics};
pub use samples::Samples;
pub use weights::{StoredWeights, load_weights, save_weights};

use metrics::Tally;

/// What a training run is asked for.
#[derive(Clone, Debug, Default)]
pub struct TrainOptions {
    /// Recipe parameters, `batch` and `epochs`, as `NAME=VALUE` sets them.
    pub settings: BTreeMap<String, String>,
    /// Seed of initial weights, order of samples and random streams.
    pub seed: u64,
    /// Compilation and threads.
    pub session: SessionOptions,
    /// The part of the training samples that is held out and evaluated in the place of the test
    /// samples.
    pub validate: Option<f64>,
    /// What other trainings have read, to share with them.
    pub samples: Option<Arc<Samples>>,
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

/// A recipe, compiled, with its data.
pub struct Trainer<'a> {
    package: &'a Package,
    recipe: RecipeGraph,
    schedule: batches::Batches,
    bindings: Bindings,
    data: Arc<Loaded>,
    session: Session,
    options: TrainOptions,
    compile_time: Duration,
}

impl<'a> Trainer<'a> {
    /// Loads the data of a recipe, compiles it and fills its parameters. Without a name, the
    /// program's only recipe is taken. Paths of the recipe are relative to `base`.
    ///
    /// # Errors
    /// If the program, the data or a setting is wrong.
    pub fn new(
        package: &'a Package,
        recipe: Option<&str>,
        base: &Path,
        options: TrainOptions,
    ) -> Result<Trainer<'a>, Error> {
        let RecipeData { plan, bindings, data } = load_for(package, recipe, base, &options)?;
        let start = Instant::now();
        let recipe = elaborate_recipe(package, Some(&plan.name), &bindings)?;
        refuse_unsupported(&recipe)?;
        let schedule = batches::Batches::of(&recipe.plan, data.train.len())?;
        let mut session = Session::new(&recipe.training.graph, &options.session)?;
        let compile_time = start.elapsed();
        session.initialize(&recipe.training, options.seed)?;
        Ok(Trainer { package, recipe, schedule, bindings, data, session, options, compile_time })
    }

    /// The recipe.
    pub fn recipe(&self) -> &RecipeGraph {
        &self.recipe
    }

    /// The compiled training step.
    pub fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// Trains, telling `observe` what happens, and evaluates on the test samples.
    ///
    /// # Errors
    /// If a loss becomes infinite or NaN: the trainer then holds the last good weights, and the
    /// error says which step and operation produced the first such value.
    pub fn run(&mut self, mut observe: impl FnMut(&Event)) -> Result<Summary, Error> {
        let start = Instant::now();
        let samples = self.data.train.len();
        let batches::Batches { steps_per_epoch, epochs, .. } = self.schedule;
        let parameters = self.recipe.training.parameters.iter();
        let trained = parameters.filter(|parameter| parameter.trainable());
        observe(&Event::Started {
            parameters: trained.map(|parameter| parameter.ty.elements()).sum(),
            samples,
            steps_per_epoch,
            epochs,
            compile_ms: milliseconds(self.compile_time),
            planned_bytes: self.session.planned_bytes(),
        });
        let mut train = Metrics::new();
        for epoch in 0..epochs {
            train = self.epoch(epoch, &mut observe)?;
        }
        let held_out = match &self.data.test {
            Some(_) => Some(self.evaluate()?),
            None => None,
        };
        let (test, validation) = match self.options.validate {
            Some(_) => (None, held_out),
            None => (held_out, None),
        };
        Ok(Summary {
            epochs,
            steps: (epochs * steps_per_epoch) as u64,
            seconds: start.elapsed().as_secs_f64(),
            compile_ms: milliseconds(self.compile_time),
            metrics: TrainAndTest { train, test, validation },
        })
    }

    /// Results over all test samples with the current weights.
    ///
    /// # Errors
    /// If the data have no test samples.
    pub fn evaluate(&self) -> Result<Metrics, Error> {
        let Some(test) = &self.data.test else {
            return Err(Error::request(
                "these data have no test samples",
                "give the source an option like `test: 0.2`",
            ));
        };
        let evaluation = Evaluation {
            package: self.package,
            recipe: &self.recipe,
            bindings: &self.bindings,
            options: &self.options.session,
            batch: self.schedule.batch,
        };
        evaluation.run(test, |session| session.copy_weights_from(&self.session))
    }

    /// Reads parameters and buffers from a safetensors file.
    ///
    /// # Errors
    /// If the file does not hold the weights of this recipe's models; nothing is set then.
    pub fn load(&mut self, path: &Path) -> Result<(), Error> {
        load_weights(&mut self.session, &self.recipe.training, path)
    }

    /// Saves parameters and buffers to `path`, all or nothing.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<PathBuf, Error> {
        save_weights(&self.session, &self.recipe.training, &self.recipe.plan, path)?;
        Ok(path.to_owned())
    }

    fn epoch(&mut self, epoch: usize, observe: &mut impl FnMut(&Event)) -> Result<Metrics, Error> {
        let start = Instant::now();
        let batch = self.schedule.batch;
        let mut tally = Tally::new(&self.recipe);
        let order = shuffle(self.options.seed, epoch as u64, self.data.train.len() as u32);
        self.session.begin_pass(&self.recipe.training, self.options.seed)?;
        let snapshot = non_finite::Snapshot::take(&self.session);
        let steps = order.len() / batch;
        for (number, samples) in order.chunks_exact(batch).enumerate() {
            let step = epoch * steps + number;
            self.feed(epoch, step, samples)?;
            if let Outcome::NotFinite { .. } = self.session.step() {
                return Err(self.diagnose(&snapshot, &order, epoch, number));
            }
            let loss = tally.add(&self.session, batch)?;
            observe(&Event::Step { epoch: epoch + 1, step: number + 1, loss });
        }
        let train = tally.finish(&self.session)?;
        let seconds = start.elapsed().as_secs_f64();
        observe(&Event::Epoch { epoch: epoch + 1, seconds, train: train.clone() });
        Ok(train)
    }

    /// Puts a batch and the step's number in place.
    fn feed(&mut self, epoch: usize, step: usize, samples: &[u32]) -> Result<(), Error> {
        batches::fill(&mut self.session, &self.data.train, samples)?;
        self.session.set_scalar("step", (step + 1) as f64);
        let batches::Batches { steps_per_epoch, epochs, .. } = self.schedule;
        self.session.set_scalar("steps", (steps_per_epoch * epochs) as f64);
        self.session.set_scalar("epoch", epoch as f64);
        self.session.executor().set_step_number(step as u64);
        Ok(())
    }
}

fn refuse_unsupported(recipe: &RecipeGraph) -> Result<(), Error> {
    let clauses = [
        ("load", !recipe.loads.is_empty()),
        ("show", recipe.showing.is_some()),
        ("freeze ... while", !recipe.freezes.is_empty()),
        ("stop when", !recipe.stops.is_empty()),
        ("accumulate", recipe.plan.accumulate.is_some()),
    ];
    match clauses.iter().find(|(_, used)| *used) {
        None => Ok(()),
        Some((clause, _)) => Err(Error::request(
            format!("`{clause}` is not yet supported in training"),
            "leave it out for now",
        )),
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
