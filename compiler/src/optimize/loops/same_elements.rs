//! Tensors of a step that have the same elements in another order or shape: stacking one of them
//! is enough.

use std::collections::BTreeMap;

use super::stack::{self, Outside};
use crate::graph::{Graph, NodeId};
use crate::op::{Emit, Op};

/// What a loop stacks.
pub struct Stacking {
    /// Nodes whose tensors are yielded.
    pub stacked: Vec<NodeId>,
    /// Further nodes, and which of the stacked ones has the same elements.
    pub moved: Vec<(NodeId, NodeId)>,
}

/// Picks what is stacked of nodes that are wanted for all steps: of those with the same elements,
/// the one that a product of the body reads, since it is written for that anyway.
pub fn stack_once(body: &Graph, wanted: &[NodeId]) -> Stacking {
    let in_product = |id: &NodeId| {
        let reads = |op: &Op| matches!(op, Op::Contract(_));
        body.nodes.iter().any(|node| reads(&node.op) && node.operands.contains(id))
    };
    let mut groups: BTreeMap<NodeId, Vec<NodeId>> = BTreeMap::new();
    for &id in wanted {
        groups.entry(base(body, id)).or_default().push(id);
    }
    let mut stacking = Stacking { stacked: Vec::new(), moved: Vec::new() };
    for group in groups.into_values() {
        let chosen = *group.iter().find(|id| in_product(id)).unwrap_or(&group[0]);
        stacking.stacked.push(chosen);
        let others = group.into_iter().filter(|&id| id != chosen);
        stacking.moved.extend(others.map(|id| (id, chosen)));
    }
    stacking.stacked.sort_unstable();
    stacking
}

/// The node that this one moves the elements of.
fn base(body: &Graph, id: NodeId) -> NodeId {
    steps(body, id).last().map_or(id, |&last| body.node(last).operands[0])
}

/// The movements that lead to a node from its base, the last one first.
fn steps(body: &Graph, id: NodeId) -> Vec<NodeId> {
    let mut steps = Vec::new();
    let mut at = id;
    while matches!(body.node(at).op, Op::Permute(_) | Op::Reshape(_)) {
        steps.push(at);
        at = body.node(at).operands[0];
    }
    steps
}

/// The second of two nodes with the same elements for all steps, given the first one's tensors,
/// stacked.
pub fn moved(
    graph: &mut Graph,
    body: &Graph,
    length: usize,
    [from, to]: [NodeId; 2],
    all: NodeId,
) -> NodeId {
    let mut at = all;
    for step in steps(body, from) {
        let node = body.node(step);
        at = match &node.op {
            Op::Permute(permute) => {
                let mut back: Vec<usize> = vec![0; permute.order.len() + 1];
                for (place, &axis) in permute.order.iter().enumerate() {
                    back[axis + 1] = place + 1;
                }
                graph.permute(at, &back)
            }
            _ => {
                let inner = &body.type_of(node.operands[0]).shape;
                let shape: Vec<usize> =
                    std::iter::once(length).chain(inner.iter().copied()).collect();
                graph.reshape(at, &shape)
            }
        };
    }
    for step in steps(body, to).into_iter().rev() {
        let moved = stack::apply(graph, length, &body.node(step).op, &[Outside::Stacked(at)]);
        let Outside::Stacked(moved) = moved else { unreachable!("moved tensors stay stacked") };
        at = moved;
    }
    at
}
