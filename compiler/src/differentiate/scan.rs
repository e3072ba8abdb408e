//! The gradient of a loop is a loop that runs the other way.
//!
//! The forward loop is made to yield what the backward loop needs and is dear to compute again:
//! products, reductions, transcendental functions (Griewank and Walther, "Evaluating
//! Derivatives", 2008, chapter 4). The cotangents of carries are the carries of the backward
//! loop. The cotangent of a capture is a sum over all steps; where it is linear in what a step
//! yields, the sum is taken behind the loop, for all steps at once ([`super::sums`]): the gradient
//! of a weight is one product then, not one for each step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::sums::{Sum, Sums};
use super::{DifferentiationError, Differentiator, Varying, gradient_origin};
use crate::graph::{Graph, NodeId, Output, ScanBuilder, SlotRole};
use crate::op::{Emit, Op, OperandRole, Scan};
use crate::optimize::cost;

/// A loop's body with its reverse.
struct Reversed<'s> {
    scan: &'s Scan,
    /// The body, then slots for the cotangents of carries and yields, then the reverse.
    graph: Graph,
    /// Per operand: the node that reads its slot, if the body does.
    slots: Vec<Option<NodeId>>,
    /// Per node: whether it depends on a cotangent.
    backward: Vec<bool>,
    /// Per node: whether it is the same in all steps.
    invariant: Vec<bool>,
    /// Carries with cotangents, and the node that stands for the one after the step.
    carries: Vec<(usize, NodeId)>,
    /// The nodes that stand for the cotangents of yields, by number of the result.
    yields: Vec<(usize, NodeId)>,
    /// Per operand: the cotangent before the step, if it is wanted and there is one.
    cotangents: Vec<Option<NodeId>>,
}

