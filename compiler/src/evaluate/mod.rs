//! The reference evaluator: a graph's meaning, node by node in f64.
//!
//! It is the oracle that optimized and native execution are held against, so it is as plain as
//! can be: every node is computed in full by [`crate::op::Primitive::evaluate`].

mod kinks;
mod non_finite;
mod scan;

pub use kinks::kink_distance;
pub use non_finite::{Culprit, StepOf, first_non_finite};
pub use scan::{Steps, scan_results};

use crate::array::Array;
use crate::graph::{Graph, NodeId};
use crate::op::{Context, Op};

/// To what precision results are rounded, node by node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Floats stay f64, whatever their element type: for comparisons with finite differences, and
    /// as the exact value in comparisons with native code.
    #[default]
    Double,
    /// Nodes of f32 are rounded to f32, so that they overflow where native code does.
    Single,
}

/// Evaluates graphs for given values of their slots.
#[derive(Clone, Copy, Debug)]
pub struct Evaluator<'a> {
    /// What the operations depend on besides their operands.
    pub context: Context<'a>,
    /// How results are rounded.
    pub precision: Precision,
    /// The values of all nodes in another evaluation, in which stopped gradients are held fixed:
    /// in finite differences nothing varies through them, as in the gradient.
    pub held: Option<&'a [Array]>,
}

/// What a step gives its caller.
#[derive(Clone, Debug, PartialEq)]
pub struct Results {
    /// Values of the graph's outputs, in their order.
    pub outputs: Vec<Array>,
    /// New values of slots, in the order of the graph's updates.
    pub updates: Vec<(u32, Array)>,
}

impl<'a> Evaluator<'a> {
    /// An evaluator in double precision, at step 0 and with seed 0.
    pub fn new(slots: &'a [Array]) -> Evaluator<'a> {
        let context = Context { slots, seed: 0, step: 0 };
        Evaluator { context, precision: Precision::Double, held: None }
    }

    /// The values of all nodes, by number.
    ///
    /// # Panics
    /// If the slots are not as the graph declares them, or the graph is not valid.
    pub fn values(&self, graph: &Graph) -> Vec<Array> {
        assert!(
            self.context.slots.len() == graph.slots.len()
                && graph
                    .slots
                    .iter()
                    .zip(self.context.slots)
                    .all(|(slot, value)| slot.ty == value.ty),
            "the values of the slots have the slots' types"
        );
        let mut values = Vec::with_capacity(graph.nodes.len());
        for (id, _) in graph.iter() {
            values.push(self.node(graph, id, &values));
        }
        values
    }

    /// The value of one node, given those of its operands (all nodes before it).
    pub fn node(&self, graph: &Graph, id: NodeId, before: &[Array]) -> Array {
        let node = graph.node(id);
        if let (Op::StopGradient(_), Some(held)) = (&node.op, self.held) {
            return held[id.index()].clone();
        }
        let operands: Vec<&Array> =
            node.operands.iter().map(|operand| &before[operand.index()]).collect();
        let value = match &node.op {
            Op::Scan(scan) => {
                let held = self.held.map(|held| {
                    node.operands.iter().map(|operand| &held[operand.index()]).collect()
                });
                let precision = self.precision;
                return Steps { precision, held, ..Steps::new(scan, &operands) }.run(|_, _| {});
            }
            op => op.primitive().evaluate(&operands, &node.ty, &self.context),
        };
        match self.precision {
            Precision::Double => value,
            Precision::Single => value.rounded(),
        }
    }

    /// Outputs and updates.
    ///
    /// # Panics
    /// As [`Evaluator::values`].
    pub fn run(&self, graph: &Graph) -> Results {
        let values = self.values(graph);
        let value = |node: NodeId| values[node.index()].clone();
        Results {
            outputs: graph.outputs.iter().map(|output| value(output.node)).collect(),
            updates: graph.updates.iter().map(|update| (update.slot, value(update.node))).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
