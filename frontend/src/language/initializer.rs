//! How parameters and states start.

use std::fmt;

use cygnet_compiler::types::{DType, TensorType};
use cygnet_runtime::random;
use cygnet_runtime::tensor::Tensor;
use serde::Serialize;

/// A distribution of initial values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Initializer {
    /// One value everywhere.
    Constant {
        /// The value.
        value: f64,
    },
    /// Independent and uniform in `[low, high)`.
    Uniform {
        /// Lower bound.
        low: f64,
        /// Upper bound.
        high: f64,
    },
    /// Independent and normal.
    Normal {
        /// Mean.
        mean: f64,
        /// Standard deviation.
        std: f64,
    },
}

impl Initializer {
    /// Zero everywhere.
    pub const ZEROS: Initializer = Initializer::Constant { value: 0.0 };
}

impl fmt::Display for Initializer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Initializer::Constant { value } => write!(f, "{value}"),
            Initializer::Uniform { low, high } => write!(f, "uniform({low}, {high})"),
            Initializer::Normal { mean, std } => write!(f, "normal({mean}, {std})"),
        }
    }
}

/// The value of the parameter at `path` before the first step.
///
/// Random numbers come from the stream named by the path, so that they depend on neither the other
/// parameters nor their order.
pub fn initialize(initializer: &Initializer, seed: u64, path: &str, ty: &TensorType) -> Tensor {
    let mut tensor = Tensor::zeros(ty.dtype, &ty.shape);
    initialize_into(initializer, seed, path, ty.dtype, tensor.bytes_mut());
    tensor
}

/// As [`initialize`], into the bytes of a row-major tensor.
pub fn initialize_into(
    initializer: &Initializer,
    seed: u64,
    path: &str,
    dtype: DType,
    bytes: &mut [u8],
) {
    let stream = stream_number(&format!("{path}#initial"));
    let value = |index: usize| {
        let index = index as u64;
        match *initializer {
            Initializer::Constant { value } => value,
            Initializer::Uniform { low, high } => {
                low + (high - low) * f64::from(random::uniform(seed, stream, 0, index))
            }
            Initializer::Normal { mean, std } => {
                mean + std * f64::from(random::normal(seed, stream, 0, index))
            }
        }
    };
    match dtype {
        DType::F32 => fill(bytes, |index| (value(index) as f32).to_ne_bytes()),
        DType::F64 => fill(bytes, |index| value(index).to_ne_bytes()),
        DType::I32 => fill(bytes, |index| (value(index) as i32).to_ne_bytes()),
        DType::U8 => fill(bytes, |index| [value(index) as u8]),
        DType::Bool => fill(bytes, |index| [u8::from(value(index) != 0.0)]),
    }
}

/// Sets each element of a tensor's bytes.
fn fill<const SIZE: usize>(bytes: &mut [u8], element: impl Fn(usize) -> [u8; SIZE]) {
    for (index, bytes) in bytes.as_chunks_mut().0.iter_mut().enumerate() {
        *bytes = element(index);
    }
}

/// The number of the random stream with this name: 64-bit FNV-1a, the same in every build.
pub fn stream_number(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_distribution_and_depend_on_the_path() {
        let ty = TensorType::new(DType::F32, &[100, 100]);
        let uniform = Initializer::Uniform { low: -0.5, high: 0.5 };
        let a = initialize(&uniform, 1, "a", &ty);
        assert!(a.as_slice::<f32>().iter().all(|x| (-0.5..0.5).contains(x)));
        let mean = a.as_slice::<f32>().iter().sum::<f32>() / 1e4;
        assert!(mean.abs() < 0.02, "{mean}");
        assert_eq!(a, initialize(&uniform, 1, "a", &ty));
        assert_ne!(a, initialize(&uniform, 1, "b", &ty));
        assert_ne!(a, initialize(&uniform, 2, "a", &ty));

        let normal = initialize(&Initializer::Normal { mean: 1.0, std: 2.0 }, 1, "a", &ty);
        let values = normal.as_slice::<f32>();
        let mean = values.iter().sum::<f32>() / 1e4;
        let deviation = (values.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / 1e4).sqrt();
        assert!((mean - 1.0).abs() < 0.1 && (deviation - 2.0).abs() < 0.1, "{mean} {deviation}");

        let ones = initialize(&Initializer::Constant { value: 1.0 }, 1, "a", &ty);
        assert!(ones.as_slice::<f32>().iter().all(|&x| x == 1.0));
    }
}
