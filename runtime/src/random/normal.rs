//! Normal numbers.

use std::f32::consts::LN_2;

use super::{Distribution, WORDS};
use crate::simd::{IntegerVector, SIGN, Vector};
use crate::tile::split;

/// The standard normal distribution.
pub(super) struct Normal;

impl Distribution for Normal {
    #[inline(always)]
    fn numbers<I: IntegerVector>(words: [I; WORDS]) -> [I::Float; WORDS] {
        let [a, b, c, d] = words;
        let ((a, b), (c, d)) = (box_muller(a, b), box_muller(c, d));
        [a, b, c, d]
    }
}

/// Two independent normal numbers from two words (Box and Muller, "A note on the generation of
/// random normal deviates", 1958): the radius from the first, the angle from the second.
#[inline(always)]
fn box_muller<I: IntegerVector>(first: I, second: I) -> (I::Float, I::Float) {
    // An odd number of 31 bits, as a fraction: in 2^-31 ..= 1.
    let fraction = ((first.shift_right::<1>()) | 1).to_float() * (1.0 / 2_147_483_648.0);
    let radius = (log(fraction) * -2.0).sqrt();

    // A quadrant and, from the other bits, quarter turns in -1/2 .. 1/2 to add to it.
    let turns = second.shift_left::<2>().to_float() * (1.0 / 4_294_967_296.0);
    let square = turns * turns;
    // Errors 2^-25 and 2^-24.6.
    let sin =
        turns * polynomial(square, [1.570_796_4, -0.645_966_65, 0.079_712_525, -0.004_685_971]);
    let cos = square * polynomial(square, [-1.233_697_7, 0.253_602_4, -0.020_414_53]) + 1.0;

    let even = (second.shift_right::<30>() & 1).is_zero();
    let signed = |value: I::Float, negative: I| (value * radius).flip_sign(negative & SIGN);
    let quadrant_sign = second;
    let next_quadrant_sign = second + (1 << 30);
    (
        signed(I::Float::select(even, cos, sin), next_quadrant_sign),
        signed(I::Float::select(even, sin, cos), quadrant_sign),
    )
}

/// The natural logarithm of numbers in (0, 1].
#[inline(always)]
fn log<V: Vector>(x: V) -> V {
    let (significand, exponent, _) = split(x);
    let f = significand - 1.0;
    // f + f^2 q(f), error 2^-22.
    let q = polynomial(
        f,
        [
            -0.500_001_67,
            0.333_307_1,
            -0.249_792_81,
            0.200_953_14,
            -0.173_369_91,
            0.141_536_1,
            -0.067_205_75,
        ],
    );
    exponent * LN_2 + (f * f * q + f)
}

/// The polynomial in `x` with these coefficients, constant term first, by Horner's rule with
/// products and sums rounded apart (see [`Distribution`]).
#[inline(always)]
fn polynomial<V: Vector, const N: usize>(x: V, coefficients: [f32; N]) -> V {
    let mut sum = x.splat(coefficients[N - 1]);
    for &coefficient in coefficients[..N - 1].iter().rev() {
        sum = sum * x + coefficient;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::super::{Generator, normal};
    use crate::simd::Vector;
    use crate::simd::portable::Lanes;

    /// The same formula in double precision, from the same words.
    #[test]
    fn pairs_follow_box_and_muller() {
        let generator = Generator::new(11, 12, 13);
        for lane in 0..4000u32 {
            let (group, lane) = (u64::from(lane / 16), lane % 16);
            let words = generator.words(Lanes::from([0.0]).bits(), group, lane).map(|word| {
                f64::from(crate::simd::IntegerVector::as_float(word).first().to_bits())
            });
            for pair in [0, 1] {
                let unit = (words[2 * pair] / 2.0).floor() / 2f64.powi(31);
                // Odd numbers stand for the interval around them; the exact one hardly matters.
                let radius = (-2.0 * (unit + 2f64.powi(-31) * 0.5).ln()).sqrt();
                let angle = words[2 * pair + 1] / 2f64.powi(32) * std::f64::consts::TAU;
                let base = group * 64 + 32 * pair as u64 + u64::from(lane);
                let (x, y) = (normal(11, 12, 13, base), normal(11, 12, 13, base + 16));
                let quarter = (words[2 * pair + 1] * 4.0 / 2f64.powi(32)).fract() >= 0.5;
                let angle = if quarter { angle - std::f64::consts::FRAC_PI_2 } else { angle };
                let close = |a: f32, b: f64| (f64::from(a) - b).abs() < 2e-6 * radius.max(1.0);
                assert!(close(x, radius * angle.cos()), "{x} {}", radius * angle.cos());
                assert!(close(y, radius * angle.sin()), "{y} {}", radius * angle.sin());
            }
        }
    }

    #[test]
    fn moments_are_those_of_the_normal_distribution() {
        const COUNT: u64 = 100_000;
        let numbers: Vec<f64> = (0..COUNT).map(|index| normal(1, 2, 3, index).into()).collect();
        let moment = |power| numbers.iter().map(|x| x.powi(power)).sum::<f64>() / COUNT as f64;
        // The tolerances are about four standard deviations.
        assert!(moment(1).abs() < 0.013, "{}", moment(1));
        assert!((moment(2) - 1.0).abs() < 0.018, "{}", moment(2));
        assert!(moment(3).abs() < 0.05, "{}", moment(3));
        assert!((moment(4) - 3.0).abs() < 0.13, "{}", moment(4));
        let beyond_two = numbers.iter().filter(|x| x.abs() > 2.0).count() as f64 / COUNT as f64;
        assert!((beyond_two - 0.0455).abs() < 0.0027, "{beyond_two}");
    }
}
