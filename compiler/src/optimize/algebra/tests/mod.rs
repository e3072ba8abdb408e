//! Every rule, on random instances: all terms of a class must have the same value.

mod equations;
mod gradients;
mod procedures;

use std::collections::BTreeMap;

use egg::Id;

use super::facts::Terms;
use super::import::import;
use super::rule::Exactness;
use super::rules::RULES;
use super::saturate;
use crate::array::Array;
use crate::graph::{Graph, SlotRole};
use crate::op::Context;
use crate::types::DType;

/// Random numbers for test instances: xorshift64 (Marsaglia, 2003).
pub struct Draw(u64);

impl Draw {
    /// A sequence of its own for each seed.
    pub fn new(seed: u64) -> Draw {
        Draw(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// An integer below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 33) as usize) % bound
    }

    /// One of these.
    pub fn choose<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// A float around zero, with a few digits.
    pub fn float(&mut self) -> f64 {
        (self.below(6001) as f64 - 3000.0) / 1000.0
    }

    /// A float that is often zero, infinite, NaN, large or small.
    pub fn special(&mut self) -> f64 {
        let special =
            [0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1e20, -1e20, 1e-20, 1.0, -1.0];
        if self.below(2) == 0 { self.choose(&special) } else { self.float() }
    }
}

/// Values for all slots of a graph.
pub fn draw_slots(graph: &Graph, draw: &mut Draw, special: bool) -> Vec<Array> {
    let slots = graph.slots.iter();
    slots
        .map(|slot| {
            Array::from_fn(slot.ty.clone(), |_| match slot.ty.dtype {
                DType::F32 | DType::F64 if special => draw.special(),
                DType::F32 | DType::F64 => draw.float(),
                DType::Bool => draw.below(2) as f64,
                DType::I32 | DType::U8 => draw.below(100) as f64,
            })
        })
        .collect()
}

/// The value of every class, computed from any of its terms.
fn values_of(terms: &Terms, context: &Context<'_>) -> BTreeMap<Id, Array> {
    let mut values: BTreeMap<Id, Array> = BTreeMap::new();
    loop {
        let before = values.len();
        for class in terms.classes() {
            for term in &class.nodes {
                let operands: Option<Vec<&Array>> =
                    term.children.iter().map(|&child| values.get(&terms.find(child))).collect();
                if let Some(operands) = operands {
                    let op = terms.analysis.operations.get(term.operation);
                    let value = op.primitive().evaluate(&operands, &class.data.ty, context);
                    values.entry(class.id).or_insert(value);
                }
            }
        }
        if values.len() == before {
            return values;
        }
    }
}

/// Whether two results are the same but for rounding: NaN and infinities agree.
pub fn agree(a: f64, b: f64, tolerance: f64) -> bool {
    a == b
        || (a.is_nan() && b.is_nan())
        || (a.is_finite() && b.is_finite() && (a - b).abs() <= tolerance * (1.0 + a.abs()))
}

/// Checks that all terms of each class have the same value, and facts hold.
pub fn assert_classes_agree(terms: &Terms, context: &Context<'_>, tolerance: f64) {
    let values = values_of(terms, context);
    for class in terms.classes() {
        let Some(expected) = values.get(&class.id) else { continue };
        if class.data.nonnegative {
            assert!(!expected.values.iter().any(|&value| value < 0.0), "{class:?}: {expected:?}");
        }
        for term in &class.nodes {
            let operands: Vec<&Array> =
                term.children.iter().map(|&child| &values[&terms.find(child)]).collect();
            let op = terms.analysis.operations.get(term.operation);
            let value = op.primitive().evaluate(&operands, &class.data.ty, context);
            for (a, b) in expected.values.iter().zip(&value.values) {
                let operands: Vec<_> = operands.iter().map(|array| &array.values).collect();
                assert!(agree(*a, *b, tolerance), "{op}{operands:?} gives {b}, not {a}");
            }
        }
    }
}

/// Applies one rule to a graph, along with one that makes classes meet, and checks the result;
/// returns how often the rule was applied.
pub fn check_rule(number: usize, graph: &Graph, draw: &mut Draw) -> usize {
    let rule = &RULES.rules[number];
    let (mut terms, _) = import(graph, true);
    let meeting = RULES.rules.iter().position(|rule| rule.sentence.starts_with("negating twice"));
    saturate(&mut terms, &[number, meeting.expect("such a rule")], 3, 500, &mut 0);
    for special in [false, true] {
        if special && rule.exactness == Exactness::AssumesFinite {
            continue;
        }
        let mut slots = draw_slots(graph, draw, special);
        if rule.exactness == Exactness::AssumesFiniteWeights {
            let ordinary = draw_slots(graph, draw, false);
            for ((slot, info), ordinary) in slots.iter_mut().zip(&graph.slots).zip(ordinary) {
                if info.role == SlotRole::Parameter {
                    *slot = ordinary;
                }
            }
        }
        if rule.exactness == Exactness::AssumesFinite {
            // Where every function is defined, and nothing overflows.
            let values = slots.iter_mut().flat_map(|slot| &mut slot.values);
            values.for_each(|value| *value = value.abs().clamp(0.1, 5.0));
        }
        let context = Context { slots: &slots, seed: 1, step: 0 };
        let tolerance = match rule.exactness {
            Exactness::Exact => 1e-14,
            // Large values cancel; what is finite stays finite and nothing else is checked.
            Exactness::Reassociates | Exactness::AssumesFiniteWeights if special => f64::INFINITY,
            _ => 1e-9,
        };
        let check = || assert_classes_agree(&terms, &context, tolerance);
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(check));
        assert!(checked.is_ok(), "rule: {} (special values: {special})", rule.sentence);
    }
    let applied = terms.analysis.applied[number];
    if applied > 0 {
        gradients::check(number, graph, &terms, draw);
    }
    applied
}
