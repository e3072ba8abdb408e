//! From chosen kernels to a [`KernelGraph`]: values get numbers, slots their new values.

use std::collections::{BTreeMap, BTreeSet};

use super::draft::Draft;
use crate::graph::{Graph, NodeId};
use crate::kernel::{
    Body, InstructionKind, Kernel, KernelBody, KernelGraph, KernelId, LoopOperand, ProductOperand,
    Store, Value, ValueId,
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
        let inputs = draft.inputs.iter().map(|node| sources[node]).collect();
        let mut copies = Vec::new();
        name_results(graph, &mut draft, &written, &extra, &mut copies);
        let kernel = add_kernel(graph, &mut result, draft);
        writers.extend(result.kernels[kernel].stored().map(|value| (value, kernel)));
        readers.push((kernel, inputs));
        for (from, copy) in copies {
            let kernel = add_kernel(graph, &mut result, copy);
            writers.extend(result.kernels[kernel].stored().map(|value| (value, kernel)));
            readers.push((kernel, vec![from]));
        }
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

/// Names the values that a draft writes. A routine or a loop writes one value: if there are further
/// ones for its node, drafts that copy it are added to `copies`, with the values that they read.
fn name_results(
    graph: &Graph,
    draft: &mut Draft,
    written: &BTreeMap<NodeId, ValueId>,
    extra: &BTreeMap<NodeId, Vec<ValueId>>,
    copies: &mut Vec<(ValueId, Draft)>,
) {
    let extra_of = |node: NodeId| extra.get(&node).into_iter().flatten().copied();
    let stores = match &mut draft.body {
        KernelBody::Fused(body) => &mut body.stores,
        KernelBody::Product(product) => &mut product.epilogue.stores,
        KernelBody::Library(library) => {
            let node = NodeId(library.result.0);
            library.result = written[&node];
            for value in extra_of(node) {
                let copy = Draft::copy(graph, node, [library.result, value]);
                copies.push((library.result, copy));
            }
            return;
        }
        KernelBody::Loop(the_loop) => {
            for value in the_loop.stored_mut() {
                let node = NodeId(value.0);
                *value = written[&node];
                for extra in extra_of(node) {
                    copies.push((*value, Draft::copy(graph, node, [*value, extra])));
                }
            }
            return;
        }
    };
    let mut again = Vec::new();
    for store in stores.iter_mut() {
        let node = NodeId(store.value.0);
        store.value = written[&node];
        again.extend(extra_of(node).map(|value| Store { value, ..store.clone() }));
    }
    stores.extend(again);
}

fn add_kernel(graph: &Graph, result: &mut KernelGraph, draft: Draft) -> KernelId {
    let cost = cost::of_kernel(&draft.body, &|value| &result.values[value.0 as usize].ty);
    result.kernels.add_node(Kernel {
        name: draft.name(graph),
        body: draft.body,
        nodes: draft.nodes.into_iter().collect(),
        reasons: draft.reasons,
        cost,
    })
}

fn add_value(graph: &mut KernelGraph, ty: TensorType, slot: Option<u32>, node: NodeId) -> ValueId {
    graph.values.push(Value { ty, slot, node });
    ValueId((graph.values.len() - 1) as u32)
}

/// Names results, new values of slots and guards. A value becomes the new value of one slot or one
/// result at most, so that it can be written in its place; for a node that takes several, the
/// returned map tells the further values to be written.
fn assign_roots(
    graph: &Graph,
    result: &mut KernelGraph,
    written: &BTreeMap<NodeId, ValueId>,
) -> BTreeMap<NodeId, Vec<ValueId>> {
    let mut extra: BTreeMap<NodeId, Vec<ValueId>> = BTreeMap::new();
    let mut taken = BTreeSet::new();
    let mut own_value = |result: &mut KernelGraph, node: NodeId| {
        let value = written[&node];
        if taken.insert(value) {
            return value;
        }
        let value = add_value(result, graph.type_of(node).clone(), None, node);
        extra.entry(node).or_default().push(value);
        value
    };
    for update in &graph.updates {
        if !keeps_slot(graph, update.slot, update.node) {
            let value = own_value(result, update.node);
            result.updates.push((update.slot, value));
        }
    }
    for output in &graph.outputs {
        let value = own_value(result, output.node);
        result.outputs.push((output.name.clone(), value));
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
            InstructionKind::Load { value, .. } | InstructionKind::Gather { value, .. } => {
                Some(value)
            }
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
        KernelBody::Library(library) => library.operands.iter_mut().collect(),
        KernelBody::Product(product) => {
            let mut places = of_operand(&mut product.left);
            places.extend(of_operand(&mut product.right));
            places.extend(of_body(&mut product.epilogue));
            places
        }
        KernelBody::Loop(the_loop) => {
            the_loop.operands.iter_mut().map(LoopOperand::read_mut).collect()
        }
    }
}
