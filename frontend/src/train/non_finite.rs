//! When a loss becomes infinite or NaN: finding the cause, keeping the last good weights.

use std::collections::BTreeMap;

use cygnet_compiler::array::Array;
use cygnet_compiler::evaluate::{Culprit, Evaluator, Precision, first_non_finite};
use cygnet_compiler::graph::SlotRole;
use cygnet_runtime::dtype::DType;
use cygnet_runtime::program::Outcome;
use cygnet_runtime::tensor::Tensor;

use crate::diagnostic::Diagnostic;
use crate::error::Error;
use crate::session::Session;

use super::steps::carried;
use super::trainer::Trainer;

/// Everything that steps change, as it was at some place of an epoch.
pub struct Snapshot {
    tensors: BTreeMap<String, Tensor>,
    /// The batches done in the epoch.
    done: usize,
}

impl Snapshot {
    /// Copies parameters, buffers and states after `done` batches.
    pub fn take(session: &Session, done: usize) -> Snapshot {
        Snapshot { tensors: carried(session), done }
    }

    fn restore(&self, session: &mut Session) -> Result<(), Error> {
        for (name, tensor) in &self.tensors {
            session.set(name, tensor)?;
        }
        Ok(())
    }

    /// The first tensor of which the session has not a number any more, or only infinity, where
    /// this has finite numbers only. States of optimizers and recipes may become infinite.
    pub fn spoilt(&self, session: &Session) -> Option<&str> {
        let weights = session.executable().slots.iter().filter(|slot| {
            slot.ty.dtype.is_float() && matches!(slot.role, SlotRole::Parameter | SlotRole::Buffer)
        });
        let mut spoilt = weights.filter_map(|slot| {
            let before = self.tensors.get_key_value(&slot.name)?;
            let is_spoilt = !is_finite(&session.get(&slot.name).ok()?) && is_finite(before.1);
            is_spoilt.then_some(before.0.as_str())
        });
        spoilt.next()
    }
}

fn is_finite(tensor: &Tensor) -> bool {
    match tensor.dtype() {
        DType::F32 => tensor.as_slice::<f32>().iter().all(|value| value.is_finite()),
        _ => (0..tensor.len()).all(|index| tensor.get_f64(index).is_finite()),
    }
}

/// What is wrong with a step.
enum Spoilt<'a> {
    /// Its loss.
    Loss,
    /// What it makes of this parameter or statistic.
    Weights(&'a str),
}

impl Trainer<'_> {
    /// Explains why step `number` of an epoch has no finite loss, or - if it is the one behind the
    /// last - why the weights are not finite at the end, leaving the trainer with the last good
    /// weights.
    ///
    /// If the weights were still finite, this step's forward pass is to blame. Otherwise the
    /// epoch is repeated from its snapshot - steps are deterministic - up to the step whose update
    /// spoilt them.
    pub(super) fn diagnose(
        &mut self,
        snapshot: &Snapshot,
        order: &[u32],
        epoch: usize,
        number: usize,
    ) -> Error {
        match self.find_cause(snapshot, order, epoch, number) {
            Ok(diagnostic) => Error::Program(vec![diagnostic]),
            Err(error) => error,
        }
    }

    fn find_cause(
        &mut self,
        snapshot: &Snapshot,
        order: &[u32],
        epoch: usize,
        number: usize,
    ) -> Result<Diagnostic, Error> {
        if snapshot.spoilt(self.session()).is_none() {
            return Ok(self.explain(epoch, number, Spoilt::Loss));
        }
        snapshot.restore(self.session())?;
        let batches = order.chunks_exact(self.schedule.batch).take(number).enumerate();
        for (earlier, samples) in batches.skip(snapshot.done) {
            let before = Snapshot::take(self.session(), earlier);
            self.feed(epoch, earlier, samples)?;
            let outcome = self.session().step();
            let spoilt = match outcome {
                Outcome::Finished => before.spoilt(self.session()).map(Spoilt::Weights),
                Outcome::NotFinite { .. } => Some(Spoilt::Loss),
            };
            if let Some(spoilt) = spoilt {
                before.restore(self.session())?;
                return Ok(self.explain(epoch, earlier, spoilt));
            }
        }
        Ok(self.explain(epoch, number, Spoilt::Loss))
    }

    /// Runs the step that the session is fed with in the reference evaluator, and names the
    /// operation where the first value that is not finite arises.
    fn explain(&self, epoch: usize, number: usize, spoilt: Spoilt<'_>) -> Diagnostic {
        let graph = &self.program().graph;
        let step = epoch * self.schedule.batches_per_epoch() + number;
        let slots: Vec<Array> = (graph.slots.iter())
            .map(|slot| {
                let tensor =
                    self.current_session().get(&slot.name).expect("every slot of the graph");
                let values = (0..tensor.len()).map(|index| tensor.get_f64(index)).collect();
                Array::new(slot.ty.clone(), values)
            })
            .collect();
        let mut evaluator = Evaluator::new(&slots);
        evaluator.context.seed = self.options.seed;
        evaluator.context.step = step as u64;
        evaluator.precision = Precision::Single;
        let values = evaluator.values(graph);
        let place =
            format!("step {} of epoch {} (step {} in all)", number + 1, epoch + 1, step + 1);
        let message = match spoilt {
            Spoilt::Loss => format!("the loss is no longer finite: {place}"),
            Spoilt::Weights(name) => {
                format!("`{name}` is no longer finite after the update of {place}")
            }
        };
        let diagnostic = Diagnostic::error("not-finite", message);
        let cause = first_non_finite(graph, &values, evaluator.precision);
        let diagnostic = match &cause {
            Some(culprit) => blame(diagnostic, culprit),
            None => diagnostic.note(
                "in the reference evaluator all values of this step are finite: native \
                 arithmetic overflows where exact arithmetic does not",
            ),
        };
        let remedy = match cause.and_then(|culprit| culprit.outside) {
            Some(_) => "indices count from 0: make the indexed axis longer, or correct the data",
            None => "lower the learning rate, clip gradients, or guard the operation",
        };
        diagnostic.help(format!("{remedy}; the last good weights are kept"))
    }
}

/// Says where a value that is not finite arose.
fn blame(mut diagnostic: Diagnostic, culprit: &Culprit<'_>) -> Diagnostic {
    let Culprit { node, value, outside, steps } = culprit;
    let value = value.values.iter().find(|value| !value.is_finite()).copied().unwrap_or(f64::NAN);
    let origin = &node.origin;
    let part = if origin.gradient { "the gradient of this" } else { "this" };
    let text = match outside {
        Some((index, extent)) => {
            format!("index {index} is out of range for an axis of {extent} ({})", node.op)
        }
        None => format!("{part} gives {value}, as the first of all ({})", node.op),
    };
    for (depth, span) in origin.spans.iter().enumerate() {
        diagnostic = match depth {
            0 => diagnostic.primary(*span, text.clone()),
            _ => diagnostic.secondary(*span, "called from here"),
        };
    }
    if origin.spans.is_empty() {
        diagnostic = diagnostic.note(text);
    }
    for step in steps {
        let back = if step.node.origin.gradient { ", on the way back" } else { "" };
        let text = format!("in step {} of the {} of this loop{back}", step.number + 1, step.length);
        diagnostic = match step.node.origin.spans.first() {
            Some(span) if !origin.spans.contains(span) => diagnostic.secondary(*span, text),
            _ => diagnostic.note(text),
        };
    }
    diagnostic
}
