//! Building loops.
//!
//! What a loop's body computes is emitted into the graph around it first, on stand-ins for the
//! carries and the elements of sequences. When the loop is closed, what depends on them moves
//! into the body; what does not stays outside and is computed once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Graph, Node, NodeId, Output, SlotRole};
use crate::op::{Emit, Op, Random, Scan};
use crate::types::TensorType;

/// A loop under construction.
#[derive(Debug)]
pub struct ScanBuilder {
    /// Number of the first node of the body.
    start: usize,
    length: usize,
    reverse: bool,
    carries: Vec<Input>,
    sequences: Vec<Input>,
    /// The node that tells whether a step was the last one.
    until: Option<NodeId>,
}

/// An operand of the loop.
#[derive(Debug)]
struct Input {
    name: String,
    outside: NodeId,
    /// The node that stands for it in the body.
    inside: NodeId,
}

/// The nodes of a finished loop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanNodes {
    /// The scan itself.
    pub scan: NodeId,
    /// The carries after the last step.
    pub carries: Vec<NodeId>,
    /// What the steps yielded, stacked along a new first axis.
    pub yields: Vec<NodeId>,
}

impl ScanBuilder {
    /// Begins a loop of `length` steps: what is emitted from now on belongs to its body.
    pub fn begin(graph: &Graph, length: usize, reverse: bool) -> ScanBuilder {
        let start = graph.nodes.len();
        let (carries, sequences) = (Vec::new(), Vec::new());
        ScanBuilder { start, length, reverse, carries, sequences, until: None }
    }

    /// Lets the loop end after the first step in which `condition`, a single bool, holds.
    pub fn until(&mut self, condition: NodeId) {
        self.until = Some(condition);
    }

    /// A value that each step hands to the next. Returns the node that stands for it in the body.
    pub fn carry(&mut self, graph: &mut Graph, name: &str, initial: NodeId) -> NodeId {
        let ty = graph.type_of(initial).clone();
        let inside = graph.constant(ty.dtype, &ty.shape, 0.0);
        self.carries.push(Input { name: name.to_owned(), outside: initial, inside });
        inside
    }

    /// A sequence of elements, one for each step, stacked along the first axis. Returns the node
    /// that stands for the element of the step.
    ///
    /// # Panics
    /// If the first axis is not as long as the loop.
    pub fn element(&mut self, graph: &mut Graph, name: &str, stacked: NodeId) -> NodeId {
        let ty = graph.type_of(stacked).clone();
        assert_eq!(ty.shape.first(), Some(&self.length), "elements of {ty}");
        let inside = graph.constant(ty.dtype, &ty.shape[1..], 0.0);
        self.sequences.push(Input { name: name.to_owned(), outside: stacked, inside });
        inside
    }

    /// For each node of the graph, whether it differs from step to step.
    pub fn varying(&self, graph: &Graph) -> Vec<bool> {
        let inputs = self.carries.iter().chain(&self.sequences);
        let inputs: BTreeSet<NodeId> = inputs.map(|input| input.inside).collect();
        let mut varies = vec![false; graph.nodes.len()];
        for (id, node) in graph.iter().skip(self.start) {
            varies[id.index()] = inputs.contains(&id)
                || matches!(node.op, Op::Random(_))
                || node.operands.iter().any(|operand| varies[operand.index()]);
        }
        varies
    }

    /// Ends the loop: `next` are the new values of the carries, in their order.
    ///
    /// The nodes of the body that were emitted into the graph stay, but nothing should use them.
    ///
    /// # Panics
    /// If there is not one new value of the right type for each carry.
    pub fn finish(mut self, graph: &mut Graph, next: &[NodeId], yields: &[NodeId]) -> ScanNodes {
        let varies = self.varying(graph);
        let results: Vec<NodeId> = next.iter().chain(yields).copied().chain(self.until).collect();
        let needed = needed(graph, &varies, results.iter());
        self.draw_outside(graph, &needed);
        let captures: Vec<NodeId> = {
            let known: BTreeSet<NodeId> =
                self.carries.iter().chain(&self.sequences).map(|input| input.inside).collect();
            let used = needed.iter().filter(|id| !known.contains(id));
            let used = used.flat_map(|id| graph.node(*id).operands.iter().copied());
            let used = used.chain(results.iter().copied());
            let captures: BTreeSet<NodeId> = used.filter(|id| !varies[id.index()]).collect();
            captures.into_iter().collect()
        };
        let mut body = Graph::new();
        let mut names = Names::default();
        let mut inside: BTreeMap<NodeId, NodeId> = BTreeMap::new();
        let mut operands = Vec::new();
        let inputs = self.carries.iter().chain(&self.sequences);
        let mut slots: Vec<(String, NodeId, NodeId)> =
            inputs.map(|input| (input.name.clone(), input.outside, input.inside)).collect();
        slots.extend(captures.iter().map(|&id| (name_of(graph, id), id, id)));
        for (name, outside, stands_for) in slots {
            let ty = graph.type_of(stands_for).clone();
            let slot = body.declare_slot(&names.unique(name), SlotRole::Input, ty);
            body.set_origin(Arc::clone(&graph.node(outside).origin));
            inside.insert(stands_for, body.read_slot(slot));
            operands.push(outside);
        }
        for id in needed {
            if inside.contains_key(&id) {
                continue;
            }
            let node = graph.node(id);
            let operands: Vec<NodeId> = node.operands.iter().map(|o| inside[o]).collect();
            body.set_origin(Arc::clone(&node.origin));
            inside.insert(id, body.emit(node.op.clone(), &operands));
        }
        body.set_origin(Arc::default());
        let mut names = Names::default();
        for (number, id) in results.iter().enumerate() {
            let name = match self.carries.get(number) {
                Some(carry) => carry.name.clone(),
                None if number == next.len() + yields.len() => "until".to_owned(),
                None => format!("yield{}", number - self.carries.len()),
            };
            body.outputs.push(Output { name: names.unique(name), node: inside[id] });
        }
        let scan = Scan {
            body: Arc::new(body),
            length: self.length,
            reverse: self.reverse,
            until: self.until.is_some(),
            carries: self.carries.len(),
            sequences: self.sequences.len(),
        };
        let scan = graph.emit(scan.into(), &operands);
        let carries = (0..next.len()).map(|index| graph.port(scan, index)).collect();
        let results = next.len()..next.len() + yields.len();
        let yields = results.map(|index| graph.port(scan, index)).collect();
        ScanNodes { scan, carries, yields }
    }

