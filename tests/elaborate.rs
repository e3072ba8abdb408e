//! From programs to graphs: names, shapes and values.

use std::path::Path;

use cygnet::diagnostic::Diagnostic;
use cygnet::language::bindings::Bindings;
use cygnet::language::check::check;
use cygnet::language::elaborate::elaborate_model;
use cygnet::language::initializer::Initializer;
use cygnet::language::package::Package;
use cygnet::language::program::{Mode, ModelGraph, Program, RecipeGraph};
use cygnet::language::recipe::elaborate_recipe;
use cygnet_compiler::array::Array;
use cygnet_compiler::evaluate::Evaluator;
use cygnet_compiler::types::TensorType;

use crate::language::render;

/// A program of this text, which has no syntax errors.
pub fn package(text: &str) -> Package {
    let (package, diagnostics) = Package::from_source("test.cyg", text);
    assert!(diagnostics.is_empty(), "{}", render(&diagnostics, package.sources()));
    package
}

fn expect<T>(package: &Package, result: Result<T, Vec<Diagnostic>>) -> T {
    result.unwrap_or_else(|diagnostics| panic!("{}", render(&diagnostics, package.sources())))
}

/// The only model of a program, elaborated and verified.
pub fn model(text: &str, dims: &[(&str, usize)], mode: Mode) -> ModelGraph {
    let package = package(text);
    let bindings = Bindings::of_dims(dims.iter().copied());
    let model = expect(&package, elaborate_model(&package, None, &bindings, mode));
    model.program.graph.verify().expect("a valid graph");
    model
}

/// The only recipe of a program, elaborated and verified.
pub fn recipe(text: &str, dims: &[(&str, usize)]) -> RecipeGraph {
    let package = package(text);
    let bindings = Bindings::of_dims(dims.iter().copied());
    let recipe = expect(&package, elaborate_recipe(&package, None, &bindings));
    recipe.training.graph.verify().expect("a valid graph");
    recipe.evaluation.graph.verify().expect("a valid graph");
    recipe
}

/// Values for the slots of a program, by name; the others are `index / 10` for element `index`.
pub fn slots(program: &Program, values: &[(&str, &[f64])]) -> Vec<Array> {
    let given = |name: &str| values.iter().find(|(known, _)| *known == name).map(|(_, v)| *v);
    let slots = program.graph.slots.iter();
    slots
        .map(|slot| {
            let counted = (0..slot.ty.elements()).map(|index| index as f64 / 10.0);
            let values = given(&slot.name).map_or_else(|| counted.collect(), <[f64]>::to_vec);
            Array::new(slot.ty.clone(), values)
        })
        .collect()
}

/// The values of the outputs.
pub fn outputs(program: &Program, values: &[(&str, &[f64])]) -> Vec<Array> {
    Evaluator::new(&slots(program, values)).run(&program.graph).outputs
}

/// The new value of the slot called `name`.
pub fn updated(program: &Program, values: &[(&str, &[f64])], name: &str) -> Array {
    let results = Evaluator::new(&slots(program, values)).run(&program.graph);
    let slot = program.graph.slots.iter().position(|slot| slot.name == name).expect("a slot");
    let update = results.updates.into_iter().find(|(updated, _)| *updated as usize == slot);
    update.expect("an update").1
}

/// Values agree to seven digits.
pub fn assert_close(found: &[f64], wanted: &[f64]) {
    assert_eq!(found.len(), wanted.len(), "{found:?}");
    for (a, b) in found.iter().zip(wanted) {
        assert!((a - b).abs() <= 1e-7 * b.abs().max(1.0), "{found:?} is not {wanted:?}");
    }
}

/// The value of a function of one input `x: f32[2, 3]`.
fn on_matrix(expression: &str, x: &[f64; 6]) -> Array {
    let text = format!("model m(x: f32[2, 3]) = {expression}");
    let model = model(&text, &[], Mode::Inference);
    outputs(&model.program, &[("x", x)]).remove(0)
}

const X: [f64; 6] = [0.0, -1.0, 2.0, 0.5, 3.0, -2.0];

/// The rows of [`X`].
fn rows(f: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
    X.chunks(3).flat_map(f).collect()
}

#[test]
fn softmax_and_its_relatives() {
    let sums = |row: &[f64]| row.iter().map(|x| x.exp()).sum::<f64>();
    let softmax = rows(|row| row.iter().map(|x| x.exp() / sums(row)).collect());
    assert_close(&on_matrix("softmax(x)", &X).values, &softmax);
    assert_close(&on_matrix("exp(log_softmax(x, over: 1))", &X).values, &softmax);
    let logsumexp = rows(|row| vec![sums(row).ln()]);
    assert_close(&on_matrix("logsumexp(x)", &X).values, &logsumexp);
    let columns: Vec<f64> = (0..3).map(|c| (X[c].exp() + X[c + 3].exp()).ln()).collect();
    assert_close(&on_matrix("logsumexp(x, over: 0)", &X).values, &columns);
}

