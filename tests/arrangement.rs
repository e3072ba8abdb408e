//! Tensor indices, slices with steps, and the functions that rearrange, cumulate and sort.

use crate::semantics::value;

/// An input `x` with the elements 0, 1, 2, ... tenths; results are shown in tenths.
const X: &str = "x: f32[n: 2, t: 3]";

/// Asserts type and values of an expression of [`X`].
#[track_caller]
fn gives(expression: &str, ty: &str, values: &[f64]) {
    let (found, numbers) = value(X, expression);
    assert_eq!((found.as_str(), numbers.as_slice()), (ty, values), "{expression}");
}

#[test]
fn indices_that_are_tensors() {
    // Each row of a table for each index.
    gives("x[n: i32(arange[3] == 1)]", "f32[3, 3]", &[0., 1., 2., 3., 4., 5., 0., 1., 2.]);
    // An axis that both have runs along: one element of each row.
    gives("x[t: 2 * arange[n]]", "f32[2]", &[0., 5.]);
    // The axes of the index take the place of the one that is indexed.
    gives("x[t: arange[1] as [k] -> [k, j: 2]]", "f32[2, 1, 2]", &[0., 0., 3., 3.]);
    gives("x[0, 2 - arange[t]]", "f32[3]", &[2., 1., 0.]);
    gives("gather(x, 1 + 0 * arange[4], over: 0)[2]", "f32[3]", &[3., 4., 5.]);
}

#[test]
fn scattering_is_the_inverse() {
    gives(
        "scatter(x, i32(arange[t] == 2), 4, over: t)",
        "f32[2, 4]",
        &[1., 2., 0., 0., 7., 5., 0., 0.],
    );
    gives("scatter(x, i32(arange[t] == 2), 2, last: true)", "f32[2, 2]", &[1., 2., 4., 5.]);
    gives("scatter(x, arange[n] + 1, 3)", "f32[3, 3]", &[0., 0., 0., 0., 1., 2., 3., 4., 5.]);
    // An axis that is not consumed runs along.
    let index = "i32(arange[n] as [n] -> [n, t])";
    gives(&format!("scatter(x, {index}, 2, over: t)"), "f32[2, 2]", &[3., 0., 0., 12.]);
}

#[test]
fn slices_with_steps() {
    gives("x[t: 0.. by 2]", "f32[2, 2]", &[0., 2., 3., 5.]);
    gives("x[t: .. by 2]", "f32[2, 2]", &[0., 2., 3., 5.]);
    gives("x[.., 1..3 by 2]", "f32[2, 1]", &[1., 4.]);
    gives("let by = 2\nx[t: 0..by]", "f32[2, 2]", &[0., 1., 3., 4.]);
}

#[test]
fn running_sums_products_and_maxima() {
    gives("cumsum(x, along: t)", "f32[2, 3]", &[0., 1., 3., 3., 7., 12.]);
    gives("cumsum(x, along: t, reverse: true)", "f32[2, 3]", &[3., 3., 2., 12., 9., 5.]);
    gives("cumsum(x, along: n, exclusive: true)", "f32[2, 3]", &[0., 0., 0., 0., 1., 2.]);
    gives("cumprod(10 * x, along: t) / 10", "f32[2, 3]", &[0., 0., 0., 3., 12., 60.]);
    gives("cummax(x * (0.25 - x), along: t) * 10", "f32[2, 3]", &[0., 1.5, 1.5, -1.5, -1.5, -1.5]);
}

#[test]
fn sorting() {
    gives("sort(-x)", "f32[2, 3]", &[-2., -1., 0., -5., -4., -3.]);
    gives("sort(x, along: n, descending: true)", "f32[2, 3]", &[3., 4., 5., 0., 1., 2.]);
    gives("f32(argsort(-x)) / 10", "f32[2, 3]", &[2., 1., 0., 2., 1., 0.]);
    // Equal elements keep their order.
    gives("f32(argsort(0 * x, descending: true)) / 10", "f32[2, 3]", &[0., 1., 2., 0., 1., 2.]);
    gives("let (v, i) = topk(x, 2)\nv + f32(i) / 10", "f32[2, 2]", &[4., 2., 7., 5.]);
    gives("let (v, i) = topk(x, 1, along: n)\nv - f32(i) / 10", "f32[1, 3]", &[2., 3., 4.]);
}