impl Differentiator<'_> {
    /// The cotangents of a scan's wanted operands, given those of its results (by number).
    pub(super) fn reverse_scan(
        &self,
        graph: &mut Graph,
        id: NodeId,
        results: &BTreeMap<usize, NodeId>,
        wanted: &[bool],
    ) -> Result<Vec<Option<NodeId>>, DifferentiationError> {
        let Op::Scan(scan) = graph.node(id).op.clone() else { unreachable!("a scan") };
        if scan.until {
            return Err(DifferentiationError::Operation {
                node: id,
                operation: "scan",
                reason: "a loop that may end early (`until`) has none".to_owned(),
            });
        }
        let operands = graph.node(id).operands.to_vec();
        if scan.length == 0 {
            let passed = |(operand, _): (usize, &NodeId)| {
                results.get(&operand).copied().filter(|_| operand < scan.carries)
            };
            return Ok(operands.iter().enumerate().map(passed).collect());
        }
        let reversed = self.reversed(&scan, results, wanted).map_err(|error| match error {
            DifferentiationError::Operation { operation, reason, .. } => {
                DifferentiationError::Operation { node: id, operation, reason }
            }
            other => other,
        })?;
        let saved = reversed.saved();
        let extended = reversed.extended(&saved);
        graph.extend_scan(id, extended);
        Ok(reversed.emit(graph, id, &operands, results, &saved, wanted))
    }

    /// Differentiates the body.
    fn reversed<'s>(
        &self,
        scan: &'s Scan,
        results: &BTreeMap<usize, NodeId>,
        wanted: &[bool],
    ) -> Result<Reversed<'s>, DifferentiationError> {
        let mut graph = Graph::clone(&scan.body);
        let slots: Vec<Option<NodeId>> =
            (0..graph.slots.len()).map(|slot| read_of(&graph, slot)).collect();
        let float = |slot: usize| graph.slots[slot].ty.dtype.is_float();
        // A carry varies if it does at the beginning, or becomes something that does.
        let mut varying: Vec<bool> =
            (0..slots.len()).map(|slot| wanted[slot] && float(slot)).collect();
        let varies = loop {
            let sources: Vec<NodeId> =
                (0..slots.len()).filter(|&slot| varying[slot]).filter_map(|s| slots[s]).collect();
            let last = NodeId(graph.nodes.len().saturating_sub(1) as u32);
            let varies = Varying::new(&graph, last, &sources);
            let becomes = |carry: &usize| {
                !varying[*carry] && varies.of(graph.outputs[*carry].node) && float(*carry)
            };
            match (0..scan.carries).find(becomes) {
                Some(carry) => varying[carry] = true,
                None => break varies,
            }
        };
        let first = graph.nodes.len();
        let stand_in = |graph: &mut Graph, number: usize| {
            let output = &graph.outputs[number];
            let (name, ty) = (format!("d {}", output.name), graph.type_of(output.node).clone());
            let slot = graph.declare_slot(&name, SlotRole::Input, ty);
            let node = graph.read_slot(slot);
            (number, node)
        };
        let mut carries = Vec::new();
        for carry in (0..scan.carries).filter(|&carry| varying[carry]) {
            carries.push(stand_in(&mut graph, carry));
        }
        let mut yields = Vec::new();
        for &result in results.keys().filter(|&&result| result >= scan.carries) {
            if varies.of(graph.outputs[result].node) {
                yields.push(stand_in(&mut graph, result));
            }
        }
        let seeds = carries.iter().chain(&yields);
        let seeds: Vec<(NodeId, NodeId)> = seeds
            .map(|&(number, cotangent)| (graph.outputs[number].node, cotangent))
            .filter(|&(output, _)| varies.of(output))
            .collect();
        let variables: Vec<usize> =
            (0..slots.len()).filter(|&slot| varying[slot] && slots[slot].is_some()).collect();
        let nodes: Vec<NodeId> = variables.iter().filter_map(|&slot| slots[slot]).collect();
        let found = self.pull_back(&mut graph, &seeds, &nodes, &varies)?;
        let mut cotangents = vec![None; slots.len()];
        for (slot, cotangent) in variables.into_iter().zip(found) {
            cotangents[slot] = cotangent;
        }
        let mut backward = vec![false; graph.nodes.len()];
        for (node, _) in graph.iter().skip(first) {
            let is_cotangent = carries.iter().chain(&yields).any(|(_, known)| *known == node);
            let operands = &graph.node(node).operands;
            backward[node.index()] =
                is_cotangent || operands.iter().any(|operand| backward[operand.index()]);
        }
        let invariant = invariant(&graph, scan, slots.len());
        Ok(Reversed { scan, graph, slots, backward, invariant, carries, yields, cotangents })
    }
}

/// The node that reads a slot.
fn read_of(graph: &Graph, slot: usize) -> Option<NodeId> {
    let reads = |op: &Op| matches!(op, Op::Slot(read) if read.index as usize == slot);
    graph.iter().find(|(_, node)| reads(&node.op)).map(|(id, _)| id)
}

/// What the backward loop takes from the forward loop.
struct Saved {
    /// Nodes of the body that the forward loop yields, besides what it did before.
    nodes: Vec<NodeId>,
    /// Forward nodes that the backward body computes again, or has from its operands.
    again: BTreeSet<NodeId>,
}

