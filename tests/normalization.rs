//! Normalization layers: values, running statistics, and what is saved of them.

use std::path::Path;

use cygnet::language::package::Package;
use cygnet::language::program::Mode;
use cygnet::train::{TrainOptions, Trainer};
use cygnet_compiler::graph::SlotRole;

use crate::elaborate::{assert_close, model, outputs, package, updated};

/// Two samples of two channels with three places each.
const X: [f64; 12] = [0.5, -1.0, 2.0, 3.0, 0.0, 1.0, -0.5, 4.0, 1.5, 2.5, -2.0, 0.25];
const WEIGHT: [f64; 2] = [2.0, 0.5];
const BIAS: [f64; 2] = [0.25, -1.0];

/// Mean and mean squared distance from it.
fn moments(values: &[f64]) -> (f64, f64) {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let distances = values.iter().map(|x| (x - mean).powi(2));
    (mean, distances.sum::<f64>() / values.len() as f64)
}

/// The elements of `X` of one channel.
fn channel(channel: usize) -> Vec<f64> {
    let of = |sample: usize| &X[sample * 6 + channel * 3..][..3];
    [of(0), of(1)].concat()
}

/// `X` with mean and variance of its channels taken out, times `WEIGHT` plus `BIAS`.
fn normalized(statistics: impl Fn(usize) -> (f64, f64)) -> Vec<f64> {
    let element = |place: usize| {
        let channel = place / 3 % 2;
        let (mean, variance) = statistics(channel);
        (X[place] - mean) / (variance + 1e-5).sqrt() * WEIGHT[channel] + BIAS[channel]
    };
    (0..X.len()).map(element).collect()
}

const BATCH_NORM: &str = "model m(x: f32[2, 2, 3]) = x |> bn: batch_norm";

const SLOTS: [(&str, &[f64]); 5] = [
    ("x", &X),
    ("bn.weight", &WEIGHT),
    ("bn.bias", &BIAS),
    ("bn.running_mean", &[0.5, -0.5]),
    ("bn.running_var", &[2.0, 0.75]),
];

#[test]
fn batch_norm_takes_the_statistics_of_the_batch_while_training() {
    let m = model(BATCH_NORM, &[], Mode::Training);
    let y = outputs(&m.program, &SLOTS).remove(0);
    assert_close(&y.values, &normalized(|c| moments(&channel(c))));
    let [first, second] = [moments(&channel(0)), moments(&channel(1))];
    assert_close(
        &updated(&m.program, &SLOTS, "bn.running_mean").values,
        &[0.9 * 0.5 + 0.1 * first.0, 0.9 * -0.5 + 0.1 * second.0],
    );
    // The unbiased variance of 6 elements.
    assert_close(
        &updated(&m.program, &SLOTS, "bn.running_var").values,
        &[0.9 * 2.0 + 0.1 * first.1 * 6.0 / 5.0, 0.9 * 0.75 + 0.1 * second.1 * 6.0 / 5.0],
    );
}

#[test]
fn batch_norm_takes_running_statistics_in_evaluation() {
    let m = model(BATCH_NORM, &[], Mode::Inference);
    let y = outputs(&m.program, &SLOTS).remove(0);
    assert_close(&y.values, &normalized(|c| [(0.5, 2.0), (-0.5, 0.75)][c]));
    assert!(m.program.graph.updates.is_empty());
}

#[test]
fn batch_norm_has_any_number_of_further_axes() {
    for (shape, dims) in [("[6, 2]", vec![]), ("[n, 2, h, 1]", vec![("n", 2), ("h", 3)])] {
        let text = format!("model m(x: f32{shape}) = x |> batch_norm");
        let m = model(&text, &dims, Mode::Training);
        let y = outputs(&m.program, &[("x", &X), ("batch_norm.bias", &[0.0; 2])]).remove(0);
        let (mean, _) = moments(&y.values);
        assert!(mean.abs() < 1e-9, "{shape}: {mean}");
    }
}

#[test]
fn two_passes_through_one_instance_update_its_statistics_in_order() {
    let text = "model m(x: f32[2, 2, 3], y: f32[2, 2, 3]) {
    let bn = batch_norm(_)
    (bn(x), bn(y))
}";
    let m = model(text, &[], Mode::Training);
    let buffers = m.program.parameters.iter().filter(|p| p.role == SlotRole::Buffer);
    assert_eq!(buffers.count(), 2);
    let y: Vec<f64> = X.iter().map(|x| 10.0 - x).collect();
    let values = [SLOTS.as_slice(), &[("y", y.as_slice())]].concat();
    let mean = moments(&channel(0)).0;
    let after_first = 0.9 * 0.5 + 0.1 * mean;
    let found = updated(&m.program, &values, "bn.running_mean").values[0];
    assert_close(&[found], &[0.9 * after_first + 0.1 * (10.0 - mean)]);
}

