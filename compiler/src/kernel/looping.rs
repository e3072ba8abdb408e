//! Kernels that are loops over a kernel graph.

use super::{KernelGraph, ValueId};

/// A loop: a kernel graph computed once for each step.
///
/// The body's slots are the loop's operands. A carry's slot gets a new value in each step by an
/// update of the body (without one it stays the same); the body's outputs are what a step yields.
/// In the body, the value of a sequence's slot is the element of the step, in place, and the value
/// of an output is the element of a stacked tensor outside.
#[derive(Clone, Debug)]
pub struct Loop {
    /// Number of steps; the most of them, if the loop may end early.
    pub length: usize,
    /// Whether the last elements of sequences come first.
    pub reverse: bool,
    /// What a step computes.
    pub body: KernelGraph,
    /// What each slot of the body is outside.
    pub operands: Vec<LoopOperand>,
    /// For each output of the body, the stacked tensor that it is an element of. If steps may be
    /// left out, it begins as zeros.
    pub yields: Vec<ValueId>,
    /// Whether the loop ends after the first step in which the last output of the body holds, a
    /// single bool for which there is nothing in `yields`.
    pub until: bool,
}

/// What a slot of a loop's body is outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoopOperand {
    /// A value handed from step to step.
    Carry {
        /// What the first step gets.
        initial: ValueId,
        /// What the last step leaves, if it is needed.
        result: Option<ValueId>,
    },
    /// Elements of the steps, stacked along the first axis.
    Sequence(ValueId),
    /// The same in all steps.
    Capture(ValueId),
}

impl LoopOperand {
    /// The value that the loop reads.
    pub fn read(&self) -> ValueId {
        match *self {
            LoopOperand::Carry { initial: value, .. }
            | LoopOperand::Sequence(value)
            | LoopOperand::Capture(value) => value,
        }
    }

    /// The same as a place to write to.
    pub fn read_mut(&mut self) -> &mut ValueId {
        match self {
            LoopOperand::Carry { initial: value, .. }
            | LoopOperand::Sequence(value)
            | LoopOperand::Capture(value) => value,
        }
    }
}

impl Loop {
    /// The value of the body that tells whether this was the last step.
    pub fn end(&self) -> Option<ValueId> {
        self.body.outputs.last().map(|(_, value)| *value).filter(|_| self.until)
    }

    /// The values that the loop writes.
    pub fn stored(&self) -> impl Iterator<Item = ValueId> {
        let results = self.operands.iter().filter_map(|operand| match operand {
            LoopOperand::Carry { result, .. } => *result,
            LoopOperand::Sequence(_) | LoopOperand::Capture(_) => None,
        });
        results.chain(self.yields.iter().copied())
    }

    /// The values that the loop writes, as places to write to.
    pub fn stored_mut(&mut self) -> impl Iterator<Item = &mut ValueId> {
        let results = self.operands.iter_mut().filter_map(|operand| match operand {
            LoopOperand::Carry { result, .. } => result.as_mut(),
            LoopOperand::Sequence(_) | LoopOperand::Capture(_) => None,
        });
        results.chain(&mut self.yields)
    }
}
