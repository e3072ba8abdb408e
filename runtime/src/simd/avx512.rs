//! Vectors of 16 lanes in AVX-512 registers (F, DQ, VL and BW).

use std::arch::x86_64::*;
use std::ops::{BitAnd, BitOr, BitXor, Neg, Not};

use super::operators::{intrinsic, operators};
use super::{Arithmetic, IntegerVector, Mask, Vector, WideIntegerVector, WideVector};

/// Rounding to the nearest integer, ties to even, without a precision exception.
const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

/// 16 single-precision numbers.
#[derive(Clone, Copy)]
pub(crate) struct F32x16(pub(super) __m512);

/// 16 integers.
#[derive(Clone, Copy)]
pub(crate) struct I32x16(__m512i);

/// 16 double-precision numbers, in two registers.
#[derive(Clone, Copy)]
pub(crate) struct F64x16(__m512d, __m512d);

/// 16 64-bit integers: those of even lanes in one register, those of odd lanes in the other.
#[derive(Clone, Copy)]
pub(crate) struct U64x16(__m512i, __m512i);

/// 16 truth values, one bit each.
#[derive(Clone, Copy)]
pub(crate) struct Mask16(__mmask16);

impl From<__m512> for F32x16 {
    #[inline(always)]
    fn from(lanes: __m512) -> F32x16 {
        F32x16(lanes)
    }
}

impl F32x16 {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(__m512, __m512) -> __m512) -> Self {
        F32x16(f(self.0, other.0))
    }
}

impl I32x16 {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(__m512i, __m512i) -> __m512i) -> Self {
        I32x16(f(self.0, other.0))
    }
}

impl F64x16 {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(__m512d, __m512d) -> __m512d) -> Self {
        F64x16(f(self.0, other.0), f(self.1, other.1))
    }
}

operators! { F32x16, f32;
    Add add _mm512_add_ps;
    Sub sub _mm512_sub_ps;
    Mul mul _mm512_mul_ps;
    Div div _mm512_div_ps;
}

operators! { F64x16, f64;
    Add add _mm512_add_pd;
    Sub sub _mm512_sub_pd;
    Mul mul _mm512_mul_pd;
    Div div _mm512_div_pd;
}

operators! { I32x16, u32;
    Add add _mm512_add_epi32;
    Sub sub _mm512_sub_epi32;
    BitAnd bitand _mm512_and_si512;
    BitOr bitor _mm512_or_si512;
    BitXor bitxor _mm512_xor_si512;
}

impl Neg for F32x16 {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        F32x16(intrinsic!(_mm512_xor_ps(self.0, _mm512_set1_ps(-0.0))))
    }
}

impl Neg for F64x16 {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        self.zip(self.splat(-0.0), |a, b| intrinsic!(_mm512_xor_pd(a, b)))
    }
}

impl BitAnd for Mask16 {
    type Output = Self;
    #[inline(always)]
    fn bitand(self, other: Self) -> Self {
        Mask16(self.0 & other.0)
    }
}

impl BitOr for Mask16 {
    type Output = Self;
    #[inline(always)]
    fn bitor(self, other: Self) -> Self {
        Mask16(self.0 | other.0)
    }
}

impl Not for Mask16 {
    type Output = Self;
    #[inline(always)]
    fn not(self) -> Self {
        Mask16(!self.0)
    }
}

impl Mask for Mask16 {
    #[inline(always)]
    fn any(self) -> bool {
        self.0 != 0
    }
}

impl IntegerVector for I32x16 {
    type Float = F32x16;
    type Wide = U64x16;

    #[inline(always)]
    fn splat(self, value: u32) -> Self {
        I32x16(intrinsic!(_mm512_set1_epi32(value.cast_signed())))
    }

    #[inline(always)]
    fn lane_numbers(self) -> Self {
        I32x16(intrinsic!(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)))
    }

    #[inline(always)]
    fn shift_left<const BITS: u32>(self) -> Self {
        I32x16(intrinsic!(_mm512_slli_epi32::<BITS>(self.0)))
    }

    #[inline(always)]
    fn shift_right<const BITS: u32>(self) -> Self {
        I32x16(intrinsic!(_mm512_srli_epi32::<BITS>(self.0)))
    }

    #[inline(always)]
    fn shift_right_signed<const BITS: u32>(self) -> Self {
        I32x16(intrinsic!(_mm512_srai_epi32::<BITS>(self.0)))
    }

    #[inline(always)]
    fn to_float(self) -> F32x16 {
        F32x16(intrinsic!(_mm512_cvtepi32_ps(self.0)))
    }

    #[inline(always)]
    fn as_float(self) -> F32x16 {
        F32x16(intrinsic!(_mm512_castsi512_ps(self.0)))
    }

    #[inline(always)]
    fn is_zero(self) -> Mask16 {
        Mask16(intrinsic!(_mm512_testn_epi32_mask(self.0, self.0)))
    }

    #[inline(always)]
    fn widen(self) -> U64x16 {
        U64x16(self.0, intrinsic!(_mm512_srli_epi64::<32>(self.0)))
    }
}

impl BitXor for U64x16 {
    type Output = Self;
    #[inline(always)]
    fn bitxor(self, other: Self) -> Self {
        U64x16(
            intrinsic!(_mm512_xor_si512(self.0, other.0)),
            intrinsic!(_mm512_xor_si512(self.1, other.1)),
        )
    }
}

impl WideIntegerVector for U64x16 {
    type Narrow = I32x16;

    #[inline(always)]
    fn splat(self, value: u64) -> Self {
        let register = intrinsic!(_mm512_set1_epi64(value.cast_signed()));
        U64x16(register, register)
    }

