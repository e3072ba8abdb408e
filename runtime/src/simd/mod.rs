//! Vectors of single-precision lanes, so that an algorithm is written once for every instruction
//! set.
//!
//! An algorithm is a generic `#[inline(always)]` function over [`Vector`]; [`multiversion!`]
//! compiles it once for each [`Cpu`](crate::cpu::Cpu). There are three implementations:
//! `avx512::F32x16`, `avx2::F32x8` and `portable::Lanes`.
//!
//! # Safety
//!
//! Executing an instruction that the processor lacks is undefined behaviour. Vectors of a type
//! come into being only by the unsafe loads, whose callers promise that the instructions exist;
//! everything else needs a vector to start from, and is safe. That is why [`Arithmetic::splat`]
//! takes `self`: for the proof it is, not for its value.

mod across;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "x86_64")]
mod operators;
mod places;
pub(crate) mod portable;
#[cfg(test)]
mod tests;

pub(crate) use across::AcrossLanes;
pub(crate) use places::FromPlaces;

use std::ops::{Add, BitAnd, BitOr, BitXor, Div, Mul, Neg, Not, Sub};

use crate::cpu::Cpu;

/// The largest [`Vector::LANES`] of any implementation.
pub(crate) const MAX_LANES: usize = 16;

/// Lanes of the vectors that [`multiversion!`] compiles for `cpu`.
pub(crate) fn lanes(cpu: Cpu) -> usize {
    match cpu {
        Cpu::Avx512 => 16,
        Cpu::Avx2 | Cpu::Portable => 8,
    }
}

/// The sign bit of a single-precision number.
pub(crate) const SIGN: u32 = 0x8000_0000;

/// Arithmetic of vectors with vectors and with scalars.
pub(crate) trait Arithmetic<Scalar>:
    Copy
    + Neg<Output = Self>
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Add<Scalar, Output = Self>
    + Sub<Scalar, Output = Self>
    + Mul<Scalar, Output = Self>
{
    /// `value` in every lane.
    fn splat(self, value: Scalar) -> Self;

    /// `self * factor + addend`; rounded once where the processor can, else twice.
    fn mul_add(self, factor: Self, addend: Self) -> Self;

    /// The nearest integer, ties to even.
    fn round(self) -> Self;

    /// The lesser of two; `other` if either is NaN.
    fn min(self, other: Self) -> Self;

    /// The greater of two; `other` if either is NaN.
    fn max(self, other: Self) -> Self;

    /// The polynomial in `self` with these coefficients, constant term first, by Horner's rule.
    #[inline(always)]
    fn polynomial<const N: usize>(self, coefficients: [Scalar; N]) -> Self
    where
        Scalar: Copy,
    {
        let mut sum = self.splat(coefficients[N - 1]);
        for &coefficient in coefficients[..N - 1].iter().rev() {
            sum = sum.mul_add(self, self.splat(coefficient));
        }
        sum
    }
}

/// A truth value for each lane.
pub(crate) trait Mask:
    Copy + BitAnd<Output = Self> + BitOr<Output = Self> + Not<Output = Self>
{
    /// Whether any lane is true.
    fn any(self) -> bool;
}

