//! Gradient checks of whole programs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Output;

use cygnet::gradcheck::links::{Link, Methods};
use cygnet::gradcheck::native::NativeCode;
use cygnet::gradcheck::program::{Kind, targets};
use cygnet::gradcheck::{Failure, Options, Verdict, check};
use cygnet::language::builtins::Builtin;
use cygnet::language::package::Package;
use cygnet::syntax::ast::Item;
use cygnet_compiler::differentiate::Differentiator;

use crate::command;
use crate::elaborate::package;
use crate::language::render;

const PROGRAM: &str = "\
model small(x: f32[n, t, d], width: dim) {
    let hidden = x |> norm: layer_norm |> hidden: linear(width) |> gelu
    let gate = hidden |> gate: linear(width) |> tanh
    hidden * gate |> dropout(0.2) |> softmax
}

model masked(x: f32[n, t], s: dim = 3) {
    let score = dot(x, x |> linear(s), over: n) as [t, s]
    where((arange[t] as [t] -> [t, s]) >= arange[s], score, -inf) |> softmax(over: s)
}

model classes(x: f32[n, 3]) -> f32[n, 4] {
    x |> out: linear(4)
}

train fit() {
    data x: f32[n, 3], label: i32[n] from csv(\"none.csv\", target: \"label\")
    minimize cross_entropy(relu(classes(x)), label) using sgd(lr: 0.1)
    batch 32
    epochs 1
}
";

fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let entries = std::fs::read_dir(folder).expect("the examples");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "cyg"));
    files.sort();
    files
}

/// The number of random cases: `usual`, unless `CYGNET_CASES` asks for a thorough check.
pub fn cases(usual: u32) -> u32 {
    let asked = std::env::var("CYGNET_CASES").ok();
    asked.map_or(usual, |asked| asked.parse().expect("CYGNET_CASES is a number"))
}

/// Checks the gradients of a definition, or of all recipes or models of a program, with random
/// values; with these settings.
pub fn assert_gradients(
    package: &Package,
    name: Option<&str>,
    settings: &BTreeMap<String, String>,
    usual: u32,
) {
    let native = NativeCode::default();
    let differentiator = Differentiator::default();
    let methods = Methods { differentiator: &differentiator, executor: Some(&native) };
    for target in targets(package, name, settings).expect("something to check") {
        let cases = cases(usual);
        let name = target.name();
        match check(&target, &methods, Options { cases, seed: 1 }, |_| {}) {
            Ok(Verdict::Passed(summary)) => {
                assert_eq!(summary.passed, cases, "{name}: {summary:?}")
            }
            Ok(Verdict::Failed(failure)) => {
                panic!("{}", render(&[failure.diagnostic(name)], package.sources()))
            }
            Err(error) => panic!("{}", render(&error.diagnostics(name), package.sources())),
        }
    }
}

/// A program without mistakes.
fn loaded(file: &Path) -> Package {
    let (package, diagnostics) = Package::load(file);
    assert!(diagnostics.is_empty(), "{}", render(&diagnostics, package.sources()));
    package
}

#[test]
fn gradients_of_the_examples_are_right() {
    let files = examples();
    assert!(!files.is_empty());
    for file in files {
        // Images of MNIST are large; smaller ones go through the same network in `networks`.
        if !file.ends_with("mnist.cyg") {
            assert_gradients(&loaded(&file), None, &BTreeMap::new(), 3);
        }
    }
}

/// A program of `tests/gradcheck`, and the words in it that are no comments.
fn collection(name: &str) -> (Package, BTreeSet<String>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/gradcheck");
    let file = folder.join(name);
    let text = std::fs::read_to_string(&file).expect("the collection");
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let is_end = |letter: char| !letter.is_alphanumeric() && letter != '_';
    let words = lines.flat_map(|line| line.split(is_end)).map(str::to_owned).collect();
    (loaded(&file), words)
}

/// Functions that have no gradient: what they give is known when a program is compiled, no float,
/// or depends on no tensor.
const WITHOUT_GRADIENT: &str = "axes axis full he known_zero length normal ones parameters per_axis \
    plateaus size uniform uniform_fan xavier zeros zip";

