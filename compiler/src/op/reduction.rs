//! Reductions over axes.

use smallvec::smallvec;

use super::movement::{inverse_order, other_axes};
use super::{Application, Context, Cotangents, Emit, Iota, NodeId, Primitive, operands_of};
use crate::array::{Array, for_each_index};
use crate::types::{Axes, DType, Scalar, Shape, TensorType};

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

    /// The value of no elements; for [`ReduceKind::Max`] the smallest value of the type.
    pub fn identity(self, dtype: DType) -> Scalar {
        let value = match self {
            ReduceKind::Sum => 0.0,
            ReduceKind::Max => f64::NEG_INFINITY,
            ReduceKind::Prod => 1.0,
        };
        Scalar::new(dtype, value)
    }

    /// Combines two values of a type, in f64. Integers wrap; NaN stays.
    pub fn combine(self, dtype: DType, a: f64, b: f64) -> f64 {
        if dtype == DType::I32 {
            let (a, b) = (a as i32, b as i32);
            return f64::from(match self {
                ReduceKind::Sum => a.wrapping_add(b),
                ReduceKind::Max => a.max(b),
                ReduceKind::Prod => a.wrapping_mul(b),
            });
        }
        match self {
            ReduceKind::Sum => a + b,
            ReduceKind::Max if a.is_nan() || b.is_nan() => f64::NAN,
            ReduceKind::Max => a.max(b),
            ReduceKind::Prod => a * b,
        }
    }
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
    let kept = other_axes(operand.rank(), axes);
    let shape = kept.iter().map(|&axis| operand.shape[axis]).collect();
    Ok(TensorType { dtype: operand.dtype, shape })
}

/// For each element of the result, in row-major order, the elements reduced to it, in row-major
/// order.
fn groups(operand: &Array, axes: &[usize], result: &[usize]) -> Vec<Vec<f64>> {
    let kept = other_axes(operand.ty.rank(), axes);
    let mut groups = vec![Vec::new(); result.iter().product()];
    for_each_index(&operand.ty.shape, |index| {
        let group = kept.iter().fold(0, |at, &axis| at * operand.ty.shape[axis] + index[axis]);
        groups[group].push(operand.at(index));
    });
    groups
}

/// The smallest difference, over all groups, between the largest value and the next one.
fn lead_of_the_largest(groups: impl Iterator<Item = Vec<f64>>) -> f64 {
    let lead = |mut group: Vec<f64>| {
        group.sort_by(|a, b| b.total_cmp(a));
        if let [first, second, ..] = group[..] { first - second } else { f64::INFINITY }
    };
    groups.map(lead).fold(f64::INFINITY, f64::min)
}

impl Primitive for Reduce {
    fn name(&self) -> &'static str {
        match self.kind {
            ReduceKind::Sum => "reduce_sum",
            ReduceKind::Max => "reduce_max",
            ReduceKind::Prod => "reduce_prod",
        }
    }

    fn doc(&self) -> &'static str {
        match self.kind {
            ReduceKind::Sum => "sum over axes; 0 for no elements",
            ReduceKind::Max => {
                "largest element over axes; the first of equal ones has the gradient"
            }
            ReduceKind::Prod => "product over axes; 1 for no elements",
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
        if self.axes.is_empty() {
            return Err("a reduction over no axes".to_owned());
        }
        without_axes(operand, &self.axes)
    }

    fn evaluate(&self, operands: &[&Array], result: &TensorType, _: &Context<'_>) -> Array {
        let dtype = result.dtype;
        let identity = self.kind.identity(dtype).value();
        let combined = groups(operands[0], &self.axes, &result.shape)
            .into_iter()
            .map(|group| group.into_iter().fold(identity, |a, b| self.kind.combine(dtype, a, b)));
        Array::new(result.clone(), combined.collect())
    }

    fn differentiable(&self, _: usize) -> bool {
        true
    }

    fn gradient(&self, g: &mut dyn Emit, at: &Application<'_>) -> Result<Cotangents, String> {
        let x = at.operands[0];
        let shape = g.type_of(x).shape.clone();
        let kept = other_axes(shape.len(), &self.axes);
        let dx = match self.kind {
            ReduceKind::Sum => g.broadcast(at.cotangent, &shape, &kept),
            ReduceKind::Max => maximum_gradient(g, x, at.cotangent, &self.axes),
            ReduceKind::Prod => product_gradient(g, x, at.cotangent, &self.axes),
        };
        Ok(smallvec![Some(dx)])
    }

    fn flops(&self, operands: &[&TensorType], _: &TensorType) -> f64 {
        operands[0].elements() as f64
    }

    fn kink_distance(&self, operands: &[&Array]) -> f64 {
        let operand = operands[0];
        if self.kind != ReduceKind::Max || !operand.ty.dtype.is_float() {
            return f64::INFINITY;
        }
        let kept = other_axes(operand.ty.rank(), &self.axes);
        let shape: Shape = kept.iter().map(|&axis| operand.ty.shape[axis]).collect();
        lead_of_the_largest(groups(operand, &self.axes, &shape).into_iter())
    }
}

