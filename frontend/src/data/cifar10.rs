//! The source `cifar10`: the binary version of the set (Krizhevsky 2009). A record is a byte with the
//! label and 3072 bytes of a 32x32 image: the planes of red, green and blue.

use std::io::Read;
use std::path::{Path, PathBuf};

use cygnet_runtime::tensor::Tensor;

use super::error::{DataError, Fault, Place};
use super::input::Input;
use super::raw::{Origin, Places, RawField};
use super::request::{Contents, Request};

const PIXELS: usize = 3 * 32 * 32;
const RECORD: usize = PIXELS + 1;

const CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// The records of files, or of a folder with the files of the published set. The first field takes
/// the images, the second the labels.
pub(super) fn open(request: &Request<'_>) -> Result<Contents, DataError> {
    let paths = request.paths();
    if paths.is_empty() || request.fields.len() > 2 {
        let found = format!("{} paths for {} fields", paths.len(), request.fields.len());
        return Err(request.wrong_count("a folder or files, and one or two fields", found));
    }
    let part = |files: &[PathBuf]| -> Result<Vec<Option<RawField>>, DataError> {
        let (images, labels) = read(files)?;
        let origin = Origin { path: Some(files[0].clone()), places: Places::Unknown };
        let count = labels.len();
        let classes = CLASSES.map(str::to_owned).to_vec();
        let image = RawField {
            tensor: Tensor::from_slice(&[count, 3, 32, 32], &images),
            classes: None,
            origin: origin.clone(),
        };
        let label = RawField {
            tensor: Tensor::from_slice(&[count], &labels),
            classes: Some(classes),
            origin,
        };
        let mut all = [image, label].into_iter();
        let fields = request.fields.iter();
        Ok(fields.map(|spec| all.next().filter(|_| !spec.is_ignored())).collect())
    };
    match &paths[..] {
        [folder] if folder.is_dir() => {
            let files = (1..=5).map(|number| folder.join(format!("data_batch_{number}.bin")));
            let files: Vec<PathBuf> = files.filter(|path| path.exists()).collect();
            if files.is_empty() {
                let expected = vec!["data_batch_1.bin".to_owned()];
                return Err(DataError::in_file(folder, Fault::EmptyFolder { expected }));
            }
            let test = folder.join("test_batch.bin");
            let test = test.exists().then(|| part(&[test])).transpose()?;
            Ok(Contents { test, ..Contents::plain(part(&files)?) })
        }
        files => Ok(Contents::plain(part(files)?)),
    }
}

fn read(files: &[PathBuf]) -> Result<(Vec<u8>, Vec<i32>), DataError> {
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    for path in files {
        let bytes = contents(path)?;
        if bytes.len() % RECORD != 0 {
            let reason = format!("{} bytes are no multiple of {RECORD}", bytes.len());
            let fault = Fault::Malformed { format: "CIFAR-10", reason };
            return Err(DataError::in_file(path, fault));
        }
        for (number, record) in bytes.chunks_exact(RECORD).enumerate() {
            if usize::from(record[0]) >= CLASSES.len() {
                let fault =
                    Fault::LabelOutOfRange { label: record[0].into(), classes: CLASSES.len() };
                let offset = Place::Offset((number * RECORD) as u64);
                return Err(DataError::in_file(path, fault).at(offset));
            }
            labels.push(record[0].into());
            images.extend_from_slice(&record[1..]);
        }
    }
    Ok((images, labels))
}

fn contents(path: &Path) -> Result<Vec<u8>, DataError> {
    let mut input = Input::open(path)?;
    let mut bytes = Vec::new();
    input.read_to_end(&mut bytes).map_err(|error| input.io_error(error))?;
    Ok(bytes)
}
