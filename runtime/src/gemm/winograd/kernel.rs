//! The transform of kernels, in panels that micro-kernels read from end to end.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{ENOUGH_PIECES, filter, point_stride, taps};
use crate::cpu::Cpu;
use crate::gemm::vector::Vector;
use crate::simd::multiversion;

/// Channels of the result in a panel of transformed kernels: two vectors of the instruction set that has the
/// widest, which is what its micro-kernels read from end to end.
pub const KERNEL_PANEL: usize = 32;

/// Kernels of 3 x 3 taps, `[to, from, 3, 3]`, transformed to panels of channels of the result,
/// `[to / 32, from, 32]` for each point. The last panel may have channels that mean nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WinogradKernel {
    /// Channels of the result.
    pub to: usize,
    /// Channels of the input.
    pub from: usize,
    /// Whether kernels lie as `[from, to, 3, 3]`, and windows meet them from their other end:
    /// the gradient of a convolution by its input uses the kernels of the convolution.
    pub turned: bool,
    /// Rows and columns of a tile of the result: 2 or 4.
    pub tile: usize,
}

impl WinogradKernel {
    /// Panels of channels.
    pub fn panels(&self) -> usize {
        self.to.div_ceil(KERNEL_PANEL)
    }

    /// Number of kernels.
    pub fn kernels(&self) -> usize {
        self.to * self.from
    }

    /// Elements of a transformed kernel.
    pub fn points(&self) -> usize {
        (self.tile + 2) * (self.tile + 2)
    }

    /// Elements from a point to the next.
    pub fn point_stride(&self) -> usize {
        point_stride(self.panels() * self.from * KERNEL_PANEL)
    }

    /// Elements of the transformed kernels.
    pub fn elements(&self) -> usize {
        self.points() * self.point_stride()
    }

    pub(crate) fn pieces(&self) -> usize {
        (self.kernels() / 1024).clamp(1, ENOUGH_PIECES).min(self.from.max(1))
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
        let end = |piece: usize| self.from * piece / self.pieces();
        let channels = end(piece)..end(piece + 1);
        let kernels = KernelsOfPiece { shape: *self, channels, source, target };
        // SAFETY: by the caller's promise.
        unsafe { transform_kernels::address(cpu)(&raw const kernels) };
    }
}

/// Kernels to transform.
#[repr(C)]
struct KernelsOfPiece {
    shape: WinogradKernel,
    /// Channels of the input.
    channels: Range<usize>,
    source: *const f32,
    target: *mut f32,
}

multiversion! {
    transform_kernels(kernels: *const KernelsOfPiece) = kernels_of;
}

/// Transforms kernels, those of a vector of channels of the result at a time: `G g G^T`.
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
    let KernelsOfPiece { shape, channels, .. } = kernels;
    // SAFETY: by the promise to `WinogradKernel::run_piece`.
    unsafe {
        // Along the kernels as they lie.
        if shape.turned {
            for from in channels.clone() {
                for to in (0..shape.to).step_by(V::LANES) {
                    transform::<V, SIDE>(kernels, to, from);
                }
            }
        } else {
            for to in (0..shape.to).step_by(V::LANES) {
                for from in channels.clone() {
                    transform::<V, SIDE>(kernels, to, from);
                }
            }
        }
    }
}

/// Transforms the kernels from one channel to a vector of them, which is a part of a panel.
#[inline(always)]
unsafe fn transform<V: Vector<Element = f32>, const SIDE: usize>(
    kernels: &KernelsOfPiece,
    to: usize,
    from: usize,
) {
    let KernelsOfPiece { shape, source, target, .. } = kernels;
    let &WinogradKernel { to: all_to, from: all_from, turned, .. } = shape;
    let (to_stride, from_stride) = if turned { (9, 9 * all_to) } else { (9 * all_from, 9) };
    let source = source.wrapping_add(to * to_stride + from * from_stride);
    let panel = to / KERNEL_PANEL * all_from + from;
    let target = target.wrapping_add(panel * KERNEL_PANEL + to % KERNEL_PANEL);
    // SAFETY: by the promise to `WinogradKernel::run_piece`; panels are whole vectors.
    unsafe {
        let mut kernel = taps::load::<V>(source, to_stride, V::LANES.min(all_to - to));
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
                point.store(target.wrapping_add((SIDE * i + j) * shape.point_stride()));
            }
        }
    }
}
