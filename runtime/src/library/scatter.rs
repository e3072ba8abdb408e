//! Scattering: rows go where indices say.

use std::ops::Range;
use std::slice;

use serde::{Deserialize, Serialize};

use super::element::Element;
use super::{part, wanted_pieces};

/// What happens to updates of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ScatterKind {
    /// They are added, in the order of their indices.
    Add,
    /// The last one stays.
    Set,
}

/// Indices `[batch, count]` and updates `[batch, count, width]` to a result `[batch, extent,
/// width]`: row `indices[b, i]` of matrix `b` gets update `[b, i]`. Rows without updates are 0.
///
/// If an index lies outside `0..extent`, all of its matrix is NaN for floats, so that it is
/// noticed; for integers the update is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Scatter {
    /// What happens to updates of one row.
    pub kind: ScatterKind,
    /// Number of matrices.
    pub batch: usize,
    /// Rows of a matrix of the result.
    pub extent: usize,
    /// Updates for each matrix.
    pub count: usize,
    /// Elements of a row.
    pub width: usize,
}

/// Elements of a cache line of f32: pieces that share rows do not share one.
const LINE: usize = 16;

impl Scatter {
    /// Elements of the result.
    pub(super) fn elements(&self) -> usize {
        self.batch * self.extent * self.width
    }

    /// Into how many parts matrices, rows and columns of the result are cut.
    pub(super) fn parts(&self) -> [usize; 3] {
        let wanted = wanted_pieces(self.elements().max(self.batch * self.count * self.width));
        let batches = self.batch.clamp(1, wanted);
        let rows = self.extent.clamp(1, wanted.div_ceil(batches));
        let columns = self.width.div_ceil(LINE).clamp(1, wanted.div_ceil(batches * rows));
        [batches, rows, columns]
    }

    /// The matrices, rows and columns of a piece.
    fn ranges(&self, piece: usize) -> [Range<usize>; 3] {
        let [batches, rows, columns] = self.parts();
        let lines = part(self.width.div_ceil(LINE), columns, piece % columns);
        [
            part(self.batch, batches, piece / (rows * columns)),
            part(self.extent, rows, piece / columns % rows),
            lines.start * LINE..(lines.end * LINE).min(self.width),
        ]
    }

    /// Computes a piece.
    ///
    /// # Safety
    /// The pointers lead to as many elements as the extents say; nobody writes the operands or
    /// uses the piece's part of the result meanwhile.
    pub(super) unsafe fn run<T: Element>(
        &self,
        indices: *const i32,
        updates: *const T,
        result: *mut T,
        piece: usize,
    ) {
        let &Scatter { kind, extent, count, width, .. } = self;
        let [batches, rows, columns] = self.ranges(piece);
        for matrix in batches {
            // SAFETY: the elements lie in the operands and in the piece's part of the result, by
            // the caller's promise; at most one of the rows is borrowed at a time.
            let row = |row: usize| unsafe {
                let start = (matrix * extent + row) * width + columns.start;
                slice::from_raw_parts_mut(result.add(start), columns.len())
            };
            // SAFETY: as above.
            let update = |number: usize| unsafe {
                let start = (matrix * count + number) * width + columns.start;
                slice::from_raw_parts(updates.add(start), columns.len())
            };
            // SAFETY: as above.
            let indices = unsafe { slice::from_raw_parts(indices.add(matrix * count), count) };
            let fill = |value: T| {
                if columns.len() < width {
                    rows.clone().for_each(|number| row(number).fill(value));
                    return;
                }
                // SAFETY: as above; whole rows lie one after another.
                let all = unsafe {
                    let start = result.add((matrix * extent + rows.start) * width);
                    slice::from_raw_parts_mut(start, rows.len() * width)
                };
                all.fill(value);
            };
            fill(T::ZERO);
            let mut all_inside = true;
            for (number, &index) in indices.iter().enumerate() {
                let index = index as u32 as usize;
                all_inside &= index < extent;
                if !rows.contains(&index) {
                    continue;
                }
                let (target, update) = (row(index), update(number));
                match kind {
                    ScatterKind::Set => target.copy_from_slice(update),
                    ScatterKind::Add => {
                        for (sum, &term) in target.iter_mut().zip(update) {
                            *sum = sum.plus(term);
                        }
                    }
                }
            }
            if let (false, Some(missing)) = (all_inside, T::MISSING) {
                fill(missing);
            }
        }
    }
}
