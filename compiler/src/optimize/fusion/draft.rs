//! Kernels to be: bodies whose values are still numbered like the nodes of the graph.

use std::collections::BTreeSet;

use super::inline::{Inlined, Inliner};
use super::product::{Layout, parallel_axes};
use crate::graph::{Graph, NodeId};
use crate::index::{Expression, IndexMap};
use crate::kernel::{Axis, AxisRole, KernelBody};
use crate::op::{Emit, Op};

/// A kernel that may become part of the cover.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    /// What it computes. Values are numbered like the nodes whose tensors they hold.
    pub body: KernelBody,
    /// Nodes whose tensors are written.
    pub outputs: Vec<NodeId>,
    /// Nodes whose tensors are read.
    pub inputs: BTreeSet<NodeId>,
    /// Nodes computed.
    pub nodes: BTreeSet<NodeId>,
    /// Name of the kernel.
    pub name: String,
    /// Why it was chosen.
    pub reasons: Vec<String>,
}

/// Axes of a kernel that reduces over `axes` of a tensor of this shape.
pub(super) fn reduction_axes(shape: &[usize], axes: &[usize]) -> Vec<Axis> {
    let role = |axis| if axes.contains(&axis) { AxisRole::Reduced } else { AxisRole::Parallel };
    let axes = shape.iter().enumerate();
    axes.map(|(axis, &extent)| Axis { extent, role: role(axis) }).collect()
}

/// The axes over which a node reduces its operand; `None` for other nodes.
pub(super) fn reduced_axes(op: &Op) -> Option<&[usize]> {
    match op {
        Op::Reduce(reduce) => Some(&reduce.axes),
        Op::ArgReduce(reduce) => Some(std::slice::from_ref(&reduce.axis)),
        _ => None,
    }
}

/// The map from the points of a kernel that reduces a `shape`-shaped tensor over `axes` to the
/// indices of the result.
pub(super) fn kept_indices(shape: &[usize], axes: &[usize]) -> IndexMap {
    let kept = (0..shape.len()).filter(|axis| !axes.contains(axis));
    IndexMap::new(shape, kept.map(Expression::axis))
}

impl Draft {
    /// The kernel that computes one node from its operands, all of which are read from memory
    /// (constants excepted).
    pub fn of_node(graph: &Graph, id: NodeId) -> Draft {
        let node = graph.node(id);
        let reads =
            |operand: NodeId| operand != id && !matches!(graph.node(operand).op, Op::Constant(_));
        let reason = "every node is a kernel of its own".to_owned();
        if matches!(node.op, Op::Contract(_)) {
            return Draft::of_product(graph, id, &reads).because(reason);
        }
        let (axes, place) = match reduced_axes(&node.op) {
            Some(axes) => {
                let shape = &graph.type_of(node.operands[0]).shape;
                (reduction_axes(shape, axes), kept_indices(shape, axes))
            }
            None => (parallel_axes(&node.ty.shape), IndexMap::identity(&node.ty.shape)),
        };
        let mut inliner = Inliner::new(graph, axes, &reads);
        inliner.store(id, &place);
        Draft::fused(graph, inliner.finish(), vec![id]).because(reason)
    }

    /// The product of a contraction with a plain store.
    fn of_product(graph: &Graph, id: NodeId, reads: &dyn Fn(NodeId) -> bool) -> Draft {
        let layout = Layout::new(graph, id, false);
        let mut epilogue = Inliner::new(graph, layout.result_axes(), reads)
            .with_accumulator(id, layout.result.clone());
        epilogue.store(id, &layout.result);
        Draft::product(graph, &layout, [reads, reads], epilogue.finish(), vec![id])
    }

    /// A draft from an inlined body.
    pub fn fused(graph: &Graph, inlined: Inlined, outputs: Vec<NodeId>) -> Draft {
        let Inlined { body, inputs, inside } = inlined;
        let name = name_of(graph, &inside);
        let body = KernelBody::Fused(body);
        Draft { body, outputs, inputs, nodes: inside, name, reasons: Vec::new() }
    }

    /// A draft from the layout of a product, what its operands read from memory, and its epilogue.
    pub fn product(
        graph: &Graph,
        layout: &Layout,
        reads: [&dyn Fn(NodeId) -> bool; 2],
        epilogue: Inlined,
        outputs: Vec<NodeId>,
    ) -> Draft {
        let Inlined { body, mut inputs, inside: mut nodes } = epilogue;
        let product = layout.product(graph, reads, body, &mut inputs, &mut nodes);
        nodes.insert(layout.node);
        let name = name_of(graph, &nodes);
        let body = KernelBody::Product(Box::new(product));
        Draft { body, outputs, inputs, nodes, name, reasons: Vec::new() }
    }

    /// Adds a reason.
    pub fn because(mut self, reason: String) -> Draft {
        self.reasons.push(reason);
        self
    }
}

/// Longest list of operations in a kernel's name.
const NAMED_OPERATIONS: usize = 4;

/// A name from the operations that compute: the first few distinct ones.
fn name_of(graph: &Graph, nodes: &BTreeSet<NodeId>) -> String {
    let mut names: Vec<&str> = Vec::new();
    let mut movement = "constant";
    for &node in nodes {
        let op = &graph.node(node).op;
        let name = match op {
            Op::Contract(_) => "matmul",
            Op::Constant(_) | Op::Slot(_) | Op::StopGradient(_) => continue,
            _ => op.primitive().name(),
        };
        if matches!(op, Op::Iota(_) | Op::Concat(_)) || op.is_movement() {
            movement = name;
        } else if !names.contains(&name) {
            names.push(name);
        }
    }
    match names.len() {
        0 if nodes.iter().all(|&node| matches!(graph.node(node).op, Op::Slot(_))) => {
            "copy".to_owned()
        }
        0 => movement.to_owned(),
        count if count > NAMED_OPERATIONS => {
            format!("{}_and_{}", names[..NAMED_OPERATIONS].join("_"), count - NAMED_OPERATIONS)
        }
        _ => names.join("_"),
    }
}
