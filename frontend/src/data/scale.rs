//! Filling in and scaling the columns of a table by what its training rows hold.
//!
//! Only these rows are looked at: a mean over all rows would tell the model about the test.

use serde::{Deserialize, Serialize};

use super::error::{DataError, Fault};
use super::raw::{Places, RawField};

/// How a column was standardized: each value v became (v - mean) / deviation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scale {
    /// The field of the `data` clause that the column is part of.
    pub field: String,
    /// The column's name.
    pub column: String,
    /// The mean over the training rows.
    #[serde(with = "exact")]
    pub mean: f64,
    /// The standard deviation over the training rows (divided by their number).
    #[serde(with = "exact")]
    pub deviation: f64,
}

/// Floats as texts that give the same bits again; numbers in JSON may lose the last one.
mod exact {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{value:?}"))
    }

    pub fn deserialize<'d, D: Deserializer<'d>>(deserializer: D) -> Result<f64, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Replaces each NaN in `field`, an `f64` table from CSV, by the mean of its column in `rows`.
///
/// # Errors
/// If a column with a NaN has no value in `rows`.
pub(super) fn fill_means(field: &mut RawField, rows: &[u32]) -> Result<(), DataError> {
    for_columns(field, |values, column| {
        if !values.iter().any(|value| value.is_nan()) {
            return Ok(());
        }
        let present = || rows.iter().map(|&row| *values[row as usize]).filter(|v| !v.is_nan());
        let mean = mean(present()).ok_or(Fault::NoMean { column: column.to_string() })?;
        values.iter_mut().filter(|value| value.is_nan()).for_each(|value| **value = mean);
        Ok(())
    })
}

/// Scales each column of `field`, the `f64` table from CSV of the field called `name`, as `known`
/// says.
///
/// # Errors
/// If a column has no scale there.
pub(super) fn apply(field: &mut RawField, name: &str, known: &[Scale]) -> Result<(), DataError> {
    for_columns(field, |values, column| {
        let scale = known.iter().find(|scale| scale.field == name && scale.column == column);
        let scale = scale.ok_or_else(|| Fault::NoScale { column: column.to_string() })?;
        for value in &mut *values {
            **value = (**value - scale.mean) / scale.deviation;
        }
        Ok(())
    })
}

/// Gives each column of `field`, the `f64` table from CSV of the field called `name`, mean 0 and
/// deviation 1 over `rows`.
///
/// # Errors
/// If a column is constant in `rows`.
pub(super) fn standardize(
    field: &mut RawField,
    name: &str,
    rows: &[u32],
) -> Result<Vec<Scale>, DataError> {
    let mut scales = Vec::new();
    for_columns(field, |values, column| {
        let constant = || Fault::Constant { column: column.to_string() };
        let chosen = || rows.iter().map(|&row| *values[row as usize]);
        let center = mean(chosen()).ok_or_else(constant)?;
        // Equal values may leave distances of rounding errors.
        let farthest = chosen().map(|value| (value - center).abs()).fold(0.0, f64::max);
        if farthest <= 1e-12 * center.abs() {
            return Err(constant());
        }
        // In units of the farthest value, so that no square overflows.
        let squares = chosen().map(|value| ((value - center) / farthest).powi(2));
        let deviation = farthest * mean(squares).ok_or_else(constant)?.sqrt();
        for value in &mut *values {
            **value = (**value - center) / deviation;
        }
        let (field, column) = (name.to_string(), column.to_string());
        scales.push(Scale { field, column, mean: center, deviation });
        Ok(())
    })?;
    Ok(scales)
}

/// The mean; none of nothing. Divides before it adds, so that large values do not overflow.
fn mean(values: impl Iterator<Item = f64> + Clone) -> Option<f64> {
    let count = values.clone().count();
    (count > 0).then(|| values.map(|value| value / count as f64).sum())
}

/// Calls `change` with the values of each column and its name.
fn for_columns(
    field: &mut RawField,
    mut change: impl FnMut(&mut [&mut f64], &str) -> Result<(), Fault>,
) -> Result<(), DataError> {
    let RawField { tensor, origin, .. } = field;
    let Places::Cells { columns, .. } = &origin.places else { return Ok(()) };
    for (index, column) in columns.iter().enumerate() {
        let values = tensor.as_mut_slice::<f64>();
        let mut values: Vec<&mut f64> =
            values.iter_mut().skip(index).step_by(columns.len()).collect();
        change(&mut values, column).map_err(|fault| origin.whole(fault))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cygnet_runtime::tensor::Tensor;

    use super::*;
    use crate::data::raw::Origin;

    fn table(values: &[f64]) -> RawField {
        let columns = vec!["a".to_string(), "b".to_string()];
        let rows = values.len() / 2;
        let lines = Arc::new((2..2 + rows as u64).collect());
        let origin = Origin { path: None, places: Places::Cells { lines, columns } };
        RawField { tensor: Tensor::from_slice(&[rows, 2], values), classes: None, origin }
    }

    #[test]
    fn gaps_are_filled_with_the_mean_of_the_training_rows() {
        let gap = f64::NAN;
        let mut field = table(&[1.0, 5.0, gap, 6.0, 3.0, gap, 100.0, 200.0]);
        fill_means(&mut field, &[0, 1, 2]).unwrap();
        assert_eq!(field.tensor.as_slice::<f64>(), [1.0, 5.0, 2.0, 6.0, 3.0, 5.5, 100.0, 200.0]);
        let mut field = table(&[1.0, gap, 2.0, 6.0]);
        let error = fill_means(&mut field, &[0]).unwrap_err();
        assert!(error.to_string().starts_with("column `b` has no value"), "{error}");
    }

    #[test]
    fn columns_are_scaled_by_the_training_rows() {
        let mut field = table(&[1.0, 1e300, 3.0, 3e300, 5.0, 2e300]);
        let scales = standardize(&mut field, "x", &[0, 1]).unwrap();
        let (named, column) = ("x".to_string(), "a".to_string());
        assert_eq!(scales[0], Scale { field: named, column, mean: 2.0, deviation: 1.0 });
        assert_eq!(field.tensor.as_slice::<f64>(), [-1.0, -1.0, 1.0, 1.0, 3.0, 0.0]);

        let text = serde_json::to_string(&scales).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Scale>>(&text).unwrap(), scales);
        let mut other = table(&[2.0, 2e300]);
        apply(&mut other, "x", &scales).unwrap();
        assert_eq!(other.tensor.as_slice::<f64>(), [0.0, 0.0]);
        let error = apply(&mut other, "y", &scales).unwrap_err();
        assert!(error.to_string().contains("column `a`"), "{error}");
    }

    #[test]
    fn a_constant_column_is_refused() {
        let mut field = table(&[1.0, 0.1, 3.0, 0.1, 5.0, 0.1]);
        let error = standardize(&mut field, "x", &[0, 1, 2]).unwrap_err();
        assert!(error.to_string().starts_with("column `b` is constant"), "{error}");
        assert!(error.remedy().contains("`skip`"));
    }
}
