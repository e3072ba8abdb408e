//! Training: what the trainer does from batch to batch and from epoch to epoch.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cygnet::data::npy::{read_npy, write_npy};
use cygnet::data::weights::{Weights, write_weights};
use cygnet::error::Error;
use cygnet::language::package::Package;
use cygnet::train::{CHECKPOINT, Checkpoint, Event, Metrics, Summary, TrainOptions, Trainer};
use cygnet_runtime::tensor::Tensor;
use tempfile::TempDir;

use crate::command;
use crate::elaborate::package;
use crate::language::render;

/// A folder with 24 samples, `x.npy` of shape [24, 3] and `y.npy` of shape [24, 2].
fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let x: Vec<f32> = (0..72).map(|i| ((i * 37 % 23) as f32 - 11.0) / 10.0).collect();
    let y: Vec<f32> = (0..48).map(|i| ((i * 29 % 17) as f32 - 8.0) / 10.0).collect();
    write_npy(&folder.path().join("x.npy"), &Tensor::from_slice(&[24, 3], &x)).expect("written");
    write_npy(&folder.path().join("y.npy"), &Tensor::from_slice(&[24, 2], &y)).expect("written");
    folder
}

const PROGRAM: &str = "
model net(x: f32[n, 3]) -> f32[n, 2] {
    x |> body: linear(4) |> tanh |> dropout(DROP) |> head: linear(2)
}
train net(lr: float = 0.05, thaw: int = 2) {
    data x: f32[n, 3], y: f32[n, 2] from npy(\"x.npy\", \"y.npy\", test: 4)
    CLAUSES
    minimize mse(net(x), y) using OPTIMIZER
    batch 4
    epochs 3
}";

fn program(clauses: &str, optimizer: &str) -> String {
    let text = PROGRAM.replace("    CLAUSES\n", clauses).replace("OPTIMIZER", optimizer);
    // Every parameter of the recipe is used.
    text.replace("DROP", "0.0").replace("    minimize", "    let _thaw = thaw\n    minimize")
}

fn options(settings: &[(&str, &str)], out: Option<&Path>) -> TrainOptions {
    let settings = settings.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    TrainOptions {
        settings: settings.collect(),
        seed: 3,
        out: out.map(Path::to_owned),
        ..TrainOptions::default()
    }
}

fn trainer<'a>(package: &'a Package, folder: &Path, options: TrainOptions) -> Trainer<'a> {
    Trainer::new(package, None, folder, options)
        .unwrap_or_else(|error| panic!("{}", render(&error.diagnostics(), package.sources())))
}

/// Trains and gives the tensors of the model, the metrics of each epoch, and the summary.
fn trained(
    text: &str,
    folder: &Path,
    options: TrainOptions,
) -> (BTreeMap<String, Tensor>, Vec<Metrics>, Summary) {
    let package = package(text);
    let mut trainer = trainer(&package, folder, options);
    let mut epochs = Vec::new();
    let summary = trainer.run(|event| {
        if let Event::Epoch { train, .. } = event {
            epochs.push(train.clone());
        }
    });
    let summary = summary
        .unwrap_or_else(|error| panic!("{}", render(&error.diagnostics(), package.sources())));
    let names = trainer.recipe().training.parameters.iter().filter(|p| p.saved());
    let names: Vec<String> = names.map(|parameter| parameter.path.clone()).collect();
    let tensors =
        names.into_iter().map(|name| (name.clone(), trainer.session().get(&name).expect("a slot")));
    (tensors.collect(), epochs, summary)
}

fn assert_near(a: &BTreeMap<String, Tensor>, b: &BTreeMap<String, Tensor>) {
    for (name, tensor) in a {
        for (x, y) in tensor.as_slice::<f32>().iter().zip(b[name].as_slice::<f32>()) {
            assert!((x - y).abs() < 1e-5, "{name}: {x} and {y}");
        }
    }
}

