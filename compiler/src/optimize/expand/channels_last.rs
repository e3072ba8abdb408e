//! Convolutions of tensors whose channels lie last in memory.
//!
//! Rows of the product are windows, its columns output channels, and the sum runs over the taps and within
//! each over the channels: runs of neighbours. So products read windows where they lie, results have whole
//! vectors of channels, and so has what is computed of them.

use super::Expander;
use super::convolution::{LEAST_CHANNELS, in_parts, infer, parts_of_sum};
use super::winograd::source;
use crate::graph::{Emit, Graph, Node, NodeId};
use crate::index::row_major_strides;
use crate::op::convolution::LEADING;
use crate::op::{Conv, Op};
use crate::types::{Axes, Shape};

/// With fewer output channels than this, sums run along vectors of taps.
const DOT_CHANNELS: usize = 6;

/// Most channels of a tensor from outside, which lies with its channels first.
const MOST_CHANNELS_FROM_OUTSIDE: usize = 4;

/// Whether tensors of a graph had better lie with their channels last: if no convolution is for groups of
/// channels. (Tensors that come from outside have to be put into another order: none with many channels should.)
pub(super) fn suits(graph: &Graph) -> bool {
    let suits = |conv: &Conv, node: &Node| {
        let input = node.operands[0];
        let comes_from_outside = source(graph, input).is_some_and(|(base, _)| {
            let shape = &graph.type_of(base).shape;
            // With or without an axis for groups, space comes last.
            let Some(space) = shape.len().checked_sub(conv.axes.len()) else { return false };
            let channels = shape[..space].last().copied().unwrap_or(1);
            let is_slot = matches!(graph.node(base).op, Op::Slot(_));
            let is_image = shape[space..].iter().any(|&extent| extent > 1);
            is_slot && is_image && channels > MOST_CHANNELS_FROM_OUTSIDE
        });
        graph.type_of(input).shape[0] == 1 && !comes_from_outside
    };
    let mut found = graph.nodes.iter().filter_map(|node| match &node.op {
        Op::Conv(conv) => Some(suits(conv, node)),
        _ => None,
    });
    found.next() == Some(true) && found.all(|suits| suits)
}

impl Expander {
    /// A convolution without input dilation, channels last.
    pub(super) fn channels_last(&mut self, conv: &Conv, input: NodeId, kernel: NodeId) -> NodeId {
        let types = [input, kernel].map(|node| self.graph.type_of(node).clone());
        let [from, taps] = types.each_ref().map(|ty| ty.shape.clone());
        let counts: Shape = infer(conv, &types[0], &types[1]).shape[LEADING..].into();
        let rank = from.len();
        let of_kernel = self.sums_over_samples(input, &taps, &counts);
        let kernel = if of_kernel { kernel } else { self.kernel_in_order(kernel) };
        let kernel = match conv.reversed {
            // From its other end.
            true => self.graph.reverse(kernel, &Axes::from_iter(LEADING..rank)),
            false => kernel,
        };
        let order = |axes: [usize; 2]| -> Axes {
            [0, axes[0]].into_iter().chain(LEADING..rank).chain([axes[1]]).collect()
        };
        let input = self.graph.ordered(input, &order(if of_kernel { [2, 1] } else { [1, 2] }));
        let windows = self.windows(conv, input, &taps, &counts);
        match of_kernel {
            true => self.gradient_of_kernel(windows, kernel, rank),
            false => self.results_last(windows, kernel, rank),
        }
    }

    /// A kernel as products want it, before parts of it are taken: it is put in that order once for all of
    /// them.
    pub(super) fn kernel_in_order(&mut self, kernel: NodeId) -> NodeId {
        if !self.graph.reorders() {
            return kernel;
        }
        let rank = self.graph.type_of(kernel).rank();
        let channels = self.graph.type_of(kernel).shape[1];
        self.graph.ordered(kernel, &kernel_order(channels, rank))
    }

    /// Whether this is the gradient of a kernel, whose channels are the samples: what is called samples
    /// lies last in memory.
    fn sums_over_samples(&self, input: NodeId, taps: &[usize], counts: &[usize]) -> bool {
        let graph = self.graph.graph();
        let shape = &graph.type_of(input).shape;
        if shape[1] > 1 && shape[2] > 1 {
            let (base, order) = self.graph.in_memory(input);
            if base != input {
                return order.iter().rposition(|&axis| axis == 1)
                    > order.iter().rposition(|&axis| axis == 2);
            }
            if let Some((base, map)) = source(graph, input) {
                let offset = map.offset(&row_major_strides(&graph.type_of(base).shape));
                if let [Some(samples), Some(channels)] = [1, 2].map(|axis| offset.stride(axis)) {
                    return samples < channels;
                }
            }
        }
        let size = |extents: &[usize]| extents.iter().product::<usize>();
        size(&taps[LEADING..]) > size(counts)
    }

