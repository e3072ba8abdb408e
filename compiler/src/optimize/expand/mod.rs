//! Expansion, between the two levels: operations made for people and for gradients become those
//! that kernels are made of.
//!
//! Algebra sees a convolution as one term, which keeps the e-graph small, and cannot undo what is
//! decided here by the shapes. Fusion then sees products, sums and movement only.
//!
//! * [`convolution`]: products (or sums of products) over views of the input.
//! * [`channels_last`]: the same for whole graphs whose tensors lie with their channels last in memory,
//!   which [`builder`] sees to.
//! * [`winograd`]: convolutions of 3 x 3 taps in a transformed space.
//! * [`window`]: sums of overlapping windows, and extremes of small windows.

mod builder;
mod channels_last;
mod convolution;
mod phases;
#[cfg(test)]
mod tests;
mod window;
mod winograd;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use smallvec::SmallVec;

use crate::graph::{Emit, Graph, NodeId};
use crate::op::{ArgKind, Op, Reduce, ReduceKind};
use crate::optimize::prepare::fixed_nodes;
use crate::optimize::{MathMode, OptimizeOptions};
use builder::Builder;

/// The graph without convolutions and folds, and with extremes of small windows as comparisons.
/// Convolutions may be computed in a transformed space unless arithmetic is strict.
pub fn expand(graph: Graph, options: &OptimizeOptions) -> Graph {
    let is_expanded = |op: &Op| match op {
        Op::Conv(_) | Op::Fold(_) | Op::ArgReduce(_) => true,
        Op::Reduce(reduce) => reduce.kind == ReduceKind::Max,
        _ => false,
    };
    if !graph.nodes.iter().any(|node| is_expanded(&node.op)) {
        return graph;
    }
    let may_transform = options.math != MathMode::Strict;
    let fixed = match options.fixed_weights {
        true => fixed_nodes(&graph),
        false => vec![false; graph.nodes.len()],
    };
    let channels_last = channels_last::suits(&graph);
    let builder = Builder::new(&graph, channels_last, may_transform);
    let mut expander = Expander { graph: builder, may_transform, ..Expander::default() };
    let mut nodes: Vec<NodeId> = Vec::with_capacity(graph.nodes.len());
    for (node, &fixed) in graph.nodes.iter().zip(&fixed) {
        let operands: SmallVec<[NodeId; 3]> =
            node.operands.iter().map(|operand| nodes[operand.index()]).collect();
        expander.graph.set_origin(Arc::clone(&node.origin));
        let expanded = match &node.op {
            Op::Conv(conv) => Some(expander.convolution(conv, operands[0], operands[1])),
            Op::Fold(fold) => Some(expander.fold(fold, operands[0])),
            Op::ArgReduce(search) => expander
                .extreme_of_windows(search.kind, operands[0], search.axis)
                .map(|extreme| extreme.position),
            Op::Reduce(Reduce { kind: ReduceKind::Max, axes }) => match axes[..] {
                [axis] => expander
                    .extreme_of_windows(ArgKind::Max, operands[0], axis)
                    .map(|extreme| extreme.value),
                _ => None,
            },
            _ => None,
        };
        let emit = || expander.graph.emit(node.op.clone(), &operands);
        let emitted = expanded.unwrap_or_else(emit);
        if fixed {
            expander.fixed.insert(emitted);
        }
        nodes.push(emitted);
    }
    expander.graph.finish(&graph, |old| nodes[old.index()])
}

/// What is known while a graph is expanded.
#[derive(Default)]
struct Expander {
    graph: Builder,
    /// Whether convolutions may be computed in a transformed space.
    may_transform: bool,
    /// What is computed from fixed weights alone.
    fixed: BTreeSet<NodeId>,
    /// Transformed kernels: which ones, whether turned, and for tiles of which size.
    transformed: BTreeMap<(NodeId, bool, usize), NodeId>,
    /// Padded tensors: several convolutions may read one.
    padded: BTreeMap<convolution::Padding, NodeId>,
    /// What each of them is made of.
    unpadded: BTreeMap<NodeId, convolution::Padding>,
    /// Extremes of windows, by operand and axis: their values and positions.
    extremes: BTreeMap<(ArgKind, NodeId, usize), window::Extreme>,
}
