//! Evaluation: a recipe's objectives and reports over a set of samples, each exactly once.

use crate::data::dataset::Dataset;
use crate::error::Error;
use crate::language::bindings::Bindings;
use crate::language::package::Package;
use crate::language::program::{Program, RecipeGraph};
use crate::language::recipe::elaborate_recipe;
use crate::session::{Session, SessionError, SessionOptions};

use super::batches;
use super::metrics::{Metrics, Tally};

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
    /// Results over `samples`, with the weights that `set_weights` puts in place. Batches are as
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
        let mut tally = Tally::new(self.recipe);
        let mut last = None;
        if !whole.is_empty() {
            let program = &self.recipe.evaluation;
            let mut session = self.prepare(program, &mut set_weights)?;
            for indices in whole.chunks_exact(batch) {
                step(&mut session, samples, indices, &mut tally)?;
            }
            last = Some(session);
        }
        if !rest.is_empty() {
            let mut bindings = self.bindings.clone();
            bindings.settings.insert("batch".to_owned(), rest.len().to_string());
            if let Some(dim) = &self.recipe.plan.batch_dim {
                bindings.dims.insert(dim.clone(), rest.len());
            }
            let name = Some(self.recipe.plan.name.as_str());
            let smaller = elaborate_recipe(self.package, name, &bindings)?;
            let mut session = self.prepare(&smaller.evaluation, &mut set_weights)?;
            if let Some(before) = &last {
                session.continue_pass(&smaller.evaluation, before)?;
            }
            step(&mut session, samples, rest, &mut tally)?;
            last = Some(session);
        }
        let Some(session) = last else {
            return Err(Error::request("there are no samples to evaluate", "give some"));
        };
        Ok(tally.finish(&session)?)
    }

    /// A session with weights, at the beginning of a pass.
    fn prepare(
        &self,
        program: &Program,
        set_weights: &mut impl FnMut(&mut Session) -> Result<(), SessionError>,
    ) -> Result<Session, Error> {
        let mut session = Session::new(&program.graph, self.options)?;
        set_weights(&mut session)?;
        session.set_scalars(program);
        session.begin_pass(program, 0)?;
        Ok(session)
    }
}

/// Runs a batch.
fn step(
    session: &mut Session,
    samples: &Dataset,
    indices: &[u32],
    tally: &mut Tally,
) -> Result<(), Error> {
    batches::fill(session, samples, indices)?;
    session.step();
    tally.add(session, indices.len())?;
    Ok(())
}
