//! Gradients of operations with indices that are data, and of those that go along an axis in order.

use super::*;
use crate::op::{ArgSort, Cumulate, Gather, ReduceKind, Scatter, ScatterKind};

fn indices(shape: &[usize], values: &[f64]) -> Array {
    Array::new(TensorType::new(DType::I32, shape), values.to_vec())
}

/// Numbers that differ.
fn tensor(shape: &[usize]) -> Array {
    let elements = shape.iter().product::<usize>();
    array(shape, &(0..elements).map(|i| (i as f64 * 1.7).sin()).collect::<Vec<_>>())
}

#[test]
fn of_gathering() {
    // Rows of a table, one of them twice and one not at all.
    let inputs = [tensor(&[4, 3]), indices(&[2, 2], &[3., 0., 3., 1.])];
    assert_gradients(&inputs, |g, x| g.emit(Gather { batch: 0 }.into(), x));
    // Elements along an axis.
    let inputs = [tensor(&[2, 4]), indices(&[2, 3], &[3., 3., 0., 1., 2., 1.])];
    assert_gradients(&inputs, |g, x| g.emit(Gather { batch: 1 }.into(), x));
    // One element of each row.
    let inputs = [tensor(&[3, 4, 2]), indices(&[3], &[3., 0., 2.])];
    assert_gradients(&inputs, |g, x| g.emit(Gather { batch: 1 }.into(), x));
}

#[test]
fn of_scattering() {
    let inputs = [indices(&[2, 3], &[2., 2., 0., 1., 1., 1.]), tensor(&[2, 3, 2])];
    for kind in [ScatterKind::Add, ScatterKind::Set] {
        for batch in 0..=1 {
            let op = Scatter { kind, batch, extent: 4 };
            assert_gradients(&inputs, |g, x| g.emit(op.clone().into(), x));
        }
    }
}

#[test]
fn of_cumulation() {
    let mut with_zeros = tensor(&[2, 5, 2]);
    with_zeros.values[4] = 0.0;
    with_zeros.values[8] = 0.0;
    for kind in ReduceKind::ALL {
        for (reverse, exclusive) in [(false, false), (true, false), (false, true), (true, true)] {
            for axis in 0..3 {
                let op = Cumulate { kind, axis, reverse, exclusive };
                // The largest of no elements is infinite.
                let last = exclusive && kind == ReduceKind::Max;
                let build = |g: &mut Graph, x: &[NodeId]| {
                    let y = g.emit(op.clone().into(), x);
                    if !last {
                        return y;
                    }
                    let bound = g.constant_like(y, -10.0);
                    g.apply("max", &[y, bound])
                };
                // Equal elements are kinks of a maximum, and no trouble for a product.
                let x =
                    if kind == ReduceKind::Max { tensor(&[2, 5, 2]) } else { with_zeros.clone() };
                assert_gradients(&[x], build);
            }
        }
    }
}

#[test]
fn of_sorted_values() {
    for descending in [false, true] {
        assert_gradients(&[tensor(&[2, 6])], |g, x| {
            let order = g.emit(ArgSort { descending, count: 4 }.into(), x);
            g.emit(Gather { batch: 1 }.into(), &[x[0], order])
        });
    }
}

#[test]
fn of_reversal() {
    assert_gradients(&[tensor(&[2, 3, 2])], |g, x| g.reverse(x[0], &[0, 2]));
}

#[test]
fn equal_maxima_give_the_gradient_to_the_latest() {
    let problem =
        Problem::new(&Differentiator::default(), &[array(&[5], &[1., 3., 2., 3., 0.])], |g, x| {
            let op = Cumulate { kind: ReduceKind::Max, axis: 0, reverse: false, exclusive: false };
            g.emit(op.into(), x)
        });
    let dx = problem.gradient(array(&[5], &[1., 10., 100., 1000., 10000.])).remove(0);
    assert_eq!(dx.values, [1., 110., 0., 11000., 0.]);
}
