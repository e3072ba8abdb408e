//! Tile functions: what generated code calls for a tile of values, about 512 of them in L1.
//!
//! Generated code has no room for the constants of transcendental functions and random numbers; these are
//! computed here with the widest vectors of the processor. A function is declared once, in the
//! table of [`TileFunction`]: a generic single-precision algorithm, compiled for every
//! [`Cpu`], and a double-precision one for checking. A value never depends on its position in the
//! tile or on the tile's length.
//!
//! Polynomial coefficients in this module are minimax fits: linear programming on a dense grid
//! minimizes the largest relative error of the whole result; then the coefficients are rounded to
//! single precision one after another, lowest degree first, each time fitting the rest again.
//! The error left is noted at each.

mod error_function;
mod exponential;
mod hyperbolic;
mod logarithm;
mod power;
mod reduction;
#[cfg(test)]
mod tests;
mod trigonometric;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::cpu::Cpu;
use crate::dtype::DType;
use crate::simd::{Vector, multiversion};

pub(crate) use logarithm::split;
pub use reduction::TileReduction;

/// A function of one argument, as the table takes it.
trait Unary {
    /// In single precision, lane by lane.
    fn vector<V: Vector>(x: V) -> V;

    /// In double precision.
    fn scalar(x: f64) -> f64;
}

/// A function of two arguments, as the table takes it.
trait Binary {
    /// In single precision, lane by lane.
    fn vector<V: Vector>(x: V, y: V) -> V;

    /// In double precision.
    fn scalar(x: f64, y: f64) -> f64;
}

