//! Values that pass unchanged: under another element type, or hidden from differentiation.

use smallvec::smallvec;

use super::{Application, Context, Cotangents, Emit, Primitive, operands_of};
use crate::array::Array;
use crate::types::{DType, Scalar, TensorType};

/// Conversion to another element type. Float to integer truncates toward zero and saturates (NaN
/// gives 0); anything to `bool` compares with zero.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cast {
    /// Element type of the result.
    pub dtype: DType,
}

impl Primitive for Cast {
    fn name(&self) -> &'static str {
        "cast"
    }

    fn doc(&self) -> &'static str {
        "conversion to another element type"
    }

    fn attributes(&self) -> String {
        self.dtype.to_string()
    }

    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [operand] = operands_of(operands)?;
        Ok(operand.with_dtype(self.dtype))
    }

    fn evaluate(&self, operands: &[&Array], result: &TensorType, _: &Context<'_>) -> Array {
        let convert = |&value: &f64| match self.dtype {
            // Rounding is not the reference evaluation's business.
            DType::F32 | DType::F64 => value,
            DType::I32 | DType::U8 | DType::Bool => Scalar::new(self.dtype, value).value(),
        };
        Array::new(result.clone(), operands[0].values.iter().map(convert).collect())
    }

    fn differentiable(&self, _: usize) -> bool {
        true
    }

    fn gradient(&self, graph: &mut dyn Emit, at: &Application<'_>) -> Result<Cotangents, String> {
        let dtype = graph.type_of(at.operands[0]).dtype;
        Ok(smallvec![Some(graph.cast(at.cotangent, dtype))])
    }

    fn kink_distance(&self, operands: &[&Array]) -> f64 {
        if self.dtype.is_float() || !operands[0].ty.dtype.is_float() {
            return f64::INFINITY;
        }
        let distance = |value: &f64| (value - value.round()).abs();
        operands[0].values.iter().map(distance).fold(f64::INFINITY, f64::min)
    }
}

/// The operand itself in the forward direction; no cotangent passes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StopGradient;

impl Primitive for StopGradient {
    fn name(&self) -> &'static str {
        "stop_gradient"
    }

    fn doc(&self) -> &'static str {
        "the operand, opaque to differentiation"
    }

    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [operand] = operands_of(operands)?;
        Ok(operand.clone())
    }

    fn evaluate(&self, operands: &[&Array], _: &TensorType, _: &Context<'_>) -> Array {
        operands[0].clone()
    }

    fn differentiable(&self, _: usize) -> bool {
        false
    }

    fn gradient(&self, _: &mut dyn Emit, _: &Application<'_>) -> Result<Cotangents, String> {
        Ok(smallvec![None])
    }
}