#[test]
fn gradients_of_the_functions_of_the_language_are_right() {
    let (package, words) = collection("functions.cyg");
    for name in Builtin::names() {
        let excepted = WITHOUT_GRADIENT.split(' ').any(|other| other == name);
        assert!(excepted || words.contains(name), "the gradient of `{name}` is not checked");
    }
    assert_gradients(&package, None, &BTreeMap::new(), 3);
}

/// Files of the library whose definitions nothing is differentiated through.
const NEVER_DIFFERENTIATED: [&str; 3] = ["metrics.cyg", "optimizers.cyg", "schedules.cyg"];

#[test]
fn gradients_of_the_standard_library_are_right() {
    let (package, words) = collection("library.cyg");
    for id in package.standard() {
        let module = package.module(id);
        let file = package.sources().file(module.file).name();
        if NEVER_DIFFERENTIATED.iter().any(|other| file.ends_with(other)) {
            continue;
        }
        for item in &module.ast.items {
            if let Item::Function(function) = item {
                let name = &function.name.name;
                assert!(words.contains(name), "the gradient of `{name}` is not checked");
            }
        }
    }
    assert_gradients(&package, None, &BTreeMap::new(), 2);
}

/// Checks the model `small` with these gradient rules; the failure with the program's sources.
fn failure_of_small(differentiator: &Differentiator<'_>) -> (Package, Failure) {
    let package = package(PROGRAM);
    let native = NativeCode::default();
    let methods = Methods { differentiator, executor: Some(&native) };
    let verdict = {
        let [target] = &targets(&package, Some("small"), &BTreeMap::new()).expect("the model")[..]
        else {
            panic!("one model has the name")
        };
        assert_eq!(target.kind(), Kind::Model);
        check(target, &methods, Options { cases: 8, seed: 3 }, |_| {})
    };
    match verdict.expect("a verdict") {
        Verdict::Failed(failure) => (package, *failure),
        Verdict::Passed(summary) => panic!("nothing was found: {summary:?}"),
    }
}

#[test]
fn a_wrong_gradient_is_named_with_its_source_line() {
    // The derivative of tanh as 1 - y instead of 1 - y^2.
    let differentiator = Differentiator::default().with_rule("tanh", |_, graph, at| {
        let one = graph.constant_like(at.result, 1.0);
        let slope = graph.sub(one, at.result);
        [Some(graph.mul(at.cotangent, slope))].into_iter().collect()
    });
    let (package, failure) = failure_of_small(&differentiator);
    assert_eq!(failure.mismatch.link, Link::GradientRules);
    let culprit = failure.culprit.as_ref().expect("an operation to blame");
    assert_eq!(culprit.operation, "tanh");
    // A softmax of one element does not depend on it; two are enough.
    let sizes: Vec<(&str, usize)> =
        failure.sizes.iter().map(|(name, size)| (name.as_str(), *size)).collect();
    assert_eq!(sizes, [("d", 1), ("n", 1), ("t", 1), ("width", 2)]);

    let diagnostic = failure.diagnostic("the model `small`");
    let span = diagnostic.primary_span().expect("a place");
    assert_eq!(package.sources().slice(span), "tanh");
    let file = package.sources().file_of(span).expect("a file");
    assert_eq!(file.line_and_column(span.start).0, 3);
}

/// The command `gradcheck` on a program, in a folder of its own.
fn gradcheck(program: &str, arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("program.cyg");
    std::fs::write(&file, program).expect("a file");
    let mut command = command::cygnet();
    command.arg("gradcheck").arg(&file).args(arguments).output().expect("the command runs")
}