    /// Results `[g, n, co, windows...]` that lie channels last, of windows `[g, n, ci, windows..., taps...]`.
    fn results_last(&mut self, windows: NodeId, kernel: NodeId, rank: usize) -> NodeId {
        let g = &mut self.graph;
        let spatial = rank - LEADING;
        let channels = g.type_of(kernel).shape[1];
        // [g, n, windows..., taps..., ci]
        let order = [0, 1].into_iter().chain(LEADING..rank + spatial).chain([2]);
        let windows = g.permute(windows, &Axes::from_iter(order));
        let results = if channels < LEAST_CHANNELS {
            // [g, n, windows..., co, taps..., ci]
            let order = [0, 1].into_iter().chain(LEADING..rank).chain([2]);
            let kernel = g.permute(kernel, &Axes::from_iter(order));
            let mut shape = g.type_of(windows).shape.clone();
            let at = 2 + spatial;
            shape.insert(at, channels);
            let all = shape.len();
            let places = Axes::from_iter((0..all).filter(|&axis| axis != at));
            let windows = g.broadcast(windows, &shape, &places);
            let places = Axes::from_iter([0].into_iter().chain(at..all));
            let kernel = g.broadcast(kernel, &shape, &places);
            let product = g.mul(windows, kernel);
            g.sum(product, &Axes::from_iter(at + 1..all))
        } else {
            // [g, taps..., ci, co] or [g, co, taps..., ci], a matrix in memory.
            let kernel = g.with_axes(kernel, &kernel_order(channels, rank));
            let first = if channels < DOT_CHANNELS { 2 } else { 1 };
            let over: Vec<_> = (2 + spatial..3 + 2 * spatial).zip(first..).collect();
            g.contract(windows, kernel, &[(0, 0)], &over)
        };
        let order = [0, 1].into_iter().chain(LEADING..rank).chain([2]);
        g.register(results, &Axes::from_iter(order))
    }

    /// The gradient `[g, ci, co, taps...]` of a kernel, of windows `[g, ci, n, taps..., places...]`
    /// over the input and cotangents `[g, co, n, places...]`.
    fn gradient_of_kernel(&mut self, windows: NodeId, cotangent: NodeId, rank: usize) -> NodeId {
        let g = &mut self.graph;
        let spatial = rank - LEADING;
        let shape = g.type_of(windows).shape.clone();
        let size = |extents: &[usize]| extents.iter().product::<usize>();
        let result =
            shape[0] * shape[1] * size(&shape[LEADING..rank]) * g.type_of(cotangent).shape[1];
        let parts = parts_of_sum(result, shape[2], size(&shape[rank..]));
        let [windows, cotangent] = [windows, cotangent].map(|node| in_parts(g, node, parts));
        // [g, part, n, places..., taps..., ci] and [g, part, n, places..., co]
        let order = [0, 2, 3].into_iter().chain(1 + rank..1 + rank + spatial);
        let order = order.chain(1 + LEADING..1 + rank).chain([1]);
        let windows = g.permute(windows, &Axes::from_iter(order));
        let order = [0, 2, 3].into_iter().chain(1 + LEADING..1 + rank).chain([1]);
        let cotangent = g.with_axes(cotangent, &Axes::from_iter(order));
        let over: Vec<_> = (2..3 + spatial).map(|axis| (axis, axis)).collect();
        // [g, part, co, taps..., ci]
        let product = g.contract(cotangent, windows, &[(0, 0), (1, 1)], &over);
        let sum = match parts {
            1 => {
                let mut shape = g.type_of(product).shape.clone();
                shape.remove(1);
                g.reshape(product, &shape)
            }
            _ => g.sum(product, &[1]),
        };
        // Small, and read with what lies like the kernel.
        let order = [0, 2 + spatial, 1].into_iter().chain(2..2 + spatial);
        g.permute(sum, &Axes::from_iter(order))
    }
}

/// The axes of a kernel `[g, co, ci, taps...]` with so many output channels as they come in memory: sums of
/// few channels run along the taps.
fn kernel_order(channels: usize, rank: usize) -> Axes {
    match channels < DOT_CHANNELS {
        true => [0, 1].into_iter().chain(LEADING..rank).chain([2]).collect(),
        false => [0].into_iter().chain(LEADING..rank).chain([2, 1]).collect(),
    }
}
