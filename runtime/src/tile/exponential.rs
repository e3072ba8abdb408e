//! The exponential function and its relatives that are accurate near zero.

use std::f32::consts::LOG2_E;

use super::Unary;
use crate::simd::Vector;

/// ln 2 in two parts; the first has 9 significant bits, so that its products with exponents are
/// exact.
pub(super) const LN_2_HIGH: f32 = 355.0 / 512.0;
/// ln 2 - [`LN_2_HIGH`].
pub(super) const LN_2_LOW: f32 = -2.121_944_4e-4;

/// e to the power x.
pub(super) struct Exp;

impl Unary for Exp {
    #[inline(always)]
    fn vector<V: Vector>(x: V) -> V {
        exp(x)
    }

    fn scalar(x: f64) -> f64 {
        libm::exp(x)
    }
}

/// e to the power x, minus one.
pub(super) struct Expm1;

impl Unary for Expm1 {
    /// With x = n ln 2 + r as for the exponential: 2^n (e^r - 1) + (2^n - 1), in halves because
    /// 2^n itself may overflow.
    #[inline(always)]
    fn vector<V: Vector>(x: V) -> V {
        let (n, r) = reduce(limited(x));
        // r + r^2 q(r), error 2^-31.
        let q = r.polynomial([
            0.5,
            0.166_666_67,
            0.041_666_49,
            0.008_333_208,
            0.001_393_267_3,
            0.000_199_442_89,
        ]);
        let expm1_r = (r * r).mul_add(q, r);
        let half_power = x.splat(0.5).scale(n);
        let half = half_power.mul_add(expm1_r, half_power - 0.5);
        // Tiny arguments are their own result, -0 and subnormals among them.
        V::select(x.abs().less(x.splat(1e-8)), x, half + half)
    }

    fn scalar(x: f64) -> f64 {
        libm::expm1(x)
    }
}

/// e to the power x.
#[inline(always)]
pub(super) fn exp<V: Vector>(x: V) -> V {
    let (n, r) = reduce(limited(x));
    exp_reduced(n, r)
}

/// e to the power `high + low`, where `low` is the rounding error of `high`, which is at least -120 and no
/// higher than the exponential allows.
#[inline(always)]
pub(super) fn exp_of_sum<V: Vector>(high: V, low: V) -> V {
    let (n, r) = reduce(high);
    exp_reduced(n, r + low)
}

/// x within limits beyond which the exponential overflows or vanishes.
#[inline(always)]
pub(super) fn limited<V: Vector>(x: V) -> V {
    // In this order of operands a NaN goes through.
    x.splat(-104.0).max(x.splat(89.0).min(x))
}

/// Writes x as n ln 2 + r with integral n and |r| <= (ln 2) / 2 (Cody and Waite, "Software
/// Manual for the Elementary Functions", 1980, chapter 6). Returns (n, r).
#[inline(always)]
fn reduce<V: Vector>(x: V) -> (V, V) {
    let n = (x * LOG2_E).round();
    let r = n.mul_add(n.splat(-LN_2_HIGH), x);
    (n, n.mul_add(n.splat(-LN_2_LOW), r))
}

/// 2^n e^r for |r| <= (ln 2) / 2.
#[inline(always)]
fn exp_reduced<V: Vector>(n: V, r: V) -> V {
    // 1 + r + r^2 q(r), error 2^-28; q by Estrin's scheme, since it is the end of a long chain.
    let square = r * r;
    let low = r.polynomial([0.499_999_94, 0.166_665_21]);
    let high = r.polynomial([0.041_668_266, 0.008_368_685]);
    let q = square.mul_add(square.mul_add(r.splat(0.001_382_097_3), high), low);
    (square.mul_add(q, r) + 1.0).scale(n)
}
