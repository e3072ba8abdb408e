//! The files of a search: every finished trial at once, so that an interruption loses none.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::score::Criterion;
use super::space::Settings;
use crate::data::atomic::write_atomically;
use crate::error::Error;

/// One JSON object a line: what is searched, then the trials in the order in which they ended.
const TRIALS: &str = "trials.jsonl";

/// A table of the trials by their numbers.
const TABLE: &str = "trials.csv";

/// What the results of trials depend on besides their settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conditions {
    /// The recipe.
    pub recipe: String,
    /// The files of the program.
    pub program: Vec<String>,
    /// Settings that all trials share.
    pub settings: Settings,
    /// Seed of weights, order and random streams.
    pub seed: u64,
    /// The part of the training samples that judges, or the number of folds, as text.
    pub validate: String,
    /// The instructions that the programs use.
    pub cpu: String,
    /// By what trials are compared.
    pub criterion: Criterion,
}

/// A finished trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Its number, from 1.
    pub trial: usize,
    /// What it was run with.
    pub settings: Settings,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// Seconds that it took.
    pub seconds: f64,
}

/// How a trial ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub enum Outcome {
    /// With results.
    Done {
        /// The one that trials are compared by: with folds the mean of theirs.
        score: f64,
        /// With folds the standard deviation of their scores (of a sample: over K - 1).
        #[serde(skip_serializing_if = "Option::is_none")]
        spread: Option<f64>,
        /// With folds the score of each.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        folds: Vec<f64>,
        /// Those of the last epoch of training that are finite numbers; means over the folds.
        train: Results,
        /// Those on the samples held out that are finite numbers; means over the folds.
        validation: Results,
    },
    /// Without: the loss or the score was not finite, or the settings do not fit.
    Failed {
        /// Why.
        reason: String,
    },
}

/// Numbers by their names.
pub(super) type Results = BTreeMap<String, f64>;

/// The results of one training of a trial.
pub(super) struct Run {
    /// Of the last epoch.
    pub train: Results,
    /// On the samples held out; the one that trials are compared by is among them.
    pub validation: Results,
}

impl Outcome {
    /// The outcome of a trial, from its trainings: one, or one for each fold.
    pub(super) fn of(runs: &[Run], metric: &str) -> Outcome {
        let folds: Vec<f64> = runs.iter().map(|run| run.validation[metric]).collect();
        let (train, validation) = (mean(runs, |run| &run.train), mean(runs, |run| &run.validation));
        let score = validation[metric];
        if runs.len() == 1 {
            return Outcome::Done { score, spread: None, folds: Vec::new(), train, validation };
        }
        let squares: f64 = folds.iter().map(|fold| (fold - score).powi(2)).sum();
        let spread = Some((squares / (folds.len() - 1) as f64).sqrt());
        Outcome::Done { score, spread, folds, train, validation }
    }

    /// How far the scores of folds lie apart, with folds.
    pub fn spread(&self) -> Option<f64> {
        match self {
            Outcome::Done { spread, .. } => *spread,
            Outcome::Failed { .. } => None,
        }
    }

    /// The result that trials are compared by.
    pub fn score(&self) -> Option<f64> {
        match self {
            Outcome::Done { score, .. } => Some(*score),
            Outcome::Failed { .. } => None,
        }
    }
}

/// The means of the results that all trainings have.
fn mean(runs: &[Run], part: impl Fn(&Run) -> &Results) -> Results {
    let Some((first, others)) = runs.split_first() else { return Results::new() };
    let sum = |(name, value): (&String, &f64)| {
        let others = others.iter().map(|run| part(run).get(name).copied());
        let sum = others.sum::<Option<f64>>()? + value;
        Some((name.clone(), sum / runs.len() as f64))
    };
    part(first).iter().filter_map(sum).collect()
}

/// The folder of a search.
pub struct Record {
    folder: PathBuf,
    file: File,
    trials: Vec<Trial>,
}

