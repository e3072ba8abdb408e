//! Vectors of 8 lanes in AVX registers, with AVX2 and FMA.

use std::arch::x86_64::*;
use std::ops::{BitAnd, BitOr, BitXor, Neg, Not};

use super::operators::{intrinsic, operators};
use super::{Arithmetic, IntegerVector, Mask, Vector, WideIntegerVector, WideVector};

/// Rounding to the nearest integer, ties to even, without a precision exception.
const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

/// 8 single-precision numbers.
#[derive(Clone, Copy)]
pub(crate) struct F32x8(pub(super) __m256);

/// 8 integers.
#[derive(Clone, Copy)]
pub(crate) struct I32x8(__m256i);

/// 8 double-precision numbers, in two registers.
#[derive(Clone, Copy)]
pub(crate) struct F64x8(__m256d, __m256d);

/// 8 64-bit integers: those of even lanes in one register, those of odd lanes in the other.
#[derive(Clone, Copy)]
pub(crate) struct U64x8(__m256i, __m256i);

/// 8 truth values: lanes of all ones or all zeros.
#[derive(Clone, Copy)]
pub(crate) struct Mask8(__m256);

impl From<__m256> for F32x8 {
    #[inline(always)]
    fn from(lanes: __m256) -> F32x8 {
        F32x8(lanes)
    }
}

impl F32x8 {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(__m256, __m256) -> __m256) -> Self {
        F32x8(f(self.0, other.0))
    }
}

impl I32x8 {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(__m256i, __m256i) -> __m256i) -> Self {
        I32x8(f(self.0, other.0))
    }
}

impl F64x8 {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(__m256d, __m256d) -> __m256d) -> Self {
        F64x8(f(self.0, other.0), f(self.1, other.1))
    }
}

operators! { F32x8, f32;
    Add add _mm256_add_ps;
    Sub sub _mm256_sub_ps;
    Mul mul _mm256_mul_ps;
    Div div _mm256_div_ps;
}

operators! { F64x8, f64;
    Add add _mm256_add_pd;
    Sub sub _mm256_sub_pd;
    Mul mul _mm256_mul_pd;
    Div div _mm256_div_pd;
}

operators! { I32x8, u32;
    Add add _mm256_add_epi32;
    Sub sub _mm256_sub_epi32;
    BitAnd bitand _mm256_and_si256;
    BitOr bitor _mm256_or_si256;
    BitXor bitxor _mm256_xor_si256;
}

impl Neg for F32x8 {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        F32x8(intrinsic!(_mm256_xor_ps(self.0, _mm256_set1_ps(-0.0))))
    }
}

impl Neg for F64x8 {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        self.zip(self.splat(-0.0), |a, b| intrinsic!(_mm256_xor_pd(a, b)))
    }
}

impl BitAnd for Mask8 {
    type Output = Self;
    #[inline(always)]
    fn bitand(self, other: Self) -> Self {
        Mask8(intrinsic!(_mm256_and_ps(self.0, other.0)))
    }
}

impl BitOr for Mask8 {
    type Output = Self;
    #[inline(always)]
    fn bitor(self, other: Self) -> Self {
        Mask8(intrinsic!(_mm256_or_ps(self.0, other.0)))
    }
}

impl Not for Mask8 {
    type Output = Self;
    #[inline(always)]
    fn not(self) -> Self {
        Mask8(intrinsic!(_mm256_xor_ps(self.0, _mm256_castsi256_ps(_mm256_set1_epi32(-1)))))
    }
}

impl Mask for Mask8 {
    #[inline(always)]
    fn any(self) -> bool {
        intrinsic!(_mm256_movemask_ps(self.0)) != 0
    }
}

impl IntegerVector for I32x8 {
    type Float = F32x8;
    type Wide = U64x8;

    #[inline(always)]
    fn splat(self, value: u32) -> Self {
        I32x8(intrinsic!(_mm256_set1_epi32(value.cast_signed())))
    }

    #[inline(always)]
    fn lane_numbers(self) -> Self {
        I32x8(intrinsic!(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)))
    }

    #[inline(always)]
    fn shift_left<const BITS: u32>(self) -> Self {
        I32x8(intrinsic!(_mm256_sllv_epi32(self.0, _mm256_set1_epi32(BITS.cast_signed()))))
    }

    #[inline(always)]
    fn shift_right<const BITS: u32>(self) -> Self {
        I32x8(intrinsic!(_mm256_srlv_epi32(self.0, _mm256_set1_epi32(BITS.cast_signed()))))
    }

    #[inline(always)]
    fn shift_right_signed<const BITS: u32>(self) -> Self {
        I32x8(intrinsic!(_mm256_srav_epi32(self.0, _mm256_set1_epi32(BITS.cast_signed()))))
    }

    #[inline(always)]
    fn to_float(self) -> F32x8 {
        F32x8(intrinsic!(_mm256_cvtepi32_ps(self.0)))
    }

    #[inline(always)]
    fn as_float(self) -> F32x8 {
        F32x8(intrinsic!(_mm256_castsi256_ps(self.0)))
    }

    #[inline(always)]
    fn is_zero(self) -> Mask8 {
        Mask8(intrinsic!(_mm256_castsi256_ps(_mm256_cmpeq_epi32(self.0, _mm256_setzero_si256()))))
    }

    #[inline(always)]
    fn widen(self) -> U64x8 {
        U64x8(self.0, intrinsic!(_mm256_srli_epi64::<32>(self.0)))
    }
}