impl Reversed<'_> {
    /// Decides what is saved and what is computed again.
    fn saved(&self) -> Saved {
        let mut chooser =
            Chooser { reversed: self, nodes: BTreeSet::new(), again: BTreeSet::new() };
        let roots = self.cotangents.iter().flatten();
        let mut needed = vec![false; self.graph.nodes.len()];
        for root in roots {
            needed[root.index()] = true;
        }
        let mut forward = BTreeSet::new();
        for (id, node) in self.graph.iter().rev() {
            if !needed[id.index()] {
                continue;
            }
            if self.backward[id.index()] {
                for operand in &node.operands {
                    needed[operand.index()] = true;
                }
            } else {
                forward.insert(id);
            }
        }
        for id in forward {
            chooser.provide(id);
        }
        Saved { nodes: chooser.nodes.into_iter().collect(), again: chooser.again }
    }

    /// The forward loop with `saved` as further yields.
    fn extended(&self, saved: &Saved) -> Scan {
        let mut body = self.graph.clone();
        let names: BTreeSet<String> = body.outputs.iter().map(|o| o.name.clone()).collect();
        let mut number = 0;
        for &node in &self.yielded(saved) {
            let mut name = format!("saved{number}");
            while names.contains(&name) {
                number += 1;
                name = format!("saved{number}");
            }
            number += 1;
            body.outputs.push(Output { name, node });
        }
        body.prune();
        body.slots.truncate(self.slots.len());
        Scan { body: Arc::new(body), ..self.scan.clone() }
    }

    /// The nodes that the forward loop yields in addition: what is saved, and new carries where
    /// the backward loop needs those before the step.
    fn yielded(&self, saved: &Saved) -> Vec<NodeId> {
        let mut yielded = saved.nodes.clone();
        for carry in self.read_carries(saved) {
            let node = self.graph.outputs[carry].node;
            if self.yield_of(node).is_none() && !yielded.contains(&node) {
                yielded.push(node);
            }
        }
        yielded
    }

    /// The number of the result that a node of the body is yielded as already.
    fn yield_of(&self, node: NodeId) -> Option<usize> {
        let outputs = self.graph.outputs.iter().enumerate().skip(self.scan.carries);
        let mut outputs = outputs.filter(|(_, output)| output.node == node);
        outputs.next().map(|(number, _)| number)
    }

    /// The carries whose values before the step the backward loop reads.
    fn read_carries(&self, saved: &Saved) -> Vec<usize> {
        let read = |carry: &usize| self.slots[*carry].is_some_and(|id| saved.again.contains(&id));
        (0..self.scan.carries).filter(read).collect()
    }

    /// Emits the backward loop; returns the cotangents of the operands.
    fn emit(
        &self,
        graph: &mut Graph,
        id: NodeId,
        operands: &[NodeId],
        results: &BTreeMap<usize, NodeId>,
        saved: &Saved,
        wanted: &[bool],
    ) -> Vec<Option<NodeId>> {
        let Reversed { scan, .. } = self;
        // What the forward loop has stacked.
        let yielded = self.yielded(saved);
        let port = |graph: &mut Graph, node: NodeId| {
            let index = self.yield_of(node).unwrap_or_else(|| {
                let place = yielded.iter().position(|other| *other == node);
                scan.result_count() + place.expect("it was added to the yields")
            });
            graph.port(id, index)
        };
        let mut stacked: BTreeMap<NodeId, NodeId> = BTreeMap::new();
        for &node in &saved.nodes {
            stacked.insert(node, port(graph, node));
        }
        for carry in self.read_carries(saved) {
            let after = port(graph, self.graph.outputs[carry].node);
            let before = before_steps(graph, scan, operands[carry], after);
            stacked.insert(self.slots[carry].expect("it is read"), before);
        }
        for (number, &operand) in operands.iter().enumerate() {
            if let (OperandRole::Sequence, Some(slot)) = (scan.role(number), self.slots[number]) {
                stacked.insert(slot, operand);
            }
        }
        for &(number, cotangent) in &self.yields {
            stacked.insert(cotangent, results[&number]);
        }
        let zeros = |graph: &mut Graph, node: NodeId| {
            let ty = self.graph.type_of(node).clone();
            graph.constant(ty.dtype, &ty.shape, 0.0)
        };
        let ends: Vec<NodeId> = (self.carries.iter())
            .map(|&(carry, node)| {
                let given = results.get(&carry).copied();
                given.unwrap_or_else(|| zeros(graph, node))
            })
            .collect();

        // The body.
        let mut builder = ScanBuilder::begin(graph, scan.length, !scan.reverse);
        let mut inside: BTreeMap<NodeId, NodeId> = BTreeMap::new();
        for (&(carry, node), &end) in self.carries.iter().zip(&ends) {
            let name = format!("d {}", scan.body.slots[carry].name);
            inside.insert(node, builder.carry(graph, &name, end));
        }
        for (number, &operand) in operands.iter().enumerate() {
            if let (OperandRole::Capture, Some(slot)) = (scan.role(number), self.slots[number]) {
                inside.insert(slot, operand);
            }
        }
        let mut sums = Sums::new(&self.graph, &stacked, &self.invariant);
        let wants = |slot: &usize| wanted[*slot] && self.cotangents[*slot].is_some();
        let captures: Vec<(usize, Sum)> = (scan.carries + scan.sequences..operands.len())
            .filter(wants)
            .map(|slot| (slot, sums.plan(self.cotangents[slot].expect("wanted"))))
            .collect();
        let totals = sums.totals.clone();
        let sequences: Vec<usize> =
            (scan.carries..scan.carries + scan.sequences).filter(wants).collect();
        let steps: Vec<NodeId> = sums.stacks.clone();
        let invariants: Vec<NodeId> = sums.invariants.iter().copied().collect();

        let before: Vec<Option<NodeId>> =
            self.carries.iter().map(|&(carry, _)| self.cotangents[carry]).collect();
        let sequence_nodes = sequences.iter().filter_map(|&slot| self.cotangents[slot]);
        let roots = before.iter().flatten().copied().chain(sequence_nodes.clone());
        let roots = roots.chain(steps.iter().copied()).chain(totals.iter().copied());
        let roots: Vec<NodeId> = roots.chain(invariants.iter().copied()).collect();
        self.emit_body(graph, &mut builder, &roots, &stacked, &mut inside);

        let mut next: Vec<NodeId> = (self.carries.iter().zip(&before))
            .map(|(&(_, node), before)| match before {
                Some(before) => inside[before],
                None => zeros(graph, node),
            })
            .collect();
        for total in &totals {
            let zero = zeros(graph, *total);
            let sum = builder.carry(graph, "sum", zero);
            next.push(graph.add(sum, inside[total]));
        }
        let yields: Vec<NodeId> =
            sequence_nodes.chain(steps.iter().copied()).map(|node| inside[&node]).collect();
        graph.set_origin(gradient_origin(graph, id));
        let nodes = builder.finish(graph, &next, &yields);

        // What becomes of its results.
        let mut parts = vec![None; operands.len()];
        for (&(carry, _), &cotangent) in self.carries.iter().zip(&nodes.carries) {
            parts[carry] = Some(cotangent).filter(|_| wanted[carry]);
        }
        for (&slot, &cotangent) in sequences.iter().zip(&nodes.yields) {
            parts[slot] = Some(cotangent);
        }
        let mut outside = stacked.clone();
        for (&node, &all) in steps.iter().zip(&nodes.yields[sequences.len()..]) {
            outside.insert(node, all);
        }
        let accumulated = &nodes.carries[self.carries.len()..];
        let same = invariants.iter().map(|node| (*node, inside[node])).collect();
        for (slot, sum) in captures {
            parts[slot] = Some(sum.emit(graph, &self.graph, &outside, &same, accumulated));
        }
        parts
    }

    /// Emits what the roots need into the body under construction.
    fn emit_body(
        &self,
        graph: &mut Graph,
        builder: &mut ScanBuilder,
        roots: &[NodeId],
        stacked: &BTreeMap<NodeId, NodeId>,
        inside: &mut BTreeMap<NodeId, NodeId>,
    ) {
        let mut needed = vec![false; self.graph.nodes.len()];
        for root in roots {
            needed[root.index()] = true;
        }
        for (id, node) in self.graph.iter().rev() {
            if needed[id.index()] && !stacked.contains_key(&id) {
                for operand in &node.operands {
                    needed[operand.index()] = true;
                }
            }
        }
        for (id, node) in self.graph.iter() {
            if !needed[id.index()] || inside.contains_key(&id) {
                continue;
            }
            graph.set_origin(Arc::clone(&node.origin));
            let emitted = match stacked.get(&id) {
                Some(&all) => {
                    let name = node.origin.name.clone();
                    let name = name.unwrap_or_else(|| node.op.primitive().name().to_owned());
                    builder.element(graph, &name, all)
                }
                None => {
                    let operands: Vec<NodeId> = node.operands.iter().map(|o| inside[o]).collect();
                    graph.emit(node.op.clone(), &operands)
                }
            };
            inside.insert(id, emitted);
        }
    }
}

