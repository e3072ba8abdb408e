//! Tensors put together from parts that take turns along an axis; made by the optimizer.

use cygnet_runtime::library::{self, Routine};

use super::{Application, Context, Cotangents, Emit, Primitive, library as routines};
use crate::array::Array;
use crate::types::{DType, TensorType};

/// Operands of one type to a tensor in which their elements take turns along an axis: index
/// `operands * i + k` of the result is index `i` of operand `k`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Interleave {
    /// The axis.
    pub axis: usize,
}

impl Interleave {
    /// The routine that computes it.
    pub(super) fn routine(&self, operands: &[&TensorType]) -> (Routine, DType) {
        let shape = &operands[0].shape;
        let interleave = library::Interleave {
            parts: operands.len(),
            outer: shape[..=self.axis].iter().product(),
            inner: shape[self.axis + 1..].iter().product(),
        };
        (Routine::Interleave(interleave), operands[0].dtype)
    }
}

/// What the routine makes of its operands.
pub(super) fn interleave(routine: &library::Interleave, operands: &[&[f64]]) -> Vec<f64> {
    let blocks = (0..routine.outer).flat_map(|block| {
        operands.iter().map(move |operand| &operand[block * routine.inner..][..routine.inner])
    });
    blocks.flatten().copied().collect()
}

impl Primitive for Interleave {
    fn name(&self) -> &'static str {
        "interleave"
    }

    fn doc(&self) -> &'static str {
        "operands that take turns along an axis"
    }

    fn attributes(&self) -> String {
        format!("axis={}", self.axis)
    }

    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let Some((first, others)) = operands.split_first() else {
            return Err("there are no operands".to_owned());
        };
        if let Some(other) = others.iter().find(|other| *other != first) {
            return Err(format!("{first} and {other} cannot take turns"));
        }
        if self.axis >= first.rank() || matches!(first.dtype, DType::Bool | DType::U8) {
            return Err(format!("axis {} of {first}", self.axis));
        }
        let mut shape = first.shape.clone();
        shape[self.axis] *= operands.len();
        Ok(TensorType::new(first.dtype, &shape))
    }

    fn evaluate(&self, operands: &[&Array], result: &TensorType, _: &Context<'_>) -> Array {
        let types: Vec<&TensorType> = operands.iter().map(|operand| &operand.ty).collect();
        routines::evaluate(self.routine(&types), operands, result)
    }

    fn differentiable(&self, _: usize) -> bool {
        false
    }

    fn gradient(&self, _: &mut dyn Emit, _: &Application<'_>) -> Result<Cotangents, String> {
        Err(routines::MADE_AFTER_GRADIENTS.to_owned())
    }
}
