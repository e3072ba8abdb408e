//! Leaves: nodes without operands.

use cygnet_runtime::dtype::DType;
use cygnet_runtime::random;

use super::{Application, Context, Cotangents, Emit, Primitive, operands_of};
use crate::array::Array;
use crate::types::{Scalar, Shape, TensorType};

/// A named place that outlives the step (parameter, state) or is filled from outside (input,
/// run-time scalar). Its name and role stand in [`crate::graph::Graph::slots`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot {
    /// Index into the graph's slots.
    pub index: u32,
    /// Type of the tensor in the slot.
    pub ty: TensorType,
}

impl Primitive for Slot {
    fn name(&self) -> &'static str {
        "slot"
    }

    fn doc(&self) -> &'static str {
        "a tensor that outlives the step or comes from outside"
    }

    fn attributes(&self) -> String {
        self.index.to_string()
    }

    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [] = operands_of(operands)?;
        Ok(self.ty.clone())
    }

    fn evaluate(&self, _: &[&Array], _: &TensorType, context: &Context<'_>) -> Array {
        context.slots[self.index as usize].clone()
    }

    fn differentiable(&self, _: usize) -> bool {
        false
    }

    fn gradient(&self, _: &mut dyn Emit, _: &Application<'_>) -> Result<Cotangents, String> {
        Ok(Cotangents::new())
    }
}

/// A tensor with one value everywhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Constant {
    /// The value and element type.
    pub value: Scalar,
    /// Shape of the tensor.
    pub shape: Shape,
}

impl Primitive for Constant {
    fn name(&self) -> &'static str {
        "constant"
    }

    fn doc(&self) -> &'static str {
        "one value everywhere"
    }

    fn attributes(&self) -> String {
        self.value.to_string()
    }

    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [] = operands_of(operands)?;
        Ok(TensorType { dtype: self.value.dtype, shape: self.shape.clone() })
    }

    fn evaluate(&self, _: &[&Array], result: &TensorType, _: &Context<'_>) -> Array {
        Array::filled(result.clone(), self.value.value())
    }

    fn differentiable(&self, _: usize) -> bool {
        false
    }

    fn gradient(&self, _: &mut dyn Emit, _: &Application<'_>) -> Result<Cotangents, String> {
        Ok(Cotangents::new())
    }
}

/// The position along `axis`: element `[i0, i1, ...]` is `i_axis`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Iota {
    /// The counted axis.
    pub axis: usize,
    /// Element type, not bool.
    pub dtype: DType,
    /// Shape of the tensor.
    pub shape: Shape,
}

impl Primitive for Iota {
    fn name(&self) -> &'static str {
        "iota"
    }

    fn doc(&self) -> &'static str {
        "the position along an axis"
    }

    fn attributes(&self) -> String {
        format!("axis={}", self.axis)
    }

    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [] = operands_of(operands)?;
        if self.axis >= self.shape.len() {
            return Err(format!("axis {} of a shape with {} axes", self.axis, self.shape.len()));
        }
        if self.dtype == DType::Bool {
            return Err("positions are numbers, not bool".to_owned());
        }
        Ok(TensorType { dtype: self.dtype, shape: self.shape.clone() })
    }

    fn evaluate(&self, _: &[&Array], result: &TensorType, _: &Context<'_>) -> Array {
        Array::from_fn(result.clone(), |index| index[self.axis] as f64)
    }

    fn differentiable(&self, _: usize) -> bool {
        false
    }

    fn gradient(&self, _: &mut dyn Emit, _: &Application<'_>) -> Result<Cotangents, String> {
        Ok(Cotangents::new())
    }
}

/// Distribution of random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RandomKind {
    /// Uniform in [0, 1).
    Uniform,
    /// Standard normal.
    Normal,
}

/// Independent random numbers, fresh each step: a function of seed, stream, step and the
/// row-major index of the element ([`cygnet_runtime::random`]).
///
/// A stream is named by its place in the program: equal streams may be merged, distinct ones never.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Random {
    /// Distribution.
    pub kind: RandomKind,
    /// Name of the stream, a hash of instance path and place.
    pub stream: u64,
    /// F32 or F64.
    pub dtype: DType,
    /// Shape of the tensor.
    pub shape: Shape,
}

impl Primitive for Random {
    fn name(&self) -> &'static str {
        match self.kind {
            RandomKind::Uniform => "uniform",
            RandomKind::Normal => "normal",
        }
    }

    fn doc(&self) -> &'static str {
        match self.kind {
            RandomKind::Uniform => "random numbers, uniform in [0, 1)",
            RandomKind::Normal => "random numbers of the standard normal distribution",
        }
    }

    fn attributes(&self) -> String {
        format!("stream={:016x}", self.stream)
    }

    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [] = operands_of(operands)?;
        if !self.dtype.is_float() {
            return Err(format!("random numbers are f32 or f64, not {}", self.dtype));
        }
        Ok(TensorType { dtype: self.dtype, shape: self.shape.clone() })
    }

    fn evaluate(&self, _: &[&Array], result: &TensorType, context: &Context<'_>) -> Array {
        let draw = match self.kind {
            RandomKind::Uniform => random::uniform,
            RandomKind::Normal => random::normal,
        };
        let value = |index| f64::from(draw(context.seed, self.stream, context.step, index as u64));
        Array::new(result.clone(), (0..result.elements()).map(value).collect())
    }

    fn differentiable(&self, _: usize) -> bool {
        false
    }

    fn gradient(&self, _: &mut dyn Emit, _: &Application<'_>) -> Result<Cotangents, String> {
        Ok(Cotangents::new())
    }
}
