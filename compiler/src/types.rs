//! Tensor types and scalar values.

use std::fmt;

pub use cygnet_runtime::dtype::DType;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

/// Extents, outermost axis first; empty for a scalar.
pub type Shape = SmallVec<[usize; 4]>;

/// A list of axis numbers.
pub type Axes = SmallVec<[usize; 4]>;

/// Element type and shape of a tensor.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TensorType {
    /// Element type.
    pub dtype: DType,
    /// Extents, outermost first.
    #[serde(with = "cygnet_runtime::list")]
    pub shape: Shape,
}

impl TensorType {
    /// The type with this element type and shape.
    pub fn new(dtype: DType, shape: &[usize]) -> TensorType {
        TensorType { dtype, shape: Shape::from_slice(shape) }
    }

    /// The type of a scalar.
    pub fn scalar(dtype: DType) -> TensorType {
        TensorType::new(dtype, &[])
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Bytes of a dense tensor of this type.
    pub fn bytes(&self) -> usize {
        self.elements() * self.dtype.size()
    }

    /// Bytes of a dense tensor of this type; `None` if no memory can hold so many.
    pub fn checked_bytes(&self) -> Option<usize> {
        let bytes = (self.shape.iter())
            .try_fold(self.dtype.size(), |bytes, &extent| bytes.checked_mul(extent))?;
        isize::try_from(bytes).is_ok().then_some(bytes)
    }

    /// The same shape with another element type.
    pub fn with_dtype(&self, dtype: DType) -> TensorType {
        TensorType { dtype, shape: self.shape.clone() }
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[", self.dtype)?;
        for (axis, extent) in self.shape.iter().enumerate() {
            write!(f, "{}{extent}", if axis == 0 { "" } else { ", " })?;
        }
        f.write_str("]")
    }
}

/// A constant of any element type. Every value of every element type is exact in f64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scalar {
    /// Element type.
    pub dtype: DType,
    bits: u64,
}

impl Scalar {
    /// The value nearest to `value` in `dtype`: rounded for f32, truncated and clamped for
    /// integers, compared with zero for booleans.
    pub fn new(dtype: DType, value: f64) -> Scalar {
        let value = match dtype {
            DType::F64 => value,
            DType::F32 => f64::from(value as f32),
            DType::I32 => f64::from(value as i32),
            DType::U8 => f64::from(value as u8),
            DType::Bool => f64::from(u8::from(value != 0.0)),
        };
        Scalar { dtype, bits: value.to_bits() }
    }

    /// The value.
    pub fn value(self) -> f64 {
        f64::from_bits(self.bits)
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.dtype {
            DType::Bool => write!(f, "{}", self.value() != 0.0),
            DType::F32 => write!(f, "{:?}", self.value() as f32),
            DType::F64 => write!(f, "{:?}", self.value()),
            DType::I32 | DType::U8 => write!(f, "{}", self.value() as i64),
        }
    }
}