/// A 32-bit integer in each lane; arithmetic wraps.
pub(crate) trait IntegerVector:
    Copy
    + Add<Output = Self>
    + Sub<Output = Self>
    + BitAnd<Output = Self>
    + BitOr<Output = Self>
    + BitXor<Output = Self>
    + Add<u32, Output = Self>
    + Sub<u32, Output = Self>
    + BitAnd<u32, Output = Self>
    + BitOr<u32, Output = Self>
{
    /// The vector of floats with the same number of lanes.
    type Float: Vector<Integer = Self>;
    /// The vector of 64-bit integers with the same number of lanes.
    type Wide: WideIntegerVector<Narrow = Self>;

    /// `value` in every lane.
    fn splat(self, value: u32) -> Self;

    /// The number of the lane in each lane, from 0.
    fn lane_numbers(self) -> Self;

    /// Shifts left by `BITS`, filling with zeros.
    fn shift_left<const BITS: u32>(self) -> Self;

    /// Shifts right by `BITS`, filling with zeros.
    fn shift_right<const BITS: u32>(self) -> Self;

    /// Shifts right by `BITS`, filling with the sign.
    fn shift_right_signed<const BITS: u32>(self) -> Self;

    /// The nearest floats to these signed integers, ties to even.
    fn to_float(self) -> Self::Float;

    /// The floats with these bits.
    fn as_float(self) -> Self::Float;

    /// Which lanes are zero.
    fn is_zero(self) -> <Self::Float as Vector>::Mask;

    /// The same numbers as the low halves of 64-bit integers; the high halves are unspecified.
    fn widen(self) -> Self::Wide;
}

/// A 64-bit integer in each lane, for products of 32-bit integers.
pub(crate) trait WideIntegerVector: Copy + BitXor<Output = Self> {
    /// The vector of 32-bit integers.
    type Narrow: IntegerVector<Wide = Self>;

    /// `value` in every lane.
    fn splat(self, value: u64) -> Self;

    /// The products of the low halves.
    fn multiply_low_halves(self, other: Self) -> Self;

    /// The high half, moved to the low half.
    fn high_half(self) -> Self;

    /// The low halves.
    fn narrow(self) -> Self::Narrow;
}

/// A single-precision number in each lane.
pub(crate) trait Vector: Arithmetic<f32> {
    /// How many lanes there are.
    const LANES: usize;
    /// A truth value for each lane.
    type Mask: Mask;
    /// A 32-bit integer for each lane.
    type Integer: IntegerVector<Float = Self>;
    /// A double-precision number for each lane.
    type Wide: WideVector<Narrow = Self>;

    /// Reads [`LANES`](Vector::LANES) numbers.
    ///
    /// # Safety
    ///
    /// They are readable, and the processor has this type's instructions.
    unsafe fn load(from: *const f32) -> Self;

    /// Reads `count` numbers into the first lanes; the others are zero.
    ///
    /// # Safety
    ///
    /// `count` is at most [`LANES`](Vector::LANES), that many numbers are readable, and the
    /// processor has this type's instructions.
    unsafe fn load_first(from: *const f32, count: usize) -> Self;

    /// Writes all lanes.
    ///
    /// # Safety
    ///
    /// [`LANES`](Vector::LANES) numbers are writable there.
    unsafe fn store(self, to: *mut f32);

    /// Writes the first `count` lanes.
    ///
    /// # Safety
    ///
    /// `count` is at most [`LANES`](Vector::LANES), and that many numbers are writable there.
    unsafe fn store_first(self, to: *mut f32, count: usize);

    /// `self * factor + addend`, rounded once.
    fn fused_mul_add(self, factor: Self, addend: Self) -> Self;

    /// The square root, correctly rounded.
    fn sqrt(self) -> Self;

    /// `self / divisor` up to an error of one unit in the last place, where `divisor` is between
    /// 2^-60 and 2^60 and the quotient is a normal number or zero. A NaN in the divisor is one in
    /// the quotient.
    #[inline(always)]
    fn near_quotient(self, divisor: Self) -> Self {
        self / divisor
    }

    /// `self < other`; false if either is NaN.
    fn less(self, other: Self) -> Self::Mask;

    /// `self == other`; false if either is NaN.
    fn equal(self, other: Self) -> Self::Mask;

    /// Which lanes are NaN.
    fn is_nan(self) -> Self::Mask;

    /// `yes` where the mask is true, `no` elsewhere.
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self;

    /// The bits of the floats.
    fn bits(self) -> Self::Integer;

    /// The nearest integers, ties to even; unspecified from 2^22 on.
    fn round_to_integer(self) -> Self::Integer;

    /// The same numbers in double precision.
    fn widen(self) -> Self::Wide;

