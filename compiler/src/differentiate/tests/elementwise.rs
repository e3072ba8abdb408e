//! The gradients of all entries of the elementwise table.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;
use crate::arbitrary;
use crate::op::Elementwise;
use crate::op::elementwise::Typing;

/// Operands of an entry from its domain, away from kinks.
fn operands(function: Elementwise) -> impl Strategy<Value = Vec<Array>> {
    let entry = function.entry();
    let bools = match entry.typing {
        Typing::Select => 1,
        Typing::Logical => entry.arity,
        Typing::Numeric | Typing::Float | Typing::Comparison => 0,
    };
    prop::collection::vec(1..=2usize, 0..=2)
        .prop_flat_map(move |shape| {
            let elements: usize = shape.iter().product();
            let operand = move |place: usize| {
                let (low, high) = entry.domain.ranges[place];
                let ty =
                    TensorType::new(if place < bools { DType::Bool } else { DType::F64 }, &shape);
                prop::collection::vec(low..high, elements).prop_map(move |values| {
                    let values = values.into_iter().map(|value| match ty.dtype {
                        DType::Bool => value.round(),
                        _ => value,
                    });
                    Array::new(ty.clone(), values.collect())
                })
            };
            (0..entry.arity).map(operand).collect::<Vec<_>>()
        })
        .prop_filter("near a kink", move |operands: &Vec<Array>| {
            use crate::op::Primitive;
            function.kink_distance(&operands.iter().collect::<Vec<_>>()) > 10.0 * STEP
        })
}

#[test]
fn of_every_entry_in_first_and_second_order() {
    for function in Elementwise::all() {
        let entry = function.entry();
        if matches!(entry.typing, Typing::Comparison | Typing::Logical) {
            assert!(entry.gradient.iter().all(Option::is_none), "{function:?}");
            continue;
        }
        let mut runner = TestRunner::new(arbitrary::config(12));
        let tested = runner.run(&operands(function), |operands| {
            assert_gradients(&operands, |graph, nodes| graph.apply(entry.name, nodes));
            Ok(())
        });
        tested.unwrap_or_else(|error| panic!("{function:?}: {error}"));
    }
}

/// A gradient rule that is wrong by a little is found, for every entry that has one.
#[test]
fn planted_errors_are_found() {
    for function in Elementwise::all() {
        let entry = function.entry();
        if entry.gradient.iter().all(Option::is_none) {
            continue;
        }
        let wrong = planted(entry.name, 1.001);
        let mut runner = TestRunner::new(arbitrary::config(12));
        let found = runner.run(&operands(function), |operands| {
            let problem =
                Problem::new(&wrong, &operands, |graph, nodes| graph.apply(entry.name, nodes));
            prop_assert!(problem.error() < TOLERANCE);
            Ok(())
        });
        assert!(found.is_err(), "{function:?}");
    }
}
