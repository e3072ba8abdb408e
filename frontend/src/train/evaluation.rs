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

/// What an evaluation has compiled, for the next one of the same recipe on as many samples.
#[derive(Default)]
pub(super) struct Compiled {
    /// For whole batches.
    whole: Option<Session>,
    /// For what remains: its program, its number of samples, and the session.
    rest: Option<(Program, usize, Session)>,
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
        set_weights: impl FnMut(&mut Session) -> Result<(), SessionError>,
    ) -> Result<Metrics, Error> {
        let order: Vec<u32> = (0..samples.len() as u32).collect();
        self.run_again(&mut Compiled::default(), samples, &order, set_weights)
    }

    /// As [`Evaluation::run`], over the samples at `order`, with what was compiled before.
    ///
    /// # Errors
    /// As [`Evaluation::run`].
    pub(super) fn run_again(
        &self,
        compiled: &mut Compiled,
        samples: &Dataset,
        order: &[u32],
        mut set_weights: impl FnMut(&mut Session) -> Result<(), SessionError>,
    ) -> Result<Metrics, Error> {
        let (whole, rest) = order.split_at(order.len() / self.batch * self.batch);
        let mut tally = Tally::new(self.recipe);
        let mut last = None;
        if !whole.is_empty() {
            let program = &self.recipe.evaluation;
            if compiled.whole.is_none() {
                compiled.whole = Some(Session::new(&program.graph, self.options)?);
            }
            if let Some(session) = &mut compiled.whole {
                begin(session, program, &mut set_weights)?;
                for indices in whole.chunks_exact(self.batch) {
                    step(session, samples, indices, &mut tally)?;
                }
            }
            last = compiled.whole.as_ref();
        }
        if !rest.is_empty() {
            if compiled.rest.as_ref().is_none_or(|(_, count, _)| *count != rest.len()) {
                compiled.rest = Some(self.compile_rest(rest.len())?);
            }
            if let Some((program, _, session)) = &mut compiled.rest {
                begin(session, program, &mut set_weights)?;
                if let Some(before) = last {
                    session.continue_pass(program, before)?;
                }
                step(session, samples, rest, &mut tally)?;
            }
            last = compiled.rest.as_ref().map(|(_, _, session)| session);
        }
        let Some(session) = last else {
            return Err(Error::request("there are no samples to evaluate", "give some"));
        };
        Ok(tally.finish(session)?)
    }

    fn compile_rest(&self, count: usize) -> Result<(Program, usize, Session), Error> {
        let mut bindings = self.bindings.clone();
        bindings.settings.insert("batch".to_owned(), count.to_string());
        if let Some(dim) = &self.recipe.plan.batch_dim {
            bindings.dims.insert(dim.clone(), count);
        }
        let name = Some(self.recipe.plan.name.as_str());
        let program = elaborate_recipe(self.package, name, &bindings)?.evaluation;
        let session = Session::new(&program.graph, self.options)?;
        Ok((program, count, session))
    }
}

/// Puts weights and first values in place, for a pass that is not seen outside.
fn begin(
    session: &mut Session,
    program: &Program,
    set_weights: &mut impl FnMut(&mut Session) -> Result<(), SessionError>,
) -> Result<(), Error> {
    set_weights(session)?;
    session.set_scalars(program);
    session.begin_pass(program, 0)?;
    session.executor().set_step_number(0);
    Ok(())
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
