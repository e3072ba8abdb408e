//! `scan` in the language: what it carries and yields, and what it refuses.

use cygnet::language::bindings::Bindings;
use cygnet::language::program::Mode;
use cygnet::language::recipe::elaborate_recipe;
use insta::assert_snapshot;

use crate::elaborate::{model, outputs, package};
use crate::language::render;

fn values(text: &str) -> Vec<(String, Vec<f64>)> {
    let model = model(text, &[], Mode::Inference);
    let round = |x: &f64| (x * 1000.0).round() / 100.0;
    let results = outputs(&model.program, &[]).into_iter();
    results.map(|r| (r.ty.to_string(), r.values.iter().map(round).collect())).collect()
}

#[test]
fn sums_along_an_axis() {
    // x is 0 1 2 / 3 4 5 in tenths.
    let results = values(
        "
model m(x: f32[n: 2, t: 3]) {
    var total = zeros[n]
    let sums = scan x_t in x along t {
        total = total + x_t
        yield total
    }
    (sums, total)
}",
    );
    assert_eq!(results[0], ("f32[2, 3]".to_owned(), vec![0.0, 1.0, 3.0, 3.0, 7.0, 12.0]));
    assert_eq!(results[1], ("f32[2]".to_owned(), vec![3.0, 12.0]));
}

#[test]
fn several_sequences_and_a_counter() {
    let results = values(
        "
model m(x: f32[t: 3, n: 2], y: f32[n: 2, t: 3]) {
    var last = 0.0
    let (products, places) = scan i, x_t in x, y_t in y along t {
        last = mean(x_t)
        yield (x_t * y_t, f32(i) / 10)
    }
    (products, places, last)
}",
    );
    assert_eq!(results[0].0, "f32[3, 2]");
    // In hundredths of x y, shown in tenths.
    assert_eq!(results[0].1, [0.0, 0.3, 0.2, 1.2, 0.8, 2.5]);
    assert_eq!(results[1], ("f32[3]".to_owned(), vec![0.0, 1.0, 2.0]));
    assert_eq!(results[2], ("f32[]".to_owned(), vec![4.5]));
}

#[test]
fn lists_of_tensors_go_from_step_to_step() {
    let results = values(
        "
model m(x: f32[n: 2, t: 3]) {
    var pairs = for i in 0..2 { yield (zeros[n], i) }
    let sums = scan x_t in x along t {
        pairs = for (sum, count) in pairs { yield (sum + f32(count + 1) * x_t, count + 1) }
        yield pairs[1][0]
    }
    let (first, counted) = pairs[0]
    (sums, first, f32(counted) / 10)
}",
    );
    // x is 0 1 2 / 3 4 5 in tenths; the second sum counts elements 2, 3 and 4 times.
    assert_eq!(results[0], ("f32[2, 3]".to_owned(), vec![0.0, 3.0, 11.0, 6.0, 18.0, 38.0]));
    assert_eq!(results[1], ("f32[2]".to_owned(), vec![8.0, 26.0]));
    assert_eq!(results[2], ("f32[]".to_owned(), vec![3.0]));
}

#[test]
fn a_range_and_a_loop_inside() {
    let results = values(
        "
model m(x: f32[n: 2, t: 3]) {
    var power = ones[n, t]
    scan i in 0..3 {
        var row = zeros[n]
        scan x_t in x along t { row = row + x_t }
        power = power * row
    }
    power
}",
    );
    assert_eq!(results[0].0, "f32[2, 3]");
    assert_eq!(results[0].1, [0.27, 0.27, 0.27, 17.28, 17.28, 17.28]);
}

#[test]
fn parameters_belong_to_one_instance() {
    let text = "
model m(x: f32[n: 2, t: 3, d: 2]) {
    var h = zeros[n, d]
    scan x_t in x along t {
        h = tanh((x_t |> input: linear(d)) + (h |> state: linear(d, bias: false)))
        yield h
    }
}";
    let model = model(text, &[], Mode::Inference);
    let paths: Vec<&str> = model.program.parameters.iter().map(|p| p.path.as_str()).collect();
    assert_eq!(paths, ["input.weight", "input.bias", "state.weight"]);
    assert_eq!(outputs(&model.program, &[])[0].ty.to_string(), "f32[2, 3, 2]");
}

