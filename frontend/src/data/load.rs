//! Filling the fields of a `data` clause from its source.

use std::path::{Path, PathBuf};

use super::dataset::{Dataset, Field};
use super::error::{DataError, Fault};
use super::hold_out::{self, HoldOut};
use super::input::Input;
use super::raw::RawField;
use super::request::{Contents, Request};
use super::scale::{self, Scale};
use super::source::{FieldSpec, Options, SourceSpec};
use super::{characters, cifar10, conform, folder, idx, images, npy, sentences, synthetic, table};

/// The samples of a `data` clause.
#[derive(Debug)]
pub struct Loaded {
    /// The samples to train on.
    pub train: Dataset,
    /// The samples held out, or the test files of the source, if there are any.
    pub test: Option<Dataset>,
    /// Whether each sample goes on where the one before ends, so that their order matters.
    pub contiguous: bool,
    /// How the columns of the features were standardized, if that was asked for.
    pub scales: Vec<Scale>,
}

impl Loaded {
    /// Holds out this part of the training samples, to compare trainings by, in the place of the
    /// test samples. The choice depends on the number of the samples only; of samples that follow
    /// each other it is the last ones.
    ///
    /// # Errors
    /// If one side would be empty.
    pub fn hold_out_for_validation(&mut self, share: f64) -> Result<(), DataError> {
        let part = HoldOut::Fraction(share);
        let count = self.train.len();
        let divided = match self.contiguous {
            true => part.split_tail(count),
            false => part.split(count, VALIDATION_SEED),
        };
        let (rest, held_out) =
            divided.map_err(|error| DataError::in_option("validate", *error.fault))?;
        let (train, validation) = self.train.divided(&rest, &held_out);
        (self.train, self.test) = (train, Some(validation));
        Ok(())
    }

    /// The training samples without fold number `fold`, from 0, of `folds` parts of equal size,
    /// and that part in the place of the test samples. The choice depends on the number of the
    /// samples only.
    ///
    /// # Errors
    /// If there are fewer samples than folds, or samples follow each other.
    pub fn fold(&self, fold: usize, folds: usize) -> Result<Loaded, DataError> {
        if self.contiguous {
            return Err(DataError::in_option("folds", Fault::FoldsOfSequence));
        }
        let (rest, held_out) = hold_out::fold(self.train.len(), VALIDATION_SEED, (fold, folds))?;
        let (train, test) = self.train.divided(&rest, &held_out);
        let Loaded { contiguous, scales, .. } = self;
        Ok(Loaded { train, test: Some(test), contiguous: *contiguous, scales: scales.clone() })
    }
}

/// The seed of the choice of samples for validation.
const VALIDATION_SEED: u64 = 1;

/// The seed of the split unless the source's option `seed` says otherwise. It does not depend on
/// the seed of the training, so that all runs of a recipe are tested on the same samples.
const SPLIT_SEED: u64 = 0;

/// A source: what it is called, its options, and how it gets hold of the values.
struct Source {
    name: &'static str,
    options: &'static [&'static str],
    open: fn(&Request<'_>) -> Result<Contents, DataError>,
}

const SOURCES: [Source; 11] = [
    Source { name: "idx", options: &["test", "seed"], open: open_idx },
    Source { name: "npy", options: &["test", "seed"], open: open_npy },
    Source {
        name: "csv",
        options: &["target", "skip", "delimiter", "missing", "standardize", "test", "seed"],
        open: table::open,
    },
    Source {
        name: "text",
        options: &["window", "contiguous", "test", "seed"],
        open: characters::open,
    },
    Source {
        name: "sentences",
        options: &["by", "vocab", "length", "test", "seed"],
        open: sentences::open,
    },
    Source {
        name: "parallel",
        options: &["vocab", "length", "test", "seed"],
        open: sentences::open_parallel,
    },
    Source { name: "images", options: &["size", "test", "seed"], open: images::open_images },
    Source { name: "folders", options: &["size", "test", "seed"], open: images::open_folders },
    Source { name: "pairs", options: &["crop", "test", "seed"], open: images::open_pairs },
    Source { name: "cifar10", options: &["test", "seed"], open: cifar10::open },
    Source {
        name: "uniform",
        options: &["count", "low", "high", "test", "seed"],
        open: synthetic::open,
    },
];

