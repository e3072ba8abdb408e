//! Movement: operations that rearrange elements without computing.

use smallvec::smallvec;

use super::{Application, Context, Cotangents, Emit, Op, Primitive, operands_of};
use crate::array::Array;
use crate::index::IndexMap;
use crate::types::{Axes, Scalar, Shape, TensorType};

impl Op {
    /// Whether the operation moves the elements of one operand without computing: it has an
    /// [`Op::index_map`].
    pub fn is_movement(&self) -> bool {
        matches!(
            self,
            Op::Reshape(_)
                | Op::Permute(_)
                | Op::Broadcast(_)
                | Op::Slice(_)
                | Op::Reverse(_)
                | Op::Pad(_)
                | Op::Unfold(_)
                | Op::View(_)
        )
    }

    /// Where the elements of a movement's result come from, its one operand being of shape
    /// `operand`; `None` for other operations and for concatenation.
    pub fn index_map(&self, operand: &[usize]) -> Option<IndexMap> {
        Some(match self {
            Op::Reshape(op) => IndexMap::reshape(operand, &op.shape),
            Op::Permute(op) => IndexMap::permute(operand, &op.order),
            Op::Broadcast(op) => IndexMap::broadcast(&op.shape, &op.axes),
            Op::Slice(op) => {
                let extents = (0..operand.len())
                    .map(|axis| (op.stop[axis] - op.start[axis]).div_ceil(op.step[axis]));
                IndexMap::slice(&extents.collect::<Shape>(), &op.start, &op.step)
            }
            Op::Reverse(op) => IndexMap::reverse(operand, &op.axes),
            Op::Pad(op) => {
                let extents = (0..operand.len()).map(|axis| {
                    let gaps = operand[axis].saturating_sub(1) * op.interior[axis];
                    op.low[axis] + operand[axis] + gaps + op.high[axis]
                });
                let to: Shape = extents.collect();
                IndexMap::pad(operand, &to, &op.low, &op.interior, op.value)
            }
            Op::Unfold(op) => op.map(operand),
            Op::View(op) => op.map.clone(),
            _ => return None,
        })
    }
}

/// The elements in row-major order under another shape with as many elements.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reshape {
    /// Shape of the result.
    pub shape: Shape,
}

impl Primitive for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }

    fn doc(&self) -> &'static str {
        "the same elements in row-major order under another shape"
    }

    fn attributes(&self) -> String {
        format!("shape={:?}", self.shape.as_slice())
    }

    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [operand] = operands_of(operands)?;
        let result = TensorType { dtype: operand.dtype, shape: self.shape.clone() };
        if result.checked_bytes() != Some(operand.bytes()) {
            return Err(format!("{operand} does not fit the shape {:?}", self.shape.as_slice()));
        }
        Ok(result)
    }

    fn evaluate(&self, operands: &[&Array], result: &TensorType, _: &Context<'_>) -> Array {
        Array::new(result.clone(), operands[0].values.clone())
    }

    fn differentiable(&self, _: usize) -> bool {
        true
    }

    fn gradient(&self, g: &mut dyn Emit, at: &Application<'_>) -> Result<Cotangents, String> {
        let shape = g.type_of(at.operands[0]).shape.clone();
        Ok(smallvec![Some(g.reshape(at.cotangent, &shape))])
    }
}

/// Axis `i` of the result is axis `order[i]` of the operand.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Permute {
    /// A permutation of the operand's axes.
    pub order: Axes,
}

impl Primitive for Permute {
    fn name(&self) -> &'static str {
        "permute"
    }

    fn doc(&self) -> &'static str {
        "axes in another order"
    }

    fn attributes(&self) -> String {
        format!("order={:?}", self.order.as_slice())
    }

    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [operand] = operands_of(operands)?;
        let mut sorted = self.order.clone();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..operand.rank()) {
            return Err(format!(
                "{:?} is not an order of {} axes",
                self.order.as_slice(),
                operand.rank()
            ));
        }
        let shape = self.order.iter().map(|&axis| operand.shape[axis]).collect();
        Ok(TensorType { dtype: operand.dtype, shape })
    }

    fn evaluate(&self, operands: &[&Array], _: &TensorType, _: &Context<'_>) -> Array {
        operands[0].permuted(&self.order)
    }

    fn differentiable(&self, _: usize) -> bool {
        true
    }

    fn gradient(&self, g: &mut dyn Emit, at: &Application<'_>) -> Result<Cotangents, String> {
        Ok(smallvec![Some(g.permute(at.cotangent, &inverse_order(&self.order)))])
    }
}

