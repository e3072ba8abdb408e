//! Convolutions of 3 x 3 taps in a transformed space, where that is faster.
//!
//! So are gradients of kernels. It takes fewer multiplications, see [`cygnet_runtime::gemm::Winograd`]. Kernels are transformed once
//! in a step for all convolutions that read them so; those that stay over many steps, once for all of
//! them.

use cygnet_runtime::gemm;
use smallvec::SmallVec;

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

/// Images narrower than this are put together from too many pieces.
const LEAST_WIDTH: usize = 4;

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
        let shape = preferred(conv, types, self.fixed.contains(&kernels))?;
        let [_, _, _, height, width] = conv.infer(&types).ok()?.shape[..] else { return None };
        let tile = shape.tile;
        let g = &mut self.graph;
        let transformed = *self.transformed.entry((kernels, turned, tile)).or_insert_with(|| {
            let outer = if turned { [from, to] } else { [to, from] };
            let kernels = g.reshape(kernels, &[outer[0], outer[1], 3, 3]);
            g.emit(WinogradKernel { turned, tile }.into(), &[kernels])
        });
        // What is no multiple of a tile gets more rows or columns, which are left out again.
        let [rows, columns] = shape.extents();
        let margins: SmallVec<[(usize, usize); 2]> = (conv.axes.iter())
            .zip([rows - height, columns - width])
            .map(|(axis, more)| (axis.low as usize, axis.high as usize + more))
            .collect();
        let mut input = self.padded(input, margins);
        if shape.transformed {
            input = self.graph.emit(WinogradInput { shape }.into(), &[input]);
        }
        let convolved = self.graph.emit(Winograd { shape }.into(), &[transformed, input]);
        let stop = [1, shape.samples, to, height, width];
        Some(self.graph.slice(convolved, &[0; 5], &stop, &[1; 5]))
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
        let shape = gemm::WinogradGradient { samples, from, to, height, width };
        if width < LEAST_WIDTH || from < LEAST_COLUMNS || !cost::prefers_winograd_gradient(&shape) {
            return None;
        }
        // What is no multiple of a tile gets more rows or columns, of zeros.
        let [rows, columns] = shape.extents();
        let more = [rows - height, columns - width];
        let margins = conv.axes.iter().zip(more);
        let margins = margins.map(|(axis, more)| (axis.low as usize, axis.high as usize + more));
        let [input, cotangent] = [input, cotangent].map(|node| {
            let by_sample = swapped(&mut self.graph, node);
            images_in_memory(self.graph.graph(), by_sample)
        });
        let input = self.padded(input, margins.collect());
        let cotangent = self.padded(cotangent, more.into_iter().map(|more| (0, more)).collect());
        let g = &mut self.graph;
        let sums = g.emit(WinogradGradient { shape }.into(), &[input, cotangent]);
        let taps = g.emit(WinogradTaps { shape }.into(), &[sums]);
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

/// How a convolution of tensors of these types is computed in a transformed space; nothing if it is not one
/// of 3 x 3 taps side by side, or is not faster so.
pub(super) fn preferred(
    conv: &Conv,
    types: [&TensorType; 2],
    is_fixed: bool,
) -> Option<gemm::Winograd> {
    if !fits(conv, types) {
        return None;
    }
    let result = conv.infer(&types).ok()?;
    let [_, samples, to, height, width] = result.shape[..] else { return None };
    let from = types[0].shape[2];
    // Larger tiles round more: not where results are trained with.
    let tiles: &[usize] = if is_fixed { &[2, 4] } else { &[2] };
    let forms = tiles.iter().map(|&tile| {
        let transformed = false;
        gemm::Winograd { samples, from, to, height, width, tile, transformed }.planned()
    });
    let shape = cost::preferred_winograd(forms, is_fixed)?;
    (width >= LEAST_WIDTH).then_some(shape)
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

/// The node of which this one is a view with the same images in the same order, or the node itself.
fn images_in_memory(graph: &Graph, node: NodeId) -> NodeId {
    let shape = &graph.type_of(node).shape;
    let in_order = IndexMap::identity(shape).offset(&row_major_strides(shape));
    let in_order = IndexMap::new(shape, [in_order]);
    let mut map = IndexMap::identity(shape);
    let (mut at, mut found) = (node, node);
    while let [operand] = graph.node(at).operands[..]
        && let Some(movement) = graph.node(at).op.index_map(&graph.type_of(operand).shape)
        && movement.constraints().is_empty()
        && let Some(composed) = map.compose(&movement)
    {
        (map, at) = (composed, operand);
        let base = graph.type_of(at);
        let offset = map.offset(&row_major_strides(&base.shape));
        if base.elements() == graph.type_of(node).elements()
            && base.shape.ends_with(&shape[LEADING..])
            && IndexMap::new(shape, [offset]) == in_order
        {
            found = at;
        }
    }
    found
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
