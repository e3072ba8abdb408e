//! What can be wrong with data files, and what to do about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use cygnet_runtime::dtype::DType;

/// A data file, a data source or one of its options is not as it must be.
///
/// Printed, it names the file, the place in it and the cause; [`DataError::remedy`] says what to
/// do. It knows nothing of the `.cyg` file that named the data: whoever evaluates the recipe adds
/// the span, with [`DataError::field`] and [`Place::Option`] telling which part of the clause.
#[derive(Debug, thiserror::Error)]
#[error("{}{fault}", prefix(.path.as_deref(), .place.as_ref()))]
pub struct DataError {
    /// The file involved, as it was opened.
    pub path: Option<PathBuf>,
    /// Where in the file.
    pub place: Option<Place>,
    /// The field of the `data` clause that could not be filled.
    pub field: Option<String>,
    /// What is wrong.
    pub fault: Box<Fault>,
}

/// A place in a data file or in the call that names a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Bytes from the start, of the decompressed contents if the file is compressed.
    Offset(u64),
    /// A line of a text file, counted from 1.
    Line(u64),
    /// A cell of a table.
    Cell {
        /// Line in the file, counted from 1.
        line: u64,
        /// The name of the column in the header line.
        column: String,
    },
    /// An element of a sample, both counted from 0.
    Sample {
        /// Position along the first axis.
        sample: usize,
        /// Row-major position within the sample.
        element: usize,
        /// Where its bytes stand in the file, if it has a file.
        offset: Option<u64>,
    },
    /// An option of the source, by name.
    Option(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Offset(offset) => write!(f, "byte {offset}"),
            Place::Line(line) => write!(f, "line {line}"),
            Place::Cell { line, column } => write!(f, "line {line}, column `{column}`"),
            Place::Sample { sample, element, offset } => {
                write!(f, "sample {sample}")?;
                if *element > 0 {
                    write!(f, ", element {element}")?;
                }
                offset.map_or(Ok(()), |offset| write!(f, " (byte {offset})"))
            }
            Place::Option(name) => write!(f, "option `{name}`"),
        }
    }
}

fn prefix(path: Option<&Path>, place: Option<&Place>) -> String {
    match (path, place) {
        (None, None) => String::new(),
        (None, Some(place)) => format!("{place}: "),
        (Some(path), None) => format!("{}: ", path.display()),
        (Some(path), Some(place)) => format!("{}, {place}: ", path.display()),
    }
}

