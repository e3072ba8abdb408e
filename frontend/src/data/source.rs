//! What a recipe's `data` clause asks for: a source with its options, and the declared fields.

use std::collections::BTreeMap;
use std::fmt;

use cygnet_runtime::dtype::DType;
use serde::Serialize;

use super::error::{DataError, Fault};

/// A call of a data source, as `idx("data/digits", test: 0.2)`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SourceSpec {
    /// The name of the source.
    pub kind: String,
    /// The arguments without names: paths, relative to the folder of the `.cyg` file.
    pub paths: Vec<String>,
    /// The arguments with names.
    pub options: BTreeMap<String, OptionValue>,
}

/// The value of an option.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum OptionValue {
    /// An integer.
    Int(i64),
    /// A number with a point or exponent.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A text.
    Str(String),
    /// A list.
    List(Vec<OptionValue>),
}

impl OptionValue {
    /// The text, if it is one.
    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            OptionValue::Str(text) => Some(text),
            _ => None,
        }
    }
}

impl fmt::Display for OptionValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OptionValue::Int(value) => value.fmt(f),
            OptionValue::Float(value) => write!(f, "{value:?}"),
            OptionValue::Bool(value) => value.fmt(f),
            OptionValue::Str(value) => write!(f, "{value:?}"),
            OptionValue::List(values) => {
                let values: Vec<String> = values.iter().map(OptionValue::to_string).collect();
                write!(f, "[{}]", values.join(", "))
            }
        }
    }
}

/// The values that labels may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Classes {
    /// How many classes there are: labels are below that.
    pub count: usize,
    /// The label of samples that do not count, which may be any number.
    pub ignored: Option<i64>,
}

impl From<usize> for Classes {
    /// So many classes, and no label that does not count.
    fn from(count: usize) -> Classes {
        Classes { count, ignored: None }
    }
}

impl Classes {
    /// Whether a label is one of a class, or says that its sample does not count.
    pub fn admit(self, label: f64) -> bool {
        let is_class = label >= 0.0 && label < self.count as f64;
        is_class || self.ignored.is_some_and(|ignored| label == ignored as f64)
    }
}

/// A declared field, as `image: u8[n, 1, 8, 8]`.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldSpec {
    /// The name. A field called `_` takes its place in the source, but is not read.
    pub name: String,
    /// The element type that the data are to have.
    pub dtype: DType,
    /// The extents, the sample axis first; `None` where the data decide.
    pub shape: Vec<Option<usize>>,
    /// If these are labels and the number of classes is known: what they may be.
    pub classes: Option<Classes>,
}

impl FieldSpec {
    /// Whether the field is there only to take its place.
    pub fn is_ignored(&self) -> bool {
        self.name == "_"
    }
}

impl fmt::Display for FieldSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let axis = |(index, extent): (usize, &Option<usize>)| match extent {
            Some(extent) => extent.to_string(),
            None if index == 0 => "n".to_string(),
            None => "_".to_string(),
        };
        let axes: Vec<String> = self.shape.iter().enumerate().map(axis).collect();
        write!(f, "{}[{}]", self.dtype, axes.join(", "))
    }
}

/// The options of a source, read by name and kind.
pub(super) struct Options<'a> {
    spec: &'a SourceSpec,
}

impl<'a> Options<'a> {
    /// The options of `spec`, which may be any of `known`.
    pub(super) fn new(
        spec: &'a SourceSpec,
        known: &'static [&'static str],
    ) -> Result<Options<'a>, DataError> {
        match spec.options.keys().find(|name| !known.contains(&name.as_str())) {
            None => Ok(Options { spec }),
            Some(name) => {
                let (kind, unknown) = (spec.kind.clone(), name.clone());
                let fault = Fault::UnknownOption { kind, name: unknown, known };
                Err(DataError::in_option(name, fault))
            }
        }
    }

    /// The option `name`, if it was given; `read` makes the value of it or refuses it.
    pub(super) fn get<T>(
        &self,
        name: &str,
        expected: &'static str,
        read: impl FnOnce(&'a OptionValue) -> Option<T>,
    ) -> Result<Option<T>, DataError> {
        let Some(value) = self.spec.options.get(name) else { return Ok(None) };
        let refusal = || Fault::BadOption { expected, found: value.to_string() };
        read(value).map(Some).ok_or_else(|| DataError::in_option(name, refusal()))
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, DataError> {
        self.get(name, "a text", OptionValue::as_text)
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, DataError> {
        let flag = self.get(name, "true or false", |value| match value {
            OptionValue::Bool(flag) => Some(*flag),
            _ => None,
        })?;
        Ok(flag.unwrap_or(false))
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<f64>, DataError> {
        self.get(name, "a finite number", |value| match value {
            OptionValue::Int(value) => Some(*value as f64),
            OptionValue::Float(value) if value.is_finite() => Some(*value),
            _ => None,
        })
    }

    /// A whole number from 1.
    pub(super) fn count(&self, name: &str) -> Result<Option<usize>, DataError> {
        self.get(name, "a whole number from 1", |value| match value {
            OptionValue::Int(value @ 1..) => usize::try_from(*value).ok(),
            _ => None,
        })
    }

    /// A seed.
    pub(super) fn seed(&self, name: &str) -> Result<Option<u64>, DataError> {
        self.get(name, "an integer from 0", |value| match value {
            OptionValue::Int(value) => u64::try_from(*value).ok(),
            _ => None,
        })
    }

    /// Texts in a list; a single text counts as a list of one.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<&'a str>, DataError> {
        let texts = self.get(name, "a list of texts", |value| match value {
            OptionValue::List(values) => values.iter().map(OptionValue::as_text).collect(),
            single => Some(vec![single.as_text()?]),
        })?;
        Ok(texts.unwrap_or_default())
    }

    /// An option that must be given.
    pub(super) fn required<T>(&self, name: &'static str, value: Option<T>) -> Result<T, DataError> {
        let kind = || self.spec.kind.clone();
        value.ok_or_else(|| DataError::new(Fault::MissingOption { kind: kind(), name }))
    }
}
