//! From samples to the inputs of a step.

use cygnet_runtime::dtype::DType;
use cygnet_runtime::random::shuffle;

use crate::data::dataset::Dataset;
use crate::data::load::Loaded;
use crate::data::source::FieldSpec;
use crate::error::Error;
use crate::language::bindings::Bindings;
use crate::language::package::Package;
use crate::language::program::{DataClause, DataField, RecipeGraph, RecipePlan};
use crate::language::recipe::elaborate_recipe;
use crate::session::Session;

/// How an epoch is cut into steps.
#[derive(Clone, Copy, Debug)]
pub struct Batches {
    /// Samples per batch.
    pub batch: usize,
    /// Batches per update.
    pub accumulate: usize,
    /// Updates per epoch. Samples that do not fill the batches of an update are left out of that
    /// epoch; the order is another one in each.
    pub steps_per_epoch: usize,
    /// Passes over the samples.
    pub epochs: usize,
}

impl Batches {
    /// What a recipe says, for these data.
    pub fn of(plan: &RecipePlan, data: &Loaded) -> Result<Batches, Error> {
        let samples = data.train.len();
        let missing = |what: &str| {
            Error::request(
                format!("the recipe `{}` does not say `{what}`", plan.name),
                format!("add a line `{what} …` to it, or --{what} N to the command"),
            )
        };
        let batch = plan.batch.ok_or_else(|| missing("batch"))?;
        let epochs = plan.epochs.ok_or_else(|| missing("epochs"))?;
        let accumulate = plan.accumulate.unwrap_or(1);
        if samples < batch {
            return Err(Error::request(
                format!("a batch takes {batch} samples, but there are {samples}"),
                format!("set a smaller batch: --batch {samples}"),
            ));
        }
        let batches = samples / batch;
        if batches < accumulate {
            return Err(Error::request(
                format!("an update takes {accumulate} batches, but an epoch has {batches}"),
                "accumulate fewer batches, or set a smaller batch",
            ));
        }
        Ok(Batches { batch, accumulate, steps_per_epoch: batches / accumulate, epochs })
    }

    /// Batches that are run in an epoch.
    pub fn batches_per_epoch(&self) -> usize {
        self.steps_per_epoch * self.accumulate
    }

    /// Updates in the whole run.
    pub fn steps(&self) -> usize {
        self.steps_per_epoch * self.epochs
    }
}

/// The order of the samples in an epoch: another one in each, unless they follow each other.
pub fn order(data: &Loaded, seed: u64, epoch: usize, batch: usize) -> Vec<u32> {
    match data.contiguous {
        true => side_by_side(data.train.len(), batch),
        false => shuffle(seed, epoch as u64, data.train.len() as u32),
    }
}

/// The order in which samples are evaluated.
pub fn evaluation_order(data: &Loaded, samples: &Dataset, batch: usize) -> Vec<u32> {
    match data.contiguous {
        true => side_by_side(samples.len(), batch),
        false => (0..samples.len() as u32).collect(),
    }
}

/// An order in which each place of a batch goes on, in the next batch, with the next sample: as
/// many stretches as a batch has samples run side by side. What remains comes last.
fn side_by_side(samples: usize, batch: usize) -> Vec<u32> {
    let length = samples / batch;
    let whole = (0..length).flat_map(|step| (0..batch).map(move |lane| lane * length + step));
    whole.chain(length * batch..samples).map(|sample| sample as u32).collect()
}

/// The `data` clause of a recipe.
pub fn data_clause(plan: &RecipePlan) -> Result<&DataClause, Error> {
    plan.data.as_ref().ok_or_else(|| {
        Error::request(
            format!("the recipe `{}` has no data", plan.name),
            "add a line `data NAME: TYPE from SOURCE(…)` to it",
        )
    })
}

/// The declared fields of a `data` clause, for the loader. Where the recipe can be elaborated
/// without its data, it is known what labels may be.
pub fn fields(
    package: &Package,
    plan: &RecipePlan,
    clause: &DataClause,
    bindings: &Bindings,
) -> Vec<FieldSpec> {
    let mut bound = bindings.clone();
    bound.dims = plan.dims(&[]);
    let labels = elaborate_recipe(package, Some(&plan.name), &bound)
        .map_or_else(|_| Vec::new(), |recipe| recipe.training.labels);
    let classes = |name: &str| labels.iter().find(|(n, _)| n == name).map(|&(_, classes)| classes);
    let field = |field: &DataField| FieldSpec {
        name: field.name.clone(),
        dtype: field.dtype.unwrap_or(DType::F32),
        shape: [None].into_iter().chain(field.axes.iter().skip(1).map(|axis| axis.size)).collect(),
        classes: classes(&field.name),
    };
    clause.fields.iter().map(field).collect()
}

/// Holds labels against their classes: of fields that were read before the number of these was
/// known, since it takes sizes that the data give.
///
/// # Errors
/// The first label that is out of range, with its place in the file.
pub fn check_labels(recipe: &RecipeGraph, data: &Loaded) -> Result<(), Error> {
    let span = recipe.plan.data.as_ref().map(|clause| clause.span);
    for (name, classes) in &recipe.training.labels {
        for samples in [Some(&data.train), data.test.as_ref()].into_iter().flatten() {
            if let Some(field) = samples.field_index(name) {
                samples
                    .check_labels(field, *classes)
                    .map_err(|error| Error::Data { error, span })?;
            }
        }
    }
    Ok(())
}

/// Shapes of the loaded fields in the order of the clause; empty for a field that is not used.
pub fn shapes<'a>(clause: &DataClause, samples: &'a Dataset) -> Vec<&'a [usize]> {
    let shape = |name: &str| match samples.field_index(name) {
        Some(index) => samples.fields()[index].tensor().shape(),
        None => &[][..],
    };
    clause.fields.iter().map(|field| shape(&field.name)).collect()
}

/// Copies the samples at `indices` to the inputs of `session`.
pub fn fill(session: &mut Session, samples: &Dataset, indices: &[u32]) -> Result<(), Error> {
    for (position, field) in samples.fields().iter().enumerate() {
        // A field that the recipe does not use has no slot.
        if session.has_slot(field.name()) {
            samples.gather(position, indices, session.bytes_mut(field.name())?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_run_side_by_side() {
        assert_eq!(side_by_side(7, 2), [0, 3, 1, 4, 2, 5, 6]);
        assert_eq!(side_by_side(3, 3), [0, 1, 2]);
        assert_eq!(side_by_side(2, 3), [0, 1]);
    }
}