#[test]
fn accumulation_equals_one_large_batch() {
    let folder = folder();
    let optimizer = "clip_norm(0.5) |> adam(lr: lr)";
    let whole = program("", optimizer);
    let (large, ..) = trained(&whole, folder.path(), options(&[("batch", "20")], None));
    let parts = program("    accumulate 5\n", optimizer);
    let (small, epochs, summary) = trained(&parts, folder.path(), options(&[], None));
    assert_eq!((epochs.len(), summary.steps), (3, 3));
    assert_near(&large, &small);
    // It is not what smaller batches alone would give.
    let (other, ..) = trained(&whole, folder.path(), options(&[], None));
    assert!((other["head.bias"].get_f64(0) - large["head.bias"].get_f64(0)).abs() > 1e-3);
}

#[test]
fn parts_are_frozen_for_a_time() {
    let folder = folder();
    let text = program("    freeze net.body while epoch < thaw\n", "adam(lr: lr)");
    let after =
        |epochs: &str| trained(&text, folder.path(), options(&[("epochs", epochs)], None)).0;
    let (one, two, three) = (after("1"), after("2"), after("3"));
    assert_eq!(one["body.weight"], two["body.weight"]);
    assert_ne!(one["head.weight"], two["head.weight"]);
    assert_ne!(two["body.weight"], three["body.weight"]);
    // Thawed from the start it is trained from the start.
    let (thawed, ..) =
        trained(&text, folder.path(), options(&[("epochs", "1"), ("thaw", "0")], None));
    assert_ne!(one["body.weight"], thawed["body.weight"]);
    assert_ne!(thawed["body.weight"], after("3")["body.weight"]);
}

#[test]
fn training_stops_at_a_plateau() {
    let folder = folder();
    // Without a rate nothing improves: the second epoch is the first one without improvement.
    let text = program("    stop when plateaus(\"loss\", patience: 1) > 0\n", "sgd(lr: 0 * lr)");
    let (_, epochs, summary) = trained(&text, folder.path(), options(&[("epochs", "20")], None));
    assert_eq!((epochs.len(), summary.epochs), (3, 3));
    let text = program("    stop when epoch >= 5\n", "sgd(lr: lr)");
    let (_, epochs, _) = trained(&text, folder.path(), options(&[("epochs", "20")], None));
    assert_eq!(epochs.len(), 5);
}

#[test]
fn rates_follow_the_course_of_a_metric() {
    let folder = folder();
    let reduced = "sgd(lr: lr * 0.0 ** plateaus(\"loss\", patience: 0, threshold: 10.0))";
    let first = trained(&program("", reduced), folder.path(), options(&[("epochs", "2")], None)).0;
    let later = trained(&program("", reduced), folder.path(), options(&[("epochs", "4")], None)).0;
    // No epoch is ten times better, so the rate is 0 from the third epoch on.
    assert_eq!(first, later);
    let constant =
        trained(&program("", "sgd(lr: lr)"), folder.path(), options(&[("epochs", "4")], None));
    assert_ne!(later, constant.0);
}

#[test]
fn states_of_a_recipe_are_carried_through_an_epoch() {
    let folder = folder();
    let text = program(
        "    state count: f32[] = zeros\n    count = count + 1\n    report count\n",
        "sgd(lr: lr)",
    );
    let (_, epochs, summary) = trained(&text, folder.path(), options(&[], None));
    // Five batches an epoch, counted from 1: the mean is 3 in each.
    assert!(epochs.iter().all(|epoch| epoch["count"].number() == Some(3.0)), "{epochs:?}");
    // The evaluation counts for itself: one batch of four samples.
    assert_eq!(summary.metrics.test.expect("test samples")["count"].number(), Some(1.0));
}

#[test]
fn several_objectives_are_reported_each() {
    let folder = folder();
    let text = program("", "adam(lr: lr)")
        .replace("minimize mse(net(x), y)", "let found = net(x)\n    minimize far = mse(found, y)")
        .replace(
            "    batch 4",
            "    minimize size = l2_penalty(parameters(net)) using sgd(lr: 1e-3)\n    batch 4",
        );
    let (_, epochs, _) = trained(&text, folder.path(), options(&[], None));
    let names: Vec<&String> = epochs[0].keys().collect();
    assert_eq!(names, ["far", "size"]);
    assert!(epochs[2]["far"].number() < epochs[0]["far"].number());
}

