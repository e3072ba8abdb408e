//! Between the loader and the sources: what a source is asked for, and what it hands back.

use std::path::{Path, PathBuf};

use super::error::{DataError, Fault};
use super::raw::RawField;
use super::source::{FieldSpec, Options, SourceSpec};

/// What a source is asked for.
pub(super) struct Request<'a> {
    /// The source as the recipe calls it.
    pub(super) spec: &'a SourceSpec,
    /// Its options; their names are known to be right.
    pub(super) options: Options<'a>,
    /// The fields to fill.
    pub(super) fields: &'a [FieldSpec],
    /// The seed for whatever is drawn.
    pub(super) seed: u64,
    /// What the paths are relative to.
    pub(super) base: &'a Path,
}

impl Request<'_> {
    /// The paths of the source, joined to the folder that they are relative to.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.spec.paths.iter().map(|path| self.base.join(path)).collect()
    }

    /// The extent that a field with a name declares for an axis.
    pub(super) fn declared_extent(&self, axis: usize) -> Option<usize> {
        let mut fields = self.fields.iter().filter(|field| !field.is_ignored());
        *fields.next()?.shape.get(axis)?
    }

    /// The source got other paths or fields than it takes.
    pub(super) fn wrong_count(&self, expected: &'static str, found: String) -> DataError {
        DataError::new(Fault::WrongCount { kind: self.spec.kind.clone(), expected, found })
    }
}

/// What a source has found: per field its values, none where the field is ignored.
pub(super) struct Contents {
    /// The values for training, or all values.
    pub(super) train: Vec<Option<RawField>>,
    /// The values for testing, if the source keeps them apart.
    pub(super) test: Option<Vec<Option<RawField>>>,
    /// What is to be done with the columns of a table once the training rows are known.
    pub(super) prepare: Prepare,
}

/// What is to be done with the columns of a table once the training rows are known.
#[derive(Default)]
pub(super) struct Prepare {
    /// The fields concerned: those that hold columns of numbers other than a target.
    pub(super) fields: Vec<usize>,
    /// Whether missing values are to be filled in.
    pub(super) fill: bool,
    /// Whether the columns are to be standardized.
    pub(super) standardize: bool,
    /// Whether each sample goes on where the one before ends.
    pub(super) contiguous: bool,
}

impl Contents {
    /// Values without separate test values that need no preparation.
    pub(super) fn plain(train: Vec<Option<RawField>>) -> Contents {
        Contents { train, test: None, prepare: Prepare::default() }
    }
}
