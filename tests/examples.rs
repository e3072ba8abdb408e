//! The examples as a user runs them: a short training by the command, then what was trained is used.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use cygnet::data::npy::{read_npy, write_npy};
use cygnet_runtime::random;
use cygnet_runtime::tensor::Tensor;
use serde_json::Value;
use tempfile::TempDir;

use crate::command;
use crate::data::real_data;

/// The command on an example, with arguments separated by blanks; what it prints.
fn cygnet(task: &str, file: &str, arguments: &str, more: &[&str]) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut command = command::cygnet();
    command.arg(task).arg(folder.join(file)).args(arguments.split_whitespace()).args(more);
    let output = command.args(["--threads", "2"]).output().expect("the command runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{task} {file} {arguments}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

/// An example that was trained.
struct Trained {
    file: String,
    folder: TempDir,
    /// The lines about epochs, the last one about all.
    events: Vec<Value>,
}

/// Trains an example with these arguments.
fn trained(file: &str, arguments: &str) -> Trained {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().to_str().expect("a path");
    let printed = cygnet("train", file, arguments, &["--json", "--out", out]);
    let lines = printed.lines().map(|line| serde_json::from_str(line).expect("JSON"));
    Trained { file: file.to_owned(), events: lines.collect(), folder }
}

impl Trained {
    /// A result of the end: of the test samples or, for a recipe that has none, of the last epoch.
    fn result(&self, name: &str) -> f64 {
        let metrics = &self.events.last().expect("an end")["metrics"];
        let part = if metrics["test"].is_null() { &metrics["train"] } else { &metrics["test"] };
        part[name].as_f64().unwrap_or_else(|| panic!("no {name} in {metrics}"))
    }

    /// A result of training in an epoch, from 0.
    fn in_epoch(&self, epoch: usize, name: &str) -> f64 {
        let epochs: Vec<&Value> =
            self.events.iter().filter(|event| event["event"] == "epoch").collect();
        epochs[epoch]["train"][name].as_f64().unwrap_or_else(|| panic!("no {name}"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a model or an entry point with the trained weights; its result of this name.
    fn run(
        &self,
        model: &str,
        arguments: &str,
        inputs: &[(&str, &Tensor)],
        result: &str,
    ) -> Tensor {
        let weights = self.path("weights.safetensors");
        let output = self.path("output");
        let mut more = vec!["--weights".to_owned(), weights.display().to_string()];
        more.extend(["--output".to_owned(), output.display().to_string()]);
        for (name, tensor) in inputs {
            let file = self.path(&format!("{name}.npy"));
            write_npy(&file, tensor).expect("written");
            more.extend(["--input".to_owned(), format!("{name}={}", file.display())]);
        }
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        cygnet("run", &self.file, &format!("{model} {arguments}"), &more);
        read_npy(&output.join(format!("{result}.npy"))).expect("a result")
    }
}

/// Standard normal numbers.
fn noise(shape: &[usize]) -> Tensor {
    let count = shape.iter().product::<usize>() as u64;
    let values: Vec<f32> = (0..count).map(|index| random::normal(7, 1, 0, index)).collect();
    Tensor::from_slice(shape, &values)
}

/// The mean of some elements.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (count, sum) = values.fold((0.0, 0.0), |(count, sum), value| (count + 1.0, sum + value));
    sum / count
}

#[test]
fn first_examples_learn_what_they_are_about() {
    let digits = trained("digits.cyg", "--epochs 20");
    assert!(digits.result("accuracy") > 0.95, "{}", digits.result("accuracy"));
    let cnn = trained("cnn.cyg", "--epochs 4");
    assert!(cnn.result("accuracy") > 0.95, "{}", cnn.result("accuracy"));
    let sine = trained("sine.cyg", "--epochs 20");
    assert!(sine.result("l1") < 0.05, "{}", sine.result("l1"));
    // Alcohol varies by 0.8 around its mean.
    let wine = trained("wine.cyg", "");
    assert!(wine.result("l1") < 0.6, "{}", wine.result("l1"));
}

#[test]
fn recurrent_networks_read_digits_row_by_row() {
    for cell in ["rnn", "lstm", "gru"] {
        let reader = trained("networks/recurrent.cyg", &format!("--epochs 8 --set cell={cell}"));
        let accuracy = reader.result("accuracy");
        assert!(accuracy > 0.88, "{cell}: {accuracy}");
        let logits = reader.run("reader", "", &[("rows", &noise(&[3, 8, 8]))], "output");
        assert_eq!(logits.shape(), [3, 10]);
    }
}

#[test]
fn autoencoders_find_images_again() {
    let dense = trained("networks/autoencoder.cyg", "--epochs 20");
    assert!(dense.result("found") > 0.4, "{}", dense.result("found"));
    assert!(dense.path("show").is_dir(), "images are shown");
    let code = dense.run("autoencoder.encode", "", &[("x", &noise(&[5, 64]))], "output");
    assert_eq!(code.shape(), [5, 8]);
    let image = dense.run("autoencoder.decode", "", &[("z", &code)], "output");
    assert_eq!(image.shape(), [5, 64]);
    assert!((0..image.len()).all(|i| (0.0..=1.0).contains(&image.get_f64(i))));

    let denoiser = trained("networks/conv_autoencoder.cyg", "--epochs 8");
    let (before, after) = (denoiser.result("before"), denoiser.result("after"));
    assert!(after < 0.4 * before, "{before} became {after}");
    let clean = denoiser.run("denoiser.clean", "", &[("x", &noise(&[2, 1, 8, 8]))], "output");
    assert_eq!(clean.shape(), [2, 1, 8, 8]);

    let vae = trained("networks/vae.cyg", "--epochs 6");
    let (first, last) = (vae.in_epoch(0, "loss"), vae.result("loss"));
    assert!(last < 0.8 * first, "{first} became {last}");
    let drawn = vae.run("vae.sample", "--set count=9", &[], "output");
    assert_eq!(drawn.shape(), [9, 64]);
}

#[test]
fn generative_adversarial_networks_make_what_was_real() {
    let gan = trained("networks/gan.cyg", "");
    let points = gan.run("maker", "", &[("z", &noise(&[400, 8]))], "output");
    let points: Vec<(f64, f64)> =
        (0..400).map(|i| (points.get_f64(2 * i), points.get_f64(2 * i + 1))).collect();
    // They lie near the circle, and all around it.
    let away = mean(points.iter().map(|(x, y)| (x.hypot(*y) - 1.0).abs()));
    assert!(away < 0.2, "{away}");
    for (x_sign, y_sign) in [(1.0, 1.0), (1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0)] {
        let here = points.iter().filter(|(x, y)| x * x_sign > 0.0 && y * y_sign > 0.0).count();
        assert!(here > 30, "{here} of 400 points in a quarter");
    }

    let dcgan = trained("networks/dcgan.cyg", "--epochs 8");
    let images = dcgan.run("generator", "", &[("z", &noise(&[64, 16]))], "output");
    assert_eq!(images.shape(), [64, 1, 8, 8]);
    // The outermost columns of digits are white, the middle is mostly ink.
    let column = |column: usize| mean((0..64 * 8).map(|row| images.get_f64(row * 8 + column)));
    assert!(column(0) < -0.55 && column(7) < -0.55, "{} {}", column(0), column(7));
    assert!(column(3) > -0.2, "{}", column(3));
}

#[test]
fn a_unet_finds_discs_in_noise() {
    let unet = trained("networks/unet.cyg", "discs --epochs 4");
    assert!(unet.result("iou") > 0.6, "{}", unet.result("iou"));
    let logits = unet.run("unet", "", &[("image", &noise(&[1, 1, 8, 12]))], "output");
    assert_eq!(logits.shape(), [1, 2, 8, 12]);
}

/// Sentences of words that say which class they belong to, among others.
fn sentences(words: &[&str]) -> String {
    let others = ["the", "film", "is", "a", "story", "of", "two", "people", "and", "their", "dog"];
    let mut text = String::new();
    for line in 0..120u64 {
        let draw = |place: u64, count: usize| {
            (random::uniform(3, line, 0, place) * count as f32) as usize % count
        };
        let place = draw(0, 6);
        for word in 0..6 {
            let word = if word == place {
                words[draw(1, words.len())]
            } else {
                others[draw(word as u64 + 2, others.len())]
            };
            text.push_str(word);
            text.push(' ');
        }
        text.push('\n');
    }
    text
}

#[test]
fn transformers_learn_from_text() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let good = file("good.txt", &sentences(&["wonderful", "charming", "great"]));
    let bad = file("bad.txt", &sentences(&["boring", "terrible", "weak"]));
    let arguments = format!(
        "--set good={good} --set bad={bad} --set d=32 --set depth=1 --set lr=3e-3 --set vocab=40 \
         --epochs 20"
    );
    let bert = trained("networks/bert.cyg", &arguments);
    assert!(bert.result("accuracy") > 0.9, "{}", bert.result("accuracy"));
    assert!(bert.result("f1") > 0.9, "{}", bert.result("f1"));

    let verse = "one two three four five, once I caught a fish alive; ".repeat(150);
    let arguments = format!(
        "--set file={} --set d=32 --set depth=1 --set window=16 --set lr=1e-2 --epochs 8",
        file("verse.txt", &verse)
    );
    let gpt = trained("networks/gpt.cyg", &arguments);
    assert!(gpt.result("accuracy") > 0.7, "{}", gpt.result("accuracy"));
    let tokens = Tensor::from_slice(&[2, 5], &[1i32, 2, 3, 4, 5, 5, 4, 3, 2, 1]);
    let next = gpt.run("gpt.next", "", &[("tokens", &tokens)], "output");
    assert_eq!(next.shape(), [2]);
    // So cold that it is the likeliest token: with a cache the same as by asking for each anew.
    let cold = "--set temperature=1e-4 --set length=6";
    let written = gpt.run("gpt.generate", cold, &[("prompt", &tokens)], "output");
    assert_eq!(written.shape(), [2, 6]);
    for (row, prompt) in tokens.as_slice::<i32>().chunks(5).enumerate() {
        let mut text = prompt.to_vec();
        for _ in 0..6 {
            let tokens = Tensor::from_slice(&[1, text.len()], &text);
            let cold = "--set temperature=1e-4";
            let next = gpt.run("gpt.next", cold, &[("tokens", &tokens)], "output");
            text.extend(next.as_slice::<i32>());
        }
        assert_eq!(written.as_slice::<i32>()[6 * row..][..6], text[5..]);
    }
}

#[test]
fn recurrent_networks_write_and_translate() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let verse = "one two three four five, once I caught a fish alive; ".repeat(150);
    let arguments = format!(
        "--set file={} --set hidden=32 --set window=16 --set lr=2e-2 --epochs 6",
        file("verse.txt", &verse)
    );
    let writer = trained("networks/charlm.cyg", &arguments);
    assert!(writer.result("accuracy") > 0.7, "{}", writer.result("accuracy"));
    let prompt = Tensor::from_slice(&[2, 3], &[1i32, 2, 3, 4, 5, 6]);
    let written = writer.run("charlm.generate", "--set length=7", &[("prompt", &prompt)], "output");
    assert_eq!(written.shape(), [2, 7]);

    // Numbers in another language, in the opposite order: a word must be looked for.
    let english = ["one", "two", "three", "four", "five", "six"];
    let german = ["eins", "zwei", "drei", "vier", "sechs", "acht"];
    let (mut from, mut to) = (String::new(), String::new());
    for line in 0..400u64 {
        let draw = |place: u64, count: usize| {
            (random::uniform(5, line, 0, place) * count as f32) as usize % count
        };
        let words: Vec<usize> =
            (0..2 + draw(0, 3)).map(|place| draw(place as u64 + 1, 6)).collect();
        let one: Vec<&str> = words.iter().map(|&word| english[word]).collect();
        let other: Vec<&str> = words.iter().rev().map(|&word| german[word]).collect();
        writeln!(from, "{}", one.join(" ")).expect("written");
        writeln!(to, "{}", other.join(" ")).expect("written");
    }
    let arguments = format!(
        "--set from={} --set to={} --set vocab=10 --set d=32 --set lr=1e-2 --epochs 12",
        file("from.txt", &from),
        file("to.txt", &to)
    );
    let translator = trained("networks/seq2seq.cyg", &arguments);
    assert!(translator.result("right") > 0.8, "{}", translator.result("right"));
    let source = Tensor::from_slice(&[2, 4], &[4i32, 5, 6, 0, 7, 8, 0, 0]);
    let inputs = [("source", &source)];
    let written = translator.run("translator.greedy", "--set length=6", &inputs, "output");
    assert_eq!(written.shape(), [2, 6]);
    // Behind the end of a sentence there is nothing.
    for row in 0..2 {
        let words: Vec<f64> = (0..6).map(|place| written.get_f64(row * 6 + place)).collect();
        let end = words.iter().position(|&word| word == 2.0).unwrap_or(5);
        assert!(words[end + 1..].iter().all(|&word| word == 0.0), "{words:?}");
    }
}

/// Networks that have no recipe of their own learn the digits in a few steps.
#[test]
fn networks_for_photographs_learn_digits() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let networks = folder.join("networks");
    let text = format!(
        "use \"{0}/resnet.cyg\": resnet18, resnet50
use \"{0}/resnet20.cyg\": resnet20
use \"{0}/vgg.cyg\": vgg11, vgg16
fn as_photograph(image: u8[n, h, w]) = f32(image) / 16 as [n, h, w] -> [n, c: 3, h, w]
train small(lr: float = 3e-3) {{
    data image: u8[n, h, w], label: i32[n] from idx(\"{1}/data/digits\", test: 0.2)
    let logits = NETWORK(as_photograph(image), classes: 10, OPTIONS)
    minimize cross_entropy(logits, label) using adam(lr: lr)
    batch 32
    epochs 2
    report accuracy(logits, label)
}}
",
        networks.display(),
        folder.display()
    );
    let program = tempfile::tempdir().expect("a folder");
    // A tenth would be guessed.
    for (network, options, epochs, least) in [
        ("resnet18", "width: 8", 2, 0.5),
        ("resnet20", "width: 8", 2, 0.5),
        ("resnet50", "width: 4", 2, 0.2),
        ("vgg11", "width: 8, hidden: 32, widths: [1, 0, 2, 0, 4, 4, 0]", 8, 0.4),
        ("vgg16", "width: 8, hidden: 32, widths: [1, 1, 0, 2, 2, 0]", 8, 0.4),
    ] {
        let file = program.path().join(format!("{network}.cyg"));
        let uses = text.lines().filter(|line| {
            // A file is used for the network that is trained only.
            !line.starts_with("use") || line.contains(network)
        });
        let text: Vec<String> = uses
            .map(|line| match line.split_once(": ") {
                Some((path, _)) if line.starts_with("use") => format!("{path}: {network}"),
                _ => line.replace("NETWORK", network).replace("OPTIONS", options),
            })
            .collect();
        fs::write(&file, text.join("\n")).expect("written");
        let arguments = format!("--epochs {epochs}");
        let small = trained(file.to_str().expect("a path"), &arguments);
        assert!(small.result("accuracy") > least, "{network}: {}", small.result("accuracy"));
    }
}

/// A part of what `examples/mnist.cyg` says of itself, which takes a few minutes in full.
#[test]
fn mnist_is_read_where_it_is_at_hand() {
    let Some(folder) = real_data("mnist") else { return };
    let arguments = format!("--set folder={} --epochs 1 --set width=8", folder.display());
    let mnist = trained("mnist.cyg", &arguments);
    assert!(mnist.result("accuracy") > 0.975, "{}", mnist.result("accuracy"));
}
