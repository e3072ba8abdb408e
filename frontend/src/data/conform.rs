//! Making the values of a file what the recipe declares, and refusing those that cannot be.

use cygnet_runtime::dtype::DType;
use cygnet_runtime::tensor::Tensor;

use super::error::{DataError, Fault};
use super::raw::{Origin, RawField};
use super::source::{Classes, FieldSpec};

/// The values of `raw` with the element type and shape that `spec` declares.
///
/// Axes of size 1 may be added or left out. A value must be one of the declared type; only floats
/// are rounded. Floats must be finite.
///
/// # Errors
/// If the shape cannot be had, or a value is refused.
pub(super) fn conform(raw: RawField, spec: &FieldSpec) -> Result<RawField, DataError> {
    let RawField { tensor, classes, origin } = raw;
    let sample = tensor.shape().get(1..).and_then(|found| match_axes(found, spec.shape.get(1..)?));
    let Some(sample) = sample else {
        let found = format!("{:?}", tensor.shape());
        return Err(origin.whole(Fault::ShapeMismatch { declared: spec.to_string(), found }));
    };
    let shape = [&tensor.shape()[..1], &sample].concat();
    let width = sample.iter().product::<usize>().max(1);
    let refuse = |index: usize, fault| origin.error(index / width, index % width, width, fault);
    let tensor = convert(tensor, spec.dtype, refuse)?.reshaped(&shape);
    if let Some(classes) = spec.classes {
        check_labels(&tensor, classes, |index| index, &origin)?;
    }
    Ok(RawField { tensor, classes, origin })
}

/// The extents of a sample under the declared axes; axes of size 1 have no place of their own.
fn match_axes(found: &[usize], declared: &[Option<usize>]) -> Option<Vec<usize>> {
    let fits =
        |(&extent, &declared): (&usize, &Option<usize>)| declared.is_none_or(|d| d == extent);
    if found.len() == declared.len() {
        return found.iter().zip(declared).all(fits).then(|| found.to_vec());
    }
    let mut remaining = found.iter().copied().filter(|&extent| extent != 1);
    let sample: Option<Vec<usize>> = declared
        .iter()
        .map(|&declared| match declared {
            Some(1) => Some(1),
            Some(extent) => remaining.next().filter(|&found| found == extent),
            None => remaining.next(),
        })
        .collect();
    sample.filter(|_| remaining.next().is_none())
}

/// Converts every element; `refuse` makes the error about the element at an index.
fn convert(
    tensor: Tensor,
    dtype: DType,
    refuse: impl Fn(usize, Fault) -> DataError,
) -> Result<Tensor, DataError> {
    if tensor.dtype() == dtype && !dtype.is_float() {
        return Ok(tensor);
    }
    let finite = |index, value: f64| match value.is_finite() {
        true => Ok(()),
        false => Err(refuse(index, Fault::NotFinite { value })),
    };
    if tensor.dtype() == dtype {
        each(&tensor, finite)?;
        return Ok(tensor);
    }
    let mut converted = Tensor::zeros(dtype, tensor.shape());
    let unfit = |index, value: f64| {
        refuse(index, Fault::NotRepresentable { value: value.to_string(), dtype })
    };
    match dtype {
        DType::F32 => {
            let out = converted.as_mut_slice::<f32>();
            each(&tensor, |index, value| {
                finite(index, value)?;
                out[index] = value as f32;
                if out[index].is_finite() { Ok(()) } else { Err(unfit(index, value)) }
            })?;
        }
        DType::F64 => {
            let out = converted.as_mut_slice::<f64>();
            each(&tensor, |index, value| {
                finite(index, value)?;
                out[index] = value;
                Ok(())
            })?;
        }
        DType::I32 => {
            let out = converted.as_mut_slice::<i32>();
            each(&tensor, |index, value| {
                finite(index, value)?;
                // A cast saturates; it is exact if it can be undone.
                out[index] = value as i32;
                if f64::from(out[index]) == value { Ok(()) } else { Err(unfit(index, value)) }
            })?;
        }
        DType::U8 | DType::Bool => {
            let most = if dtype == DType::Bool { 1 } else { u8::MAX };
            let out = converted.bytes_mut();
            each(&tensor, |index, value| {
                finite(index, value)?;
                out[index] = value as u8;
                let exact = f64::from(out[index]) == value && out[index] <= most;
                if exact { Ok(()) } else { Err(unfit(index, value)) }
            })?;
        }
    }
    Ok(converted)
}

/// Calls `visit` with the index and value of each element, until it fails.
fn each(
    tensor: &Tensor,
    mut visit: impl FnMut(usize, f64) -> Result<(), DataError>,
) -> Result<(), DataError> {
    fn run<T: Copy + Into<f64>>(
        values: &[T],
        visit: &mut impl FnMut(usize, f64) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        values.iter().enumerate().try_for_each(|(index, &value)| visit(index, value.into()))
    }
    match tensor.dtype() {
        DType::F32 => run(tensor.as_slice::<f32>(), &mut visit),
        DType::F64 => run(tensor.as_slice::<f64>(), &mut visit),
        DType::I32 => run(tensor.as_slice::<i32>(), &mut visit),
        DType::U8 | DType::Bool => run(tensor.bytes(), &mut visit),
    }
}