/// Loads `fields` from the source `spec`, whose paths are relative to `base`.
///
/// Sources, with `test` (a fraction or a number of samples to hold out) and `seed` (of that choice):
/// - `idx("FOLDER")`: images and labels as `images.idx` and `labels.idx`, or these with `train-` and
///   `test-` before them, or as the MNIST files are named; each also with `.gz`. The first field
///   takes the images, the second the labels. `idx("FILE", ...)`: one file a field.
/// - `npy("FILE", ...)`: one file a field.
/// - `csv("FILE", target: "COLUMN")`: the first field takes all other columns, the second takes the
///   target. Without `target` a single field takes all columns, several take the columns of their
///   names. Options `skip` (columns left out), `delimiter`, `missing` ("drop" or "mean") and
///   `standardize` (give the columns of numbers other than the target mean 0 and deviation 1).
/// - `text("FILE", window: N)`: the first field takes windows of N characters, the second the
///   characters behind each; `contiguous: true` keeps windows in the order of the text.
/// - `sentences("FILE", ...)`: one sentence a line and one file a class; `by` ("word" or
///   "character"), `vocab` (the most tokens) and `length`.
/// - `parallel("FILE", "FILE")`: pairs of sentences, line by line; `vocab` and `length`.
/// - `images("FOLDER")`, `folders("FOLDER")` (with a folder for each class): PNG and JPEG files;
///   `size` cuts out the middle square and resizes it.
/// - `pairs("FOLDER")`: `images` and `masks` in it; `crop` cuts both into squares.
/// - `cifar10("FOLDER")` or `cifar10("FILE", ...)`: the binary version of the set.
/// - `uniform(count: N, low: A, high: B)`: float fields with values drawn evenly between `A` and
///   `B`, which are 0 and 1 if not given.
///
/// # Errors
/// If the clause does not suit the source, or a file or value is bad; see [`Fault`].
pub fn load(spec: &SourceSpec, fields: &[FieldSpec], base: &Path) -> Result<Loaded, DataError> {
    load_scaled(spec, fields, base, None)
}

/// As [`load`], but columns are standardized by `scales`, the [`Loaded::scales`] of the data that
/// a model was trained on, and not by what the data themselves hold.
///
/// # Errors
/// As [`load`]; also if a column has no scale there.
pub fn load_scaled(
    spec: &SourceSpec,
    fields: &[FieldSpec],
    base: &Path,
    known: Option<&[Scale]>,
) -> Result<Loaded, DataError> {
    let source = SOURCES.iter().find(|source| source.name == spec.kind).ok_or_else(|| {
        let known = SOURCES.iter().map(|source| source.name).collect();
        DataError::new(Fault::UnknownSource { kind: spec.kind.clone(), known })
    })?;
    let options = Options::new(spec, source.options)?;
    let hold_out = HoldOut::from_options(&options)?;
    let seed = options.seed("seed")?.unwrap_or(SPLIT_SEED);
    let request = Request { spec, options, fields, seed, base };
    if fields.iter().all(FieldSpec::is_ignored) {
        return Err(request.wrong_count("at least one field with a name", "none".to_string()));
    }

    let Contents { mut train, test, prepare } = (source.open)(&request)?;
    let count = sample_count(&train, fields)?;
    if test.is_some() && hold_out.is_some() {
        return Err(DataError::in_option("test", Fault::SplitGiven));
    }
    let (training, held_out) = match hold_out {
        Some(part) => {
            let (training, held_out) = match prepare.contiguous {
                true => part.split_tail(count)?,
                false => part.split(count, seed)?,
            };
            (training, Some(held_out))
        }
        None => ((0..count as u32).collect(), None),
    };
    let mut scales = Vec::new();
    for &index in &prepare.fields {
        let Some(field) = &mut train[index] else { continue };
        let named = |error: DataError| error.for_field(&fields[index].name);
        if prepare.fill {
            scale::fill_means(field, &training).map_err(named)?;
        }
        let name = &fields[index].name;
        match known {
            _ if !prepare.standardize => {}
            Some(known) => {
                scale::apply(field, name, known).map_err(named)?;
                scales.extend(known.iter().filter(|scale| scale.field == *name).cloned());
            }
            None => scales.extend(scale::standardize(field, name, &training).map_err(named)?),
        }
    }

    let train = conform_all(train, fields)?;
    let test = test.map(|test| load_test(test, fields, &train)).transpose()?;
    let (train, test) = match held_out {
        Some(held_out) => {
            let (train, test) = Dataset::split(train, training, held_out);
            (train, Some(test))
        }
        None => (Dataset::whole(train), test),
    };
    Ok(Loaded { train, test, contiguous: prepare.contiguous, scales })
}

