//! Logarithms.

use super::exponential::{LN_2_HIGH, LN_2_LOW, exp_of_sum, limited};
use super::{Binary, Unary};
use crate::simd::{IntegerVector, Vector};

/// The bits of 0.75, the least significand of [`split`].
const LEAST_SIGNIFICAND: u32 = 0x3f40_0000;

/// The bits of the exponent, and the sign above them.
const EXPONENT: u32 = 0xff80_0000;

/// Natural logarithm.
pub(super) struct Log;

impl Unary for Log {
    #[inline(always)]
    fn vector<V: Vector>(x: V) -> V {
        let (significand, exponent, is_zero) = split(x);
        let result = log_of_product(significand - 1.0, exponent);
        let infinity = x.splat(f32::INFINITY);
        // Infinity and NaN are their own logarithms.
        let result = V::select(x.less(infinity), result, x);
        let result = V::select(x.less(x.splat(0.0)), x.splat(f32::NAN), result);
        V::select(is_zero, -infinity, result)
    }

    fn scalar(x: f64) -> f64 {
        libm::log(x)
    }
}

/// Natural logarithm of 1 + x.
pub(super) struct Log1p;

impl Unary for Log1p {
    #[inline(always)]
    fn vector<V: Vector>(x: V) -> V {
        let result = log1p(x);
        let minus_one = x.splat(-1.0);
        let infinity = x.splat(f32::INFINITY);
        let result = V::select(x.less(infinity), result, x);
        let result = V::select(x.less(minus_one), x.splat(f32::NAN), result);
        let result = V::select(x.equal(minus_one), -infinity, result);
        // Keeps the sign of -0, and subnormals.
        V::select(x.abs().less(x.splat(1e-8)), x, result)
    }

    fn scalar(x: f64) -> f64 {
        libm::log1p(x)
    }
}

/// log(exp(x) + exp(y)).
pub(super) struct Logaddexp;

impl Binary for Logaddexp {
    /// max(x, y) + log1p(exp(-|x - y|)), where the exponential is also given the rounding error
    /// of the difference, which it would amplify.
    #[inline(always)]
    fn vector<V: Vector>(x: V, y: V) -> V {
        let (greater, lesser) = (x.max(y), x.min(y));
        // Infinities of one sign have no difference, but their result is theirs.
        let zero = x.splat(0.0);
        let difference = V::select(x.equal(y), zero, lesser - greater);
        // Knuth's two-sum; without meaning if the difference is infinite.
        let subtracted = lesser - difference;
        let error = (lesser - (difference + subtracted)) + (subtracted - greater);
        let error = V::select(difference.less(x.splat(-104.0)), zero, error);
        // The greater one is `y` if either is NaN, and the difference is NaN then.
        V::select(x.is_nan(), x, greater) + log1p(exp_of_sum(limited(difference), error))
    }

    fn scalar(x: f64, y: f64) -> f64 {
        let difference = if x == y { 0.0 } else { x - y };
        x.max(y) + libm::log1p(libm::exp(-difference.abs()))
    }
}

/// Writes a positive finite x as `significand * 2^exponent`, exactly, with a significand in
/// 0.75..1.5. Returns (significand, exponent, whether x is zero).
#[inline(always)]
pub(crate) fn split<V: Vector>(x: V) -> (V, V, V::Mask) {
    // Subnormals have no exponent bits of their own.
    let subnormal = x.less(x.splat(f32::MIN_POSITIVE));
    let normal = V::select(subnormal, x * 8_388_608.0, x);
    let exponent = (normal.bits() - LEAST_SIGNIFICAND) & EXPONENT;
    let significand = (normal.bits() - exponent).as_float();
    let adjustment = V::select(subnormal, x.splat(-23.0), x.splat(0.0));
    let exponent = exponent.to_float().mul_add(x.splat(f32::EPSILON), adjustment);
    // Subnormals count as zeros if this product flushes them.
    (significand, exponent, normal.equal(x.splat(0.0)))
}

/// The logarithm of 1 + x for finite x > -1; unspecified otherwise.
#[inline(always)]
fn log1p<V: Vector>(x: V) -> V {
    // With 2^k near 1 + x, log(1 + x) = k ln 2 + log(1 + f), f = x 2^-k + (2^-k - 1): the low
    // digits of x that do not fit in 1 + x stay in f. The powers are made in the exponent bits,
    // times four because 2^-k may be subnormal.
    let exponent = ((x + 1.0).bits() - LEAST_SIGNIFICAND) & EXPONENT;
    let scaled = (x.bits() - exponent).as_float();
    let four_power = (x.splat(4.0).bits() - exponent).as_float();
    let f = scaled + four_power.mul_add(x.splat(0.25), x.splat(-1.0));
    log_of_product(f, exponent.to_float() * f32::EPSILON)
}

/// log((1 + f) 2^exponent) for -1/4 <= f <= 1/2.
#[inline(always)]
fn log_of_product<V: Vector>(f: V, exponent: V) -> V {
    // f + f^2 q(f), error 2^-27.6.
    let q = f.polynomial([
        -0.5,
        0.333_334_5,
        -0.250_001_1,
        0.199_908_48,
        -0.166_468_78,
        0.144_776_31,
        -0.131_639_44,
        0.104_725_614,
        -0.045_152_3,
    ]);
    let log1p_f = (f * f).mul_add(q, f);
    let low = exponent.mul_add(f.splat(LN_2_LOW), log1p_f);
    exponent.mul_add(f.splat(LN_2_HIGH), low)
}
