//! Convolutions: sums of products of windows with a kernel.

use smallvec::{SmallVec, smallvec};

use super::window::Window;
use super::{Application, Context, Cotangents, Emit, NodeId, Op, Primitive, operands_of};
use crate::array::{Array, for_each_index};
use crate::types::{Axes, Shape, TensorType};

/// How a kernel moves along one spatial axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sliding {
    /// Distance between neighbouring windows, at least 1.
    pub stride: usize,
    /// Distance between the places that neighbouring kernel elements meet, at least 1.
    pub dilation: usize,
    /// Distance to which neighbouring elements of the input are moved apart, with zeros between
    /// them; at least 1.
    pub input_dilation: usize,
    /// Zeros put before the dilated input; fewer than none cut it.
    pub low: i64,
    /// Zeros put after the dilated input; fewer than none cut it.
    pub high: i64,
}

impl Sliding {
    /// Windows side by side, without padding.
    pub const PLAIN: Sliding =
        Sliding { stride: 1, dilation: 1, input_dilation: 1, low: 0, high: 0 };

    /// The windows over the dilated input for a kernel of this size.
    pub fn window(&self, size: usize) -> Window {
        let Sliding { stride, dilation, low, high, .. } = *self;
        Window { size, stride, dilation, low, high }
    }

    /// The extent of the dilated input.
    pub fn dilated(&self, extent: usize) -> usize {
        extent.saturating_sub(1).saturating_mul(self.input_dilation).saturating_add(extent.min(1))
    }
}

/// Convolution (in fact cross-correlation) of an input `[g, n, ci, spatial...]` with a kernel
/// `[g, co, ci, taps...]`, both of one float type, into `[g, n, co, windows...]`; `g` are groups
/// that are independent of each other.
///
/// Along each spatial axis the input is dilated and padded, and window `o` meets tap `k` at
/// `o * stride + k * dilation - low`. The gradients are convolutions again.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Conv {
    /// Along each spatial axis.
    pub axes: SmallVec<[Sliding; 2]>,
    /// Whether windows meet the kernel from its end to its start.
    pub reversed: bool,
}

/// Axes before the spatial ones.
pub const LEADING: usize = 3;

impl Conv {
    /// Per spatial axis: how the kernel slides, the extents of input, kernel and result.
    fn extents<'a>(
        &'a self,
        input: &'a [usize],
        kernel: &'a [usize],
    ) -> impl Iterator<Item = (&'a Sliding, usize, usize)> {
        let spatial = input[LEADING..].iter().zip(&kernel[LEADING..]);
        self.axes.iter().zip(spatial).map(|(axis, (&extent, &size))| (axis, extent, size))
    }
}

impl Primitive for Conv {
    fn name(&self) -> &'static str {
        "conv"
    }

    fn doc(&self) -> &'static str {
        "sums of products of windows with a kernel, for groups of channels"
    }

    fn attributes(&self) -> String {
        let axes = self.axes.iter().map(|axis| {
            let mut parts = Vec::new();
            let distances = [
                ("stride", axis.stride),
                ("dilation", axis.dilation),
                ("input_dilation", axis.input_dilation),
            ];
            for (name, distance) in distances {
                if distance != 1 {
                    parts.push(format!("{name}={distance}"));
                }
            }
            if (axis.low, axis.high) != (0, 0) || parts.is_empty() {
                parts.push(format!("padding={}:{}", axis.low, axis.high));
            }
            parts.join(" ")
        });
        let axes: Vec<String> = axes.collect();
        format!("{}{}", axes.join(", "), if self.reversed { " reversed" } else { "" })
    }

    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [input, kernel] = operands_of(operands)?;
        if input.dtype != kernel.dtype || !input.dtype.is_float() {
            return Err(format!("a convolution of {input} with {kernel}"));
        }
        let rank = LEADING + self.axes.len();
        if [input.rank(), kernel.rank()] != [rank; 2] {
            return Err(format!("{input} and {kernel} must have {rank} axes"));
        }
        if input.shape[0] != kernel.shape[0] || input.shape[2] != kernel.shape[2] {
            return Err(format!("groups or channels of {input} and {kernel} differ"));
        }
        let mut shape: Shape = smallvec![input.shape[0], input.shape[1], kernel.shape[1]];
        for (position, (axis, extent, size)) in
            self.extents(&input.shape, &kernel.shape).enumerate()
        {
            let dilated = axis.dilated(extent);
            let count = axis.window(size).count(dilated).filter(|_| axis.input_dilation > 0);
            let Some(count) = count else {
                let axis = LEADING + position;
                return Err(format!("a kernel of {size} does not fit axis {axis} of {dilated}"));
            };
            shape.push(count);
        }
        Ok(TensorType { dtype: input.dtype, shape })
    }

    fn evaluate(&self, operands: &[&Array], result: &TensorType, _: &Context<'_>) -> Array {
        let (input, kernel) = (operands[0], operands[1]);
        let (from, taps) = (&input.ty.shape, &kernel.ty.shape[LEADING..]);
        Array::from_fn(result.clone(), |index| {
            let mut sum = 0.0;
            for_each_index(taps, |tap| {
                let place = |axis: usize| {
                    let Sliding { input_dilation, .. } = self.axes[axis];
                    let window = self.axes[axis].window(taps[axis]);
                    let k = if self.reversed { taps[axis] - 1 - tap[axis] } else { tap[axis] };
                    let place = usize::try_from(window.place(index[LEADING + axis], k)).ok()?;
                    let (source, gap) = (place / input_dilation, place % input_dilation);
                    (gap == 0 && source < from[LEADING + axis]).then_some(source)
                };
                let Some(place) = (0..taps.len()).map(place).collect::<Option<Axes>>() else {
                    return;
                };
                for channel in 0..from[2] {
                    let x = [&[index[0], index[1], channel], &place[..]].concat();
                    let w = [&[index[0], index[2], channel], tap].concat();
                    sum += input.at(&x) * kernel.at(&w);
                }
            });
            sum
        })
    }

    fn differentiable(&self, _: usize) -> bool {
        true
    }

    fn gradient(&self, g: &mut dyn Emit, at: &Application<'_>) -> Result<Cotangents, String> {
        let [input, kernel] = at.operands[..] else { unreachable!("two operands") };
        let dx = at.wanted[0].then(|| self.input_gradient(g, input, kernel, at.cotangent));
        let dw = at.wanted[1].then(|| self.kernel_gradient(g, input, kernel, at.cotangent));
        Ok(Cotangents::from_iter([dx, dw]))
    }

    fn flops(&self, operands: &[&TensorType], result: &TensorType) -> f64 {
        let depth: usize = operands[1].shape[2..].iter().product();
        // Zeros between the elements of a dilated input are not multiplied.
        let zeros: usize = self.axes.iter().map(|axis| axis.input_dilation).product();
        2.0 * result.elements() as f64 * depth as f64 / zeros as f64
    }
}