/// Repetition: axis `i` of the operand becomes axis `axes[i]` of the result, with the same
/// extent; along the result's other axes the operand is repeated. A size of 1 never stretches.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Broadcast {
    /// Shape of the result.
    pub shape: Shape,
    /// Strictly increasing: where the operand's axes go.
    pub axes: Axes,
}

impl Primitive for Broadcast {
    fn name(&self) -> &'static str {
        "broadcast"
    }

    fn doc(&self) -> &'static str {
        "repetition along new axes"
    }

    fn attributes(&self) -> String {
        format!("shape={:?} axes={:?}", self.shape.as_slice(), self.axes.as_slice())
    }

    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [operand] = operands_of(operands)?;
        let fits = self.axes.len() == operand.rank()
            && self.axes.is_sorted_by(|a, b| a < b)
            && self
                .axes
                .iter()
                .zip(&operand.shape)
                .all(|(&axis, extent)| self.shape.get(axis) == Some(extent));
        if !fits {
            return Err(format!(
                "{operand} does not broadcast to {:?} along axes {:?}",
                self.shape.as_slice(),
                self.axes.as_slice()
            ));
        }
        Ok(TensorType { dtype: operand.dtype, shape: self.shape.clone() })
    }

    fn evaluate(&self, operands: &[&Array], result: &TensorType, _: &Context<'_>) -> Array {
        Array::from_fn(result.clone(), |index| {
            let source: Axes = self.axes.iter().map(|&axis| index[axis]).collect();
            operands[0].at(&source)
        })
    }

    fn differentiable(&self, _: usize) -> bool {
        true
    }

    fn gradient(&self, g: &mut dyn Emit, at: &Application<'_>) -> Result<Cotangents, String> {
        let repeated = other_axes(self.shape.len(), &self.axes);
        Ok(smallvec![Some(g.sum(at.cotangent, &repeated))])
    }
}

/// Per axis, elements `start, start + step, ...` below `stop`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slice {
    /// First index per axis.
    pub start: Axes,
    /// Bound per axis (exclusive), at most the extent.
    pub stop: Axes,
    /// Step per axis, at least 1.
    pub step: Axes,
}

impl Primitive for Slice {
    fn name(&self) -> &'static str {
        "slice"
    }

    fn doc(&self) -> &'static str {
        "every step-th element between bounds"
    }

    fn attributes(&self) -> String {
        let axes: Vec<String> = (0..self.start.len())
            .map(|i| match self.step[i] {
                1 => format!("{}..{}", self.start[i], self.stop[i]),
                step => format!("{}..{}..{step}", self.start[i], self.stop[i]),
            })
            .collect();
        axes.join(", ")
    }

    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [operand] = operands_of(operands)?;
        let rank = operand.rank();
        if [self.start.len(), self.stop.len(), self.step.len()] != [rank; 3] {
            return Err(format!("a slice of {} axes for {operand}", self.start.len()));
        }
        let mut shape = Shape::new();
        for axis in 0..rank {
            let (start, stop, step) = (self.start[axis], self.stop[axis], self.step[axis]);
            if start > stop || stop > operand.shape[axis] || step == 0 {
                return Err(format!(
                    "slice {start}..{stop}..{step} of axis {axis} with extent {}",
                    operand.shape[axis]
                ));
            }
            shape.push((stop - start).div_ceil(step));
        }
        Ok(TensorType { dtype: operand.dtype, shape })
    }

    fn evaluate(&self, operands: &[&Array], result: &TensorType, _: &Context<'_>) -> Array {
        Array::from_fn(result.clone(), |index| {
            let place = |axis: usize| self.start[axis] + index[axis] * self.step[axis];
            let source: Axes = (0..index.len()).map(place).collect();
            operands[0].at(&source)
        })
    }

    fn differentiable(&self, _: usize) -> bool {
        true
    }

    fn gradient(&self, g: &mut dyn Emit, at: &Application<'_>) -> Result<Cotangents, String> {
        let operand = g.type_of(at.operands[0]).shape.clone();
        let result = g.type_of(at.result).shape.clone();
        let interior: Axes = self.step.iter().map(|step| step - 1).collect();
        let after = |axis: usize| match result[axis] {
            0 => operand[axis] - self.start[axis],
            taken => operand[axis] - (self.start[axis] + (taken - 1) * self.step[axis] + 1),
        };
        let high: Axes = (0..operand.len()).map(after).collect();
        Ok(smallvec![Some(g.pad(at.cotangent, &self.start, &high, &interior, 0.0))])
    }
}

