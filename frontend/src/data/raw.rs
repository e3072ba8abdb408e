//! What the readers of the several formats hand on, before it is made what a recipe declares.

use std::path::PathBuf;
use std::sync::Arc;

use cygnet_runtime::tensor::Tensor;

use super::error::{DataError, Fault, Place};

/// A tensor as a file holds it, the samples along its first axis, and where its values came from.
#[derive(Debug, Clone)]
pub(super) struct RawField {
    /// The values.
    pub(super) tensor: Tensor,
    /// The texts that stand for labels 0, 1, ..., if the file spelled them out.
    pub(super) classes: Option<Vec<String>>,
    /// Where the values came from.
    pub(super) origin: Origin,
}

/// Where the values of a field came from, so that a bad one can be shown to the user.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    /// The file; none if the values were generated.
    pub(super) path: Option<PathBuf>,
    /// How places in the file follow from places in the tensor.
    pub(super) places: Places,
}

/// How places in a file follow from places in a tensor.
#[derive(Debug, Clone)]
pub(super) enum Places {
    /// Elements of `size` bytes in row-major order from byte `start`.
    Bytes {
        /// Offset of the first element.
        start: u64,
        /// Bytes an element takes in the file.
        size: u64,
    },
    /// Sample `i` is on line `lines[i]`, its element `j` in the column `columns[j]`.
    Cells {
        /// Line of each sample.
        lines: Arc<Vec<u64>>,
        /// Names of the columns.
        columns: Vec<String>,
    },
    /// Only the position is known.
    Unknown,
}

impl Origin {
    /// An error about one value: element `element` of the file's sample `sample`, where samples
    /// have `width` elements.
    pub(super) fn error(
        &self,
        sample: usize,
        element: usize,
        width: usize,
        fault: Fault,
    ) -> DataError {
        let place = match &self.places {
            Places::Bytes { start, size } => {
                let index = sample as u64 * width as u64 + element as u64;
                Place::Sample { sample, element, offset: Some(start + index * size) }
            }
            Places::Cells { lines, columns } => {
                Place::Cell { line: lines[sample], column: columns[element].clone() }
            }
            Places::Unknown => Place::Sample { sample, element, offset: None },
        };
        self.whole(fault).at(place)
    }

    /// An error about the file as a whole.
    pub(super) fn whole(&self, fault: Fault) -> DataError {
        match &self.path {
            Some(path) => DataError::in_file(path, fault),
            None => DataError::new(fault),
        }
    }
}

/// The number of elements of a shape; none if a tensor of it cannot be addressed.
///
/// Extents of zero do not make up for others that overflow: whoever multiplies them in another
/// order, or by the size of an element first, must not overflow either.
pub(super) fn element_count(shape: &[usize]) -> Option<usize> {
    let widest = size_of::<u64>();
    shape.iter().try_fold(widest, |bytes, &extent| bytes.checked_mul(extent.max(1)))?;
    Some(shape.iter().product())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zero_does_not_hide_an_overflow() {
        assert_eq!(element_count(&[]), Some(1));
        assert_eq!(element_count(&[3, 0, 5]), Some(0));
        assert_eq!(element_count(&[usize::MAX / 8]), Some(usize::MAX / 8));
        for shape in [[usize::MAX / 4, 1], [usize::MAX / 4, 0], [0, usize::MAX], [1 << 32, 1 << 32]]
        {
            assert_eq!(element_count(&shape), None, "{shape:?}");
        }
    }
}