/// `node` with the axes of samples (or output channels) and channels swapped.
pub(crate) fn swapped(g: &mut dyn Emit, node: NodeId) -> NodeId {
    let mut order: Axes = (0..g.type_of(node).rank()).collect();
    order.swap(1, 2);
    g.permute(node, &order)
}

/// The padding behind an axis with which exactly `count` windows fit the dilated input.
pub fn exact_high(axis: &Sliding, extent: usize, size: usize, count: usize) -> i64 {
    let reach = (count as i64 - 1) * axis.stride as i64 + (size as i64 - 1) * axis.dilation as i64;
    reach + 1 - axis.low - axis.dilated(extent) as i64
}

impl Conv {
    /// The cotangent of the input, with w(k) the kernel as the windows meet it: the sum over all
    /// o and k with `o * stride + k * dilation - low = p * input_dilation` of dy(o) w(k), which is
    /// a convolution of dy, dilated by the stride, with the kernel from its other end.
    fn input_gradient(
        &self,
        g: &mut dyn Emit,
        input: NodeId,
        kernel: NodeId,
        dy: NodeId,
    ) -> NodeId {
        let shape = |node: NodeId| g.type_of(node).shape.clone();
        let (input, taps, result) = (shape(input), shape(kernel), shape(dy));
        let axes = self.extents(&input, &taps).zip(&result[LEADING..]);
        let axes = axes.map(|((axis, extent, size), &count)| {
            let mut back = Sliding {
                stride: axis.input_dilation,
                dilation: axis.dilation,
                input_dilation: axis.stride,
                low: (size as i64 - 1) * axis.dilation as i64 - axis.low,
                high: 0,
            };
            back.high = exact_high(&back, count, size, extent);
            back
        });
        let back = Conv { axes: axes.collect(), reversed: !self.reversed };
        let kernel = swapped(g, kernel);
        g.emit(Op::from(back), &[dy, kernel])
    }

    /// The cotangent of the kernel: the sum over all samples and windows o of dy(o) times the
    /// input at `o * stride + k * dilation - low`. With samples as channels it is a convolution
    /// of the input with dy as the kernel; of dy with the input if the kernel was met from its
    /// end, since then k runs against o.
    fn kernel_gradient(
        &self,
        g: &mut dyn Emit,
        input: NodeId,
        kernel: NodeId,
        dy: NodeId,
    ) -> NodeId {
        let shape = |node: NodeId| g.type_of(node).shape.clone();
        let (from, taps, result) = (shape(input), shape(kernel), shape(dy));
        let axes = self.extents(&from, &taps).zip(&result[LEADING..]);
        let axes = axes.map(|((axis, extent, size), &count)| {
            let dilation = axis.dilation;
            if self.reversed {
                let low = (size as i64 - 1) * dilation as i64 - axis.low;
                let (dilation, input_dilation) = (axis.input_dilation, axis.stride);
                let stride = axis.dilation;
                let mut back = Sliding { stride, dilation, input_dilation, low, high: 0 };
                back.high = exact_high(&back, count, extent, size);
                back
            } else {
                let mut back = Sliding { stride: dilation, dilation: axis.stride, ..*axis };
                back.high = exact_high(&back, extent, count, size);
                back
            }
        });
        let back = Conv { axes: axes.collect(), reversed: false };
        let (input, dy) = (swapped(g, input), swapped(g, dy));
        if self.reversed {
            g.emit(Op::from(back), &[dy, input])
        } else {
            let dw = g.emit(Op::from(back), &[input, dy]);
            swapped(g, dw)
        }
    }
}
