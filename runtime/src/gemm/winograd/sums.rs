//! The transform of the sums of a [`WinogradGradient`] to gradients of kernels: `G^T m G`.

use std::ops::Range;

use super::taps::{self, TAPS};
use super::{ENOUGH_PIECES, WinogradGradient, filter};
use crate::cpu::Cpu;
use crate::gemm::plan::blocks;
use crate::gemm::vector::Vector;
use crate::simd::multiversion;

impl WinogradGradient {
    /// Pieces of the transform to taps.
    pub(crate) fn tap_pieces(&self) -> usize {
        (self.from * self.to / 1024).clamp(1, ENOUGH_PIECES).min(self.to.max(1))
    }

    /// Makes a piece of the kernels, `[to, from, 3, 3]`, of sums.
    ///
    /// # Safety
    /// The machine has the instructions; `sums` holds as many elements as
    /// [`WinogradGradient::elements`] says, and nobody uses the piece's part of `result` meanwhile.
    pub(crate) unsafe fn run_taps(
        &self,
        cpu: Cpu,
        sums: *const f32,
        result: *mut f32,
        piece: usize,
    ) {
        let end = |piece: usize| self.to * piece / self.tap_pieces();
        let taps = TapsOfPiece { shape: *self, rows: end(piece)..end(piece + 1), sums, result };
        // SAFETY: by the caller's promise.
        unsafe { transform_sums::address(cpu)(&raw const taps) };
    }
}

/// Sums to transform.
#[repr(C)]
struct TapsOfPiece {
    shape: WinogradGradient,
    rows: Range<usize>,
    sums: *const f32,
    result: *mut f32,
}

multiversion! {
    transform_sums(piece: *const TapsOfPiece) = taps_of;
}

/// Transforms the sums of a vector of input channels at a time.
#[inline(always)]
unsafe fn taps_of<V: Vector<Element = f32>>(piece: *const TapsOfPiece) {
    // SAFETY: by the promise to `run_taps`.
    unsafe {
        let TapsOfPiece { shape, rows, sums, result } = &*piece;
        let ([block_rows, block_columns], [_, column_blocks]) = (shape.block(), shape.blocks());
        let point_stride = shape.point_stride();
        let parts = shape.parts();
        // Block by block, since there all points lie side by side.
        for (first, channels) in blocks(shape.from, block_columns) {
            for row in rows.clone() {
                let block = row / block_rows * column_blocks + first / block_columns;
                let block = sums.wrapping_add(block * WinogradGradient::POINTS * point_stride);
                for channel in (0..channels).step_by(V::LANES) {
                    let source = block.wrapping_add(row % block_rows * block_columns + channel);
                    let zero = V::load_first(source, 0);
                    // By columns.
                    let mut columns = [[zero; 3]; 4];
                    for (j, column) in columns.iter_mut().enumerate() {
                        let mut m = [zero; 4];
                        for (i, m) in m.iter_mut().enumerate() {
                            let source = source.wrapping_add((4 * i + j) * point_stride);
                            *m = V::load(source);
                            for part in 1..parts {
                                *m = *m + V::load(source.wrapping_add(part * shape.part()));
                            }
                        }
                        *column = filter::of_sums(m);
                    }
                    let mut kernels = [zero; TAPS];
                    for i in 0..3 {
                        let row = filter::of_sums(filter::row(&columns, i));
                        for (j, value) in row.into_iter().enumerate() {
                            kernels[3 * i + j] = value;
                        }
                    }
                    let target = result.wrapping_add(TAPS * (row * shape.from + first + channel));
                    taps::store(kernels, target, V::LANES.min(channels - channel));
                }
            }
        }
    }
}
