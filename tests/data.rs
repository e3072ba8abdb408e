//! Loading the data sets of the examples and, where they are at hand, larger real ones.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cygnet::data::error::Fault;
use cygnet::data::load::{Loaded, load};
use cygnet::data::npy::read_npy;
use cygnet::data::picture;
use cygnet::data::source::{FieldSpec, OptionValue, SourceSpec};
use cygnet::data::weights::Weights;
use cygnet_runtime::dtype::DType;
use cygnet_runtime::tensor::Tensor;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

/// The folder `name` of the collection of real data that `CYGNET_DATA` names, or else of the one
/// beside the repository; none if neither is there.
pub fn real_data(name: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let root = std::env::var_os("CYGNET_DATA").map_or_else(beside, PathBuf::from);
    let folder = root.join(name);
    if !folder.is_dir() {
        eprintln!("skipped: there is no {} (set CYGNET_DATA)", folder.display());
        return None;
    }
    Some(folder)
}

fn source(kind: &str, path: &str, options: &[(&str, OptionValue)]) -> SourceSpec {
    let options: BTreeMap<String, OptionValue> =
        options.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
    SourceSpec { kind: kind.to_string(), paths: vec![path.to_string()], options }
}

fn field(name: &str, dtype: DType, sample: &[Option<usize>]) -> FieldSpec {
    let shape = [&[None], sample].concat();
    FieldSpec { name: name.to_string(), dtype, shape, classes: None }
}

fn text(text: &str) -> OptionValue {
    OptionValue::Str(text.to_string())
}

/// How often each of the first `N` labels occurs.
fn counts<const N: usize>(labels: &Tensor) -> [usize; N] {
    let mut counts = [0; N];
    labels.as_slice::<i32>().iter().for_each(|&label| counts[label as usize] += 1);
    counts
}

#[test]
fn the_digits_load_as_images_and_labels() {
    let fields = [
        field("image", DType::U8, &[Some(1), Some(8), Some(8)]),
        FieldSpec { classes: Some(10.into()), ..field("label", DType::I32, &[]) },
    ];
    let spec = source("idx", "data/digits", &[("test", OptionValue::Float(0.2))]);
    let Loaded { train, test, .. } = load(&spec, &fields, &examples()).unwrap();
    let test = test.unwrap();
    assert_eq!((train.len(), test.len()), (1438, 359));

    let [images, labels] = train.fields() else { panic!("two fields") };
    assert_eq!(images.tensor().shape(), [1438, 1, 8, 8]);
    assert_eq!(images.tensor().bytes().iter().max(), Some(&16));
    let training: [usize; 10] = counts(labels.tensor());
    let held_out: [usize; 10] = counts(test.fields()[1].tensor());
    let both: Vec<usize> = training.iter().zip(held_out).map(|(a, b)| a + b).collect();
    assert_eq!(both, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
    // A shuffled choice holds out about 36 of each digit.
    assert!(held_out.iter().all(|count| (18..54).contains(count)), "{held_out:?}");
}

#[test]
fn a_wrong_declaration_of_the_digits_is_explained() {
    let spec = source("idx", "data/digits", &[]);
    let fields = [field("image", DType::U8, &[Some(64)])];
    let error = load(&spec, &fields, &examples()).unwrap_err();
    let message = error.to_string();
    assert!(
        message.ends_with("the field is declared u8[n, 64], the data have shape [1797, 8, 8]"),
        "{message}"
    );
    assert!(error.remedy().contains("`as`"));
    let labels = FieldSpec { classes: Some(9.into()), ..field("label", DType::I32, &[]) };
    let images = FieldSpec { name: "_".to_string(), ..field("_", DType::U8, &[]) };
    let error = load(&spec, &[images, labels], &examples()).unwrap_err();
    assert!(matches!(*error.fault, Fault::LabelOutOfRange { label: 9, classes: 9 }), "{error}");
}

#[test]
fn the_wines_load_for_regression_and_for_classification() {
    let x = || field("x", DType::F32, &[None]);
    let options = [
        ("target", text("alcohol")),
        ("skip", text("cultivar")),
        ("standardize", OptionValue::Bool(true)),
        ("test", OptionValue::Float(0.2)),
    ];
    let spec = source("csv", "data/wine/wine.csv", &options);
    let regression = load(&spec, &[x(), field("y", DType::F32, &[])], &examples()).unwrap();
    assert_eq!((regression.train.len(), regression.test.unwrap().len()), (142, 36));
    assert_eq!(regression.train.fields()[0].tensor().shape(), [142, 12]);
    assert_eq!(regression.scales.len(), 12);
    let alcohol = regression.train.fields()[1].tensor().as_slice::<f32>();
    assert!(alcohol.iter().all(|value| (11.0..15.0).contains(value)));

    let spec = source("csv", "data/wine/wine.csv", &[("target", text("cultivar"))]);
    let classes = load(&spec, &[x(), field("label", DType::I32, &[])], &examples()).unwrap();
    assert_eq!(counts(classes.train.fields()[1].tensor()), [59, 71, 48]);
}

#[test]
fn mnist_loads_with_its_own_test_files() {
    let Some(folder) = real_data("mnist") else { return };
    let fields = [
        field("image", DType::U8, &[Some(1), Some(28), Some(28)]),
        FieldSpec { classes: Some(10.into()), ..field("label", DType::I32, &[]) },
    ];
    let start = std::time::Instant::now();
    let Loaded { train, test, .. } = load(&source("idx", ".", &[]), &fields, &folder).unwrap();
    eprintln!("MNIST took {:?}", start.elapsed());
    assert_eq!((train.len(), test.unwrap().len()), (60_000, 10_000));
    let expected = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949];
    assert_eq!(counts(train.fields()[1].tensor()), expected);
}