/// The causes. Each has one message, and one remedy in [`Fault::remedy`].
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The operating system refused.
    #[error("cannot {action}: {error}")]
    Io {
        /// What was attempted, as "read" or "write".
        action: &'static str,
        /// The refusal.
        error: io::Error,
    },
    /// A directory, device or pipe where a file is needed.
    #[error("this is not a regular file")]
    NotAFile,
    /// None of the files by which a data folder is recognized is there.
    #[error("this folder holds no file named {}", .expected.join(" or "))]
    EmptyFolder {
        /// The names tried, without `.gz`.
        expected: Vec<String>,
    },
    /// The first bytes are another format's.
    #[error("this is not {format} data: it begins with {found}")]
    WrongMagic {
        /// The format expected, with its article.
        format: &'static str,
        /// The first bytes, printed.
        found: String,
    },
    /// The file ends too early.
    #[error("{part} {}, but the file can hold at most {present} more", needs(*.needed))]
    Truncated {
        /// What was being read.
        part: String,
        /// Bytes that it takes; `u64::MAX` stands for more than can be counted.
        needed: u64,
        /// Bytes that can follow at most.
        present: u64,
    },
    /// There is something behind the last element.
    #[error("the file goes on after the last of the elements that its header declares")]
    TrailingBytes,
    /// A compressed file grows beyond what is accepted.
    #[error("its contents exceed {limit} bytes when decompressed")]
    DecompressedTooLarge {
        /// The most that is accepted.
        limit: u64,
    },
    /// The compressed stream is damaged.
    #[error("the gzip stream is damaged: {reason}")]
    Gzip {
        /// The decoder's words.
        reason: String,
    },
    /// The structure of the file breaks its format's rules.
    #[error("malformed {format} file: {reason}")]
    Malformed {
        /// The format.
        format: &'static str,
        /// Which rule, and how.
        reason: String,
    },
    /// The file is well-formed, but holds what Cygnet has no use for.
    #[error("{what} is not supported")]
    Unsupported {
        /// The unsupported thing.
        what: String,
        /// What to have instead.
        instead: &'static str,
    },
    /// The first line of a table consists of numbers.
    #[error("the first line must name the columns, but it holds only numbers")]
    NoHeader,
    /// The header is one name containing another delimiter.
    #[error("the first line is a single column name that contains {found:?}")]
    WrongDelimiter {
        /// The character found.
        found: char,
    },
    /// Two columns have one name.
    #[error("two columns are named `{name}`")]
    DuplicateColumn {
        /// The name.
        name: String,
    },
    /// No column of that name.
    #[error("there is no column `{name}`; there are {}", .columns.join(", "))]
    UnknownColumn {
        /// The name asked for.
        name: String,
        /// The names in the header line.
        columns: Vec<String>,
    },
    /// No feature column remains.
    #[error("no column is left for the features")]
    NoColumns,
    /// A row has more or fewer cells than the header.
    #[error("this row has {found} cells, the first line has {expected}")]
    RaggedRow {
        /// Cells in this row.
        found: usize,
        /// Cells in the header line.
        expected: usize,
    },
    /// An empty cell, or a mark that stands for one.
    #[error("the value is missing (the cell holds {text:?})")]
    Missing {
        /// The cell, trimmed.
        text: String,
        /// Whether the cell belongs to a target, which is never filled in.
        target: bool,
    },
    /// A column without any value in the training rows.
    #[error("column `{column}` has no value in the rows for training, so it has no mean")]
    NoMean {
        /// The column.
        column: String,
    },
    /// A column that cannot be scaled.
    #[error("column `{column}` is constant in the rows for training, so it cannot be standardized")]
    Constant {
        /// The column.
        column: String,
    },
    /// A column that trained weights know no scale of.
    #[error("the weights were trained without the standardized column `{column}`")]
    NoScale {
        /// The column.
        column: String,
    },
    /// A text that is shorter than a window.
    #[error("the text has {found} characters, and a window of {window} needs one more than that")]
    ShortText {
        /// Characters of the text.
        found: usize,
        /// Characters of a window.
        window: usize,
    },
    /// A folder without folders for classes.
    #[error("this folder holds no folder for a class")]
    NoFolders,
    /// A folder without images.
    #[error("this folder holds no .png or .jpg file")]
    NoImages,
    /// An image without a mask, or a mask without an image.
    #[error("there is no file `{name}` here, but there is one in the other folder")]
    NoCounterpart {
        /// The name without its extension.
        name: String,
    },
    /// Images of several sizes, or too small ones.
    #[error("the image is {found}, not {expected}")]
    ImageSize {
        /// Its width and height.
        found: String,
        /// The width and height wanted.
        expected: String,
    },
    /// Text where a number is needed.
    #[error("{text:?} is not a number")]
    NotANumber {
        /// The text.
        text: String,
        /// Whether the cell belongs to a target, which may be text if the field is `i32`.
        target: bool,
    },
    /// A cell that is no text.
    #[error("this is not UTF-8 text")]
    NotUtf8,
    /// NaN or an infinity.
    #[error("the value is {value}")]
    NotFinite {
        /// The value.
        value: f64,
    },
    /// A value that the declared element type cannot hold.
    #[error("{value} is not a value of type {dtype}")]
    NotRepresentable {
        /// The value, printed.
        value: String,
        /// The declared type.
        dtype: DType,
    },
    /// A label outside the classes.
    #[error("label {label} is out of range: with {classes} classes labels are 0 to {}", .classes.saturating_sub(1))]
    LabelOutOfRange {
        /// The label.
        label: i64,
        /// The number of classes.
        classes: usize,
    },
    /// The data's shape is not the declared one.
    #[error("the field is declared {declared}, the data have shape {found}")]
    ShapeMismatch {
        /// The declared type, printed as in the language.
        declared: String,
        /// The shape in the file.
        found: String,
    },
    /// Fields of one source have differing numbers of samples.
    #[error("field `{field}` has {found} samples, `{other}` has {expected}")]
    CountMismatch {
        /// The field.
        field: String,
        /// Its samples.
        found: usize,
        /// The field it is compared with.
        other: String,
        /// That one's samples.
        expected: usize,
    },
    /// There is no sample at all.
    #[error("there are no samples")]
    NoSamples,
    /// More samples than can be indexed.
    #[error("{count} samples are more than can be numbered with 32 bits")]
    TooManySamples {
        /// How many.
        count: usize,
    },
    /// One side of the split would be empty.
    #[error("of {count} samples {test} would be held out, which leaves one side empty")]
    EmptySplit {
        /// All samples.
        count: usize,
        /// Samples held out.
        test: usize,
    },
    /// So many folds cannot be made.
    #[error("{count} samples cannot be cut into {folds} folds")]
    BadFolds {
        /// All samples.
        count: usize,
        /// Folds.
        folds: usize,
    },
    /// Folds of samples in order.
    #[error("these samples follow each other; folds would tear them apart")]
    FoldsOfSequence,
    /// No source of this name.
    #[error("there is no data source `{kind}`; there are {}", .known.join(", "))]
    UnknownSource {
        /// The name used.
        kind: String,
        /// The names that exist.
        known: Vec<&'static str>,
    },
    /// An option that the source does not have.
    #[error("the source `{kind}` has no option `{name}`; it has {}", .known.join(", "))]
    UnknownOption {
        /// The source.
        kind: String,
        /// The option used.
        name: String,
        /// The options that exist.
        known: &'static [&'static str],
    },
    /// An option that must be given.
    #[error("the source `{kind}` needs the option `{name}`")]
    MissingOption {
        /// The source.
        kind: String,
        /// The option.
        name: &'static str,
    },
    /// An option with a value of the wrong kind or range.
    #[error("`{found}` is not {expected}")]
    BadOption {
        /// What it must be, with its article.
        expected: &'static str,
        /// The value given, printed.
        found: String,
    },
    /// A split is asked for where the files already make one.
    #[error("the folder has test files of its own, so there is nothing to split")]
    SplitGiven,
    /// The clause names more or fewer paths or fields than the source can serve.
    #[error("the source `{kind}` takes {expected}, not {found}")]
    WrongCount {
        /// The source.
        kind: String,
        /// What it takes, in words.
        expected: &'static str,
        /// What it was given, in words.
        found: String,
    },
    /// A weights file without a tensor that the model has.
    #[error("there is no tensor `{name}`{}", or_similar(.similar))]
    MissingTensor {
        /// The parameter's path.
        name: String,
        /// Names in the file that resemble it.
        similar: Vec<String>,
    },
    /// A tensor in a weights file that does not fit the model.
    #[error("tensor `{name}` is {found} in the file and {expected} in the model")]
    WeightMismatch {
        /// The parameter's path.
        name: String,
        /// Type and shape in the file.
        found: String,
        /// Type and shape in the model.
        expected: String,
    },
}

