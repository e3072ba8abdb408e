//! Sliding windows: a tensor as the windows over its last axes, and the sum back.

use smallvec::SmallVec;

use super::{Application, Context, Cotangents, Emit, Primitive, operands_of};
use crate::array::{Array, for_each_index};
use crate::index::{Expression, IndexMap};
use crate::types::{Axes, Scalar, Shape, TensorType};

/// Windows along one axis. Window `o` has its element `k` at index
/// `o * stride + k * dilation - low` of the axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Window {
    /// Elements of a window, at least 1.
    pub size: usize,
    /// Distance between neighbouring windows, at least 1.
    pub stride: usize,
    /// Distance between neighbouring elements of a window, at least 1.
    pub dilation: usize,
    /// Elements put before the axis; fewer than none cut the axis.
    pub low: i64,
    /// Elements put after the axis; fewer than none cut the axis.
    pub high: i64,
}

/// Windows along each of some axes.
pub type Windows = SmallVec<[Window; 2]>;

impl Window {
    /// The number of windows that fit an axis of this extent, all of them inside the padded axis;
    /// `None` if there is none, or if an attribute that must be at least 1 is 0.
    pub fn count(&self, extent: usize) -> Option<usize> {
        let valid = self.size > 0 && self.stride > 0 && self.dilation > 0;
        let span = (self.size as i128 - 1) * self.dilation as i128 + 1;
        let room = extent as i128 + i128::from(self.low) + i128::from(self.high) - span;
        (valid && room >= 0).then(|| usize::try_from(room / self.stride as i128 + 1).ok())?
    }

    /// The index of element `k` of window `o`, which lies outside the axis in the margins.
    pub fn place(&self, o: usize, k: usize) -> i64 {
        (o * self.stride + k * self.dilation) as i64 - self.low
    }

    /// The index of element `k` of window `o` if it lies within an axis of this extent.
    pub(super) fn inside(&self, o: usize, k: usize, extent: usize) -> Option<usize> {
        usize::try_from(self.place(o, k)).ok().filter(|&place| place < extent)
    }
}

/// The windows as printed, per axis; strides and dilations of 1 and no padding are left out.
fn shown(windows: &[Window]) -> String {
    let axes = windows.iter().map(|window| {
        let mut text = format!("size={}", window.size);
        for (name, value) in [("stride", window.stride), ("dilation", window.dilation)] {
            if value != 1 {
                text.push_str(&format!(" {name}={value}"));
            }
        }
        if (window.low, window.high) != (0, 0) {
            text.push_str(&format!(" padding={}:{}", window.low, window.high));
        }
        text
    });
    axes.collect::<Vec<_>>().join(", ")
}

/// The counts of windows along the last axes of a shape.
fn counts(windows: &[Window], shape: &[usize]) -> Result<Shape, String> {
    let Some(first) = shape.len().checked_sub(windows.len()) else {
        return Err(format!("windows along {} axes of {}", windows.len(), shape.len()));
    };
    let counts = windows.iter().zip(&shape[first..]).enumerate().map(|(position, (w, &extent))| {
        w.count(extent).ok_or_else(|| {
            let axis = first + position;
            format!("no window ({}) fits axis {axis} of extent {extent}", shown(&[*w]))
        })
    });
    counts.collect()
}

/// The windows over the last axes: `[..., spatial...]` becomes `[..., windows..., elements...]`.
/// What lies outside the operand is `value`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Unfold {
    /// Windows along each of the last axes.
    pub windows: Windows,
    /// What stands in the margins; of the operand's element type.
    pub value: Scalar,
}

impl Unfold {
    /// Where the elements of the result come from, the operand being of shape `from`.
    pub(super) fn map(&self, from: &[usize]) -> IndexMap {
        let axes = self.windows.len();
        let leading = from.len() - axes;
        let counts = self.windows.iter().zip(&from[leading..]);
        let counts = counts.map(|(window, &extent)| window.count(extent).unwrap_or(0));
        let sizes = self.windows.iter().map(|window| window.size);
        let domain: Shape = from[..leading].iter().copied().chain(counts).chain(sizes).collect();
        let places = self.windows.iter().enumerate().map(|(position, window)| {
            let o = Expression::axis(leading + position).times(window.stride as i64);
            let k = Expression::axis(leading + axes + position).times(window.dilation as i64);
            o.plus(&k).plus(&Expression::constant(-window.low))
        });
        let indices = (0..leading).map(Expression::axis).chain(places);
        IndexMap::filled(&domain, indices, from, self.value)
    }
}

