//! Powers with any exponent.

use super::Binary;
use super::logarithm::split;
use crate::simd::{Arithmetic, Vector, WideVector};

/// x to the power y.
pub(super) struct Pow;

impl Binary for Pow {
    /// 2^(y log2 |x|) in double precision, because the error of the logarithm is multiplied by
    /// up to 150; then the sign and the special cases of IEEE 754 section 9.2.1.
    #[inline(always)]
    fn vector<V: Vector>(x: V, y: V) -> V {
        let (zero, one) = (x.splat(0.0), x.splat(1.0));
        let size = x.abs();

        let (significand, exponent, is_zero) = split(size);
        let power = {
            let logarithm = log2_near_one(significand.widen()) + exponent.widen();
            // Beyond these limits the power overflows or vanishes.
            let product = y.widen() * logarithm;
            let product = product.splat(-200.0).max(product.splat(200.0).min(product));
            let integer = product.round();
            exp2_near_zero(product - integer).narrow().scale(integer.narrow())
        };

        // Zero and infinity lie outside the domain of `split`: their powers are one of them.
        let infinity = x.splat(f32::INFINITY);
        let grows = V::select(y.less(zero), zero, infinity);
        let shrinks = V::select(y.less(zero), infinity, zero);
        let power = V::select(size.equal(infinity), grows, power);
        let power = V::select(is_zero, shrinks, power);

        // Negative numbers have powers with integral exponents only, negative for odd ones.
        let half = y * 0.5;
        let integral = y.round().equal(y);
        let odd = integral & !half.round().equal(half);
        let signed = V::select(odd, power.flip_sign(x.sign()), power);
        let undefined = x.less(zero) & (-infinity).less(x) & !integral;
        let signed = V::select(undefined | x.is_nan() | y.is_nan(), x.splat(f32::NAN), signed);

        // log2 1 = 0, times infinity; and one and exponent zero win over NaN.
        let sure_one = size.equal(one) & y.abs().equal(infinity);
        V::select(x.equal(one) | y.equal(zero) | sure_one, one, signed)
    }

    fn scalar(x: f64, y: f64) -> f64 {
        libm::pow(x, y)
    }
}

/// log2 x for 0.75 <= x < 1.5, from the series of the inverse hyperbolic tangent of
/// (x - 1) / (x + 1): s p(s^2), error 2^-40.
#[inline(always)]
fn log2_near_one<W: WideVector>(x: W) -> W {
    let s = (x - 1.0) / (x + 1.0);
    let p = (s * s).polynomial([
        2.885_390_081_777_427,
        0.961_796_694_820_894_5,
        0.577_077_756_675_155_2,
        0.412_226_086_610_943_2,
        0.319_287_825_506_471_7,
        0.290_800_366_829_987_4,
    ]);
    s * p
}

/// 2^x for |x| <= 1/2, error 2^-34.
#[inline(always)]
fn exp2_near_zero<W: WideVector>(x: W) -> W {
    x.polynomial([
        0.999_999_999_961_674_8,
        0.693_147_180_728_443_5,
        0.240_226_511_981_801_78,
        0.055_504_103_534_708_22,
        0.009_618_027_251_155_813,
        0.001_333_392_254_402_001_3,
        0.000_154_692_918_643_434_1,
        1.520_192_619_767_454_4e-5,
    ])
}
