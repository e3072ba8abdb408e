//! Reductions over axes.

use super::{Primitive, operands_of};
use crate::types::{Axes, DType, TensorType};

/// How elements are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReduceKind {
    /// Sum; 0 for no elements.
    Sum,
    /// Largest element, NaN if any is NaN; negative infinity for no elements.
    Max,
    /// Product; 1 for no elements.
    Prod,
}

impl ReduceKind {
    /// All kinds.
    pub const ALL: [ReduceKind; 3] = [ReduceKind::Sum, ReduceKind::Max, ReduceKind::Prod];
}

/// Combines the elements along `axes`, which the result lacks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reduce {
    /// How elements are combined.
    pub kind: ReduceKind,
    /// Strictly increasing; not empty.
    pub axes: Axes,
}

/// The operand's type without `axes`, which must be strictly increasing axes of it.
fn without_axes(operand: &TensorType, axes: &[usize]) -> Result<TensorType, String> {
    if !axes.is_sorted_by(|a, b| a < b) || axes.iter().any(|&axis| axis >= operand.rank()) {
        return Err(format!("{axes:?} are not axes of {operand} in order"));
    }
    let kept = (0..operand.rank()).filter(|axis| !axes.contains(axis));
    Ok(TensorType { dtype: operand.dtype, shape: kept.map(|axis| operand.shape[axis]).collect() })
}

impl Primitive for Reduce {
    fn name(&self) -> &'static str {
        match self.kind {
            ReduceKind::Sum => "sum",
            ReduceKind::Max => "max",
            ReduceKind::Prod => "prod",
        }
    }

    fn attributes(&self) -> String {
        format!("axes={:?}", self.axes.as_slice())
    }

    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [operand] = operands_of(operands)?;
        if matches!(operand.dtype, DType::Bool | DType::U8) {
            return Err(format!("a reduction of {}; cast it first", operand.dtype));
        }
        without_axes(operand, &self.axes)
    }
}

/// Which extreme is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ArgKind {
    /// The largest element.
    Max,
    /// The smallest element.
    Min,
}

/// Position (i32) of the extreme element along `axis`, the first one among equals; the first NaN
/// if there is one. The result lacks `axis`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ArgReduce {
    /// Which extreme.
    pub kind: ArgKind,
    /// The axis searched.
    pub axis: usize,
}

impl Primitive for ArgReduce {
    fn name(&self) -> &'static str {
        match self.kind {
            ArgKind::Max => "argmax",
            ArgKind::Min => "argmin",
        }
    }

    fn attributes(&self) -> String {
        format!("axis={}", self.axis)
    }

    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [operand] = operands_of(operands)?;
        if operand.shape.get(self.axis) == Some(&0) {
            return Err(format!("no elements along axis {} of {operand}", self.axis));
        }
        Ok(without_axes(operand, &[self.axis])?.with_dtype(DType::I32))
    }
}
