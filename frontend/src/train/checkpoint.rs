//! Checkpoints: everything that a run needs to go on as if it had never stopped.
//!
//! A checkpoint is one safetensors file with parameters, buffers and states; the header's metadata
//! hold the rest. It is replaced in one step, so that a crash leaves the old one or the new one. A
//! checksum tells damage that the format itself does not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cygnet_runtime::tensor::Tensor;
use flate2::Crc;
use serde::{Deserialize, Serialize};

use crate::data::weights::{Weights, write_weights};
use crate::error::Error;

use super::metrics::{StoredValue, Sums};
use super::plateau::Course;

/// The name of the file in the folder of a run.
pub const CHECKPOINT: &str = "checkpoint.safetensors";

/// The layout of checkpoints. Files of another version are refused.
const VERSION: &str = "1";

const FORMAT: &str = "cygnet-checkpoint";

/// What was to be trained on what: a run goes on only with the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conditions {
    /// The recipe.
    pub recipe: String,
    /// Samples to train on.
    pub samples: usize,
    /// Samples per step.
    pub batch: usize,
    /// Steps per update.
    pub accumulate: usize,
}

/// Where a run is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// Epochs done.
    pub epoch: usize,
    /// Batches done in the epoch that has begun.
    pub batches: usize,
    /// Sums over the samples of these batches.
    pub sums: Sums,
    /// Results of the last epoch.
    pub last: BTreeMap<String, StoredValue>,
    /// The courses of metrics, in the order of the recipe's plateaus.
    pub courses: Vec<Course>,
    /// Whether a `stop when` has ended the run.
    pub stopped: bool,
}

/// A checkpoint in memory.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    /// The seed of the run.
    pub seed: u64,
    /// Recipe parameters, `batch` and `epochs`, as `NAME=VALUE` had set them.
    pub settings: BTreeMap<String, String>,
    /// What the run was on.
    pub conditions: Conditions,
    pub(super) progress: Progress,
    pub(super) tensors: BTreeMap<String, Tensor>,
}

impl Checkpoint {
    pub(super) fn new(
        seed: u64,
        settings: BTreeMap<String, String>,
        conditions: Conditions,
        progress: Progress,
        tensors: BTreeMap<String, Tensor>,
    ) -> Checkpoint {
        Checkpoint { path: PathBuf::new(), seed, settings, conditions, progress, tensors }
    }

    /// Reads the checkpoint in a folder.
    ///
    /// # Errors
    /// If there is none, or it is damaged, of another version or no checkpoint at all.
    pub fn read(folder: &Path) -> Result<Checkpoint, Error> {
        let path = folder.join(CHECKPOINT);
        let weights = Weights::read(&path).map_err(Error::data)?;
        if weights.metadata("format") != Some(FORMAT) {
            return Err(Error::request(
                format!("{} holds no checkpoint", path.display()),
                "use the folder that `cygnet train --out` has written to",
            ));
        }
        let version = weights.metadata("version").unwrap_or_default();
        if version != VERSION {
            return Err(Error::request(
                format!(
                    "{} is a checkpoint of version {version}; this program reads version {VERSION}",
                    path.display()
                ),
                "resume with the version of Cygnet that has written it, or train anew",
            ));
        }
        let damaged = |reason: &str| {
            Error::request(
                format!("{} is damaged: {reason}", path.display()),
                "use another copy of it, or train anew; `weights.safetensors` is a file of its own",
            )
        };
        let mut tensors = BTreeMap::new();
        for name in weights.names() {
            let tensor = weights.tensor(&name).map_err(Error::data)?;
            tensors.insert(name, tensor);
        }
        let text = |key: &str| weights.metadata(key).unwrap_or_default();
        let texts = ["seed", "settings", "conditions", "progress"].map(text);
        if text("checksum") != checksum(&texts, &tensors) {
            return Err(damaged("its checksum is not that of its contents"));
        }
        let [seed, settings, conditions, progress] = texts;
        let parsed = || -> serde_json::Result<Checkpoint> {
            Ok(Checkpoint {
                path: path.clone(),
                seed: serde_json::from_str(seed)?,
                settings: serde_json::from_str(settings)?,
                conditions: serde_json::from_str(conditions)?,
                progress: serde_json::from_str(progress)?,
                tensors,
            })
        };
        parsed().map_err(|error| damaged(&error.to_string()))
    }

