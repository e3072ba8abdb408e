//! What differences cannot tell is not held against a gradient.

use super::*;
use cygnet_compiler::graph::{Emit, ScanBuilder};
use cygnet_compiler::op::{Random, RandomKind};
use cygnet_compiler::types::Shape;

#[test]
fn values_at_kinks_are_left_out() {
    // |x - x| is at its kink everywhere, but stays there: nothing moves it.
    let still = Built::new(&["n"], |b, sizes| {
        let x = b.parameter("x", sizes);
        let zero = b.graph.sub(x, x);
        let size = b.graph.apply("abs", &[zero]);
        let sum = b.graph.add(size, x);
        b.graph.sum(sum, &[0])
    });
    assert_eq!(summary(&still).agreement.kinks, 0);

    // max(a, b) of equal operands that part when moved.
    let tied = Built::new(&["n"], |b, sizes| {
        let x = b.parameter("x", sizes);
        let two = b.graph.constant_like(x, 2.0);
        let zero = b.graph.constant_like(x, 0.0);
        let nothing = b.graph.mul(x, zero);
        let double = b.graph.mul(nothing, two);
        let size = b.graph.apply("max", &[double, nothing]);
        let sum = b.graph.add(size, x);
        b.graph.sum(sum, &[0])
    });
    assert_eq!(summary(&tied).passed, 6);
}

/// `build` on a small part of a parameter that moves as all of it would.
fn near_zero(b: &mut Builder, share: f64) -> NodeId {
    let x = b.parameter("x", &[]);
    let fixed = b.graph.stop_gradient(x);
    let factor = b.graph.constant_like(x, share - 1.0);
    let rest = b.graph.mul(fixed, factor);
    b.graph.add(x, rest)
}

#[test]
fn differences_that_are_equal_by_chance_are_not_believed() {
    // y + y^3 - y^5 / 5 of y = 1e5 x: with x moved by 1e-5, y moves by 1, where this function and
    // its double movement give 1.8 times the slope at zero.
    let wavy = Built::new(&[], |b, _| {
        let x = near_zero(b, 0.0);
        let large = b.graph.constant_like(x, 1e5);
        let y = b.graph.mul(x, large);
        let square = b.graph.mul(y, y);
        let cube = b.graph.mul(square, y);
        let fifth = b.graph.mul(cube, square);
        let factor = b.graph.constant_like(x, -0.2);
        let fifth = b.graph.mul(fifth, factor);
        let sum = b.graph.add(cube, fifth);
        b.graph.add(y, sum)
    });
    let agreement = summary(&wavy).agreement;
    assert!(agreement.worst < 1.0, "{agreement:?}");
    assert_eq!((agreement.kinks, agreement.unknown), (0, 0));
}

/// The square root of numbers so small that the usual movements leave its domain.
fn small_root(b: &mut Builder, _: &[usize]) -> NodeId {
    let x = near_zero(b, 1e-7);
    let eps = b.graph.constant_like(x, 5e-6);
    let positive = b.graph.add(x, eps);
    b.graph.apply("sqrt", &[positive])
}

#[test]
fn movements_out_of_a_domain_are_made_smaller() {
    let agreement = summary(&Built::new(&[], small_root)).agreement;
    assert!(agreement.worst < 1.0, "{agreement:?}");
    assert_eq!(agreement.unknown, 0);

    let differentiator = Differentiator::default().with_rule("sqrt", |_, graph, at| {
        [Some(graph.mul(at.cotangent, at.result))].into_iter().collect()
    });
    let failure = failure(&Built::new(&[], small_root), &differentiator);
    assert_eq!(failure.culprit.as_ref().map(|found| found.operation), Some("sqrt"));
    assert!(failure.mismatch.tolerance.is_finite(), "{failure:?}");
}

