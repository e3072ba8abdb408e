//! What programs compute: axes, movement, indices, reductions, control flow, instances, state.

use cygnet::data::source::Classes;
use cygnet::language::program::Mode;
use cygnet_compiler::graph::SlotRole;
use cygnet_compiler::op::Op;

use crate::elaborate::{assert_close, model, outputs, recipe};

/// The type and values of a model `m` with the parameters `signature`; see
/// [`slots`](crate::elaborate::slots) for what inputs are.
pub fn value(signature: &str, body: &str) -> (String, Vec<f64>) {
    value_in(signature, body, Mode::Inference)
}

fn value_in(signature: &str, body: &str, mode: Mode) -> (String, Vec<f64>) {
    let model = model(&format!("model m({signature}) {{\n{body}\n}}"), &[], mode);
    let result = outputs(&model.program, &[]).remove(0);
    // Inputs are tenths; whole numbers read better.
    let rounded = result.values.iter().map(|x| (x * 1000.0).round() / 100.0).collect();
    (result.ty.to_string(), rounded)
}

/// An input `x` with the elements 0, 1, 2, ... tenths; results are shown in tenths.
const X: &str = "x: f32[n: 2, t: 3]";

#[test]
fn axes_match_by_name_in_any_order() {
    let (ty, values) = value("x: f32[n: 2, t: 3], y: f32[t: 3, n: 2]", "x + 10 * y");
    assert_eq!(ty, "f32[2, 3]");
    // y, transposed, is 0 2 4 / 1 3 5.
    assert_eq!(values, [0.0, 21.0, 42.0, 13.0, 34.0, 55.0]);
    let (ty, values) = value("x: f32[t: 3], y: f32[n: 2, t: 3]", "x - y");
    assert_eq!(ty, "f32[2, 3]");
    assert_eq!(values, [0.0, 0.0, 0.0, -3.0, -3.0, -3.0]);
    let (ty, values) = value("x: f32[n: 2, t: 3], y: f32[n: 2]", "x - y");
    assert_eq!(ty, "f32[2, 3]");
    assert_eq!(values, [0.0, 1.0, 2.0, 2.0, 3.0, 4.0]);
}

#[test]
fn unnamed_axes_align_from_the_right_unless_they_are_the_same() {
    let (_, values) = value("x: f32[2, 2], y: f32[2]", "x - y");
    assert_eq!(values, [0.0, 0.0, 2.0, 2.0]);
    // The means of rows belong to the rows that they are means of.
    let (_, values) = value("x: f32[2, 2]", "x - mean(x, over: 1)");
    assert_eq!(values, [-0.5, 0.5, -0.5, 0.5]);
    let (_, values) = value("x: f32[2, 2]", "x - mean(x, over: 0)");
    assert_eq!(values, [-1.0, -1.0, 1.0, 1.0]);
}

#[test]
fn definitions_rename_axes_and_give_them_back() {
    let text = "
layer pair(x: f32[a, b]) -> f32[b, a] = x as [a, b] -> [b, a]
fn scores(q: f32[t, e], k: f32[s, e]) -> f32[t, s] = dot(q, k, over: e)
model m(x: f32[n: 2, t: 3]) {
    let y = x |> pair
    (y + x, scores(x, x))
}";
    let m = model(text, &[], Mode::Inference);
    let results = outputs(&m.program, &[]);
    assert_eq!(results[0].ty.to_string(), "f32[3, 2]");
    // Within `scores` the axes differ though both arguments have the same ones.
    assert_eq!(results[1].ty.to_string(), "f32[2, 2]");
    let rounded: Vec<f64> = results[1].values.iter().map(|x| (x * 100.0).round()).collect();
    assert_eq!(rounded, [5.0, 14.0, 14.0, 50.0]);
}