impl Record {
    /// Opens the record in `folder`, which is made if it is not there, and reads the trials that
    /// an earlier search under the same conditions has finished.
    ///
    /// # Errors
    /// If the folder holds another search, or cannot be read or written.
    pub fn open(folder: &Path, conditions: &Conditions) -> Result<Record, Error> {
        let path = folder.join(TRIALS);
        fs::create_dir_all(folder).map_err(|error| failure(folder, &error))?;
        let trials = match fs::read_to_string(&path) {
            Ok(text) => read(&text, &path, conditions)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(failure(&path, &error)),
        };
        // Written anew: an interruption may have left a part of a line.
        write_atomically(&path, |writer| {
            writeln!(writer, "{}", line(conditions)?)?;
            trials.iter().try_for_each(|trial| writeln!(writer, "{}", line(trial)?))
        })
        .map_err(Error::data)?;
        let file = OpenOptions::new().append(true).open(&path);
        let file = file.map_err(|error| failure(&path, &error))?;
        Ok(Record { folder: folder.to_owned(), file, trials })
    }

    /// The finished trials, in the order in which they ended.
    pub fn trials(&self) -> &[Trial] {
        &self.trials
    }

    /// Adds a finished trial.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn add(&mut self, trial: Trial) -> Result<(), Error> {
        let path = self.folder.join(TRIALS);
        let written = line(&trial).and_then(|line| self.file.write_all((line + "\n").as_bytes()));
        let written = written.and_then(|()| self.file.sync_data());
        written.map_err(|error| failure(&path, &error))?;
        self.trials.push(trial);
        self.write_table()
    }

    /// Writes the trials as a table for other programs.
    fn write_table(&self) -> Result<(), Error> {
        let mut trials: Vec<&Trial> = self.trials.iter().collect();
        trials.sort_by_key(|trial| trial.trial);
        let parameters: BTreeSet<&String> =
            trials.iter().flat_map(|trial| trial.settings.keys()).collect();
        let parts = |trial: &Trial| match &trial.outcome {
            Outcome::Done { train, validation, .. } => [train.clone(), validation.clone()],
            Outcome::Failed { .. } => [BTreeMap::new(), BTreeMap::new()],
        };
        let results: BTreeSet<String> = trials
            .iter()
            .flat_map(|trial| parts(trial).into_iter().flatten())
            .map(|(n, _)| n)
            .collect();
        let with_folds = trials.iter().any(|trial| trial.outcome.spread().is_some());
        let spread = if with_folds { vec!["spread".to_owned()] } else { Vec::new() };
        let named = |part: &str| results.iter().map(move |name| format!("{part}_{name}")).collect();
        let (train_names, validation_names): (Vec<String>, Vec<String>) =
            (named("train"), named("validation"));
        write_atomically(&self.folder.join(TABLE), |writer| {
            let mut table = csv::Writer::from_writer(writer);
            let ends = ["trial", "status", "score"].into_iter().map(str::to_owned);
            let names = parameters.iter().map(|name| (*name).clone());
            let columns =
                ends.chain(spread).chain(names).chain(train_names).chain(validation_names);
            table.write_record(columns.chain(["seconds", "reason"].map(str::to_owned)))?;
            for trial in &trials {
                let (status, score, reason) = match &trial.outcome {
                    Outcome::Done { score, .. } => ("done", score.to_string(), ""),
                    Outcome::Failed { reason } => ("failed", String::new(), reason.as_str()),
                };
                let mut row = vec![trial.trial.to_string(), status.to_owned(), score];
                if with_folds {
                    row.push(
                        trial.outcome.spread().as_ref().map(f64::to_string).unwrap_or_default(),
                    );
                }
                let setting = |name: &&String| trial.settings.get(*name).cloned();
                row.extend(parameters.iter().map(|name| setting(name).unwrap_or_default()));
                for part in parts(trial) {
                    let value = |name| part.get(name).map(f64::to_string).unwrap_or_default();
                    row.extend(results.iter().map(value));
                }
                row.extend([format!("{:.3}", trial.seconds), reason.to_owned()]);
                table.write_record(row)?;
            }
            table.flush()
        })
        .map_err(Error::data)
    }
}

