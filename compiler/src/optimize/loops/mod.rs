//! Work moves out of loops, before algebra looks at graph and bodies.
//!
//! What does not depend on carried values is computed for all steps at once in front of the loop:
//! the products of a recurrent layer with its inputs become one. What no later step needs is
//! computed for all steps at once behind it. Results, carries and operands that nothing needs
//! disappear, and so do loops of one step. An unrolled recurrence never enters an e-graph.

mod captures;
mod flow;
mod gather_terms;
mod same_elements;
mod single_steps;
mod stack;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::graph::{Graph, Names, NodeId, Origin, Output, SlotRole};
use crate::op::{Emit, Op, OperandRole, Scan};
use crate::optimize::MathMode;
use crate::types::Scalar;
pub use captures::pack_captures;
use flow::Flow;
use gather_terms::gather_terms;
use same_elements::Stacking;
use single_steps::inline_single_steps;
use stack::Outside;

/// What moved nodes say about themselves.
const IN_FRONT: &str = "what does not depend on the steps before is computed in front of the loop";
/// What moved nodes say about themselves.
const BEHIND: &str = "what no later step needs is computed behind the loop";

/// The graph with less work in its loops. Slots, outputs, updates and guards keep their order.
/// Sums are rearranged if rounding may change.
pub fn rearrange(graph: &Graph, math: MathMode) -> Graph {
    let inlined = inline_single_steps(graph);
    let graph = inlined.as_ref().unwrap_or(graph);
    let mut result = Graph::new();
    result.slots.clone_from(&graph.slots);
    let wanted = wanted_results(graph);
    let mut nodes: Vec<NodeId> = Vec::with_capacity(graph.nodes.len());
    let mut loops: BTreeMap<NodeId, Vec<Option<NodeId>>> = BTreeMap::new();
    for (id, node) in graph.iter() {
        let before = result.set_origin(Arc::clone(&node.origin));
        let operands: Vec<NodeId> = node.operands.iter().map(|o| nodes[o.index()]).collect();
        let emitted = match &node.op {
            Op::Scan(scan) => {
                let wanted = wanted.get(&id).cloned().unwrap_or_default();
                let gathered = if math == MathMode::Strict { None } else { gather_terms(scan) };
                let gathered = gathered.map(|body| Scan { body: Arc::new(body), ..scan.clone() });
                let scan = gathered.as_ref().unwrap_or(scan);
                let results = Rewrite::new(scan, &operands, &wanted).emit(&mut result);
                loops.insert(id, results);
                // Only ports refer to a loop.
                NodeId(u32::MAX)
            }
            Op::Port(port) => {
                loops[&node.operands[0]][port.index].expect("a wanted result is computed")
            }
            op => result.emit(op.clone(), &operands),
        };
        nodes.push(emitted);
        result.set_origin(before);
    }
    result.take_results(graph, |old| nodes[old.index()]);
    result.set_origin(Arc::default());
    result
}

/// The results of each scan that something refers to.
fn wanted_results(graph: &Graph) -> BTreeMap<NodeId, BTreeSet<usize>> {
    let mut wanted: BTreeMap<NodeId, BTreeSet<usize>> = BTreeMap::new();
    for node in &graph.nodes {
        if let Op::Port(port) = &node.op {
            wanted.entry(node.operands[0]).or_default().insert(port.index);
        }
    }
    wanted
}

/// The value of all elements, if they are one constant.
fn constant_everywhere(graph: &Graph, id: NodeId) -> Option<Scalar> {
    let node = graph.node(id);
    match &node.op {
        Op::Constant(constant) => Some(constant.value),
        Op::Reshape(_) | Op::Permute(_) | Op::Broadcast(_) | Op::Slice(_) | Op::Reverse(_) => {
            constant_everywhere(graph, node.operands[0])
        }
        _ => None,
    }
}

/// A loop being rewritten.
struct Rewrite<'a> {
    scan: &'a Scan,
    operands: &'a [NodeId],
    wanted: &'a BTreeSet<usize>,
    flow: Flow,
    /// What nodes of the body are outside, as far as they are known there.
    outside: BTreeMap<NodeId, Outside>,
    /// What the loop has stacked of nodes of the body.
    yielded: BTreeMap<NodeId, NodeId>,
}