#[test]
fn the_command_prints_one_object_per_case() {
    let output = gradcheck(PROGRAM, &["fit", "--cases", "2", "--seed", "5", "--json"]);
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 3, "{text}");
    for (number, line) in lines[..2].iter().enumerate() {
        assert_eq!(line["event"], "case");
        assert_eq!(line["case"], number + 1);
        assert_eq!(line["result"], "passed");
        // The data need not be there: samples are drawn at random, and few of them.
        assert!((1..=4).contains(&line["sizes"]["n"].as_u64().expect("a size")), "{line}");
        assert!(line["derivatives"].as_u64().expect("a number") >= 2, "{line}");
    }
    assert_eq!(lines[2]["event"], "finished");
    assert_eq!(lines[2]["passed"], 2);

    let again = gradcheck(PROGRAM, &["fit", "--cases", "2", "--seed", "5", "--json"]);
    assert_eq!(String::from_utf8(again.stdout).expect("text"), text);
}

#[test]
fn the_command_refuses_what_it_cannot_check() {
    let refused = |program: &str, arguments: &[&str], code: i32, message: &str| {
        let output = gradcheck(program, arguments);
        let text = String::from_utf8(output.stderr).expect("text");
        assert!(text.contains(message), "{text}");
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(output.stdout.is_empty());
    };
    refused(PROGRAM, &["smal"], 1, "did you mean `small`?");
    refused("fn f(x) = x", &[], 1, "neither a model nor a recipe");
    refused(PROGRAM, &["--cases", "0"], 2, "--cases");
    refused(PROGRAM, &["small", "--set", "widht=2"], 2, "did you mean `width`");
    refused("model m(x: f32[n]) { x + y }", &[], 1, "there is no `y`");
    refused("model m(x: f32[n]) { log(-1 - x * x) }", &[], 1, "nothing could be checked");
}

#[test]
fn gradients_of_loops_at_kinks_are_right() {
    // Of 12 cases some come near the place where `relu` bends. A loop that is differentiated has
    // more results, which the undifferentiated one must not be held against.
    let package = package(
        "\
model loop(x: f32[n, t, d]) {
    let (states, last) = x |> \"rnn\": rnn(hidden: 2, activation: \"relu\")
    (states, last)
}
",
    );
    assert_gradients(&package, None, &BTreeMap::new(), 12);
}

#[test]
fn gradients_of_loops_of_the_library_are_right() {
    let package = package(
        "\
model recurrent(x: f32[n, t, i]) {
    let mask = (arange[t] as [t] -> [n, t]) < 2
    let (a, _) = x |> \"rnn\": rnn(hidden: 3)
    let (b, h, c) = a |> \"lstm\": lstm(mask: mask, hidden: 2)
    let (d, e) = b |> \"gru\": gru(hidden: 2, layers: 2, bidirectional: true)
    (d, e, h, c)
}

model spelled(x: f32[n, 5, c]) {
    let first = arange[n] + 1
    let target = stack(first, 0 * first, first, at: 1)
    ctc(x, min(target, c - 1), 0 * first + 5, min(first, 3))
}
",
    );
    assert_gradients(&package, None, &BTreeMap::new(), 4);
}

#[test]
fn gradients_are_right_where_functions_are_strongly_curved() {
    // Two values whose variance is about the `eps` of a batch normalization, behind one that
    // enlarges movements 300 times: in case 79, differences that seemed exact were not.
    let package = package(
        "\
fn near_zero(x, share: float) = x - stop_gradient(x) + share * stop_gradient(x)

model thin(x: f32[2, c]) {
    near_zero(x, 1e-4) |> first: batch_norm |> out: linear(3) |> last: batch_norm
}
",
    );
    let targets = targets(&package, Some("thin"), &BTreeMap::new()).expect("the model");
    let differentiator = Differentiator::default();
    let methods = Methods { differentiator: &differentiator, executor: None };
    match check(&targets[0], &methods, Options { cases: 80, seed: 5 }, |_| {}) {
        Ok(Verdict::Passed(summary)) => {
            assert_eq!(summary.passed, 80, "{summary:?}");
            assert_eq!(summary.agreement.unknown, 0, "{summary:?}");
        }
        Ok(Verdict::Failed(failure)) => {
            panic!("{}", render(&[failure.diagnostic("thin")], package.sources()))
        }
        Err(error) => panic!("{error}"),
    }
}
