//! Comparisons, logic and selection.

use super::{Domain, Entry, Typing};
use crate::op::lowering::Lowering::Inline;

/// Distance from the place where a comparison changes its result.
const fn at_equality(ranges: &'static [(f64, f64)]) -> Domain {
    Domain { ranges, kink_distance: |x| (x[0] - x[1]).abs() }
}

/// The theme's entries.
pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        name: "lt",
        doc: "whether a < b; false if one is NaN",
        arity: 2,
        typing: Typing::Comparison,
        commutative: false,
        evaluate: |x| f64::from(x[0] < x[1]),
        evaluate_i32: None,
        gradient: &[None, None],
        lowering: Inline(|lanes, x| lanes.less(x[0], x[1])),
        cost: 0.02,
        domain: at_equality(&[(-3.0, 3.0), (-3.0, 3.0)]),
    },
    Entry {
        name: "le",
        doc: "whether a <= b; false if one is NaN",
        arity: 2,
        typing: Typing::Comparison,
        commutative: false,
        evaluate: |x| f64::from(x[0] <= x[1]),
        evaluate_i32: None,
        gradient: &[None, None],
        lowering: Inline(|lanes, x| lanes.less_equal(x[0], x[1])),
        cost: 0.02,
        domain: at_equality(&[(-3.0, 3.0), (-3.0, 3.0)]),
    },
    Entry {
        name: "eq",
        doc: "whether a = b; false if one is NaN",
        arity: 2,
        typing: Typing::Comparison,
        commutative: true,
        evaluate: |x| f64::from(x[0] == x[1]),
        evaluate_i32: None,
        gradient: &[None, None],
        lowering: Inline(|lanes, x| lanes.equal(x[0], x[1])),
        cost: 0.02,
        domain: at_equality(&[(-3.0, 3.0), (-3.0, 3.0)]),
    },
    Entry {
        name: "not",
        doc: "whether a does not hold",
        arity: 1,
        typing: Typing::Logical,
        commutative: false,
        evaluate: |x| f64::from(x[0] == 0.0),
        evaluate_i32: None,
        gradient: &[None],
        lowering: Inline(|lanes, x| lanes.not(x[0])),
        cost: 0.02,
        domain: Domain::smooth(&[(0.0, 1.0)]),
    },
    Entry {
        name: "and",
        doc: "whether both a and b hold",
        arity: 2,
        typing: Typing::Logical,
        commutative: true,
        evaluate: |x| f64::from(x[0] != 0.0 && x[1] != 0.0),
        evaluate_i32: None,
        gradient: &[None, None],
        lowering: Inline(|lanes, x| lanes.and(x[0], x[1])),
        cost: 0.02,
        domain: Domain::smooth(&[(0.0, 1.0), (0.0, 1.0)]),
    },
    Entry {
        name: "or",
        doc: "whether a or b holds, or both",
        arity: 2,
        typing: Typing::Logical,
        commutative: true,
        evaluate: |x| f64::from(x[0] != 0.0 || x[1] != 0.0),
        evaluate_i32: None,
        gradient: &[None, None],
        lowering: Inline(|lanes, x| lanes.or(x[0], x[1])),
        cost: 0.02,
        domain: Domain::smooth(&[(0.0, 1.0), (0.0, 1.0)]),
    },
    Entry {
        name: "select",
        doc: "b where a holds, else c",
        arity: 3,
        typing: Typing::Select,
        commutative: false,
        evaluate: |x| if x[0] != 0.0 { x[1] } else { x[2] },
        evaluate_i32: None,
        gradient: &[
            None,
            Some(|g, x, _, dy| {
                let zero = g.constant_like(dy, 0.0);
                g.select(x[0], dy, zero)
            }),
            Some(|g, x, _, dy| {
                let zero = g.constant_like(dy, 0.0);
                g.select(x[0], zero, dy)
            }),
        ],
        lowering: Inline(|lanes, x| lanes.select(x[0], x[1], x[2])),
        cost: 0.02,
        domain: Domain::smooth(&[(0.0, 1.0), (-3.0, 3.0), (-3.0, 3.0)]),
    },
];
