//! Convolutions of dilated inputs, as in gradients of strided convolutions and in transposed
//! convolutions.
//!
//! Inputs are not filled with zeros: outputs whose windows meet the elements at the same distance
//! form a phase, and each phase is a plain convolution with some of the kernel's taps. A routine of
//! the runtime puts phases together.

use num_integer::gcd;
use smallvec::{SmallVec, smallvec};

use super::Expander;
use super::convolution::{LEAST_CHANNELS, in_parts, infer};
use crate::graph::{Emit, NodeId};
use crate::op::convolution::{LEADING, exact_high};
use crate::op::{Conv, Interleave, Sliding};
use crate::types::Axes;

/// Columns of a tile of a product in registers.
const TILE_COLUMNS: usize = 32;

/// Most taps, zeros counted, of phases that are channels of one convolution to fill such a tile, in halves
/// of those that are no zeros.
const MOST_OF_TAPS: usize = 3;

/// Windows along an axis of a dilated input, by the taps that meet elements.
///
/// Tap k of window o meets the dilated input at `p = o * stride + k * dilation - low`, where there is
/// an element if the input's dilation divides p. Among the windows `o = phases * q + phase` those
/// taps are the same ones, and p / input dilation is again affine in q and their numbers.
struct Phases {
    /// Windows of each phase; the last of them may be one too many.
    windows: usize,
    /// Distance between taps that meet elements.
    step: usize,
    /// The phases; nothing for one that meets no element.
    phases: Vec<Option<Phase>>,
}

/// One of [`Phases`].
struct Phase {
    /// The first tap that meets elements, as windows meet taps.
    first: usize,
    /// Number of such taps.
    taps: usize,
    /// How windows of these taps slide over the input as it is, without a padding behind it.
    sliding: Sliding,
}

impl Phases {
    /// Of `count` windows of `size` taps.
    fn new(axis: &Sliding, size: usize, count: usize) -> Phases {
        let &Sliding { stride, dilation, input_dilation: apart, low, .. } = axis;
        let phases = count_of_phases(axis);
        let step = apart / gcd(dilation, apart);
        let phase = |phase: usize| {
            let place = |tap: usize| (phase * stride + tap * dilation) as i64 - low;
            let first = (0..step.min(size)).find(|&tap| place(tap) % apart as i64 == 0)?;
            let sliding = Sliding {
                stride: phases * stride / apart,
                dilation: step * dilation / apart,
                input_dilation: 1,
                low: -(place(first) / apart as i64),
                high: 0,
            };
            Some(Phase { first, taps: (size - first).div_ceil(step), sliding })
        };
        let windows = count.div_ceil(phases);
        Phases { windows, step, phases: (0..phases).map(phase).collect() }
    }
}

impl Expander {
    /// Splits an axis along which the input is dilated.
    pub(super) fn by_phases(
        &mut self,
        conv: &Conv,
        axis: usize,
        input: NodeId,
        kernel: NodeId,
    ) -> NodeId {
        let types = [input, kernel].map(|node| self.graph.type_of(node).clone());
        let result = infer(conv, &types[0], &types[1]);
        let at = LEADING + axis;
        let phases = Phases::new(&conv.axes[axis], types[1].shape[at], result.shape[at]);
        let high = |phase: &Phase| {
            exact_high(&phase.sliding, types[0].shape[at], phase.taps, phases.windows)
        };
        // One padded input for all.
        let seen = phases.phases.iter().flatten();
        let [before, behind] = seen.fold([0, 0], |[before, behind], phase| {
            [before.max(phase.sliding.low), behind.max(high(phase))]
        });
        let mut margins: SmallVec<[(usize, usize); 2]> = smallvec![(0, 0); conv.axes.len()];
        margins[axis] = (before as usize, behind as usize);
        let input = self.padded(input, margins);
        let kernel = self.kernel_in_order(kernel);
        let mut parts = Vec::with_capacity(phases.phases.len());
        for phase in &phases.phases {
            let mut shape = result.shape.clone();
            shape[at] = phases.windows;
            let part = match phase {
                None => self.graph.constant(result.dtype, &shape, 0.0),
                Some(phase) => {
                    let Phase { first, taps, sliding } = phase;
                    let last = first + (taps - 1) * phases.step;
                    let start = if conv.reversed { types[1].shape[at] - 1 - last } else { *first };
                    let mut part = conv.clone();
                    let (low, high) = (sliding.low - before, high(phase) - behind);
                    part.axes[axis] = Sliding { low, high, ..*sliding };
                    let kernel = self.every(kernel, at, start, *taps, phases.step);
                    self.convolution(&part, input, kernel)
                }
            };
            parts.push(part);
        }
        self.joined(&parts, at, result.shape[at])
    }

