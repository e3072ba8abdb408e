//! Sine and cosine.

use std::f32::consts::FRAC_2_PI;

use super::Unary;
use crate::simd::{IntegerVector, MAX_LANES, Mask, Vector};

/// pi/2 as the sum of three single-precision numbers, largest first.
const HALF_PI: [f32; 3] = [1.570_796_4, -4.371_139e-8, -1.715_124_8e-15];

/// Up to here, three parts of pi/2 are enough for the argument reduction.
const FEW_TURNS: f32 = 131_072.0;

/// Sine.
pub(super) struct Sin;

impl Unary for Sin {
    #[inline(always)]
    fn vector<V: Vector>(x: V) -> V {
        let size = x.abs();
        let (quadrant, sin, cos) = reduced_sin_cos(size);
        // sin(n pi/2 + r) is sin r, cos r, -sin r, -cos r for n = 0, 1, 2, 3.
        let value = V::select((quadrant & 1).is_zero(), sin, cos);
        let value = value.flip_sign(quadrant.shift_left::<30>() & crate::simd::SIGN);
        for_many_turns(size, value, libm::sin).flip_sign(x.sign())
    }

    fn scalar(x: f64) -> f64 {
        libm::sin(x)
    }
}

/// Cosine.
pub(super) struct Cos;

impl Unary for Cos {
    #[inline(always)]
    fn vector<V: Vector>(x: V) -> V {
        let size = x.abs();
        let (quadrant, sin, cos) = reduced_sin_cos(size);
        // cos(n pi/2 + r) is cos r, -sin r, -cos r, sin r for n = 0, 1, 2, 3.
        let value = V::select((quadrant & 1).is_zero(), cos, sin);
        let value = value.flip_sign((quadrant + 1).shift_left::<30>() & crate::simd::SIGN);
        for_many_turns(size, value, libm::cos)
    }

    fn scalar(x: f64) -> f64 {
        libm::cos(x)
    }
}

/// Writes `size` as n pi/2 + r with |r| <= pi/4. Returns n, sin r and cos r.
///
/// Each fused step is exact or has an error of half a unit in the last place of what is left of
/// the argument; no single-precision number comes nearer to a multiple of pi/2 than 1.6e-9.
#[inline(always)]
fn reduced_sin_cos<V: Vector>(size: V) -> (V::Integer, V, V) {
    let n = (size * FRAC_2_PI).round();
    let mut r = size;
    for part in HALF_PI {
        r = n.fused_mul_add(n.splat(-part), r);
    }
    (n.round_to_integer(), sin_near_zero(r), cos_near_zero(r))
}

/// sin r for |r| <= pi/4: r + r^3 p(r^2), error 2^-27.8.
#[inline(always)]
pub(crate) fn sin_near_zero<V: Vector>(r: V) -> V {
    let square = r * r;
    let p = square.polynomial([-0.166_666_54, 0.008_332_106, -0.000_195_078_83]);
    (r * square).mul_add(p, r)
}

/// cos r for |r| <= pi/4: 1 - r^2 / 2 + r^4 p(r^2), error 2^-33.
#[inline(always)]
pub(crate) fn cos_near_zero<V: Vector>(r: V) -> V {
    let square = r * r;
    let p = square.polynomial([-0.5, 0.041_666_646, -0.001_388_730_8, 2.443_210_2e-5]);
    square.mul_add(p, square.splat(1.0))
}

/// `value`, but where `size` is beyond [`FEW_TURNS`], infinite or NaN, `function` of `size` in
/// double precision. Such arguments are rare; these lanes are computed one by one.
#[inline(always)]
fn for_many_turns<V: Vector>(size: V, value: V, function: fn(f64) -> f64) -> V {
    let many = !size.less(size.splat(FEW_TURNS));
    if many.any() { replace_large(size, value, function) } else { value }
}

/// [`for_many_turns`], when there are some.
#[inline(always)]
fn replace_large<V: Vector>(size: V, value: V, function: fn(f64) -> f64) -> V {
    let (mut sizes, mut values) = ([0.0; MAX_LANES], [0.0; MAX_LANES]);
    // SAFETY: no vector has more than `MAX_LANES` lanes; `value` proves that the processor has
    // the instructions.
    unsafe {
        size.store(sizes.as_mut_ptr());
        value.store(values.as_mut_ptr());
        replace_large_numbers(&sizes[..V::LANES], &mut values[..V::LANES], function);
        V::load(values.as_ptr())
    }
}

/// [`replace_large`] in memory; out of line, to keep its calls out of the vector loop.
#[cold]
#[inline(never)]
fn replace_large_numbers(sizes: &[f32], values: &mut [f32], function: fn(f64) -> f64) {
    for (&size, value) in sizes.iter().zip(values) {
        if size >= FEW_TURNS || size.is_nan() {
            *value = function(f64::from(size)) as f32;
        }
    }
}