    /// Random numbers that the body draws become a sequence drawn outside, of the same stream:
    /// the number of the step is the outermost part of the counter.
    fn draw_outside(&mut self, graph: &mut Graph, needed: &[NodeId]) {
        for &id in needed {
            let Op::Random(random) = &graph.node(id).op else { continue };
            let shape = std::iter::once(self.length).chain(random.shape.iter().copied()).collect();
            let all = Random { shape, ..random.clone() };
            let origin = Arc::clone(&graph.node(id).origin);
            let before = graph.set_origin(origin);
            let outside = graph.emit(all.into(), &[]);
            graph.set_origin(before);
            self.sequences.push(Input { name: "random".to_owned(), outside, inside: id });
        }
    }
}

/// The varying nodes that these need, operands first.
fn needed<'a>(
    graph: &Graph,
    varies: &[bool],
    results: impl Iterator<Item = &'a NodeId>,
) -> Vec<NodeId> {
    let mut marks = vec![false; varies.len()];
    for id in results {
        marks[id.index()] = varies[id.index()];
    }
    for index in (0..varies.len()).rev() {
        if marks[index] {
            for operand in &graph.nodes[index].operands {
                marks[operand.index()] |= varies[operand.index()];
            }
        }
    }
    (0..marks.len()).filter(|&index| marks[index]).map(|index| NodeId(index as u32)).collect()
}

/// What a node of the graph around a loop is called in the loop.
fn name_of(graph: &Graph, id: NodeId) -> String {
    let node = graph.node(id);
    match (&node.op, &node.origin.name) {
        (Op::Slot(slot), _) => graph.slots[slot.index as usize].name.clone(),
        (_, Some(name)) => name.clone(),
        (op, None) => op.primitive().name().to_owned(),
    }
}

/// Names given so far.
#[derive(Debug, Default)]
pub(crate) struct Names(BTreeSet<String>);

impl Names {
    /// `name`, or with a number behind it if that is taken.
    pub(crate) fn unique(&mut self, name: String) -> String {
        let candidates = (1..).map(|number| match number {
            1 => name.clone(),
            number => format!("{name}_{number}"),
        });
        let free = candidates.into_iter().find(|candidate| !self.0.contains(candidate));
        let name = free.expect("there are more numbers than names");
        self.0.insert(name.clone());
        name
    }
}

impl Graph {
    /// A result of a scan: the node that is it already, or a new one.
    ///
    /// # Panics
    /// If the node is not a scan with so many results.
    pub fn port(&mut self, scan: NodeId, index: usize) -> NodeId {
        let Op::Scan(op) = &self.node(scan).op else { panic!("{scan} is not a scan") };
        let port = Op::from(op.port(index));
        let is_it = |(_, node): &(NodeId, &Node)| node.op == port && node.operands[..] == [scan];
        let known = self.iter().skip(scan.index() + 1).find(is_it).map(|(id, _)| id);
        known.unwrap_or_else(|| self.emit(port, &[scan]))
    }

    /// Replaces a scan by one with the same operands and at least the same results at the same
    /// places, so that its ports stay what they are.
    ///
    /// # Panics
    /// If the node is not a scan.
    pub fn extend_scan(&mut self, id: NodeId, scan: Scan) {
        let types: Vec<TensorType> =
            self.node(id).operands.iter().map(|operand| self.type_of(*operand).clone()).collect();
        let types: Vec<&TensorType> = types.iter().collect();
        let op = Op::from(scan);
        let ty = op.primitive().infer(&types).expect("the operands are the same");
        let node = &mut self.nodes[id.index()];
        assert!(matches!(node.op, Op::Scan(_)), "{id} is not a scan");
        (node.op, node.ty) = (op, ty);
    }
}
