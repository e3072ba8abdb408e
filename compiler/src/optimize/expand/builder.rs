//! A graph under expansion, whose tensors may lie in memory with their axes in another order.
//!
//! Convolutions want channels last: then windows are runs of neighbours, and results have whole vectors
//! of channels. Where a tensor is computed in such an order, the builder computes what follows in that
//! order, too: a permutation of axes goes down through functions, sums and movement until it meets the
//! opposite one, so that tensors are hardly ever put into another order. (Known as layout propagation,
//! for example Liu et al., "Optimizing CNN model inference on CPUs", 2019.)

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use smallvec::SmallVec;

use crate::graph::{Emit, Graph, Node, NodeId, Origin};
use crate::index::{Expression, IndexMap};
use crate::op::{
    Concat, Constant, Interleave, Iota, Op, Pad, Permute, Reduce, ReduceKind, Reshape, View,
};
use crate::types::{Axes, Shape, TensorType};

/// Elements that are worth a reduction in parts.
const ENOUGH_ELEMENTS: usize = 1 << 14;

/// Most parts: enough for a team.
const MOST_PARTS: usize = 16;

/// A graph under expansion.
#[derive(Default)]
pub(super) struct Builder {
    graph: Graph,
    /// Whether permutations go down; else nodes are emitted as they are.
    reorders: bool,
    /// Whether sums may be taken in another order.
    rounds: bool,
    /// Tensors that lie in another order: as what, and which axis comes first there, second and so on.
    moved: BTreeMap<NodeId, (NodeId, Axes)>,
    /// What is there already: several convolutions may read one tensor in the same order.
    known: HashMap<(Op, SmallVec<[NodeId; 3]>), NodeId>,
}

impl Builder {
    /// For a graph with the same slots. With `reorders`, what follows from tensors in another order is
    /// computed in that order; with `rounds`, sums may be taken in another order.
    pub fn new(graph: &Graph, reorders: bool, rounds: bool) -> Builder {
        let mut builder = Builder { reorders, rounds, ..Builder::default() };
        builder.graph.slots.clone_from(&graph.slots);
        builder
    }

    /// Whether permutations go down.
    pub fn reorders(&self) -> bool {
        self.reorders
    }

    /// The graph so far.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The node with this number.
    pub fn node(&self, id: NodeId) -> &Node {
        self.graph.node(id)
    }

    /// Sets the origin of the nodes emitted from now on.
    pub fn set_origin(&mut self, origin: Arc<Origin>) {
        self.graph.set_origin(origin);
    }

    /// The graph, with the results of another one, of whose nodes `node` tells what became here.
    pub fn finish(mut self, other: &Graph, node: impl Fn(NodeId) -> NodeId) -> Graph {
        self.graph.take_results(other, node);
        self.graph.set_origin(Arc::default());
        if self.reorders {
            self.graph.prune();
        }
        self.graph
    }

    /// The tensor as which a node lies in memory, and the node's axes in that order.
    pub fn in_memory(&self, node: NodeId) -> (NodeId, Axes) {
        let as_it_is = || (node, (0..self.graph.type_of(node).rank()).collect());
        self.moved.get(&node).cloned().unwrap_or_else(as_it_is)
    }

    /// The same tensor, lying in memory with axis `order[0]` first, `order[1]` second and so on.
    pub fn ordered(&mut self, node: NodeId, order: &[usize]) -> NodeId {
        let base = self.with_axes(node, order);
        self.register(base, order)
    }

    /// The node whose axes are these of `node`, which may be there already.
    pub fn with_axes(&mut self, node: NodeId, order: &[usize]) -> NodeId {
        let (base, known) = self.in_memory(node);
        if known.as_slice() == order {
            return base;
        }
        match self.graph.node(node).op.clone() {
            Op::Constant(constant) => {
                let shape = order.iter().map(|&axis| constant.shape[axis]).collect();
                self.raw(Constant { shape, ..constant }.into(), &[])
            }
            Op::Iota(iota) => {
                let shape = order.iter().map(|&axis| iota.shape[axis]).collect();
                let axis = place(order, iota.axis);
                self.raw(Iota { axis, shape, ..iota }.into(), &[])
            }
            _ => self.of_moved_operand(node, order).unwrap_or_else(|| {
                // Axis order[i] of the node is axis i, and axis known[k] is axis k of its base.
                let order: Axes = order.iter().map(|&axis| place(&known, axis)).collect();
                self.raw(Permute { order }.into(), &[base])
            }),
        }
    }

