//! Movement: operations that rearrange elements without computing.

use super::{Op, Primitive, operands_of};
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
                | Op::Pad(_)
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
            Op::Pad(op) => {
                let extents = (0..operand.len()).map(|axis| {
                    let gaps = operand[axis].saturating_sub(1) * op.interior[axis];
                    op.low[axis] + operand[axis] + gaps + op.high[axis]
                });
                let to: Shape = extents.collect();
                IndexMap::pad(operand, &to, &op.low, &op.interior, op.value)
            }
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

    fn attributes(&self) -> String {
        format!("shape={:?}", self.shape.as_slice())
    }

    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [operand] = operands_of(operands)?;
        let result = TensorType { dtype: operand.dtype, shape: self.shape.clone() };
        if result.elements() != operand.elements() {
            return Err(format!("{operand} does not fit the shape {:?}", self.shape.as_slice()));
        }
        Ok(result)
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
        let shape = (0..rank)
            .map(|axis| {
                let extent = operand.shape[axis];
                let gaps = extent.saturating_sub(1) * self.interior[axis];
                self.low[axis] + extent + gaps + self.high[axis]
            })
            .collect();
        Ok(TensorType { dtype: operand.dtype, shape })
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
}
