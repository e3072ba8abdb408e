//! Which operation a NaN or an infinity comes from.

use crate::array::Array;
use crate::graph::{Graph, NodeId};
use crate::op::Op;
use crate::op::indexing::first_outside;

/// The operation where the first non-finite value of the graph's results arose; `values` are
/// those of all nodes. `None` if guards, outputs and updates are all finite.
///
/// Starting at a result that is not finite (guards before outputs before updates), operands are
/// followed as long as one explains what is seen: a NaN operand, else an infinite one, unless its
/// infinities were written in the program (a mask of `-inf`).
pub fn first_non_finite(graph: &Graph, values: &[Array]) -> Option<NodeId> {
    let outputs = graph.outputs.iter().map(|output| output.node);
    let updates = graph.updates.iter().map(|update| update.node);
    let mut results = graph.guards.iter().copied().chain(outputs).chain(updates);
    let finite = |node: NodeId| values[node.index()].values.iter().all(|value| value.is_finite());
    let start = results.find(|&result| !finite(result))?;

    let intended = intended_infinities(graph, values, start);
    let mut current = start;
    loop {
        let operands = &graph.node(current).operands;
        let nan = operands.iter().find(|operand| has_nan(&values[operand.index()]));
        let infinite = || {
            let unexplained = |operand: &&NodeId| !finite(**operand) && !intended[operand.index()];
            operands.iter().find(unexplained)
        };
        match nan.or_else(infinite) {
            Some(&operand) => current = operand,
            None => return Some(current),
        }
    }
}

/// The index because of which a gathering or scattering gives NaN, and the extent of the axis that
/// it lies outside of; `values` are those of all nodes.
pub fn index_outside(graph: &Graph, values: &[Array], node: NodeId) -> Option<(i64, usize)> {
    let node = graph.node(node);
    let operands: Vec<&Array> =
        node.operands.iter().map(|operand| &values[operand.index()]).collect();
    first_outside(&node.op, &operands)
}

fn has_nan(array: &Array) -> bool {
    array.values.iter().any(|value| value.is_nan())
}

fn has_infinity(array: &Array) -> bool {
    array.values.iter().any(|value| value.is_infinite())
}

/// For each node up to `last`, whether it is infinite only because the program says so: a
/// constant, or something that got its infinities from one.
fn intended_infinities(graph: &Graph, values: &[Array], last: NodeId) -> Vec<bool> {
    let mut intended = vec![false; last.index() + 1];
    for (id, node) in graph.iter().take(last.index() + 1) {
        let value = &values[id.index()];
        if has_nan(value) || !has_infinity(value) {
            continue;
        }
        let mut sources =
            node.operands.iter().map(|o| o.index()).filter(|&operand| intended[operand]);
        intended[id.index()] = match &node.op {
            Op::Constant(_) => true,
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
