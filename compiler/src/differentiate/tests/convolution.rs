//! First and second derivatives of convolutions and windows.

use super::*;
use crate::op::{Conv, Fold, Sliding, Window};

fn tensor(shape: &[usize]) -> Array {
    let number = |i: usize| (i as f64 * 0.7).sin();
    array(shape, &(0..shape.iter().product()).map(number).collect::<Vec<_>>())
}

fn assert_convolution(input: &[usize], kernel: &[usize], axes: &[Sliding]) {
    for reversed in [false, true] {
        let conv = Conv { axes: axes.iter().copied().collect(), reversed };
        assert_gradients(&[tensor(input), tensor(kernel)], |graph, nodes| {
            graph.emit(conv.clone().into(), nodes)
        });
    }
}

const PLAIN: Sliding = Sliding::PLAIN;

#[test]
fn of_one_axis() {
    assert_convolution(&[1, 2, 2, 5], &[1, 3, 2, 3], &[PLAIN]);
    let strided = Sliding { stride: 2, low: 1, high: 1, ..PLAIN };
    assert_convolution(&[1, 1, 2, 6], &[1, 2, 2, 3], &[strided]);
    let dilated = Sliding { dilation: 2, low: 2, high: 1, ..PLAIN };
    assert_convolution(&[1, 2, 1, 4], &[1, 1, 1, 3], &[dilated]);
    let transposed = Sliding { input_dilation: 2, low: 2, high: 3, ..PLAIN };
    assert_convolution(&[1, 1, 1, 3], &[1, 2, 1, 3], &[transposed]);
    let everything = Sliding { stride: 3, dilation: 2, input_dilation: 2, low: 3, high: -1 };
    assert_convolution(&[1, 1, 1, 5], &[1, 1, 1, 3], &[everything]);
    let cut = Sliding { low: -1, high: -2, ..PLAIN };
    assert_convolution(&[1, 1, 1, 6], &[1, 1, 1, 2], &[cut]);
}

#[test]
fn of_two_axes_and_groups() {
    let strided = Sliding { stride: 2, low: 1, ..PLAIN };
    assert_convolution(&[2, 1, 1, 3, 4], &[2, 2, 1, 2, 2], &[strided, PLAIN]);
    assert_convolution(&[1, 2, 2, 2, 2], &[1, 1, 2, 1, 1], &[PLAIN; 2]);
}

#[test]
fn of_windows() {
    let windows = [
        Window { size: 2, stride: 2, dilation: 1, low: 0, high: 0 },
        Window { size: 3, stride: 2, dilation: 1, low: 1, high: 1 },
        Window { size: 2, stride: 1, dilation: 2, low: 1, high: -1 },
    ];
    for window in windows {
        assert_gradients(&[tensor(&[2, 5])], |g, x| g.unfold(x[0], &[window], 0.5));
        let fold = Fold { windows: [window].into_iter().collect(), extents: [5].as_slice().into() };
        let count = window.count(5).unwrap();
        assert_gradients(&[tensor(&[2, count, window.size])], |g, x| {
            g.emit(fold.clone().into(), x)
        });
    }
    let pair = [windows[0], windows[1]];
    assert_gradients(&[tensor(&[4, 3])], |g, x| g.unfold(x[0], &pair, 0.0));
}