#[test]
fn a_square_tensor_is_normalized_along_the_axis_that_is_named() {
    // With axes aligned by place alone, the maxima and sums of rows would go to columns.
    let text = "model m(x: f32[2, 2]) = softmax(x)";
    let m = model(text, &[], Mode::Inference);
    let y = outputs(&m.program, &[("x", &[0.0, 1.0, 5.0, 2.0])]).remove(0).values;
    assert_close(&[y[0] + y[1], y[2] + y[3]], &[1.0, 1.0]);
}

#[test]
fn linear_is_x_times_the_transposed_weight_plus_bias() {
    let text = "model m(x: f32[n, 2]) -> f32[n, 3] = x |> linear(3)";
    let m = model(text, &[("n", 2)], Mode::Inference);
    let weight = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let values: [(&str, &[f64]); 3] = [
        ("x", &[1.0, 0.0, 2.0, -1.0]),
        ("linear.weight", &weight),
        ("linear.bias", &[0.5, 0.25, 0.0]),
    ];
    let y = outputs(&m.program, &values).remove(0);
    assert_close(&y.values, &[1.5, 3.25, 5.0, 0.5, 2.25, 4.0]);
}

#[test]
fn cross_entropy_is_the_mean_negative_log_likelihood() {
    let text = "model m(x: f32[2, 3], y: i32[2]) = cross_entropy(x, y)";
    let m = model(text, &[], Mode::Inference);
    let loss = outputs(&m.program, &[("x", &X), ("y", &[2.0, 1.0])]).remove(0);
    let terms: Vec<f64> = [(0, 2), (1, 1)]
        .iter()
        .map(|&(row, label)| {
            let row = &X[row * 3..row * 3 + 3];
            row.iter().map(|x| x.exp()).sum::<f64>().ln() - row[label]
        })
        .collect();
    assert_close(&loss.values, &[(terms[0] + terms[1]) / 2.0]);
    assert_eq!(m.program.labels, [("y".to_owned(), 3.into())]);
}

