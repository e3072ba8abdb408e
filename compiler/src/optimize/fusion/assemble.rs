//! From chosen kernels to a [`KernelGraph`]: values get numbers, slots their new values.

use std::collections::{BTreeMap, BTreeSet};

use super::draft::Draft;
use crate::graph::{Graph, NodeId};
use crate::kernel::{
    Body, InstructionKind, Kernel, KernelBody, KernelGraph, KernelId, ProductOperand, Store, Value,
    ValueId,
};
use crate::op::{Emit, Op};
use crate::optimize::cost;
use crate::types::TensorType;

/// Puts drafts together. Each node that is read by a draft, and each root of the graph, must be
/// a slot or an output of exactly one draft; roots must be outputs.
pub(super) fn assemble(graph: &Graph, drafts: Vec<Draft>) -> KernelGraph {
    let mut result = KernelGraph { slots: graph.slots.clone(), ..KernelGraph::default() };
    let made: BTreeSet<NodeId> = drafts.iter().flat_map(|draft| &draft.outputs).copied().collect();
    let read: BTreeSet<NodeId> = drafts.iter().flat_map(|draft| &draft.inputs).copied().collect();

    // What a node's tensor is when it is read: the slot itself, or what a kernel wrote.
    let mut sources = BTreeMap::new();
    for &node in &read {
        if let Op::Slot(slot) = &graph.node(node).op {
            let ty = slot.ty.clone();
            sources.insert(node, add_value(&mut result, ty, Some(slot.index), node));
        }
    }
    let mut written = BTreeMap::new();
    for &node in &made {
        let value = add_value(&mut result, graph.type_of(node).clone(), None, node);
        written.insert(node, value);
        sources.entry(node).or_insert(value);
    }
    let extra = assign_roots(graph, &mut result, &written);

    let mut writers: BTreeMap<ValueId, KernelId> = BTreeMap::new();
    let mut readers: Vec<(KernelId, Vec<ValueId>)> = Vec::new();
    for mut draft in drafts {
        for place in loads_of(&mut draft.body) {
            *place = sources[&NodeId(place.0)];
        }
        let stores = match &mut draft.body {
            KernelBody::Fused(body) => &mut body.stores,
            KernelBody::Product(product) => &mut product.epilogue.stores,
        };
        let mut copies = Vec::new();
        for store in stores.iter_mut() {
            let node = NodeId(store.value.0);
            store.value = written[&node];
            for &value in extra.get(&node).into_iter().flatten() {
                copies.push(Store { value, ..store.clone() });
            }
        }
        stores.extend(copies);
        let stored: Vec<ValueId> = stores.iter().map(|store| store.value).collect();
        let inputs = draft.inputs.iter().map(|node| sources[node]).collect();
        let cost = cost::of_kernel(&draft.body, &|value| &result.values[value.0 as usize].ty);
        let kernel = result.kernels.add_node(Kernel {
            name: draft.name,
            body: draft.body,
            nodes: draft.nodes.into_iter().collect(),
            reasons: draft.reasons,
            cost,
        });
        writers.extend(stored.into_iter().map(|value| (value, kernel)));
        readers.push((kernel, inputs));
    }
    for (reader, inputs) in readers {
        for value in inputs {
            if let Some(&writer) = writers.get(&value) {
                result.kernels.add_edge(writer, reader, value);
            }
        }
    }
    result
}

fn add_value(graph: &mut KernelGraph, ty: TensorType, slot: Option<u32>, node: NodeId) -> ValueId {
    graph.values.push(Value { ty, slot, node });
    ValueId((graph.values.len() - 1) as u32)
}

/// Names results, new values of slots and guards. A value becomes the new value of one slot at
/// most, so that it can be written in the slot's place; for a node that several slots take, the
/// returned map tells the further values to be written.
fn assign_roots(
    graph: &Graph,
    result: &mut KernelGraph,
    written: &BTreeMap<NodeId, ValueId>,
) -> BTreeMap<NodeId, Vec<ValueId>> {
    let mut extra: BTreeMap<NodeId, Vec<ValueId>> = BTreeMap::new();
    let mut taken = BTreeSet::new();
    for update in &graph.updates {
        if keeps_slot(graph, update.slot, update.node) {
            continue;
        }
        let mut value = written[&update.node];
        if !taken.insert(value) {
            let ty = graph.type_of(update.node).clone();
            value = add_value(result, ty, None, update.node);
            extra.entry(update.node).or_default().push(value);
        }
        result.updates.push((update.slot, value));
    }
    for output in &graph.outputs {
        result.outputs.push((output.name.clone(), written[&output.node]));
    }
    result.guards = graph.guards.iter().map(|node| written[node]).collect();
    extra
}

/// Whether an update leaves a slot as it is.
pub(super) fn keeps_slot(graph: &Graph, slot: u32, node: NodeId) -> bool {
    matches!(&graph.node(node).op, Op::Slot(source) if source.index == slot)
}

/// Every reference to a value that a kernel reads.
fn loads_of(body: &mut KernelBody) -> Vec<&mut ValueId> {
    fn of_body(body: &mut Body) -> impl Iterator<Item = &mut ValueId> {
        body.instructions.iter_mut().filter_map(|instruction| match &mut instruction.kind {
            InstructionKind::Load { value, .. } => Some(value),
            _ => None,
        })
    }
    fn of_operand(operand: &mut ProductOperand) -> Vec<&mut ValueId> {
        match operand {
            ProductOperand::Value(value, _) => vec![value],
            ProductOperand::Computed(body) => of_body(body).collect(),
        }
    }
    match body {
        KernelBody::Fused(body) => of_body(body).collect(),
        KernelBody::Product(product) => {
            let mut places = of_operand(&mut product.left);
            places.extend(of_operand(&mut product.right));
            places.extend(of_body(&mut product.epilogue));
            places
        }
    }
}