/// The elements of `axes` from their end to their start.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reverse {
    /// Strictly increasing; not empty.
    pub axes: Axes,
}

impl Primitive for Reverse {
    fn name(&self) -> &'static str {
        "reverse"
    }

    fn doc(&self) -> &'static str {
        "axes from their end to their start"
    }

    fn attributes(&self) -> String {
        format!("axes={:?}", self.axes.as_slice())
    }

    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [operand] = operands_of(operands)?;
        let sorted = self.axes.is_sorted_by(|a, b| a < b);
        if self.axes.is_empty() || !sorted || self.axes.iter().any(|&axis| axis >= operand.rank()) {
            return Err(format!("{:?} are not axes of {operand} in order", self.axes.as_slice()));
        }
        Ok(operand.clone())
    }

    fn evaluate(&self, operands: &[&Array], result: &TensorType, _: &Context<'_>) -> Array {
        Array::from_fn(result.clone(), |index| {
            let mut source = Axes::from_slice(index);
            for &axis in &self.axes {
                source[axis] = result.shape[axis] - 1 - index[axis];
            }
            operands[0].at(&source)
        })
    }

    fn differentiable(&self, _: usize) -> bool {
        true
    }

    fn gradient(&self, g: &mut dyn Emit, at: &Application<'_>) -> Result<Cotangents, String> {
        Ok(smallvec![Some(g.reverse(at.cotangent, &self.axes))])
    }
}

/// Per axis, `low` and `high` elements of `value` around the operand, and `interior` ones between
/// neighbours.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pad {
    /// Elements before, per axis.
    pub low: Axes,
    /// Elements after, per axis.
    pub high: Axes,
    /// Elements between neighbours, per axis.
    pub interior: Axes,
    /// What is filled in; of the operand's element type.
    pub value: Scalar,
}

impl Primitive for Pad {
    fn name(&self) -> &'static str {
        "pad"
    }

    fn doc(&self) -> &'static str {
        "constant margins, and gaps between elements"
    }

    fn attributes(&self) -> String {
        format!(
            "low={:?} high={:?} interior={:?} value={}",
            self.low.as_slice(),
            self.high.as_slice(),
            self.interior.as_slice(),
            self.value
        )
    }

    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [operand] = operands_of(operands)?;
        let rank = operand.rank();
        if [self.low.len(), self.high.len(), self.interior.len()] != [rank; 3] {
            return Err(format!("padding of {} axes for {operand}", self.low.len()));
        }
        if self.value.dtype != operand.dtype {
            return Err(format!("padding of {} with a {}", operand.dtype, self.value.dtype));
        }
        let padded = |axis: usize| {
            let extent = operand.shape[axis];
            let gaps = extent.saturating_sub(1).checked_mul(self.interior[axis])?;
            let inside = extent.checked_add(gaps)?;
            inside.checked_add(self.low[axis])?.checked_add(self.high[axis])
        };
        let shape: Option<Shape> = (0..rank).map(padded).collect();
        let shape = shape.ok_or_else(|| format!("{operand} with too much padding"))?;
        Ok(TensorType { dtype: operand.dtype, shape })
    }

    fn evaluate(&self, operands: &[&Array], result: &TensorType, _: &Context<'_>) -> Array {
        let operand = operands[0];
        Array::from_fn(result.clone(), |index| {
            let place = |axis: usize| {
                let inside = index[axis].checked_sub(self.low[axis])?;
                let pitch = self.interior[axis] + 1;
                let source = inside / pitch;
                (inside % pitch == 0 && source < operand.ty.shape[axis]).then_some(source)
            };
            let source: Option<Axes> = (0..index.len()).map(place).collect();
            source.map_or(self.value.value(), |source| operand.at(&source))
        })
    }

    fn differentiable(&self, _: usize) -> bool {
        true
    }

    fn gradient(&self, g: &mut dyn Emit, at: &Application<'_>) -> Result<Cotangents, String> {
        let operand = g.type_of(at.operands[0]).shape.clone();
        let step: Axes = self.interior.iter().map(|gap| gap + 1).collect();
        let stop = |axis: usize| match operand[axis] {
            0 => self.low[axis],
            extent => self.low[axis] + (extent - 1) * step[axis] + 1,
        };
        let stop: Axes = (0..operand.len()).map(stop).collect();
        Ok(smallvec![Some(g.slice(at.cotangent, &self.low, &stop, &step))])
    }
}

