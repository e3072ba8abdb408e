//! Convolutions of 3 x 3 taps in a transformed space, where that is faster.
//!
//! So are gradients of kernels. It takes fewer multiplications, see [`cygnet_runtime::gemm::Winograd`]. Kernels are transformed once
//! in a step for all convolutions that read them so; those that stay over many steps, once for all of
//! them.

use cygnet_runtime::gemm;

use super::Expander;
use crate::graph::{Emit, Graph, NodeId};
use crate::index::{Expression, IndexMap, row_major_strides};
use crate::op::convolution::{LEADING, swapped};
use crate::op::{
    Conv, Primitive, Sliding, Winograd, WinogradGradient, WinogradInput, WinogradKernel,
    WinogradTaps,
};
use crate::optimize::cost;
use crate::types::{DType, TensorType};

/// Images narrower than this are mostly margin.
const LEAST_WIDTH: usize = 4;

/// The axes `[g, n, c, h, w]` of a tensor whose channels lie last in memory.
const CHANNELS_LAST: [usize; 5] = [0, 1, 3, 4, 2];

/// Fewer input channels than this fill no vector of the sums for a gradient of kernels.
const LEAST_COLUMNS: usize = 12;

impl Expander {
    /// The convolution in a transformed space; nothing if it is not one of 3 x 3 taps side by side
    /// with kernels in memory, or is not faster so.
    pub(super) fn transformed(
        &mut self,
        conv: &Conv,
        input: NodeId,
        kernel: NodeId,
    ) -> Option<NodeId> {
        let types = [input, kernel].map(|node| self.graph.type_of(node).clone());
        let types = types.each_ref();
        if !self.may_transform || !fits(conv, types) {
            return None;
        }
        let [to, from] = [types[1].shape[1], types[1].shape[2]];
        let (kernels, turned) = self.kernels(kernel, conv.reversed, [to, from])?;
        let result = conv.infer(&types).ok()?;
        let &[_, samples, _, height, width] = &result.shape[..] else { return None };
        // Larger tiles round more: not where results are trained with.
        let is_fixed = self.fixed.contains(&kernels);
        let tiles: &[usize] = if is_fixed { &[2, 4] } else { &[2] };
        let forms = tiles.iter().map(|&tile| {
            let (input, low) = extents(conv, types[0]);
            let (result, transformed) = ([height, width], false);
            gemm::Winograd { samples, from, to, input, low, result, tile, transformed }.planned()
        });
        let shape = cost::preferred_winograd(forms, is_fixed)?;
        if width < LEAST_WIDTH {
            return None;
        }
        let tile = shape.tile;
        let g = &mut self.graph;
        let transformed = *self.transformed.entry((kernels, turned, tile)).or_insert_with(|| {
            let outer = if turned { [from, to] } else { [to, from] };
            let kernels = g.reshape(kernels, &[outer[0], outer[1], 3, 3]);
            g.raw(WinogradKernel { turned, tile }.into(), &[kernels])
        });
        let mut input = self.graph.with_axes(input, &CHANNELS_LAST);
        if shape.transformed {
            input = self.graph.raw(WinogradInput { shape }.into(), &[input]);
        }
        let convolved = self.graph.raw(Winograd { shape }.into(), &[transformed, input]);
        Some(self.graph.register(convolved, &CHANNELS_LAST))
    }