/// The test samples of a source that keeps them apart. Extents that the declaration leaves free must
/// be those of the training samples.
fn load_test(
    test: Vec<Option<RawField>>,
    fields: &[FieldSpec],
    train: &[Field],
) -> Result<Dataset, DataError> {
    sample_count(&test, fields)?;
    let mut fields = fields.to_vec();
    for (spec, field) in fields.iter_mut().filter(|spec| !spec.is_ignored()).zip(train) {
        let found = field.tensor().shape();
        let known = spec.shape.iter_mut().zip(found).skip(1);
        known.for_each(|(declared, &found)| *declared = Some(found));
    }
    Ok(Dataset::whole(conform_all(test, &fields)?))
}

/// The number of samples, which must be the same in all fields and not zero.
fn sample_count(raw: &[Option<RawField>], fields: &[FieldSpec]) -> Result<usize, DataError> {
    let mut first: Option<(usize, &str)> = None;
    for (raw, spec) in raw.iter().zip(fields) {
        let Some(raw) = raw else { continue };
        let refuse = |fault| Err(raw.origin.whole(fault).for_field(&spec.name));
        let found = raw.tensor.shape().first().copied().unwrap_or(1);
        if raw.tensor.is_empty() {
            return refuse(Fault::NoSamples);
        }
        if u32::try_from(found).is_err() {
            return refuse(Fault::TooManySamples { count: found });
        }
        match first {
            None => first = Some((found, &spec.name)),
            Some((expected, _)) if expected == found => {}
            Some((expected, other)) => {
                let (field, other) = (spec.name.clone(), other.to_string());
                return refuse(Fault::CountMismatch { field, found, other, expected });
            }
        }
    }
    Ok(first.map_or(0, |(count, _)| count))
}

fn conform_all(raw: Vec<Option<RawField>>, fields: &[FieldSpec]) -> Result<Vec<Field>, DataError> {
    let named = raw.into_iter().zip(fields).filter_map(|(raw, spec)| Some((raw?, spec)));
    named
        .map(|(raw, spec)| {
            let conformed = conform::conform(raw, spec);
            Ok(Field::new(&spec.name, conformed.map_err(|error| error.for_field(&spec.name))?))
        })
        .collect()
}