/// Declares [`TileFunction`] from the table of all tile functions.
macro_rules! tile_functions {
    (
        unary { $($(#[$unary_doc:meta])* $Unary:ident $unary_name:literal $unary_ulp:literal $unary:path;)* }
        binary { $($(#[$binary_doc:meta])* $Binary:ident $binary_name:literal $binary_ulp:literal $binary:path;)* }
    ) => {
        /// An elementwise function on tiles.
        ///
        /// With T as `f32` or `f64`, [`address`](TileFunction::address) gives an
        /// `unsafe extern "C" fn(out: *mut T, x: *const T, len: usize)` for one argument, an
        /// `unsafe extern "C" fn(out: *mut T, x: *const T, y: *const T, len: usize)` for two.
        /// The caller promises `len` readable elements at every input and `len` writable ones at
        /// `out`, which is the same as an input or overlaps none.
        ///
        /// NaN propagates but where IEEE 754 says otherwise (`pow(1, y)`, `pow(x, 0)`), and
        /// infinities, signed zeros and subnormals give what the function's limits say. Where a
        /// [`FlushSubnormals`](crate::cpu::FlushSubnormals) is in force, subnormal arguments
        /// may count as zeros, and results be off by up to 2^-122 where something underflows on
        /// the way.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
        )]
        pub enum TileFunction {
            $($(#[$unary_doc])* $Unary,)*
            $($(#[$binary_doc])* $Binary,)*
        }

        impl TileFunction {
            /// All tile functions, in declaration order.
            pub const ALL: &[TileFunction] =
                &[$(TileFunction::$Unary,)* $(TileFunction::$Binary,)*];

            /// The name in listings.
            pub const fn name(self) -> &'static str {
                match self {
                    $(TileFunction::$Unary => $unary_name,)*
                    $(TileFunction::$Binary => $binary_name,)*
                }
            }

            /// The number of arguments, 1 or 2.
            pub const fn arity(self) -> usize {
                match self {
                    $(TileFunction::$Unary => 1,)*
                    $(TileFunction::$Binary => 2,)*
                }
            }

            /// An upper bound of the error in single precision, in units in the last place of the
            /// exact result; for [`Logaddexp`](TileFunction::Logaddexp) and
            /// [`GeluGradient`](TileFunction::GeluGradient), which add terms that may cancel, of
            /// the largest term.
            ///
            /// Measured on every [`Cpu`] with every seventh bit pattern (as many pairs for two
            /// arguments), rounded up. The largest errors of [`Gelu`](TileFunction::Gelu) are far
            /// in its tail, below -5.
            pub const fn max_ulp(self) -> f64 {
                match self {
                    $(TileFunction::$Unary => $unary_ulp,)*
                    $(TileFunction::$Binary => $binary_ulp,)*
                }
            }

            /// The address of the machine code for element type `dtype` on `cpu`; see the type's
            /// documentation for its signature.
            ///
            /// # Panics
            ///
            /// If `dtype` is not a floating-point type or the machine does not support `cpu`.
            pub fn address(self, dtype: DType, cpu: Cpu) -> *const u8 {
                cpu.require();
                match (self, dtype) {
                    $((TileFunction::$Unary, DType::F32) => {
                        unary_f32::address::<$unary>(cpu) as *const u8
                    })*
                    $((TileFunction::$Unary, DType::F64) => unary_f64::<$unary> as *const u8,)*
                    $((TileFunction::$Binary, DType::F32) => {
                        binary_f32::address::<$binary>(cpu) as *const u8
                    })*
                    $((TileFunction::$Binary, DType::F64) => binary_f64::<$binary> as *const u8,)*
                    _ => panic!("no tile function works on {dtype}"),
                }
            }
        }
    };
}

tile_functions! {
    unary {
        /// e to the power x.
        Exp "exp" 1.25 exponential::Exp;
        /// e to the power x, minus one; accurate near zero.
        Expm1 "expm1" 1.75 exponential::Expm1;
        /// Natural logarithm.
        Log "log" 1.25 logarithm::Log;
        /// Natural logarithm of 1 + x; accurate near zero.
        Log1p "log1p" 1.25 logarithm::Log1p;
        /// Sine; arguments of any size are reduced exactly.
        Sin "sin" 2.0 trigonometric::Sin;
        /// Cosine; arguments of any size are reduced exactly.
        Cos "cos" 2.0 trigonometric::Cos;
        /// Hyperbolic tangent.
        Tanh "tanh" 1.5 hyperbolic::Tanh;
        /// Logistic function, 1 / (1 + exp(-x)).
        Sigmoid "sigmoid" 2.5 hyperbolic::Sigmoid;
        /// Error function.
        Erf "erf" 1.5 error_function::Erf;
        /// Gaussian error linear unit, x (1 + erf(x / sqrt 2)) / 2.
        Gelu "gelu" 10.0 error_function::Gelu;
        /// Derivative of the Gaussian error linear unit,
        /// (1 + erf(x / sqrt 2)) / 2 + x exp(-x^2 / 2) / sqrt(2 pi).
        GeluGradient "gelu_gradient" 8.0 error_function::GeluGradient;
    }
    binary {
        /// x to the power y, with the special cases of IEEE 754.
        Pow "pow" 1.0 power::Pow;
        /// log(exp(x) + exp(y)), without overflow.
        Logaddexp "logaddexp" 2.5 logarithm::Logaddexp;
    }
}

impl fmt::Display for TileFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

multiversion! {
    unary_f32<F: Unary>(out: *mut f32, x: *const f32, len: usize) = map_unary;
}

multiversion! {
    binary_f32<F: Binary>(out: *mut f32, x: *const f32, y: *const f32, len: usize) = map_binary;
}

/// Applies `F` to `len` elements.
///
/// # Safety
///
/// As [`TileFunction`] says; and the processor has the instructions of `V`.
#[inline(always)]
unsafe fn map_unary<V: Vector, F: Unary>(out: *mut f32, x: *const f32, len: usize) {
    let whole = len - len % V::LANES;
    for start in (0..whole).step_by(V::LANES) {
        // SAFETY: whole vectors within the `len` elements that the caller vouches for.
        unsafe { F::vector(V::load(x.add(start))).store(out.add(start)) };
    }
    if whole < len {
        let rest = len - whole;
        // SAFETY: the same, for the fewer than `V::LANES` elements left.
        unsafe { F::vector(V::load_first(x.add(whole), rest)).store_first(out.add(whole), rest) };
    }
}

/// Applies `F` to `len` pairs of elements.
///
/// # Safety
///
/// As [`TileFunction`] says; and the processor has the instructions of `V`.
#[inline(always)]
unsafe fn map_binary<V: Vector, F: Binary>(
    out: *mut f32,
    x: *const f32,
    y: *const f32,
    len: usize,
) {
    let whole = len - len % V::LANES;
    for start in (0..whole).step_by(V::LANES) {
        // SAFETY: whole vectors within the `len` elements that the caller vouches for.
        unsafe {
            F::vector(V::load(x.add(start)), V::load(y.add(start))).store(out.add(start));
        }
    }
    if whole < len {
        let rest = len - whole;
        // SAFETY: the same, for the fewer than `V::LANES` elements left.
        unsafe {
            let (x, y) = (V::load_first(x.add(whole), rest), V::load_first(y.add(whole), rest));
            F::vector(x, y).store_first(out.add(whole), rest);
        }
    }
}

/// Applies `F` to `len` elements in double precision.
///
/// # Safety
///
/// As [`TileFunction`] says.
unsafe extern "C" fn unary_f64<F: Unary>(out: *mut f64, x: *const f64, len: usize) {
    for index in 0..len {
        // SAFETY: within the `len` elements that the caller vouches for.
        unsafe { *out.add(index) = F::scalar(*x.add(index)) };
    }
}

/// Applies `F` to `len` pairs of elements in double precision.
///
/// # Safety
///
/// As [`TileFunction`] says.
unsafe extern "C" fn binary_f64<F: Binary>(
    out: *mut f64,
    x: *const f64,
    y: *const f64,
    len: usize,
) {
    for index in 0..len {
        // SAFETY: within the `len` elements that the caller vouches for.
        unsafe { *out.add(index) = F::scalar(*x.add(index), *y.add(index)) };
    }
}
