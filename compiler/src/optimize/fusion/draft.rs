//! Kernels to be: bodies whose values are still numbered like the nodes of the graph.

use std::collections::BTreeSet;

use super::atlas::Atlas;
use super::inline::{Inlined, Inliner, tensor_of};
use super::product::{Layout, parallel_axes};
use crate::graph::{Graph, NodeId};
use crate::index::{Expression, IndexMap, row_major_strides};
use crate::kernel::{Axis, AxisRole, Body, KernelBody, Library, ValueId};
use crate::op::{Emit, Op};
use crate::types::TensorType;

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
    /// Name of the kernel, if it is not that of what it computes.
    pub name: Option<&'static str>,
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

/// Whether a node reads an operand from memory, whatever kernel computes the node.
pub(super) fn reads_tensor(op: &Op, operand: usize) -> bool {
    op.is_routine() || matches!(op, Op::Scan(_)) || (matches!(op, Op::Gather(_)) && operand == 0)
}

/// The node whose dense tensor is, element by element, that of `node` under another shape.
fn dense_source(graph: &Graph, node: NodeId) -> NodeId {
    let mut source = node;
    while let [operand] = graph.node(source).operands[..] {
        let (shape, result) = (&graph.type_of(operand).shape, graph.type_of(source));
        let Some(map) = graph.node(source).op.index_map(shape) else { break };
        let own = IndexMap::identity(&result.shape).offset(&row_major_strides(&result.shape));
        let renames = map.constraints().is_empty()
            && graph.type_of(operand).elements() == result.elements()
            && map.offset(&row_major_strides(shape)) == own;
        if !renames {
            break;
        }
        source = operand;
    }
    source
}

impl Draft {
    /// The kernel that computes one node from its operands, all of which are read from memory
    /// (constants excepted).
    pub fn of_node(atlas: &mut Atlas<'_>, id: NodeId) -> Draft {
        let graph = atlas.graph();
        let node = graph.node(id);
        let reads =
            |operand: NodeId| operand != id && !matches!(graph.node(operand).op, Op::Constant(_));
        let reason = "every node is a kernel of its own".to_owned();
        if matches!(node.op, Op::Contract(_)) {
            return Draft::of_product(atlas, id, &reads).because(reason);
        }
        if node.op.is_routine() {
            return Draft::routine(graph, id).because(reason);
        }
        let (axes, place) = match reduced_axes(&node.op) {
            Some(axes) => {
                let shape = &graph.type_of(node.operands[0]).shape;
                (reduction_axes(shape, axes), kept_indices(shape, axes))
            }
            None => (parallel_axes(&node.ty.shape), IndexMap::identity(&node.ty.shape)),
        };
        let mut inliner = Inliner::new(atlas, axes, &reads);
        inliner.store(id, &place);
        Draft::fused(inliner.finish(), vec![id]).because(reason)
    }

    /// The product of a contraction with a plain store.
    fn of_product(atlas: &mut Atlas<'_>, id: NodeId, reads: &dyn Fn(NodeId) -> bool) -> Draft {
        let layout = Layout::new(atlas.graph(), id, false);
        let mut epilogue =
            Inliner::new(atlas, layout.result_axes(), reads).with_accumulator(id, &layout.result);
        epilogue.store(id, &layout.result);
        let epilogue = epilogue.finish();
        Draft::product(atlas, &layout, [reads, reads], epilogue, vec![id])
    }

    /// A draft from an inlined body.
    pub fn fused(inlined: Inlined, outputs: Vec<NodeId>) -> Draft {
        let Inlined { body, inputs, inside } = inlined;
        let body = KernelBody::Fused(body);
        Draft { body, outputs, inputs, nodes: inside, name: None, reasons: Vec::new() }
    }

    /// A draft from the layout of a product, what its operands read from memory, and its epilogue.
    pub fn product(
        atlas: &mut Atlas<'_>,
        layout: &Layout,
        reads: [&dyn Fn(NodeId) -> bool; 2],
        epilogue: Inlined,
        outputs: Vec<NodeId>,
    ) -> Draft {
        let Inlined { body, mut inputs, inside: mut nodes } = epilogue;
        let product = layout.product(atlas, reads, body, &mut inputs, &mut nodes);
        nodes.insert(layout.node);
        let body = KernelBody::Product(Box::new(product));
        Draft { body, outputs, inputs, nodes, name: None, reasons: Vec::new() }
    }

    /// The kernel of a node that a routine of the runtime computes.
    pub fn routine(graph: &Graph, id: NodeId) -> Draft {
        let node = graph.node(id);
        let types: Vec<&TensorType> =
            node.operands.iter().map(|operand| graph.type_of(*operand)).collect();
        let (routine, dtype) = node.op.routine(&types).expect("a routine computes the node");
        let sources = node.operands.iter().map(|&operand| dense_source(graph, operand));
        let operands: Vec<NodeId> = sources.collect();
        let name = routine.name();
        let library = Library {
            routine,
            dtype,
            operands: operands.iter().map(|&operand| tensor_of(operand)).collect(),
            result: tensor_of(id),
        };
        Draft {
            body: KernelBody::Library(library),
            outputs: vec![id],
            inputs: BTreeSet::from_iter(operands),
            nodes: BTreeSet::from([id]),
            name: Some(name),
            reasons: Vec::new(),
        }
    }

    /// The kernel that copies a node's tensor from one value, numbered already, to another.
    pub fn copy(graph: &Graph, node: NodeId, [from, to]: [ValueId; 2]) -> Draft {
        Draft {
            body: KernelBody::Fused(Body::copy(from, to, graph.type_of(node))),
            outputs: Vec::new(),
            inputs: BTreeSet::new(),
            nodes: BTreeSet::from([node]),
            name: Some("copy"),
            reasons: vec!["two slots get one new value".to_owned()],
        }
    }

    /// The kernel's name.
    pub fn name(&self, graph: &Graph) -> String {
        self.name.map_or_else(|| name_of(graph, &self.nodes), str::to_owned)
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
