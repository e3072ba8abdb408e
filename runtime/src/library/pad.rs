//! Images with zeros around them.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{part, wanted_pieces};
use crate::cpu::Cpu;
use crate::simd::{FromPlaces, Vector, multiversion};

/// Images `[outer, rows, columns]` to `[outer, low + rows + high, low + columns + high]`.
///
/// Rows of images are short: a row is copied in a few masked vectors, zeros included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pad {
    /// Number of images.
    pub outer: usize,
    /// Rows and columns of an image.
    pub extents: [usize; 2],
    /// Rows above and columns before it.
    pub low: [usize; 2],
    /// Rows below and columns behind it.
    pub high: [usize; 2],
}

impl Pad {
    /// Rows and columns of a padded image.
    pub fn padded(&self) -> [usize; 2] {
        [0, 1].map(|axis| self.low[axis] + self.extents[axis] + self.high[axis])
    }

    /// Rows of all padded images.
    fn rows(&self) -> usize {
        self.outer * self.padded()[0]
    }

    pub(super) fn pieces(&self) -> usize {
        wanted_pieces(self.rows() * self.padded()[1]).min(self.rows().max(1))
    }

    /// Computes a piece.
    ///
    /// # Safety
    /// The machine has the instructions; the pointers lead to as many elements as the extents say;
    /// nobody writes the images or uses the piece's part of the result meanwhile.
    pub(super) unsafe fn run(&self, cpu: Cpu, source: *const f32, result: *mut f32, piece: usize) {
        let rows = part(self.rows(), self.pieces(), piece);
        let rows = Rows { shape: *self, rows, source, result };
        // SAFETY: by the caller's promise.
        unsafe { copy_rows::address(cpu)(&raw const rows) };
    }
}

/// Rows of a result.
#[repr(C)]
struct Rows {
    shape: Pad,
    rows: Range<usize>,
    source: *const f32,
    result: *mut f32,
}

multiversion! {
    copy_rows(rows: *const Rows) = rows_of;
}

#[inline(always)]
unsafe fn rows_of<V: Vector + FromPlaces<Lane = f32>>(rows: *const Rows) {
    // SAFETY: by the promise to `Pad::run`: lanes that are read lie in a row of the source, and
    // those that are written in a row of the result.
    unsafe {
        let Rows { shape, rows, source, result } = &*rows;
        let ([height, width], [images_rows, columns]) = (shape.padded(), shape.extents);
        let zero = V::load_first(*source, 0);
        let (mut image, mut y) = (rows.start / height, rows.start % height);
        for row in rows.clone() {
            let target = result.wrapping_add(row * width);
            let inside = y.checked_sub(shape.low[0]).filter(|&y| y < images_rows);
            let source = inside.map(|y| {
                source.wrapping_add((image * images_rows + y) * columns).wrapping_sub(shape.low[1])
            });
            for start in (0..width).step_by(V::LANES) {
                let first = shape.low[1].saturating_sub(start).min(V::LANES);
                let end = (shape.low[1] + columns).saturating_sub(start).min(V::LANES);
                let vector = match source {
                    Some(source) if first < end => {
                        zero.with(source.wrapping_add(start + first), first, end)
                    }
                    _ => zero,
                };
                vector.store_first(target.wrapping_add(start), V::LANES.min(width - start));
            }
            y += 1;
            if y == height {
                (image, y) = (image + 1, 0);
            }
        }
    }
}
