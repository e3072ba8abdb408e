//! Gradient accumulation: one update for several batches.

use cygnet_compiler::graph::SlotRole;

use super::Run;
use crate::language::evaluate::{Eval, Stop};
use crate::language::initializer::Initializer;
use crate::language::value::{Given, Tensor, Value};

/// The run-time scalar that is 1 in the last batch of an update, and 0 before.
pub const COMPLETE: &str = "batches complete";

impl<'p> Run<'_, 'p> {
    /// The mean of the gradients of the `count` batches of an update, so far: complete in the last
    /// one. Their sum is a state of its own, which is 0 again after the update.
    pub(super) fn accumulated(
        &mut self,
        objective: &str,
        slots: &[usize],
        gradients: Vec<Tensor>,
        count: usize,
    ) -> Eval<Vec<Tensor>> {
        let mut means = Vec::with_capacity(gradients.len());
        for (&slot, gradient) in slots.iter().zip(gradients) {
            let record = self.evaluator.slots.record(slot).clone();
            let sum = self.evaluator.new_slot(
                format!("{}/{objective}/accumulated", record.path),
                SlotRole::State,
                (record.dtype, record.axes.clone()),
                Some(Initializer::ZEROS),
                record.span,
                record.root,
            );
            let before = self.evaluator.slots.record(sum).tensor();
            let total =
                self.compute("add", vec![Value::Tensor(before), Value::Tensor(gradient)])?;
            let share = Value::Float(Some(1.0 / count as f64));
            means.push(self.compute("mul", vec![Value::Tensor(total.clone()), share])?);
            let after = self.choose(Value::Float(Some(0.0)), Value::Tensor(total))?;
            self.evaluator.slots.update(sum, after.node);
        }
        Ok(means)
    }

    /// The new value of the parameter number `slot` if the batches of an update are complete, and
    /// the old one otherwise; likewise the states from number `first_state` on.
    pub(super) fn only_when_complete(
        &mut self,
        slot: usize,
        updated: Tensor,
        first_state: usize,
    ) -> Eval<Tensor> {
        for state in first_state..self.evaluator.slots.records().len() {
            let record = self.evaluator.slots.record(state).clone();
            let before = Tensor { node: record.versions.first().copied(), ..record.tensor() };
            let kept = self.choose(Value::Tensor(record.tensor()), Value::Tensor(before))?;
            self.evaluator.slots.update(state, kept.node);
        }
        let before = self.evaluator.slots.record(slot).tensor();
        self.choose(Value::Tensor(updated), Value::Tensor(before))
    }

    /// `new` in the last batch of an update, `old` before.
    fn choose(&mut self, new: Value<'p>, old: Value<'p>) -> Eval<Tensor> {
        let complete = self.evaluator.run_scalar(COMPLETE);
        let half = Value::Float(Some(0.5));
        let condition = self.compute("lt", vec![half, complete])?;
        self.compute("select", vec![Value::Tensor(condition), new, old])
    }

    /// An elementwise primitive of values, as a tensor.
    fn compute(&mut self, name: &str, operands: Vec<Value<'p>>) -> Eval<Tensor> {
        let span = self.evaluator.here();
        let operands = operands.into_iter().map(|value| Given { value, span }).collect();
        match self.evaluator.elementwise(name, operands)? {
            Value::Tensor(tensor) => Ok(tensor),
            _ => Err(Stop),
        }
    }
}
