//! Evaluation: a recipe's objectives and reports over a set of samples, each exactly once.

use crate::data::dataset::Dataset;
use crate::error::Error;
use crate::language::bindings::Bindings;
use crate::language::package::Package;
use crate::language::program::RecipeGraph;
use crate::language::recipe::elaborate_recipe;
use crate::session::{Session, SessionError, SessionOptions};

use super::{Metrics, batches};

/// Runs the body of a recipe without updates.
pub struct Evaluation<'a> {
    /// Where the recipe stands.
    pub package: &'a Package,
    /// The recipe, elaborated for `batch` samples.
    pub recipe: &'a RecipeGraph,
    /// What it was elaborated with.
    pub bindings: &'a Bindings,
    /// Compilation and threads.
    pub options: &'a SessionOptions,
    /// Samples per step.
    pub batch: usize,
}

impl Evaluation<'_> {
    /// Averages over `samples`, with the weights that `set_weights` puts in place. Batches are as
    /// large as the recipe's; what remains is a smaller batch, compiled for its size.
    ///
    /// # Errors
    /// If compilation fails or a weight does not fit.
    pub fn run(
        &self,
        samples: &Dataset,
        mut set_weights: impl FnMut(&mut Session) -> Result<(), SessionError>,
    ) -> Result<Metrics, Error> {
        let all: Vec<u32> = (0..samples.len() as u32).collect();
        let batch = self.batch;
        let (whole, rest) = all.split_at(all.len() / batch * batch);
        let mut sums = Metrics::new();
        if !whole.is_empty() {
            let mut session = Session::new(&self.recipe.evaluation.graph, self.options)?;
            self.prepare(&mut session, &mut set_weights)?;
            for indices in whole.chunks_exact(batch) {
                self.step(&mut session, samples, indices, &mut sums)?;
            }
        }
        if !rest.is_empty() {
            let mut bindings = self.bindings.clone();
            bindings.settings.insert("batch".to_owned(), rest.len().to_string());
            if let Some(dim) = &self.recipe.plan.batch_dim {
                bindings.dims.insert(dim.clone(), rest.len());
            }
            let name = Some(self.recipe.plan.name.as_str());
            let smaller = elaborate_recipe(self.package, name, &bindings)?;
            let mut session = Session::new(&smaller.evaluation.graph, self.options)?;
            self.prepare(&mut session, &mut set_weights)?;
            self.step(&mut session, samples, rest, &mut sums)?;
        }
        for value in sums.values_mut() {
            *value /= all.len() as f64;
        }
        Ok(sums)
    }

    fn prepare(
        &self,
        session: &mut Session,
        set_weights: &mut impl FnMut(&mut Session) -> Result<(), SessionError>,
    ) -> Result<(), Error> {
        set_weights(session)?;
        session.set_scalars(&self.recipe.evaluation);
        Ok(())
    }

    /// Adds the averages over a batch, times its size.
    fn step(
        &self,
        session: &mut Session,
        samples: &Dataset,
        indices: &[u32],
        sums: &mut Metrics,
    ) -> Result<(), Error> {
        batches::fill(session, samples, indices)?;
        session.step();
        for name in self.recipe.objectives.iter().chain(&self.recipe.reports) {
            let value = session.scalar_output(name)?;
            *sums.entry(name.clone()).or_default() += value * indices.len() as f64;
        }
        Ok(())
    }
}
