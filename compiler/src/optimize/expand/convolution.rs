//! Convolutions as products over views of the input.
//!
//! The windows over an input are a movement, and a convolution is the contraction of windows and
//! kernel ("implicit GEMM": Chetlur et al., "cuDNN: efficient primitives for deep learning",
//! 2014): windows are matrices whose rows and columns lie at distances of their own, which a product
//! reads where they lie, so they are never in memory. Which operand is on which side, and what runs as a batch, depends on the
//! shapes; see [`Form`].

use smallvec::{SmallVec, smallvec};

use super::Expander;
use super::builder::Builder;
use crate::graph::{Emit, NodeId};
use crate::index::{Expression, IndexMap};
use crate::op::convolution::{LEADING, exact_high, swapped};
use crate::op::{Conv, Op, Primitive, Sliding, View, Windows};
use crate::types::{Axes, Shape, TensorType};

/// A tensor and the zeros around its last axes: (before, after) for each.
pub(super) type Padding = (NodeId, SmallVec<[(usize, usize); 2]>);

/// Fewer output channels than this do not fill the registers of a matrix product: sums of
/// products, fused like any other computation, are faster.
pub(super) const LEAST_CHANNELS: usize = 3;

/// Windows of one sample that are enough columns for a product of their own; with fewer, all
/// samples share one.
const ENOUGH_WINDOWS: usize = 64;

/// Terms that are worth a sum of their own where parts of a sum are computed on their own.
const ENOUGH_TERMS: usize = 512;

/// Most bytes of partial sums.
const PART_BYTES: usize = 4 << 20;

/// Parts that are enough for a team.
const ENOUGH_PARTS: usize = 16;

/// How a convolution without input dilation is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// As sums of products, without a matrix product.
    Sums,
    /// For each sample the kernel times its windows: results lie along memory.
    BySample,
    /// The kernel times the windows of all samples.
    Jointly,
    /// The same for this many parts of the channels (which are samples, where this is the gradient
    /// of a kernel), whose results are then added: each reads its part of both operands once.
    InParts(usize),
}

impl Form {
    /// The form for an input of this shape, this kernel and these windows.
    fn of(input: &[usize], kernel: &[usize], counts: &[usize]) -> Form {
        let (samples, channels) = (input[1], input[2]);
        let taps: usize = kernel[LEADING..].iter().product();
        let windows: usize = counts.iter().product();
        if kernel[1] < LEAST_CHANNELS {
            Form::Sums
        } else if windows >= ENOUGH_WINDOWS || (samples == 1 && windows > 1) {
            Form::BySample
        } else {
            match parts_of_sum(kernel[0] * kernel[1] * samples * windows, channels, taps) {
                1 => Form::Jointly,
                parts => Form::InParts(parts),
            }
        }
    }
}

/// In how many parts the channels (which are samples, where this is the gradient of a kernel) are summed for
/// a result of so many elements, with so many taps.
pub(super) fn parts_of_sum(result: usize, channels: usize, taps: usize) -> usize {
    let fits = |parts: &usize| {
        channels.is_multiple_of(*parts)
            && parts * 4 * result <= PART_BYTES
            && channels / parts * taps >= ENOUGH_TERMS
    };
    (2..=ENOUGH_PARTS).rev().find(fits).unwrap_or(1)
}

/// A tensor with its channels, `[g, n, ...]` before them, in so many parts.
pub(super) fn in_parts(g: &mut Builder, node: NodeId, parts: usize) -> NodeId {
    let mut shape = g.type_of(node).shape.clone();
    shape[2] /= parts;
    shape.insert(2, parts);
    g.reshape(node, &shape)
}

