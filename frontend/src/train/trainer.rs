//! The loop over epochs and batches.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cygnet_runtime::program::Outcome;

use crate::data::load::Loaded;
use crate::error::Error;
use crate::language::bindings::Bindings;
use crate::language::package::Package;
use crate::language::program::{Condition, Program, RecipeGraph};
use crate::language::recipe::{COMPLETE, elaborate_recipe, elaborate_training};
use crate::session::Session;

use super::batches::{self, Batches};
use super::checkpoint::{Checkpoint, Conditions, Progress};
use super::evaluation::{Compiled, Evaluation};
use super::metrics::{StoredValue, Tally};
use super::non_finite::Snapshot;
use super::plateau::Course;
use super::showing::Showing;
use super::steps::Steps;
use super::{
    Event, Metrics, RecipeData, Summary, TrainAndTest, TrainOptions, load_for, load_weights,
    save_weights, transfer,
};

/// Checkpoints between epochs are at least so far apart, unless their distance was asked for.
const CHECKPOINT_DISTANCE: Duration = Duration::from_secs(2);

/// A recipe, compiled, with its data.
pub struct Trainer<'a> {
    package: &'a Package,
    pub(super) recipe: RecipeGraph,
    pub(super) schedule: Batches,
    bindings: Bindings,
    data: Arc<Loaded>,
    steps: Steps,
    evaluation: Compiled,
    showing: Option<Showing>,
    pub(super) options: TrainOptions,
    compile_time: Duration,
    progress: Progress,
    /// Results of the batches of this epoch.
    tally: Tally,
    last_checkpoint: Instant,
}

