//! Programs that are loaded from disk instead of compiled again.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};

use cygnet::cache::Cache;
use cygnet::language::bindings::Bindings;
use cygnet::language::elaborate::elaborate_model;
use cygnet::language::program::{Mode, Program};
use cygnet::session::{Session, SessionOptions};
use serde_json::Value;

use crate::command;
use crate::elaborate::package;
use crate::workloads::{self, after_steps};

fn assert_loaded_computes_the_same(name: &str, program: &Program, options: &SessionOptions) {
    let mut compiled = Session::new(&program.graph, options).expect("it compiles");
    assert!(compiled.compiled().is_some(), "{name}");
    let mut loaded = Session::new(&program.graph, options).expect("it loads");
    assert!(loaded.compiled().is_none(), "{name} was compiled again");
    assert_eq!(loaded.executable().kernels, compiled.executable().kernels, "{name}");
    let expected = after_steps(&mut compiled, program);
    assert!(after_steps(&mut loaded, program) == expected, "{name}: other bits");
}

#[test]
fn a_loaded_training_step_gives_the_same_bits() {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = Cache::new(folder.path().to_owned(), 1 << 30);
    let options = SessionOptions { cache: Some(cache), threads: 2, ..SessionOptions::default() };
    // Products and updates; loops; convolutions, equal kernels that share their code.
    for name in ["mlp", "rnn", "conv_autoencoder"] {
        let program = workloads::program(&workloads::workload(name));
        assert_loaded_computes_the_same(name, &program, &options);
    }
}

/// Two blocks that are alike but for their weights, and one that is not.
const INFERENCE: &str = "
layer block(x: f32[n, c, h, w]) {
    x |> conv: conv2d(8, padding: 1) |> norm: batch_norm |> relu
}
model net(x: f32[2, 3, 8, 8]) -> f32[2, 5] {
    x |> first: block |> second: block |> third: block
        |> flatten |> head: linear(5) |> norm: batch_norm
}
";

#[test]
fn loaded_inference_prepares_weights_as_before() {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = Cache::new(folder.path().to_owned(), 1 << 30);
    let options = SessionOptions { cache: Some(cache), threads: 2, ..SessionOptions::default() };
    let options = options.with_fixed_weights();
    let model = elaborate_model(&package(INFERENCE), None, &Bindings::default(), Mode::Inference);
    let program = model.expect("a model").program;
    let session = Session::new(&program.graph, &SessionOptions { cache: None, ..options.clone() });
    let bundle = session.expect("it compiles").bundle().clone();
    let counts = (bundle.preparations.len(), bundle.preparing.len());
    assert!(counts.1 > 0 && counts.1 < counts.0, "equal preparations are one program: {counts:?}");
    assert_loaded_computes_the_same("net", &program, &options);
}

const RECIPE: &str = "
model line(x: f32[n, 2]) -> f32[n, 1] = x |> fit: linear(1)
train line() {
    data x: f32[n, 2], y: f32[n] from csv(\"points.csv\", target: \"c\", test: 0.25)
    minimize mse(line(x) as [n, 1] -> [n], y) using sgd(lr: 0.01)
    batch 3
    epochs 2
}
";

/// A folder with a recipe and its data.
fn recipe() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("line.cyg"), RECIPE).expect("written");
    let rows: String = (0..8).map(|i| format!("{i},{},{}\n", i % 3, 2 * i)).collect();
    fs::write(folder.path().join("points.csv"), format!("a,b,c\n{rows}")).expect("written");
    folder
}

/// The command, with this cache.
fn run(folder: &Path, cache: &Path, arguments: &str) -> Output {
    let mut command = command::cygnet();
    command.args(arguments.split(' ')).current_dir(folder).env("CYGNET_CACHE", cache);
    let output = command.output().expect("the command runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Names and bytes of the files in a folder; none if there is no folder.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let Ok(entries) = fs::read_dir(folder) else { return BTreeMap::new() };
    let entries = entries.map(|entry| entry.expect("an entry"));
    let named = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().expect("a name");
        (name, fs::read(entry.path()).expect("a file"))
    };
    entries.map(named).collect()
}

#[test]
fn the_command_line_keeps_what_it_compiles() {
    let folder = recipe();
    let folder = folder.path();
    let cache = folder.join("cache");
    run(folder, &cache, "train line.cyg --no-cache --out none");
    assert_eq!(contents(&cache).len(), 0);
    run(folder, Path::new("off"), "train line.cyg --out off_run");
    assert!(!folder.join("off").exists());
    run(folder, &cache, "train line.cyg --out first");
    let stored = contents(&cache);
    assert!(!stored.is_empty());
    run(folder, &cache, "train line.cyg --out second");
    assert_eq!(contents(&cache), stored, "nothing is compiled again");
    // Other arithmetic is another program.
    run(folder, &cache, "train line.cyg --math strict --out strict");
    assert!(contents(&cache).len() > stored.len());
    let weights = |out: &str| fs::read(folder.join(out).join("weights.safetensors")).unwrap();
    for out in ["off_run", "first", "second"] {
        assert_eq!(weights(out), weights("none"), "{out}");
    }
}

#[test]
fn processes_may_share_a_cache() {
    let folder = recipe();
    let cache = folder.path().join("cache");
    let processes: Vec<_> = (0..4)
        .map(|number| {
            let mut command = command::cygnet();
            command.args(["train", "line.cyg", "--threads", "1", "--out", &format!("{number}")]);
            command.current_dir(folder.path()).env("CYGNET_CACHE", &cache);
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts")
        })
        .collect();
    for mut process in processes {
        assert!(process.wait().expect("it ends").success());
    }
    let weights = |number: usize| {
        fs::read(folder.path().join(format!("{number}/weights.safetensors"))).expect("weights")
    };
    assert!((1..4).all(|number| weights(number) == weights(0)));
    // Nothing is left over, and all of it is whole.
    let stored = contents(&cache);
    assert!(stored.keys().all(|name| name.ends_with(".program")), "{:?}", stored.keys());
    run(folder.path(), &cache, "train line.cyg --out again");
    assert_eq!(contents(&cache), stored);
}

#[test]
fn damaged_files_cost_a_compilation_only() {
    let folder = recipe();
    let folder = folder.path();
    let cache = folder.join("cache");
    run(folder, &cache, "train line.cyg --out first");
    let stored = contents(&cache);
    for (name, bytes) in &stored {
        let mut damaged = bytes.clone();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 0x40;
        fs::write(cache.join(name), damaged).expect("written");
    }
    run(folder, &cache, "train line.cyg --out second");
    assert_eq!(contents(&cache), stored, "they are written anew");
}

#[test]
fn the_time_to_load_is_measured() {
    let folder = recipe();
    let cache = folder.path().join("cache");
    let report = |arguments: &str| -> Value {
        let output = run(folder.path(), &cache, arguments);
        let text = String::from_utf8(output.stdout).expect("text");
        serde_json::from_str(text.lines().next().expect("a line")).expect("an object")
    };
    let measured = report("bench line.cyg --seconds 0 --json");
    assert!(measured["cached_ms"].as_f64().expect("a time") > 0.0);
    assert!(measured["stages_ms"]["fuse"].is_number(), "what is measured is compilation");
    assert_eq!(contents(&cache).len(), 0, "nothing is kept");
    let without = report("bench line.cyg --seconds 0 --json --no-cache");
    assert!(without.get("cached_ms").is_none());
}