/// A model of one parameter, `loss = mean((w * x - y)^2)`.
const LINE: &str = "
model line(x: f32[n, 1]) = x |> fc: linear(1, bias: false)
train line(lr: float = 0.1) {
    data x: f32[n, 1], y: f32[n, 1] from csv(\"line.csv\")
    minimize mse(line(x), y) using OPTIMIZER
    batch 2
}";

/// The parameter after steps with gradient `g = mean(2 (w x - y) x)`, computed by `update` from
/// the step, the value and the gradient.
fn steps(optimizer: &str, mut update: impl FnMut(i32, f64, f64) -> f64) {
    let text = LINE.replace("OPTIMIZER", optimizer);
    let recipe = recipe(&text, &[]);
    let (x, y) = ([1.0, -2.0], [0.5, 1.0]);
    let mut state: Vec<(String, Vec<f64>)> = vec![("fc.weight".to_owned(), vec![0.3])];
    for parameter in &recipe.training.parameters[1..] {
        state.push((parameter.path.clone(), vec![0.0]));
    }
    let mut w = 0.3;
    for step in 1..=3 {
        let number = [f64::from(step)];
        let mut values: Vec<(&str, &[f64])> =
            vec![("x", &x), ("y", &y), ("lr", &[0.1]), ("step", &number)];
        values.extend(state.iter().map(|(name, value)| (name.as_str(), value.as_slice())));
        let gradient = x.iter().zip(&y).map(|(x, y)| 2.0 * (w * x - y) * x).sum::<f64>() / 2.0;
        w = update(step, w, gradient);
        let next: Vec<(String, Vec<f64>)> = state
            .iter()
            .map(|(name, _)| (name.clone(), updated(&recipe.training, &values, name).values))
            .collect();
        state = next;
        assert_close(&state[0].1, &[w]);
    }
}

#[test]
fn sgd_steps() {
    steps("sgd(lr: lr)", |_, w, g| w - 0.1 * g);
    let mut velocity = 0.0;
    steps("sgd(lr: lr, momentum: 0.9, weight_decay: 0.01)", |_, w, g| {
        velocity = 0.9 * velocity + g + 0.01 * w;
        w - 0.1 * velocity
    });
    let mut velocity = 0.0;
    steps("sgd(lr: lr, momentum: 0.9, nesterov: true)", |_, w, g| {
        velocity = 0.9 * velocity + g;
        w - 0.1 * (g + 0.9 * velocity)
    });
}

#[test]
fn adam_steps() {
    let (mut m, mut v) = (0.0, 0.0);
    let mut adam = |step: i32, w: f64, g: f64| {
        m = 0.9 * m + 0.1 * g;
        v = 0.999 * v + 0.001 * g * g;
        let (m1, v1) = (m / (1.0 - 0.9_f64.powi(step)), v / (1.0 - 0.999_f64.powi(step)));
        w - 0.1 * m1 / (v1.sqrt() + 1e-8)
    };
    steps("adam(lr: lr)", &mut adam);
    let (mut m, mut v) = (0.0, 0.0);
    steps("adamw(lr: lr, weight_decay: 0.1)", |step, w, g| {
        m = 0.9 * m + 0.1 * g;
        v = 0.999 * v + 0.001 * g * g;
        let (m1, v1) = (m / (1.0 - 0.9_f64.powi(step)), v / (1.0 - 0.999_f64.powi(step)));
        w * (1.0 - 0.1 * 0.1) - 0.1 * m1 / (v1.sqrt() + 1e-8)
    });
}

#[test]
fn rmsprop_steps() {
    let mut v = 0.0;
    steps("rmsprop(lr: lr, alpha: 0.9)", |_, w, g| {
        v = 0.9 * v + 0.1 * g * g;
        w - 0.1 * g / (f64::sqrt(v) + 1e-8)
    });
    let (mut v, mut velocity) = (0.0, 0.0);
    steps("rmsprop(lr: lr, momentum: 0.5)", |_, w, g| {
        v = 0.99 * v + 0.01 * g * g;
        velocity = 0.5 * velocity + g / (f64::sqrt(v) + 1e-8);
        w - 0.1 * velocity
    });
}

#[test]
fn centered_rmsprop_steps() {
    let (mut v, mut average) = (0.0, 0.0);
    steps("rmsprop(lr: lr, alpha: 0.9, centered: true)", |_, w, g| {
        v = 0.9 * v + 0.1 * g * g;
        average = 0.9 * average + 0.1 * g;
        w - 0.1 * g / (f64::sqrt(v - average * average) + 1e-8)
    });
}

#[test]
fn adagrad_steps() {
    let mut total = 0.0;
    steps("adagrad(lr: lr, lr_decay: 0.5, weight_decay: 0.1)", |step, w, g| {
        let g = g + 0.1 * w;
        total += g * g;
        w - 0.1 / (1.0 + 0.5 * f64::from(step - 1)) * g / (f64::sqrt(total) + 1e-10)
    });
    let text = LINE.replace("OPTIMIZER", "adagrad(lr: lr, initial: 0.25)");
    let recipe = recipe(&text, &[]);
    let total = Initializer::Constant { value: 0.25 };
    assert_eq!(recipe.training.parameters[1].initializer, total);
}

#[test]
fn lion_steps() {
    let mut m = 0.0;
    steps("lion(lr: lr, weight_decay: 0.1)", |_, w, g| {
        let direction = f64::signum(0.9 * m + 0.1 * g);
        m = 0.99 * m + 0.01 * g;
        w - 0.1 * (direction + 0.1 * w)
    });
}

#[test]
fn parameters_have_the_names_and_shapes_of_published_checkpoints() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/bench/mlp.cyg");
    let (package, diagnostics) = Package::load(&path);
    assert!(diagnostics.is_empty(), "{}", render(&diagnostics, package.sources()));
    let recipe = expect(&package, elaborate_recipe(&package, None, &Bindings::default()));
    let saved = recipe.training.parameters.iter().filter(|parameter| parameter.saved());
    let found: Vec<String> =
        saved.map(|parameter| format!("{} {}", parameter.path, parameter.ty)).collect();
    let wanted = [
        "fc1.weight f32[512, 784]",
        "fc1.bias f32[512]",
        "fc2.weight f32[256, 512]",
        "fc2.bias f32[256]",
        "fc3.weight f32[10, 256]",
        "fc3.bias f32[10]",
    ];
    assert_eq!(found, wanted);
    let elements = recipe.training.parameters.iter().filter(|parameter| parameter.trainable());
    assert_eq!(elements.map(|parameter| parameter.ty.elements()).sum::<usize>(), 535_818);
    let inputs: Vec<(&str, &TensorType)> =
        recipe.training.inputs.iter().map(|input| (input.name.as_str(), &input.ty)).collect();
    assert_eq!(inputs[0].0, "x");
    assert_eq!(inputs[1].1.to_string(), "i32[128]");
    assert_eq!(recipe.objectives, ["loss"]);
    assert_eq!(recipe.training.graph.guards.len(), 1);
    assert_eq!(recipe.plan.scalars[0].value, Some(1e-4));
}

#[test]
fn the_examples_are_compiled() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut compiled = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the examples are there") {
        let path = entry.expect("readable").path();
        if path.extension().is_none_or(|extension| extension != "cyg") {
            continue;
        }
        let (package, diagnostics) = Package::load(&path);
        assert!(diagnostics.is_empty(), "{}", render(&diagnostics, package.sources()));
        let checked = check(&package);
        let mistakes = render(&checked.diagnostics, package.sources());
        assert!(checked.diagnostics.is_empty(), "{mistakes}");
        let recipe = expect(&package, elaborate_recipe(&package, None, &Bindings::default()));
        recipe.training.graph.verify().expect("a valid graph");
        recipe.evaluation.graph.verify().expect("a valid graph");
        compiled.push(recipe.plan.name);
    }
    compiled.sort();
    assert_eq!(compiled, ["cnn", "digits", "mnist", "sine", "wine"]);
}
