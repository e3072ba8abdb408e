//! Contractions: sums of products over shared axes.

use smallvec::SmallVec;

use super::{Primitive, operands_of};
use crate::types::{Shape, TensorType};

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
}
