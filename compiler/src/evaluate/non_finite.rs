//! Which operation a NaN or an infinity comes from.

use super::{Precision, Steps};
use crate::array::Array;
use crate::graph::{Graph, Node, NodeId};
use crate::op::indexing::first_outside;
use crate::op::{Op, Scan};

/// The operation that a NaN or an infinity comes from.
#[derive(Clone, Debug)]
pub struct Culprit<'g> {
    /// Its node, in the graph or in the innermost of the loops' bodies.
    pub node: &'g Node,
    /// Its value.
    pub value: Array,
    /// For a gathering or scattering that gives NaN because of an index: the index, and the extent
    /// of the axis that it lies outside of.
    pub outside: Option<(i64, usize)>,
    /// The loops that it stands in, outermost first.
    pub steps: Vec<StepOf<'g>>,
}

/// A step of a loop.
#[derive(Clone, Copy, Debug)]
pub struct StepOf<'g> {
    /// The loop's node.
    pub node: &'g Node,
    /// How many steps were done before.
    pub number: usize,
    /// How many steps the loop has.
    pub length: usize,
}

/// The operation where the first non-finite value of the graph's results arose; `values` are
/// those of all nodes, in this precision. `None` if guards, outputs and updates are all finite.
///
/// Starting at a result that is not finite (guards before outputs before updates), operands are
/// followed as long as one explains what is seen: a NaN operand, else an infinite one, unless its
/// infinities were written in the program (a mask of `-inf`). Loops are run again, up to the step
/// that first hands on, or yields, what is not finite.
pub fn first_non_finite<'g>(
    graph: &'g Graph,
    values: &[Array],
    precision: Precision,
) -> Option<Culprit<'g>> {
    let outputs = graph.outputs.iter().map(|output| output.node);
    let updates = graph.updates.iter().map(|update| update.node);
    let mut results = graph.guards.iter().copied().chain(outputs).chain(updates);
    let start = results.find(|&result| !is_finite(&values[result.index()]))?;
    let intended = intended_infinities(graph, values, false);
    Some(Search { graph, values, intended, precision }.follow(start))
}

/// A graph with the values of its nodes.
struct Search<'a, 'g> {
    graph: &'g Graph,
    values: &'a [Array],
    /// Per node: whether it is infinite only because the program says so.
    intended: Vec<bool>,
    precision: Precision,
}

impl<'g> Search<'_, 'g> {
    /// Follows what is not finite from a node to where it arose.
    fn follow(&self, start: NodeId) -> Culprit<'g> {
        let mut current = start;
        // The result of the loop that is `current`.
        let mut result = 0;
        loop {
            let node = self.graph.node(current);
            let nan = node.operands.iter().find(|operand| has_nan(&self.values[operand.index()]));
            let infinite = || node.operands.iter().find(|&&operand| self.is_suspect(operand));
            if let Some(&operand) = nan.or_else(infinite) {
                if let Op::Port(port) = &node.op {
                    result = port.index;
                }
                current = operand;
                continue;
            }
            let operands: Vec<&Array> =
                node.operands.iter().map(|operand| &self.values[operand.index()]).collect();
            if let Op::Scan(scan) = &node.op
                && let Some(culprit) = self.in_loop(node, scan, &operands, result)
            {
                return culprit;
            }
            let outside = first_outside(&node.op, &operands);
            let value = self.values[current.index()].clone();
            return Culprit { node, value, outside, steps: Vec::new() };
        }
    }

    /// Whether a node is not finite, for no reason that the program gives.
    fn is_suspect(&self, node: NodeId) -> bool {
        !is_finite(&self.values[node.index()]) && !self.intended[node.index()]
    }

    /// Finds the culprit for a result of a loop with innocent operands.
    fn in_loop(
        &self,
        node: &'g Node,
        scan: &'g Scan,
        operands: &[&Array],
        result: usize,
    ) -> Option<Culprit<'g>> {
        let body = &*scan.body;
        // What is handed on may have led to the result, what else is yielded has not.
        let ways: Vec<NodeId> =
            (0..scan.carries).chain([result]).map(|number| body.outputs[number].node).collect();
        let mut found = None;
        let mut number = 0;
        let steps = Steps { precision: self.precision, ..Steps::new(scan, operands) };
        steps.run(|_, values| {
            if found.is_none() {
                // Infinities in operands are intended, and so are those of steps before: they
                // would have been found there.
                let intended = intended_infinities(body, values, true);
                let search = Search { graph: body, values, intended, precision: self.precision };
                let way = ways
                    .iter()
                    .find(|&&way| has_nan(&values[way.index()]) || search.is_suspect(way));
                found = way.map(|&way| {
                    let mut culprit = search.follow(way);
                    culprit.steps.insert(0, StepOf { node, number, length: scan.length });
                    culprit
                });
            }
            number += 1;
        });
        found
    }
}

fn is_finite(array: &Array) -> bool {
    array.values.iter().all(|value| value.is_finite())
}

fn has_nan(array: &Array) -> bool {
    array.values.iter().any(|value| value.is_nan())
}

fn has_infinity(array: &Array) -> bool {
    array.values.iter().any(|value| value.is_infinite())
}

/// For each node, whether it is infinite only because the program says so: a constant, or something
/// that got its infinities from one; or a slot, if those of `slots` are intended.
fn intended_infinities(graph: &Graph, values: &[Array], slots: bool) -> Vec<bool> {
    let mut intended = vec![false; graph.nodes.len()];
    for (id, node) in graph.iter() {
        let value = &values[id.index()];
        if has_nan(value) || !has_infinity(value) {
            continue;
        }
        let mut sources =
            node.operands.iter().map(|o| o.index()).filter(|&operand| intended[operand]);
        intended[id.index()] = match &node.op {
            Op::Constant(_) => true,
            Op::Slot(_) => slots,
            Op::Pad(pad) if pad.value.value().is_infinite() => true,
            // Not if some element overflowed by itself.
            Op::Elementwise(_) => {
                let sources: Vec<usize> = sources.collect();
                let passed = |element: usize| {
                    sources.iter().any(|&source| values[source].values[element].is_infinite())
                };
                let mut infinite =
                    (0..value.values.len()).filter(|&element| value.values[element].is_infinite());
                infinite.all(passed)
            }
            _ => sources.next().is_some(),
        };
    }
    intended
}
