//! Sums, products and what else has no transcendental in it.

use super::{Domain, Entry, Typing};
use crate::op::lowering::Lowering::Inline;
use crate::op::lowering::{Lane, Lanes};
use crate::op::{Emit, NodeId};

/// The theme's entries.
pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        name: "add",
        doc: "a + b",
        arity: 2,
        typing: Typing::Numeric,
        commutative: true,
        evaluate: |x| x[0] + x[1],
        evaluate_i32: Some(|x| x[0].wrapping_add(x[1])),
        gradient: &[Some(|_, _, _, dy| dy), Some(|_, _, _, dy| dy)],
        lowering: Inline(|lanes, x| lanes.add(x[0], x[1])),
        cost: 0.02,
        domain: Domain::smooth(&[(-3.0, 3.0), (-3.0, 3.0)]),
    },
    Entry {
        name: "sub",
        doc: "a - b",
        arity: 2,
        typing: Typing::Numeric,
        commutative: false,
        evaluate: |x| x[0] - x[1],
        evaluate_i32: Some(|x| x[0].wrapping_sub(x[1])),
        gradient: &[Some(|_, _, _, dy| dy), Some(|g, _, _, dy| g.neg(dy))],
        lowering: Inline(|lanes, x| lanes.sub(x[0], x[1])),
        cost: 0.02,
        domain: Domain::smooth(&[(-3.0, 3.0), (-3.0, 3.0)]),
    },
    Entry {
        name: "mul",
        doc: "a * b",
        arity: 2,
        typing: Typing::Numeric,
        commutative: true,
        evaluate: |x| x[0] * x[1],
        evaluate_i32: Some(|x| x[0].wrapping_mul(x[1])),
        gradient: &[Some(|g, x, _, dy| g.mul(dy, x[1])), Some(|g, x, _, dy| g.mul(dy, x[0]))],
        lowering: Inline(|lanes, x| lanes.mul(x[0], x[1])),
        cost: 0.02,
        domain: Domain::smooth(&[(-3.0, 3.0), (-3.0, 3.0)]),
    },
    Entry {
        name: "div",
        doc: "a / b",
        arity: 2,
        typing: Typing::Float,
        commutative: false,
        evaluate: |x| x[0] / x[1],
        evaluate_i32: None,
        gradient: &[
            Some(|g, x, _, dy| g.div(dy, x[1])),
            // -a / b^2 = -(a / b) / b
            Some(|g, x, y, dy| {
                let share = g.mul(dy, y);
                let quotient = g.div(share, x[1]);
                g.neg(quotient)
            }),
        ],
        lowering: Inline(|lanes, x| lanes.div(x[0], x[1])),
        cost: 0.12,
        domain: Domain::smooth(&[(-3.0, 3.0), (0.5, 3.0)]),
    },
    Entry {
        name: "neg",
        doc: "-a",
        arity: 1,
        typing: Typing::Numeric,
        commutative: false,
        evaluate: |x| -x[0],
        evaluate_i32: Some(|x| x[0].wrapping_neg()),
        gradient: &[Some(|g, _, _, dy| g.neg(dy))],
        lowering: Inline(|lanes, x| lanes.neg(x[0])),
        cost: 0.02,
        domain: Domain::smooth(&[(-3.0, 3.0)]),
    },
    Entry {
        name: "abs",
        doc: "|a|; its gradient at 0 is 0",
        arity: 1,
        typing: Typing::Numeric,
        commutative: false,
        evaluate: |x| x[0].abs(),
        evaluate_i32: Some(|x| x[0].wrapping_abs()),
        gradient: &[Some(|g, x, _, dy| {
            let sign = g.apply("sign", &[x[0]]);
            g.mul(dy, sign)
        })],
        lowering: Inline(|lanes, x| lanes.abs(x[0])),
        cost: 0.02,
        domain: Domain { ranges: &[(-3.0, 3.0)], kink_distance: |x| x[0].abs() },
    },
    Entry {
        name: "sign",
        doc: "-1, 0 or 1 as a is negative, zero or positive; NaN for NaN",
        arity: 1,
        typing: Typing::Numeric,
        commutative: false,
        evaluate: |x| if x[0] == 0.0 || x[0].is_nan() { x[0] } else { x[0].signum() },
        evaluate_i32: Some(|x| x[0].signum()),
        gradient: &[None],
        lowering: Inline(|lanes, x| {
            let dtype = lanes.dtype(x[0]);
            let [zero, one, minus_one] = [0.0, 1.0, -1.0].map(|c| lanes.constant(dtype, c));
            let negative = lanes.less(x[0], zero);
            let positive = lanes.less(zero, x[0]);
            // Zeros and NaN fall through, so zeros keep their sign.
            let rest = lanes.select(negative, minus_one, x[0]);
            lanes.select(positive, one, rest)
        }),
        cost: 0.04,
        domain: Domain { ranges: &[(-3.0, 3.0)], kink_distance: |x| x[0].abs() },
    },
    Entry {
        name: "max",
        doc: "the larger of a and b, NaN if one is NaN; equal ones share the gradient",
        arity: 2,
        typing: Typing::Numeric,
        commutative: true,
        evaluate: |x| {
            if x[0].is_nan() || x[1].is_nan() { f64::NAN } else { x[0].max(x[1]) }
        },
        evaluate_i32: Some(|x| x[0].max(x[1])),
        gradient: &[
            Some(|g, x, _, dy| extreme_gradient(g, x[0], x[1], dy)),
            Some(|g, x, _, dy| extreme_gradient(g, x[1], x[0], dy)),
        ],
        lowering: Inline(|lanes, x| {
            // The select gives b if one is NaN; this order of operands is the machine's maximum.
            let greater = lanes.less(x[1], x[0]);
            let larger = lanes.select(greater, x[0], x[1]);
            or_nan(lanes, x[0], larger)
        }),
        cost: 0.05,
        domain: Domain {
            ranges: &[(-3.0, 3.0), (-3.0, 3.0)],
            kink_distance: |x| (x[0] - x[1]).abs(),
        },
    },
    Entry {
        name: "min",
        doc: "the smaller of a and b, NaN if one is NaN; equal ones share the gradient",
        arity: 2,
        typing: Typing::Numeric,
        commutative: true,
        evaluate: |x| {
            if x[0].is_nan() || x[1].is_nan() { f64::NAN } else { x[0].min(x[1]) }
        },
        evaluate_i32: Some(|x| x[0].min(x[1])),
        gradient: &[
            Some(|g, x, _, dy| extreme_gradient(g, x[1], x[0], dy)),
            Some(|g, x, _, dy| extreme_gradient(g, x[0], x[1], dy)),
        ],
        lowering: Inline(|lanes, x| {
            let less = lanes.less(x[0], x[1]);
            let smaller = lanes.select(less, x[0], x[1]);
            or_nan(lanes, x[0], smaller)
        }),
        cost: 0.05,
        domain: Domain {
            ranges: &[(-3.0, 3.0), (-3.0, 3.0)],
            kink_distance: |x| (x[0] - x[1]).abs(),
        },
    },
    Entry {
        name: "sqrt",
        doc: "square root of a",
        arity: 1,
        typing: Typing::Float,
        commutative: false,
        evaluate: |x| x[0].sqrt(),
        evaluate_i32: None,
        gradient: &[Some(|g, _, y, dy| {
            let half = g.constant_like(dy, 0.5);
            let half = g.mul(dy, half);
            g.div(half, y)
        })],
        lowering: Inline(|lanes, x| lanes.sqrt(x[0])),
        cost: 0.25,
        domain: Domain::smooth(&[(0.2, 4.0)]),
    },
    Entry {
        name: "floor",
        doc: "largest integer not above a",
        arity: 1,
        typing: Typing::Float,
        commutative: false,
        evaluate: |x| x[0].floor(),
        evaluate_i32: None,
        gradient: &[None],
        lowering: Inline(|lanes, x| lanes.floor(x[0])),
        cost: 0.03,
        domain: Domain { ranges: &[(-3.0, 3.0)], kink_distance: |x| (x[0] - x[0].round()).abs() },
    },
];

/// The cotangent of one of two operands `a` and `b` of an extreme, which goes to the other where
/// `below < above`. Equal operands share it and NaN passes it to both, as in PyTorch's `maximum`.
fn extreme_gradient(g: &mut dyn Emit, below: NodeId, above: NodeId, dy: NodeId) -> NodeId {
    let half = g.constant_like(dy, 0.5);
    let half = g.mul(dy, half);
    let equal = g.apply("eq", &[below, above]);
    let shared = g.select(equal, half, dy);
    let loses = g.apply("lt", &[below, above]);
    let zero = g.constant_like(dy, 0.0);
    g.select(loses, zero, shared)
}

/// `value`, but `a` where `a` is NaN.
fn or_nan(lanes: &mut dyn Lanes, a: Lane, value: Lane) -> Lane {
    if !lanes.dtype(a).is_float() {
        return value;
    }
    let number = lanes.equal(a, a);
    lanes.select(number, value, a)
}
