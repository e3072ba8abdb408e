//! The programs under `tests/language` at work: each trains on a few made-up samples, and the entry
//! points of those that have some run with what was learned. Sizes that would take long are
//! replaced.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use cygnet::data::idx::write_idx;
use cygnet::data::picture;
use cygnet::data::weights::{Weights, write_weights};
use cygnet::error::Error;
use cygnet::language::package::Package;
use cygnet::model::Model;
use cygnet::session::SessionOptions;
use cygnet::train::{Event, TrainOptions, Trainer};
use cygnet_runtime::tensor::Tensor;
use tempfile::TempDir;

use crate::language::render;

/// A program in a folder of its own, with weights.
struct Trained {
    folder: TempDir,
    package: Package,
}

/// Where the weights of a [`Trained`] program are.
const WEIGHTS: &str = "weights.safetensors";

impl Trained {
    /// Puts a program beside the data that `make` writes.
    fn new(name: &str, replaced: &[(&str, &str)], make: impl FnOnce(&Path)) -> Trained {
        let folder = tempfile::tempdir().expect("a folder");
        let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/language");
        for entry in fs::read_dir(programs).expect("the programs") {
            let path = entry.expect("an entry").path();
            fs::copy(&path, folder.path().join(path.file_name().expect("a name"))).expect("copied");
        }
        let path = folder.path().join(format!("{name}.cyg"));
        let mut text = fs::read_to_string(&path).expect("the program");
        for (old, new) in replaced {
            assert!(text.contains(old), "{name} has no {old}");
            text = text.replace(old, new);
        }
        fs::write(&path, text).expect("written");
        fs::create_dir(folder.path().join("data")).expect("a folder");
        make(folder.path());
        let (package, diagnostics) = Package::load(&path);
        assert!(diagnostics.is_empty(), "{}", render(&diagnostics, package.sources()));
        Trained { folder, package }
    }

    fn shown(&self, error: &Error) -> String {
        render(&error.diagnostics(), self.package.sources())
    }

    /// Trains for an epoch with batches of this size.
    fn train(self, batch: usize) -> Trained {
        let settings = [("epochs", 1), ("batch", batch)];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_string()));
        let options = TrainOptions { settings: settings.into(), ..TrainOptions::default() };
        let mut trainer = Trainer::new(&self.package, None, self.folder.path(), options)
            .unwrap_or_else(|error| panic!("{}", self.shown(&error)));
        let mut epochs = 0;
        let summary = trainer.run(|event| {
            if let Event::Epoch { train, .. } = event {
                epochs += 1;
                let numbers: Vec<f64> =
                    train.values().flat_map(|metric| metric.values()).copied().collect();
                assert!(!numbers.is_empty());
                assert!(numbers.iter().all(|number| number.is_finite()), "{train:?}");
            }
        });
        let summary = summary.unwrap_or_else(|error| panic!("{}", self.shown(&error)));
        assert!(epochs == 1 && summary.steps >= 1);
        trainer.save(&self.folder.path().join(WEIGHTS)).expect("saved");
        drop(trainer);
        self
    }

    /// Runs a model or an entry point with the weights.
    fn run(&self, name: &str, dims: &[(&str, usize)], inputs: &[(&str, Tensor)]) -> Model {
        let options = SessionOptions::default();
        let mut model = Model::compile(&self.package, Some(name), dims, &options)
            .unwrap_or_else(|error| panic!("{name}: {}", self.shown(&error)));
        let weights = self.folder.path().join(WEIGHTS);
        if weights.exists() {
            let path = self.folder.path().join("some.safetensors");
            // An entry point has a part of the parameters.
            let all = Weights::read(&weights).expect("weights");
            let names = model.parameters().expect("parameters");
            let own: Vec<(String, Tensor)> = (names.into_keys())
                .map(|name| (name.clone(), all.tensor(&name).expect("a tensor")))
                .collect();
            let own = own.iter().map(|(name, tensor)| (name.as_str(), tensor));
            write_weights(&path, own, &BTreeMap::new()).expect("written");
            model.load_weights(&path).expect("loaded");
        }
        for (input, tensor) in inputs {
            model.set(input, tensor).expect("an input");
        }
        model.run();
        model
    }
}

fn output(model: &Model, name: &str) -> Tensor {
    model.output(name).expect("the output")
}

