//! Exponentials, logarithms, trigonometric functions and the bells and sigmoids made of them.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use cygnet_runtime::tile::TileFunction;

use super::{Domain, Entry, Typing};
use crate::op::lowering::Lowering::Tile;
use crate::op::{Emit, NodeId};

/// 1 / sqrt(2 pi): the normal density at 0.
const NORMAL_PEAK: f64 = 0.5 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2;

/// The theme's entries.
pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        name: "exp",
        doc: "e^a",
        arity: 1,
        typing: Typing::Float,
        commutative: false,
        evaluate: |x| x[0].exp(),
        evaluate_i32: None,
        gradient: &[Some(|g, _, y, dy| g.mul(dy, y))],
        lowering: Tile(TileFunction::Exp),
        cost: 0.095,
        domain: Domain::smooth(&[(-3.0, 1.5)]),
    },
    Entry {
        name: "expm1",
        doc: "e^a - 1, accurate near 0",
        arity: 1,
        typing: Typing::Float,
        commutative: false,
        evaluate: |x| x[0].exp_m1(),
        evaluate_i32: None,
        gradient: &[Some(|g, _, y, dy| {
            let one = g.constant_like(y, 1.0);
            let power = g.add(y, one);
            g.mul(dy, power)
        })],
        lowering: Tile(TileFunction::Expm1),
        cost: 0.13,
        domain: Domain::smooth(&[(-3.0, 1.5)]),
    },
    Entry {
        name: "log",
        doc: "natural logarithm of a",
        arity: 1,
        typing: Typing::Float,
        commutative: false,
        evaluate: |x| x[0].ln(),
        evaluate_i32: None,
        gradient: &[Some(|g, x, _, dy| g.div(dy, x[0]))],
        lowering: Tile(TileFunction::Log),
        cost: 0.195,
        domain: Domain::smooth(&[(0.2, 5.0)]),
    },
    Entry {
        name: "log1p",
        doc: "natural logarithm of 1 + a, accurate near 0",
        arity: 1,
        typing: Typing::Float,
        commutative: false,
        evaluate: |x| x[0].ln_1p(),
        evaluate_i32: None,
        gradient: &[Some(|g, x, _, dy| {
            let one = g.constant_like(dy, 1.0);
            let sum = g.add(one, x[0]);
            g.div(dy, sum)
        })],
        lowering: Tile(TileFunction::Log1p),
        cost: 0.2,
        domain: Domain::smooth(&[(-0.7, 4.0)]),
    },
    Entry {
        name: "sin",
        doc: "sine of a, in radians",
        arity: 1,
        typing: Typing::Float,
        commutative: false,
        evaluate: |x| x[0].sin(),
        evaluate_i32: None,
        gradient: &[Some(|g, x, _, dy| {
            let cosine = g.apply("cos", x);
            g.mul(dy, cosine)
        })],
        lowering: Tile(TileFunction::Sin),
        cost: 0.165,
        domain: Domain::smooth(&[(-3.0, 3.0)]),
    },
    Entry {
        name: "cos",
        doc: "cosine of a, in radians",
        arity: 1,
        typing: Typing::Float,
        commutative: false,
        evaluate: |x| x[0].cos(),
        evaluate_i32: None,
        gradient: &[Some(|g, x, _, dy| {
            let sine = g.apply("sin", x);
            let product = g.mul(dy, sine);
            g.neg(product)
        })],
        lowering: Tile(TileFunction::Cos),
        cost: 0.165,
        domain: Domain::smooth(&[(-3.0, 3.0)]),
    },
    Entry {
        name: "tanh",
        doc: "hyperbolic tangent of a",
        arity: 1,
        typing: Typing::Float,
        commutative: false,
        evaluate: |x| x[0].tanh(),
        evaluate_i32: None,
        gradient: &[Some(|g, _, y, dy| {
            let one = g.constant_like(y, 1.0);
            let square = g.mul(y, y);
            let slope = g.sub(one, square);
            g.mul(dy, slope)
        })],
        lowering: Tile(TileFunction::Tanh),
        cost: 0.2,
        domain: Domain::smooth(&[(-3.0, 3.0)]),
    },
    Entry {
        name: "sigmoid",
        doc: "1 / (1 + e^-a)",
        arity: 1,
        typing: Typing::Float,
        commutative: false,
        evaluate: |x| sigmoid(x[0]),
        evaluate_i32: None,
        gradient: &[Some(|g, _, y, dy| {
            let one = g.constant_like(y, 1.0);
            let rest = g.sub(one, y);
            let slope = g.mul(y, rest);
            g.mul(dy, slope)
        })],
        lowering: Tile(TileFunction::Sigmoid),
        cost: 0.14,
        domain: Domain::smooth(&[(-3.0, 3.0)]),
    },
    Entry {
        name: "erf",
        doc: "error function of a: 2 / sqrt(pi) times the integral of e^-t^2 from 0 to a",
        arity: 1,
        typing: Typing::Float,
        commutative: false,
        evaluate: |x| libm::erf(x[0]),
        evaluate_i32: None,
        gradient: &[Some(|g, x, _, dy| {
            let bell = bell(g, x[0], 1.0, FRAC_2_SQRT_PI);
            g.mul(dy, bell)
        })],
        lowering: Tile(TileFunction::Erf),
        cost: 0.285,
        domain: Domain::smooth(&[(-2.5, 2.5)]),
    },
    Entry {
        name: "gelu",
        doc: "a times the normal distribution function of a: a (1 + erf(a / sqrt 2)) / 2",
        arity: 1,
        typing: Typing::Float,
        commutative: false,
        evaluate: |x| x[0] * normal_distribution(x[0]),
        evaluate_i32: None,
        gradient: &[Some(|g, x, _, dy| {
            let slope = g.apply("gelu_gradient", x);
            g.mul(dy, slope)
        })],
        lowering: Tile(TileFunction::Gelu),
        cost: 0.225,
        domain: Domain::smooth(&[(-3.0, 3.0)]),
    },
    Entry {
        name: "gelu_gradient",
        doc: "the derivative of gelu at a",
        arity: 1,
        typing: Typing::Float,
        commutative: false,
        evaluate: |x| normal_distribution(x[0]) + x[0] * NORMAL_PEAK * (-0.5 * x[0] * x[0]).exp(),
        evaluate_i32: None,
        // With the normal density phi: (2 - a^2) phi(a).
        gradient: &[Some(|g, x, _, dy| {
            let density = bell(g, x[0], 0.5, NORMAL_PEAK);
            let two = g.constant_like(x[0], 2.0);
            let square = g.mul(x[0], x[0]);
            let factor = g.sub(two, square);
            let slope = g.mul(factor, density);
            g.mul(dy, slope)
        })],
        lowering: Tile(TileFunction::GeluGradient),
        cost: 0.24,
        domain: Domain::smooth(&[(-3.0, 3.0)]),
    },
    Entry {
        name: "pow",
        doc: "a to the power b; NaN for negative a unless b is an integer",
        arity: 2,
        typing: Typing::Float,
        commutative: false,
        evaluate: |x| x[0].powf(x[1]),
        evaluate_i32: None,
        gradient: &[
            // b a^(b-1), but 0 for a = b = 0, where a^0 is flat and a^-1 infinite.
            Some(|g, x, _, dy| {
                let one = g.constant_like(dy, 1.0);
                let zero = g.constant_like(dy, 0.0);
                let lower = g.sub(x[1], one);
                let power = g.apply("pow", &[x[0], lower]);
                let slope = g.mul(x[1], power);
                let product = g.mul(dy, slope);
                let base = g.apply("eq", &[x[0], zero]);
                let exponent = g.apply("eq", &[x[1], zero]);
                let flat = g.apply("and", &[base, exponent]);
                g.select(flat, zero, product)
            }),
            // a^b log a, but 0 for a = 0 and b >= 0, where log a is infinite and a^b flat.
            Some(|g, x, y, dy| {
                let zero = g.constant_like(dy, 0.0);
                let logarithm = g.apply("log", &[x[0]]);
                let slope = g.mul(y, logarithm);
                let product = g.mul(dy, slope);
                let base = g.apply("eq", &[x[0], zero]);
                let exponent = g.apply("le", &[zero, x[1]]);
                let flat = g.apply("and", &[base, exponent]);
                g.select(flat, zero, product)
            }),
        ],
        lowering: Tile(TileFunction::Pow),
        cost: 1.05,
        domain: Domain::smooth(&[(0.3, 2.5), (-2.0, 2.0)]),
    },
    Entry {
        name: "logaddexp",
        doc: "log(e^a + e^b), without overflow",
        arity: 2,
        typing: Typing::Float,
        commutative: true,
        evaluate: |x| logaddexp(x[0], x[1]),
        evaluate_i32: None,
        gradient: &[
            Some(|g, x, _, dy| {
                let difference = g.sub(x[0], x[1]);
                let share = g.apply("sigmoid", &[difference]);
                g.mul(dy, share)
            }),
            Some(|g, x, _, dy| {
                let difference = g.sub(x[1], x[0]);
                let share = g.apply("sigmoid", &[difference]);
                g.mul(dy, share)
            }),
        ],
        lowering: Tile(TileFunction::Logaddexp),
        cost: 0.5,
        domain: Domain::smooth(&[(-3.0, 3.0), (-3.0, 3.0)]),
    },
];

/// `height * e^(-scale * x^2)`.
fn bell(g: &mut dyn Emit, x: NodeId, scale: f64, height: f64) -> NodeId {
    let scale = g.constant_like(x, -scale);
    let height = g.constant_like(x, height);
    let square = g.mul(x, x);
    let exponent = g.mul(scale, square);
    let exponential = g.apply("exp", &[exponent]);
    g.mul(height, exponential)
}

/// Neither branch overflows.
fn sigmoid(x: f64) -> f64 {
    let power = (-x.abs()).exp();
    if x >= 0.0 { 1.0 / (1.0 + power) } else { power / (1.0 + power) }
}

/// The complementary error function keeps all digits for negative `x`.
fn normal_distribution(x: f64) -> f64 {
    0.5 * libm::erfc(-x * FRAC_1_SQRT_2)
}

fn logaddexp(a: f64, b: f64) -> f64 {
    if a == b {
        // Also for infinities, whose difference is NaN.
        return a + std::f64::consts::LN_2;
    }
    if a.is_nan() || b.is_nan() {
        return f64::NAN;
    }
    a.max(b) + (-(a - b).abs()).exp().ln_1p()
}
