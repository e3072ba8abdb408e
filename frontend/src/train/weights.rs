//! Weights in files, with the static values of the models that they belong to.
//!
//! A file says which models it holds the parameters of: `charlm` with `hidden = 256`. So it can be
//! run without repeating what it was trained with, and is refused where it does not belong.

use std::collections::BTreeMap;
use std::path::Path;

use crate::data::load::Loaded;
use crate::data::scale::Scale;
use crate::data::weights::{Weights, write_weights};
use crate::error::Error;
use crate::language::bindings::Bindings;
use crate::language::definition::ModelEntry;
use crate::language::evaluate::is_input;
use crate::language::program::{GraphParameter, ModelInstance, Program, RecipePlan};
use crate::session::Session;

/// The key of the metadata with the models, by path, as JSON.
const MODELS: &str = "models";

/// The key of the metadata with the static parameters of the recipe, as JSON.
const SETTINGS: &str = "settings";

/// The key of the metadata with what the numbers in the data's fields stand for, as JSON: names of
/// classes, characters, words.
const CLASSES: &str = "classes";

/// The key of the metadata with the scales of the data's columns, as JSON.
const SCALES: &str = "scales";

/// Whether a tensor of this name is a counter in PyTorch's batch normalization that nothing
/// depends on.
pub(super) fn is_counter(name: &str) -> bool {
    name.rsplit('.').next() == Some("num_batches_tracked")
}

/// Writes all parameters and buffers of a recipe's program as safetensors, all or nothing, with
/// the scales of its data and the names of their classes.
///
/// # Errors
/// If the file cannot be written; it is then as it was.
pub fn save_weights(
    session: &Session,
    program: &Program,
    plan: &RecipePlan,
    data: &Loaded,
    path: &Path,
) -> Result<(), Error> {
    let named = data.train.fields().iter();
    let classes: BTreeMap<&str, &[String]> =
        named.filter_map(|field| Some((field.name(), field.class_names()?))).collect();
    let mut tensors = Vec::new();
    for parameter in program.parameters.iter().filter(|parameter| parameter.saved()) {
        tensors.push((parameter.path.as_str(), session.get(&parameter.path)?));
    }
    let metadata = BTreeMap::from([
        ("format".to_owned(), "cygnet".to_owned()),
        ("recipe".to_owned(), plan.name.clone()),
        (SETTINGS.to_owned(), json(&plan.statics)),
        (MODELS.to_owned(), json(&program.models)),
        (SCALES.to_owned(), json(&data.scales)),
        (CLASSES.to_owned(), json(&classes)),
    ]);
    write_weights(path, tensors.iter().map(|(name, tensor)| (*name, tensor)), &metadata)
        .map_err(Error::data)
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("maps of texts become JSON")
}

/// Reads parameters and buffers from a safetensors file into a session. Tensors of the file that
/// the model does not have are an error too: the file then belongs to another model.
///
/// # Errors
/// Every missing, unexpected and mis-shaped tensor at once; nothing is set then.
pub fn load_weights(session: &mut Session, program: &Program, path: &Path) -> Result<(), Error> {
    StoredWeights::read(path)?.load(session, program, "")
}

/// A file of weights, and what it says about them.
pub struct StoredWeights {
    path: String,
    weights: Weights,
    models: BTreeMap<String, ModelInstance>,
    settings: BTreeMap<String, String>,
    /// How the columns that the models were trained on were standardized: their inputs must be
    /// scaled in the same way wherever they are used.
    pub scales: Vec<Scale>,
}

impl StoredWeights {
    /// Opens a safetensors file. One that Cygnet did not write says nothing about models.
    ///
    /// # Errors
    /// If the file cannot be read or is damaged.
    pub fn read(path: &Path) -> Result<StoredWeights, Error> {
        let weights = Weights::read(path).map_err(Error::data)?;
        let path = path.display().to_string();
        let damaged = |key: &str| {
            Error::request(
                format!("{path}: the entry `{key}` of the metadata is damaged"),
                "save the weights again",
            )
        };
        let own = weights.metadata("format") == Some("cygnet");
        let entry = |key: &str| weights.metadata(key).filter(|_| own).unwrap_or("{}");
        let models = serde_json::from_str(entry(MODELS)).map_err(|_| damaged(MODELS))?;
        let settings = serde_json::from_str(entry(SETTINGS)).map_err(|_| damaged(SETTINGS))?;
        let scales = weights.metadata(SCALES).filter(|_| own).unwrap_or("[]");
        let scales = serde_json::from_str(scales).map_err(|_| damaged(SCALES))?;
        Ok(StoredWeights { path, weights, models, settings, scales })
    }

    /// The static parameters of the recipe `name` when it made the weights.
    pub fn recipe_settings(&self, name: &str) -> BTreeMap<String, String> {
        match self.weights.metadata("recipe") == Some(name) {
            true => self.settings.clone(),
            false => BTreeMap::new(),
        }
    }

