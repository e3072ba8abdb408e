//! Finding the files of a labelled image set in a folder by their names.

use std::path::{Path, PathBuf};

use super::error::{DataError, Fault};
use super::source::FieldSpec;

/// Names of the files with the images and with the labels.
type Pair = [&'static str; 2];

/// The naming habits: files for training and, if they are kept apart, for testing.
const LAYOUTS: [(Pair, Option<Pair>); 4] = [
    (["images.idx", "labels.idx"], None),
    (["train-images.idx", "train-labels.idx"], Some(["test-images.idx", "test-labels.idx"])),
    (
        ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"],
        Some(["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]),
    ),
    (
        ["train-images.idx3-ubyte", "train-labels.idx1-ubyte"],
        Some(["t10k-images.idx3-ubyte", "t10k-labels.idx1-ubyte"]),
    ),
];

/// The files for the first field (images) and the second (labels), as far as there are fields.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) train: Vec<PathBuf>,
    pub(super) test: Option<Vec<PathBuf>>,
}

/// Finds the files for `fields`, of which there are one or two, in `folder`.
///
/// # Errors
/// If the folder follows none of the habits. Whether the second file of a pair is there is left to
/// whoever opens it.
pub(super) fn find(folder: &Path, fields: &[FieldSpec]) -> Result<Layout, DataError> {
    let wanted = fields.iter().position(|field| !field.is_ignored()).unwrap_or_default();
    let files = |pair: Pair| -> Vec<PathBuf> {
        pair.iter().take(fields.len()).map(|name| plain_or_compressed(folder, name)).collect()
    };
    let found = LAYOUTS.iter().find(|(train, _)| files(*train)[wanted].exists());
    let Some((train, test)) = found else {
        let expected = LAYOUTS.iter().map(|(train, _)| train[wanted].to_string()).collect();
        return Err(DataError::in_file(folder, Fault::EmptyFolder { expected }));
    };
    let test = test.map(files).filter(|test| test[wanted].exists());
    Ok(Layout { train: files(*train), test })
}

/// The file `name` in `folder`, or `name.gz` if only that exists.
fn plain_or_compressed(folder: &Path, name: &str) -> PathBuf {
    let plain = folder.join(name);
    let compressed = folder.join(format!("{name}.gz"));
    if !plain.exists() && compressed.exists() { compressed } else { plain }
}
