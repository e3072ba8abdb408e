//! The gradients of the other primitives, at places that random graphs do not reach.

use super::*;
use crate::op::{Op, Reduce, ReduceKind};

/// The gradient of the sum of what `build` makes of `x`.
fn gradient_at(x: Array, build: impl FnOnce(&mut Graph, NodeId) -> NodeId) -> Array {
    let problem =
        Problem::new(&Differentiator::default(), &[x], |graph, nodes| build(graph, nodes[0]));
    let weights = Array::filled(problem.graph.type_of(problem.result).clone(), 1.0);
    problem.gradient(weights).remove(0)
}

#[test]
fn the_first_of_equal_extremes_has_the_gradient_of_a_maximum() {
    let x = || array(&[2, 3], &[1., 5., 5., 2., 0., 1.]);
    let dx = gradient_at(x(), |g, x| g.reduce(ReduceKind::Max, x, &[1]));
    assert_eq!(dx.values, [0., 1., 0., 1., 0., 0.]);
    let dx = gradient_at(x(), |g, x| g.reduce(ReduceKind::Max, x, &[0]));
    assert_eq!(dx.values, [0., 1., 1., 1., 0., 0.]);
    let dx = gradient_at(x(), |g, x| g.reduce(ReduceKind::Max, x, &[0, 1]));
    assert_eq!(dx.values, [0., 1., 0., 0., 0., 0.]);
}

#[test]
fn equal_operands_share() {
    for name in ["max", "min"] {
        let dx = gradient_at(array(&[3], &[-1., 0., 1.]), |g, x| {
            let zero = g.constant_like(x, 0.0);
            g.apply(name, &[x, zero])
        });
        let expected = if name == "max" { [0., 0.5, 1.] } else { [1., 0.5, 0.] };
        assert_eq!(dx.values, expected, "{name}");
    }
}

#[test]
fn products_with_zeros() {
    for zeros in 0..4 {
        let mut values = vec![1.5, -2.0, 0.5, 3.0, -1.0, 2.0];
        values[1..1 + zeros].fill(0.0);
        for axes in [&[0][..], &[1], &[0, 1]] {
            let op = Op::from(Reduce { kind: ReduceKind::Prod, axes: Axes::from_slice(axes) });
            assert_gradients(&[array(&[2, 3], &values)], |graph, nodes| {
                graph.emit(op.clone(), nodes)
            });
        }
    }
}

#[test]
fn powers_at_zero() {
    let at = |base: f64, exponent: f64| {
        let problem = Problem::new(
            &Differentiator::default(),
            &[array(&[], &[base]), array(&[], &[exponent])],
            |graph, nodes| graph.apply("pow", nodes),
        );
        let gradient = problem.gradient(array(&[], &[1.0]));
        (gradient[0].values[0], gradient[1].values[0])
    };
    assert_eq!(at(0.0, 0.0), (0.0, 0.0));
    assert_eq!(at(0.0, 2.0), (0.0, 0.0));
    assert_eq!(at(0.0, 1.0), (1.0, 0.0));
    assert_eq!(at(-3.0, 2.0).0, -6.0);
    assert!(at(-3.0, 2.0).1.is_nan());
    assert_gradients(&[array(&[], &[1.5]), array(&[], &[0.0])], |g, x| g.apply("pow", x));
}

#[test]
fn logaddexp_of_far_apart_and_infinite_values() {
    let at = |a: f64, b: f64| {
        let inputs = [array(&[], &[a]), array(&[], &[b])];
        let problem = Problem::new(&Differentiator::default(), &inputs, |graph, nodes| {
            graph.apply("logaddexp", nodes)
        });
        let gradient = problem.gradient(array(&[], &[1.0]));
        (gradient[0].values[0], gradient[1].values[0])
    };
    assert_eq!(at(1000.0, -1000.0), (1.0, 0.0));
    assert_eq!(at(f64::NEG_INFINITY, 1.0), (0.0, 1.0));
}

#[test]
fn empty_tensors() {
    for kind in ReduceKind::ALL {
        let dx = gradient_at(array(&[2, 0], &[]), |g, x| g.reduce(kind, x, &[1]));
        assert!(dx.values.is_empty());
    }
    let dx = gradient_at(array(&[3], &[1., 2., 3.]), |g, x| g.slice(x, &[2], &[2], &[1]));
    assert_eq!(dx.values, [0.; 3]);
    let dx = gradient_at(array(&[0], &[]), |g, x| g.pad(x, &[1], &[1], &[1], 0.0));
    assert!(dx.values.is_empty());
}

#[test]
fn contractions_with_axes_in_any_order() {
    let number = |i: usize| (i as f64 * 0.7).sin();
    let tensor = |shape: &[usize]| {
        array(shape, &(0..shape.iter().product()).map(number).collect::<Vec<_>>())
    };
    let inputs = [tensor(&[2, 3, 2, 2]), tensor(&[2, 2, 3, 1])];
    // Batch 2:0, contracted 1:2 and 0:1 (out of order on both sides), outer 3 and 3.
    assert_gradients(&inputs, |g, x| g.contract(x[0], x[1], &[(2, 0)], &[(1, 2), (0, 1)]));
    // Nothing contracted, several batch axes.
    assert_gradients(&inputs, |g, x| g.contract(x[0], x[1], &[(3, 0), (0, 1)], &[]));
    // Everything contracted.
    let inputs = [tensor(&[2, 3]), tensor(&[3, 2])];
    assert_gradients(&inputs, |g, x| g.contract(x[0], x[1], &[], &[(1, 0), (0, 1)]));
}

#[test]
fn views_have_none() {
    let mut graph = Graph::new();
    let x = graph.constant(DType::F64, &[2], 1.0);
    let map = crate::index::IndexMap::identity(&[2]);
    let view = graph.emit(crate::op::View { map }.into(), &[x]);
    let loss = graph.sum(view, &[0]);
    let error = gradient(&mut graph, loss, &[x]).unwrap_err();
    insta::assert_snapshot!(error, @"view: a view has no gradient; the optimizer, which makes views, runs after differentiation");
}