impl Expander {
    /// The convolution of `input` with `kernel`.
    pub(super) fn convolution(&mut self, conv: &Conv, input: NodeId, kernel: NodeId) -> NodeId {
        let mut conv = conv.clone();
        let extents = &self.graph.type_of(input).shape[LEADING..];
        for (axis, &extent) in conv.axes.iter_mut().zip(extents) {
            if extent <= 1 {
                axis.input_dilation = 1;
            }
        }
        let dilated = |axis: &Sliding| axis.input_dilation > 1;
        let axis = match self.graph.reorders() {
            // Results for the last axis lie next to each other.
            true => conv.axes.iter().rposition(dilated),
            false => conv.axes.iter().position(dilated),
        };
        match axis {
            Some(axis) => self
                .phases_as_channels(&conv, axis, input, kernel)
                .unwrap_or_else(|| self.by_phases(&conv, axis, input, kernel)),
            None => self
                .transformed(&conv, input, kernel)
                .or_else(|| self.transformed_gradient(&conv, input, kernel))
                .unwrap_or_else(|| match self.graph.reorders() {
                    true => self.channels_last(&conv, input, kernel),
                    false => self.plain(&conv, input, kernel),
                }),
        }
    }

    /// A convolution without input dilation.
    fn plain(&mut self, conv: &Conv, input: NodeId, kernel: NodeId) -> NodeId {
        let types = [input, kernel].map(|node| self.graph.type_of(node).clone());
        let [from, taps] = types.each_ref().map(|ty| ty.shape.clone());
        let result = infer(conv, &types[0], &types[1]);
        let counts = &result.shape[LEADING..];
        let kernel = match conv.reversed {
            // From its other end.
            true => self.graph.reverse(kernel, &Axes::from_iter(LEADING..taps.len())),
            false => kernel,
        };
        let windows = self.windows(conv, input, &taps, counts);
        let spatial = counts.len();
        let form = Form::of(&from, &taps, counts);
        let taps_of_windows = LEADING + spatial..LEADING + 2 * spatial;
        let shared: Vec<(usize, usize)> =
            (LEADING..LEADING + spatial).zip(taps_of_windows.clone()).collect();
        let g = &mut self.graph;
        match form {
            Form::Sums => {
                // [g, n, co, ci, windows..., taps...]
                let mut shape: Shape = smallvec![from[0], from[1], taps[1], from[2]];
                shape.extend(counts.iter().chain(&taps[LEADING..]).copied());
                let behind = 4..4 + 2 * spatial;
                let places: Axes = [0, 1, 3].into_iter().chain(behind.clone()).collect();
                let windows = g.broadcast(windows, &shape, &places);
                let places: Axes =
                    [0, 2, 3].into_iter().chain(4 + spatial..4 + 2 * spatial).collect();
                let kernel = g.broadcast(kernel, &shape, &places);
                let product = g.mul(windows, kernel);
                let summed: Axes = std::iter::once(3).chain(4 + spatial..behind.end).collect();
                g.sum(product, &summed)
            }
            Form::BySample => {
                let mut shape = taps.clone();
                shape.insert(1, from[1]);
                let places: Axes = std::iter::once(0).chain(2..shape.len()).collect();
                let repeated = g.broadcast(kernel, &shape, &places);
                let over: Vec<_> = std::iter::once((3, 2))
                    .chain(shared.iter().map(|&(kernel, windows)| (kernel + 1, windows)))
                    .collect();
                g.contract(repeated, windows, &[(0, 0), (1, 1)], &over)
            }
            Form::Jointly => {
                let over: Vec<_> = std::iter::once((2, 2)).chain(shared).collect();
                let product = g.contract(kernel, windows, &[(0, 0)], &over);
                swapped(g, product)
            }
            Form::InParts(parts) => {
                // [g, part, co, n, windows...], summed over parts.
                let [kernel, windows] = [kernel, windows].map(|node| in_parts(g, node, parts));
                let over: Vec<_> = std::iter::once((3, 3))
                    .chain(shared.iter().map(|&(kernel, windows)| (kernel + 1, windows + 1)))
                    .collect();
                let product = g.contract(kernel, windows, &[(0, 0), (2, 2)], &over);
                let sum = g.sum(product, &[1]);
                swapped(g, sum)
            }
        }
    }