fn or_similar(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!("; similar: {}", names.join(", ")) }
}

fn needs(bytes: u64) -> String {
    match bytes {
        u64::MAX => "needs more bytes than can be counted".to_string(),
        bytes => format!("needs {bytes} bytes"),
    }
}

const DAMAGED: &str = "the file is cut off or damaged: copy, download or write it again";

impl Fault {
    /// What the user can do about it.
    pub fn remedy(&self) -> String {
        let text = match self {
            Fault::Io { action: "write", .. } => {
                "check that the folder exists, is writable and has space"
            }
            Fault::Io { error, .. } if error.kind() == io::ErrorKind::NotFound => {
                "check the name; paths in a .cyg file are relative to its folder"
            }
            Fault::Io { .. } => "check that the file exists and is readable",
            Fault::NotAFile => "name a file; only `idx` also takes a folder",
            Fault::EmptyFolder { .. } => {
                "put the files there (plain or with .gz), or name the files one by one"
            }
            Fault::WrongMagic { .. } => "check that this is the file you mean and its format",
            Fault::Truncated { .. } | Fault::Gzip { .. } => DAMAGED,
            Fault::TrailingBytes | Fault::Malformed { .. } => {
                "the file is damaged or was written wrongly: write it again"
            }
            Fault::DecompressedTooLarge { .. } => "decompress the file and name the plain one",
            Fault::Unsupported { instead, .. } => instead,
            Fault::NoHeader => "add a first line with the names of the columns",
            Fault::WrongDelimiter { found } => {
                return format!("pass the delimiter: delimiter: {:?}", found.to_string());
            }
            Fault::DuplicateColumn { .. } => "give each column a name of its own",
            Fault::UnknownColumn { .. } => {
                "name a column of the header line: as `target`, in `skip`, or as the field's name"
            }
            Fault::NoColumns => "skip fewer columns",
            Fault::RaggedRow { .. } => "correct this row; text with delimiters must be in quotes",
            Fault::Missing { target: true, .. } => {
                "fill in the value, or pass missing: \"drop\" (leave the row out)"
            }
            Fault::Missing { target: false, .. } => {
                "fill in the value, or pass missing: \"drop\" (leave the row out) or \
                 missing: \"mean\" (use the column's mean)"
            }
            Fault::NoMean { .. } | Fault::Constant { .. } => "leave this column out with `skip`",
            Fault::ShortText { .. } => "use a longer text, or a smaller `window`",
            Fault::NoFolders => "put the images of each class into a folder of its own",
            Fault::NoImages => "name a folder with images",
            Fault::NoCounterpart { .. } => "give images and masks the same names",
            Fault::ImageSize { .. } => {
                "images must have one size: `size: 64` (in `images` and `folders`) resizes them, a \
                 smaller `crop` (in `pairs`) cuts smaller squares"
            }
            Fault::NoScale { .. } => "use the data source that the weights were trained with",
            Fault::NotANumber { target: false, .. } => {
                "correct the cell, or leave the column out with `skip`"
            }
            Fault::NotANumber { target: true, .. } => {
                "correct the cell; texts can name classes if the field is i32 and no cell is a number"
            }
            Fault::NotUtf8 => "save the table as UTF-8 text",
            Fault::NotFinite { .. } => "correct the value or remove the sample",
            Fault::NotRepresentable { .. } => "correct the value or declare a wider type",
            Fault::LabelOutOfRange { .. } => {
                "correct the label, or give the model as many classes as the data have"
            }
            Fault::ShapeMismatch { .. } => {
                "declare the axes that the data have (axes of size 1 may be added or left out) and \
                 change the shape in the recipe with `as`"
            }
            Fault::CountMismatch { .. } => "use files that belong together, sample by sample",
            Fault::NoSamples => "use a file that holds data",
            Fault::TooManySamples { .. } => "use fewer samples",
            Fault::EmptySplit { .. } => {
                "hold out a fraction between 0 and 1 that leaves samples on both sides, or a number of them"
            }
            Fault::BadFolds { .. } => "use two folds or more, and not more than samples",
            Fault::FoldsOfSequence => "hold out their end instead, by --validate",
            Fault::UnknownSource { .. } | Fault::UnknownOption { .. } => "use one of these",
            Fault::MissingOption { .. } => "pass it by name, as `NAME: VALUE`",
            Fault::BadOption { .. } => "change the value",
            Fault::SplitGiven => "remove the option `test`",
            Fault::WrongCount { .. } => "change the fields or the paths of the `data` clause",
            Fault::MissingTensor { .. } => {
                "use weights of this model, or leave the parameter out of `load`"
            }
            Fault::WeightMismatch { .. } => {
                "use weights of a model with the same sizes, or set the sizes as they were"
            }
        };
        text.to_string()
    }
}