    /// The same by putting the axes of what the node is a view of into another order, if it repeats elements:
    /// each is moved once then.
    fn of_moved_operand(&mut self, node: NodeId, order: &[usize]) -> Option<NodeId> {
        let op = self.graph.node(node).op.clone();
        let [operand] = self.graph.node(node).operands[..] else { return None };
        let from = self.graph.type_of(operand);
        let repeats = from.elements() < self.graph.type_of(node).elements();
        if !self.reorders || !op.is_movement() || !repeats {
            return None;
        }
        let map = op.index_map(&from.shape).filter(|map| map.constraints().is_empty())?;
        // Those that no axis of the node moves along come first.
        let moves = |index: &Expression| order.iter().any(|&axis| index.depends_on(axis));
        let indices = map.indices().iter().enumerate();
        let mut axes: Axes = indices.filter(|(_, e)| !moves(e)).map(|(axis, _)| axis).collect();
        for &axis in order {
            let along = map.indices().iter().enumerate().filter(|(_, e)| e.depends_on(axis));
            let new: Axes = along.map(|(at, _)| at).filter(|at| !axes.contains(at)).collect();
            axes.extend(new);
        }
        if axes.is_sorted() {
            return None;
        }
        let operand = self.ordered(operand, &axes);
        let moved = self.movement(&op, operand)?;
        let (base, found) = self.in_memory(moved);
        (found.as_slice() == order).then_some(base)
    }

    /// A node of the graph, the one that is there if there is one.
    pub fn raw(&mut self, op: Op, operands: &[NodeId]) -> NodeId {
        if !self.reorders {
            return self.graph.emit(op, operands);
        }
        let key = (op, SmallVec::from_slice(operands));
        if let Some(&known) = self.known.get(&key) {
            return known;
        }
        let node = self.graph.emit(key.0.clone(), operands);
        self.known.insert(key, node);
        node
    }

    /// The tensor whose axes `order[0]`, `order[1]` and so on are those of `base`.
    pub fn register(&mut self, base: NodeId, order: &[usize]) -> NodeId {
        if order.is_sorted() {
            return base;
        }
        let back: Axes = (0..order.len()).map(|axis| place(order, axis)).collect();
        let node = self.raw(Permute { order: back }.into(), &[base]);
        self.moved.insert(node, (base, Axes::from_slice(order)));
        node
    }

    /// A movement of a tensor that lies in another order: its result does so, too.
    fn movement(&mut self, op: &Op, operand: NodeId) -> Option<NodeId> {
        let (base, order) = self.moved.get(&operand)?.clone();
        if let Op::Pad(pad) = op {
            let axes = |counts: &Axes| order.iter().map(|&axis| counts[axis]).collect();
            let Pad { low, high, interior, value } = pad;
            let (low, high, interior) = (axes(low), axes(high), axes(interior));
            let padded = self.raw(Pad { low, high, interior, value: *value }.into(), &[base]);
            return Some(self.register(padded, &order));
        }
        let from: Shape = self.graph.type_of(base).shape.clone();
        let back: Axes = (0..order.len()).map(|axis| place(&order, axis)).collect();
        let map = op.index_map(&self.graph.type_of(operand).shape)?;
        let map = map.compose(&IndexMap::permute(&from, &back))?;
        let order = along_memory(&map);
        let domain: Shape = order.iter().map(|&axis| map.domain()[axis]).collect();
        let places = (0..order.len()).map(|axis| Expression::axis(place(&order, axis)));
        let map = map.over(&domain, &places.collect::<Vec<_>>());
        let moved = match map.is_identity(&from) {
            true => base,
            false => self.raw(View { map }.into(), &[base]),
        };
        Some(self.register(moved, &order))
    }

    /// A function of elements, computed in the order of one of its operands.
    fn function(&mut self, op: &Op, operands: &[NodeId]) -> Option<NodeId> {
        let order = operands.iter().find_map(|node| self.moved.get(node))?.1.clone();
        let operands: SmallVec<[NodeId; 3]> =
            operands.iter().map(|&operand| self.with_axes(operand, &order)).collect();
        let op = match op {
            Op::Concat(concat) => Concat { axis: place(&order, concat.axis) }.into(),
            Op::Interleave(turns) => Interleave { axis: place(&order, turns.axis) }.into(),
            _ => op.clone(),
        };
        let result = self.raw(op, &operands);
        Some(self.register(result, &order))
    }

