//! The error function and the Gaussian error linear unit.

use super::Unary;
use super::exponential::{exp, exp_of_sum};
use crate::simd::Vector;

/// 1 / sqrt(2 pi).
const FRAC_1_SQRT_TAU: f64 = 0.398_942_280_401_432_7;

/// Error function.
pub(super) struct Erf;

impl Unary for Erf {
    /// An odd polynomial near zero; elsewhere 1 - e^q with a polynomial q for log(erfc |x|).
    #[inline(always)]
    fn vector<V: Vector>(x: V) -> V {
        let size = x.abs();
        // x + x p(x^2), error 2^-30.
        let square = x * x;
        let p = square.polynomial([
            0.128_379_17,
            -0.376_126_3,
            0.112_836_26,
            -0.026_855_73,
            0.005_192_392_5,
            -0.000_804_951_5,
            7.995_048_5e-5,
        ]);
        let near = size.mul_add(p, size);
        // Up to 3.95, error 2^-29; beyond, erf rounds to one.
        let clamped = x.splat(3.95).min(size);
        let q = clamped.polynomial([
            -0.000_195_678_41,
            -1.127_675_7,
            -0.637_182_1,
            -0.103_931_814,
            0.022_227_092,
            -0.003_043_282_8,
            0.000_195_946_97,
        ]);
        let far = x.splat(1.0) - exp(q);
        V::select(size.less(x.splat(0.92)), near, far).flip_sign(x.sign())
    }

    fn scalar(x: f64) -> f64 {
        libm::erf(x)
    }
}

/// Gaussian error linear unit.
pub(super) struct Gelu;

impl Unary for Gelu {
    /// x Φ(x) = max(x, 0) - |x| Φ(-|x|): in both terms every digit counts, where
    /// 1 + erf(x / sqrt 2) cancels for negative x.
    #[inline(always)]
    fn vector<V: Vector>(x: V) -> V {
        // At plus infinity the second term is zero; at minus infinity the product is NaN.
        let factor = x.splat(NORMAL_RANGE).min(x).abs();
        let (density, ratio) = normal_tail(x);
        let tail = factor * ratio;
        (-tail).mul_add(density, x.splat(-0.0).max(x))
    }

    fn scalar(x: f64) -> f64 {
        x * normal_distribution(x)
    }
}

/// Derivative of the Gaussian error linear unit.
///
/// With φ the density of the normal distribution, Φ(x) + x φ(x) is -(|x| φ(x) - Φ(-|x|)) for
/// negative x and 1 + (|x| φ(x) - Φ(-|x|)) for positive x.
pub(super) struct GeluGradient;

impl Unary for GeluGradient {
    #[inline(always)]
    fn vector<V: Vector>(x: V) -> V {
        let (density, ratio) = normal_tail(x);
        let difference = x.abs().mul_add(x.splat(FRAC_1_SQRT_TAU as f32), -ratio);
        let negative = x.less(x.splat(0.0));
        let step = V::select(negative, x.splat(-0.0), x.splat(1.0));
        V::select(negative, -difference, difference).mul_add(density, step)
    }

    fn scalar(x: f64) -> f64 {
        let size = x.abs();
        let density = FRAC_1_SQRT_TAU * libm::exp(-0.5 * x * x);
        let difference = size * density - normal_distribution(-size);
        if x < 0.0 { -difference } else { 1.0 + difference }
    }
}

/// Φ(x), the standard normal distribution function.
fn normal_distribution(x: f64) -> f64 {
    0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2)
}

/// Beyond this distance from zero, Φ(-|x|) vanishes in single precision.
const NORMAL_RANGE: f32 = 15.0;

/// Two factors of Φ(-|x|), the standard normal distribution function: e^(-x²/2), and the ratio
/// that is left (1 / sqrt(2 pi) times the Mills ratio), which falls slowly from 1/2.
#[inline(always)]
fn normal_tail<V: Vector>(x: V) -> (V, V) {
    let size = x.splat(NORMAL_RANGE).min(x.abs());
    // The exponent needs more digits than x² has: its rounding error goes along.
    let half = size * 0.5;
    let high = half * size;
    let low = half.fused_mul_add(size, -high);
    let density = exp_of_sum(-high, -low);
    // Rational minimax approximation up to `NORMAL_RANGE`, error 2^-26.6.
    let numerator =
        size.polynomial([0.677_165_1, 0.594_930_6, 0.249_151_75, 0.055_365_44, 0.005_624_673_3]);
    let denominator = size.polynomial([
        1.354_330_2,
        2.270_460_8,
        1.632_697_3,
        0.638_434_5,
        0.138_788_86,
        0.014_098_814,
    ]);
    (density, numerator.near_quotient(denominator))
}