    /// Writes the checkpoint into a folder, all or nothing.
    ///
    /// # Errors
    /// If the file cannot be written; a checkpoint before is then as it was.
    pub(super) fn write(&self, folder: &Path) -> Result<(), Error> {
        let json = |value: serde_json::Result<String>| value.expect("plain data");
        let texts = [
            json(serde_json::to_string(&self.seed)),
            json(serde_json::to_string(&self.settings)),
            json(serde_json::to_string(&self.conditions)),
            json(serde_json::to_string(&self.progress)),
        ];
        let checksum = checksum(&texts.each_ref().map(String::as_str), &self.tensors);
        let [seed, settings, conditions, progress] = texts;
        let metadata = BTreeMap::from(
            [
                ("format", FORMAT.to_owned()),
                ("version", VERSION.to_owned()),
                ("checksum", checksum),
                ("seed", seed),
                ("settings", settings),
                ("conditions", conditions),
                ("progress", progress),
            ]
            .map(|(key, text)| (key.to_owned(), text)),
        );
        let tensors = self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor));
        write_weights(&folder.join(CHECKPOINT), tensors, &metadata).map_err(Error::data)
    }

    /// Makes sure that the run can go on with this recipe and these data.
    ///
    /// # Errors
    /// What differs, all at once.
    pub(super) fn expect(&self, now: &Conditions) -> Result<(), Error> {
        let before = &self.conditions;
        if before.recipe != now.recipe {
            return Err(Error::request(
                format!(
                    "{} is a checkpoint of the recipe `{}`, not of `{}`",
                    self.path.display(),
                    before.recipe,
                    now.recipe
                ),
                "name the recipe and the folder of one run",
            ));
        }
        let counts = [
            ("samples", before.samples, now.samples),
            ("samples in a batch", before.batch, now.batch),
            ("batches in an update", before.accumulate, now.accumulate),
        ];
        let differ = counts.iter().filter(|(_, before, now)| before != now);
        let differ: Vec<String> =
            differ.map(|(what, before, now)| format!("{before} {what}, now {now}")).collect();
        if differ.is_empty() {
            return Ok(());
        }
        Err(Error::request(
            format!("{} was made with {}", self.path.display(), differ.join("; ")),
            "resume with the data and the batch of the run, or start from its weights with `load`",
        ))
    }

    /// Makes sure that the tensors are those that outlive a step, `expected` by name and type.
    ///
    /// # Errors
    /// Every missing, unexpected and mis-shaped tensor at once.
    pub(super) fn expect_tensors(&self, expected: &BTreeMap<String, Tensor>) -> Result<(), Error> {
        let shown = |tensor: &Tensor| format!("{}{:?}", tensor.dtype().name(), tensor.shape());
        let mut problems = Vec::new();
        for (name, wanted) in expected {
            match self.tensors.get(name) {
                None => problems.push(format!("`{name}` {} is missing", shown(wanted))),
                Some(found) if shown(found) != shown(wanted) => problems.push(format!(
                    "`{name}` is {} in the file and {} in the model",
                    shown(found),
                    shown(wanted)
                )),
                Some(_) => {}
            }
        }
        // State of what is frozen now is put aside; a parameter of no model is not.
        let unexpected = self.tensors.keys().filter(|name| {
            let parameter = name.split('/').next().unwrap_or_default();
            let put_aside = name.contains('/') && expected.contains_key(parameter);
            !put_aside && !expected.contains_key(*name)
        });
        problems.extend(unexpected.map(|name| format!("`{name}` is not part of the model")));
        if problems.is_empty() {
            return Ok(());
        }
        Err(Error::request(
            format!("{} is of another model: {}", self.path.display(), problems.join("; ")),
            "resume with the program and the settings of the run",
        ))
    }
}

/// CRC-32 of texts and tensors, in hexadecimal digits.
fn checksum(texts: &[&str], tensors: &BTreeMap<String, Tensor>) -> String {
    let mut crc = Crc::new();
    for text in texts {
        crc.update(text.as_bytes());
        crc.update(&[0]);
    }
    for (name, tensor) in tensors {
        crc.update(name.as_bytes());
        crc.update(&[0]);
        crc.update(tensor.bytes());
    }
    format!("{:08x}", crc.sum())
}