/// The finished trials in the text of a record.
fn read(text: &str, path: &Path, conditions: &Conditions) -> Result<Vec<Trial>, Error> {
    let mut lines = text.lines();
    let known: Option<Conditions> = lines.next().and_then(|line| serde_json::from_str(line).ok());
    if known.as_ref() != Some(conditions) {
        let different = known.map_or("is not the record of a search".to_owned(), |known| {
            format!("belongs to a search with {}", difference(&known, conditions))
        });
        return Err(Error::request(
            format!("{} {different}", path.display()),
            "choose another --out, or remove that folder",
        ));
    }
    Ok(lines.map_while(|line| serde_json::from_str(line).ok()).collect())
}

/// In what two searches differ.
fn difference(known: &Conditions, wanted: &Conditions) -> &'static str {
    match known {
        _ if known.recipe != wanted.recipe => "another recipe",
        _ if known.program != wanted.program => "another text of the program",
        _ if known.settings != wanted.settings => "other settings (--set)",
        _ if known.seed != wanted.seed => "another --seed",
        _ if known.validate != wanted.validate => "another --validate or --folds",
        _ if known.cpu != wanted.cpu => "another --cpu",
        _ => "another --metric or goal",
    }
}

fn line(value: &impl Serialize) -> io::Result<String> {
    Ok(serde_json::to_string(value)?)
}

fn failure(path: &Path, error: &io::Error) -> Error {
    Error::request(format!("{}: {error}", path.display()), "choose another --out")
}

#[cfg(test)]
mod tests {
    use super::super::score::Goal;
    use super::*;

    fn conditions() -> Conditions {
        Conditions {
            recipe: "r".to_owned(),
            program: vec!["text".to_owned()],
            settings: Settings::new(),
            seed: 1,
            validate: "0.2".to_owned(),
            cpu: "avx2".to_owned(),
            criterion: Criterion { metric: "loss".to_owned(), goal: Goal::Minimize },
        }
    }

    fn trial(number: usize, outcome: Outcome) -> Trial {
        let settings = Settings::from([("lr".to_owned(), format!("0.{number}"))]);
        Trial { trial: number, settings, outcome, seconds: 0.5 }
    }

    fn done(score: f64) -> Outcome {
        let validation = BTreeMap::from([("loss".to_owned(), score)]);
        Outcome::of(&[Run { train: BTreeMap::new(), validation }], "loss")
    }

    #[test]
    fn trials_survive_an_interruption_in_the_middle_of_a_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut record = Record::open(folder.path(), &conditions()).expect("a new record");
        let failed = Outcome::Failed { reason: "the loss, at once, is not finite".to_owned() };
        let trials = [trial(2, done(0.1 + 0.2)), trial(1, failed)];
        for trial in &trials {
            record.add(trial.clone()).expect("a writable folder");
        }
        let path = folder.path().join(TRIALS);
        let text = fs::read_to_string(&path).expect("the record");
        fs::write(&path, format!("{text}{{\"trial\":3,\"sett")).expect("a writable file");
        let record = Record::open(folder.path(), &conditions()).expect("the record");
        assert_eq!(record.trials(), trials);
        assert_eq!(fs::read_to_string(&path).expect("the record"), text);
        let table = fs::read_to_string(folder.path().join(TABLE)).expect("the table");
        insta::assert_snapshot!(table, @r#"
        trial,status,score,lr,train_loss,validation_loss,seconds,reason
        1,failed,,0.1,,,0.500,"the loss, at once, is not finite"
        2,done,0.30000000000000004,0.2,,0.30000000000000004,0.500,
        "#);
    }

    #[test]
    fn records_of_other_searches_are_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        Record::open(folder.path(), &conditions()).expect("a new record");
        let other = Conditions { seed: 2, ..conditions() };
        let error = Record::open(folder.path(), &other).err().expect("another search");
        assert!(error.to_string().ends_with("belongs to a search with another --seed"), "{error}");
        fs::write(folder.path().join(TRIALS), "notes").expect("a writable file");
        let error = Record::open(folder.path(), &other).err().expect("no search");
        assert!(error.to_string().ends_with("is not the record of a search"), "{error}");
    }
}
