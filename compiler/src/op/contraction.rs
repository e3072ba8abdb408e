//! Contractions: sums of products over shared axes.

use smallvec::SmallVec;

use super::movement::inverse_order;
use super::{Application, Context, Cotangents, Emit, Primitive, operands_of};
use crate::array::Array;
use crate::types::{Axes, Shape, TensorType};

/// Pairs of (axis of the left operand, axis of the right operand).
pub type AxisPairs = SmallVec<[(usize, usize); 2]>;

/// Batched product of two float tensors, summed over the contracted axes.
///
/// The result's axes are the batch axes in the order given, then the left operand's other axes,
/// then the right operand's other axes, each in their order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Contract {
    /// Axes that run together and stay.
    pub batch: AxisPairs,
    /// Axes that run together and are summed over.
    pub contracted: AxisPairs,
}

impl Contract {
    /// Axes of the left operand that are neither batch nor contracted.
    pub fn left_outer(&self, rank: usize) -> impl Iterator<Item = usize> + '_ {
        (0..rank).filter(|axis| !self.pairs().any(|(left, _)| left == *axis))
    }

    /// Axes of the right operand that are neither batch nor contracted.
    pub fn right_outer(&self, rank: usize) -> impl Iterator<Item = usize> + '_ {
        (0..rank).filter(|axis| !self.pairs().any(|(_, right)| right == *axis))
    }

    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.batch.iter().chain(&self.contracted).copied()
    }
}

impl Primitive for Contract {
    fn name(&self) -> &'static str {
        "contract"
    }

    fn doc(&self) -> &'static str {
        "batched product summed over shared axes"
    }

    fn attributes(&self) -> String {
        let list = |pairs: &AxisPairs| {
            let pairs: Vec<String> = pairs.iter().map(|(l, r)| format!("{l}:{r}")).collect();
            pairs.join(" ")
        };
        match self.batch.is_empty() {
            true => format!("over={}", list(&self.contracted)),
            false => format!("batch={} over={}", list(&self.batch), list(&self.contracted)),
        }
    }

    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [left, right] = operands_of(operands)?;
        if left.dtype != right.dtype || !left.dtype.is_float() {
            return Err(format!("a product of {left} and {right}"));
        }
        let pairs: Vec<_> = self.pairs().collect();
        for (position, &(l, r)) in pairs.iter().enumerate() {
            if l >= left.rank() || r >= right.rank() || left.shape[l] != right.shape[r] {
                return Err(format!("axis {l} of {left} does not match axis {r} of {right}"));
            }
            if pairs[..position].iter().any(|&(before, other)| before == l || other == r) {
                return Err(format!("axis {l}:{r} is paired twice"));
            }
        }
        let shape: Shape = self
            .batch
            .iter()
            .map(|&(l, _)| left.shape[l])
            .chain(self.left_outer(left.rank()).map(|axis| left.shape[axis]))
            .chain(self.right_outer(right.rank()).map(|axis| right.shape[axis]))
            .collect();
        Ok(TensorType { dtype: left.dtype, shape })
    }

    fn evaluate(&self, operands: &[&Array], result: &TensorType, _: &Context<'_>) -> Array {
        let (left, right) = (operands[0], operands[1]);
        let extent = |shape: &Shape, axes: &[usize]| -> usize {
            axes.iter().map(|&axis| shape[axis]).product()
        };
        let left_outer: Axes = self.left_outer(left.ty.rank()).collect();
        let right_outer: Axes = self.right_outer(right.ty.rank()).collect();
        let (left_batch, right_batch): (Axes, Axes) = self.batch.iter().copied().unzip();
        let (left_depth, right_depth): (Axes, Axes) = self.contracted.iter().copied().unzip();

        // Both operands with the axes batch, outer, contracted.
        let x = left.permuted(&[&left_batch[..], &left_outer, &left_depth].concat());
        let y = right.permuted(&[&right_batch[..], &right_outer, &right_depth].concat());
        let rows = extent(&left.ty.shape, &left_outer);
        let columns = extent(&right.ty.shape, &right_outer);
        let depth = extent(&left.ty.shape, &left_depth);
        let mut values = Vec::with_capacity(result.elements());
        for batch in 0..extent(&left.ty.shape, &left_batch) {
            for row in 0..rows {
                for column in 0..columns {
                    let a = &x.values[(batch * rows + row) * depth..][..depth];
                    let b = &y.values[(batch * columns + column) * depth..][..depth];
                    values.push(a.iter().zip(b).map(|(a, b)| a * b).sum());
                }
            }
        }
        Array::new(result.clone(), values)
    }

    fn differentiable(&self, _: usize) -> bool {
        true
    }

    fn gradient(&self, g: &mut dyn Emit, at: &Application<'_>) -> Result<Cotangents, String> {
        let [left, right] = at.operands[..] else { unreachable!("two operands") };
        let left_outer: Axes = self.left_outer(g.type_of(left).rank()).collect();
        let right_outer: Axes = self.right_outer(g.type_of(right).rank()).collect();
        // The cotangent's axes are batch, left outer, right outer. A product of the cotangent
        // with one operand over that operand's outer axes leaves batch, the other operand's outer
        // axes, and the contracted axes in the order in which this operand has them.
        let batch_axes = self.batch.len();
        let dx = at.wanted[0].then(|| {
            let batch: AxisPairs = self.batch.iter().enumerate().map(|(i, p)| (i, p.1)).collect();
            let first = batch_axes + left_outer.len();
            let over: AxisPairs =
                right_outer.iter().enumerate().map(|(i, &axis)| (first + i, axis)).collect();
            let product = g.contract(at.cotangent, right, &batch, &over);
            let mut contracted = self.contracted.clone();
            contracted.sort_by_key(|&(_, right)| right);
            let batch = self.batch.iter().map(|&(left, _)| left);
            let depth = contracted.iter().map(|&(left, _)| left);
            let order: Axes = batch.chain(left_outer.iter().copied()).chain(depth).collect();
            g.permute(product, &inverse_order(&order))
        });
        let dy = at.wanted[1].then(|| {
            let batch: AxisPairs = self.batch.iter().enumerate().map(|(i, p)| (p.0, i)).collect();
            let over: AxisPairs =
                left_outer.iter().enumerate().map(|(i, &axis)| (axis, batch_axes + i)).collect();
            let product = g.contract(left, at.cotangent, &batch, &over);
            let mut contracted = self.contracted.clone();
            contracted.sort_by_key(|&(left, _)| left);
            let batch = self.batch.iter().map(|&(_, right)| right);
            let depth = contracted.iter().map(|&(_, right)| right);
            let order: Axes = batch.chain(depth).chain(right_outer.iter().copied()).collect();
            g.permute(product, &inverse_order(&order))
        });
        Ok(Cotangents::from_iter([dx, dy]))
    }

    fn flops(&self, operands: &[&TensorType], result: &TensorType) -> f64 {
        let depth: usize = self.contracted.iter().map(|&(l, _)| operands[0].shape[l]).product();
        2.0 * result.elements() as f64 * depth as f64
    }
}
