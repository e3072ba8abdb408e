//! Sorting: the order of the elements of rows.

use std::slice;

use serde::{Deserialize, Serialize};

use super::element::Element;
use super::{part, wanted_pieces};

/// Rows `[rows, length]` to positions `[rows, kept]` (i32): those of the first `kept` elements of
/// each row in order. Equal elements stay in the order of their positions; NaN counts as the
/// largest of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sort {
    /// Whether the largest element comes first.
    pub descending: bool,
    /// Number of rows.
    pub rows: usize,
    /// Elements of a row.
    pub length: usize,
    /// Positions that are wanted, at most `length`.
    pub kept: usize,
}

impl Sort {
    /// Number of pieces. A comparison costs more than moving an element, so pieces are smaller.
    pub(super) fn pieces(&self) -> usize {
        wanted_pieces(self.rows * self.length * 8).min(self.rows.max(1))
    }

    /// Bytes for the positions of a row, if not all of them are kept.
    pub(super) fn scratch_bytes(&self) -> usize {
        if self.kept < self.length { self.length * size_of::<i32>() } else { 0 }
    }

    /// Computes a piece.
    ///
    /// # Safety
    /// The pointers lead to as many elements as the extents say, `scratch` to as many bytes as
    /// [`Sort::scratch_bytes`] says; nobody writes the operand or uses scratch memory or the
    /// piece's part of the result meanwhile.
    pub(super) unsafe fn run<T: Element>(
        &self,
        operand: *const T,
        result: *mut i32,
        scratch: *mut i32,
        piece: usize,
    ) {
        let &Sort { descending, length, kept, .. } = self;
        for row in part(self.rows, self.pieces(), piece) {
            // SAFETY: the rows lie in the tensors, by the caller's promise, and only this piece
            // uses them.
            let (elements, result) = unsafe {
                let elements = slice::from_raw_parts(operand.add(row * length), length);
                (elements, slice::from_raw_parts_mut(result.add(row * kept), kept))
            };
            // Positions break ties, so an unstable sort, which needs no memory, gives the order
            // that a stable one would.
            let compare = |a: &i32, b: &i32| {
                let order = elements[*a as usize].order(elements[*b as usize]);
                let order = if descending { order.reverse() } else { order };
                order.then(a.cmp(b))
            };
            if kept == length {
                number(result);
                result.sort_unstable_by(compare);
                continue;
            }
            // SAFETY: as above.
            let positions = unsafe { slice::from_raw_parts_mut(scratch, length) };
            number(positions);
            positions.select_nth_unstable_by(kept, compare);
            positions[..kept].sort_unstable_by(compare);
            result.copy_from_slice(&positions[..kept]);
        }
    }
}

/// 0, 1, 2, ...
fn number(positions: &mut [i32]) {
    for (position, place) in (0..).zip(positions) {
        *place = position;
    }
}