/// Cotangent of the operand of a maximum over `axes`: `dy` at the first of the largest elements, in
/// row-major order, as in PyTorch's `max` along an axis and its pooling.
fn maximum_gradient(g: &mut dyn Emit, x: NodeId, dy: NodeId, axes: &[usize]) -> NodeId {
    let shape = g.type_of(x).shape.clone();
    if shape.contains(&0) {
        return g.constant_like(x, 0.0);
    }
    let kept = other_axes(shape.len(), axes);
    let order: Axes = kept.iter().chain(axes).copied().collect();
    let moved: Shape = order.iter().map(|&axis| shape[axis]).collect();
    let mut rows: Shape = moved[..kept.len()].into();
    rows.push(moved[kept.len()..].iter().product());
    let last = kept.len();

    let groups = g.permute(x, &order);
    let groups = g.reshape(groups, &rows);
    let search = ArgReduce { kind: ArgKind::Max, axis: last };
    let first = g.emit(search.into(), &[groups]);
    let kept: Axes = (0..last).collect();
    let first = g.broadcast(first, &rows, &kept);
    let places = g.emit(Iota { axis: last, dtype: DType::I32, shape: rows.clone() }.into(), &[]);
    let is_first = g.apply("eq", &[first, places]);
    let dy = g.broadcast(dy, &rows, &kept);
    let zero = g.constant_like(groups, 0.0);
    let dx = g.select(is_first, dy, zero);
    let dx = g.reshape(dx, &moved);
    g.permute(dx, &inverse_order(&order))
}

/// Cotangent of the operand of a product over `axes`: for each element `dy` times the product of
/// the others, without dividing by the element, so that zeros are right in every order.
fn product_gradient(g: &mut dyn Emit, x: NodeId, dy: NodeId, axes: &[usize]) -> NodeId {
    let shape = g.type_of(x).shape.clone();
    let kept = other_axes(shape.len(), axes);
    let order: Axes = kept.iter().chain(axes).copied().collect();
    let moved: Shape = order.iter().map(|&axis| shape[axis]).collect();
    let rows = kept.iter().map(|&axis| shape[axis]).product();
    let columns = axes.iter().map(|&axis| shape[axis]).product();

    let matrix = g.permute(x, &order);
    let matrix = g.reshape(matrix, &[rows, columns]);
    let before = product_of_others(g, matrix, true);
    let after = product_of_others(g, matrix, false);
    let others = g.mul(before, after);
    let dy = g.reshape(dy, &[rows]);
    let dy = g.broadcast(dy, &[rows, columns], &[0]);
    let dx = g.mul(dy, others);
    let dx = g.reshape(dx, &moved);
    g.permute(dx, &inverse_order(&order))
}

/// For each element of a matrix the product of those before it (or after it) in its row, by
/// doubling (Hillis and Steele, "Data parallel algorithms", 1986).
fn product_of_others(g: &mut dyn Emit, matrix: NodeId, before: bool) -> NodeId {
    let [rows, columns] = g.type_of(matrix).shape[..] else { unreachable!("a matrix") };
    if columns < 2 {
        return g.constant_like(matrix, 1.0);
    }
    let shifted = |g: &mut dyn Emit, matrix: NodeId, distance: usize| {
        let left = columns - distance;
        let (start, low, high) = match before {
            true => (0, columns - left, 0),
            false => (columns - left, 0, columns - left),
        };
        let kept = g.slice(matrix, &[0, start], &[rows, start + left], &[1, 1]);
        g.pad(kept, &[0, low], &[0, high], &[0, 0], 1.0)
    };
    let mut product = shifted(g, matrix, 1);
    let mut distance = 1;
    while distance < columns {
        let further = shifted(g, product, distance);
        product = g.mul(product, further);
        distance *= 2;
    }
    product
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

    fn doc(&self) -> &'static str {
        match self.kind {
            ArgKind::Max => "position of the largest element along an axis, the first among equals",
            ArgKind::Min => {
                "position of the smallest element along an axis, the first among equals"
            }
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
    fn evaluate(&self, operands: &[&Array], result: &TensorType, _: &Context<'_>) -> Array {
        let position = |group: Vec<f64>| {
            let mut best = 0;
            for (position, &value) in group.iter().enumerate() {
                let better = match self.kind {
                    ArgKind::Max => value > group[best],
                    ArgKind::Min => value < group[best],
                };
                if !group[best].is_nan() && (better || value.is_nan()) {
                    best = position;
                }
            }
            best as f64
        };
        let groups = groups(operands[0], &[self.axis], &result.shape);
        Array::new(result.clone(), groups.into_iter().map(position).collect())
    }

    fn differentiable(&self, _: usize) -> bool {
        false
    }

    fn gradient(&self, _: &mut dyn Emit, _: &Application<'_>) -> Result<Cotangents, String> {
        Ok(smallvec![None])
    }

    fn flops(&self, operands: &[&TensorType], _: &TensorType) -> f64 {
        operands[0].elements() as f64
    }

    fn kink_distance(&self, operands: &[&Array]) -> f64 {
        let operand = operands[0];
        if !operand.ty.dtype.is_float() {
            return f64::INFINITY;
        }
        let kept = other_axes(operand.ty.rank(), &[self.axis]);
        let shape: Shape = kept.iter().map(|&axis| operand.ty.shape[axis]).collect();
        let sign = if self.kind == ArgKind::Max { 1.0 } else { -1.0 };
        let signed = |group: Vec<f64>| group.into_iter().map(|value| sign * value).collect();
        lead_of_the_largest(groups(operand, &[self.axis], &shape).into_iter().map(signed))
    }
}