impl<'a> Trainer<'a> {
    /// Loads the data of a recipe, compiles it and fills its parameters. Without a name, the
    /// program's only recipe is taken. Paths of the recipe are relative to `base`.
    ///
    /// # Errors
    /// If the program, the data, weights to `load` or a setting is wrong.
    pub fn new(
        package: &'a Package,
        recipe: Option<&str>,
        base: &Path,
        options: TrainOptions,
    ) -> Result<Trainer<'a>, Error> {
        let RecipeData { plan, bindings, data } = load_for(package, recipe, base, &options)?;
        let start = Instant::now();
        let mut recipe = elaborate_recipe(package, Some(&plan.name), &bindings)?;
        batches::check_labels(&recipe, &data)?;
        let schedule = Batches::of(&recipe.plan, &data)?;
        let frozen = frozen_at(&recipe.freezes, 0.0, &recipe.training);
        if frozen.contains(&false) {
            recipe.training = elaborate_training(package, &plan.name, &bindings, &frozen)?;
        }
        let program = recipe.training.clone();
        let mut steps = Steps::new(frozen, program, &options.session, options.seed)?;
        let compile_time = start.elapsed();
        for clause in &recipe.loads {
            let step = steps.current_mut();
            transfer::load(&mut step.session, &step.program, clause, base)?;
        }
        let showing = match (&recipe.showing, &options.out) {
            (Some(program), Some(out)) => Some(Showing::new(program.clone(), out)),
            _ => None,
        };
        let progress = Progress {
            courses: vec![Course::default(); recipe.plateaus.len()],
            ..Progress::default()
        };
        Ok(Trainer {
            tally: Tally::new(&recipe),
            package,
            recipe,
            schedule,
            bindings,
            data,
            steps,
            evaluation: Compiled::default(),
            showing,
            options,
            compile_time,
            progress,
            last_checkpoint: Instant::now(),
        })
    }

    /// The recipe.
    pub fn recipe(&self) -> &RecipeGraph {
        &self.recipe
    }

    /// The compiled training step.
    pub fn session(&mut self) -> &mut Session {
        &mut self.steps.current_mut().session
    }

    /// What was compiled for the step that runs now.
    pub(super) fn program(&self) -> &Program {
        &self.steps.current().program
    }

    /// The step that runs now, to be looked at.
    pub(super) fn current_session(&self) -> &Session {
        &self.steps.current().session
    }

    /// Goes on where a checkpoint was made: from there on everything is bit for bit as in the run
    /// that made it.
    ///
    /// # Errors
    /// If it belongs to another recipe, model or data, or to a run with other batches.
    pub fn resume(&mut self, checkpoint: Checkpoint) -> Result<(), Error> {
        checkpoint.expect(&self.conditions())?;
        self.progress = checkpoint.progress.clone();
        self.progress.courses.resize(self.recipe.plateaus.len(), Course::default());
        self.tally.restore(&self.progress.sums);
        self.switch()?;
        checkpoint.expect_tensors(&self.steps.carried())?;
        self.options.seed = checkpoint.seed;
        self.steps.restore(checkpoint.tensors)?;
        self.session().executor().set_seed(checkpoint.seed);
        Ok(())
    }

    /// Trains, telling `observe` what happens, and evaluates on the test samples.
    ///
    /// # Errors
    /// If a loss becomes infinite or NaN: the trainer then holds the last good weights, and the
    /// error says which step and operation produced the first such value. Also if a checkpoint or
    /// what is shown cannot be written.
    pub fn run(&mut self, mut observe: impl FnMut(&Event)) -> Result<Summary, Error> {
        let start = Instant::now();
        let Batches { steps_per_epoch, epochs, .. } = self.schedule;
        let trained = self.recipe.training.parameters.iter().filter(|p| p.trainable());
        observe(&Event::Started {
            parameters: trained.map(|parameter| parameter.ty.elements()).sum(),
            samples: self.data.train.len(),
            steps_per_epoch,
            epochs,
            compile_ms: milliseconds(self.compile_time),
            planned_bytes: self.session().planned_bytes(),
        });
        while self.progress.epoch < epochs && !self.progress.stopped {
            self.epoch(&mut observe)?;
        }
        self.write_checkpoint()?;
        let held_out = match &self.data.test {
            Some(_) => Some(self.evaluate()?),
            None => None,
        };
        let (test, validation) = match self.options.validate {
            Some(_) => (None, held_out),
            None => (held_out, None),
        };
        let epochs = self.progress.epoch;
        Ok(Summary {
            epochs,
            steps: (epochs * steps_per_epoch) as u64,
            seconds: start.elapsed().as_secs_f64(),
            compile_ms: milliseconds(self.compile_time),
            metrics: TrainAndTest { train: self.last(), test, validation },
        })
    }

    /// Results over all test samples with the current weights.
    ///
    /// # Errors
    /// If the data have no test samples.
    pub fn evaluate(&mut self) -> Result<Metrics, Error> {
        let Some(test) = &self.data.test else {
            return Err(Error::request(
                "these data have no test samples",
                "give the source an option like `test: 0.2`",
            ));
        };
        let order = batches::evaluation_order(&self.data, test, self.schedule.batch);
        let session = &self.steps.current().session;
        let evaluation = Evaluation {
            package: self.package,
            recipe: &self.recipe,
            bindings: &self.bindings,
            options: &self.options.session,
            batch: self.schedule.batch,
        };
        let weights = |evaluated: &mut Session| evaluated.copy_weights_from(session);
        evaluation.run_again(&mut self.evaluation, test, &order, weights)
    }

    /// Reads parameters and buffers from a safetensors file.
    ///
    /// # Errors
    /// If the file does not hold the weights of this recipe's models; nothing is set then.
    pub fn load(&mut self, path: &Path) -> Result<(), Error> {
        let step = self.steps.current_mut();
        load_weights(&mut step.session, &step.program, path)
    }

    /// Saves parameters and buffers to `path`, all or nothing.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<PathBuf, Error> {
        let (session, plan) = (self.current_session(), &self.recipe.plan);
        save_weights(session, self.program(), plan, &self.data, path)?;
        Ok(path.to_owned())
    }

    /// Results of the last epoch.
    fn last(&self) -> Metrics {
        let stored = self.progress.last.iter();
        stored.map(|(name, value)| (name.clone(), value.into())).collect()
    }

    fn conditions(&self) -> Conditions {
        Conditions {
            recipe: self.recipe.plan.name.clone(),
            samples: self.data.train.len(),
            batch: self.schedule.batch,
            accumulate: self.schedule.accumulate,
        }
    }

    /// The value of a run-time scalar between steps.
    fn scalar(&self, name: &str) -> f64 {
        let plateaus = self.recipe.plateaus.iter().zip(&self.progress.courses);
        let mut plateaus = plateaus.filter(|(plateau, _)| plateau.scalar == name);
        match (name, plateaus.next()) {
            (_, Some((_, course))) => course.count as f64,
            ("epoch", _) => self.progress.epoch as f64,
            ("step", _) => (self.progress.epoch * self.schedule.steps_per_epoch) as f64,
            ("steps", _) => self.schedule.steps() as f64,
            _ => known_scalar(&self.recipe.training, name),
        }
    }

    /// Goes over to the step in which those parts are frozen that are at this epoch.
    fn switch(&mut self) -> Result<(), Error> {
        let conditions = self.recipe.freezes.iter();
        let frozen =
            conditions.map(|condition| condition.holds(|name| self.scalar(name))).collect();
        let (package, bindings, name) = (self.package, &self.bindings, &self.recipe.plan.name);
        self.steps.switch(frozen, &self.options.session, |frozen| {
            Ok(elaborate_training(package, name, bindings, frozen)?)
        })
    }

    /// Trains on what remains of an epoch.
    fn epoch(&mut self, observe: &mut impl FnMut(&Event)) -> Result<(), Error> {
        let start = Instant::now();
        self.switch()?;
        let epoch = self.progress.epoch;
        let first = self.progress.batches;
        if first == 0 {
            self.tally = Tally::new(&self.recipe);
            let step = self.steps.current_mut();
            step.session.begin_pass(&step.program, self.options.seed)?;
        }
        let order = batches::order(&self.data, self.options.seed, epoch, self.schedule.batch);
        let snapshot = Snapshot::take(&self.steps.current().session, first);
        let Batches { batch, accumulate, .. } = self.schedule;
        let count = self.schedule.batches_per_epoch();
        let mut update_loss = 0.0;
        for (number, samples) in order.chunks_exact(batch).take(count).enumerate().skip(first) {
            self.feed(epoch, number, samples)?;
            if let Outcome::NotFinite { .. } = self.session().step() {
                return Err(self.diagnose(&snapshot, &order, epoch, number));
            }
            update_loss += self.tally.add(&self.steps.current().session, batch)?;
            self.progress.batches = number + 1;
            if (number + 1).is_multiple_of(accumulate) {
                let loss = std::mem::take(&mut update_loss) / accumulate as f64;
                let step = (number + 1) / accumulate;
                observe(&Event::Step { epoch: epoch + 1, step, loss });
            }
            let done = epoch * count + number + 1;
            if self.options.checkpoint_every.is_some_and(|every| done.is_multiple_of(every)) {
                self.expect_finite(&snapshot, &order, epoch, number + 1)?;
                self.write_checkpoint()?;
            }
        }
        self.expect_finite(&snapshot, &order, epoch, count)?;
        self.finish_epoch(start, observe)
    }

    /// Refuses weights that the last of `number` steps has spoilt: the loss, which stops a step,
    /// tells only of those before.
    fn expect_finite(
        &mut self,
        snapshot: &Snapshot,
        order: &[u32],
        epoch: usize,
        number: usize,
    ) -> Result<(), Error> {
        match snapshot.spoilt(&self.steps.current().session) {
            Some(_) => Err(self.diagnose(snapshot, order, epoch, number)),
            None => Ok(()),
        }
    }

    /// Results, plateaus, what is shown, and whether this was the last epoch.
    fn finish_epoch(
        &mut self,
        start: Instant,
        observe: &mut impl FnMut(&Event),
    ) -> Result<(), Error> {
        let tally = std::mem::replace(&mut self.tally, Tally::new(&self.recipe));
        let train = tally.finish(&self.steps.current().session)?;
        let stored = |(name, value): (&String, &_)| (name.clone(), StoredValue::from(value));
        self.progress.last = train.iter().map(stored).collect();
        self.progress.epoch += 1;
        self.progress.batches = 0;
        let watched = !self.recipe.plateaus.is_empty() && self.data.test.is_some();
        let test = if watched { Some(self.evaluate()?) } else { None };
        for (plateau, course) in self.recipe.plateaus.iter().zip(&mut self.progress.courses) {
            course.observe(plateau, test.as_ref().unwrap_or(&train));
        }
        let mut stops = self.recipe.stops.iter();
        self.progress.stopped = stops.any(|condition| condition.holds(|name| self.scalar(name)));
        if let Some(showing) = &mut self.showing {
            let samples = self.data.test.as_ref().unwrap_or(&self.data.train);
            let session = &self.steps.current().session;
            let (options, seed) = (&self.options.session, self.options.seed);
            showing.write(samples, session, options, (seed, self.progress.epoch))?;
        }
        let epoch = self.progress.epoch;
        observe(&Event::Epoch { epoch, seconds: start.elapsed().as_secs_f64(), train, test });
        if self.options.checkpoint_every.is_none()
            && self.last_checkpoint.elapsed() >= CHECKPOINT_DISTANCE
        {
            self.write_checkpoint()?;
        }
        Ok(())
    }

    /// Writes a checkpoint, if there is a folder for it.
    fn write_checkpoint(&mut self) -> Result<(), Error> {
        let Some(out) = &self.options.out else { return Ok(()) };
        self.progress.sums = self.tally.sums();
        let checkpoint = Checkpoint::new(
            self.options.seed,
            self.options.settings.clone(),
            self.conditions(),
            self.progress.clone(),
            self.steps.carried(),
        );
        checkpoint.write(out)?;
        self.last_checkpoint = Instant::now();
        Ok(())
    }

    /// Puts the batch `number` of an epoch and the run-time scalars in place.
    pub(super) fn feed(
        &mut self,
        epoch: usize,
        number: usize,
        samples: &[u32],
    ) -> Result<(), Error> {
        let Batches { steps_per_epoch, accumulate, .. } = self.schedule;
        let step = epoch * steps_per_epoch + number / accumulate;
        let complete = (number + 1).is_multiple_of(accumulate);
        let batch = epoch * self.schedule.batches_per_epoch() + number;
        let session = &mut self.steps.current_mut().session;
        batches::fill(session, &self.data.train, samples)?;
        session.set_scalar("step", (step + 1) as f64);
        session.set_scalar("steps", self.schedule.steps() as f64);
        session.set_scalar("epoch", epoch as f64);
        session.set_scalar(COMPLETE, f64::from(u8::from(complete)));
        for (plateau, course) in self.recipe.plateaus.iter().zip(&self.progress.courses) {
            session.set_scalar(&plateau.scalar, course.count as f64);
        }
        session.executor().set_step_number(batch as u64);
        Ok(())
    }
}

/// Which `freeze ... while` hold before an epoch, without knowledge of metrics.
fn frozen_at(conditions: &[Condition], epoch: f64, program: &Program) -> Vec<bool> {
    let scalar = |name: &str| match name {
        "epoch" => epoch,
        "step" => 0.0,
        name => known_scalar(program, name),
    };
    conditions.iter().map(|condition| condition.holds(scalar)).collect()
}

/// The value of a recipe's parameter.
fn known_scalar(program: &Program, name: &str) -> f64 {
    let mut scalars = program.scalars.iter().filter(|scalar| scalar.name == name);
    scalars.next().and_then(|scalar| scalar.value).unwrap_or(0.0)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
