//! Convolutions, pooling and resampling against plain loops.

use cygnet::language::program::Mode;

use crate::elaborate::{assert_close, model, outputs};

/// The type and values of a model of one expression; inputs count in tenths.
fn value(signature: &str, body: &str) -> (String, Vec<f64>) {
    let model = model(&format!("model m({signature}) = {body}"), &[], Mode::Inference);
    let result = outputs(&model.program, &[]).remove(0);
    (result.ty.to_string(), result.values)
}

/// A tensor of four axes, with tenths for elements.
#[derive(Clone, Copy)]
struct Tenths([usize; 4]);

impl Tenths {
    /// The element at an index, 0 outside.
    fn at(&self, index: [i64; 4]) -> f64 {
        let inside = index.iter().zip(self.0).all(|(&i, extent)| (0..extent as i64).contains(&i));
        let offset = index.iter().zip(self.0).fold(0, |at, (&i, extent)| at * extent as i64 + i);
        if inside { offset as f64 / 10.0 } else { 0.0 }
    }
}

/// Calls `element` for all indices of a shape, in order.
fn all(shape: [usize; 4], mut element: impl FnMut([i64; 4]) -> f64) -> Vec<f64> {
    let mut values = Vec::new();
    for a in 0..shape[0] as i64 {
        for b in 0..shape[1] as i64 {
            for c in 0..shape[2] as i64 {
                for d in 0..shape[3] as i64 {
                    values.push(element([a, b, c, d]));
                }
            }
        }
    }
    values
}

/// What is said about each axis of space.
struct Case {
    x: [usize; 4],
    weight: [usize; 4],
    stride: [i64; 2],
    padding: [i64; 2],
    dilation: [i64; 2],
    groups: usize,
}

impl Case {
    fn arguments(&self) -> String {
        let list = |[a, b]: [i64; 2]| format!("[{a}, {b}]");
        let (stride, padding) = (list(self.stride), list(self.padding));
        let (dilation, groups) = (list(self.dilation), self.groups);
        format!("stride: {stride}, padding: {padding}, dilation: {dilation}, groups: {groups}")
    }

    fn signature(&self) -> String {
        format!("x: f32{:?}, w: f32{:?}", self.x, self.weight)
    }
}

#[test]
fn convolutions() {
    let cases = [
        Case {
            x: [2, 3, 5, 4],
            weight: [2, 3, 3, 2],
            stride: [1, 1],
            padding: [0, 0],
            dilation: [1, 1],
            groups: 1,
        },
        Case {
            x: [1, 4, 7, 6],
            weight: [6, 2, 3, 2],
            stride: [2, 3],
            padding: [1, 2],
            dilation: [2, 1],
            groups: 2,
        },
    ];
    for case in cases {
        let (x, weight) = (Tenths(case.x), Tenths(case.weight));
        let size = |axis: usize| {
            let reach = case.dilation[axis] * (case.weight[2 + axis] as i64 - 1) + 1;
            let room = case.x[2 + axis] as i64 + 2 * case.padding[axis] - reach;
            (room / case.stride[axis] + 1) as usize
        };
        let shape = [case.x[0], case.weight[0], size(0), size(1)];
        let (inputs, per_group) = (case.weight[1], case.weight[0] / case.groups);
        let expected = all(shape, |[n, o, h, w]| {
            let taps = all([1, inputs, case.weight[2], case.weight[3]], |[_, c, i, j]| {
                let channel = o / per_group as i64 * inputs as i64 + c;
                let row = h * case.stride[0] + i * case.dilation[0] - case.padding[0];
                let column = w * case.stride[1] + j * case.dilation[1] - case.padding[1];
                x.at([n, channel, row, column]) * weight.at([o, c, i, j])
            });
            taps.iter().sum()
        });
        let (ty, values) = value(&case.signature(), &format!("conv(x, w, {})", case.arguments()));
        assert_eq!(ty, format!("f32{shape:?}"));
        assert_close(&values, &expected);
    }
}