/// Per node of a body: whether it is the same in all steps. Slots from `operands` on stand for
/// cotangents.
fn invariant(body: &Graph, scan: &Scan, operands: usize) -> Vec<bool> {
    let mut invariant = vec![false; body.nodes.len()];
    for (id, node) in body.iter() {
        invariant[id.index()] = match &node.op {
            Op::Slot(slot) => {
                let slot = slot.index as usize;
                slot < operands && scan.role(slot) == OperandRole::Capture
            }
            _ => node.operands.iter().all(|operand| invariant[operand.index()]),
        };
    }
    invariant
}

/// The carry before each step, given its values after all steps: the initial one, then all but
/// the last.
fn before_steps(graph: &mut Graph, scan: &Scan, initial: NodeId, after: NodeId) -> NodeId {
    let shape = graph.type_of(after).shape.clone();
    let first: Vec<usize> = std::iter::once(1).chain(shape[1..].iter().copied()).collect();
    let initial = graph.reshape(initial, &first);
    if scan.length == 1 {
        return initial;
    }
    let (mut start, mut stop) = (vec![0; shape.len()], shape.to_vec());
    if scan.reverse {
        start[0] = 1;
    } else {
        stop[0] = scan.length - 1;
    }
    let others = graph.slice(after, &start, &stop, &vec![1; shape.len()]);
    let parts = if scan.reverse { [others, initial] } else { [initial, others] };
    graph.concat(&parts, 0)
}