#[test]
fn movement() {
    let (ty, values) = value(X, "x as [n, t] -> [t, n]");
    assert_eq!((ty.as_str(), values), ("f32[3, 2]", vec![0.0, 3.0, 1.0, 4.0, 2.0, 5.0]));
    let (ty, values) = value(X, "x as [n, t] -> [(t, n)]");
    assert_eq!((ty.as_str(), values), ("f32[6]", vec![0.0, 3.0, 1.0, 4.0, 2.0, 5.0]));
    let (ty, _) = value("x: f32[n: 2, 12]", "x as [n, (3, h, 2)] -> [2, n, h, 3]");
    assert_eq!(ty, "f32[2, 2, 2, 3]");
    let (ty, values) = value("x: f32[2]", "x as [n] -> [n, k: 2]");
    assert_eq!((ty.as_str(), values), ("f32[2, 2]", vec![0.0, 0.0, 1.0, 1.0]));
    let (ty, values) = value("x: f32[2]", "x as [n] -> [3, n]");
    assert_eq!((ty.as_str(), values), ("f32[3, 2]", vec![0.0, 1.0, 0.0, 1.0, 0.0, 1.0]));
    let (ty, _) = value("x: f32[n: 2, 1, h: 3, 1]", "x as [n, 1, h, 1] -> [h, n, 1]");
    assert_eq!(ty, "f32[3, 2, 1]");
    let (ty, _) = value("x: f32[n: 2, 3, 4]", "x as [n, ...] -> [..., n]");
    assert_eq!(ty, "f32[3, 4, 2]");
    let (ty, _) = value("x: f32[2, 3, 4]", "flatten(x)");
    assert_eq!(ty, "f32[2, 12]");
}

#[test]
fn dims_that_movements_introduce_are_numbers() {
    let (ty, values) = value(
        "x: f32[n: 2, 6]",
        "let y = x as [n, (heads, 3)]
fn last(y) = size(y, over: -1)
sum(y) * heads / last(y)",
    );
    assert_eq!((ty.as_str(), values), ("f32[]", vec![44.0]));
}

#[test]
fn indices() {
    assert_eq!(value(X, "x[n: 1]"), ("f32[3]".to_owned(), vec![3.0, 4.0, 5.0]));
    assert_eq!(value(X, "x[t: -1]"), ("f32[2]".to_owned(), vec![2.0, 5.0]));
    assert_eq!(value(X, "x[t: 1..]"), ("f32[2, 2]".to_owned(), vec![1.0, 2.0, 4.0, 5.0]));
    assert_eq!(value(X, "x[t: 0..-1]"), ("f32[2, 2]".to_owned(), vec![0.0, 1.0, 3.0, 4.0]));
    assert_eq!(value(X, "x[t: ..1]"), ("f32[2, 1]".to_owned(), vec![0.0, 3.0]));
    assert_eq!(value(X, "x[1, 2]"), ("f32[]".to_owned(), vec![5.0]));
    assert_eq!(value(X, "x[..., 0]"), ("f32[2]".to_owned(), vec![0.0, 3.0]));
    // A slice keeps its axis, so that it meets others of the same length.
    let (_, values) = value(X, "x[t: 1..] - x[t: 0..-1]");
    assert_eq!(values, [1.0, 1.0, 1.0, 1.0]);
}

#[test]
fn reductions() {
    assert_eq!(value(X, "sum(x)").1, [15.0]);
    assert_eq!(value(X, "sum(x, over: t)").1, [3.0, 12.0]);
    assert_eq!(value(X, "sum(x, over: [n, t])").1, [15.0]);
    assert_eq!(value(X, "mean(x, over: axes(x, except: n))").1, [1.0, 4.0]);
    assert_eq!(value(X, "max(x, over: 0)").1, [3.0, 4.0, 5.0]);
    assert_eq!(value(X, "min(-x, over: t)").1, [-2.0, -5.0]);
    assert_eq!(value(X, "max(x, 0.25)").1, [2.5, 2.5, 2.5, 3.0, 4.0, 5.0]);
    assert_eq!(value(X, "prod(10 * x + 1, over: t) / 10").1, [6.0, 120.0]);
    assert_eq!(value(X, "f32(argmax(x, over: t)) / 10").1, [2.0, 2.0]);
    assert_eq!(value(X, "f32(argmin(x, over: n)) / 10").1, [0.0, 0.0, 0.0]);
    assert_eq!(value(X, "any(x > 0.35, over: n)").1, [0.0, 10.0, 10.0]);
    assert_eq!(value(X, "all(x < 0.25, over: t)").1, [10.0, 0.0]);
    assert_eq!(value(X, "10 * variance(x, over: t)").1, [0.67, 0.67]);
    assert_eq!(value(X, "10 * variance(x, over: t, unbiased: true)").1, [1.0, 1.0]);
}

