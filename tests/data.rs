//! Loading the data sets of the examples and, where they are at hand, larger real ones.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cygnet::data::error::Fault;
use cygnet::data::load::{Loaded, load};
use cygnet::data::npy::read_npy;
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
        FieldSpec { classes: Some(10), ..field("label", DType::I32, &[]) },
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
    let labels = FieldSpec { classes: Some(9), ..field("label", DType::I32, &[]) };
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
        FieldSpec { classes: Some(10), ..field("label", DType::I32, &[]) },
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
