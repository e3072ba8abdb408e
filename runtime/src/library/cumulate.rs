//! Cumulation: running sums, products and maxima.

use std::slice;

use serde::{Deserialize, Serialize};

use super::element::Element;
use super::{part, wanted_pieces};

/// How elements are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum CumulateKind {
    /// Sum.
    Sum,
    /// Product.
    Product,
    /// Largest element; NaN from the first NaN on.
    Max,
}

/// A tensor `[outer, length, inner]` to one of the same shape: each element becomes the
/// combination of all elements before it along the middle axis, itself included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cumulate {
    /// How elements are combined.
    pub kind: CumulateKind,
    /// Whether to start at the end.
    pub reverse: bool,
    /// Whether each element itself is left out; the first result is that of no elements.
    pub exclusive: bool,
    /// Extents before the axis.
    pub outer: usize,
    /// Extent of the axis.
    pub length: usize,
    /// Extents behind the axis.
    pub inner: usize,
}

/// Columns that are cumulated side by side.
const COLUMNS: usize = 32;

impl Cumulate {
    /// Elements of the operand and of the result.
    pub(super) fn elements(&self) -> usize {
        self.outer * self.length * self.inner
    }

    /// Blocks of columns that do not depend on each other.
    fn blocks(&self) -> usize {
        self.outer * self.inner.div_ceil(COLUMNS)
    }

    /// Number of pieces.
    pub(super) fn pieces(&self) -> usize {
        wanted_pieces(self.elements()).min(self.blocks().max(1))
    }

    /// Computes a piece.
    ///
    /// # Safety
    /// The pointers lead to as many elements as the extents say; nobody writes the operand or
    /// uses the piece's part of the result meanwhile.
    pub(super) unsafe fn run<T: Element>(&self, operand: *const T, result: *mut T, piece: usize) {
        let &Cumulate { kind, length, inner, .. } = self;
        let across = inner.div_ceil(COLUMNS).max(1);
        for block in part(self.blocks(), self.pieces(), piece) {
            let first = block % across * COLUMNS;
            let columns = COLUMNS.min(inner - first);
            let mut running = [T::identity(kind); COLUMNS];
            for step in 0..length {
                let place = if self.reverse { length - 1 - step } else { step };
                let start = (block / across * length + place) * inner + first;
                // SAFETY: the row lies in both tensors, by the caller's promise, and only this
                // piece uses it.
                let (from, to) = unsafe {
                    let from = slice::from_raw_parts(operand.add(start), columns);
                    (from, slice::from_raw_parts_mut(result.add(start), columns))
                };
                for ((to, &from), running) in to.iter_mut().zip(from).zip(&mut running) {
                    let next = T::combine(kind, *running, from.widen());
                    *to = T::narrow(if self.exclusive { *running } else { next });
                    *running = next;
                }
            }
        }
    }
}
