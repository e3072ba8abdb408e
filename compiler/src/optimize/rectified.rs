//! Comparisons of what a rectifier is given become comparisons of what it gives.
//!
//! The gradient of `y = max(x, 0)` flows where `x` is above 0, which is where `y` is. `y` is in memory for
//! what follows; `x` need not be, if nothing else asks for what it is made of. (After a batch normalization
//! something does: its input is kept, and `x` is computed from it again.)

use crate::graph::{Emit, Graph, Node, NodeId};
use crate::op::{Constant, Op};

/// The graph with comparisons of results of `select(x <= 0, 0, x)` and `select(0 < x, x, c x)`, `c` above 0,
/// in place of those of `x`, but where they are computed.
pub(super) fn compare_results(graph: &Graph) -> Graph {
    let mut result = Graph::new();
    result.slots.clone_from(&graph.slots);
    let mut nodes: Vec<NodeId> = Vec::with_capacity(graph.nodes.len());
    let uses = graph.uses();
    // What stands for a comparison from here on.
    let mut compared: Vec<Option<NodeId>> = vec![None; graph.nodes.len()];
    for node in &graph.nodes {
        let rectified = rectified(graph, node);
        let operands: Vec<NodeId> = (node.operands.iter())
            .map(|operand| match compared[operand.index()] {
                Some(other) if rectified != Some(*operand) => other,
                _ => nodes[operand.index()],
            })
            .collect();
        result.set_origin(node.origin.clone());
        let emitted = result.emit(node.op.clone(), &operands);
        nodes.push(emitted);
        if let Some(comparison) = rectified
            && uses[comparison.index()] > 1
        {
            let [left, right] = graph.node(comparison).operands[..] else { continue };
            let is_constant = |operand| matches!(graph.node(operand).op, Op::Constant(_));
            let argument = if is_constant(left) { right } else { left };
            // The argument is read by the comparison and by what rectifies.
            if !is_for_itself(graph, &uses, argument, 1 + node_uses(node, argument)) {
                continue;
            }
            let other =
                |operand| if is_constant(operand) { nodes[operand.index()] } else { emitted };
            let op = graph.node(comparison).op.clone();
            compared[comparison.index()] = Some(result.emit(op, &[other(left), other(right)]));
        }
    }
    result.set_origin(Default::default());
    result.take_results(graph, |old| nodes[old.index()]);
    result
}

/// How often a node reads another, itself or times a constant.
fn node_uses(node: &Node, argument: NodeId) -> usize {
    let itself = node.operands.iter().filter(|&&operand| operand == argument).count();
    itself + usize::from(itself == 1 && node.operands.len() == 3 && node.operands[1] == argument)
}

/// Whether a node has so many users, and nothing else reads the large tensors that it is computed from.
fn is_for_itself(graph: &Graph, uses: &[usize], node: NodeId, users: usize) -> bool {
    let elements = |id: NodeId| graph.type_of(id).elements();
    let op = &graph.node(node).op;
    uses[node.index()] <= users
        && (!(matches!(op, Op::Elementwise(_) | Op::Cast(_)) || op.is_movement())
            || graph.node(node).operands.iter().all(|&operand| {
                let is_large = elements(operand) >= elements(node);
                let is_constant = matches!(graph.node(operand).op, Op::Constant(_));
                !is_large || is_constant || is_for_itself(graph, uses, operand, 1)
            }))
}

/// The comparison of its argument, if a node rectifies.
fn rectified(graph: &Graph, node: &Node) -> Option<NodeId> {
    if !is(node, "select") {
        return None;
    }
    let [condition, yes, no] = node.operands[..] else { return None };
    let comparison = graph.node(condition);
    let [left, right] = comparison.operands[..] else { return None };
    let zero = |id: NodeId| constant(graph, id) == Some(0.0);
    let rectifies = if is(comparison, "le") {
        zero(right) && zero(yes) && no == left
    } else if is(comparison, "lt") {
        let product = graph.node(no);
        let is_less = || match product.operands[..] {
            [a, b] if is(product, "mul") => {
                let positive = |id: NodeId| constant(graph, id).is_some_and(|c| c > 0.0);
                (a == right && positive(b)) || (b == right && positive(a))
            }
            _ => false,
        };
        zero(left) && yes == right && is_less()
    } else {
        false
    };
    rectifies.then_some(condition)
}

fn is(node: &Node, name: &str) -> bool {
    matches!(&node.op, Op::Elementwise(function) if function.entry().name == name)
}

fn constant(graph: &Graph, id: NodeId) -> Option<f64> {
    match &graph.node(id).op {
        Op::Constant(Constant { value, .. }) => Some(value.value()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::Array;
    use crate::evaluate::Evaluator;
    use crate::graph::{Output, SlotRole};
    use crate::types::{DType, TensorType};

    /// The gradient of a rectifier of a product, with or without another user of the product; and the node that its
    /// condition compares.
    fn gradient(leaky: bool, shared: bool) -> (Graph, Graph) {
        let mut g = Graph::new();
        let matrix = |g: &mut Graph, name: &str| {
            let ty = TensorType::new(DType::F32, &[4, 4]);
            let slot = g.declare_slot(name, SlotRole::Input, ty);
            g.read_slot(slot)
        };
        let [a, b, dy] = ["a", "b", "dy"].map(|name| matrix(&mut g, name));
        let x = g.contract(a, b, &[], &[(1, 0)]);
        let zero = g.constant_like(x, 0.0);
        let slope = g.constant_like(x, 0.25);
        let [y, dx] = match leaky {
            true => {
                let condition = g.apply("lt", &[zero, x]);
                let [below, back] = [x, dy].map(|node| g.mul(node, slope));
                [g.select(condition, x, below), g.select(condition, dy, back)]
            }
            false => {
                let condition = g.apply("le", &[x, zero]);
                [g.select(condition, zero, x), g.select(condition, zero, dy)]
            }
        };
        let mut results = vec![y, dx];
        if shared {
            results.push(g.mul(x, dx));
        }
        for (number, node) in results.into_iter().enumerate() {
            g.outputs.push(Output { name: number.to_string(), node });
        }
        let compared = compare_results(&g);
        compared.verify().unwrap();
        (g, compared)
    }

    fn comparisons(graph: &Graph) -> usize {
        graph.nodes.iter().filter(|node| is(node, "le") || is(node, "lt")).count()
    }

    #[test]
    fn gradients_compare_results_with_the_same_outcome() {
        for leaky in [false, true] {
            let (before, after) = gradient(leaky, false);
            assert_eq!([&before, &after].map(comparisons), [1, 2]);
            let mut values: Vec<f64> = (0..16).map(|i| (i as f64 * 1.3).sin()).collect();
            // Exact zeros, and what is no number.
            values[4..8].fill(0.0);
            values[9] = f64::NAN;
            let slots: Vec<Array> = (before.slots.iter())
                .map(|slot| Array::new(slot.ty.clone(), values.clone()))
                .collect();
            let of = |graph: &Graph| Evaluator::new(&slots).run(graph).outputs;
            for (a, b) in of(&before).iter().zip(of(&after)) {
                let same = |(a, b): (&f64, &f64)| a == b || a.is_nan() && b.is_nan();
                assert!(a.values.iter().zip(&b.values).all(same), "{a:?} and {b:?}");
            }
        }
    }

    #[test]
    fn arguments_that_are_needed_anyway_are_compared_as_before() {
        for leaky in [false, true] {
            let (_, after) = gradient(leaky, true);
            assert_eq!(comparisons(&after), 1);
        }
    }
}