impl Primitive for Unfold {
    fn name(&self) -> &'static str {
        "unfold"
    }

    fn doc(&self) -> &'static str {
        "sliding windows over the last axes"
    }

    fn attributes(&self) -> String {
        format!("{} value={}", shown(&self.windows), self.value)
    }

    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [operand] = operands_of(operands)?;
        if self.value.dtype != operand.dtype {
            return Err(format!("padding of {} with a {}", operand.dtype, self.value.dtype));
        }
        let counts = counts(&self.windows, &operand.shape)?;
        let leading = operand.rank() - self.windows.len();
        let sizes = self.windows.iter().map(|window| window.size);
        let shape = operand.shape[..leading].iter().copied().chain(counts).chain(sizes).collect();
        Ok(TensorType { dtype: operand.dtype, shape })
    }

    fn evaluate(&self, operands: &[&Array], result: &TensorType, _: &Context<'_>) -> Array {
        let operand = operands[0];
        Array::from_fn(result.clone(), |index| {
            let source = source(&self.windows, &operand.ty.shape, index);
            source.map_or(self.value.value(), |source| operand.at(&source))
        })
    }

    fn differentiable(&self, _: usize) -> bool {
        true
    }

    fn gradient(&self, g: &mut dyn Emit, at: &Application<'_>) -> Result<Cotangents, String> {
        let shape = &g.type_of(at.operands[0]).shape;
        let extents = Axes::from_slice(&shape[shape.len() - self.windows.len()..]);
        let op = Fold { windows: self.windows.clone(), extents };
        Ok(Cotangents::from_iter([Some(g.emit(op.into(), &[at.cotangent]))]))
    }
}

/// Where the element at `index` of an unfolded tensor of shape `folded` comes from; `None` in the
/// margins.
fn source(windows: &[Window], folded: &[usize], index: &[usize]) -> Option<Axes> {
    let leading = folded.len() - windows.len();
    let mut source = Axes::from_slice(&index[..leading]);
    for (position, window) in windows.iter().enumerate() {
        let (o, k) = (index[leading + position], index[leading + windows.len() + position]);
        source.push(window.inside(o, k, folded[leading + position])?);
    }
    Some(source)
}

/// Adds up windows where they overlap: `[..., windows..., elements...]` becomes
/// `[..., spatial...]`, each element the sum of those that [`Unfold`] makes of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fold {
    /// Windows along each of the result's last axes.
    pub windows: Windows,
    /// Extents of these axes.
    pub extents: Axes,
}

impl Primitive for Fold {
    fn name(&self) -> &'static str {
        "fold"
    }

    fn doc(&self) -> &'static str {
        "sum of sliding windows where they overlap"
    }

    fn attributes(&self) -> String {
        format!("{} extents={:?}", shown(&self.windows), self.extents.as_slice())
    }

    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [operand] = operands_of(operands)?;
        if !operand.dtype.is_float() {
            return Err(format!("a sum of windows of {}", operand.dtype));
        }
        let axes = self.windows.len();
        if self.extents.len() != axes {
            return Err(format!("{} extents for windows along {axes} axes", self.extents.len()));
        }
        let expected = counts(&self.windows, &self.extents)?;
        let sizes = self.windows.iter().map(|window| window.size);
        let expected: Shape = expected.into_iter().chain(sizes).collect();
        match operand.rank().checked_sub(2 * axes) {
            Some(leading) if operand.shape[leading..] == expected[..] => {
                let outer = operand.shape[..leading].iter();
                let shape = outer.chain(&self.extents).copied().collect();
                Ok(TensorType { dtype: operand.dtype, shape })
            }
            _ => Err(format!("{operand} does not end in windows {:?}", expected.as_slice())),
        }
    }

    fn evaluate(&self, operands: &[&Array], result: &TensorType, _: &Context<'_>) -> Array {
        let mut sum = Array::filled(result.clone(), 0.0);
        for_each_index(&operands[0].ty.shape, |index| {
            if let Some(place) = source(&self.windows, &result.shape, index) {
                let place = sum.offset(&place);
                sum.values[place] += operands[0].at(index);
            }
        });
        sum
    }

    fn differentiable(&self, _: usize) -> bool {
        true
    }

    fn gradient(&self, g: &mut dyn Emit, at: &Application<'_>) -> Result<Cotangents, String> {
        Ok(Cotangents::from_iter([Some(g.unfold(at.cotangent, &self.windows, 0.0))]))
    }

    fn flops(&self, operands: &[&TensorType], _: &TensorType) -> f64 {
        operands[0].elements() as f64
    }
}