/// Makes sure that every element is a label of `classes`. `row` gives the position in the file
/// of the sample at a position in `labels`.
///
/// # Errors
/// The first element that is not.
pub(super) fn check_labels(
    labels: &Tensor,
    classes: Classes,
    row: impl Fn(usize) -> usize,
    origin: &Origin,
) -> Result<(), DataError> {
    let width = labels.shape().iter().skip(1).product::<usize>().max(1);
    each(labels, |index, value| {
        if classes.admit(value) {
            return Ok(());
        }
        let fault = Fault::LabelOutOfRange { label: value as i64, classes: classes.count };
        Err(origin.error(row(index / width), index % width, width, fault))
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::data::raw::Places;

    fn raw(tensor: Tensor) -> RawField {
        let path = Some(PathBuf::from("test"));
        let origin = Origin { path, places: Places::Bytes { start: 16, size: 4 } };
        RawField { tensor, classes: None, origin }
    }

    fn spec(dtype: DType, shape: &[Option<usize>]) -> FieldSpec {
        FieldSpec { name: "x".into(), dtype, shape: shape.to_vec(), classes: None }
    }

    #[test]
    fn axes_of_size_one_come_and_go() {
        let (n, any) = (Some, None);
        assert_eq!(match_axes(&[8, 8], &[n(1), n(8), n(8)]), Some(vec![1, 8, 8]));
        assert_eq!(match_axes(&[1, 8, 8], &[n(8), any]), Some(vec![8, 8]));
        assert_eq!(match_axes(&[8, 8], &[any, any]), Some(vec![8, 8]));
        assert_eq!(match_axes(&[1], &[]), Some(vec![]));
        assert_eq!(match_axes(&[], &[n(1)]), Some(vec![1]));
        assert_eq!(match_axes(&[1, 8], &[any, any]), Some(vec![1, 8]));
        assert_eq!(match_axes(&[8, 8], &[n(64)]), None);
        assert_eq!(match_axes(&[8, 8], &[n(1), n(8), n(9)]), None);
        assert_eq!(match_axes(&[8, 8], &[n(3), n(8), n(8)]), None);
        assert_eq!(match_axes(&[2, 3], &[n(3), n(2)]), None);
    }

    #[test]
    fn a_shape_that_cannot_be_had_is_shown_beside_the_declared_one() {
        let tensor = Tensor::from_slice(&[2, 4], &[0_u8; 8]);
        let declared = spec(DType::U8, &[None, Some(1), Some(2), None]);
        let error = conform(raw(tensor), &declared).unwrap_err();
        assert_eq!(
            error.to_string(),
            "test: the field is declared u8[n, 1, 2, _], the data have shape [2, 4]"
        );
        let scalar = raw(Tensor::from_slice(&[], &[0_u8]));
        assert!(conform(scalar, &spec(DType::U8, &[None])).is_err());
        let sampleless = raw(Tensor::from_slice(&[1], &[0_u8]));
        assert!(conform(sampleless, &spec(DType::U8, &[])).is_err());
    }

    #[test]
    fn values_are_converted_if_the_declared_type_has_them() {
        let cases: [(DType, Tensor); 4] = [
            (DType::I32, Tensor::from_slice(&[2], &[0, 1])),
            (DType::F32, Tensor::from_slice(&[2], &[0.0_f32, 1.0])),
            (DType::F64, Tensor::from_slice(&[2], &[0.0_f64, 1.0])),
            (DType::U8, Tensor::from_slice(&[2], &[0_u8, 1])),
        ];
        for (_, from) in &cases {
            for (dtype, expected) in &cases {
                let converted = conform(raw(from.clone()), &spec(*dtype, &[None])).unwrap();
                assert_eq!(converted.tensor, *expected);
            }
            let truth = conform(raw(from.clone()), &spec(DType::Bool, &[None])).unwrap();
            assert_eq!(truth.tensor.bytes(), [0, 1]);
        }
    }

    #[test]
    fn values_that_the_declared_type_lacks_are_refused_with_their_place() {
        let cases: [(f64, DType); 7] = [
            (1.5, DType::I32),
            (2147483648.0, DType::I32),
            (-1.0, DType::U8),
            (256.0, DType::U8),
            (2.0, DType::Bool),
            (0.5, DType::Bool),
            (1e39, DType::F32),
        ];
        for (value, dtype) in cases {
            let tensor = Tensor::from_slice(&[2, 2], &[0.0, 1.0, 0.0, value]);
            let error = conform(raw(tensor), &spec(dtype, &[None, None])).unwrap_err();
            assert!(matches!(*error.fault, Fault::NotRepresentable { .. }), "{error}");
            assert!(
                error.to_string().starts_with("test, sample 1, element 1 (byte 28)"),
                "{error}"
            );
        }
    }

    #[test]
    fn floats_must_be_finite() {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for dtype in DType::ALL {
                let tensor = Tensor::from_slice(&[3], &[0.0, 1.0, value]);
                let error = conform(raw(tensor), &spec(dtype, &[None])).unwrap_err();
                assert!(matches!(*error.fault, Fault::NotFinite { .. }), "{error}");
                assert!(error.to_string().starts_with("test, sample 2 (byte 24)"), "{error}");
            }
        }
    }

    #[test]
    fn labels_must_be_below_the_number_of_classes() {
        let mut labels = spec(DType::I32, &[None]);
        labels.classes = Some(10.into());
        assert!(conform(raw(Tensor::from_slice(&[2], &[0, 9])), &labels).is_ok());
        for label in [-1, 10] {
            let error = conform(raw(Tensor::from_slice(&[2], &[0, label])), &labels).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "test, sample 1 (byte 20): label {label} is out of range: with 10 classes \
                     labels are 0 to 9"
                )
            );
        }
    }
}