/// Reads one file per field that is not ignored.
fn read_files(
    paths: &[PathBuf],
    fields: &[FieldSpec],
    read: fn(Input<'static>) -> Result<RawField, DataError>,
) -> Result<Vec<Option<RawField>>, DataError> {
    let read_one = |(path, field): (&PathBuf, &FieldSpec)| {
        let wanted = (!field.is_ignored()).then(|| Input::open(path).and_then(read));
        wanted.transpose().map_err(|error| error.for_field(&field.name))
    };
    paths.iter().zip(fields).map(read_one).collect()
}

fn open_npy(request: &Request<'_>) -> Result<Contents, DataError> {
    let paths = request.paths();
    if paths.len() != request.fields.len() {
        return Err(files_and_fields(request));
    }
    Ok(Contents::plain(read_files(&paths, request.fields, npy::read)?))
}

fn open_idx(request: &Request<'_>) -> Result<Contents, DataError> {
    let mut paths = request.paths();
    let mut test = None;
    if let [folder] = &paths[..]
        && folder.is_dir()
    {
        if request.fields.len() > 2 {
            let found = format!("{} fields", request.fields.len());
            return Err(request.wrong_count("one or two fields from a folder", found));
        }
        let layout = folder::find(folder, request.fields)?;
        (paths, test) = (layout.train, layout.test);
    } else if paths.len() != request.fields.len() {
        // The usual reason is a mistyped folder, so missing files are told first.
        paths.iter().try_for_each(|path| Input::open(path).map(drop))?;
        return Err(files_and_fields(request));
    }
    let train = read_files(&paths, request.fields, idx::read)?;
    let test = test.map(|test| read_files(&test, request.fields, idx::read)).transpose()?;
    Ok(Contents { test, ..Contents::plain(train) })
}

fn files_and_fields(request: &Request<'_>) -> DataError {
    let found = format!("{} paths for {} fields", request.spec.paths.len(), request.fields.len());
    request.wrong_count("one path a field", found)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use cygnet_runtime::dtype::DType;
    use cygnet_runtime::tensor::Tensor;
    use tempfile::TempDir;

    use super::super::idx::write_idx;
    use super::super::npy::write_npy;
    use super::super::source::OptionValue;
    use super::*;

    fn source(kind: &str, paths: &[&str], options: &[(&str, OptionValue)]) -> SourceSpec {
        let options = options.iter().map(|(name, value)| (name.to_string(), value.clone()));
        SourceSpec {
            kind: kind.to_string(),
            paths: paths.iter().map(ToString::to_string).collect(),
            options: options.collect::<BTreeMap<_, _>>(),
        }
    }

    fn field(name: &str, dtype: DType, sample: &[Option<usize>]) -> FieldSpec {
        let shape = [&[None], sample].concat();
        FieldSpec { name: name.to_string(), dtype, shape, classes: None }
    }

    fn text(text: &str) -> OptionValue {
        OptionValue::Str(text.to_string())
    }

    fn images_and_labels() -> [FieldSpec; 2] {
        let image = field("image", DType::U8, &[Some(1), Some(2), None]);
        let label = FieldSpec { classes: Some(10.into()), ..field("label", DType::I32, &[]) };
        [image, label]
    }

    /// Images [count, 2, 3] of which image i consists of `first` + i, and labels i mod 10.
    fn write_set(folder: &Path, names: [&str; 2], count: usize, first: u8) {
        let labels: Vec<u8> = (0..count).map(|label| (label % 10) as u8).collect();
        let pixels: Vec<u8> = (0..count).flat_map(|image| [first + image as u8; 6]).collect();
        write_idx(&folder.join(names[0]), &Tensor::from_slice(&[count, 2, 3], &pixels)).unwrap();
        write_idx(&folder.join(names[1]), &Tensor::from_slice(&[count], &labels)).unwrap();
    }

    fn folder_with_set() -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        write_set(folder.path(), ["images.idx.gz", "labels.idx"], 50, 0);
        folder
    }

    fn refusal(spec: &SourceSpec, fields: &[FieldSpec], base: &Path) -> DataError {
        load(spec, fields, base).err().unwrap()
    }

    #[test]
    fn a_folder_is_split_in_the_same_way_each_time() {
        let base = folder_with_set();
        let spec = source("idx", &["."], &[("test", OptionValue::Float(0.2))]);
        let loaded = load(&spec, &images_and_labels(), base.path()).unwrap();
        let test = loaded.test.unwrap();
        assert_eq!((loaded.train.len(), test.len()), (40, 10));
        assert_eq!(test.fields()[0].tensor().shape(), [10, 1, 2, 3]);
        assert_eq!(test.fields()[1].tensor().dtype(), DType::I32);
        for data in [&loaded.train, &test] {
            let (images, labels) = (&data.fields()[0], &data.fields()[1]);
            let labels = labels.tensor().as_slice::<i32>();
            for (image, label) in images.tensor().bytes().chunks(6).zip(labels) {
                assert_eq!(i32::from(image[0]) % 10, *label);
            }
        }
        let again = load(&spec, &images_and_labels(), base.path()).unwrap().test.unwrap();
        assert_eq!(again.fields()[0].tensor(), test.fields()[0].tensor());
        let seeded = [("test", OptionValue::Float(0.2)), ("seed", OptionValue::Int(3))];
        let other = load(&source("idx", &["."], &seeded), &images_and_labels(), base.path());
        assert_ne!(other.unwrap().test.unwrap().fields()[0].tensor(), test.fields()[0].tensor());
    }

    #[test]
    fn folders_with_files_for_testing_are_not_split() {
        let habits = [
            ["train-images.idx.gz", "train-labels.idx.gz", "test-images.idx", "test-labels.idx"],
            [
                "train-images-idx3-ubyte.gz",
                "train-labels-idx1-ubyte.gz",
                "t10k-images-idx3-ubyte.gz",
                "t10k-labels-idx1-ubyte.gz",
            ],
            [
                "train-images.idx3-ubyte",
                "train-labels.idx1-ubyte",
                "t10k-images.idx3-ubyte",
                "t10k-labels.idx1-ubyte",
            ],
        ];
        for names in habits {
            let base = tempfile::tempdir().unwrap();
            write_set(base.path(), [names[0], names[1]], 20, 0);
            write_set(base.path(), [names[2], names[3]], 5, 100);
            let loaded = load(&source("idx", &["."], &[]), &images_and_labels(), base.path());
            let Loaded { train, test, .. } = loaded.unwrap();
            assert_eq!((train.len(), train.fields()[0].tensor().bytes()[0]), (20, 0));
            let test = test.unwrap();
            assert_eq!((test.len(), test.fields()[0].tensor().bytes()[0]), (5, 100));

            let both = source("idx", &["."], &[("test", OptionValue::Int(3))]);
            let error = refusal(&both, &images_and_labels(), base.path());
            assert!(matches!(*error.fault, Fault::SplitGiven), "{error}");
        }
    }

    #[test]
    fn test_files_must_have_the_extents_of_the_training_files() {
        let base = tempfile::tempdir().unwrap();
        write_set(base.path(), ["train-images.idx", "train-labels.idx"], 20, 0);
        write_set(base.path(), ["test-images.idx", "test-labels.idx"], 5, 0);
        let images = Tensor::from_slice(&[5, 2, 4], &[0_u8; 40]);
        write_idx(&base.path().join("test-images.idx"), &images).unwrap();
        let error = refusal(&source("idx", &["."], &[]), &images_and_labels(), base.path());
        assert!(error.to_string().ends_with(
            "test-images.idx: the field is declared u8[n, 1, 2, 3], the data have shape [5, 2, 4]"
        ));
        assert_eq!(error.field.as_deref(), Some("image"));
    }

    #[test]
    fn a_field_may_be_ignored_and_files_named_one_by_one() {
        let base = folder_with_set();
        let [image, mut label] = images_and_labels();
        label.name = "_".to_string();
        std::fs::write(base.path().join("labels.idx"), "not IDX").unwrap();
        let fields = [image.clone(), label];
        let loaded = load(&source("idx", &["."], &[]), &fields, base.path()).unwrap();
        assert_eq!((loaded.train.fields().len(), loaded.train.len()), (1, 50));
        assert!(loaded.test.is_none());
        let single = source("idx", &["images.idx.gz"], &[]);
        assert_eq!(load(&single, &[image], base.path()).unwrap().train.len(), 50);
        let nothing = [FieldSpec { name: "_".to_string(), ..field("x", DType::U8, &[]) }];
        let error = refusal(&single, &nothing, base.path());
        assert!(matches!(*error.fault, Fault::WrongCount { .. }), "{error}");
    }

    #[test]
    fn bad_folders_and_files_are_told_apart() {
        let base = folder_with_set();
        let fields = images_and_labels();
        let error = refusal(&source("idx", &["data/none"], &[]), &fields, base.path());
        assert!(error.to_string().contains("data/none: cannot read"), "{error}");
        assert!(error.remedy().contains("relative to its folder"));
        let one = source("idx", &["labels.idx"], &[]);
        assert!(matches!(*refusal(&one, &fields, base.path()).fault, Fault::WrongCount { .. }));
        let third = [&fields[..], &fields[..1]].concat();
        let folder = source("idx", &["."], &[]);
        assert!(matches!(*refusal(&folder, &third, base.path()).fault, Fault::WrongCount { .. }));

        std::fs::remove_file(base.path().join("labels.idx")).unwrap();
        let error = refusal(&folder, &fields, base.path());
        assert!(error.to_string().contains("labels.idx: cannot read"), "{error}");
        std::fs::remove_file(base.path().join("images.idx.gz")).unwrap();
        let error = refusal(&folder, &fields, base.path());
        assert!(error.to_string().contains("holds no file named images.idx or train-"), "{error}");
    }

    #[test]
    fn samples_must_agree_in_number_and_labels_with_the_classes() {
        let base = folder_with_set();
        let spec = source("idx", &["."], &[]);
        let mut fields = images_and_labels();
        fields[1].classes = Some(9.into());
        let error = refusal(&spec, &fields, base.path());
        assert!(error.to_string().contains("labels.idx, sample 9 (byte 17): label 9"), "{error}");
        assert_eq!(error.field.as_deref(), Some("label"));

        let labels = Tensor::from_slice(&[3], &[1_u8, 2, 3]);
        write_idx(&base.path().join("labels.idx"), &labels).unwrap();
        let error = refusal(&spec, &fields, base.path());
        assert!(error.to_string().ends_with("field `label` has 3 samples, `image` has 50"));
        write_idx(&base.path().join("labels.idx"), &Tensor::zeros(DType::U8, &[0])).unwrap();
        let error = refusal(&spec, &fields, base.path());
        assert!(matches!(*error.fault, Fault::NoSamples), "{error}");
    }

    #[test]
    fn arrays_are_one_file_a_field() {
        let base = tempfile::tempdir().unwrap();
        let x = Tensor::from_slice(&[4, 2], &[0.5_f32; 8]);
        write_npy(&base.path().join("x.npy"), &x).unwrap();
        write_npy(&base.path().join("y.npy"), &Tensor::from_slice(&[4], &[0, 1, 1, 0])).unwrap();
        let fields = [field("x", DType::F32, &[None]), field("y", DType::I32, &[])];
        let spec = source("npy", &["x.npy", "y.npy"], &[("test", OptionValue::Int(1))]);
        let loaded = load(&spec, &fields, base.path()).unwrap();
        assert_eq!((loaded.train.len(), loaded.test.unwrap().len()), (3, 1));
        let spec = source("npy", &["x.npy"], &[]);
        assert!(matches!(*refusal(&spec, &fields, base.path()).fault, Fault::WrongCount { .. }));
    }

    const TABLE: &str = "a,b,kind,y\n1,10,red,0.5\n2,,blue,1.5\n3,30,red,2.5\n5,50,green,3.5\n";

    fn table() -> TempDir {
        let base = tempfile::tempdir().unwrap();
        std::fs::write(base.path().join("t.csv"), TABLE).unwrap();
        base
    }

    #[test]
    fn tables_give_features_and_a_target() {
        let base = table();
        let fields = [field("x", DType::F32, &[None]), field("y", DType::F32, &[Some(1)])];
        let options = [("target", text("y")), ("skip", text("kind")), ("missing", text("drop"))];
        let loaded = load(&source("csv", &["t.csv"], &options), &fields, base.path()).unwrap();
        let x = loaded.train.fields()[0].tensor();
        assert_eq!(*x, Tensor::from_slice(&[3, 2], &[1_f32, 10., 3., 30., 5., 50.]));
        let y = loaded.train.fields()[1].tensor();
        assert_eq!(*y, Tensor::from_slice(&[3, 1], &[0.5_f32, 2.5, 3.5]));
    }

    #[test]
    fn tables_are_filled_in_and_standardized_by_their_training_rows() {
        let base = table();
        let fields = [field("x", DType::F64, &[None]), field("kind", DType::I32, &[])];
        let options = [
            ("target", text("kind")),
            ("missing", text("mean")),
            ("standardize", OptionValue::Bool(true)),
            ("test", OptionValue::Int(1)),
        ];
        let loaded = load(&source("csv", &["t.csv"], &options), &fields, base.path()).unwrap();
        let x = loaded.train.fields()[0].tensor().as_slice::<f64>();
        for column in 0..3 {
            let sum = |power| x[column..].iter().step_by(3).map(|v| v.powi(power)).sum::<f64>();
            assert!(sum(1).abs() < 1e-9 && (sum(2) - 3.0).abs() < 1e-9, "{x:?}");
        }
        let names: Vec<&str> = loaded.scales.iter().map(|scale| scale.column.as_str()).collect();
        assert_eq!(names, ["a", "b", "y"]);
        let test = loaded.test.unwrap();
        assert_eq!(test.fields()[1].class_names().unwrap(), ["blue", "green", "red"]);
    }

    #[test]
    fn without_a_target_columns_are_taken_by_name() {
        let base = table();
        let fields = [
            field("y", DType::F32, &[]),
            field("kind", DType::I32, &[]),
            field("a", DType::U8, &[]),
        ];
        let train = load(&source("csv", &["t.csv"], &[]), &fields, base.path()).unwrap().train;
        assert_eq!(train.fields()[1].tensor().as_slice::<i32>(), [2, 0, 2, 1]);
        assert_eq!(train.fields()[2].tensor().bytes(), [1, 2, 3, 5]);
        let all = [field("x", DType::F32, &[Some(2)])];
        let skip = OptionValue::List(vec![text("kind"), text("b")]);
        let train = load(&source("csv", &["t.csv"], &[("skip", skip)]), &all, base.path());
        assert_eq!(train.unwrap().train.fields()[0].tensor().shape(), [4, 2]);
    }

    #[test]
    fn bad_tables_and_options_are_told() {
        let base = table();
        let two = [field("x", DType::F32, &[None]), field("kind", DType::F32, &[])];
        let tell = |fields: &[FieldSpec], options: &[(&str, OptionValue)]| {
            let error = refusal(&source("csv", &["t.csv"], options), fields, base.path());
            error
                .to_string()
                .replace(base.path().to_str().unwrap(), "")
                .trim_start_matches('/')
                .to_string()
        };
        let cases: [(&[(&str, OptionValue)], &str); 9] = [
            (
                &[("target", text("kind")), ("missing", text("drop"))],
                "t.csv, line 2, column `kind`: \"red\" is not a number",
            ),
            (
                &[("target", text("kind"))],
                "t.csv, line 3, column `b`: the value is missing (the cell holds \"\")",
            ),
            (
                &[("target", text("z"))],
                "t.csv, line 1: there is no column `z`; there are a, b, kind, y",
            ),
            (&[], "t.csv, line 1: there is no column `x`; there are a, b, kind, y"),
            (
                &[
                    ("target", text("a")),
                    ("skip", OptionValue::List(["b", "kind", "y"].map(text).to_vec())),
                ],
                "t.csv, line 1: no column is left for the features",
            ),
            (&[("target", OptionValue::Int(3))], "option `target`: `3` is not a text"),
            (
                &[("missing", text("zero"))],
                "option `missing`: `\"zero\"` is not \"drop\" or \"mean\"",
            ),
            (
                &[("delimiter", text("ab"))],
                "option `delimiter`: `\"ab\"` is not a text of one ASCII character",
            ),
            (
                &[("label", text("kind"))],
                "option `label`: the source `csv` has no option `label`; it has target, skip, \
                 delimiter, missing, standardize, test, seed",
            ),
        ];
        for (options, expected) in cases {
            assert_eq!(tell(&two, options), expected);
        }
        for test in [OptionValue::Float(1.0), OptionValue::Int(0), text("half")] {
            assert!(tell(&two, &[("test", test)]).contains("is not a fraction between 0 and 1"));
        }
        let text_feature = [field("x", DType::F32, &[None]), field("y", DType::F32, &[])];
        assert_eq!(
            tell(&text_feature, &[("target", text("y"))]),
            "t.csv, line 2, column `kind`: \"red\" is not a number"
        );
    }

    #[test]
    fn values_are_drawn_where_no_file_is() {
        let fields = [field("x", DType::F32, &[Some(1)]), field("z", DType::F32, &[Some(2)])];
        let options = [
            ("count", OptionValue::Int(1000)),
            ("low", OptionValue::Int(-3)),
            ("high", OptionValue::Float(3.0)),
            ("test", OptionValue::Float(0.2)),
        ];
        let spec = source("uniform", &[], &options);
        let loaded = load(&spec, &fields, Path::new("")).unwrap();
        let x = loaded.train.fields()[0].tensor();
        assert_eq!(x.shape(), [800, 1]);
        let values = x.as_slice::<f32>();
        assert!(values.iter().all(|value| (-3.0..=3.0).contains(value)));
        let mean = values.iter().sum::<f32>() / 800.0;
        assert!(mean.abs() < 0.3, "{mean}"); // five deviations
        assert_ne!(values[0], loaded.train.fields()[1].tensor().as_slice::<f32>()[0]);
        assert_eq!(loaded.test.unwrap().len(), 200);
        let again = load(&spec, &fields, Path::new("")).unwrap();
        assert_eq!(again.train.fields()[0].tensor(), x);
    }

    #[test]
    fn what_cannot_be_drawn_is_told() {
        let count = ("count", OptionValue::Int(10));
        let tell = |field: FieldSpec, options: &[(&str, OptionValue)]| {
            refusal(&source("uniform", &[], options), &[field], Path::new("")).to_string()
        };
        let x = || field("x", DType::F32, &[Some(1)]);
        assert_eq!(tell(x(), &[]), "the source `uniform` needs the option `count`");
        let reversed = [count.clone(), ("low", OptionValue::Int(2))];
        assert_eq!(tell(x(), &reversed), "option `high`: `1.0` is not greater than `low`");
        let huge = [("count", OptionValue::Int(i64::MAX))];
        assert!(tell(x(), &huge).contains("more than can be numbered"));
        assert!(
            tell(field("x", DType::I32, &[]), std::slice::from_ref(&count))
                .contains("declared i32[n]")
        );
        assert!(tell(field("x", DType::F32, &[None]), &[count]).contains("declared f32[n, _]"));
        let unknown = refusal(&source("ods", &[], &[]), &[x()], Path::new(""));
        assert_eq!(
            unknown.to_string(),
            "there is no data source `ods`; there are idx, npy, csv, text, sentences, parallel, \
             images, folders, pairs, cifar10, uniform"
        );
    }
}