#[test]
fn transposed_convolutions() {
    let cases = [
        Case {
            x: [2, 3, 2, 4],
            weight: [3, 2, 3, 2],
            stride: [1, 1],
            padding: [0, 0],
            dilation: [1, 1],
            groups: 1,
        },
        Case {
            x: [1, 4, 3, 3],
            weight: [4, 3, 3, 4],
            stride: [2, 3],
            padding: [1, 2],
            dilation: [2, 1],
            groups: 2,
        },
    ];
    for case in cases {
        let (x, weight) = (Tenths(case.x), Tenths(case.weight));
        let extra = [1, 0];
        let extra = extra.map(|extra| if case.groups == 2 { extra } else { 0 });
        let size = |axis: usize| {
            let steps = (case.x[2 + axis] as i64 - 1) * case.stride[axis];
            let reach = case.dilation[axis] * (case.weight[2 + axis] as i64 - 1);
            (steps - 2 * case.padding[axis] + reach + extra[axis] + 1) as usize
        };
        let shape = [case.x[0], case.weight[1] * case.groups, size(0), size(1)];
        let (inputs, per_group) = (case.x[1] / case.groups, case.weight[1]);
        let expected = all(shape, |[n, o, h, w]| {
            let group = o / per_group as i64;
            // Every input element adds the kernel to the places that it reaches.
            let reaching = all([inputs, case.x[2], case.x[3], 1], |[c, i, j, _]| {
                let channel = group * inputs as i64 + c;
                let tap = |axis: usize, place: i64, from: i64| {
                    let distance = place + case.padding[axis] - from * case.stride[axis];
                    let whole = distance % case.dilation[axis] == 0;
                    if whole { distance / case.dilation[axis] } else { -1 }
                };
                let (row, column) = (tap(0, h, i), tap(1, w, j));
                let tap = [channel, o % per_group as i64, row, column];
                x.at([n, channel, i, j]) * weight.at(tap)
            });
            reaching.iter().sum()
        });
        let arguments = format!("{}, output_padding: {extra:?}", case.arguments());
        let (ty, values) = value(&case.signature(), &format!("conv_transpose(x, w, {arguments})"));
        assert_eq!(ty, format!("f32{shape:?}"));
        assert_close(&values, &expected);
    }
}

#[test]
fn convolutions_over_one_axis() {
    let (ty, values) = value("x: f32[1, 1, 5], w: f32[1, 1, 3]", "conv(x, w, padding: \"same\")");
    assert_eq!(ty, "f32[1, 1, 5]");
    assert_close(&values, &[0.02, 0.05, 0.08, 0.11, 0.04]);
    let (ty, values) = value("x: f32[1, 1, 4], w: f32[1, 1, 2]", "conv(x, w, padding: \"same\")");
    // The odd element of padding is behind.
    assert_eq!(ty, "f32[1, 1, 4]");
    assert_close(&values, &[0.01, 0.02, 0.03, 0.0]);
    let (ty, _) = value("x: f32[1, 1, 5], w: f32[1, 1, 3]", "conv(x, w, padding: \"valid\")");
    assert_eq!(ty, "f32[1, 1, 3]");
    let transposed = "conv_transpose(x, w, stride: 2)";
    let (ty, values) = value("x: f32[1, 1, 2], w: f32[1, 1, 3]", transposed);
    assert_eq!(ty, "f32[1, 1, 5]");
    assert_close(&values, &[0.0, 0.0, 0.0, 0.01, 0.02]);
}

const X: Tenths = Tenths([1, 2, 5, 4]);

/// The elements of X under a window of `size`, those outside left out.
fn under(
    channel: i64,
    [h, w]: [i64; 2],
    [row, column]: [i64; 2],
    stride: i64,
    padding: i64,
) -> Vec<f64> {
    let mut values = Vec::new();
    for i in 0..h {
        for j in 0..w {
            let (row, column) = (row * stride + i - padding, column * stride + j - padding);
            if (0..5).contains(&row) && (0..4).contains(&column) {
                values.push(X.at([0, channel, row, column]));
            }
        }
    }
    values
}

