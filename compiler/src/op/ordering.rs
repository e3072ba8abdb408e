//! Operations that go along an axis in order: cumulation and sorting.

use cygnet_runtime::library::{self, CumulateKind, Routine, ScatterKind};
use smallvec::smallvec;

use super::movement::inverse_order;
use super::{
    Application, Context, Cotangents, Emit, NodeId, Primitive, ReduceKind, library as routines,
    operands_of,
};
use crate::array::Array;
use crate::types::{Axes, DType, TensorType};

/// Each element becomes the combination of all elements up to it along `axis`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cumulate {
    /// How elements are combined.
    pub kind: ReduceKind,
    /// The axis.
    pub axis: usize,
    /// Whether to start at the end of the axis.
    pub reverse: bool,
    /// Whether an element itself is left out; then the first result is that of no elements
    /// ([`ReduceKind::identity`]).
    pub exclusive: bool,
}

impl Cumulate {
    /// The routine that computes it.
    pub(super) fn routine(&self, operands: &[&TensorType]) -> (Routine, DType) {
        let [operand] = operands else { unreachable!("one operand") };
        let kind = match self.kind {
            ReduceKind::Sum => CumulateKind::Sum,
            ReduceKind::Prod => CumulateKind::Product,
            ReduceKind::Max => CumulateKind::Max,
        };
        let cumulate = library::Cumulate {
            kind,
            reverse: self.reverse,
            exclusive: self.exclusive,
            outer: operand.shape[..self.axis].iter().product(),
            length: operand.shape[self.axis],
            inner: operand.shape[self.axis + 1..].iter().product(),
        };
        (Routine::Cumulate(cumulate), operand.dtype)
    }

    /// The elements `distance` steps further on (in the order of cumulation), `fill` where there
    /// are none.
    fn further(&self, g: &mut dyn Emit, node: NodeId, distance: usize, fill: f64) -> NodeId {
        let shape = g.type_of(node).shape.clone();
        let (mut start, mut stop) = (smallvec![0; shape.len()], shape.clone());
        let (mut low, mut high): (Axes, Axes) = (start.clone(), start.clone());
        match self.reverse {
            false => (start[self.axis], high[self.axis]) = (distance, distance),
            true => (stop[self.axis], low[self.axis]) = (shape[self.axis] - distance, distance),
        }
        let step: Axes = smallvec![1; shape.len()];
        let none: Axes = smallvec![0; shape.len()];
        let kept = g.slice(node, &start, &stop, &step);
        g.pad(kept, &low, &high, &none, fill)
    }

    /// Cotangent of the operand of an inclusive product. The derivative by an element is the
    /// product of those before it times the sum of the later cotangents, each times the product
    /// of the elements between: `s[i] = dy[i] + x[i + 1] s[i + 1]`. That recurrence is solved by
    /// doubling (Kogge and Stone, "A parallel algorithm for the efficient solution of a general
    /// class of recurrence equations", 1973), without a division, so that zeros are right.
    fn product_gradient(&self, g: &mut dyn Emit, x: NodeId, dy: NodeId) -> NodeId {
        let length = g.type_of(x).shape[self.axis];
        let (mut factor, mut sum) = (self.further(g, x, 1, 0.0), dy);
        let mut distance = 1;
        while distance < length {
            let later = self.further(g, sum, distance, 0.0);
            let later = g.mul(factor, later);
            sum = g.add(sum, later);
            let next = self.further(g, factor, distance, 0.0);
            factor = g.mul(factor, next);
            distance *= 2;
        }
        let before = g.emit(Cumulate { exclusive: true, ..self.clone() }.into(), &[x]);
        g.mul(before, sum)
    }

    /// Cotangent of the operand of an inclusive maximum: that of each result goes to the element
    /// which it is, to the latest of equal ones.
    fn maximum_gradient(&self, g: &mut dyn Emit, x: NodeId, y: NodeId, dy: NodeId) -> NodeId {
        let shape = g.type_of(x).shape.clone();
        let last = shape[self.axis].saturating_sub(1) as f64;
        let mut steps = g.iota(DType::I32, &shape, self.axis);
        let end = g.constant_like(steps, last);
        if self.reverse {
            steps = g.sub(end, steps);
        }
        let is_largest = g.apply("eq", &[x, y]);
        let zero = g.constant_like(steps, 0.0);
        let own = g.select(is_largest, steps, zero);
        let latest = Cumulate { kind: ReduceKind::Max, exclusive: false, ..self.clone() };
        let mut places = g.emit(latest.into(), &[own]);
        if self.reverse {
            places = g.sub(end, places);
        }
        let others = (0..shape.len()).filter(|&axis| axis != self.axis);
        let order: Axes = others.chain([self.axis]).collect();
        let (places, dy) = (g.permute(places, &order), g.permute(dy, &order));
        let extent = shape[self.axis];
        let scatter = super::Scatter { kind: ScatterKind::Add, batch: shape.len() - 1, extent };
        let dx = g.emit(scatter.into(), &[places, dy]);
        g.permute(dx, &inverse_order(&order))
    }
}

