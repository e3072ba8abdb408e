//! Metrics: values over all samples, whatever the batches, against golden values.

use std::path::Path;

use cygnet::data::npy::write_npy;
use cygnet::language::package::Package;
use cygnet::language::recipe::elaborate_recipe;
use cygnet::session::SessionOptions;
use cygnet::train::{Evaluation, MetricValue, Metrics, TrainOptions, Trainer, load_data};
use cygnet_runtime::tensor::Tensor;
use serde_json::Value;

use crate::elaborate::package;

/// Reports every metric. Nothing is learned.
const RECIPE: &str = "
model scores(x: f32[n, c]) {
    param scale: f32[] = ones
    scale * x
}

train judge() {
    data logits: f32[n, c], label: i32[n], prediction: f32[n, d], target: f32[n, d],
        score: f32[n], truth: i32[n], image: f32[n, k, h, w], mask: i32[n, h, w]
        from npy(
            \"logits.npy\",
            \"label.npy\",
            \"prediction.npy\",
            \"target.npy\",
            \"score.npy\",
            \"truth.npy\",
            \"image.npy\",
            \"mask.npy\",
        )
    let x = scores(logits)
    let two = two_classes(score)
    minimize cross_entropy(x, label) using sgd(lr: 0.0)
    batch 1
    epochs 2
    report accuracy(x, label), top_2 = top_k_accuracy(x, label, k: 2)
    report precision_macro = precision(x, label), recall_macro = recall(x, label)
    report precision_micro = precision(x, label, average: micro)
    report precision_weighted = precision(x, label, average: weighted)
    report precision_per_class = precision(x, label, average: per_class)
    report recall_micro = recall(x, label, average: micro)
    report recall_weighted = recall(x, label, average: weighted)
    report recall_per_class = x |> recall(label, average: per_class)
    report f1_macro = f1(x, label), f1_micro = f1(x, label, average: micro)
    report f1_weighted = f1(x, label, average: weighted)
    report f1_per_class = f1(x, label, average: per_class)
    report iou_macro = iou(x, label), iou_micro = iou(x, label, average: micro)
    report iou_weighted = iou(x, label, average: weighted)
    report iou_per_class = iou(x, label, average: per_class)
    report confusion(x, label), perplexity(x, label)
    report mae(prediction, target), rmse(prediction, target), r2(prediction, target)
    report positive_precision = precision(two, truth, average: positive)
    report positive_recall = recall(two, truth, average: positive)
    report positive_f1 = f1(two, truth, average: positive)
    report mask_iou = iou(image, mask, average: per_class, over: k)
    report mask_dice = f1(image, mask, over: 1)
}
";

/// Writes the inputs of the golden cases to a folder and returns the expected values.
fn write_inputs(folder: &Path) -> Value {
    let golden: Value =
        serde_json::from_str(include_str!("golden/metrics.json")).expect("valid JSON");
    let inputs = golden["inputs"].as_object().expect("an object");
    let numbers = |value: &Value| -> Vec<f64> {
        value.as_array().expect("a list").iter().map(|x| x.as_f64().expect("a number")).collect()
    };
    for (name, input) in inputs {
        let shape: Vec<usize> = numbers(&input["shape"]).iter().map(|&x| x as usize).collect();
        let values = numbers(&input["values"]);
        let tensor = match name.as_str() {
            "label" | "truth" | "mask" => {
                let whole: Vec<i32> = values.iter().map(|&x| x as i32).collect();
                Tensor::from_slice(&shape, &whole)
            }
            _ => {
                let single: Vec<f32> = values.iter().map(|&x| x as f32).collect();
                Tensor::from_slice(&shape, &single)
            }
        };
        write_npy(&folder.join(format!("{name}.npy")), &tensor).expect("a writable folder");
    }
    golden["expected"].clone()
}

/// All numbers in nested arrays.
fn flat(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(parts) => parts.iter().flat_map(flat).collect(),
        number => vec![number.as_f64().expect("a number")],
    }
}

fn assert_golden(found: &Metrics, expected: &Value) {
    let expected = expected.as_object().expect("an object");
    let names = |all: &mut dyn Iterator<Item = &String>| all.cloned().collect::<Vec<_>>();
    let mut sorted = names(&mut expected.keys());
    sorted.sort();
    assert_eq!(names(&mut found.keys()), sorted);
    for (name, expected) in expected {
        let (found, expected) = (found[name].values(), flat(expected));
        assert_eq!(found.len(), expected.len(), "{name}");
        for (found, expected) in found.iter().zip(&expected) {
            let near = (found - expected).abs() <= 2e-6 * (1.0 + expected.abs());
            assert!(near, "{name}: {found} instead of {expected}");
        }
    }
}

fn evaluate(package: &Package, folder: &Path, batch: usize) -> Metrics {
    let settings = [("batch".to_owned(), batch.to_string())].into();
    let loaded = load_data(package, None, folder, settings).expect("readable data");
    let recipe = elaborate_recipe(package, None, &loaded.bindings).expect("a valid recipe");
    let evaluation = Evaluation {
        package,
        recipe: &recipe,
        bindings: &loaded.bindings,
        options: &SessionOptions::default(),
        batch,
    };
    let weights = Tensor::from_slice(&[], &[1.0_f32]);
    let metrics = evaluation.run(&loaded.data.train, |session| session.set("scale", &weights));
    metrics.expect("an evaluation")
}

