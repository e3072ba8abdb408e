//! The networks in `examples/networks`: they have no mistakes, their gradients are right, and with
//! published weights they compute what they should.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cygnet::data::npy::read_npy;
use cygnet::data::weights::write_weights;
use cygnet::gradcheck::links::Methods;
use cygnet::gradcheck::native::NativeCode;
use cygnet::gradcheck::program::targets;
use cygnet::gradcheck::{Options, Verdict, check as check_gradients};
use cygnet::language::check::check;
use cygnet::language::package::Package;
use cygnet::model::Model;
use cygnet::session::SessionOptions;
use cygnet_compiler::differentiate::Differentiator;
use cygnet_runtime::tensor::Tensor;

use crate::data::real_data;
use crate::language::render;

/// Per definition: the file, its name, and sizes with which its gradients are checked quickly.
const NETWORKS: [(&str, &str, &str); 3] = [
    ("vae", "vae.forward", "pixels=5 hidden=4 latent=2"),
    ("vae", "vae.sample", "pixels=3 hidden=4 latent=2 count=2"),
    ("llama", "llama.forward", "vocab=5 d=8 heads=4 shared=2 depth=2 width=6 t=3"),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/networks")
}

fn network(name: &str) -> Package {
    let (package, diagnostics) = Package::load(&folder().join(format!("{name}.cyg")));
    assert!(diagnostics.is_empty(), "{}", render(&diagnostics, package.sources()));
    package
}

#[test]
fn networks_have_no_mistakes() {
    let files = std::fs::read_dir(folder()).expect("the networks");
    for file in files.map(|file| file.expect("an entry").path()) {
        let name = file.file_stem().and_then(|name| name.to_str()).expect("a name");
        let package = network(name);
        let checked = check(&package);
        assert!(
            checked.diagnostics.is_empty(),
            "{}",
            render(&checked.diagnostics, package.sources())
        );
        let tested = NETWORKS.iter().any(|(tested, ..)| *tested == name);
        assert!(tested || checked.models.is_empty(), "the gradients of {name} are not checked");
    }
}

#[test]
fn gradients_of_networks_are_right() {
    let native = NativeCode::default();
    let differentiator = Differentiator::default();
    let methods = Methods { differentiator: &differentiator, executor: Some(&native) };
    for (file, name, settings) in NETWORKS {
        let package = network(file);
        let settings: BTreeMap<String, String> = settings
            .split(' ')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let targets = targets(&package, Some(name), &settings).expect("the network");
        let [target] = &targets[..] else { panic!("one target is called {name}") };
        match check_gradients(target, &methods, Options { cases: 3, seed: 1 }, |_| {}) {
            Ok(Verdict::Passed(summary)) => assert_eq!(summary.passed, 3, "{name}: {summary:?}"),
            Ok(Verdict::Failed(failure)) => {
                let shown = [failure.diagnostic(name)];
                panic!("{}", render(&shown, package.sources()))
            }
            Err(error) => panic!("{}", render(&error.diagnostics(name), package.sources())),
        }
    }
}

/// A model of a network, compiled, with weights from a file.
fn compiled(package: &Package, name: &str, dims: &[(&str, usize)], weights: &Path) -> Model {
    let model = Model::compile(package, Some(name), dims, &SessionOptions::default());
    let mut model = model.expect("compiled");
    model.load_weights(weights).expect("weights that fit");
    model
}

/// Values agree within 1e-4 absolutely and relatively.
fn assert_agree(found: &Tensor, reference: &Tensor) {
    assert_eq!(found.shape(), reference.shape());
    for index in 0..found.len() {
        let (a, b) = (found.get_f64(index), reference.get_f64(index));
        assert!((a - b).abs() <= 1e-4 + 1e-4 * b.abs(), "element {index}: {a} is not {b}");
    }
}

/// The arrays of `stories260K.bin` as safetensors. Behind a header of seven numbers stand `f32`
/// arrays, each for all layers.
fn convert_stories(file: &Path, out: &Path) {
    let bytes = std::fs::read(file).expect("the weights");
    let (words, _) = bytes.as_chunks::<4>();
    let header: Vec<usize> =
        words[..7].iter().map(|&word| i32::from_le_bytes(word) as usize).collect();
    let [d, width, depth, heads, shared, vocab, _] = header[..] else { panic!("seven numbers") };
    let kv = d / heads * shared;
    let layer = |part: &str, shape: Vec<usize>| (format!("layers.#.{part}.weight"), shape);
    let parts = [
        ("tok_embeddings.weight".to_owned(), vec![vocab, d]),
        layer("attention_norm", vec![d]),
        layer("attention.wq", vec![d, d]),
        layer("attention.wk", vec![kv, d]),
        layer("attention.wv", vec![kv, d]),
        layer("attention.wo", vec![d, d]),
        layer("ffn_norm", vec![d]),
        layer("feed_forward.w1", vec![width, d]),
        layer("feed_forward.w2", vec![d, width]),
        layer("feed_forward.w3", vec![width, d]),
        ("norm.weight".to_owned(), vec![d]),
    ];
    let mut rest = words[7..].iter().map(|&word| f32::from_le_bytes(word));
    let mut tensors = Vec::new();
    for (name, shape) in parts {
        let layers = if name.contains('#') { depth } else { 1 };
        for number in 0..layers {
            let values: Vec<f32> = rest.by_ref().take(shape.iter().product()).collect();
            let name = name.replace('#', &number.to_string());
            tensors.push((name, Tensor::from_slice(&shape, &values)));
        }
    }
    let tensors = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor));
    write_weights(out, tensors, &BTreeMap::new()).expect("written");
}

#[test]
fn llama_tells_the_story_of_published_weights() {
    let Some(data) = real_data("models/stories260k") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let weights = folder.path().join("stories.safetensors");
    convert_stories(&data.join("stories260K.bin"), &weights);
    let package = network("llama");

    let expected = read_npy(&data.join("expected_greedy_tokens.npy")).expect("tokens");
    let expected: Vec<i32> = (0..expected.len()).map(|i| expected.get_f64(i) as i32).collect();
    let logits = read_npy(&data.join("reference_logits_first8.npy")).expect("logits");
    let mut forward = compiled(&package, "llama.forward", &[("n", 1), ("t", 8)], &weights);
    forward.set("tokens", &Tensor::from_slice(&[1, 8], &expected[..8])).expect("tokens");
    forward.run();
    let found = forward.output("output").expect("logits");
    assert_agree(&Tensor::from_slice(&[8, 512], found.as_slice::<f32>()), &logits);

    // No position sees a later one, so what stands behind the story so far does not matter.
    let steps = expected.len() - 1;
    let mut greedy = compiled(&package, "llama.greedy", &[("n", 1), ("t", steps)], &weights);
    let mut tokens = vec![0; steps + 1];
    tokens[0] = expected[0];
    for step in 0..steps {
        let sequence = Tensor::from_slice(&[1, steps], &tokens[..steps]);
        greedy.set("tokens", &sequence).expect("tokens");
        greedy.run();
        tokens[step + 1] = greedy.output("output").expect("tokens").as_slice::<i32>()[step];
    }
    assert_eq!(tokens, expected);
}
