//! What nobody reads is not computed: not forward, not backward, not for a metric.

use cygnet::language::program::{Mode, Program};
use cygnet_compiler::array::Array;
use cygnet_compiler::optimize::{OptimizeOptions, optimize};

use crate::elaborate::{assert_close, model, outputs, recipe, updated};

/// Arithmetic operations of a program after optimization.
fn flops(program: &Program) -> f64 {
    optimize(&program.graph, &OptimizeOptions::default()).0.flops()
}

/// Two layers at each of 16 positions, or at the one that the loss and a metric look at.
fn classifier(logits: &str) -> String {
    format!(
        "
model net(x: f32[n, t: 16, i: 8]) {{
    {logits}
}}
train learn(lr: float = 0.5) {{
    data x: f32[n, 16, 8], y: i32[n] from npy(\"x.npy\", \"y.npy\")
    let logits = net(x)
    report accuracy(logits, y)
    minimize cross_entropy(logits, y) using sgd(lr: lr)
    batch 2
}}"
    )
}

const LATE: &str = "(x |> one: linear(32) |> tanh |> two: linear(4))[t: 3]";
const EARLY: &str = "x[t: 3] |> one: linear(32) |> tanh |> two: linear(4)";

/// Values of a slot that are neither large nor alike.
fn waves(elements: usize) -> Vec<f64> {
    (0..elements).map(|index| (index as f64 * 0.73).sin() / 2.0).collect()
}

#[test]
fn a_training_step_computes_the_position_that_is_read() {
    let [late, early] = [LATE, EARLY].map(|logits| recipe(&classifier(logits), &[("n", 2)]));
    let (found, least) = (flops(&late.training), flops(&early.training));
    assert!(found < 1.02 * least, "{found} instead of {least}");
    let (x, one, two) = (waves(2 * 16 * 8), waves(32 * 8), waves(4 * 32));
    let values: [(&str, &[f64]); 5] =
        [("x", &x), ("y", &[1.0, 3.0]), ("lr", &[0.5]), ("one.weight", &one), ("two.weight", &two)];
    for weight in ["one.weight", "two.weight"] {
        let [late, early] =
            [&late, &early].map(|recipe| updated(&recipe.training, &values, weight).values);
        assert_ne!(late, if weight == "one.weight" { one.clone() } else { two.clone() });
        assert_close(&late, &early);
    }
}

/// The logits behind a text, of which the next token is drawn, as a language model's.
#[test]
fn a_model_computes_the_position_that_is_read() {
    let text = |logits: &str| format!("model net(x: f32[n, t: 16, i: 8]) {{ {logits} }}");
    let [late, early] =
        [LATE, EARLY].map(|logits| model(&text(logits), &[("n", 2)], Mode::Inference).program);
    assert!(late.graph.flops() > 10.0 * early.graph.flops());
    assert_eq!(flops(&late), flops(&early));
    let [late, early] = [late, early].map(|program| -> Vec<Array> { outputs(&program, &[]) });
    assert_eq!(late, early);
}

/// A parameter of which a part is read: after the first objective has changed it, too.
#[test]
fn parts_of_updated_parameters_have_gradients() {
    let text = |places: &str, read: &str| {
        format!(
            "
layer place(x: f32[n, t]) -> f32[n, t] {{
    param weight: f32[{places}] = zeros
    x + {read}
}}
model net(x: f32[n, t]) -> f32[n, t] = x |> at: place
train twice(lr: float = 0.5) {{
    data x: f32[n, t] from npy(\"x.npy\")
    minimize first = mean(net(x) * net(x)) using sgd(lr: lr)
    minimize second = mean(exp(net(x))) using sgd(lr: lr)
    batch 2
}}"
        )
    };
    let dims = [("n", 2), ("t", 3)];
    let part = recipe(&text("8", "(weight[..t] as [t])"), &dims).training;
    let all = recipe(&text("t", "weight"), &dims).training;
    let x: [f64; 6] = [0.5, 1.0, -1.0, 2.0, 0.25, -0.5];
    let new = |program: &Program, weight: &[f64]| {
        let values = [("x", &x[..]), ("lr", &[0.5]), ("at.weight", weight)];
        updated(program, &values, "at.weight").values
    };
    let weight = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8];
    let (part, all) = (new(&part, &weight), new(&all, &weight[..3]));
    assert_close(&part[..3], &all);
    assert_eq!(part[3..], weight[3..]);
}
