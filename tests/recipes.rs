//! What recipes say: objectives, groups of parameters, transformations of gradients, schedules.

use cygnet::language::bindings::Bindings;
use cygnet::language::check::check;
use cygnet::language::package::Package;
use cygnet::language::recipe::elaborate_recipe;
use cygnet_compiler::array::Array;
use cygnet_compiler::evaluate::Evaluator;
use cygnet_compiler::optimize::OptimizeOptions;
use cygnet_compiler::optimize::algebra::simplify;

use crate::elaborate::{outputs, package, recipe, slots};
use crate::language::render;

/// The new values of slots after a step, by name.
fn after(text: &str, values: &[(&str, &[f64])]) -> Vec<(String, Vec<f64>)> {
    let recipe = recipe(text, &[]);
    let program = &recipe.training;
    let results = Evaluator::new(&slots(program, values)).run(&program.graph);
    let name = |slot: u32| program.graph.slots[slot as usize].name.clone();
    let updates = results.updates.into_iter();
    updates.map(|(slot, array): (u32, Array)| (name(slot), array.values)).collect()
}

fn value<'a>(all: &'a [(String, Vec<f64>)], name: &str) -> &'a [f64] {
    &all.iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("{name}: {all:?}")).1
}

fn assert_close(found: &[f64], wanted: &[f64]) {
    assert_eq!(found.len(), wanted.len(), "{found:?} and {wanted:?}");
    for (a, b) in found.iter().zip(wanted) {
        assert!((a - b).abs() <= 1e-7 * b.abs().max(1.0), "{found:?} is not {wanted:?}");
    }
}

fn refusal(text: &str) -> String {
    let package = package(text);
    let refused = elaborate_recipe(&package, None, &Bindings::default()).err();
    render(&refused.expect("mistakes"), package.sources())
}

