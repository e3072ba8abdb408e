//! The hyperbolic tangent and the logistic function.

use super::Unary;
use super::exponential::exp;
use crate::simd::{IntegerVector, SIGN, Vector};

/// Hyperbolic tangent.
pub(super) struct Tanh;

impl Unary for Tanh {
    /// An odd polynomial near zero, 1 - 2 / (e^2|x| + 1) with the sign of x elsewhere.
    #[inline(always)]
    fn vector<V: Vector>(x: V) -> V {
        let size = x.abs();
        // x + x^3 p(x^2), error 2^-28.
        let square = x * x;
        let p = square.polynomial([
            -0.333_333,
            0.133_319_36,
            -0.053_784_717,
            0.020_798_625,
            -0.005_897_966_7,
        ]);
        let near = (size * square).mul_add(p, size);
        let far = x.splat(1.0) - x.splat(2.0) / (exp(size + size) + 1.0);
        V::select(size.less(x.splat(0.6)), near, far).flip_sign(x.sign())
    }

    fn scalar(x: f64) -> f64 {
        libm::tanh(x)
    }
}

/// Logistic function.
pub(super) struct Sigmoid;

impl Unary for Sigmoid {
    /// 1 / (1 + e^-|x|) for positive x, e^-|x| / (1 + e^-|x|) for negative x: nothing overflows,
    /// and no digits cancel.
    #[inline(always)]
    fn vector<V: Vector>(x: V) -> V {
        let power = exp((x.bits() | SIGN).as_float());
        let one = x.splat(1.0);
        V::select(x.less(x.splat(0.0)), power, one) / (power + one)
    }

    fn scalar(x: f64) -> f64 {
        let power = libm::exp(-x.abs());
        if x < 0.0 { power / (1.0 + power) } else { 1.0 / (1.0 + power) }
    }
}