/// Chooses what is saved and what is computed again.
struct Chooser<'r, 's> {
    reversed: &'r Reversed<'s>,
    nodes: BTreeSet<NodeId>,
    again: BTreeSet<NodeId>,
}

impl Chooser<'_, '_> {
    /// Makes a forward node available to the backward loop.
    fn provide(&mut self, id: NodeId) {
        if self.nodes.contains(&id) || self.again.contains(&id) {
            return;
        }
        let graph = &self.reversed.graph;
        let elements = |id: &NodeId| graph.type_of(*id).elements();
        let mut frontier = BTreeSet::new();
        self.frontier(id, &mut frontier, &mut BTreeSet::new());
        let new = frontier.iter().filter(|node| !self.nodes.contains(node));
        let by_itself = graph.node(id).operands.is_empty();
        if !by_itself && new.map(elements).sum::<usize>() > elements(&id) {
            self.nodes.insert(id);
        } else {
            self.take(id);
        }
    }

    /// The nodes that have to be saved if this one is computed again.
    fn frontier(&self, id: NodeId, frontier: &mut BTreeSet<NodeId>, seen: &mut BTreeSet<NodeId>) {
        let node = self.reversed.graph.node(id);
        if self.is_saved(id) {
            frontier.insert(id);
        } else if seen.insert(id) {
            node.operands.iter().for_each(|operand| self.frontier(*operand, frontier, seen));
        }
    }

    /// Whether a node is saved rather than computed again, if it is needed.
    fn is_saved(&self, id: NodeId) -> bool {
        let Reversed { graph, invariant, .. } = self.reversed;
        self.nodes.contains(&id) || (is_dear(&graph.node(id).op) && !invariant[id.index()])
    }

    /// Saves the frontier of a node, and computes again what lies behind it.
    fn take(&mut self, id: NodeId) {
        let node = self.reversed.graph.node(id);
        if self.is_saved(id) {
            self.nodes.insert(id);
        } else if self.again.insert(id) {
            node.operands.iter().for_each(|operand| self.take(*operand));
        }
    }
}

/// Whether an operation costs more to compute again than to save.
fn is_dear(op: &Op) -> bool {
    match op {
        Op::Slot(_) | Op::Constant(_) | Op::Iota(_) => false,
        Op::Cast(_) | Op::StopGradient(_) => false,
        Op::Elementwise(function) => function.entry().cost > cost::CHEAP,
        op => !op.is_movement(),
    }
}