    /// A reduction over axes of a tensor that lies in another order.
    fn reduction(&mut self, reduce: &Reduce, operand: NodeId) -> Option<NodeId> {
        let (base, order) = self.moved.get(&operand)?.clone();
        let mut axes: Axes = reduce.axes.iter().map(|&axis| place(&order, axis)).collect();
        axes.sort_unstable();
        let result = self.reduced(reduce.kind, base, &axes);
        let kept = order.iter().filter(|axis| !reduce.axes.contains(axis));
        let left_out = |axis: usize| reduce.axes.iter().filter(|&&other| other < axis).count();
        let order: Axes = kept.map(|&axis| axis - left_out(axis)).collect();
        Some(self.register(result, &order))
    }

    /// A reduction over axes, in two steps if it leaves only what lies next to each other: there are too few
    /// columns then for a team, and parts of the rows are reduced each on its own.
    fn reduced(&mut self, kind: ReduceKind, node: NodeId, axes: &[usize]) -> NodeId {
        let shape = self.graph.type_of(node).shape.clone();
        let columns = shape.iter().enumerate().filter(|(axis, _)| !axes.contains(axis));
        let columns: usize = columns.map(|(_, &extent)| extent).product();
        let rows: usize = axes.iter().map(|&axis| shape[axis]).product();
        let outermost = axes.iter().copied().find(|&axis| shape[axis] > 1);
        let leaves_last = !axes.contains(&(shape.len() - 1)) && columns > 1;
        let parts =
            |axis: usize| (2..=MOST_PARTS).rev().find(|parts| shape[axis].is_multiple_of(*parts));
        if leaves_last
            && self.rounds
            && rows * columns >= ENOUGH_ELEMENTS
            && let Some((axis, parts)) = outermost.and_then(|axis| Some((axis, parts(axis)?)))
        {
            let mut split = shape;
            split[axis] /= parts;
            split.insert(axis, parts);
            let split = self.raw(Reshape { shape: split }.into(), &[node]);
            let inner = axes.iter().map(|&other| other + usize::from(other >= axis)).collect();
            let partial = self.raw(Reduce { kind, axes: inner }.into(), &[split]);
            let before = axes.iter().filter(|&&other| other < axis).count();
            let outer = Axes::from_slice(&[axis - before]);
            return self.raw(Reduce { kind, axes: outer }.into(), &[partial]);
        }
        self.raw(Reduce { kind, axes: Axes::from_slice(axes) }.into(), &[node])
    }
}

impl Emit for Builder {
    fn emit(&mut self, op: Op, operands: &[NodeId]) -> NodeId {
        if !self.reorders {
            return self.graph.emit(op, operands);
        }
        let reordered = match &op {
            Op::Elementwise(_) | Op::Cast(_) | Op::StopGradient(_) => self.function(&op, operands),
            Op::Concat(_) | Op::Interleave(_) => self.function(&op, operands),
            Op::Reduce(reduce) => self.reduction(reduce, operands[0]),
            op if op.is_movement() => self.movement(op, operands[0]),
            _ => None,
        };
        reordered.unwrap_or_else(|| self.raw(op, operands))
    }

    fn type_of(&self, node: NodeId) -> &TensorType {
        self.graph.type_of(node)
    }
}

/// The axes of the domain of a map, those first that go along axes of the operand that come first. Axes
/// along which nothing changes come before all others.
fn along_memory(map: &IndexMap) -> Axes {
    let axes = || 0..map.domain().len();
    let depends = |e: &Expression, axis: usize| e.depends_on(axis);
    let moves = |axis: usize| map.indices().iter().any(|e| depends(e, axis));
    let mut order: Axes = axes().filter(|&axis| !moves(axis)).collect();
    for index in map.indices() {
        let along = axes().filter(|&axis| depends(index, axis));
        let new: Axes = along.filter(|axis| !order.contains(axis)).collect();
        order.extend(new);
    }
    order
}

/// Where an axis stands in an order.
fn place(order: &[usize], axis: usize) -> usize {
    order.iter().position(|&other| other == axis).expect("an order has all axes")
}