    #[inline(always)]
    fn multiply_low_halves(self, other: Self) -> Self {
        U64x16(
            intrinsic!(_mm512_mul_epu32(self.0, other.0)),
            intrinsic!(_mm512_mul_epu32(self.1, other.1)),
        )
    }

    #[inline(always)]
    fn high_half(self) -> Self {
        U64x16(
            intrinsic!(_mm512_srli_epi64::<32>(self.0)),
            intrinsic!(_mm512_srli_epi64::<32>(self.1)),
        )
    }

    #[inline(always)]
    fn narrow(self) -> I32x16 {
        let odd = intrinsic!(_mm512_slli_epi64::<32>(self.1));
        I32x16(intrinsic!(_mm512_mask_blend_epi32(0xaaaa, self.0, odd)))
    }
}

impl Arithmetic<f32> for F32x16 {
    #[inline(always)]
    fn splat(self, value: f32) -> Self {
        F32x16(intrinsic!(_mm512_set1_ps(value)))
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        F32x16(intrinsic!(_mm512_fmadd_ps(self.0, factor.0, addend.0)))
    }

    #[inline(always)]
    fn round(self) -> Self {
        F32x16(intrinsic!(_mm512_roundscale_ps::<NEAREST>(self.0)))
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        F32x16(intrinsic!(_mm512_min_ps(self.0, other.0)))
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        F32x16(intrinsic!(_mm512_max_ps(self.0, other.0)))
    }
}

impl Vector for F32x16 {
    const LANES: usize = 16;
    type Mask = Mask16;
    type Integer = I32x16;
    type Wide = F64x16;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's promise.
        F32x16(unsafe { _mm512_loadu_ps(from) })
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Self {
        // SAFETY: the caller's promise; masked lanes are not read.
        F32x16(unsafe { _mm512_maskz_loadu_ps(first_lanes(count), from) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { _mm512_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        // SAFETY: the caller's promise; masked lanes are not written.
        unsafe { _mm512_mask_storeu_ps(to, first_lanes(count), self.0) }
    }

    #[inline(always)]
    fn fused_mul_add(self, factor: Self, addend: Self) -> Self {
        self.mul_add(factor, addend)
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        F32x16(intrinsic!(_mm512_sqrt_ps(self.0)))
    }

    /// An estimate of the reciprocal with 14 bits, one Newton step, and one for the quotient:
    /// Intel's processors divide 16 numbers in as many cycles, but do this in four.
    #[inline(always)]
    fn near_quotient(self, divisor: Self) -> Self {
        let estimate = F32x16(intrinsic!(_mm512_rcp14_ps(divisor.0)));
        let error = (-divisor).mul_add(estimate, self.splat(1.0));
        let reciprocal = estimate.mul_add(error, estimate);
        let quotient = self * reciprocal;
        let rest = (-divisor).mul_add(quotient, self);
        rest.mul_add(reciprocal, quotient)
    }

    #[inline(always)]
    fn less(self, other: Self) -> Mask16 {
        Mask16(intrinsic!(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, other.0)))
    }

    #[inline(always)]
    fn equal(self, other: Self) -> Mask16 {
        Mask16(intrinsic!(_mm512_cmp_ps_mask::<_CMP_EQ_OQ>(self.0, other.0)))
    }

    #[inline(always)]
    fn is_nan(self) -> Mask16 {
        Mask16(intrinsic!(_mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self.0, self.0)))
    }

    #[inline(always)]
    fn select(mask: Mask16, yes: Self, no: Self) -> Self {
        F32x16(intrinsic!(_mm512_mask_blend_ps(mask.0, no.0, yes.0)))
    }

    #[inline(always)]
    fn bits(self) -> I32x16 {
        I32x16(intrinsic!(_mm512_castps_si512(self.0)))
    }

    #[inline(always)]
    fn round_to_integer(self) -> I32x16 {
        I32x16(intrinsic!(_mm512_cvtps_epi32(self.0)))
    }

    #[inline(always)]
    fn widen(self) -> F64x16 {
        F64x16(
            intrinsic!(_mm512_cvtps_pd(_mm512_castps512_ps256(self.0))),
            intrinsic!(_mm512_cvtps_pd(_mm512_extractf32x8_ps::<1>(self.0))),
        )
    }

    #[inline(always)]
    fn scale(self, exponent: Self) -> Self {
        F32x16(intrinsic!(_mm512_scalef_ps(self.0, exponent.0)))
    }
}

/// The mask whose first `count` lanes, of 16, are true.
#[inline(always)]
fn first_lanes(count: usize) -> __mmask16 {
    ((1u32 << count) - 1) as __mmask16
}

impl Arithmetic<f64> for F64x16 {
    #[inline(always)]
    fn splat(self, value: f64) -> Self {
        let register = intrinsic!(_mm512_set1_pd(value));
        F64x16(register, register)
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        F64x16(
            intrinsic!(_mm512_fmadd_pd(self.0, factor.0, addend.0)),
            intrinsic!(_mm512_fmadd_pd(self.1, factor.1, addend.1)),
        )
    }

    #[inline(always)]
    fn round(self) -> Self {
        F64x16(
            intrinsic!(_mm512_roundscale_pd::<NEAREST>(self.0)),
            intrinsic!(_mm512_roundscale_pd::<NEAREST>(self.1)),
        )
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| intrinsic!(_mm512_min_pd(a, b)))
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| intrinsic!(_mm512_max_pd(a, b)))
    }
}

impl WideVector for F64x16 {
    type Narrow = F32x16;

    #[inline(always)]
    fn narrow(self) -> F32x16 {
        F32x16(intrinsic!(_mm512_insertf32x8::<1>(
            _mm512_castps256_ps512(_mm512_cvtpd_ps(self.0)),
            _mm512_cvtpd_ps(self.1)
        )))
    }
}