#[test]
fn products() {
    let (ty, values) = value("x: f32[n: 2, t: 3], y: f32[k: 2, t: 3]", "10 * dot(x, y, over: t)");
    assert_eq!((ty.as_str(), values), ("f32[2, 2]", vec![5.0, 14.0, 14.0, 50.0]));
    // Shared axes run together and stay where the left factor has them.
    let signature = "q: f32[n: 2, t: 3, heads: 2, e: 4], k: f32[n: 2, s: 5, heads: 2, e: 4]";
    let (ty, _) = value(signature, "dot(q, k, over: e)");
    assert_eq!(ty, "f32[2, 3, 2, 5]");
    let (ty, _) = value(signature, "dot(q, k, over: [e, heads])");
    assert_eq!(ty, "f32[2, 3, 5]");
}

#[test]
fn joins_choices_and_classes() {
    let (ty, values) = value(X, "concat(x, x[t: 0..1], along: t)");
    assert_eq!((ty.as_str(), values.len()), ("f32[2, 4]", 8));
    let (ty, values) = value(X, "concat(zeros[2, 1], x, along: t)[t: 1..] - x");
    assert_eq!((ty.as_str(), values), ("f32[2, 3]", vec![0.0; 6]));
    assert_eq!(value(X, "where(x < 0.25, 0.1, x)").1, [1.0, 1.0, 1.0, 3.0, 4.0, 5.0]);
    assert_eq!(value(X, "where(x < 0.25, 0, 1)").1, [0.0, 0.0, 0.0, 10.0, 10.0, 10.0]);
    let (ty, values) = value(X, "one_hot(arange[2] + 1, 3) + 0 * sum(x)");
    assert_eq!((ty.as_str(), values), ("f32[2, 3]", vec![0.0, 10.0, 0.0, 0.0, 0.0, 10.0]));
}

#[test]
fn numbers_are_folded_and_adapt() {
    assert_eq!(value(X, "sum(x) * (7 // 2) * (12 / 4) / 2 ** 3").1, [16.88]);
    assert_eq!(value(X, "sum(x) * sqrt(4) / 1.5").1, [20.0]);
    assert_eq!(value(X, "f32(i32(10 * x) * 2 - 1)[1, 2] / 10").1, [9.0]);
    assert_eq!(value(X, "let y = x + 0.5\nsum(x ** 2 - x * x) + sum(y ** -1 - 1 / y)").1, [0.0]);
    assert_eq!(value(X, "sum(x) * (if 2 > 1 and not (3 == 4) { 1 } else { 2 })").1, [15.0]);
}

#[test]
fn loops_and_variables_are_unrolled() {
    let body = "
    var y = x
    let sums = for i, c in [2, 3] {
        y = y * c + i / 10.0
        yield sum(y)
    }
    var total = sums[0] + sums[-1]
    for (a, b) in zip(sums, reverse(sums)), k in 0..2 {
        if k > 0 { total = total + a - b }
    }
    total";
    // sums: 30, then 6 * (5 * 3) + 6 = 96; total: 126 + 96 - 30.
    assert_eq!(value(X, body).1, [192.0]);
}

