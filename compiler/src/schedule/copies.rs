//! Copies that make updates and outputs regular.

use crate::graph::NodeId;
use crate::kernel::{Kernel, KernelGraph, KernelId, Value, ValueId};

/// Makes sure that every slot has a value, and that every update and output is a value of its
/// own, written by a kernel.
pub fn complete(graph: &mut KernelGraph) {
    let known = slot_values(graph);
    for (slot, value) in known.iter().enumerate() {
        if value.is_none() {
            let ty = graph.slots[slot].ty.clone();
            graph.values.push(Value { ty, slot: Some(slot as u32), node: NodeId(0) });
        }
    }
    let mut taken: Vec<ValueId> = Vec::new();
    for update in 0..graph.updates.len() {
        let value = graph.updates[update].1;
        if graph.values[value.0 as usize].slot.is_some() || taken.contains(&value) {
            graph.updates[update].1 = add_copy(graph, value).1;
        }
        taken.push(graph.updates[update].1);
    }
    for output in 0..graph.outputs.len() {
        let value = graph.outputs[output].1;
        if graph.values[value.0 as usize].slot.is_some() {
            graph.outputs[output].1 = add_copy(graph, value).1;
        }
    }
}

/// Adds a kernel that copies `from` to a new value.
pub fn add_copy(graph: &mut KernelGraph, from: ValueId) -> (KernelId, ValueId) {
    let source = graph.values[from.0 as usize].clone();
    let to = ValueId(graph.values.len() as u32);
    graph.values.push(Value { slot: None, ..source.clone() });
    let reason = "a slot's value is replaced while it is still needed";
    let kernel = Kernel::copying(&source, from, to, reason);
    let kernel = graph.kernels.add_node(kernel);
    let writer = graph
        .kernels
        .node_indices()
        .find(|&other| other != kernel && graph.kernels[other].stored().any(|value| value == from));
    if let Some(writer) = writer {
        graph.kernels.add_edge(writer, kernel, from);
    }
    (kernel, to)
}

/// Per slot: its value before the step.
pub fn slot_values(graph: &KernelGraph) -> Vec<Option<ValueId>> {
    let mut old = vec![None; graph.slots.len()];
    for (index, value) in graph.values.iter().enumerate() {
        if let Some(slot) = value.slot {
            old[slot as usize] = Some(ValueId(index as u32));
        }
    }
    old
}
