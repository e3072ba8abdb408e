//! The source `uniform`: inputs that need no file, for fitting a function.

use cygnet_runtime::dtype::DType;
use cygnet_runtime::random;
use cygnet_runtime::tensor::Tensor;

use super::error::{DataError, Fault};
use super::raw::{Origin, Places, RawField, element_count};
use super::request::{Contents, Request};
use super::source::{FieldSpec, OptionValue};

/// The most values drawn for a field.
const MOST_VALUES: usize = 1 << 26;

/// Draws the fields, each from a stream of its own.
pub(super) fn open(request: &Request<'_>) -> Result<Contents, DataError> {
    let options = &request.options;
    if !request.spec.paths.is_empty() {
        return Err(request.wrong_count("no path", format!("{:?}", request.spec.paths[0])));
    }
    let count = options.get("count", "a number of samples", |value| match value {
        OptionValue::Int(count @ 1..) => usize::try_from(*count).ok(),
        _ => None,
    })?;
    let count = options.required("count", count)?;
    let low = options.number("low")?.unwrap_or(0.0);
    let high = options.number("high")?.unwrap_or(1.0);
    if low >= high {
        let found = format!("{high:?}");
        let fault = Fault::BadOption { expected: "greater than `low`", found };
        return Err(DataError::in_option("high", fault));
    }
    let draw = |(stream, field): (u64, &FieldSpec)| {
        if field.is_ignored() {
            return Ok(None);
        }
        let shape =
            shape(field, count).map_err(|fault| DataError::new(fault).for_field(&field.name))?;
        let mut tensor = Tensor::zeros(DType::F64, &shape);
        for (index, value) in (0..).zip(tensor.as_mut_slice::<f64>()) {
            *value =
                low + (high - low) * f64::from(random::uniform(request.seed, stream, 0, index));
        }
        let origin = Origin { path: None, places: Places::Unknown };
        Ok(Some(RawField { tensor, classes: None, origin }))
    };
    Ok(Contents::plain((1..).zip(request.fields).map(draw).collect::<Result<_, _>>()?))
}

/// The shape of `count` samples of a field whose extents are all known.
fn shape(field: &FieldSpec, count: usize) -> Result<Vec<usize>, Fault> {
    let mismatch = |found: &str| Fault::ShapeMismatch {
        declared: field.to_string(),
        found: found.to_string(),
    };
    if !field.dtype.is_float() {
        return Err(mismatch("of type f32"));
    }
    let sample =
        field.shape.get(1..).and_then(|axes| axes.iter().copied().collect::<Option<Vec<_>>>());
    let shape =
        [vec![count], sample.ok_or_else(|| mismatch("that only the declaration can state"))?]
            .concat();
    match element_count(&shape) {
        Some(values) if values <= MOST_VALUES => Ok(shape),
        _ => Err(Fault::TooManySamples { count }),
    }
}