    /// The gradient of kernels of 3 x 3 taps by sums in a transformed space; nothing if the convolution is
    /// not one of that form, with samples as channels, or is not faster so.
    pub(super) fn transformed_gradient(
        &mut self,
        conv: &Conv,
        input: NodeId,
        cotangent: NodeId,
    ) -> Option<NodeId> {
        let types = [input, cotangent].map(|node| self.graph.type_of(node).clone());
        if !self.may_transform
            || types[0].dtype != DType::F32
            || types[0].shape[0] != 1
            || conv.reversed
            || !conv.axes.iter().all(is_plain)
        {
            return None;
        }
        let result = conv.infer(&[&types[0], &types[1]]).ok()?;
        let [_, from, to, 3, 3] = result.shape[..] else { return None };
        let [_, _, samples, height, width] = types[1].shape[..] else { return None };
        let (extents, low) = extents(conv, &types[0]);
        let shape = gemm::WinogradGradient {
            samples,
            from,
            to,
            input: extents,
            low,
            cotangent: [height, width],
        };
        if width < LEAST_WIDTH || from < LEAST_COLUMNS || !cost::prefers_winograd_gradient(&shape) {
            return None;
        }
        let g = &mut self.graph;
        // Samples are what is called channels here.
        let [input, cotangent] = [input, cotangent].map(|node| g.with_axes(node, &[0, 2, 3, 4, 1]));
        let sums = g.raw(WinogradGradient { shape }.into(), &[input, cotangent]);
        let taps = g.raw(WinogradTaps { shape }.into(), &[sums]);
        let taps = g.reshape(taps, &[1, to, from, 3, 3]);
        Some(swapped(g, taps))
    }

    /// The tensor of which these kernels are a view: with elements like `[to, from, 3, 3]`, or like
    /// `[from, to, 3, 3]` if they are that, each from its other end; and whether they are.
    fn kernels(
        &self,
        kernel: NodeId,
        reversed: bool,
        [to, from]: [usize; 2],
    ) -> Option<(NodeId, bool)> {
        let (base, map) = source(self.graph.graph(), kernel)?;
        let found = self.graph.type_of(base);
        if found.elements() != 9 * to * from {
            return None;
        }
        let offset = map.offset(&row_major_strides(&found.shape));
        // Offsets of `[1, to, from, 3, 3]` in the two tensors.
        let expected = |strides: [i64; 4], start: i64| {
            let axes = strides.into_iter().enumerate();
            let terms = axes.map(|(axis, stride)| Expression::axis(axis + 1).times(stride));
            let zero = Expression::constant(start);
            IndexMap::new(map.domain(), [terms.fold(zero, |sum, term| sum.plus(&term))])
        };
        let offset = IndexMap::new(map.domain(), [offset]);
        let (wide, tall) = (9 * from as i64, 9 * to as i64);
        // The windows meet the kernel from its other end, or the kernel is turned already.
        let turned = match reversed {
            true => expected([9, tall, 3, 1], 0),
            false => expected([9, tall, -3, -1], 8),
        };
        if !reversed && offset == expected([wide, 9, 3, 1], 0) {
            Some((base, false))
        } else if offset == turned {
            Some((base, true))
        } else {
            None
        }
    }
}

/// Rows and columns of the input of a convolution, and the zeros above and left of it.
fn extents(conv: &Conv, input: &TensorType) -> ([usize; 2], [usize; 2]) {
    let along = |axis: usize| (input.shape[LEADING + axis], conv.axes[axis].low as usize);
    let [(rows, above), (columns, left)] = [0, 1].map(along);
    ([rows, columns], [above, left])
}

/// Whether a convolution of tensors of these types is one of 3 x 3 taps side by side.
fn fits(conv: &Conv, types: [&TensorType; 2]) -> bool {
    types[0].dtype == DType::F32
        && types[0].shape[0] == 1
        && types[1].shape[LEADING..] == [3, 3]
        && conv.axes.iter().all(is_plain)
}

/// Whether windows lie side by side, with no less than the whole input below them.
fn is_plain(axis: &Sliding) -> bool {
    let Sliding { stride, dilation, input_dilation, low, high } = *axis;
    (stride, dilation, input_dilation) == (1, 1, 1) && low >= 0 && high >= 0
}

/// The node of which this one is a view, without conditions, and the map to it.
pub(super) fn source(graph: &Graph, node: NodeId) -> Option<(NodeId, IndexMap)> {
    let mut map = IndexMap::identity(&graph.type_of(node).shape);
    let mut at = node;
    while let [operand] = graph.node(at).operands[..]
        && let Some(movement) = graph.node(at).op.index_map(&graph.type_of(operand).shape)
    {
        if !movement.constraints().is_empty() {
            return None;
        }
        map = map.compose(&movement)?;
        at = operand;
    }
    Some((at, map))
}