/// Two numbers: `g` makes `g z`, `d` judges it as `d (g z)`.
const ADVERSARIES: &str = "
layer scale(x: f32[n]) -> f32[n] {
    param weight: f32[] = ones
    x * weight
}
model maker(z: f32[n]) -> f32[n] = z |> out: scale
model judge(x: f32[n]) -> f32[n] = x |> out: scale
train pair(lr: float = 0.1) {
    data z: f32[n] from npy(\"z.npy\")
    let made = maker(z)
    minimize judged = mean(judge(made)) over judge using sgd(lr: lr)
    minimize fooled = mean(judge(maker(z))) over maker using adam(lr: lr)
    batch 2
}";

#[test]
fn the_second_objective_sees_the_update_of_the_first() {
    let values: [(&str, &[f64]); 7] = [
        ("z", &[1.0, 3.0]),
        ("lr", &[0.1]),
        ("step", &[1.0]),
        ("maker.out.weight", &[0.5]),
        ("judge.out.weight", &[2.0]),
        ("maker.out.weight/fooled/adam.m", &[0.0]),
        ("maker.out.weight/fooled/adam.v", &[0.0]),
    ];
    let updated = after(ADVERSARIES, &values);
    // The judge's gradient is mean(g z) = 1; the maker's is mean(d' z) with the new d' = 1.9, and
    // not with what d' itself depends on g through.
    assert_close(value(&updated, "judge.out.weight"), &[1.9]);
    let gradient = 1.9 * 2.0;
    assert_close(value(&updated, "maker.out.weight/fooled/adam.m"), &[0.1 * gradient]);
    assert_close(value(&updated, "maker.out.weight"), &[0.5 - 0.1]);
    let recipe = recipe(ADVERSARIES, &[]);
    assert_eq!(recipe.objectives, ["judged", "fooled"]);
    assert_eq!(recipe.training.graph.guards.len(), 2);
    // In evaluation nothing is updated in between.
    let evaluated = outputs(&recipe.evaluation, &values[..5]);
    assert_close(&[evaluated[0].values[0], evaluated[1].values[0]], &[2.0, 2.0]);
    assert!(recipe.evaluation.graph.updates.is_empty());
}

#[test]
fn an_objective_may_read_a_parameter_before_and_after_its_update() {
    let text = "
layer scale(x: f32[n]) -> f32[n] {
    param weight: f32[] = ones
    x * weight
}
model m(x: f32[n]) -> f32[n] = x |> out: scale
train m() {
    data x: f32[n] from npy(\"x.npy\")
    let early = m(x)
    minimize first = mean(early) using sgd(lr: 0.5)
    minimize second = mean(early * m(x)) using sgd(lr: 0.25)
    batch 1
}";
    let updated = after(text, &[("x", &[2.0]), ("out.weight", &[3.0])]);
    // w' = 3 - 0.5 * 2 = 2; second = (w x)(w' x), with the gradient x² w' + x² w = 4 * 2 + 4 * 3.
    assert_close(value(&updated, "out.weight"), &[2.0 - 0.25 * 20.0]);
}

const GROUPS: &str = "
model m(x: f32[n, 2]) -> f32[n, 1] {
    x |> body: linear(2, bias: false) |> head: linear(1)
}
train m(lr: float = 0.1) {
    data x: f32[n, 2] from npy(\"x.npy\")
    let _rate = lr
    FREEZE
    minimize mean(m(x)) GROUPS
    batch 1
}";

fn groups(freeze: &str, groups: &str) -> String {
    GROUPS.replace("    FREEZE\n", freeze).replace("GROUPS", groups)
}

const GROUP_VALUES: [(&str, &[f64]); 6] = [
    ("x", &[1.0, 2.0]),
    ("lr", &[0.1]),
    ("step", &[1.0]),
    ("body.weight", &[1.0, 0.0, 0.0, 1.0]),
    ("head.weight", &[3.0, 4.0]),
    ("head.bias", &[0.0]),
];

#[test]
fn groups_have_optimizers_and_rates_of_their_own() {
    let text =
        groups("", "over m.head using sgd(lr: lr) over m except m.head using sgd(lr: lr / 10)");
    let updated = after(&text, &GROUP_VALUES);
    assert_close(value(&updated, "head.weight"), &[3.0 - 0.1, 4.0 - 0.2]);
    assert_close(value(&updated, "head.bias"), &[-0.1]);
    assert_close(value(&updated, "body.weight"), &[0.97, -0.06, -0.04, 0.92]);
    let rest = groups("", "over m.head.bias using sgd(lr: 1) using sgd(lr: lr)");
    let updated = after(&rest, &GROUP_VALUES);
    assert_close(value(&updated, "head.bias"), &[-1.0]);
    assert_close(value(&updated, "head.weight"), &[2.9, 3.8]);
}

#[test]
fn frozen_parameters_stay() {
    let text = groups("    freeze m.body\n", "using sgd(lr: lr)");
    let updated = after(&text, &GROUP_VALUES);
    let names: Vec<&str> = updated.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["head.weight", "head.bias"]);
}

#[test]
fn frozen_layers_compute_as_in_evaluation() {
    let text = "
layer doubling(x: f32[n]) -> f32[n] {
    param weight: f32[] = ones
    if training { 2 * x * weight } else { x * weight }
}
model m(x: f32[n]) -> f32[n] = x |> first: doubling |> second: doubling
train m() {
    data x: f32[n] from npy(\"x.npy\")
    freeze m.first
    minimize mean(m(x)) using sgd
    batch 1
}";
    let recipe = recipe(text, &[]);
    let values: [(&str, &[f64]); 3] =
        [("x", &[1.0]), ("first.weight", &[1.0]), ("second.weight", &[1.0])];
    assert_close(&outputs(&recipe.training, &values)[0].values, &[2.0]);
    assert_close(&outputs(&recipe.evaluation, &values)[0].values, &[1.0]);
}

#[test]
fn gradients_are_clipped_before_the_optimizer() {
    // The gradients: head.weight [1, 2], head.bias [1], body.weight [3, 6, 4, 8].
    let all: [f64; 7] = [3.0, 6.0, 4.0, 8.0, 1.0, 2.0, 1.0];
    let norm = all.iter().map(|g| g * g).sum::<f64>().sqrt();
    let updated = after(&groups("", "using clip_norm(2.0) |> sgd(lr: 1)"), &GROUP_VALUES);
    let share = 2.0 / (norm + 1e-6);
    assert_close(value(&updated, "head.weight"), &[3.0 - share, 4.0 - 2.0 * share]);
    let updated = after(&groups("", "using clip_norm(100.0) |> sgd(lr: 1)"), &GROUP_VALUES);
    assert_close(value(&updated, "head.weight"), &[2.0, 2.0]);
    let updated = after(&groups("", "using clip_value(1.5) |> sgd(lr: 1)"), &GROUP_VALUES);
    assert_close(value(&updated, "head.weight"), &[2.0, 2.5]);
    // Each group has a norm of its own.
    let both = "over m.head using clip_norm(1.0) |> sgd(lr: 1) over m.body using sgd(lr: 1)";
    let updated = after(&groups("", both), &GROUP_VALUES);
    let share = 1.0 / (6f64.sqrt() + 1e-6);
    assert_close(value(&updated, "head.bias"), &[-share]);
    assert_close(value(&updated, "body.weight"), &[-2.0, -6.0, -4.0, -7.0]);
}

#[test]
fn penalties_are_functions_of_parameters() {
    let text = groups("", "using sgd(lr: 1)")
        .replace("mean(m(x))", "mean(m(x)) + 0.5 * l2_penalty(parameters(m, \"*.weight\"))");
    let updated = after(&text, &GROUP_VALUES);
    // The gradient of 0.5 |w|² is w itself.
    assert_close(value(&updated, "head.weight"), &[3.0 - 1.0 - 3.0, 4.0 - 2.0 - 4.0]);
    assert_close(value(&updated, "head.bias"), &[-1.0]);
    let text = groups("", "using sgd(lr: 1)")
        .replace("mean(m(x))", "mean(m(x)) + l1_penalty(parameters(m, \"head.*\"))");
    let updated = after(&text, &GROUP_VALUES);
    assert_close(value(&updated, "head.weight"), &[1.0, 1.0]);
}

#[test]
fn accumulated_gradients_are_means_over_batches() {
    let text = groups("    accumulate 2\n", "using sgd(lr: 1, momentum: 0.5)");
    let mut values: Vec<(&str, &[f64])> = GROUP_VALUES.to_vec();
    values.push(("head.bias/loss/accumulated", &[0.0]));
    values.push(("head.bias/loss/sgd.velocity", &[2.0]));
    values.push(("batches complete", &[0.0]));
    let updated = after(&text, &values);
    // In the first batch only the sum changes.
    assert_close(value(&updated, "head.bias"), &[0.0]);
    assert_close(value(&updated, "head.bias/loss/sgd.velocity"), &[2.0]);
    assert_close(value(&updated, "head.bias/loss/accumulated"), &[1.0]);
    let count = values.len();
    values[count - 1] = ("batches complete", &[1.0]);
    values[count - 3] = ("head.bias/loss/accumulated", &[5.0]);
    let updated = after(&text, &values);
    // The mean of 5 and 1 is 3; the velocity 0.5 * 2 + 3.
    assert_close(value(&updated, "head.bias"), &[-4.0]);
    assert_close(value(&updated, "head.bias/loss/sgd.velocity"), &[4.0]);
    assert_close(value(&updated, "head.bias/loss/accumulated"), &[0.0]);
}

#[test]
fn conditions_are_decided_between_epochs() {
    let text = groups(
        "    freeze m.body while epoch < 3 and lr > 0.01\n    stop when plateaus(\"loss\", patience: 2) > 0\n",
        "using sgd(lr: lr)",
    );
    let recipe = recipe(&text, &[]);
    let [freeze] = recipe.freezes.as_slice() else { panic!("one condition") };
    let at = |epoch: f64, lr: f64| move |name: &str| if name == "epoch" { epoch } else { lr };
    assert!(freeze.holds(at(2.0, 0.1)));
    assert!(!freeze.holds(at(3.0, 0.1)));
    assert!(!freeze.holds(at(0.0, 0.01)));
    let [plateau] = recipe.plateaus.as_slice() else { panic!("one plateau") };
    assert_eq!((plateau.patience, plateau.larger), (2, Some(false)));
    assert!(recipe.stops[0].holds(|name| f64::from(u8::from(name == plateau.scalar))));
    assert!(!recipe.stops[0].holds(|_| 0.0));
}

#[test]
fn errors_that_are_reported_improve_when_they_fall() {
    let falls = |name: &str| cygnet::language::program::smaller_is_better(name, false);
    assert!(falls("rmse") && falls("test_loss") && !falls("accuracy") && !falls("r2"));
    assert!(cygnet::language::program::smaller_is_better("score", true));
}

/// The learning rate that a schedule gives, seen in the update of a parameter whose gradient is 1.
fn rate(schedule: &str, step: usize, epoch: usize) -> f64 {
    let text = format!(
        "
layer shift(x: f32[n]) -> f32[n] {{
    param weight: f32[] = zeros
    x + weight
}}
model m(x: f32[n]) -> f32[n] = x |> out: shift
train m() {{
    data x: f32[n] from npy(\"x.npy\")
    minimize mean(m(x)) using sgd(lr: {schedule})
    batch 1
}}"
    );
    let (step, epoch) = ([step as f64], [epoch as f64]);
    let values: [(&str, &[f64]); 4] =
        [("x", &[0.0]), ("step", &step), ("epoch", &epoch), ("steps", &[100.0])];
    -value(&after(&text, &values), "out.weight")[0]
}

#[test]
fn schedules_follow_their_formulas() {
    use std::f64::consts::PI;
    let cosine =
        |from: f64, to: f64, share: f64| to + (from - to) / 2.0 * (1.0 + (PI * share).cos());
    for step in [1, 2, 10, 29, 30, 31, 60, 99, 100] {
        let t = step as f64;
        let close = |schedule: &str, wanted: f64| {
            let found = rate(schedule, step, step / 7);
            assert!((found - wanted).abs() < 1e-12, "{schedule} at {step}: {found}, not {wanted}");
        };
        let epoch = (step / 7) as i32;
        close("0.5", 0.5);
        close("0.5 * step_decay(epoch, 3)", 0.5 * 0.1f64.powi(epoch / 3));
        close("step_decay(epoch, 2, factor: 0.5)", 0.5f64.powi(epoch / 2));
        close("exponential_decay(epoch, factor: 0.9)", 0.9f64.powi(epoch));
        close("cosine_decay(step, steps, last: 0.1)", cosine(1.0, 0.1, t / 100.0));
        close("cosine_decay(step, 50)", cosine(1.0, 0.0, (t / 50.0).min(1.0)));
        close("polynomial_decay(step, steps, power: 2.0)", (1.0 - t / 100.0).powi(2));
        close("warm_up(step, 20, first: 0.1)", 0.1 + 0.9 * (t / 20.0).min(1.0));
        close("warm_up(step, 10) * cosine_decay(step, steps)", {
            (t / 10.0).min(1.0) * cosine(1.0, 0.0, t / 100.0)
        });
        // As PyTorch's OneCycleLR counts: steps from 0, the top at 0.3 * 100 - 1.
        let done = t - 1.0;
        let one_cycle = match done <= 29.0 {
            true => cosine(0.04, 1.0, done / 29.0),
            false => cosine(1.0, 4e-6, (done - 29.0) / 70.0),
        };
        close("one_cycle(step, steps)", one_cycle);
        close("where(step < 30, 0.5, 0.25)", if step < 30 { 0.5 } else { 0.25 });
    }
}

#[test]
fn augmentation_moves_images() {
    let text = "
model m(x: f32[n, c, h, w]) {
    param still: f32[] = ones
    x * still |> random_crop(1)
}
train m() {
    data x: f32[n, 1, 3, 3] from npy(\"x.npy\")
    let crop = m(x)
    minimize mean(crop) using sgd
    report row = sum(crop[0, 0, 1, 1])
    batch 1
}";
    let recipe = recipe(text, &[]);
    let image: Vec<f64> = (1..=9).map(f64::from).collect();
    let values: [(&str, &[f64]); 2] = [("x", &image), ("still", &[1.0])];
    let seen = |program: &cygnet::language::program::Program, step: u64| {
        let slots = slots(program, &values);
        let mut evaluator = Evaluator::new(&slots);
        evaluator.context.step = step;
        let outputs = evaluator.run(&program.graph).outputs;
        outputs[1].values[0] as i32
    };
    // Every place of the image comes to the middle.
    let all: Vec<i32> = (0..200).map(|step| seen(&recipe.training, step)).collect();
    for place in 1..=9 {
        assert!(all.contains(&place), "{place}");
    }
    assert!((0..20).all(|step| seen(&recipe.evaluation, step) == 5));
}

#[test]
fn augmentation_mirrors_images() {
    let text = "
model m(x: f32[n, c, h, w]) {
    param still: f32[] = ones
    x * still |> random_flip(0.25) |> noise(0.0)
}
train m() {
    data x: f32[n, 1, 1, 2] from npy(\"x.npy\")
    let y = m(x)
    minimize mean(y) using sgd
    report left = sum(y[0, 0, 0, 0])
    batch 1
}";
    let recipe = recipe(text, &[]);
    let values: [(&str, &[f64]); 2] = [("x", &[1.0, 2.0]), ("still", &[1.0])];
    let left = |program: &cygnet::language::program::Program, step: u64| {
        let slots = slots(program, &values);
        let mut evaluator = Evaluator::new(&slots);
        evaluator.context.step = step;
        evaluator.run(&program.graph).outputs[1].values[0]
    };
    let mirrored = (0..400).filter(|&step| left(&recipe.training, step) == 2.0).count();
    assert!((60..140).contains(&mirrored), "{mirrored}");
    assert!((0..20).all(|step| left(&recipe.evaluation, step) == 1.0));
}

/// One snapshot for each recipe that cannot be compiled.
macro_rules! refusals {
    ($($name:ident: $text:expr;)*) => {
        $(#[test]
        fn $name() {
            insta::assert_snapshot!(refusal(&$text));
        })*
    };
}

refusals! {
    parameter_in_two_groups: groups("", "over m using sgd over m.head using adam");
    group_without_gradient: ADVERSARIES.replace("judge(maker(z))", "made").replace(
        "over maker using adam", "over judge using adam");
    group_of_nothing: groups("", "over m.haed using sgd over m.body using sgd");
    group_of_a_tensor: groups("", "over x using sgd");
    two_rests: groups("", "using sgd using adam");
    equal_objectives: ADVERSARIES.replace("judged = ", "").replace("fooled = ", "");
    not_a_list_of_gradients: groups("", "using norm_of |> sgd")
        + "\nfn norm_of(gradients) = gradients[0]";
    frozen_after_its_use: groups("    let _y = m(x)\n    freeze m.body\n", "using sgd");
    condition_on_data: groups("    freeze m.body while mean(x) > 0\n", "using sgd");
    condition_of_many: groups("    freeze m.body while x > 0\n", "using sgd");
    metric_that_is_not_reported: groups("    stop when plateaus(\"los\") > 0\n", "using sgd");
    wrong_patience: groups("    stop when plateaus(\"loss\", patience: -1) > 0\n", "using sgd");
    parameters_before_the_first_call: groups("    let _w = parameters(m)\n", "using sgd");
    source_of_weights: groups("    load m from csv(\"a.csv\")\n", "using sgd");
    option_of_weights: groups("    load m from safetensors(\"a\", skip: \"b\")\n", "using sgd");
}

#[test]
fn gradients_have_no_axes() {
    let text = groups("", "using clip_norm(1.0) as [a] -> [b] |> sgd(lr: lr)");
    let (package, _) = Package::from_source("test.cyg", &text);
    insta::assert_snapshot!(render(&check(&package).diagnostics, package.sources()));
}

#[test]
fn parameters_that_nothing_trains_are_told() {
    let text = groups("", "over m.head using sgd");
    let package = package(&text);
    let checked = check(&package);
    insta::assert_snapshot!(render(&checked.diagnostics, package.sources()));
    let said =
        check(&crate::elaborate::package(&groups("    freeze m.body\n", "over m.head using sgd")));
    assert!(said.diagnostics.is_empty());
}

#[test]
fn constants_of_optimizers_do_not_fill_the_search_for_better_terms() {
    // Products of constants were made of products of constants until the budget was used up, which
    // took minutes for the parameters of a network of this size.
    let recipe = recipe(
        "
model deep(x: f32[n, 8]) {
    var y = x
    for i in 0..12 { y = y |> layers[i]: linear(8) |> tanh }
    y
}
train deep() {
    data x: f32[n, 8] from npy(\"x.npy\")
    minimize mean(deep(x) ** 2) using clip_norm(1.0) |> adam
    batch 4
    epochs 1
}",
        &[],
    );
    let graph = &recipe.training.graph;
    let (_, report) = simplify(graph, &OptimizeOptions::default());
    let nodes = graph.nodes.len();
    assert!(report.terms < 2 * nodes, "{} terms of {nodes} nodes", report.terms);
}
