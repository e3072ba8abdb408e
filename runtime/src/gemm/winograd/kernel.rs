//! The transform of kernels, in panels that micro-kernels read from end to end.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{ENOUGH_PIECES, filter};
use crate::cpu::Cpu;
use crate::gemm::vector::Vector;
use crate::simd::{MAX_LANES, multiversion};

/// Rows of a panel of transformed kernels: a height that micro-kernels of all instruction sets
/// divide well, so that they read kernels from end to end.
pub const KERNEL_PANEL: usize = 12;

/// Kernels of 3 x 3 taps, `[rows, depth, 3, 3]`, transformed to panels of rows,
/// `[points, rows / 12, depth, 12]`. The last panel may have rows that mean nothing.
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

    /// Elements of the transformed kernels.
    pub fn elements(&self) -> usize {
        self.points() * self.panels() * self.depth * KERNEL_PANEL
    }

    pub(crate) fn pieces(&self) -> usize {
        (self.kernels() / 1024).clamp(1, ENOUGH_PIECES).min(self.panels().max(1))
    }

    /// The panels of a piece.
    fn part(&self, piece: usize) -> Range<usize> {
        let end = |piece: usize| self.panels() * piece / self.pieces();
        end(piece)..end(piece + 1)
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
        let kernels = KernelsOfPiece { shape: *self, panels: self.part(piece), source, target };
        // SAFETY: by the caller's promise.
        unsafe { transform_kernels::address(cpu)(&raw const kernels) };
    }
}

/// Kernels to transform.
#[repr(C)]
struct KernelsOfPiece {
    shape: WinogradKernel,
    panels: Range<usize>,
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
    let KernelsOfPiece { shape, panels, source, target } = kernels;
    let WinogradKernel { rows, depth, turned, .. } = *shape;
    let (row_stride, depth_stride) = if turned { (9, 9 * rows) } else { (9 * depth, 9) };
    let mut offsets = [0i32; MAX_LANES];
    for (lane, offset) in offsets.iter_mut().enumerate() {
        *offset = (lane * row_stride) as i32;
    }
    let point_stride = shape.panels() * depth * KERNEL_PANEL;
    for panel in panels.clone() {
        let height = KERNEL_PANEL.min(rows - panel * KERNEL_PANEL);
        for row in (0..height).step_by(V::LANES) {
            for depth_index in 0..depth {
                let count = V::LANES.min(height - row);
                let first = (panel * KERNEL_PANEL + row) * row_stride + depth_index * depth_stride;
                let source = source.wrapping_add(first);
                let place = (panel * depth + depth_index) * KERNEL_PANEL + row;
                let target = target.wrapping_add(place);
                // SAFETY: by the promise to `WinogradKernel::run_piece`.
                unsafe {
                    let zero = V::load_first(source, 0);
                    // By columns.
                    let mut columns = [[zero; SIDE]; 3];
                    for (j, column) in columns.iter_mut().enumerate() {
                        let mut taps = [zero; 3];
                        for (i, tap) in taps.iter_mut().enumerate() {
                            let place = if turned { 8 - (3 * i + j) } else { 3 * i + j };
                            let source = source.wrapping_add(place);
                            *tap = zero.gather(source, offsets.as_ptr(), count);
                        }
                        *column = filter::of_kernel::<V, SIDE>(taps);
                    }
                    for i in 0..SIDE {
                        let points = filter::of_kernel::<V, SIDE>(filter::row(&columns, i));
                        for (j, point) in points.into_iter().enumerate() {
                            let to = target.wrapping_add((SIDE * i + j) * point_stride);
                            point.store_first(to, count);
                        }
                    }
                }
            }
        }
    }
}