/// Operands one after another along `axis`; their other extents are equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Concat {
    /// The axis along which they are joined.
    pub axis: usize,
}

impl Primitive for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn doc(&self) -> &'static str {
        "operands one after another along an axis"
    }

    fn attributes(&self) -> String {
        format!("axis={}", self.axis)
    }

    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [first, rest @ ..] = operands else {
            return Err("takes at least one operand".to_owned());
        };
        if self.axis >= first.rank() {
            return Err(format!("axis {} of {first}", self.axis));
        }
        let mut result = (*first).clone();
        for operand in rest {
            let fits = operand.dtype == first.dtype
                && operand.rank() == first.rank()
                && (0..first.rank())
                    .all(|axis| axis == self.axis || operand.shape[axis] == first.shape[axis]);
            if !fits {
                return Err(format!("{operand} does not join {first} along axis {}", self.axis));
            }
            result.shape[self.axis] += operand.shape[self.axis];
        }
        Ok(result)
    }

    fn evaluate(&self, operands: &[&Array], result: &TensorType, _: &Context<'_>) -> Array {
        Array::from_fn(result.clone(), |index| {
            let mut source = Axes::from_slice(index);
            for operand in operands {
                let extent = operand.ty.shape[self.axis];
                if source[self.axis] < extent {
                    return operand.at(&source);
                }
                source[self.axis] -= extent;
            }
            unreachable!("an index beyond the operands")
        })
    }

    fn differentiable(&self, _: usize) -> bool {
        true
    }

    fn gradient(&self, g: &mut dyn Emit, at: &Application<'_>) -> Result<Cotangents, String> {
        let mut start: Axes = smallvec![0; g.type_of(at.result).rank()];
        let mut cotangents = Cotangents::new();
        for (&operand, &wanted) in at.operands.iter().zip(at.wanted) {
            let mut stop: Axes = g.type_of(operand).shape.clone();
            stop[self.axis] += start[self.axis];
            let step: Axes = smallvec![1; stop.len()];
            cotangents.push(wanted.then(|| g.slice(at.cotangent, &start, &stop, &step)));
            start[self.axis] = stop[self.axis];
        }
        Ok(cotangents)
    }
}

/// Any composition of the movements above on one operand: element `i` of the result is element
/// `map(i)` of the operand, or the map's fill value where its condition fails.
///
/// Only the optimizer makes views, to see a chain of movements as one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct View {
    /// From result indices to operand indices; its domain is the result's shape.
    pub map: IndexMap,
}

impl Primitive for View {
    fn name(&self) -> &'static str {
        "view"
    }

    fn doc(&self) -> &'static str {
        "a composition of movements as one index map"
    }

    fn attributes(&self) -> String {
        self.map.to_string()
    }

    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [operand] = operands_of(operands)?;
        if self.map.rank() != operand.rank() {
            return Err(format!("a view onto {} axes of {operand}", self.map.rank()));
        }
        Ok(TensorType { dtype: operand.dtype, shape: Shape::from_slice(self.map.domain()) })
    }

    fn evaluate(&self, operands: &[&Array], result: &TensorType, _: &Context<'_>) -> Array {
        Array::from_fn(result.clone(), |index| match (self.map.evaluate(index), self.map.fill()) {
            (Some(source), _) => operands[0].at(&source),
            (None, Some(fill)) => fill.value(),
            (None, None) => unreachable!("a map with constraints has a fill value"),
        })
    }

    fn differentiable(&self, _: usize) -> bool {
        true
    }

    fn gradient(&self, _: &mut dyn Emit, _: &Application<'_>) -> Result<Cotangents, String> {
        Err("a view has no gradient; the optimizer, which makes views, runs after \
             differentiation"
            .to_owned())
    }
}

/// The order that undoes `order`.
pub(super) fn inverse_order(order: &[usize]) -> Axes {
    let mut inverse: Axes = smallvec![0; order.len()];
    for (axis, &from) in order.iter().enumerate() {
        inverse[from] = axis;
    }
    inverse
}

/// The axes of a tensor of this rank that are not among `axes`, in order.
pub(super) fn other_axes(rank: usize, axes: &[usize]) -> Axes {
    (0..rank).filter(|axis| !axes.contains(axis)).collect()
}