#[test]
fn mistakes() {
    let found = [
        "model m(x: f32[n, t]) {
    var h = zeros[n]
    scan x_t in x along t { h = x }
    h
}",
        "model m(x: f32[n, t]) {
    var h = zeros[n]
    scan x_t in x along t { h = h > x_t }
    h
}",
        "model m(x: f32[n, t]) = scan x_t in x { yield x_t }",
        "model m(x: f32[n, t]) = scan x_t in x along s { yield x_t }",
        "model m(x: f32[n, 3], y: f32[n, 4]) {
    let a = x as [n, t] -> [n, t]
    let b = y as [n, t] -> [n, t]
    scan x_t in a, y_t in b along t { yield x_t + y_t }
}",
        "model m(x: f32[n, t]) = scan x_t in x along t {
    yield x_t
    yield x_t
}",
        "layer counted(x: f32[n]) {
    state count: f32[] = zeros
    count = count + 1
    x
}
model m(x: f32[n, t]) = scan x_t in x along t { yield x_t |> counted }",
        "model m(x: f32[n, t]) {
    var h = \"text\"
    scan x_t in x along t { h = x_t }
    h
}",
        "model m(x: f32[n, t]) {
    var h = [zeros[n], zeros[n]]
    scan x_t in x along t { h = [x_t] }
    h[0]
}",
        "model m(x: f32[n, t]) {
    var h = (zeros[n], 0)
    scan x_t in x along t { h = (x_t, x_t) }
    h
}",
        "model m(x: f32[n]) {
    var y = x
    scan a in 0..2 { scan b in 0..2 { scan c in 0..2 { scan d in 0..2 { scan e in 0..2 {
        y = y + f32(a + b + c + d + e)
    } } } } }
    y
}",
    ]
    .map(crate::check::report);
    assert_snapshot!(found.join("\n"));
}

#[test]
fn ends_early() {
    // Sums 0 1 3, and 3 7 12, in tenths: the last ones are not done.
    let results = values(
        "
model m(x: f32[n: 2, t: 3]) {
    var total = zeros[n]
    let (sums, places) = scan k, x_t in x along t until all(total > 0.05) {
        total = total + x_t
        yield (total, f32(k + 1) / 10)
    }
    (sums, places, total)
}",
    );
    assert_eq!(results[0], ("f32[2, 3]".to_owned(), vec![0.0, 1.0, 0.0, 3.0, 7.0, 0.0]));
    assert_eq!(results[1], ("f32[3]".to_owned(), vec![1.0, 2.0, 0.0]));
    assert_eq!(results[2], ("f32[2]".to_owned(), vec![1.0, 7.0]));
}

#[test]
fn mistakes_of_early_ends() {
    let found = [
        "model m(x: f32[n, t]) {
    var h = zeros[n]
    scan x_t in x along t until h > 3 { h = h + x_t }
    h
}",
        "model m(x: f32[n, t]) {
    var h = zeros[n]
    scan x_t in x along t until sum(h) { h = h + x_t }
    h
}",
        "model m(x: f32[n, t]) {
    var h = x
    for _ in 0..3 until all(h > 3) { h = h + 1 }
    h
}",
    ]
    .map(crate::check::report);
    let text = "
model grow(x: f32[n: 2]) {
    param rate: f32[] = ones
    var y = x
    scan _ in 0..9 until all(y > 3) { y = y + rate * y }
    y
}
train t() {
    data x: f32[n: 2] from npy(\"x.npy\")
    minimize mean(grow(x)) using sgd(lr: 0.1)
    batch 2
}";
    let package = package(text);
    let refused = elaborate_recipe(&package, None, &Bindings::default()).expect_err("no gradient");
    let found = [found.to_vec(), vec![render(&refused, package.sources())]].concat();
    assert_snapshot!(found.join("\n"));
}