#[test]
fn pooling() {
    let signature = "x: f32[1, 2, 5, 4]";
    let largest = |values: Vec<f64>| values.into_iter().fold(f64::NEG_INFINITY, f64::max);
    let (ty, values) = value(signature, "-max_pool2d(-x, 3, stride: 2, padding: 1)");
    assert_eq!(ty, "f32[1, 2, 3, 2]");
    let smallest = |values: Vec<f64>| values.into_iter().fold(f64::INFINITY, f64::min);
    let expected = all([1, 2, 3, 2], |[_, c, h, w]| smallest(under(c, [3, 3], [h, w], 2, 1)));
    assert_close(&values, &expected);
    let (ty, values) = value(signature, "max_pool2d(x, [3, 2])");
    assert_eq!(ty, "f32[1, 2, 1, 2]");
    let windows = |c: i64, w: i64| {
        let inside = |j: i64| (0..3).map(move |i| X.at([0, c, i, 2 * w + j]));
        (0..2).flat_map(inside).collect::<Vec<f64>>()
    };
    assert_close(&values, &all([1, 2, 1, 2], |[_, c, _, w]| largest(windows(c, w))));

    let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
    let (_, values) = value(signature, "avg_pool2d(x, 3, stride: 2, padding: 1)");
    let zeros = |c: i64, at: [i64; 2]| under(c, [3, 3], at, 2, 1).iter().sum::<f64>() / 9.0;
    assert_close(&values, &all([1, 2, 3, 2], |[_, c, h, w]| zeros(c, [h, w])));
    let counted = "avg_pool2d(x, 3, stride: 2, padding: 1, count_include_pad: false)";
    let (_, values) = value(signature, counted);
    let expected = all([1, 2, 3, 2], |[_, c, h, w]| mean(under(c, [3, 3], [h, w], 2, 1)));
    assert_close(&values, &expected);

    let (ty, values) = value(signature, "global_avg_pool(x)");
    assert_eq!(ty, "f32[1, 2]");
    assert_close(&values, &[0.95, 2.95]);
    assert_close(&value(signature, "global_max_pool(x)").1, &[1.9, 3.9]);
    let (ty, values) = value("x: f32[1, 1, 5]", "max_pool1d(x) + avg_pool1d(x)");
    assert_eq!(ty, "f32[1, 1, 2]");
    assert_close(&values, &[0.15, 0.55]);

    // Rows 0..3 and 2..5 of five, columns 0..2, 1..3 and 2..4 of four.
    let (ty, values) = value(signature, "adaptive_avg_pool2d(x, [2, 3])");
    assert_eq!(ty, "f32[1, 2, 2, 3]");
    let parts = |c: i64, h: i64, w: i64| {
        let element = |i: i64, j: i64| X.at([0, c, 2 * h + i, w + j]);
        let rows = |i: i64| (0..2).map(move |j| element(i, j));
        (0..3).flat_map(rows).collect::<Vec<f64>>()
    };
    assert_close(&values, &all([1, 2, 2, 3], |[_, c, h, w]| mean(parts(c, h, w))));
}

#[test]
fn one_axis_of_space_as_two() {
    // Elements are 0 to 5 in tenths.
    let signature = "x: f32[n: 1, c: 2, t: 3]";
    let same = |one: &str, two: &str| {
        let (ty, found) = value(signature, one);
        let two = format!("({two})[..., 0] + 0 * ({one})");
        assert_eq!((ty, found), value(signature, &two), "{one}");
    };
    let image = "x as [n, c, t] -> [n, c, t, 1]";
    same("adaptive_avg_pool1d(x, 2)", &format!("adaptive_avg_pool2d({image}, [2, 1])"));
    same("upsample1d(x, 3)", &format!("upsample({image}, [3, 1])"));
    same("upsample1d(x, linear: true)", &format!("upsample({image}, [2, 1], bilinear: true)"));
}

#[test]
fn upsampling() {
    let (ty, values) = value("x: f32[1, 1, 1, 2]", "upsample(x, [2, 3])");
    assert_eq!(ty, "f32[1, 1, 2, 6]");
    assert_close(&values, &[0.0, 0.0, 0.0, 0.1, 0.1, 0.1, 0.0, 0.0, 0.0, 0.1, 0.1, 0.1]);
    // Centres of the result lie at -0.25, 0.25, 0.75, 1.25, ... of the input.
    let (ty, values) = value("x: f32[1, 1, 2, 2]", "upsample(x, bilinear: true)");
    assert_eq!(ty, "f32[1, 1, 4, 4]");
    let row = [0.0, 0.025, 0.075, 0.1];
    let expected: Vec<f64> =
        [0.0, 0.05, 0.15, 0.2].iter().flat_map(|down| row.map(|along| down + along)).collect();
    assert_close(&values, &expected);
}

#[test]
fn layers_have_the_parameters_of_pytorch() {
    let text = "model m(x: f32[n, 4, 9, 8]) = x
    |> down: conv2d(6, kernel: [3, 2], stride: 2, padding: 1, groups: 2)
    |> up: conv_transpose2d(8, kernel: 3, stride: 2, groups: 2, bias: false)
    |> max_pool2d(2)";
    let model = model(text, &[("n", 2)], Mode::Inference);
    let slots = model.program.graph.slots.iter();
    let shapes: Vec<String> = slots.map(|slot| format!("{} {}", slot.name, slot.ty)).collect();
    assert_eq!(
        shapes,
        [
            "x f32[2, 4, 9, 8]",
            "down.weight f32[6, 2, 3, 2]",
            "down.bias f32[6]",
            "up.weight f32[6, 4, 3, 3]",
        ]
    );
    let result = outputs(&model.program, &[]).remove(0);
    assert_eq!(result.ty.to_string(), "f32[2, 8, 5, 5]");
}
