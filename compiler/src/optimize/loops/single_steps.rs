//! Loops of one step are no loops.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::graph::{Graph, NodeId};
use crate::op::{Emit, Op, OperandRole, Scan};

/// The graph with what loops of one step do in their place; `None` if there are none.
pub fn inline_single_steps(graph: &Graph) -> Option<Graph> {
    let is_single = |op: &Op| matches!(op, Op::Scan(scan) if scan.length == 1);
    if !graph.nodes.iter().any(|node| is_single(&node.op)) {
        return None;
    }
    let mut result = Graph::new();
    result.slots.clone_from(&graph.slots);
    let nodes = copy(&mut result, graph, None);
    result.set_origin(Arc::default());
    result.take_results(graph, |old| nodes[old.index()]);
    Some(result)
}

/// Emits the nodes of `source` into `graph`, `inputs` in place of its slots if it is a body;
/// returns what each node became.
fn copy(graph: &mut Graph, source: &Graph, inputs: Option<&[NodeId]>) -> Vec<NodeId> {
    let mut nodes: Vec<NodeId> = Vec::with_capacity(source.nodes.len());
    let mut single: BTreeMap<NodeId, Vec<NodeId>> = BTreeMap::new();
    for (id, node) in source.iter() {
        let before = graph.set_origin(Arc::clone(&node.origin));
        let operands: Vec<NodeId> = node.operands.iter().map(|o| nodes[o.index()]).collect();
        nodes.push(match (&node.op, inputs) {
            (Op::Slot(slot), Some(inputs)) => inputs[slot.index as usize],
            (Op::Scan(scan), _) if scan.length == 1 => {
                single.insert(id, results(graph, scan, &operands));
                // Only ports refer to a loop.
                NodeId(u32::MAX)
            }
            (Op::Port(port), _) if single.contains_key(&node.operands[0]) => {
                single[&node.operands[0]][port.index]
            }
            (op, _) => graph.emit(op.clone(), &operands),
        });
        graph.set_origin(before);
    }
    nodes
}

/// Emits the step of a loop; returns the loop's results.
fn results(graph: &mut Graph, scan: &Scan, operands: &[NodeId]) -> Vec<NodeId> {
    let inputs: Vec<NodeId> = (operands.iter().enumerate())
        .map(|(number, &operand)| match scan.role(number) {
            OperandRole::Sequence => graph.reshape(operand, &scan.body.slots[number].ty.shape),
            OperandRole::Carry | OperandRole::Capture => operand,
        })
        .collect();
    let nodes = copy(graph, &scan.body, Some(&inputs));
    let outputs = scan.body.outputs.iter().enumerate();
    outputs
        .map(|(number, output)| {
            let node = nodes[output.node.index()];
            let ty = scan.stacked(graph.type_of(node));
            if number < scan.carries { node } else { graph.reshape(node, &ty.shape) }
        })
        .collect()
}