#[test]
fn what_is_shown_is_written_after_each_epoch() {
    let folder = folder();
    let out = folder.path().join("out");
    let text = program("    show net(x), uniform[4, 1, 5, 5]\n", "sgd(lr: lr)")
        .replace("    show", "    let picture = uniform[4, 1, 5, 5]\n    show")
        .replace("net(x), uniform[4, 1, 5, 5]\n", "net(x), picture\n");
    trained(&text, folder.path(), options(&[("epochs", "2")], Some(&out)));
    let array = read_npy(&out.join("show/net-0002.npy")).expect("an array");
    assert_eq!(array.shape(), [4, 2]);
    let first = std::fs::read(out.join("show/picture-0001.png")).expect("a picture");
    assert_eq!(first, std::fs::read(out.join("show/picture-0002.png")).expect("a picture"));
}

/// Weights of `net` under other names, with a head for three classes.
fn published(folder: &Path) {
    let body = Tensor::from_slice(&[4, 3], &[0.25_f32; 12]);
    let bias = Tensor::from_slice(&[4], &[1.0_f32, 2.0, 3.0, 4.0]);
    let head = Tensor::from_slice(&[3, 4], &[0.5_f32; 12]);
    let tensors = [("trunk.weight", &body), ("trunk.bias", &bias), ("head.weight", &head)];
    write_weights(&folder.join("other.safetensors"), tensors, &BTreeMap::new()).expect("written");
}

fn with_load(options: &str) -> String {
    let text = program(
        &format!("    load net from safetensors(\"other.safetensors\"{options})\n"),
        "sgd(lr: lr)",
    );
    text.replace("PATHS", "net")
}

#[test]
fn trained_weights_are_loaded_under_other_names() {
    let folder = folder();
    published(folder.path());
    let text = with_load(", rename: [(\"trunk.*\", \"body.*\")], skip: [\"head.*\"]");
    let package = package(&text);
    let mut trainer = trainer(&package, folder.path(), options(&[], None));
    let bias = trainer.session().get("body.bias").expect("a slot");
    assert_eq!(bias.as_slice::<f32>(), [1.0, 2.0, 3.0, 4.0]);
    let head = trainer.session().get("head.weight").expect("a slot");
    assert!(head.as_slice::<f32>().iter().all(|value| *value != 0.5));
    // A part alone: the rest of the file is not looked at.
    let text =
        with_load(", rename: [(\"trunk.*\", \"body.*\")]").replace("load net ", "load net.body ");
    let package = crate::elaborate::package(&text);
    let mut trainer = self::trainer(&package, folder.path(), options(&[], None));
    assert_eq!(trainer.session().get("body.bias").expect("a slot"), bias);
}