/// Numbers below `limit` in no order.
fn bytes(count: usize, limit: usize) -> Vec<u8> {
    (0..count).map(|index| ((index * index * 31 + index * 17) % limit) as u8).collect()
}

/// `count` square images with `size` pixels along each side, as PNG.
fn pictures(folder: &Path, count: usize, size: usize) {
    fs::create_dir_all(folder).expect("a folder");
    for number in 0..count {
        let pixels = bytes(size * size * (number + 1), 251).split_off(size * size * number);
        let tensor = Tensor::from_slice(&[1, 1, size, size], &pixels);
        let layout = picture::layout(&tensor).expect("a picture");
        picture::write(&folder.join(format!("{number}.png")), &tensor, layout).expect("written");
    }
}

/// Images and labels as IDX files.
fn digits(folder: &Path, count: usize, size: usize, limit: usize) {
    fs::create_dir(folder).expect("a folder");
    let images = Tensor::from_slice(&[count, size, size], &bytes(count * size * size, limit));
    write_idx(&folder.join("images.idx"), &images).expect("written");
    let labels = Tensor::from_slice(&[count], &bytes(count, 10));
    write_idx(&folder.join("labels.idx"), &labels).expect("written");
}

/// Lines of words.
fn lines(path: &Path, words: &[&str], count: usize) {
    let line = |number: usize| -> String {
        let length = 2 + number % 4;
        let word = |place| words[(number * 5 + place * place) % words.len()];
        (0..length).map(word).collect::<Vec<&str>>().join(" ")
    };
    fs::write(path, (0..count).map(line).collect::<Vec<String>>().join("\n")).expect("written");
}

#[test]
fn digits_learns() {
    let make = |folder: &Path| digits(&folder.join("data/digits"), 20, 8, 17);
    let trained = Trained::new("digits", &[], make).train(8);
    let image = Tensor::from_slice(&[2, 1, 8, 8], &[0.5_f32; 128]);
    let model = trained.run("digits", &[("n", 2)], &[("image", image)]);
    assert_eq!(output(&model, "output").shape(), [2, 10]);
}

#[test]
fn vae_learns_and_draws() {
    let make = |folder: &Path| digits(&folder.join("data/mnist"), 8, 28, 256);
    let trained = Trained::new("vae", &[("400", "16")], make).train(4);
    let model = trained.run("vae.sample", &[("count", 3)], &[]);
    let drawn = output(&model, "output");
    assert_eq!(drawn.shape(), [3, 784]);
    assert!(drawn.as_slice::<f32>().iter().all(|share| (0.0..=1.0).contains(share)));
    let latent = Tensor::from_slice(&[2, 20], &[0.25_f32; 40]);
    let model = trained.run("vae.decode", &[("n", 2)], &[("z", latent)]);
    assert_eq!(output(&model, "output").shape(), [2, 784]);
}

#[test]
fn dcgan_learns() {
    let make = |folder: &Path| pictures(&folder.join("data/faces"), 6, 32);
    Trained::new("dcgan", &[], make).train(3);
}

#[test]
fn unet_learns() {
    let make = |folder: &Path| {
        pictures(&folder.join("data/isbi/images"), 2, 32);
        pictures(&folder.join("data/isbi/masks"), 2, 32);
    };
    let small = [("[32, 64, 128, 256]", "[4, 6, 8]"), ("512", "8"), ("256", "16")];
    Trained::new("unet", &small, make).train(2);
}

#[test]
fn transfer_learns_from_saved_weights() {
    let small = [("224", "32")];
    let make = |folder: &Path| {
        pictures(&folder.join("data/pets/cat"), 4, 32);
        pictures(&folder.join("data/pets/dog"), 4, 32);
    };
    let trained = Trained::new("transfer", &small, |folder| {
        make(folder);
        // The weights that it begins with: those of a model for other classes.
        let other = Trained::new("resnet", &[], |_| {});
        let dims = [("n", 1), ("h", 32), ("w", 32)];
        let parameters = other.run("resnet18", &dims, &[]).parameters().expect("parameters");
        let parameters = parameters.iter().map(|(name, tensor)| (name.as_str(), tensor));
        let path = folder.join("resnet18.safetensors");
        write_weights(&path, parameters, &BTreeMap::new()).expect("written");
    });
    trained.train(4);
}

