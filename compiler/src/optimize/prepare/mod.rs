//! What depends on weights alone, computed once for many steps.
//!
//! In inference, weights stay while inputs change. What can be computed from weights alone - a
//! kernel that a normalization was folded into, a bias - leaves the graph of the step: a
//! [`Preparation`] computes it when the weights are set, and the step reads the result from a slot.
//! Weights that products read are brought into the order in which they read them ([`panels`](super::panels)).

use std::collections::{BTreeMap, BTreeSet};

use crate::graph::{Emit, Graph, NodeId, Output, SlotInfo, SlotRole};
use crate::op::convolution::LEADING;
use crate::op::{Op, Slot};
use crate::optimize::panels::{Panels, panels};
use crate::types::TensorType;

#[cfg(test)]
mod tests;

/// Axes that a convolution's kernel has at least: groups, channels on either side, taps.
const KERNEL_RANK: usize = LEADING + 1;

/// A tensor that is computed when weights are set.
#[derive(Clone, Debug)]
pub struct Preparation {
    /// Computes it, as its only output; slots stand for the sources, in order. Names are numbers, so
    /// that preparations of layers that are alike have equal graphs.
    pub graph: Graph,
    /// Names of the weights that it depends on.
    pub sources: Vec<String>,
    /// Name of the slot of the step's graph that it is for.
    pub result: String,
}

/// For each slot of a graph, whether it keeps its value over many steps: weights that the graph does
/// not update.
pub fn fixed_slots(graph: &Graph) -> Vec<bool> {
    let updated: BTreeSet<u32> = graph.updates.iter().map(|update| update.slot).collect();
    let weight = |slot: &SlotInfo| matches!(slot.role, SlotRole::Parameter | SlotRole::Buffer);
    let slots = (0..).zip(&graph.slots);
    slots.map(|(index, slot)| weight(slot) && !updated.contains(&index)).collect()
}

/// The graph of the step, in which prepared tensors are slots (behind the others) and weights that
/// nothing else reads are none any more, and how they are computed.
pub fn split(graph: &Graph) -> (Graph, Vec<Preparation>) {
    let fixed = fixed_nodes(graph);
    let panels = panels(graph, &fixed);
    let targets = targets(graph, &fixed, &panels);
    if targets.is_empty() {
        return (graph.clone(), Vec::new());
    }
    let mut step = Graph::new();
    step.slots.clone_from(&graph.slots);
    let mut preparations = Vec::new();
    let mut numbers: Vec<NodeId> = Vec::with_capacity(graph.nodes.len());
    for (id, node) in graph.iter() {
        step.set_origin(node.origin.clone());
        let emitted = if targets.contains(&id) {
            let name = format!("prepared.{}", preparations.len());
            let panels = panels.get(&id);
            let preparation = preparation(graph, id, panels, &name);
            let ty = preparation.result_type().clone();
            preparations.push(preparation);
            let slot = step.declare_slot(&name, SlotRole::Buffer, ty);
            let read = step.read_slot(slot);
            panels.map_or(read, |panels| panels.unpack(&mut step, read))
        } else {
            let operands: Vec<NodeId> =
                node.operands.iter().map(|operand| numbers[operand.index()]).collect();
            step.emit(node.op.clone(), &operands)
        };
        numbers.push(emitted);
    }
    step.take_results(graph, |old| numbers[old.index()]);
    step.prune();
    let sources = preparations.iter().flat_map(|preparation| &preparation.sources);
    drop_slots(&mut step, &sources.map(String::as_str).collect());
    (step, preparations)
}

/// Takes out the slots of these names that the graph does not read, so that they take no memory.
fn drop_slots(graph: &mut Graph, names: &BTreeSet<&str>) {
    let mut used: BTreeSet<u32> = graph.updates.iter().map(|update| update.slot).collect();
    used.extend(graph.nodes.iter().filter_map(|node| match &node.op {
        Op::Slot(slot) => Some(slot.index),
        _ => None,
    }));
    let mut numbers = Vec::with_capacity(graph.slots.len());
    let mut kept = Vec::new();
    for (index, slot) in (0..).zip(std::mem::take(&mut graph.slots)) {
        numbers.push(kept.len() as u32);
        if used.contains(&index) || !names.contains(slot.name.as_str()) {
            kept.push(slot);
        }
    }
    graph.slots = kept;
    for node in &mut graph.nodes {
        if let Op::Slot(slot) = &mut node.op {
            slot.index = numbers[slot.index as usize];
        }
    }
    graph.updates.iter_mut().for_each(|update| update.slot = numbers[update.slot as usize]);
}