#[test]
fn labels_are_held_against_their_classes_also_where_the_data_give_sizes() {
    let folder = tempfile::tempdir().expect("a folder");
    let rows = (0..12).map(|i| format!("{}.5,{},{}", i % 5, i % 3, if i == 7 { 4 } else { i % 4 }));
    let table = format!("a,b,kind\n{}\n", rows.collect::<Vec<_>>().join("\n"));
    std::fs::write(folder.path().join("kinds.csv"), table).expect("written");
    // The number of columns is not known before the table is read.
    let text = "
model kinds(x: f32[n, d]) -> f32[n, 4] = x |> out: linear(4)
train kinds() {
    data x: f32[n, d], kind: i32[n] from csv(\"kinds.csv\", target: \"kind\", test: 0.25)
    minimize cross_entropy(kinds(x), kind) using sgd
    batch 3
    epochs 1
}";
    let shown = refused(text, folder.path(), options(&[], None));
    assert!(shown.contains("label 4 is out of range: with 4 classes"), "{shown}");
    assert!(shown.contains("line 9"), "{shown}");
    assert!(shown.contains("csv(\"kinds.csv\""), "{shown}");
}

#[test]
fn an_index_that_leads_nowhere_stops_training_and_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let words: Vec<i32> = (0..24).map(|i| if i == 13 { 512 } else { i % 5 }).collect();
    let y: Vec<f32> = (0..8).map(|i| i as f32 / 8.0).collect();
    let path = |name: &str| folder.path().join(name);
    write_npy(&path("words.npy"), &Tensor::from_slice(&[8, 3], &words)).expect("written");
    write_npy(&path("y.npy"), &Tensor::from_slice(&[8, 1], &y)).expect("written");
    let text = "
model bag(words: i32[n, 3]) -> f32[n, 1] {
    mean((words + 1) |> word: embedding(500, 4), over: 1) |> out: linear(1)
}
train bag() {
    data words: i32[n, 3], y: f32[n, 1] from npy(\"words.npy\", \"y.npy\")
    minimize mse(bag(words), y) using sgd(lr: 0.1)
    batch 4
    epochs 2
}";
    let package = package(text);
    let mut trainer = trainer(&package, folder.path(), options(&[], None));
    let error = trainer.run(|_| {}).expect_err("a mistake");
    let shown = render(&error.diagnostics(), package.sources());
    assert!(shown.contains("index 513 is out of range for an axis of 500"), "{shown}");
    assert!(shown.contains("mean((words + 1) |> word: embedding(500, 4), over: 1)"), "{shown}");
    let weight = trainer.session().get("word.weight").expect("a slot");
    assert!(weight.as_slice::<f32>().iter().all(|value| value.is_finite()));
}

/// An update may overflow where the loss is finite: neither the next epoch nor its parameter is to
/// blame then, and no weights that are useless are saved.
#[test]
fn the_update_that_spoils_the_weights_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let x: Vec<f32> = (0..16).map(|i| (i % 5) as f32).collect();
    let y: Vec<f32> = (0..8).map(|i| 1e4 * i as f32).collect();
    write_npy(&path("x.npy"), &Tensor::from_slice(&[8, 2], &x)).expect("written");
    write_npy(&path("y.npy"), &Tensor::from_slice(&[8, 1], &y)).expect("written");
    // A state may be infinite: that is no reason to stop.
    let text = "
model m(x: f32[n, 2]) -> f32[n, 1] = x |> out: linear(1)
train m() {
    data x: f32[n, 2], y: f32[n, 1] from npy(\"x.npy\", \"y.npy\")
    state least: f32[] = inf
    let loss = mse(m(x), y)
    least = min(least, stop_gradient(loss))
    minimize loss using sgd(lr: LR)
    batch 4
    epochs 2
}";
    for (rate, every, place) in [
        // The last step of an epoch, the last one of all, and one before a checkpoint.
        ("1e36 * where(step > 1, 1, 0)", None, "step 2 of epoch 1 (step 2 in all)"),
        ("1e36 * where(step > 3, 1, 0)", None, "step 2 of epoch 2 (step 4 in all)"),
        ("1e36", Some(1), "step 1 of epoch 1 (step 1 in all)"),
    ] {
        let package = package(&text.replace("LR", rate));
        let run = path("run");
        let options = TrainOptions { checkpoint_every: every, ..options(&[], Some(&run)) };
        let mut trainer = trainer(&package, folder.path(), options);
        let error = trainer.run(|_| {}).expect_err("no finite weights");
        let shown = render(&error.diagnostics(), package.sources());
        let message = format!("is no longer finite after the update of {place}");
        assert!(shown.contains("x `out.") && shown.contains(&message), "{shown}");
        assert!(shown.contains("lower the learning rate, clip gradients"), "{shown}");
        assert!(shown.contains("as the first of all"), "{shown}");
        let weight = trainer.session().get("out.weight").expect("a slot");
        assert!(weight.as_slice::<f32>().iter().all(|value| value.is_finite()));
        assert!(!run.join(CHECKPOINT).exists());
    }
}

/// The third element is to blame; the gradient's loop goes the other way.
#[test]
fn the_step_of_a_loop_that_spoils_the_loss_is_named() {
    let text = "
model roots(x: f32[n, t]) -> f32[n] {
    param scale: f32[] = ones
    var total = zeros[n]
    scan x_t in x along t {
        total = total + BODY
    }
    total
}
train roots() {
    data x: f32[n, 4], y: f32[n] from npy(\"x.npy\", \"y.npy\")
    minimize mse(roots(x), y) using sgd(lr: 0.1)
    batch 2
    epochs 1
}";
    let told = |body: &str, others: f32, third: f32| {
        let folder = tempfile::tempdir().expect("a folder");
        let x = [others, others, third, others].repeat(4);
        let path = |name: &str| folder.path().join(name);
        write_npy(&path("x.npy"), &Tensor::from_slice(&[4, 4], &x)).expect("written");
        write_npy(&path("y.npy"), &Tensor::from_slice(&[4], &[0.5_f32; 4])).expect("written");
        let package = package(&text.replace("BODY", body));
        let mut trainer = trainer(&package, folder.path(), options(&[], None));
        match trainer.run(|_| {}) {
            Err(error) => render(&error.diagnostics(), package.sources()),
            Ok(_) => panic!("no mistake"),
        }
    };
    let found = [
        told("sqrt(scale * x_t)", 0.25, -1.0),
        told("scale * abs(x_t) ** 40", 0.25, 1e10),
        told("sqrt(scale * x_t - 0.25)", 0.5, 0.25),
    ];
    insta::assert_snapshot!(found.join("\n"));
}

fn refused(text: &str, folder: &Path, options: TrainOptions) -> String {
    let package = package(text);
    let error = Trainer::new(&package, None, folder, options).err().expect("a mistake");
    render(&error.diagnostics(), package.sources())
}

/// The message of an error and what to do, without the name of the folder.
fn told(error: &Error, folder: &Path) -> String {
    let remedy = match error {
        Error::Request { remedy, .. } => remedy.clone(),
        Error::Data { error, .. } => error.remedy(),
        other => panic!("{other}"),
    };
    format!("{error}\n  help: {remedy}\n").replace(&format!("{}/", folder.display()), "")
}

#[test]
fn weights_that_do_not_fit_are_listed_at_once() {
    let folder = folder();
    published(folder.path());
    insta::assert_snapshot!(refused(&with_load(""), folder.path(), options(&[], None)));
    // What fits can be taken alone, but nothing of another shape.
    let renamed = with_load(", rename: [(\"trunk.*\", \"body.*\")], strict: false");
    insta::assert_snapshot!(
        "mis_shaped_weights",
        refused(&renamed, folder.path(), options(&[], None))
    );
}

const RESUMED: &str = "    accumulate 2
    state carried: f32[] = zeros
    carried = carried + 0.1
    freeze net.body while epoch < 1
";

fn noisy(optimizer: &str) -> String {
    program(RESUMED, optimizer)
        .replace("dropout(0.0)", "dropout(0.3)")
        .replace("mse(net(x), y)", "mse(net(x) + carried * normal[n, 2], y)")
        .replace("lr: lr", "lr: lr * 0.5 ** plateaus(\"loss\", patience: 0)")
}

#[test]
fn a_resumed_run_is_bit_for_bit_the_uninterrupted_one() {
    let folder = folder();
    let text = noisy("adam(lr: lr)");
    let package = package(&text);
    let out = folder.path().join("out");
    std::fs::create_dir(&out).expect("a folder");
    let run = |epochs: &str, every: Option<usize>| TrainOptions {
        checkpoint_every: every,
        ..options(&[("epochs", epochs)], Some(&out))
    };
    let (whole, metrics, _) = trained(&text, folder.path(), run("4", None));
    let full = std::fs::read(out.join(CHECKPOINT)).expect("a checkpoint");

    // Every checkpoint on the way, also within an epoch and within an accumulation.
    for stop in [1_usize, 3, 4, 7, 10, 13] {
        let mut trainer = trainer(&package, folder.path(), run("4", Some(1)));
        let mut steps = 0;
        let crash = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _ = trainer.run(|event| {
                if matches!(event, Event::Step { .. }) {
                    steps += 1;
                    assert!(steps < stop.div_ceil(2) + 1, "the run is interrupted on purpose");
                }
            });
        }));
        assert!(crash.is_err());
        let checkpoint = Checkpoint::read(&out).expect("a checkpoint");
        let mut resumed = self::trainer(&package, folder.path(), run("4", None));
        resumed.resume(checkpoint).expect("the same run");
        let mut last = Metrics::new();
        resumed
            .run(|event| {
                if let Event::Epoch { train, .. } = event {
                    last = train.clone();
                }
            })
            .expect("trained");
        for (name, tensor) in &whole {
            assert_eq!(&resumed.session().get(name).expect("a slot"), tensor, "{name} from {stop}");
        }
        assert_eq!(last, metrics[3]);
        assert_eq!(std::fs::read(out.join(CHECKPOINT)).expect("a checkpoint"), full);
    }
}