impl DataError {
    /// An error without a file.
    pub(crate) fn new(fault: Fault) -> DataError {
        DataError { path: None, place: None, field: None, fault: Box::new(fault) }
    }

    /// An error in `path`.
    pub(crate) fn in_file(path: &Path, fault: Fault) -> DataError {
        DataError { path: Some(path.to_path_buf()), ..DataError::new(fault) }
    }

    /// The same error at `place`.
    pub(crate) fn at(mut self, place: Place) -> DataError {
        self.place = Some(place);
        self
    }

    /// The same error, for the field `name`.
    pub(crate) fn for_field(mut self, name: &str) -> DataError {
        self.field = Some(name.to_string());
        self
    }

    /// An error about the option `name`.
    pub(crate) fn in_option(name: &str, fault: Fault) -> DataError {
        DataError::new(fault).at(Place::Option(name.to_string()))
    }

    /// What the user can do about it: one clause, in lower case, without a full stop.
    pub fn remedy(&self) -> String {
        self.fault.remedy()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_names_file_place_and_cause() {
        let error = DataError::in_file(
            Path::new("wine.csv"),
            Fault::Missing { text: "?".into(), target: false },
        )
        .at(Place::Cell { line: 7, column: "ash".into() });
        assert_eq!(
            error.to_string(),
            "wine.csv, line 7, column `ash`: the value is missing (the cell holds \"?\")"
        );
        assert!(error.remedy().contains("missing: \"drop\""));
    }

    #[test]
    fn places_print_only_what_is_known() {
        let first = Place::Sample { sample: 3, element: 0, offset: Some(11) };
        assert_eq!(first.to_string(), "sample 3 (byte 11)");
        let inner = Place::Sample { sample: 3, element: 5, offset: None };
        assert_eq!(inner.to_string(), "sample 3, element 5");
        let error = DataError::in_option("test", Fault::EmptySplit { count: 3, test: 3 });
        assert!(error.to_string().starts_with("option `test`: of 3 samples"));
    }

    #[test]
    fn a_missing_file_is_told_from_an_unreadable_one() {
        let missing = Fault::Io { action: "read", error: io::ErrorKind::NotFound.into() };
        assert!(missing.remedy().contains("relative to its folder"));
        let refused = Fault::Io { action: "read", error: io::ErrorKind::PermissionDenied.into() };
        assert!(refused.remedy().contains("readable"));
    }
}