    /// The windows `[g, n, ci, windows..., taps...]` over an input. Zeros around it are put there
    /// first: kernels may then keep the padded tensor and read windows without looking for its
    /// edges.
    pub(super) fn windows(
        &mut self,
        conv: &Conv,
        input: NodeId,
        taps: &[usize],
        counts: &[usize],
    ) -> NodeId {
        let from = self.graph.type_of(input).shape.clone();
        let windows = conv.axes.iter().zip(counts).enumerate().map(|(axis, (sliding, &count))| {
            let at = LEADING + axis;
            // Nothing is read behind the last window.
            let high = exact_high(sliding, from[at], taps[at], count);
            Sliding { high, ..*sliding }.window(taps[at])
        });
        let mut windows: Windows = windows.collect();
        let margins: SmallVec<[(usize, usize); 2]> = windows
            .iter_mut()
            .map(|window| {
                let (low, high) = (window.low.max(0), window.high.max(0));
                window.low -= low;
                window.high -= high;
                (low as usize, high as usize)
            })
            .collect();
        let padded = self.padded(input, margins);
        self.graph.unfold(padded, &windows, 0.0)
    }

    /// A tensor with zeros around its last axes. A view that leaves these axes alone is looked
    /// through, so that all convolutions over one tensor share its padded form.
    pub(super) fn padded(
        &mut self,
        node: NodeId,
        margins: SmallVec<[(usize, usize); 2]>,
    ) -> NodeId {
        if margins.iter().all(|margin| *margin == (0, 0)) {
            return node;
        }
        if let Some((base, known)) = self.unpadded.get(&node).cloned() {
            let both = known.iter().zip(&margins);
            let both = both.map(|(inner, outer)| (inner.0 + outer.0, inner.1 + outer.1)).collect();
            return self.padded(base, both);
        }
        let shape = self.graph.type_of(node).shape.clone();
        let spatial = shape.len() - margins.len()..shape.len();
        if let Op::View(View { map }) = &self.graph.node(node).op
            && let Some(outer) = map.rank().checked_sub(margins.len())
        {
            let [base] = self.graph.node(node).operands[..] else { unreachable!("one operand") };
            let from = &self.graph.type_of(base).shape;
            let passes = |e: &Expression| spatial.clone().all(|axis| !e.depends_on(axis));
            let keeps = spatial.clone().enumerate().all(|(position, axis)| {
                let index = &map.indices()[outer + position];
                from[outer + position] == shape[axis]
                    && (shape[axis] == 1 || *index == Expression::axis(axis))
            });
            if map.constraints().is_empty() && keeps && map.indices()[..outer].iter().all(passes) {
                let indices: Vec<Expression> = map.indices()[..outer].to_vec();
                let mut domain = shape.clone();
                for (axis, (low, high)) in spatial.clone().zip(&margins) {
                    domain[axis] += low + high;
                }
                let indices = indices.into_iter().chain(spatial.map(Expression::axis));
                let map = IndexMap::new(&domain, indices);
                let base = self.padded(base, margins);
                return self.graph.emit(View { map }.into(), &[base]);
            }
        }
        let key = (node, margins);
        if let Some(&known) = self.padded.get(&key) {
            return known;
        }
        let before = |side: fn(&(usize, usize)) -> usize| -> Axes {
            let none = std::iter::repeat_n(0, shape.len() - key.1.len());
            none.chain(key.1.iter().map(side)).collect()
        };
        let (low, high) = (before(|margin| margin.0), before(|margin| margin.1));
        let none: Axes = smallvec![0; shape.len()];
        let padded = self.graph.pad(node, &low, &high, &none, 0.0);
        self.unpadded.insert(padded, key.clone());
        self.padded.insert(key, padded);
        padded
    }
}

/// The type of a convolution that is known to fit.
pub(super) fn infer(conv: &Conv, input: &TensorType, kernel: &TensorType) -> TensorType {
    conv.infer(&[input, kernel]).expect("the convolution was verified")
}