#[test]
fn a_finished_run_goes_on_for_more_epochs() {
    let folder = folder();
    let text = program("", "adam(lr: lr)");
    let package = package(&text);
    let out = folder.path().join("out");
    std::fs::create_dir(&out).expect("a folder");
    trained(&text, folder.path(), options(&[("epochs", "2")], Some(&out)));
    let checkpoint = Checkpoint::read(&out).expect("a checkpoint");
    assert_eq!((checkpoint.seed, checkpoint.settings["epochs"].as_str()), (3, "2"));
    let mut more = trainer(&package, folder.path(), options(&[("epochs", "5")], None));
    more.resume(checkpoint).expect("the same run");
    more.run(|_| {}).expect("trained");
    let (whole, ..) = trained(&text, folder.path(), options(&[("epochs", "5")], None));
    assert_eq!(more.session().get("head.weight").expect("a slot"), whole["head.weight"]);
}

#[test]
fn checkpoints_that_do_not_fit_are_refused() {
    let folder = folder();
    let out = folder.path().join("out");
    std::fs::create_dir(&out).expect("a folder");
    let text = program("", "adam(lr: lr)");
    trained(&text, folder.path(), options(&[("epochs", "1")], Some(&out)));
    let path = out.join(CHECKPOINT);
    let whole = std::fs::read(&path).expect("a checkpoint");
    let mut reports = Vec::new();
    let mut report = |what: &str, text: &str, settings: &[(&str, &str)]| {
        let package = package(text);
        let error = Checkpoint::read(&out).and_then(|checkpoint| {
            trainer(&package, folder.path(), options(settings, None)).resume(checkpoint)
        });
        let error = error.expect_err(what);
        reports.push(format!("# {what}\n{}", told(&error, folder.path())));
    };

    let wider = text.replace("linear(4)", "linear(5)").replace("adam(", "sgd(momentum: 0.9, ");
    report("another model", &wider, &[]);
    report("another recipe", &text.replace("train net", "train other"), &[]);
    report(
        "other batches",
        &text.replace("epochs 3", "accumulate 2\n    epochs 3"),
        &[("batch", "2")],
    );

    std::fs::write(&path, &whole[..whole.len() / 2]).expect("written");
    report("truncated", &text, &[]);
    let mut damaged = whole.clone();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    std::fs::write(&path, &damaged).expect("written");
    report("damaged", &text, &[]);
    let tensor = Tensor::from_slice(&[1], &[1.0_f32]);
    let version = BTreeMap::from(
        [("format", "cygnet-checkpoint"), ("version", "7")].map(|(k, v)| (k.into(), v.into())),
    );
    write_weights(&path, [("a", &tensor)], &version).expect("written");
    report("another version", &text, &[]);
    write_weights(&path, [("a", &tensor)], &BTreeMap::new()).expect("written");
    report("no checkpoint", &text, &[]);
    std::fs::remove_file(&path).expect("removed");
    report("missing", &text, &[]);
    insta::assert_snapshot!(reports.join("\n"));
}