#[test]
fn slopes_at_the_end_of_a_domain_are_not_judged() {
    // The root of a number that is smaller than every movement.
    let end = Built::new(&[], |b, _| {
        let x = near_zero(b, 0.0);
        let eps = b.graph.constant_like(x, 1e-9);
        let positive = b.graph.add(x, eps);
        b.graph.apply("sqrt", &[positive])
    });
    let differentiator = Differentiator::default();
    let methods = Methods { differentiator: &differentiator, executor: None };
    let error = check(&end, &methods, Options { cases: 1, seed: 1 }, |_| {});
    let message = error.map(|_| ()).unwrap_err().to_string();
    assert!(message.contains("no finite numbers"), "{message}");
}

/// |x| at 0: the difference to a copy that stands still.
fn at_a_kink() -> Built {
    Built::new(&[], |b, _| {
        let x = b.parameter("x", &[]);
        let fixed = b.graph.stop_gradient(x);
        let zero = b.graph.sub(x, fixed);
        b.graph.apply("abs", &[zero])
    })
}

#[test]
fn any_slope_between_those_on_both_sides_of_a_kink_is_right() {
    assert_eq!(summary(&at_a_kink()).passed, 6);
}

#[test]
fn other_slopes_at_a_kink_are_not_judged() {
    let differentiator = Differentiator::default().with_rule("abs", |_, graph, at| {
        [Some(graph.constant_like(at.result, 5.0))].into_iter().collect()
    });
    let methods = Methods { differentiator: &differentiator, executor: None };
    let error = check(&at_a_kink(), &methods, Options { cases: 1, seed: 1 }, |_| {});
    let message = error.map(|_| ()).unwrap_err().to_string();
    assert!(message.contains("at a kink"), "{message}");
}

#[test]
fn stops_of_the_gradient_hold_for_differences_too() {
    let stopped = Built::new(&["n"], |b, sizes| {
        let x = b.parameter("x", sizes);
        let square = b.graph.mul(x, x);
        let fixed = b.graph.stop_gradient(square);
        let product = b.graph.mul(fixed, x);
        b.graph.sum(product, &[0])
    });
    assert!(summary(&stopped).agreement.worst < 1.0);
}

#[test]
fn stops_of_the_gradient_hold_in_loops() {
    let stopped = Built::new(&["n"], |b, sizes| {
        let x = b.parameter("x", sizes);
        let mut scan = ScanBuilder::begin(&b.graph, 3, false);
        let carry = scan.carry(&mut b.graph, "carry", x);
        let next = b.graph.apply("tanh", &[carry]);
        let fixed = b.graph.stop_gradient(carry);
        let product = b.graph.mul(fixed, x);
        let nodes = scan.finish(&mut b.graph, &[next], &[product]);
        let sum = b.graph.sum(nodes.yields[0], &[0]);
        let sum = b.graph.add(sum, nodes.carries[0]);
        b.graph.sum(sum, &[0])
    });
    assert!(summary(&stopped).agreement.worst < 1.0);
}

#[test]
fn random_numbers_are_the_same_in_all_evaluations() {
    let noisy = Built::new(&["n"], |b, sizes| {
        let x = b.parameter("x", sizes);
        let shape = Shape::from_slice(sizes);
        let random = Random { kind: RandomKind::Normal, stream: 5, dtype: DType::F32, shape };
        let noise = cygnet_compiler::op::Op::from(random);
        let noise = b.graph.emit(noise, &[]);
        let product = b.graph.mul(noise, x);
        b.graph.sum(product, &[0])
    });
    assert!(summary(&noisy).agreement.worst < 1.0);
}

#[test]
fn what_is_not_finite_is_skipped() {
    let infinite = Built::new(&[], |b, _| {
        let x = b.parameter("x", &[]);
        let zero = b.graph.sub(x, x);
        b.graph.div(x, zero)
    });
    let differentiator = Differentiator::default();
    let methods = Methods { differentiator: &differentiator, executor: None };
    let mut skipped = 0;
    let error = check(&infinite, &methods, Options { cases: 2, seed: 1 }, |report| {
        skipped += u32::from(matches!(report.result, CaseResult::Skipped { .. }));
    });
    assert!(matches!(error, Err(CheckError::NothingChecked(_))));
    assert_eq!(skipped, 2);
}