#[test]
fn group_norm_normalizes_groups_of_channels_of_each_sample() {
    let text = "model m(x: f32[2, 2, 3], groups: dim = 2) = x |> gn: group_norm(groups)";
    let m = model(text, &[], Mode::Training);
    let values = [("x", X.as_slice()), ("gn.weight", &WEIGHT), ("gn.bias", &BIAS)];
    let y = outputs(&m.program, &values).remove(0);
    let expected = X.chunks(3).enumerate().flat_map(|(group, row)| {
        let (mean, variance) = moments(row);
        let (weight, bias) = (WEIGHT[group % 2], BIAS[group % 2]);
        row.iter().map(move |x| (x - mean) / (variance + 1e-5).sqrt() * weight + bias)
    });
    assert_close(&y.values, &expected.collect::<Vec<f64>>());
    // One group of all channels: each sample has mean 0 before weight and bias.
    let m = model(&text.replace("= 2)", "= 1)"), &[], Mode::Inference);
    let values = [("x", X.as_slice()), ("gn.weight", &[1.0; 2]), ("gn.bias", &[0.0; 2])];
    let y = outputs(&m.program, &values).remove(0);
    assert!(y.values.chunks(6).all(|sample| moments(sample).0.abs() < 1e-9), "{:?}", y.values);
}

#[test]
fn rms_norm_divides_by_the_root_of_the_mean_square() {
    let text = "model m(x: f32[2, 2, 3]) = x |> norm: rms_norm(eps: 1e-6)";
    let m = model(text, &[], Mode::Inference);
    let weight = [1.0, 2.0, 3.0];
    let y = outputs(&m.program, &[("x", &X), ("norm.weight", &weight)]).remove(0);
    let expected = X.chunks(3).flat_map(|row| {
        let square = row.iter().map(|x| x * x).sum::<f64>() / 3.0;
        let root = (square + 1e-6).sqrt();
        row.iter().zip(weight).map(move |(x, weight)| x / root * weight)
    });
    assert_close(&y.values, &expected.collect::<Vec<f64>>());
}

const RECIPE: &str = "model m(x: f32[n, 3]) = x |> batch_norm |> out: linear(2)
train m() {
    data x: f32[n, 3], label: i32[n] from csv(\"points.csv\", target: \"label\", test: 0.25)
    minimize cross_entropy(m(x), label) using sgd(lr: 0.1)
    batch 4
    epochs 3
}";

/// A table of 32 samples whose features are far from mean 0 and variance 1.
fn write_points(folder: &Path) {
    let mut text = "a,b,c,label\n".to_owned();
    for row in 0..32 {
        let (x, label) = (f64::from(row * 7 % 13), row % 2);
        text += &format!("{},{},{},{label}\n", 5.0 + x, 0.1 * x, x * f64::from(label));
    }
    std::fs::write(folder.join("points.csv"), text).expect("written");
}

fn trainer<'p>(package: &'p Package, folder: &Path) -> Trainer<'p> {
    Trainer::new(package, None, folder, TrainOptions::default()).expect("a trainer")
}

#[test]
fn running_statistics_are_saved_with_the_weights() {
    let folder = tempfile::tempdir().expect("a folder");
    write_points(folder.path());
    let package = package(RECIPE);
    let mut first = trainer(&package, folder.path());
    let trained = first.run(|_| {}).expect("trained").metrics.test.expect("test samples");
    let mean = first.session().get("batch_norm.running_mean").expect("a buffer");
    assert!(mean.get_f64(0) > 5.0 && mean.get_f64(0) < 17.0, "{}", mean.get_f64(0));

    let file = folder.path().join("weights.safetensors");
    first.save(&file).expect("saved");
    let mut second = trainer(&package, folder.path());
    assert_ne!(second.evaluate().expect("evaluated"), trained);
    second.load(&file).expect("loaded");
    assert_eq!(second.evaluate().expect("evaluated"), trained);
    // Evaluation works on a copy.
    assert_eq!(second.session().get("batch_norm.running_mean").expect("a buffer"), mean);
}
