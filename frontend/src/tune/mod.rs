//! The search for good settings of a recipe: trials side by side, each a whole training.
//!
//! Trials are compared on samples that are held out of the training samples: one part of them, or
//! in turn each of several folds. The test samples are never looked at: what they say of the best
//! trial stays an honest estimate.

mod record;
mod score;
mod space;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Instant;

use crate::compilations::Compilations;
use crate::error::Error;
use crate::language::package::Package;
use crate::language::recipe::elaborate_recipe;
use crate::session::SessionOptions;
use crate::train::{Metrics, Samples, TrainOptions, Trainer, Validation, load_for};

use record::{Results, Run};

pub use record::{Conditions, Outcome, Record, Trial};
pub use score::{Criterion, Goal};
pub use space::{Axis, Numbers, Settings, SpaceError, Values, grid, random, searchable};

/// A search.
#[derive(Debug)]
pub struct Search<'a> {
    /// The program.
    pub package: &'a Package,
    /// The recipe.
    pub recipe: &'a str,
    /// What the recipe's paths are relative to.
    pub base: PathBuf,
    /// The settings of the trials.
    pub trials: Vec<Settings>,
    /// Settings that all trials share.
    pub settings: Settings,
    /// Seed of initial weights, order of samples and random streams, in every trial.
    pub seed: u64,
    /// What trials are compared on.
    pub judge: Judge,
    /// The result to compare by; see [`Criterion::of`].
    pub metric: Option<String>,
    /// Which results are better; see [`Criterion::of`].
    pub goal: Option<Goal>,
    /// Compilation, and the threads that all trials have together.
    pub session: SessionOptions,
}

/// Which of the training samples judge a trial.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Judge {
    /// One part of them, between 0 and 1, that is held out.
    Share(f64),
    /// Each of so many parts of equal size: a trial trains once for each, on the others.
    Folds(usize),
}

impl Judge {
    /// How often a trial trains.
    fn trainings(self) -> usize {
        match self {
            Judge::Share(_) => 1,
            Judge::Folds(folds) => folds,
        }
    }

    /// What is held out of a trial's training number `fold`, from 0.
    fn validation(self, fold: usize) -> Validation {
        match self {
            Judge::Share(share) => Validation::Share(share),
            Judge::Folds(folds) => Validation::Fold { fold, folds },
        }
    }
}

impl fmt::Display for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Judge::Share(share) => write!(f, "{share}"),
            Judge::Folds(folds) => write!(f, "{folds} folds"),
        }
    }
}

/// What a search found.
#[derive(Clone, Debug)]
pub struct Findings {
    /// By what trials are compared.
    pub criterion: Criterion,
    /// The trials, best first, failed ones last.
    pub trials: Vec<Trial>,
    /// How many graphs were compiled.
    pub compiled: usize,
}

impl Findings {
    /// The best trial; `None` if all have failed.
    pub fn best(&self) -> Option<&Trial> {
        self.trials.first().filter(|trial| trial.outcome.score().is_some())
    }
}

/// What happens during a search.
#[derive(Debug)]
pub enum Event<'a> {
    /// The search begins.
    Started {
        /// All trials.
        trials: usize,
        /// Those that an earlier search has finished.
        known: usize,
        /// How many run side by side.
        side_by_side: usize,
    },
    /// A trial has ended.
    Ended(&'a Trial),
}

