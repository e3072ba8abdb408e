//! The transform of kernels, in panels that micro-kernels read from end to end.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{ENOUGH_PIECES, filter, point_stride, taps};
use crate::cpu::Cpu;
use crate::gemm::vector::Vector;
use crate::simd::multiversion;

/// Rows of a panel of transformed kernels: a height that micro-kernels of all instruction sets
/// divide well, so that they read kernels from end to end.
pub const KERNEL_PANEL: usize = 12;

/// Kernels of 3 x 3 taps, `[rows, depth, 3, 3]`, transformed to panels of rows,
/// `[rows / 12, depth, 12]` for each point. The last panel may have rows that mean nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WinogradKernel {
    /// Channels of the result.
    pub rows: usize,
    /// Channels of the input.
    pub depth: usize,
    /// Whether kernels lie as `[depth, rows, 3, 3]`, and windows meet them from their other end:
    /// the gradient of a convolution by its input uses the kernels of the convolution.
    pub turned: bool,
    /// Rows and columns of a tile of the result: 2 or 4.
    pub tile: usize,
}

impl WinogradKernel {
    /// Panels of rows.
    pub fn panels(&self) -> usize {
        self.rows.div_ceil(KERNEL_PANEL)
    }

    /// Number of kernels.
    pub fn kernels(&self) -> usize {
        self.rows * self.depth
    }

    /// Elements of a transformed kernel.
    pub fn points(&self) -> usize {
        (self.tile + 2) * (self.tile + 2)
    }

    /// Elements from a point to the next.
    pub fn point_stride(&self) -> usize {
        point_stride(self.panels() * self.depth * KERNEL_PANEL)
    }

    /// Elements of the transformed kernels.
    pub fn elements(&self) -> usize {
        self.points() * self.point_stride()
    }

    pub(crate) fn pieces(&self) -> usize {
        (self.kernels() / 1024).clamp(1, ENOUGH_PIECES).min(self.lines().max(1))
    }

    /// What pieces have some of: panels, or what panels have one column of. Either way a piece reads
    /// kernels that are neighbours.
    fn lines(&self) -> usize {
        if self.turned { self.depth } else { self.panels() }
    }

    /// Transforms the kernels of a piece.
    ///
    /// # Safety
    /// The machine has the instructions; `source` holds the kernels and `target` has room for the
    /// transformed ones, whose part nobody uses meanwhile.
    pub(crate) unsafe fn run_piece(
        &self,
        cpu: Cpu,
        source: *const f32,
        target: *mut f32,
        piece: usize,
    ) {
        let end = |piece: usize| self.lines() * piece / self.pieces();
        let lines = end(piece)..end(piece + 1);
        let kernels = KernelsOfPiece { shape: *self, lines, source, target };
        // SAFETY: by the caller's promise.
        unsafe { transform_kernels::address(cpu)(&raw const kernels) };
    }
}

/// Kernels to transform.
#[repr(C)]
struct KernelsOfPiece {
    shape: WinogradKernel,
    lines: Range<usize>,
    source: *const f32,
    target: *mut f32,
}

multiversion! {
    transform_kernels(kernels: *const KernelsOfPiece) = kernels_of;
}

/// Transforms kernels, those of a vector of rows at a time: `G g G^T`.
#[inline(always)]
unsafe fn kernels_of<V: Vector<Element = f32>>(kernels: *const KernelsOfPiece) {
    // SAFETY: by the promise to `WinogradKernel::run_piece`.
    unsafe {
        match (*kernels).shape.tile {
            2 => kernels_by::<V, 4>(&*kernels),
            _ => kernels_by::<V, 6>(&*kernels),
        }
    }
}

/// The same for tiles with so many inputs along a side.
#[inline(always)]
unsafe fn kernels_by<V: Vector<Element = f32>, const SIDE: usize>(kernels: &KernelsOfPiece) {
    let KernelsOfPiece { shape, lines, .. } = kernels;
    // SAFETY: by the promise to `WinogradKernel::run_piece`.
    unsafe {
        if shape.turned {
            for column in lines.clone() {
                for panel in 0..shape.panels() {
                    transform::<V, SIDE>(kernels, panel, column);
                }
            }
        } else {
            for panel in lines.clone() {
                for column in 0..shape.depth {
                    transform::<V, SIDE>(kernels, panel, column);
                }
            }
        }
    }
}

/// Transforms the kernels of a column of a panel.
#[inline(always)]
unsafe fn transform<V: Vector<Element = f32>, const SIDE: usize>(
    kernels: &KernelsOfPiece,
    panel: usize,
    column: usize,
) {
    let KernelsOfPiece { shape, source, target, .. } = kernels;
    let WinogradKernel { rows, depth, turned, .. } = *shape;
    let (row_stride, column_stride) = if turned { (9, 9 * rows) } else { (9 * depth, 9) };
    let height = KERNEL_PANEL.min(rows - panel * KERNEL_PANEL);
    for row in (0..height).step_by(V::LANES) {
        let count = V::LANES.min(height - row);
        let first = (panel * KERNEL_PANEL + row) * row_stride + column * column_stride;
        let source = source.wrapping_add(first);
        let target = target.wrapping_add((panel * depth + column) * KERNEL_PANEL + row);
        // SAFETY: by the promise to `WinogradKernel::run_piece`.
        unsafe {
            let mut kernel = taps::load::<V>(source, row_stride, count);
            if turned {
                kernel.reverse();
            }
            // By columns.
            let mut columns = [[kernel[0]; SIDE]; 3];
            for (j, column) in columns.iter_mut().enumerate() {
                let taps = [kernel[j], kernel[3 + j], kernel[6 + j]];
                *column = filter::of_kernel::<V, SIDE>(taps);
            }
            for i in 0..SIDE {
                let points = filter::of_kernel::<V, SIDE>(filter::row(&columns, i));
                for (j, point) in points.into_iter().enumerate() {
                    let to = target.wrapping_add((SIDE * i + j) * shape.point_stride());
                    point.store_first(to, count);
                }
            }
        }
    }
}