#[test]
fn metrics_are_those_of_scikit_learn_for_any_size_of_batches() {
    let folder = tempfile::tempdir().expect("a folder");
    let expected = write_inputs(folder.path());
    let package = package(RECIPE);
    // 23 samples: five batches and a smaller one, one batch, one smaller than its size.
    for batch in [4, 23, 40] {
        assert_golden(&evaluate(&package, folder.path(), batch), &expected);
    }
}

#[test]
fn metrics_of_training_begin_anew_with_each_epoch() {
    let folder = tempfile::tempdir().expect("a folder");
    let expected = write_inputs(folder.path());
    let package = package(RECIPE);
    let mut trainer =
        Trainer::new(&package, None, folder.path(), TrainOptions::default()).expect("a trainer");
    let summary = trainer.run(|_| {}).expect("finite losses");
    assert_golden(&summary.metrics.train, &expected);
    let matrix: &MetricValue = &summary.metrics.train["confusion"];
    assert_eq!(matrix.shape(), [5, 5]);
}

#[test]
fn equal_scores_count_in_order_and_nan_never_hits() {
    let folder = tempfile::tempdir().expect("a folder");
    // The logits are the logarithms of these: those of the last row are no numbers.
    let rows: [f32; 9] = [2.0, 2.0, 1.0, 2.0, 2.0, 1.0, -1.0, -1.0, -1.0];
    let write = |name: &str, tensor: &Tensor| {
        write_npy(&folder.path().join(name), tensor).expect("a writable folder");
    };
    write("x.npy", &Tensor::from_slice(&[3, 3], &rows));
    write("label.npy", &Tensor::from_slice(&[3], &[0, 1, 2]));
    let text = "
model scores(x: f32[n, c]) {
    param scale: f32[] = ones
    scale * x
}
train judge() {
    data x: f32[n, c], label: i32[n] from npy(\"x.npy\", \"label.npy\")
    let logits = log(x)
    minimize mean(scores(x)) using sgd
    batch 3
    epochs 1
    report top_1 = top_k_accuracy(logits, label, k: 1), top_k_accuracy(logits, label, k: 2)
}";
    let metrics = evaluate(&package(text), folder.path(), 3);
    assert_eq!(metrics["top_1"].number(), Some(f64::from(1.0_f32 / 3.0)));
    assert_eq!(metrics["top_k_accuracy"].number(), Some(f64::from(2.0_f32 / 3.0)));
}

/// BLEU as its definition says it, from counted runs of words.
fn bleu(found: &[&[i32]], truth: &[&[i32]]) -> f64 {
    use std::collections::HashMap;
    let words =
        |text: &[i32]| text.iter().copied().filter(|&token| token > 2).collect::<Vec<i32>>();
    let texts: Vec<(Vec<i32>, Vec<i32>)> =
        found.iter().zip(truth).map(|(a, b)| (words(a), words(b))).collect();
    let logarithms = (1..=4).map(|order| {
        let (mut hits, mut runs) = (0, 0);
        for (found, truth) in &texts {
            let count = |text: &[i32]| {
                let mut counts: HashMap<Vec<i32>, usize> = HashMap::new();
                text.windows(order).for_each(|run| *counts.entry(run.to_vec()).or_default() += 1);
                counts
            };
            let known = count(truth);
            for (run, times) in count(found) {
                hits += times.min(known.get(&run).copied().unwrap_or(0));
                runs += times;
            }
        }
        (f64::from(hits as u32) / f64::from(runs as u32)).ln()
    });
    let shares = logarithms.sum::<f64>() / 4.0;
    let length = |second: bool| -> f64 {
        texts.iter().map(|(a, b)| if second { b.len() } else { a.len() } as f64).sum()
    };
    (shares + (1.0 - length(true) / length(false)).min(0.0)).exp()
}

#[test]
fn bleu_counts_runs_of_words() {
    let found: [&[i32]; 3] =
        [&[4, 5, 6, 7, 8, 2, 0, 0], &[4, 4, 4, 5, 6, 7, 4, 2], &[9, 4, 5, 9, 4, 5, 2, 0]];
    let truth: [&[i32]; 3] = [
        &[1, 4, 5, 6, 7, 9, 8, 2, 0, 0, 0],
        &[1, 4, 5, 6, 7, 4, 4, 2, 0, 0, 0],
        &[1, 9, 4, 5, 9, 9, 4, 5, 4, 9, 2],
    ];
    let folder = tempfile::tempdir().unwrap();
    let rows = |rows: &[&[i32]]| Tensor::from_slice(&[rows.len(), rows[0].len()], &rows.concat());
    write_npy(&folder.path().join("found.npy"), &rows(&found)).unwrap();
    write_npy(&folder.path().join("truth.npy"), &rows(&truth)).unwrap();
    let package = package(
        "
model weight(x: f32[n]) {
    param scale: f32[] = ones
    scale * x
}
train judge() {
    data found: i32[n, 8], truth: i32[n, 11] from npy(\"found.npy\", \"truth.npy\")
    minimize mean(weight(f32(found)[..., 0])) using sgd(lr: 0.0)
    batch 1
    epochs 1
    report bleu(found, truth)
}",
    );
    let mut trainer = Trainer::new(&package, None, folder.path(), TrainOptions::default()).unwrap();
    let metrics = trainer.run(|_| {}).unwrap().metrics;
    let value = metrics.train["bleu"].number().unwrap();
    let expected = bleu(&found, &truth);
    assert!(expected > 0.3 && (value - expected).abs() < 1e-6, "{value}, not {expected}");
}