#[test]
fn real_tables_load() {
    let Some(folder) = real_data("tabular") else { return };
    let x = || field("x", DType::F32, &[None]);
    let open = |file: &str, options: &[(&str, OptionValue)], target: DType| {
        load(&source("csv", file, options), &[x(), field("y", target, &[])], &folder)
    };

    let iris = open("iris.csv", &[("target", text("Name"))], DType::I32).unwrap().train;
    assert_eq!(counts(iris.fields()[1].tensor()), [50, 50, 50]);
    let names = iris.fields()[1].class_names().unwrap();
    assert_eq!(names, ["Iris-setosa", "Iris-versicolor", "Iris-virginica"]);

    // This file begins with a byte-order mark.
    let wine = open("winequality-red.csv", &[("target", text("quality"))], DType::I32).unwrap();
    assert_eq!(counts(wine.train.fields()[1].tensor()), [0, 0, 0, 10, 53, 681, 638, 199, 18]);

    let mpg = |options: &[(&str, OptionValue)]| {
        let options = [&[("target", text("mpg"))], options].concat();
        open("auto-mpg.csv", &options, DType::F32)
    };
    let error = mpg(&[]).unwrap_err();
    assert!(matches!(*error.fault, Fault::Missing { .. }), "{error}");
    assert!(error.to_string().contains("column `horsepower`"), "{error}");
    assert_eq!(mpg(&[("missing", text("drop"))]).unwrap().train.len(), 396);
    assert_eq!(mpg(&[("missing", text("mean"))]).unwrap().train.len(), 398);

    let housing = [
        ("target", text("median_house_value")),
        ("skip", text("ocean_proximity")),
        ("missing", text("mean")),
        ("standardize", OptionValue::Bool(true)),
        ("test", OptionValue::Float(0.1)),
    ];
    let housing = open("california_housing.csv.gz", &housing, DType::F32).unwrap();
    assert_eq!((housing.train.len(), housing.test.unwrap().len()), (18_576, 2064));
    assert_eq!(housing.scales.len(), 8);
}

#[test]
fn published_weights_and_arrays_load() {
    let Some(models) = real_data("models") else { return };
    let folder = models.join("mnist_cnn_safetensors");
    let mut arrays = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("npy") => {
                assert!(!read_npy(&path).unwrap().is_empty());
                arrays += 1;
            }
            Some("safetensors") => {
                let weights = Weights::read(&path).unwrap();
                let weight = weights.parameter("conv1.weight", DType::F32, &[8, 1, 3, 3]).unwrap();
                assert!(weight.as_slice::<f32>().iter().all(|value| value.abs() < 10.0));
                let error = weights.parameter("conv4.weight", DType::F32, &[8, 1, 3, 3]);
                assert!(error.unwrap_err().to_string().contains("similar: conv"));
                arrays += 1;
            }
            _ => {}
        }
    }
    assert!(arrays >= 2);
}