    /// The same with all phases as channels of one convolution over windows that cover those of each
    /// phase, if that makes enough channels of too few for a product. Some taps are zeros then, so
    /// infinity becomes NaN beside the windows that see it.
    pub(super) fn phases_as_channels(
        &mut self,
        conv: &Conv,
        axis: usize,
        input: NodeId,
        kernel: NodeId,
    ) -> Option<NodeId> {
        let types = [input, kernel].map(|node| self.graph.type_of(node).clone());
        let channels = types[1].shape[1];
        let most = channels * conv.axes.iter().map(count_of_phases).product::<usize>();
        let is_small = channels < LEAST_CHANNELS && most >= LEAST_CHANNELS;
        // Channels last, phases of the last axis lie next to each other as they should.
        let fills = self.graph.reorders()
            && axis + 1 == conv.axes.len()
            && channels * count_of_phases(&conv.axes[axis]) <= TILE_COLUMNS;
        if !self.may_transform || !(is_small || fills) {
            return None;
        }
        let result = infer(conv, &types[0], &types[1]);
        let at = LEADING + axis;
        let phases = Phases::new(&conv.axes[axis], types[1].shape[at], result.shape[at]);
        let seen: Vec<&Phase> = phases.phases.iter().map(Option::as_ref).collect::<Option<_>>()?;
        // Phases differ in where their windows begin: by whole taps, or they do not fit in one.
        let low = seen.iter().map(|phase| phase.sliding.low).max()?;
        let dilation = seen[0].sliding.dilation as i64;
        let before = |phase: &Phase| (low - phase.sliding.low) / dilation;
        if seen.iter().any(|phase| (low - phase.sliding.low) % dilation != 0) {
            return None;
        }
        let size = seen.iter().map(|phase| before(phase) as usize + phase.taps).max()?;
        let taps: usize = seen.iter().map(|phase| phase.taps).sum();
        if !is_small && size * seen.len() > MOST_OF_TAPS * taps / 2 {
            return None;
        }
        let kernel = self.kernel_in_order(kernel);
        let forward = match conv.reversed {
            true => self.graph.reverse(kernel, &Axes::from_iter(LEADING..types[1].shape.len())),
            false => kernel,
        };
        let none: Axes = smallvec![0; types[1].shape.len()];
        let mut kernels = None;
        for (number, phase) in seen.iter().enumerate() {
            let taps = self.every(forward, at, phase.first, phase.taps, phases.step);
            let (mut starts, mut ends) = (none.clone(), none.clone());
            (starts[1], ends[1]) = (number * channels, (seen.len() - 1 - number) * channels);
            starts[at] = before(phase) as usize;
            ends[at] = size - phase.taps - starts[at];
            let placed = self.graph.pad(taps, &starts, &ends, &none, 0.0);
            kernels = Some(match kernels {
                Some(others) => self.graph.add(others, placed),
                None => placed,
            });
        }
        let mut together = Conv { reversed: false, ..conv.clone() };
        let sliding = Sliding { low, ..seen[0].sliding };
        let high = exact_high(&sliding, types[0].shape[at], size, phases.windows);
        together.axes[axis] = Sliding { high, ..sliding };
        let together = self.convolution(&together, input, kernels?);
        if self.graph.reorders() {
            return Some(self.beside(together, seen.len(), at, result.shape[at]));
        }
        let part = |number: usize| self.every(together, 2, number * channels, channels, 1);
        let parts: Vec<NodeId> = (0..seen.len()).map(part).collect();
        Some(self.joined(&parts, at, result.shape[at]))
    }

    /// Results of phases that are channels, which take turns along an axis of so many elements.
    fn beside(&mut self, together: NodeId, phases: usize, axis: usize, count: usize) -> NodeId {
        let g = &mut self.graph;
        let split = in_parts(g, together, phases);
        let mut shape = g.type_of(split).shape.clone();
        let order = [0, 1].into_iter().chain(3..axis + 2).chain([2]).chain(axis + 2..shape.len());
        let moved = g.permute(split, &Axes::from_iter(order));
        shape.remove(2);
        shape[axis] *= phases;
        let joined = g.reshape(moved, &shape);
        self.every(joined, axis, 0, count, 1)
    }

    /// Results of phases, which take turns along an axis of so many elements.
    fn joined(&mut self, parts: &[NodeId], axis: usize, count: usize) -> NodeId {
        let joined = match parts {
            [part] => *part,
            _ => self.graph.emit(Interleave { axis }.into(), parts),
        };
        self.every(joined, axis, 0, count, 1)
    }

    /// `count` elements along an axis, from `start` in steps.
    fn every(
        &mut self,
        node: NodeId,
        axis: usize,
        start: usize,
        count: usize,
        step: usize,
    ) -> NodeId {
        let mut stops = self.graph.type_of(node).shape.clone();
        let (mut starts, mut steps): (Axes, Axes) =
            (smallvec![0; stops.len()], smallvec![1; stops.len()]);
        starts[axis] = start;
        stops[axis] = start + (count - 1) * step + 1;
        steps[axis] = step;
        self.graph.slice(node, &starts, &stops, &steps)
    }
}

/// After how many windows the same taps meet elements again.
fn count_of_phases(axis: &Sliding) -> usize {
    axis.input_dilation / gcd(axis.stride, axis.input_dilation)
}
