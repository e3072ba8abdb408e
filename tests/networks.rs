//! The networks in `examples/networks`: they have no mistakes, and their gradients are right.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cygnet::gradcheck::links::Methods;
use cygnet::gradcheck::native::NativeCode;
use cygnet::gradcheck::program::targets;
use cygnet::gradcheck::{Options, Verdict, check as check_gradients};
use cygnet::language::check::check;
use cygnet::language::package::Package;
use cygnet_compiler::differentiate::Differentiator;

use crate::language::render;

/// Per definition: the file, its name, sizes with which its gradients are checked quickly, and the
/// number of random cases.
const NETWORKS: [(&str, &str, &str, u32); 12] = [
    ("bert", "bert", "vocab=4 d=4 heads=2 depth=1 places=3 t=2 n=2", 1),
    ("bert", "classifier", "vocab=4 d=4 heads=2 depth=1 t=2 n=2", 1),
    ("gpt", "gpt.forward", "vocab=3 d=4 heads=2 depth=1 places=4 t=3", 2),
    ("vae", "vae.forward", "pixels=5 hidden=4 latent=2", 3),
    ("vae", "vae.sample", "pixels=3 hidden=4 latent=2 count=2", 3),
    ("llama", "llama.forward", "vocab=5 d=8 heads=4 shared=2 depth=2 width=6 t=3", 3),
    ("mnist_cnn", "mnist_cnn", "n=2 h=7 w=8", 1),
    ("resnet", "resnet18", "width=1 classes=2 n=2 h=8 w=8", 1),
    ("resnet", "resnet50", "width=1 classes=2 n=2 h=4 w=4", 1),
    ("resnet20", "resnet20", "width=2 classes=2 n=2 h=4 w=4", 1),
    ("vgg", "vgg11", "width=1 widths=1,0,2,2,0 classes=2 hidden=2 n=2 h=4 w=4", 1),
    ("vgg", "vgg16", "width=1 widths=1,1,0,2 classes=2 hidden=2 n=2 h=2 w=4", 1),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/networks")
}

/// A program of `examples/networks`, which has no mistakes.
pub fn network(name: &str) -> Package {
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
        let tested = gradients::FILES.contains(&name);
        assert!(tested || checked.models.is_empty(), "the gradients of {name} are not checked");
    }
}

/// Checks gradients of definitions in a file with random values.
fn check_gradients_of(definition: &str) {
    let native = NativeCode::default();
    let differentiator = Differentiator::default();
    let methods = Methods { differentiator: &differentiator, executor: Some(&native) };
    let of_file = NETWORKS.iter().filter(|(file, ..)| *file == definition);
    for (file, name, settings, cases) in of_file {
        let package = network(file);
        let settings: BTreeMap<String, String> = settings
            .split(' ')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let targets = targets(&package, Some(name), &settings).expect("the network");
        let [target] = &targets[..] else { panic!("one target is called {name}") };
        match check_gradients(target, &methods, Options { cases: *cases, seed: 1 }, |_| {}) {
            Ok(Verdict::Passed(summary)) => {
                assert_eq!(summary.passed, *cases, "{name}: {summary:?}");
            }
            Ok(Verdict::Failed(failure)) => {
                panic!("{}", render(&[failure.diagnostic(name)], package.sources()))
            }
            Err(error) => panic!("{}", render(&error.diagnostics(name), package.sources())),
        }
    }
}

/// One test for each file, so that they run side by side.
macro_rules! gradients {
    ($($file:ident)*) => {
        $(#[test]
        fn $file() {
            super::check_gradients_of(stringify!($file));
        })*

        /// The files that are tested.
        pub const FILES: &[&str] = &[$(stringify!($file)),*];
    };
}

mod gradients {
    gradients! { bert gpt vae llama mnist_cnn resnet resnet20 vgg }
}