#[test]
fn text_is_cut_into_windows() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.txt"), "abcabcabcd").unwrap();
    let fields = [field("x", DType::I32, &[None]), field("y", DType::I32, &[None])];
    let options = [("window", OptionValue::Int(3)), ("contiguous", OptionValue::Bool(true))];
    let loaded = load(&source("text", "a.txt", &options), &fields, folder.path()).unwrap();
    assert!(loaded.contiguous);
    let [x, y] = loaded.train.fields() else { panic!("two fields") };
    assert_eq!(x.tensor(), &Tensor::from_slice(&[3, 3], &[0, 1, 2, 0, 1, 2, 0, 1, 2]));
    assert_eq!(y.tensor(), &Tensor::from_slice(&[3, 3], &[1, 2, 0, 1, 2, 0, 1, 2, 3]));
    assert_eq!(x.class_names().unwrap(), ["a", "b", "c", "d"]);
    // The window may be the declared one; the end of a contiguous text is held out.
    let fields = [field("x", DType::U8, &[Some(3)])];
    let options = [("contiguous", OptionValue::Bool(true)), ("test", OptionValue::Int(1))];
    let loaded = load(&source("text", "a.txt", &options), &fields, folder.path()).unwrap();
    assert_eq!((loaded.train.len(), loaded.test.unwrap().len()), (2, 1));
    let options = [("window", OptionValue::Int(10))];
    let error = load(&source("text", "a.txt", &options), &fields, folder.path()).unwrap_err();
    assert!(matches!(*error.fault, Fault::ShortText { found: 10, window: 10 }), "{error}");
    std::fs::write(folder.path().join("a.txt"), [0xff, 0xfe]).unwrap();
    let error = load(&source("text", "a.txt", &options), &fields, folder.path()).unwrap_err();
    assert!(matches!(*error.fault, Fault::NotUtf8), "{error}");
}

#[test]
fn sentences_become_tokens_and_classes() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("good.txt"), "A good, good film\n\ngood").unwrap();
    std::fs::write(folder.path().join("bad.txt"), "a bad film\n").unwrap();
    let fields = [field("x", DType::I32, &[None]), field("y", DType::I32, &[])];
    let options = [("length", OptionValue::Int(4)), ("vocab", OptionValue::Int(7))];
    let spec = SourceSpec {
        paths: vec!["good.txt".to_string(), "bad.txt".to_string()],
        ..source("sentences", "", &options)
    };
    let loaded = load(&spec, &fields, folder.path()).unwrap();
    let [x, y] = loaded.train.fields() else { panic!("two fields") };
    assert_eq!(x.class_names().unwrap()[4..], ["good", "a", "film"]);
    let rows = [5, 4, 3, 4, 4, 0, 0, 0, 5, 3, 6, 0];
    assert_eq!(x.tensor(), &Tensor::from_slice(&[3, 4], &rows));
    assert_eq!(y.tensor(), &Tensor::from_slice(&[3], &[0, 0, 1]));
    assert_eq!(y.class_names().unwrap(), ["good", "bad"]);
}

#[test]
fn pairs_of_sentences_begin_and_end() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a"), "one two\n\nthree\none two three").unwrap();
    std::fs::write(folder.path().join("b"), "eins zwei\nnull\ndrei\neins zwei drei").unwrap();
    let fields = [field("x", DType::I32, &[None]), field("y", DType::I32, &[None])];
    let options = [("length", OptionValue::Int(2))];
    let spec = SourceSpec {
        paths: vec!["a".to_string(), "b".to_string()],
        ..source("parallel", "", &options)
    };
    let loaded = load(&spec, &fields, folder.path()).unwrap();
    let [x, y] = loaded.train.fields() else { panic!("two fields") };
    assert_eq!(x.tensor(), &Tensor::from_slice(&[2, 3], &[4, 6, 2, 5, 2, 0]));
    assert_eq!(y.tensor(), &Tensor::from_slice(&[2, 4], &[1, 5, 6, 2, 1, 4, 2, 0]));
    std::fs::write(folder.path().join("b"), "eins").unwrap();
    let error = load(&spec, &fields, folder.path()).unwrap_err();
    assert!(matches!(*error.fault, Fault::CountMismatch { found: 1, expected: 4, .. }), "{error}");
}