#[test]
fn activations_and_losses() {
    let x = "x: f32[3]";
    assert_eq!(value(x, "relu(x - 0.1)").1, [0.0, 0.0, 1.0]);
    assert_eq!(value(x, "leaky_relu(x - 0.1, 0.5)").1, [-0.5, 0.0, 1.0]);
    assert_eq!(value(x, "10 * elu(x - 1)[0]").1, [-63.21]);
    assert_eq!(value(x, "10 * silu(x + 1)[0]").1, [73.11]);
    assert_eq!(value(x, "10 * gelu(x + 1)[0]").1, [84.13]);
    assert_eq!(value(x, "10 * softplus(x)[0]").1, [69.31]);
    assert_eq!(value(x, "softplus(1000 * x)[2]").1, [2000.0]);
    assert_eq!(value("x: f32[3], y: f32[3]", "10 * mse(x, 2 * y)").1, [1.67]);
    assert_eq!(value("x: f32[3], y: f32[3]", "l1(x, 2 * y)").1, [1.0]);
    // -log(sigmoid(0)), and the sum of log(1 + e^x) - x / 2.
    assert_eq!(value(x, "bce_logits(0 * x, 1)").1, [6.93]);
    let sum: f64 = [0.0_f64, 0.1, 0.2].iter().map(|x| (1.0 + x.exp()).ln() - x / 2.0).sum();
    let found = value(x, "bce_logits(x, 0.5, mean: false)").1[0];
    assert!((found - 10.0 * sum).abs() < 0.01, "{found} {sum}");
    assert_eq!(value("x: f32[4, 2], y: i32[4]", "accuracy(x, i32(f32(y) * 0 + 1)) / 10").1, [1.0]);
}

#[test]
fn layer_norm_normalizes_the_last_axis() {
    let text = "model m(x: f32[n: 2, t: 3]) = x |> layer_norm(eps: 0.0)";
    let m = model(text, &[], Mode::Inference);
    let ones = [1.0; 3];
    let values = [("layer_norm.weight", ones.as_slice()), ("layer_norm.bias", &[0.0; 3])];
    let y = outputs(&m.program, &values).remove(0).values;
    let edge = 1.5_f64.sqrt();
    for (found, wanted) in y.iter().zip([-edge, 0.0, edge, -edge, 0.0, edge]) {
        assert!((found - wanted).abs() < 1e-9, "{y:?}");
    }
}

#[test]
fn whole_channels_are_dropped() {
    let text = "model m(x: f32[20, 30, 2, 3]) = x * 0 + 1 |> dropout2d(0.25)";
    let run = |mode| outputs(&model(text, &[], mode).program, &[]).remove(0).values;
    let dropped = run(Mode::Training);
    let channels: Vec<&[f64]> = dropped.chunks(6).collect();
    assert!(channels.iter().all(|channel| channel.iter().all(|value| *value == channel[0])));
    let kept = channels.iter().filter(|channel| channel[0] != 0.0);
    assert!(kept.clone().all(|channel| (channel[0] - 1.0 / 0.75).abs() < 1e-6));
    assert!((400..500).contains(&kept.count()), "about three quarters of 600");
    assert!(run(Mode::Inference).iter().all(|value| *value == 1.0));
}

#[test]
fn dropout_drops_while_training_only() {
    let text = "model m(x: f32[2000]) = x * 0 + 1 |> dropout(0.25)";
    let inference = model(text, &[], Mode::Inference);
    assert!(outputs(&inference.program, &[])[0].values.iter().all(|&x| x == 1.0));
    let training = model(text, &[], Mode::Training);
    let values = outputs(&training.program, &[]).remove(0).values;
    let kept = values.iter().filter(|&&x| x != 0.0).count();
    assert!(values.iter().all(|&x| x == 0.0 || (x - 4.0 / 3.0).abs() < 1e-6));
    assert!((1400..1600).contains(&kept), "{kept}");
}

#[test]
fn categorical_draws_classes_by_their_probabilities() {
    let text = "model m(x: f32[4]) {
    let logits = log(10 * x + 1) as [c] -> [n: 20_000, c]
    (categorical(logits), categorical(logits as [n, c] -> [c, n], over: 0))
}";
    let m = model(text, &[], Mode::Inference);
    // The weights of the classes are 1, 2, 3 and 4.
    for classes in outputs(&m.program, &[]) {
        assert_eq!(classes.ty.to_string(), "i32[20000]");
        for class in 0..4_u32 {
            let drawn = classes.values.iter().filter(|&&x| x == f64::from(class)).count() as f64;
            let share = f64::from(class + 1) / 10.0;
            // Four standard deviations of a binomial.
            let spread = 4.0 * (20_000.0 * share * (1.0 - share)).sqrt();
            assert!((drawn - 20_000.0 * share).abs() < spread, "class {class}: {drawn}");
        }
    }
}