impl<'a> Rewrite<'a> {
    fn new(scan: &'a Scan, operands: &'a [NodeId], wanted: &'a BTreeSet<usize>) -> Rewrite<'a> {
        let flow = Flow::of(scan, wanted);
        let (outside, yielded) = (BTreeMap::new(), BTreeMap::new());
        Rewrite { scan, operands, wanted, flow, outside, yielded }
    }

    /// Emits what stands in front of the loop, the loop, and what stands behind it. Returns the
    /// wanted results.
    fn emit(mut self, graph: &mut Graph) -> Vec<Option<NodeId>> {
        self.know_operands(graph);
        self.emit_all(graph, |flow, id| flow.in_front[id.index()], IN_FRONT);
        self.emit_loop(graph);
        self.emit_all(graph, |flow, id| flow.behind[id.index()], BEHIND);
        let body = &self.scan.body;
        let results = body.outputs.iter().enumerate().map(|(number, output)| {
            if !self.wanted.contains(&number) || number < self.scan.carries {
                return None;
            }
            if let Some(yielded) = self.yielded.get(&output.node) {
                return Some(*yielded);
            }
            let outside = self.outside[&output.node];
            Some(stack::stacked(graph, self.scan.length, outside))
        });
        let mut results: Vec<Option<NodeId>> = results.collect();
        for (carry, result) in results.iter_mut().enumerate().take(self.scan.carries) {
            *result = self.flow.carry_results.get(&carry).copied();
        }
        results
    }

    /// Sequences and captures are known outside.
    fn know_operands(&mut self, graph: &mut Graph) {
        for (id, node) in self.scan.body.iter() {
            let known = match &node.op {
                Op::Slot(slot) => {
                    let operand = self.operands[slot.index as usize];
                    match self.scan.role(slot.index as usize) {
                        OperandRole::Carry => continue,
                        OperandRole::Capture => Outside::Same(operand),
                        OperandRole::Sequence => match constant_everywhere(graph, operand) {
                            // One value everywhere is the same in all steps.
                            Some(value) => {
                                let shape = &node.ty.shape;
                                Outside::Same(graph.constant(node.ty.dtype, shape, value.value()))
                            }
                            None => Outside::Stacked(operand),
                        },
                    }
                }
                _ => continue,
            };
            self.outside.insert(id, known);
        }
    }

    /// Emits those nodes of the body that `here` picks.
    fn emit_all(
        &mut self,
        graph: &mut Graph,
        here: impl Fn(&Flow, NodeId) -> bool,
        rule: &'static str,
    ) {
        let scan = self.scan;
        for (id, node) in scan.body.iter() {
            if !here(&self.flow, id) || self.outside.contains_key(&id) {
                continue;
            }
            let mut origin = Origin::clone(&node.origin);
            if !node.operands.is_empty() && !origin.rules.contains(&rule) {
                origin.rules.push(rule);
            }
            graph.set_origin(Arc::new(origin));
            let operands: Vec<Outside> =
                (node.operands.iter()).map(|operand| self.outside_of(graph, *operand)).collect();
            let outside = stack::apply(graph, scan.length, &node.op, &operands);
            self.outside.insert(id, outside);
        }
    }

    /// What a node is outside; leaves are there as soon as they are needed.
    fn outside_of(&mut self, graph: &mut Graph, id: NodeId) -> Outside {
        if let Some(&known) = self.outside.get(&id) {
            return known;
        }
        let node = self.scan.body.node(id);
        debug_assert!(node.operands.is_empty(), "{id} is needed outside");
        let outside = Outside::Same(graph.emit(node.op.clone(), &[]));
        self.outside.insert(id, outside);
        outside
    }

    /// Emits what is left of the loop, if anything is.
    fn emit_loop(&mut self, graph: &mut Graph) {
        let (scan, flow) = (self.scan, &self.flow);
        let source = &scan.body;
        let carries: Vec<usize> = flow.carries.iter().copied().collect();
        // A loop that may end early stacks also what is known outside.
        let is_yielded = |id: &NodeId| scan.until || !self.outside.contains_key(id);
        let yields: Vec<NodeId> = flow.yields.iter().copied().filter(is_yielded).collect();
        // Of tensors with the same elements in another order or shape, one is stacked.
        let stacking = match scan.until {
            true => Stacking { stacked: yields, moved: Vec::new() },
            false => same_elements::stack_once(source, &yields),
        };
        let yields = stacking.stacked;
        if carries.is_empty() && yields.is_empty() {
            return;
        }
        let mut body = Graph::new();
        let mut names = Names::default();
        let mut inside: BTreeMap<NodeId, NodeId> = BTreeMap::new();
        let mut operands = Vec::new();
        let read = |slot: usize| {
            let reads = move |op: &Op| matches!(op, Op::Slot(read) if read.index as usize == slot);
            source.iter().filter(move |(_, node)| reads(&node.op)).map(|(id, _)| id)
        };
        for &carry in &carries {
            let slot = &source.slots[carry];
            let index = body.declare_slot(
                &names.unique(slot.name.clone()),
                SlotRole::Input,
                slot.ty.clone(),
            );
            let node = body.read_slot(index);
            inside.extend(read(carry).map(|id| (id, node)));
            operands.push(self.operands[carry]);
        }
        // What comes from outside: sequences first, then captures.
        let entering: Vec<(NodeId, Outside)> =
            (flow.entering.iter()).filter_map(|id| Some((*id, *self.outside.get(id)?))).collect();
        let is_sequence = |outside: &Outside| matches!(outside, Outside::Stacked(_));
        let sequences = entering.iter().filter(|(_, outside)| is_sequence(outside));
        let captures = entering.iter().filter(|(_, outside)| !is_sequence(outside));
        let mut count = 0;
        let mut known: BTreeMap<(bool, NodeId), NodeId> = BTreeMap::new();
        for &(id, outside) in sequences.chain(captures) {
            let (Outside::Same(operand) | Outside::Stacked(operand)) = outside;
            if let Some(&node) = known.get(&(is_sequence(&outside), operand)) {
                inside.insert(id, node);
                continue;
            }
            let node = source.node(id);
            body.set_origin(Arc::clone(&node.origin));
            let read = match &graph.node(operand).op {
                Op::Constant(constant) if !is_sequence(&outside) => {
                    body.emit(constant.clone().into(), &[])
                }
                _ => {
                    count += usize::from(is_sequence(&outside));
                    let name = match (&node.op, &node.origin.name) {
                        (Op::Slot(slot), _) => source.slots[slot.index as usize].name.clone(),
                        (_, Some(name)) => name.clone(),
                        (op, None) => op.primitive().name().to_owned(),
                    };
                    let index =
                        body.declare_slot(&names.unique(name), SlotRole::Input, node.ty.clone());
                    operands.push(operand);
                    body.read_slot(index)
                }
            };
            inside.insert(id, read);
            known.insert((is_sequence(&outside), operand), read);
        }
        for (id, node) in source.iter() {
            if !flow.inside[id.index()] || inside.contains_key(&id) {
                continue;
            }
            let operands: Vec<NodeId> = node.operands.iter().map(|o| inside[o]).collect();
            body.set_origin(Arc::clone(&node.origin));
            inside.insert(id, body.emit(node.op.clone(), &operands));
        }
        body.set_origin(Arc::default());
        let mut names = Names::default();
        for &carry in &carries {
            let output = &source.outputs[carry];
            let name = names.unique(output.name.clone());
            body.outputs.push(Output { name, node: inside[&output.node] });
        }
        for id in &yields {
            let named = source.outputs[scan.carries..].iter().find(|output| output.node == *id);
            let name = named.map_or_else(|| "yield".to_owned(), |output| output.name.clone());
            body.outputs.push(Output { name: names.unique(name), node: inside[id] });
        }
        if let Some(end) = scan.end() {
            let name = names.unique("until".to_owned());
            body.outputs.push(Output { name, node: inside[&end] });
        }
        let rewritten = Scan {
            body: Arc::new(body),
            length: scan.length,
            reverse: scan.reverse,
            until: scan.until,
            carries: carries.len(),
            sequences: count,
        };
        let node = graph.emit(rewritten.into(), &operands);
        for (index, carry) in carries.iter().enumerate() {
            if self.wanted.contains(carry) {
                let port = graph.port(node, index);
                self.flow.carry_results.insert(*carry, port);
            }
        }
        for (index, id) in yields.into_iter().enumerate() {
            let port = graph.port(node, carries.len() + index);
            self.yielded.insert(id, port);
            self.outside.entry(id).or_insert(Outside::Stacked(port));
        }
        for (id, from) in stacking.moved {
            let Outside::Stacked(from_all) = self.outside[&from] else {
                unreachable!("what was yielded is stacked")
            };
            let all = same_elements::moved(graph, source, scan.length, [from, id], from_all);
            self.outside.insert(id, Outside::Stacked(all));
        }
    }
}
