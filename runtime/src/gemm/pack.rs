//! Copies of operands in scratch memory, in the order in which kernels read them.

use super::kernel::Kernels;
use super::vector::Element;

/// A matrix in memory.
#[derive(Clone, Copy)]
pub(super) struct Matrix<T> {
    /// Element (0, 0).
    pub start: *mut T,
    /// Elements between neighbouring rows.
    pub row_stride: isize,
    /// Elements between neighbouring columns.
    pub column_stride: isize,
}

impl<T: Element> Matrix<T> {
    /// The matrix whose first element is this one's (row, column).
    pub fn at(self, row: usize, column: usize) -> Matrix<T> {
        Matrix { start: self.element(row, column), ..self }
    }

    /// Address of an element.
    pub fn element(self, row: usize, column: usize) -> *mut T {
        let offset = row as isize * self.row_stride + column as isize * self.column_stride;
        self.start.wrapping_offset(offset)
    }

    /// The same elements with rows and columns swapped.
    pub fn transposed(self) -> Matrix<T> {
        Matrix { start: self.start, row_stride: self.column_stride, column_stride: self.row_stride }
    }
}

/// Copies a `rows x columns` matrix. Columns of the target are contiguous, with room for a
/// vector's lanes beyond the last one.
///
/// # Safety
/// All elements are valid, source and target do not overlap, and the processor has the kernels'
/// instructions.
pub(super) unsafe fn copy<T: Element>(
    source: Matrix<T>,
    target: Matrix<T>,
    rows: usize,
    columns: usize,
    kernels: &Kernels<T>,
) {
    debug_assert_eq!(target.column_stride, 1);
    // SAFETY: by the caller's promise.
    unsafe {
        if source.column_stride == 1 || columns == 1 {
            let (from, to) = (source.start, target.start);
            (kernels.copy)(from, source.row_stride, to, target.row_stride, rows, columns);
        } else if source.row_stride == 1 || rows == 1 {
            let (from, to) = (source.transposed(), target);
            (kernels.transpose)(
                from.start,
                from.row_stride,
                to.start,
                to.row_stride,
                columns,
                rows,
            );
        } else {
            scatter(source, target, rows, columns);
        }
    }
}

/// Copies a `rows x columns` matrix between any strides, element by element.
///
/// # Safety
/// All elements are valid, and source and target do not overlap.
pub(super) unsafe fn scatter<T: Element>(
    source: Matrix<T>,
    target: Matrix<T>,
    rows: usize,
    columns: usize,
) {
    for row in 0..rows {
        for column in 0..columns {
            // SAFETY: by the caller's promise.
            unsafe { *target.element(row, column) = *source.element(row, column) };
        }
    }
}