/// The paths of a model's parameters.
fn paths(text: &str) -> Vec<String> {
    let model = model(text, &[], Mode::Inference);
    model.program.parameters.into_iter().map(|parameter| parameter.path).collect()
}

#[test]
fn labels_and_captures_name_parameters() {
    let text = "
layer block(x: f32[n, d]) = x |> fc: linear(d, bias: false) |> linear(d, bias: false)
layer stage(x: f32[n, d], blocks: int) {
    var y = x
    for i in 0..blocks { y = y |> [i]: block }
    y
}
layer named(x: f32[n, d], k: int) {
    param w \"weight_l{k}\": f32[d] = ones
    x * w
}
model m(x: f32[2, 4]) {
    let shared = linear(_, 4, bias: false)
    let y = x |> layer1: stage(2) |> shared |> shared |> linear(4, bias: false) |> linear(4, bias: false)
    let steps = for _ in 0..2 { yield linear(_, 4, bias: false) }
    let ends = [linear(_, 4, bias: false), (linear(_, 4, bias: false))]
    var z = y |> \"rnn\": named(0) |> \"rnn\": named(1) |> heads[1].out: linear(4, bias: false)
    for step in steps { z = step(step(z)) }
    for end in ends { z = end(z) }
    z
}";
    assert_eq!(
        paths(text),
        [
            "layer1.0.fc.weight",
            "layer1.0.linear.weight",
            "layer1.1.fc.weight",
            "layer1.1.linear.weight",
            "shared.weight",
            "linear.weight",
            "linear_2.weight",
            "rnn.weight_l0",
            "rnn.weight_l1",
            "heads.1.out.weight",
            "steps.0.weight",
            "steps.1.weight",
            "ends.0.weight",
            "ends.1.weight",
        ]
    );
}

