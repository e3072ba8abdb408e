//! Level two: from the optimized graph to fused kernels.

mod assemble;
mod draft;
mod inline;
mod product;

use std::collections::BTreeSet;

use crate::graph::{Graph, NodeId};
use crate::kernel::KernelGraph;
use crate::op::Op;
use crate::optimize::OptimizeOptions;
use draft::Draft;

/// Covers a graph with kernels.
pub fn fuse(graph: &Graph, _options: &OptimizeOptions) -> KernelGraph {
    separate(graph)
}

/// Covers a graph with kernels, one for each node: nothing is fused except constants.
fn separate(graph: &Graph) -> KernelGraph {
    let roots = roots(graph);
    let drafts = needed(graph, &roots)
        .into_iter()
        .filter(|id| {
            let leaf = matches!(graph.node(*id).op, Op::Slot(_) | Op::Constant(_));
            !leaf || roots.contains(id)
        })
        .map(|id| Draft::of_node(graph, id));
    assemble::assemble(graph, drafts.collect())
}

/// The nodes whose tensors must be written.
fn roots(graph: &Graph) -> BTreeSet<NodeId> {
    let updates = graph.updates.iter();
    updates
        .filter(|update| !assemble::keeps_slot(graph, update.slot, update.node))
        .map(|update| update.node)
        .chain(graph.outputs.iter().map(|output| output.node))
        .chain(graph.guards.iter().copied())
        .collect()
}

/// The nodes that the roots depend on, and themselves, operands first.
fn needed(graph: &Graph, roots: &BTreeSet<NodeId>) -> Vec<NodeId> {
    let mut is_needed = vec![false; graph.nodes.len()];
    for root in roots {
        is_needed[root.index()] = true;
    }
    for (id, node) in graph.iter().rev() {
        if is_needed[id.index()] {
            for operand in &node.operands {
                is_needed[operand.index()] = true;
            }
        }
    }
    graph.iter().map(|(id, _)| id).filter(|id| is_needed[id.index()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Emit, Output, SlotRole, Update};
    use crate::kernel::interpret::interpret;
    use crate::kernel::verify::verify;
    use crate::types::{DType, TensorType};

    #[test]
    fn a_layer_as_separate_kernels() {
        let mut graph = Graph::new();
        let ty = |shape: &[usize]| TensorType::new(DType::F32, shape);
        graph.declare_slot("x", SlotRole::Input, ty(&[2, 3]));
        graph.declare_slot("w", SlotRole::Parameter, ty(&[2, 3]));
        let x = graph.read_slot(0);
        let w = graph.read_slot(1);
        let product = graph.contract(x, w, &[], &[(1, 1)]);
        let turned = graph.permute(product, &[1, 0]);
        let total = graph.sum(turned, &[1]);
        let two = graph.constant(DType::F32, &[2, 3], 2.0);
        let doubled = graph.mul(w, two);
        graph.outputs.push(Output { name: "total".to_owned(), node: total });
        graph.outputs.push(Output { name: "x".to_owned(), node: x });
        graph.updates.push(Update { slot: 1, node: doubled });
        let kernels = separate(&graph);
        verify(&kernels).unwrap();
        assert_eq!(kernels.kernels.node_count(), 5);
        let slots = [vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], vec![1.0, 0.0, 1.0, 0.0, 1.0, 0.0]];
        let values = interpret(&kernels, &slots, &|_, _, _| unreachable!("nothing is random"));
        assert_eq!(values[&kernels.outputs[0].1], [4.0 + 10.0, 2.0 + 5.0]);
        assert_eq!(values[&kernels.outputs[1].1], slots[0]);
        assert_eq!(values[&kernels.updates[0].1], [2.0, 0.0, 2.0, 0.0, 2.0, 0.0]);
    }
}