impl Primitive for Cumulate {
    fn name(&self) -> &'static str {
        match self.kind {
            ReduceKind::Sum => "cumulate_sum",
            ReduceKind::Max => "cumulate_max",
            ReduceKind::Prod => "cumulate_prod",
        }
    }

    fn doc(&self) -> &'static str {
        match self.kind {
            ReduceKind::Sum => "sum of the elements up to each one along an axis",
            ReduceKind::Max => {
                "largest of the elements up to each one; the latest has the gradient"
            }
            ReduceKind::Prod => "product of the elements up to each one along an axis",
        }
    }

    fn attributes(&self) -> String {
        let reverse = if self.reverse { " reverse" } else { "" };
        let exclusive = if self.exclusive { " exclusive" } else { "" };
        format!("axis={}{reverse}{exclusive}", self.axis)
    }

    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [operand] = operands_of(operands)?;
        if self.axis >= operand.rank() {
            return Err(format!("axis {} of {operand}", self.axis));
        }
        if matches!(operand.dtype, DType::Bool | DType::U8) {
            return Err(format!("a cumulation of {}; cast it first", operand.dtype));
        }
        Ok(operand.clone())
    }

    fn evaluate(&self, operands: &[&Array], result: &TensorType, _: &Context<'_>) -> Array {
        routines::evaluate(self.routine(&[&operands[0].ty]), operands, result)
    }

    fn differentiable(&self, _: usize) -> bool {
        true
    }

    fn gradient(&self, g: &mut dyn Emit, at: &Application<'_>) -> Result<Cotangents, String> {
        let (x, dy) = (at.operands[0], at.cotangent);
        if self.kind == ReduceKind::Sum {
            let dx = g.emit(Cumulate { reverse: !self.reverse, ..self.clone() }.into(), &[dy]);
            return Ok(smallvec![Some(dx)]);
        }
        // An exclusive result is the inclusive one of a step before.
        let dy = if self.exclusive { self.further(g, dy, 1, 0.0) } else { dy };
        let dx = match self.kind {
            ReduceKind::Prod => self.product_gradient(g, x, dy),
            ReduceKind::Sum | ReduceKind::Max => {
                let y = match self.exclusive {
                    true => g.emit(Cumulate { exclusive: false, ..self.clone() }.into(), &[x]),
                    false => at.result,
                };
                self.maximum_gradient(g, x, y, dy)
            }
        };
        Ok(smallvec![Some(dx)])
    }

    fn flops(&self, _: &[&TensorType], result: &TensorType) -> f64 {
        result.elements() as f64
    }

    fn kink_distance(&self, operands: &[&Array]) -> f64 {
        let operand = operands[0];
        if self.kind != ReduceKind::Max || !operand.ty.dtype.is_float() {
            return f64::INFINITY;
        }
        let before = Cumulate { exclusive: true, ..self.clone() };
        let routine = before.routine(&[&operand.ty]);
        let before = routines::evaluate(routine, operands, &operand.ty);
        let distances = operand.values.iter().zip(&before.values).map(|(x, y)| (x - y).abs());
        distances.fold(f64::INFINITY, f64::min)
    }
}

/// Positions (i32) of the first `count` elements along the last axis in ascending or descending
/// order. Equal elements stay in the order of their positions; NaN is larger than all numbers.
///
/// Sorted values are gathered at these positions.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ArgSort {
    /// Whether the largest element comes first.
    pub descending: bool,
    /// Extent of the last axis of the result.
    pub count: usize,
}

impl ArgSort {
    /// The routine that computes it.
    pub(super) fn routine(&self, operands: &[&TensorType]) -> (Routine, DType) {
        let [operand] = operands else { unreachable!("one operand") };
        let (&length, outer) = operand.shape.split_last().expect("an axis");
        let rows = outer.iter().product();
        let sort = library::Sort { descending: self.descending, rows, length, kept: self.count };
        (Routine::Sort(sort), operand.dtype)
    }
}

impl Primitive for ArgSort {
    fn name(&self) -> &'static str {
        "argsort"
    }

    fn doc(&self) -> &'static str {
        "positions of the elements along the last axis in order; NaN is larger than all numbers"
    }

    fn attributes(&self) -> String {
        let order = if self.descending { "descending" } else { "ascending" };
        format!("{order} count={}", self.count)
    }

    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [operand] = operands_of(operands)?;
        if matches!(operand.dtype, DType::Bool | DType::U8) {
            return Err(format!("an order of {}; cast it first", operand.dtype));
        }
        let mut result = operand.with_dtype(DType::I32);
        match result.shape.last_mut() {
            Some(extent) if self.count <= *extent => *extent = self.count,
            _ => return Err(format!("the first {} elements in order of {operand}", self.count)),
        }
        Ok(result)
    }

    fn evaluate(&self, operands: &[&Array], result: &TensorType, _: &Context<'_>) -> Array {
        routines::evaluate(self.routine(&[&operands[0].ty]), operands, result)
    }

    fn differentiable(&self, _: usize) -> bool {
        false
    }

    fn gradient(&self, _: &mut dyn Emit, _: &Application<'_>) -> Result<Cotangents, String> {
        Ok(smallvec![None])
    }

    fn kink_distance(&self, operands: &[&Array]) -> f64 {
        let operand = operands[0];
        let length = *operand.ty.shape.last().expect("an axis");
        if !operand.ty.dtype.is_float() || length == 0 {
            return f64::INFINITY;
        }
        let gaps = operand.values.chunks_exact(length).flat_map(|row| {
            let mut row = row.to_vec();
            row.sort_by(f64::total_cmp);
            if self.descending {
                row.reverse();
            }
            let pairs: Vec<f64> = row.windows(2).map(|pair| (pair[1] - pair[0]).abs()).collect();
            pairs.into_iter().take(self.count)
        });
        gaps.fold(f64::INFINITY, f64::min)
    }
}
