//! The networks in `examples/networks`: they have no mistakes, and their gradients are right.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cygnet::language::check::check;
use cygnet::language::package::Package;

use crate::gradcheck::assert_gradients;
use crate::language::render;

/// Per definition: the file, its name, sizes with which its gradients are checked quickly, and the
/// number of random cases.
const NETWORKS: [(&str, &str, &str, u32); 24] = [
    ("autoencoder", "autoencoder.forward", "pixels=5 hidden=4 code=2", 3),
    ("bert", "bert", "vocab=4 d=4 heads=2 depth=1 places=3 t=2 n=2", 1),
    ("bert", "classifier", "vocab=4 d=4 heads=2 depth=1 t=2 n=2", 1),
    ("charlm", "charlm.forward", "vocab=3 hidden=2 n=2 t=3", 2),
    ("conv_autoencoder", "denoiser.forward", "width=2 code=2 n=2 h=4 w=8", 2),
    ("dcgan", "generator", "width=2 n=2", 1),
    ("dcgan", "discriminator", "width=2 n=2", 1),
    ("gan", "maker", "width=3", 2),
    ("gan", "judge", "width=3", 2),
    ("gpt", "gpt.forward", "vocab=3 d=4 heads=2 depth=1 places=4 t=3", 2),
    ("vae", "vae.forward", "pixels=5 hidden=4 latent=2", 3),
    ("vae", "vae.sample", "pixels=3 hidden=4 latent=2 count=2", 3),
    ("llama", "llama.forward", "vocab=5 d=8 heads=4 shared=2 depth=2 width=6 t=3", 3),
    ("mnist_cnn", "mnist_cnn", "n=2 h=7 w=8", 1),
    ("recurrent", "reader", "cell=rnn hidden=3 t=3 i=2", 2),
    ("recurrent", "reader", "cell=lstm hidden=3 t=3 i=2", 2),
    ("recurrent", "reader", "cell=gru hidden=3 t=3 i=2", 2),
    ("resnet", "resnet18", "width=1 classes=2 n=2 h=8 w=8", 1),
    ("resnet", "resnet50", "width=1 classes=2 n=2 h=4 w=4", 1),
    ("resnet20", "resnet20", "width=2 classes=2 n=2 h=4 w=4", 1),
    ("seq2seq", "translator.forward", "from_words=3 to_words=3 d=2 n=2 s=2 t=2", 1),
    ("unet", "unet", "widths=2,3 middle=3 n=2 c=1 h=4 w=8", 1),
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
    let of_file = NETWORKS.iter().filter(|(file, ..)| *file == definition);
    for (file, name, settings, cases) in of_file {
        let settings: BTreeMap<String, String> = settings
            .split(' ')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        assert_gradients(&network(file), Some(name), &settings, *cases);
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
    gradients! {
        autoencoder bert charlm conv_autoencoder dcgan gan gpt llama mnist_cnn recurrent resnet resnet20 seq2seq unet vae
        vgg
    }
}