impl BitXor for U64x8 {
    type Output = Self;
    #[inline(always)]
    fn bitxor(self, other: Self) -> Self {
        U64x8(
            intrinsic!(_mm256_xor_si256(self.0, other.0)),
            intrinsic!(_mm256_xor_si256(self.1, other.1)),
        )
    }
}

impl WideIntegerVector for U64x8 {
    type Narrow = I32x8;

    #[inline(always)]
    fn splat(self, value: u64) -> Self {
        let register = intrinsic!(_mm256_set1_epi64x(value.cast_signed()));
        U64x8(register, register)
    }

    #[inline(always)]
    fn multiply_low_halves(self, other: Self) -> Self {
        U64x8(
            intrinsic!(_mm256_mul_epu32(self.0, other.0)),
            intrinsic!(_mm256_mul_epu32(self.1, other.1)),
        )
    }

    #[inline(always)]
    fn high_half(self) -> Self {
        U64x8(
            intrinsic!(_mm256_srli_epi64::<32>(self.0)),
            intrinsic!(_mm256_srli_epi64::<32>(self.1)),
        )
    }

    #[inline(always)]
    fn narrow(self) -> I32x8 {
        let odd = intrinsic!(_mm256_slli_epi64::<32>(self.1));
        I32x8(intrinsic!(_mm256_blend_epi32::<0xaa>(self.0, odd)))
    }
}

impl Arithmetic<f32> for F32x8 {
    #[inline(always)]
    fn splat(self, value: f32) -> Self {
        F32x8(intrinsic!(_mm256_set1_ps(value)))
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        F32x8(intrinsic!(_mm256_fmadd_ps(self.0, factor.0, addend.0)))
    }

    #[inline(always)]
    fn round(self) -> Self {
        F32x8(intrinsic!(_mm256_round_ps::<NEAREST>(self.0)))
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        F32x8(intrinsic!(_mm256_min_ps(self.0, other.0)))
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        F32x8(intrinsic!(_mm256_max_ps(self.0, other.0)))
    }
}

impl Vector for F32x8 {
    const LANES: usize = 8;
    type Mask = Mask8;
    type Integer = I32x8;
    type Wide = F64x8;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's promise.
        F32x8(unsafe { _mm256_loadu_ps(from) })
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Self {
        // SAFETY: the caller's promise; masked lanes are not read.
        F32x8(unsafe { _mm256_maskload_ps(from, first_lanes(count)) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { _mm256_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        // SAFETY: the caller's promise; masked lanes are not written.
        unsafe { _mm256_maskstore_ps(to, first_lanes(count), self.0) }
    }

    #[inline(always)]
    fn fused_mul_add(self, factor: Self, addend: Self) -> Self {
        self.mul_add(factor, addend)
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        F32x8(intrinsic!(_mm256_sqrt_ps(self.0)))
    }

    #[inline(always)]
    fn less(self, other: Self) -> Mask8 {
        Mask8(intrinsic!(_mm256_cmp_ps::<_CMP_LT_OQ>(self.0, other.0)))
    }

    #[inline(always)]
    fn equal(self, other: Self) -> Mask8 {
        Mask8(intrinsic!(_mm256_cmp_ps::<_CMP_EQ_OQ>(self.0, other.0)))
    }

    #[inline(always)]
    fn is_nan(self) -> Mask8 {
        Mask8(intrinsic!(_mm256_cmp_ps::<_CMP_UNORD_Q>(self.0, self.0)))
    }

    #[inline(always)]
    fn select(mask: Mask8, yes: Self, no: Self) -> Self {
        F32x8(intrinsic!(_mm256_blendv_ps(no.0, yes.0, mask.0)))
    }

    #[inline(always)]
    fn bits(self) -> I32x8 {
        I32x8(intrinsic!(_mm256_castps_si256(self.0)))
    }

    #[inline(always)]
    fn round_to_integer(self) -> I32x8 {
        I32x8(intrinsic!(_mm256_cvtps_epi32(self.0)))
    }

    #[inline(always)]
    fn widen(self) -> F64x8 {
        F64x8(
            intrinsic!(_mm256_cvtps_pd(_mm256_castps256_ps128(self.0))),
            intrinsic!(_mm256_cvtps_pd(_mm256_extractf128_ps::<1>(self.0))),
        )
    }
}

/// The mask whose first `count` lanes, of 8, have all bits set.
///
/// # Safety
///
/// The processor has AVX2.
#[inline(always)]
unsafe fn first_lanes(count: usize) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), lane)
    }
}

impl Arithmetic<f64> for F64x8 {
    #[inline(always)]
    fn splat(self, value: f64) -> Self {
        let register = intrinsic!(_mm256_set1_pd(value));
        F64x8(register, register)
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        F64x8(
            intrinsic!(_mm256_fmadd_pd(self.0, factor.0, addend.0)),
            intrinsic!(_mm256_fmadd_pd(self.1, factor.1, addend.1)),
        )
    }

    #[inline(always)]
    fn round(self) -> Self {
        F64x8(
            intrinsic!(_mm256_round_pd::<NEAREST>(self.0)),
            intrinsic!(_mm256_round_pd::<NEAREST>(self.1)),
        )
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| intrinsic!(_mm256_min_pd(a, b)))
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| intrinsic!(_mm256_max_pd(a, b)))
    }
}

impl WideVector for F64x8 {
    type Narrow = F32x8;

    #[inline(always)]
    fn narrow(self) -> F32x8 {
        F32x8(intrinsic!(_mm256_set_m128(_mm256_cvtpd_ps(self.1), _mm256_cvtpd_ps(self.0))))
    }
}
