//! Named tensors in an arena: validation, and conversion between a slot's layout and row-major.

use thiserror::Error;

use crate::dtype::DType;
use crate::program::Slot;
use crate::tensor::Tensor;

/// Why a tensor cannot be written to a slot.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SlotError {
    /// The element types differ.
    #[error("`{slot}` holds {expected}, but the tensor given has elements of {found}")]
    DType {
        /// Name of the slot.
        slot: String,
        /// The slot's element type.
        expected: DType,
        /// The tensor's.
        found: DType,
    },
    /// The shapes differ.
    #[error("`{slot}` has shape {expected:?}, but the tensor given has shape {found:?}")]
    Shape {
        /// Name of the slot.
        slot: String,
        /// The slot's extents.
        expected: Vec<usize>,
        /// The tensor's.
        found: Vec<usize>,
    },
}

impl Slot {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether elements follow each other in row-major order without gaps.
    pub fn is_row_major(&self) -> bool {
        let mut expected = 1;
        for (&extent, &stride) in self.shape.iter().zip(&self.strides).rev() {
            // The stride of an axis of length one is never used.
            if extent != 1 && stride != expected {
                return false;
            }
            expected *= extent;
        }
        true
    }

    /// Bytes from the slot's offset to the end of its last element; 0 without elements.
    pub fn span_bytes(&self) -> usize {
        if self.is_empty() {
            return 0;
        }
        let last: usize = self
            .shape
            .iter()
            .zip(&self.strides)
            .map(|(extent, stride)| (extent - 1) * stride)
            .sum();
        (last + 1) * self.dtype.size()
    }

    /// Checks that `tensor` has this slot's element type and shape.
    ///
    /// # Errors
    /// If it does not.
    pub fn accepts(&self, tensor: &Tensor) -> Result<(), SlotError> {
        if tensor.dtype() != self.dtype {
            let (expected, found) = (self.dtype, tensor.dtype());
            return Err(SlotError::DType { slot: self.name.clone(), expected, found });
        }
        if tensor.shape() != self.shape {
            let (expected, found) = (self.shape.clone(), tensor.shape().to_vec());
            return Err(SlotError::Shape { slot: self.name.clone(), expected, found });
        }
        Ok(())
    }

    /// Calls `copy(offset in the slot, offset in a row-major tensor)`, in bytes, for every run of
    /// elements that is contiguous in both, and returns the length of these runs in bytes.
    pub(crate) fn for_each_run(&self, mut copy: impl FnMut(usize, usize, usize)) {
        if self.is_empty() {
            return;
        }
        // The inner axes that are laid out as in row-major order form a run.
        let mut outer = self.shape.len();
        let mut run = 1;
        while outer > 0 && (self.shape[outer - 1] == 1 || self.strides[outer - 1] == run) {
            outer -= 1;
            run *= self.shape[outer];
        }
        let run_bytes = run * self.dtype.size();
        let mut index = vec![0; outer];
        for number in 0.. {
            let element: usize =
                index.iter().zip(&self.strides).map(|(i, stride)| i * stride).sum();
            copy(element * self.dtype.size(), number * run_bytes, run_bytes);
            // The next index in row-major order.
            let mut axis = outer;
            loop {
                if axis == 0 {
                    return;
                }
                axis -= 1;
                index[axis] += 1;
                if index[axis] < self.shape[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
    }
}