impl Search<'_> {
    /// Runs the trials that are not in the record in `folder`, telling `observe` what happens.
    ///
    /// Results do not depend on how many trials run side by side.
    ///
    /// # Errors
    /// If the program, the data or the settings of the first trial are wrong, or the record cannot
    /// be used. What is wrong with a single trial is its outcome.
    pub fn run(
        &self,
        folder: &Path,
        mut observe: impl FnMut(&Event<'_>),
    ) -> Result<Findings, Error> {
        let samples = Arc::new(Samples::default());
        let criterion = self.criterion(&samples)?;
        let mut record = Record::open(folder, &self.conditions(&criterion))?;
        let known: BTreeSet<Settings> =
            record.trials().iter().map(|trial| trial.settings.clone()).collect();
        let open: Vec<(usize, &Settings)> = (self.trials.iter().enumerate())
            .filter(|(_, settings)| !known.contains(*settings))
            .map(|(index, settings)| (index + 1, settings))
            .collect();
        let threads = self.session.thread_count();
        let side_by_side = threads.min(open.len()).max(1);
        observe(&Event::Started {
            trials: self.trials.len(),
            known: self.trials.len() - open.len(),
            side_by_side,
        });
        let compilations = Arc::new(Compilations::default());
        let session = SessionOptions {
            threads: threads / side_by_side,
            shared: Some(Arc::clone(&compilations)),
            ..self.session.clone()
        };
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let (sender, results) = mpsc::channel();
            for _ in 0..side_by_side {
                let (sender, open, next, samples) = (sender.clone(), &open, &next, &samples);
                let (session, criterion) = (&session, &criterion);
                scope.spawn(move || {
                    while let Some(&(trial, settings)) =
                        open.get(next.fetch_add(1, Ordering::Relaxed))
                    {
                        let start = Instant::now();
                        let outcome = self.trial(settings, session, samples, criterion);
                        let seconds = start.elapsed().as_secs_f64();
                        let ended = Trial { trial, settings: settings.clone(), outcome, seconds };
                        if sender.send(ended).is_err() {
                            // The record cannot be written any more.
                            return;
                        }
                    }
                });
            }
            drop(sender);
            for trial in results {
                observe(&Event::Ended(&trial));
                record.add(trial)?;
            }
            Ok::<_, Error>(())
        })?;
        let trials = self.ranked(record.trials(), criterion.goal);
        Ok(Findings { criterion, trials, compiled: compilations.count() })
    }

    /// By what trials are compared. Reads the data and elaborates the first trial, so that what is
    /// wrong with all of them is reported as it is in training.
    fn criterion(&self, samples: &Arc<Samples>) -> Result<Criterion, Error> {
        let settings = self.trials.first().cloned().unwrap_or_default();
        let first = self.judge.validation(0);
        let options = self.train_options(&settings, self.session.clone(), samples, first);
        let loaded = load_for(self.package, Some(self.recipe), &self.base, &options)?;
        let recipe = elaborate_recipe(self.package, Some(self.recipe), &loaded.bindings)?;
        Criterion::of(&recipe, self.metric.as_deref(), self.goal)
    }

    fn conditions(&self, criterion: &Criterion) -> Conditions {
        let sources = self.package.sources();
        let file = |module| sources.file(self.package.module(module).file).text().to_owned();
        Conditions {
            recipe: self.recipe.to_owned(),
            program: self.package.program().map(file).collect(),
            settings: self.settings.clone(),
            seed: self.seed,
            validate: self.judge.to_string(),
            cpu: self.session.compile.cpu.to_string(),
            criterion: criterion.clone(),
        }
    }

    fn train_options(
        &self,
        settings: &Settings,
        session: SessionOptions,
        samples: &Arc<Samples>,
        validation: Validation,
    ) -> TrainOptions {
        let mut all = self.settings.clone();
        all.extend(settings.clone());
        TrainOptions {
            settings: all,
            seed: self.seed,
            session,
            validate: Some(validation),
            samples: Some(Arc::clone(samples)),
            ..TrainOptions::default()
        }
    }

    /// Trains with these settings and evaluates on the samples held out, for each fold.
    fn trial(
        &self,
        settings: &Settings,
        session: &SessionOptions,
        samples: &Arc<Samples>,
        criterion: &Criterion,
    ) -> Outcome {
        let mut runs = Vec::new();
        for validation in (0..self.judge.trainings()).map(|fold| self.judge.validation(fold)) {
            match self.training(settings, session, samples, criterion, validation) {
                Ok(run) => runs.push(run),
                Err(reason) => {
                    let reason = match validation {
                        Validation::Share(_) => reason,
                        Validation::Fold { fold, .. } => format!("fold {}: {reason}", fold + 1),
                    };
                    return Outcome::Failed { reason };
                }
            }
        }
        Outcome::of(&runs, &criterion.metric)
    }

    /// The results of one training: its last epoch, and those on the samples held out; or why there
    /// are none.
    fn training(
        &self,
        settings: &Settings,
        session: &SessionOptions,
        samples: &Arc<Samples>,
        criterion: &Criterion,
        validation: Validation,
    ) -> Result<Run, String> {
        let options = self.train_options(settings, session.clone(), samples, validation);
        let trained = Trainer::new(self.package, Some(self.recipe), &self.base, options)
            .and_then(|mut trainer| trainer.run(|_| {}));
        let metrics = trained.map(|summary| summary.metrics).map_err(|error| {
            let first = error.diagnostics().into_iter().next();
            first.map_or_else(|| error.to_string(), |first| first.message)
        })?;
        let numbers = |metrics: &Metrics| -> Results {
            let numbers = metrics.iter().filter_map(|(name, value)| Some((name, value.number()?)));
            let finite = numbers.filter(|(_, value)| value.is_finite());
            finite.map(|(name, value)| (name.clone(), value)).collect()
        };
        let validation = numbers(&metrics.validation.unwrap_or_default());
        match validation.contains_key(&criterion.metric) {
            true => Ok(Run { train: numbers(&metrics.train), validation }),
            false => Err(format!("`{}` is not finite", criterion.metric)),
        }
    }

    /// The trials of this search, best first, with their numbers in it.
    fn ranked(&self, recorded: &[Trial], goal: Goal) -> Vec<Trial> {
        let find = |settings: &Settings| recorded.iter().find(|trial| trial.settings == *settings);
        let mut trials: Vec<Trial> = (self.trials.iter().enumerate())
            .filter_map(|(index, settings)| {
                Some(Trial { trial: index + 1, ..find(settings)?.clone() })
            })
            .collect();
        trials.sort_by(|a, b| match (a.outcome.score(), b.outcome.score()) {
            (Some(a), Some(b)) => match goal {
                Goal::Maximize => b.total_cmp(&a),
                Goal::Minimize => a.total_cmp(&b),
            },
            (a, b) => b.is_some().cmp(&a.is_some()),
        });
        trials
    }
}