    /// The path of the instance of a model in the file; the root if the file says nothing.
    ///
    /// # Errors
    /// If several instances are of this model, or none and the file holds other ones.
    pub fn instance_path(&self, model: &str) -> Result<&str, Error> {
        let of_model = self.models.iter().filter(|(_, instance)| instance.model == model);
        let paths: Vec<&str> = of_model.map(|(path, _)| path.as_str()).collect();
        // What lies inside another one of them belongs to it.
        let outer = paths.iter().copied().filter(|path| {
            !paths.iter().any(|other| path != other && strip_path(path, other).is_some())
        });
        match (outer.collect::<Vec<&str>>().as_slice(), self.models.is_empty()) {
            (_, true) => Ok(""),
            ([path], _) => Ok(path),
            ([], _) => {
                let names: Vec<&str> =
                    self.models.values().map(|instance| instance.model.as_str()).collect();
                Err(Error::request(
                    format!("{} has no weights of the model `{model}`", self.path),
                    format!("it has those of {}", names.join(", ")),
                ))
            }
            (paths, _) => Err(Error::request(
                format!(
                    "{} has the weights of {} instances of `{model}`: {}",
                    self.path,
                    paths.len(),
                    paths.join(", ")
                ),
                "save the weights of one of them in a file of its own",
            )),
        }
    }

    /// Adds the static values of the model in the file, at `path`, to what `bindings` sets.
    ///
    /// # Errors
    /// If `bindings` contradicts the file in a value that is no float.
    pub fn restore(
        &self,
        bindings: &mut Bindings,
        chosen: ModelEntry<'_>,
        path: &str,
    ) -> Result<(), Error> {
        let Some(instance) = self.models.get(path) else { return Ok(()) };
        let parameters = chosen.model.parameters.iter().filter(|parameter| !is_input(parameter));
        let names: Vec<&str> = parameters.map(|parameter| parameter.name.name.as_str()).collect();
        for (name, saved) in &instance.statics {
            match bindings.text(name) {
                Some(given) if is_structure(saved) && given.trim() != saved => {
                    return Err(Error::request(
                        format!(
                            "{} holds `{}` with {name} = {saved}, not {given}",
                            self.path, instance.model
                        ),
                        format!("leave `{name}` away, and give inputs of that size"),
                    ));
                }
                None if names.contains(&name.as_str()) => {
                    bindings.settings.insert(name.clone(), saved.clone());
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Puts parameters and buffers into a session. `prefix` is the path of the program's model in
    /// the file; what lies elsewhere is not looked at.
    ///
    /// # Errors
    /// Every missing, unexpected and mis-shaped tensor at once; nothing is set then.
    pub fn load(
        &self,
        session: &mut Session,
        program: &Program,
        prefix: &str,
    ) -> Result<(), Error> {
        let saved: Vec<&GraphParameter> =
            program.parameters.iter().filter(|parameter| parameter.saved()).collect();
        let mut problems = self.contradictions(program, prefix);
        let names = self.weights.names();
        for GraphParameter { path, ty, .. } in &saved {
            let name = join_path(prefix, path);
            if !names.contains(&name) {
                problems.push(format!("`{name}` {ty} is missing"));
                continue;
            }
            if let Err(error) = self.weights.check(&name, ty.dtype, &ty.shape) {
                problems.push(error.fault.to_string());
            }
        }
        if !program.partial {
            let inside = names.iter().filter_map(|name| strip_path(name, prefix));
            let unexpected = inside.filter(|name| {
                !is_counter(name) && saved.iter().all(|parameter| parameter.path != **name)
            });
            problems.extend(unexpected.map(|name| format!("`{name}` is not part of the model")));
        }
        if !problems.is_empty() {
            return Err(Error::request(
                format!("{} does not fit the model: {}", self.path, problems.join("; ")),
                "use the weights of this model, saved with the same sizes",
            ));
        }
        // One by one, so that no second copy of all weights is in memory; those first that take more
        // memory for a while.
        let (first, others): (Vec<_>, Vec<_>) =
            saved.into_iter().partition(|parameter| session.prepares(&parameter.path));
        for GraphParameter { path, ty, .. } in first.into_iter().chain(others) {
            let name = join_path(prefix, path);
            let in_place = match session.bytes_mut(path) {
                Ok(bytes) => self.weights.read_into(&name, ty.dtype, bytes).map_err(Error::data)?,
                Err(_) => false,
            };
            if !in_place {
                let tensor = self.weights.parameter(&name, ty.dtype, &ty.shape);
                session.put(path, tensor.map_err(Error::data)?)?;
            }
        }
        Ok(())
    }

    /// Static values with which the program's models are not those of the file.
    fn contradictions(&self, program: &Program, prefix: &str) -> Vec<String> {
        let mut found = Vec::new();
        for (path, instance) in &program.models {
            let Some(saved) = self.models.get(&join_path(prefix, path)) else { continue };
            for (name, value) in &instance.statics {
                let other = saved.statics.get(name).filter(|other| *other != value);
                if let Some(other) = other.filter(|other| is_structure(other)) {
                    let model = &instance.model;
                    found.push(format!("`{model}` was saved with {name} = {other}, not {value}"));
                }
            }
        }
        found
    }
}

/// Whether a static value says what the weights mean, rather than how much of something there is:
/// floats, such as a share that is dropped, may change.
fn is_structure(text: &str) -> bool {
    text.parse::<i64>().is_ok() || text.parse::<f64>().is_err()
}

fn join_path(prefix: &str, path: &str) -> String {
    match (prefix, path) {
        ("", path) => path.to_owned(),
        (prefix, "") => prefix.to_owned(),
        (prefix, path) => format!("{prefix}.{path}"),
    }
}

/// The rest of a path behind `prefix`, if it lies there.
fn strip_path<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    match prefix {
        "" => Some(path),
        prefix => path.strip_prefix(prefix)?.strip_prefix('.'),
    }
}