#[test]
fn recipes_prefix_parameters_of_several_models() {
    let models = "
model a(x: f32[n, 2]) = x |> fc: linear(2, bias: false)
model b(x: f32[n, 2]) = x |> fc: linear(1, bias: false)
train t() {
    data x: f32[n, 2] from csv(\"x.csv\")
    BODY
    batch 4
}";
    let names = |body: &str| -> Vec<String> {
        let recipe = recipe(&models.replace("BODY", body), &[]);
        let saved = recipe.evaluation.parameters.iter().filter(|parameter| parameter.saved());
        saved.map(|parameter| parameter.path.clone()).collect()
    };
    // One model, used twice, is one instance.
    assert_eq!(names("minimize mean(a(x) * a(x)) using sgd"), ["fc.weight"]);
    assert_eq!(names("minimize mean(b(a(x))) using sgd"), ["a.fc.weight", "b.fc.weight"]);
    assert_eq!(
        names("let p = a(_)\n    let q = a(_)\n    minimize mean(x |> p |> q) using sgd"),
        ["p.fc.weight", "q.fc.weight"]
    );
}

#[test]
fn states_of_layers_are_updated_while_training() {
    let text = "
layer running(x: f32[n, d]) {
    state mean_so_far: f32[d] = zeros
    if training { mean_so_far = 0.5 * mean_so_far + 0.5 * mean(x, over: n) }
    x - mean_so_far
}
model m(x: f32[n, 2]) = x |> running |> linear(1)
train t() {
    data x: f32[n, 2] from csv(\"x.csv\")
    minimize mean(m(x)) using sgd
    batch 4
}";
    let recipe = recipe(text, &[]);
    let buffer = recipe.training.parameters.iter().find(|p| p.role == SlotRole::Buffer);
    let buffer = buffer.expect("a buffer");
    assert_eq!(buffer.path, "running.mean_so_far");
    assert!(recipe.training.graph.updates.iter().any(|update| update.slot == buffer.slot));
    assert!(recipe.evaluation.graph.updates.is_empty());
}

#[test]
fn streams_of_random_numbers_differ_by_place_and_call() {
    let text = "
model m(x: f32[8, 2]) {
    let noisy = dropout(_, 0.5)
    let y = x |> noisy |> noisy |> dropout(0.5) |> dropout(0.5)
    y + normal[8, 2] + uniform[y]
}";
    let m = model(text, &[], Mode::Training);
    let mut streams: Vec<u64> = m
        .program
        .graph
        .nodes
        .iter()
        .filter_map(|node| match &node.op {
            Op::Random(random) => Some(random.stream),
            _ => None,
        })
        .collect();
    streams.sort_unstable();
    streams.dedup();
    assert_eq!(streams.len(), 6);
}

#[test]
fn rates_of_optimizers_are_run_time_values() {
    let text = "
model m(x: f32[n, 2]) = x |> linear(1)
train t(lr: float = 0.5, decay: float = 0.1) {
    data x: f32[n, 2] from csv(\"x.csv\")
    minimize mean(m(x)) using sgd(lr: lr * decay ** epoch)
    batch 4
    epochs 3
    report mean(m(x)), 2 * lr
}";
    let recipe = recipe(text, &[]);
    let names: Vec<(&str, Option<f64>)> =
        recipe.training.scalars.iter().map(|s| (s.name.as_str(), s.value)).collect();
    assert_eq!(names, [("lr", Some(0.5)), ("decay", Some(0.1)), ("epoch", None)]);
    let reports: Vec<&str> = recipe.reports.iter().map(|report| report.name.as_str()).collect();
    assert_eq!(reports, ["mean", "metric"]);
    assert_eq!(recipe.plan.epochs, Some(3));
    assert_eq!(recipe.plan.dims(&[&[100, 2]])["n"], 4);
}

#[test]
fn origins_tell_where_nodes_come_from() {
    let text = "layer twice(x: f32[n, d]) = 2 * x
model m(x: f32[3, 4]) {
    let y = x |> inner: twice
    y + 1
}";
    let m = model(text, &[], Mode::Inference);
    let node = m.program.graph.nodes.iter().find(|node| node.origin.path == "inner");
    let origin = &node.expect("a node of the layer").origin;
    let places: Vec<&str> =
        origin.spans.iter().map(|span| &text[span.start as usize..span.end as usize]).collect();
    assert_eq!(places, ["2 * x", "inner: twice"]);
    assert!(m.program.graph.nodes.iter().any(|node| node.origin.name.as_deref() == Some("y")));
}

#[test]
fn whole_numbers_are_divided_rounding_down() {
    let (ty, values) = value("x: f32[4]", "f32((i32(10 * x) * 3 - 5) // 2) / 10");
    assert_eq!((ty.as_str(), values), ("f32[4]", vec![-3.0, -1.0, 0.0, 2.0]));
    let (ty, values) = value("x: f32[3]", "f32(-7 // (i32(10 * x) + 1)) / 10");
    assert_eq!((ty.as_str(), values), ("f32[3]", vec![-7.0, -4.0, -3.0]));
    // 2147483647 / 46341 is 46340.95...
    let (_, values) = value("x: f32[1]", "f32((i32(x) + 2147483647) // 46341) / 10");
    assert_eq!(values, [46340.0]);
}

#[test]
fn labels_may_be_the_ignored_one() {
    let text = "model m(x: f32[n, 3], label: i32[n]) = cross_entropy(x, label, ignore: 255)";
    let program = model(text, &[("n", 4)], Mode::Training).program;
    let classes = Classes { count: 3, ignored: Some(255) };
    assert_eq!(program.labels, [("label".to_owned(), classes)]);
    let labels = [0.0, 255.0, 2.0, 255.0];
    // Logits are 0 to 1.1 in steps of a tenth: all samples have the same differences.
    let loss = outputs(&program, &[("label", &labels)]).remove(0).values;
    let log_sum = (1.0 + f64::exp(0.1) + f64::exp(0.2)).ln();
    assert_close(&loss, &[log_sum - 0.1]);
}