/// `cygnet train`, on the recipe that [`noisy`] gives.
fn command(folder: &Path) -> Command {
    let mut command = command::cygnet();
    command.current_dir(folder).args(["train", "net.cyg", "--seed", "7", "--threads", "2"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[test]
fn a_killed_run_leaves_a_checkpoint_to_go_on_from() {
    let folder = folder();
    std::fs::write(folder.path().join("net.cyg"), noisy("adam(lr: lr)")).expect("written");
    let done = command(folder.path()).args(["--epochs", "60", "--out", "whole"]).status();
    assert!(done.expect("started").success());
    let read = |run: &str| {
        Weights::read(&folder.path().join(run).join("weights.safetensors")).expect("weights")
    };
    let whole = read("whole");

    let out = folder.path().join("killed");
    let mut child = command(folder.path())
        .args(["--epochs", "60", "--out", "killed", "--checkpoint-every", "1"])
        .spawn()
        .expect("started");
    let start = Instant::now();
    while Checkpoint::read(&out).is_err() && start.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().expect("killed");
    child.wait().expect("ended");
    assert!(!out.join("weights.safetensors").exists(), "the run was killed before its end");

    let resumed = command::cygnet()
        .current_dir(folder.path())
        .args(["train", "net.cyg", "--resume", "killed", "--threads", "1"])
        .stderr(Stdio::null())
        .status();
    assert!(resumed.expect("started").success());
    for name in whole.names() {
        let tensor = whole.tensor(&name).expect("a tensor");
        assert_eq!(read("killed").tensor(&name).expect("a tensor"), tensor, "{name}");
    }
}

fn loss_of(metrics: &Metrics) -> f64 {
    metrics["loss"].number().expect("a number")
}

#[test]
fn evaluation_scales_columns_as_training_did() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |first: i32| {
        let rows: Vec<String> =
            (0..40).map(|i| format!("{},{}", first + i * 7 % 11, i * 7 % 11)).collect();
        let text = format!("size,price\n{}\n", rows.join("\n"));
        std::fs::write(folder.path().join("houses.csv"), text).expect("written");
    };
    write(0);
    let text = "
model line(x: f32[n, 1]) -> f32[n, 1] = x |> fit: linear(1)
train line() {
    data x: f32[n, 1], y: f32[n] from csv(\"houses.csv\", target: \"price\", standardize: true, test: 0.25)
    minimize mse(line(x) as [n, 1] -> [n], y) using adam(lr: 0.1)
    batch 10
    epochs 200
}";
    let package = package(text);
    let mut trainer = trainer(&package, folder.path(), options(&[], None));
    let summary = trainer.run(|_| {}).expect("trained");
    assert!(loss_of(&summary.metrics.test.expect("test samples")) < 1e-3);
    let weights = folder.path().join("weights.safetensors");
    trainer.save(&weights).expect("saved");

    // Houses that are larger by 100 are dearer by 100 now: far from the data of the training, but
    // on its line only if their sizes are scaled as they were there.
    write(100);
    let stored = cygnet::train::StoredWeights::read(&weights).expect("weights");
    assert_eq!(stored.scales.len(), 1);
    let mut scaled = options(&[], None);
    scaled.scales = Some(stored.scales);
    let mut after = self::trainer(&package, folder.path(), scaled);
    after.load(&weights).expect("loaded");
    let loss = loss_of(&after.evaluate().expect("test samples"));
    assert!((loss - 100.0 * 100.0).abs() < 10.0, "{loss}");
    let mut rescaled = self::trainer(&package, folder.path(), options(&[], None));
    rescaled.load(&weights).expect("loaded");
    assert!(loss_of(&rescaled.evaluate().expect("test samples")) < 1e-3);
}

#[test]
fn a_text_is_learned_with_a_state_that_is_carried_along() {
    let folder = tempfile::tempdir().expect("a folder");
    // Which character follows `a` depends on the one before it, in the batch before.
    let text: String = "badaca".repeat(100);
    std::fs::write(folder.path().join("a.txt"), &text).expect("written");
    let program = "
train characters(size: dim = 16) {
    data x: i32[n, 1], y: i32[n, 1] from text(\"a.txt\", window: 1, contiguous: true, test: 60)
    state h: f32[n, size] = zeros
    let seen = one_hot(x as [n, 1] -> [n], 4) |> enter: linear(size)
    let next = tanh(seen + (h |> back: linear(size)))
    h = stop_gradient(next)
    let logits = next |> head: linear(4)
    minimize cross_entropy(logits, y as [n, 1] -> [n]) using clip_norm(1.0) |> adam(lr: 0.01)
    batch 4
    epochs 12
    report accuracy(logits, y as [n, 1] -> [n])
}";
    let package = package(program);
    let mut trainer = trainer(&package, folder.path(), options(&[], None));
    let summary = trainer.run(|_| {}).expect("trained");
    let accuracy = summary.metrics.test.expect("test samples")["accuracy"].number();
    assert!(accuracy > Some(0.8), "{accuracy:?}");
    let weights = folder.path().join("weights.safetensors");
    trainer.save(&weights).expect("saved");
    let saved = Weights::read(&weights).expect("weights");
    let classes = r#"{"x":["a","b","c","d"],"y":["a","b","c","d"]}"#;
    assert_eq!(saved.metadata("classes"), Some(classes));
}
