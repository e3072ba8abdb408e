//! Filling in and scaling the columns of a table by what its training rows hold.
//!
//! Only these rows are looked at: a mean over all rows would tell the model about the test.

use super::error::{DataError, Fault};
use super::raw::{Places, RawField};

/// How a column was standardized: each value v became (v - mean) / deviation.
#[derive(Debug, Clone, PartialEq)]
pub struct Scale {
    /// The column's name.
    pub column: String,
    /// The mean over the training rows.
    pub mean: f64,
    /// The standard deviation over the training rows (divided by their number).
    pub deviation: f64,
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

/// Gives each column of `field`, an `f64` table from CSV, mean 0 and deviation 1 over `rows`.
///
/// # Errors
/// If a column is constant in `rows`.
pub(super) fn standardize(field: &mut RawField, rows: &[u32]) -> Result<Vec<Scale>, DataError> {
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
        scales.push(Scale { column: column.to_string(), mean: center, deviation });
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
        let scales = standardize(&mut field, &[0, 1]).unwrap();
        assert_eq!(scales[0], Scale { column: "a".into(), mean: 2.0, deviation: 1.0 });
        assert_eq!(field.tensor.as_slice::<f64>(), [-1.0, -1.0, 1.0, 1.0, 3.0, 0.0]);
    }

    #[test]
    fn a_constant_column_is_refused() {
        let mut field = table(&[1.0, 0.1, 3.0, 0.1, 5.0, 0.1]);
        let error = standardize(&mut field, &[0, 1, 2]).unwrap_err();
        assert!(error.to_string().starts_with("column `b` is constant"), "{error}");
        assert!(error.remedy().contains("`skip`"));
    }
}
