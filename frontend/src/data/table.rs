//! The source `csv`: which columns of a table fill which field.

use std::path::Path;
use std::sync::Arc;

use cygnet_runtime::dtype::DType;
use cygnet_runtime::tensor::Tensor;

use super::csv::{self, Column, Missing, Role, Table};
use super::error::{DataError, Fault};
use super::input::Input;
use super::raw::{Origin, Places, RawField};
use super::request::{Contents, Prepare, Request};
use super::source::{FieldSpec, Options};

/// Reads the table and deals its columns out to the fields.
pub(super) fn open(request: &Request<'_>) -> Result<Contents, DataError> {
    let (fields, options) = (request.fields, &request.options);
    let paths = request.paths();
    let [path] = &paths[..] else {
        return Err(request.wrong_count("one path", format!("{} paths", paths.len())));
    };
    let target = options.text("target")?;
    if target.is_some() && fields.len() > 2 {
        let found = format!("{} fields", fields.len());
        return Err(request.wrong_count("features and a target", found));
    }
    let skip = options.texts("skip")?;
    let missing = missing(options)?;
    let standardize = options.flag("standardize")?;

    let mut shares = Vec::new();
    let table = csv::read(Input::open(path)?, delimiter(options)?, missing, |names| {
        shares = share_out(names, fields, target, &skip)?;
        let mut roles = vec![Role::Skip; names.len()];
        for share in &shares {
            share.columns.iter().for_each(|&column| roles[column] = share.role);
        }
        Ok(roles)
    })?;
    let lines = Arc::new(table.lines.clone());
    let fill = |(share, field): (&Share, &FieldSpec)| {
        if field.is_ignored() {
            return Ok(None);
        }
        fill(share, field, &table, path, &lines)
            .map(Some)
            .map_err(|error| error.for_field(&field.name))
    };
    let train = shares.iter().zip(fields).map(fill).collect::<Result<_, _>>()?;
    let numbers = |share: &Share| share.role == Role::Number;
    let prepare = Prepare {
        fields: (0..shares.len()).filter(|&index| numbers(&shares[index])).collect(),
        fill: missing == Missing::Mark,
        standardize,
        contiguous: false,
    };
    Ok(Contents { prepare, ..Contents::plain(train) })
}

fn delimiter(options: &Options<'_>) -> Result<u8, DataError> {
    let delimiter =
        options.get("delimiter", "a text of one ASCII character", |value| {
            match value.as_text()?.as_bytes() {
                &[delimiter] => Some(delimiter),
                _ => None,
            }
        })?;
    Ok(delimiter.unwrap_or(b','))
}

fn missing(options: &Options<'_>) -> Result<Missing, DataError> {
    let missing =
        options.get("missing", "\"drop\" or \"mean\"", |value| match value.as_text()? {
            "drop" => Some(Missing::Drop),
            "mean" => Some(Missing::Mark),
            _ => None,
        })?;
    Ok(missing.unwrap_or(Missing::Refuse))
}

/// The columns that a field takes, and how they are read.
struct Share {
    columns: Vec<usize>,
    role: Role,
}

/// Deals the columns `names` out to the fields, as [`super::load::load`] describes.
fn share_out(
    names: &[String],
    fields: &[FieldSpec],
    target: Option<&str>,
    skip: &[&str],
) -> Result<Vec<Share>, Fault> {
    let position = |name: &str| {
        let unknown = || Fault::UnknownColumn { name: name.to_string(), columns: names.to_vec() };
        names.iter().position(|column| column == name).ok_or_else(unknown)
    };
    for name in target.iter().chain(skip) {
        position(name)?;
    }
    let is_feature = |&index: &usize| {
        target != Some(names[index].as_str()) && !skip.contains(&names[index].as_str())
    };
    let share = |(index, field): (usize, &FieldSpec)| {
        let (columns, role) = match target {
            _ if field.is_ignored() => (Vec::new(), Role::Skip),
            Some(target) if index == 1 => (vec![position(target)?], Role::Target),
            None if fields.len() > 1 => {
                let role = if field.dtype.is_float() { Role::Number } else { Role::Target };
                (vec![position(&field.name)?], role)
            }
            _ => ((0..names.len()).filter(is_feature).collect(), Role::Number),
        };
        if columns.is_empty() && !field.is_ignored() {
            return Err(Fault::NoColumns);
        }
        Ok(Share { columns, role })
    };
    fields.iter().enumerate().map(share).collect()
}

/// The values of a field: numbers as f64 \[rows, columns\], or the codes of classes as i32 \[rows\].
fn fill(
    share: &Share,
    field: &FieldSpec,
    table: &Table,
    path: &Path,
    lines: &Arc<Vec<u64>>,
) -> Result<RawField, DataError> {
    let columns: Vec<String> =
        share.columns.iter().map(|&column| table.names[column].clone()).collect();
    let places = Places::Cells { lines: Arc::clone(lines), columns };
    let origin = Origin { path: Some(path.to_path_buf()), places };
    let (rows, width) = (lines.len(), share.columns.len());
    let mut tensor = Tensor::zeros(DType::F64, &[rows, width]);
    for (position, &column) in share.columns.iter().enumerate() {
        let numbers = match &table.columns[column] {
            Column::Numbers(numbers) => numbers,
            Column::Classes { codes, names } if field.dtype.is_float() => {
                let text = names[codes[0] as usize].clone();
                let fault = Fault::NotANumber { text, target: true };
                return Err(origin.error(0, position, width, fault));
            }
            Column::Classes { codes, names } => {
                let (tensor, classes) = (Tensor::from_slice(&[rows], codes), Some(names.clone()));
                return Ok(RawField { tensor, classes, origin });
            }
            Column::Skipped => unreachable!("a column in a share is read"),
        };
        let values = tensor.as_mut_slice::<f64>().iter_mut().skip(position).step_by(width);
        values.zip(numbers).for_each(|(value, &number)| *value = number);
    }
    Ok(RawField { tensor, classes: None, origin })
}