/// For each node, whether it depends on fixed weights and on nothing that changes.
pub(super) fn fixed_nodes(graph: &Graph) -> Vec<bool> {
    /// What is known of a node.
    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    enum Stays {
        Constant,
        Fixed,
        Changes,
    }
    let slots = fixed_slots(graph);
    let mut known: Vec<Stays> = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        let operands = node.operands.iter().map(|operand| known[operand.index()]).max();
        known.push(match &node.op {
            Op::Slot(slot) if slots[slot.index as usize] => Stays::Fixed,
            Op::Slot(_) | Op::Random(_) | Op::Scan(_) | Op::Port(_) => Stays::Changes,
            _ => operands.unwrap_or(Stays::Constant),
        });
    }
    known.into_iter().map(|stays| stays == Stays::Fixed).collect()
}

impl Preparation {
    fn result_type(&self) -> &TensorType {
        &self.graph.node(self.graph.outputs[0].node).ty
    }
}

/// The nodes to prepare: what is computed from fixed weights and read by something that changes.
/// Movement is not worth a tensor of its own, since it is part of how operands are read, unless it
/// is into panels, or puts a convolution's kernel into the order in which products of windows read it.
fn targets(graph: &Graph, fixed: &[bool], panels: &BTreeMap<NodeId, Panels>) -> BTreeSet<NodeId> {
    let mut read: BTreeSet<NodeId> = graph.roots().filter(|root| fixed[root.index()]).collect();
    for (id, node) in graph.iter() {
        if !fixed[id.index()] {
            read.extend(node.operands.iter().filter(|operand| fixed[operand.index()]));
        }
    }
    let orders_kernel = |id: NodeId| {
        matches!(graph.node(id).op, Op::Permute(_)) && graph.type_of(id).rank() >= KERNEL_RANK
    };
    let base = |mut id: NodeId| {
        while graph.node(id).op.is_movement() && !panels.contains_key(&id) && !orders_kernel(id) {
            id = graph.node(id).operands[0];
        }
        id
    };
    let bases = read.into_iter().map(base);
    let computed = |id: &NodeId| !matches!(graph.node(*id).op, Op::Slot(_));
    bases.filter(|base| computed(base) || panels.contains_key(base)).collect()
}

/// The preparation of a node, in panels or as it is.
fn preparation(graph: &Graph, target: NodeId, panels: Option<&Panels>, name: &str) -> Preparation {
    let mut needed = BTreeSet::from([target]);
    let mut pending = vec![target];
    while let Some(id) = pending.pop() {
        let operands = graph.node(id).operands.iter().copied();
        pending.extend(operands.filter(|operand| needed.insert(*operand)));
    }
    let mut own = Graph::new();
    let mut sources = Vec::new();
    let mut numbers: BTreeMap<NodeId, NodeId> = BTreeMap::new();
    for id in needed {
        let node = graph.node(id);
        own.set_origin(node.origin.clone());
        let emitted = match &node.op {
            Op::Slot(Slot { index, ty }) => {
                let number = sources.len().to_string();
                sources.push(graph.slots[*index as usize].name.clone());
                let slot = own.declare_slot(&number, SlotRole::Input, ty.clone());
                own.read_slot(slot)
            }
            op => {
                let operands: Vec<NodeId> =
                    node.operands.iter().map(|operand| numbers[operand]).collect();
                own.emit(op.clone(), &operands)
            }
        };
        numbers.insert(id, emitted);
    }
    let node = numbers[&target];
    let node = panels.map_or(node, |panels| panels.pack(&mut own, node));
    own.outputs.push(Output { name: "0".to_owned(), node });
    Preparation { graph: own, sources, result: name.to_owned() }
}