/// Writes images of this size as PNG; image i is `first` + i everywhere.
fn write_images(folder: &Path, names: &[&str], size: (usize, usize), first: u8) {
    std::fs::create_dir_all(folder).unwrap();
    for (name, value) in names.iter().zip(first..) {
        let tensor = Tensor::from_slice(&[1, 1, size.0, size.1], &vec![value; size.0 * size.1]);
        let layout = picture::layout(&tensor).unwrap();
        picture::write(&folder.join(name), &tensor, layout).unwrap();
    }
}

#[test]
fn folders_of_images_are_classes() {
    let base = tempfile::tempdir().unwrap();
    write_images(&base.path().join("set/cat"), &["a.png", "b.png"], (4, 6), 10);
    write_images(&base.path().join("set/dog"), &["a.png"], (4, 6), 20);
    let fields = [field("x", DType::U8, &[Some(1), None, None]), field("y", DType::I32, &[])];
    let spec = source("folders", "set", &[]);
    let loaded = load(&spec, &fields, base.path()).unwrap();
    let [x, y] = loaded.train.fields() else { panic!("two fields") };
    assert_eq!(x.tensor().shape(), [3, 1, 4, 6]);
    assert_eq!(y.tensor(), &Tensor::from_slice(&[3], &[0, 0, 1]));
    assert_eq!(y.class_names().unwrap(), ["cat", "dog"]);
    let bytes = x.tensor().bytes();
    assert_eq!([bytes[0], bytes[24], bytes[48]], [10, 11, 20]);

    // Grey images as three planes, and resized.
    let color = [field("x", DType::U8, &[Some(3), None, None]), field("y", DType::I32, &[])];
    let sized = source("folders", "set", &[("size", OptionValue::Int(2))]);
    let loaded = load(&sized, &color, base.path()).unwrap();
    assert_eq!(loaded.train.fields()[0].tensor().shape(), [3, 3, 2, 2]);
    assert_eq!(loaded.train.fields()[0].tensor().bytes()[..12], [10; 12]);

    write_images(&base.path().join("set/dog"), &["b.png"], (4, 5), 20);
    let error = load(&spec, &fields, base.path()).unwrap_err();
    assert!(matches!(*error.fault, Fault::ImageSize { .. }), "{error}");
    assert!(error.remedy().contains("`size: 64`"));
    std::fs::write(base.path().join("set/dog/b.png"), b"no image").unwrap();
    let error = load(&spec, &fields, base.path()).unwrap_err();
    assert!(matches!(*error.fault, Fault::Malformed { format: "image", .. }), "{error}");
    std::fs::create_dir(base.path().join("set/eel")).unwrap();
    let error = load(&spec, &fields, base.path()).unwrap_err();
    assert!(matches!(*error.fault, Fault::NoImages), "{error}");
    let error = load(&source("folders", "set/cat", &[]), &fields, base.path()).unwrap_err();
    assert!(matches!(*error.fault, Fault::NoFolders), "{error}");
}

#[test]
fn images_and_masks_are_cut_alike() {
    let base = tempfile::tempdir().unwrap();
    write_images(&base.path().join("images"), &["0.png", "1.png"], (4, 6), 10);
    write_images(&base.path().join("masks"), &["0.png", "1.png"], (4, 6), 50);
    let fields =
        [field("x", DType::U8, &[Some(1), None, None]), field("y", DType::U8, &[None, None])];
    let spec = source("pairs", ".", &[("crop", OptionValue::Int(2))]);
    let loaded = load(&spec, &fields, base.path()).unwrap();
    let [x, y] = loaded.train.fields() else { panic!("two fields") };
    assert_eq!((x.tensor().shape(), y.tensor().shape()), (&[12, 1, 2, 2][..], &[12, 2, 2][..]));
    assert_eq!((x.tensor().bytes()[20], y.tensor().bytes()[24]), (10, 51));
    let large = source("pairs", ".", &[("crop", OptionValue::Int(5))]);
    let error = load(&large, &fields, base.path()).unwrap_err();
    assert!(matches!(*error.fault, Fault::ImageSize { .. }), "{error}");
    write_images(&base.path().join("masks"), &["2.png"], (4, 6), 50);
    let error = load(&spec, &fields, base.path()).unwrap_err();
    assert!(matches!(*error.fault, Fault::NoCounterpart { .. }), "{error}");
}