#[test]
fn axes_turned_around_repeated_and_padded() {
    gives("reverse(x, along: t)", "f32[2, 3]", &[2., 1., 0., 5., 4., 3.]);
    gives("reverse(x, along: [n, t])", "f32[2, 3]", &[5., 4., 3., 2., 1., 0.]);
    gives("roll(x, 1, along: t)", "f32[2, 3]", &[2., 0., 1., 5., 3., 4.]);
    gives("roll(x, -4, along: t)", "f32[2, 3]", &[1., 2., 0., 4., 5., 3.]);
    gives("roll(x, 6, along: t)", "f32[2, 3]", &[0., 1., 2., 3., 4., 5.]);
    gives("repeat(x[0], 2, along: 0)", "f32[6]", &[0., 1., 2., 0., 1., 2.]);
    gives("repeat(x, 2, along: n)[2]", "f32[3]", &[0., 1., 2.]);
    gives("pad(x[1], 1, 2, along: 0)", "f32[6]", &[0., 3., 4., 5., 0., 0.]);
    gives("pad(x[1], 0, 1, along: 0, value: 0.7)", "f32[4]", &[3., 4., 5., 7.]);
}

#[test]
fn tensors_joined_and_taken_apart() {
    gives("stack(x[0], x[1])", "f32[2, 3]", &[0., 1., 2., 3., 4., 5.]);
    gives("stack(x[0], x[1], at: -1)", "f32[3, 2]", &[0., 3., 1., 4., 2., 5.]);
    gives("let parts = for i in 0..2 { yield x[i] }\nstack(parts)[1]", "f32[3]", &[3., 4., 5.]);
    gives("let rows = unstack(x, along: n)\nrows[1] - rows[0]", "f32[3]", &[3., 3., 3.]);
    gives("split(x, 3, along: t)[1]", "f32[2, 1]", &[1., 4.]);
    gives("split(x, [1, 2], along: t)[1]", "f32[2, 2]", &[1., 2., 4., 5.]);
}

#[test]
fn triangles() {
    gives("tril(x + 0.1)", "f32[2, 3]", &[1., 0., 0., 4., 5., 0.]);
    gives("tril(x + 0.1, 1)", "f32[2, 3]", &[1., 2., 0., 4., 5., 6.]);
    gives("triu(x + 0.1, 1)", "f32[2, 3]", &[0., 2., 3., 0., 0., 6.]);
    gives("x + f32(causal_mask(n, t))", "f32[2, 3]", &[10., 1., 2., 13., 14., 5.]);
}

#[test]
fn losses_of_classes() {
    // softmax(0, 0.1, 0.2) and softmax(0.3, 0.4, 0.5) are the same.
    let p: Vec<f64> = [0.0_f64, 0.1, 0.2].iter().map(|x| x.exp()).collect();
    let log = |class: usize| (p[class] / p.iter().sum::<f64>()).ln();
    let close = |expression: &str, wanted: f64| {
        let found = value(X, &format!("10 * {expression}")).1[0];
        assert!((found - 100.0 * wanted).abs() < 0.01, "{expression}: {found}, not {wanted}");
    };
    close("cross_entropy(x, 2 * arange[n])", -(log(0) + log(2)) / 2.0);
    close("cross_entropy(x, 2 * arange[n], ignore: 2)", -log(0));
    let mean = (log(0) + log(1) + log(2)) / 3.0;
    close(
        "cross_entropy(x, 2 * arange[n], smoothing: 0.1)",
        -(0.9 * (log(0) + log(2)) / 2.0 + 0.1 * mean),
    );
    close(
        "weighted_cross_entropy(x, 2 * arange[n], f32(arange[t]) + 1)",
        -(log(0) + 3.0 * log(2)) / 4.0,
    );
    close("nll(log_softmax(x), 2 * arange[n])", -(log(0) + log(2)) / 2.0);
    close("kl_divergence(log_softmax(x), one_hot(arange[n], t))", -(log(0) + log(1)) / 2.0);
    close("huber(x, 0, delta: 0.2)", (0.005 + 0.02 + 0.2 * (0.2 + 0.3 + 0.4)) / 6.0);
    close("hinge(x, 1 - 2 * f32(arange[n]))", (1.0 + 0.9 + 0.8 + 1.3 + 1.4 + 1.5) / 6.0);
    close("gelu_tanh(x + 0.8)[0, 2]", 0.841_192);
}