#[test]
fn encoder_learns() {
    let small = [("d: dim = 256", "d: dim = 16"), ("depth: int = 4", "depth: int = 2")];
    let trained = Trained::new("encoder", &small, |folder| {
        lines(&folder.join("data/negative.txt"), &["bad", "dull", "a", "film"], 12);
        lines(&folder.join("data/positive.txt"), &["good", "nice", "a", "film"], 12);
    });
    let trained = trained.train(6);
    let tokens = Tensor::from_slice(&[2, 4], &[4, 5, 6, 0, 7, 4, 0, 0]);
    let model = trained.run("encoder", &[("n", 2), ("t", 4)], &[("tokens", tokens)]);
    assert_eq!(output(&model, "output").shape(), [2, 2]);
}

#[test]
fn bilstm_learns() {
    let trained = Trained::new(
        "bilstm",
        &[("20000", "50"), ("hidden: dim = 128", "hidden: dim = 12")],
        |folder| {
            lines(&folder.join("data/negative.txt"), &["bad", "dull", "a", "film"], 20);
            lines(&folder.join("data/positive.txt"), &["good", "nice", "a", "film"], 20);
        },
    );
    let trained = trained.train(6);
    let scores = |tokens: &[i32]| {
        let tokens = Tensor::from_slice(&[1, tokens.len()], tokens);
        let dims = [("n", 1), ("t", tokens.shape()[1])];
        let model = trained.run("sentiment", &dims, &[("tokens", tokens)]);
        output(&model, "output").as_slice::<f32>().to_vec()
    };
    // Padding changes nothing.
    let (short, long) = (scores(&[5, 7, 4]), scores(&[5, 7, 4, 0, 0]));
    assert!(short.iter().zip(&long).all(|(a, b)| (a - b).abs() < 1e-6), "{short:?} {long:?}");
}

#[test]
fn charlm_learns_and_writes() {
    let trained = Trained::new("charlm", &[("hidden: dim = 256", "hidden: dim = 24")], |folder| {
        fs::write(folder.join("data/input.txt"), "abcd efgh ".repeat(60)).expect("written");
    });
    let trained = trained.train(4);
    let prompt = || Tensor::from_slice(&[2, 3], &[1, 2, 3, 4, 5, 6]);
    let dims = [("n", 2), ("t", 3), ("length", 12)];
    let written = output(&trained.run("charlm.generate", &dims, &[("prompt", prompt())]), "output");
    assert_eq!(written.shape(), [2, 12]);
    assert!(written.as_slice::<i32>().iter().all(|token| (0..65).contains(token)));
    // The same seed draws the same text.
    let again = output(&trained.run("charlm.generate", &dims, &[("prompt", prompt())]), "output");
    assert_eq!(written, again);
}

#[test]
fn seq2seq_learns_and_translates() {
    let small =
        [("dim = 8000", "dim = 12"), ("vocab: 8000", "vocab: 12"), ("d: dim = 256", "d: dim = 12")];
    let trained = Trained::new("seq2seq", &small, |folder| {
        lines(&folder.join("data/train.en"), &["one", "two", "three", "four"], 32);
        lines(&folder.join("data/train.de"), &["eins", "zwei", "drei", "vier"], 32);
    });
    let trained = trained.train(8);
    let src = || Tensor::from_slice(&[2, 4], &[4, 5, 6, 2, 7, 2, 0, 0]);
    let translated = |entry: &str, width: usize| {
        let dims = [("n", 2), ("s", 4), ("length", 9), ("width", width)];
        let dims = if entry == "greedy" { &dims[..3] } else { &dims[..] };
        let model = trained.run(&format!("translate.{entry}"), dims, &[("src", src())]);
        output(&model, "output")
    };
    let greedy = translated("greedy", 1);
    assert_eq!(greedy.shape(), [2, 9]);
    // Behind the end there is padding only.
    for text in greedy.as_slice::<i32>().chunks(9) {
        let end = text.iter().position(|&token| token == 2).unwrap_or(8);
        assert!(text[end + 1..].iter().all(|&token| token == 0), "{text:?}");
    }
    // A beam of width one is greedy.
    assert_eq!(translated("beam", 1), greedy);
    assert_eq!(translated("beam", 3).shape(), [2, 9]);
}
