//! Samples in memory that several trainings share.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::{TrainOptions, Validation};
use crate::data::error::DataError;
use crate::data::load::{Loaded, load_scaled};
use crate::data::source::{FieldSpec, SourceSpec};

/// What was read so far, relative to one folder and with one part held out for validation, or none
/// yet of several.
#[derive(Debug, Default)]
pub struct Samples {
    entries: Mutex<Vec<Entry>>,
}

/// A source, the fields that were asked for, and what it gave.
type Entry = (SourceSpec, Vec<FieldSpec>, Arc<Loaded>);

/// Reads the samples of a `data` clause, unless they are shared and were read before.
pub fn load(
    source: &SourceSpec,
    fields: &[FieldSpec],
    base: &Path,
    options: &TrainOptions,
) -> Result<Arc<Loaded>, DataError> {
    let whole = read_shared(source, fields, base, options)?;
    match options.validate {
        // Cut anew for each training: folds that are kept would be as many copies of all samples.
        Some(Validation::Fold { fold, folds }) => Ok(Arc::new(whole.fold(fold, folds)?)),
        Some(Validation::Share(_)) | None => Ok(whole),
    }
}

/// The samples, before folds are cut.
fn read_shared(
    source: &SourceSpec,
    fields: &[FieldSpec],
    base: &Path,
    options: &TrainOptions,
) -> Result<Arc<Loaded>, DataError> {
    let read = || {
        let mut loaded = load_scaled(source, fields, base, options.scales.as_deref())?;
        if let Some(Validation::Share(share)) = options.validate {
            loaded.hold_out_for_validation(share)?;
        }
        Ok(Arc::new(loaded))
    };
    let Some(samples) = &options.samples else { return read() };
    // Locked while it reads: others that need the same samples wait for them.
    let mut entries = samples.entries.lock().unwrap_or_else(PoisonError::into_inner);
    let known = entries.iter().find(|(a, b, _)| (a, b.as_slice()) == (source, fields));
    if let Some((_, _, loaded)) = known {
        return Ok(Arc::clone(loaded));
    }
    let loaded = read()?;
    entries.push((source.clone(), fields.to_vec(), Arc::clone(&loaded)));
    Ok(loaded)
}