#[test]
fn records_of_cifar10_are_read() {
    let base = tempfile::tempdir().unwrap();
    let mut bytes = Vec::new();
    for label in [3_u8, 9] {
        bytes.push(label);
        bytes.extend((0..3072).map(|place| (place / 1024) as u8));
    }
    std::fs::write(base.path().join("data_batch_1.bin"), &bytes).unwrap();
    std::fs::write(base.path().join("test_batch.bin"), &bytes[..3073]).unwrap();
    let fields =
        [field("x", DType::U8, &[Some(3), Some(32), Some(32)]), field("y", DType::I32, &[])];
    let loaded = load(&source("cifar10", ".", &[]), &fields, base.path()).unwrap();
    let [x, y] = loaded.train.fields() else { panic!("two fields") };
    assert_eq!((loaded.test.unwrap().len(), y.tensor().as_slice::<i32>()), (1, &[3, 9][..]));
    assert_eq!([x.tensor().bytes()[0], x.tensor().bytes()[2048]], [0, 2]);
    assert_eq!(y.class_names().unwrap()[3], "cat");
    let read = |bytes: &[u8]| {
        std::fs::write(base.path().join("one.bin"), bytes).unwrap();
        load(&source("cifar10", "one.bin", &[]), &fields, base.path()).unwrap_err()
    };
    let error = read(&bytes[..3000]);
    assert!(matches!(*error.fault, Fault::Malformed { format: "CIFAR-10", .. }), "{error}");
    bytes[3073] = 10;
    let error = read(&bytes);
    assert!(error.to_string().contains("byte 3073: label 10"), "{error}");
}

#[test]
fn real_images_and_texts_load_where_they_are_at_hand() {
    if let Some(folder) = real_data("cifar10") {
        let fields =
            [field("x", DType::U8, &[Some(3), Some(32), Some(32)]), field("y", DType::I32, &[])];
        let loaded = load(&source("cifar10", "train_1000.bin.gz", &[]), &fields, &folder).unwrap();
        assert_eq!(loaded.train.len(), 1000);
        assert_eq!(loaded.train.fields()[1].tensor().as_slice::<i32>()[..4], [6, 9, 9, 4]);
    }
    if let Some(folder) = real_data("tinyshakespeare") {
        let fields = [field("x", DType::I32, &[Some(64)]), field("y", DType::I32, &[Some(64)])];
        let loaded = load(&source("text", "input.txt", &[]), &fields, &folder).unwrap();
        assert_eq!(loaded.train.fields()[0].class_names().unwrap().len(), 65);
    }
    if let Some(folder) = real_data("isbi2012_membranes") {
        let fields =
            [field("x", DType::U8, &[Some(1), None, None]), field("y", DType::U8, &[None, None])];
        let spec = source("pairs", ".", &[("crop", OptionValue::Int(256))]);
        let loaded = load(&spec, &fields, &folder).unwrap();
        assert_eq!(loaded.train.fields()[0].tensor().shape(), [60, 1, 256, 256]);
        let masks = loaded.train.fields()[1].tensor().bytes();
        assert!(masks.iter().all(|value| [0, 255].contains(value)));
    }
    if let Some(folder) = real_data("multi30k") {
        let fields = [field("x", DType::I32, &[None]), field("y", DType::I32, &[None])];
        let spec = SourceSpec {
            paths: vec!["val.en.gz".to_string(), "val.de.gz".to_string()],
            ..source("parallel", "", &[("vocab", OptionValue::Int(1000))])
        };
        let loaded = load(&spec, &fields, &folder).unwrap();
        assert_eq!(loaded.train.len(), 1014);
        assert_eq!(loaded.train.fields()[1].class_names().unwrap().len(), 1000);
    }
}