    /// The absolute value.
    #[inline(always)]
    fn abs(self) -> Self {
        (self.bits() & !SIGN).as_float()
    }

    /// The sign bit alone.
    #[inline(always)]
    fn sign(self) -> Self::Integer {
        self.bits() & SIGN
    }

    /// Negates the lanes for which `sign`, otherwise zero, has the sign bit.
    #[inline(always)]
    fn flip_sign(self, sign: Self::Integer) -> Self {
        (self.bits() ^ sign).as_float()
    }

    /// `self * 2^exponent` for integral exponents in -250..=250, rounded once also where the
    /// result is subnormal.
    ///
    /// Powers of two beyond the range of normal numbers are split in two factors; the first
    /// product is exact if `1/2 <= |self| <= 2`.
    #[inline(always)]
    fn scale(self, exponent: Self) -> Self {
        let exponent = exponent.round_to_integer();
        let half = exponent.shift_right_signed::<1>();
        self * power_of_two(half) * power_of_two(exponent - half)
    }
}

/// A double-precision number in each lane of a single-precision vector.
pub(crate) trait WideVector: Arithmetic<f64> {
    /// The single-precision vector.
    type Narrow: Vector<Wide = Self>;

    /// Rounds to single precision.
    fn narrow(self) -> Self::Narrow;
}

/// `2^exponent` for exponents in -126..=127.
#[inline(always)]
pub(crate) fn power_of_two<I: IntegerVector>(exponent: I) -> I::Float {
    (exponent + 127).shift_left::<23>().as_float()
}

/// Compiles a generic function once for each instruction set, with the C calling convention, and
/// makes a function that finds the address for a [`Cpu`](crate::cpu::Cpu).
///
/// `multiversion! { name<F: Bound>(parameter: Type, ...) -> Type = implementation; }` declares a
/// module `name` with the function `address::<F>(cpu)`, for a function
/// `unsafe fn implementation<V: Vector, F: Bound>(parameter: Type, ...) -> Type`.
macro_rules! multiversion {
    ($(#[$attribute:meta])* $name:ident $(<$F:ident: $Bound:ident>)?
        ($($parameter:ident: $Type:ty),*) $(-> $Output:ty)? = $implementation:ident;) => {
        $(#[$attribute])*
        mod $name {
            use super::*;
            use $crate::cpu::Cpu;
            #[cfg(target_arch = "x86_64")]
            use $crate::simd::{avx2::F32x8, avx512::F32x16};
            use $crate::simd::portable::Lanes;

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw")]
            unsafe extern "C" fn avx512 $(<$F: $Bound>)? ($($parameter: $Type),*) $(-> $Output)? {
                // SAFETY: the caller's promise, and the instructions enabled above.
                unsafe { $implementation::<F32x16 $(, $F)?>($($parameter),*) }
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            unsafe extern "C" fn avx2 $(<$F: $Bound>)? ($($parameter: $Type),*) $(-> $Output)? {
                // SAFETY: the caller's promise, and the instructions enabled above.
                unsafe { $implementation::<F32x8 $(, $F)?>($($parameter),*) }
            }

            unsafe extern "C" fn portable $(<$F: $Bound>)? ($($parameter: $Type),*) $(-> $Output)? {
                // SAFETY: the caller's promise; no special instructions are used.
                unsafe { $implementation::<Lanes<8> $(, $F)?>($($parameter),*) }
            }

            /// The version for `cpu`, which the machine must support.
            pub(super) fn address $(<$F: $Bound>)? (
                cpu: Cpu,
            ) -> unsafe extern "C" fn($($Type),*) $(-> $Output)? {
                match cpu {
                    #[cfg(target_arch = "x86_64")]
                    Cpu::Avx512 => avx512 $(::<$F>)?,
                    #[cfg(target_arch = "x86_64")]
                    Cpu::Avx2 => avx2 $(::<$F>)?,
                    _ => portable $(::<$F>)?,
                }
            }
        }
    };
}
pub(crate) use multiversion;
