//! Kernels for x86-64 processors with AVX-512: 32 registers of 16 lanes.

use super::kernel::{self, Kernels, Tile};
use crate::simd::avx512::F32x16;

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw")]
unsafe fn outer<const ROWS: usize, const VECTORS: usize>(tile: &Tile<f32>) {
    // SAFETY: by the caller's promise; this function has the features.
    unsafe { kernel::outer::<F32x16, ROWS, VECTORS>(tile) }
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw")]
unsafe fn dot<const ROWS: usize, const COLUMNS: usize>(tile: &Tile<f32>) {
    // SAFETY: by the caller's promise; this function has the features.
    unsafe { kernel::dot::<F32x16, ROWS, COLUMNS>(tile) }
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw")]
unsafe fn transpose(
    source: *const f32,
    source_stride: isize,
    target: *mut f32,
    target_stride: isize,
    rows: usize,
    columns: usize,
) {
    // SAFETY: by the caller's promise; this function has the features.
    unsafe {
        kernel::transpose::<F32x16>(source, source_stride, target, target_stride, rows, columns)
    }
}

/// The largest tile, 14 x 32, keeps 28 of the 32 registers for sums, two for the right operand's
/// row and one for the left operand's element. Few rows need many vectors, to have the eight
/// independent sums in flight that two multiply-adds a cycle of four cycles' latency ask for.
pub(super) static KERNELS: Kernels<f32> = Kernels {
    lanes: 16,
    outer: &[
        &[outer::<1, 1>, outer::<1, 2>, outer::<1, 4>, outer::<1, 8>, outer::<1, 16>],
        &[outer::<2, 1>, outer::<2, 2>, outer::<2, 4>, outer::<2, 8>],
        &[outer::<3, 1>, outer::<3, 2>, outer::<3, 4>, outer::<3, 8>],
        &[outer::<4, 1>, outer::<4, 2>, outer::<4, 4>],
        &[outer::<5, 1>, outer::<5, 2>, outer::<5, 4>],
        &[outer::<6, 1>, outer::<6, 2>, outer::<6, 4>],
        &[outer::<7, 1>, outer::<7, 2>],
        &[outer::<8, 1>, outer::<8, 2>],
        &[outer::<9, 1>, outer::<9, 2>],
        &[outer::<10, 1>, outer::<10, 2>],
        &[outer::<11, 1>, outer::<11, 2>],
        &[outer::<12, 1>, outer::<12, 2>],
        &[outer::<13, 1>, outer::<13, 2>],
        &[outer::<14, 1>, outer::<14, 2>],
    ],
    dot: &[
        &[
            dot::<1, 1>,
            dot::<1, 2>,
            dot::<1, 3>,
            dot::<1, 4>,
            dot::<1, 5>,
            dot::<1, 6>,
            dot::<1, 7>,
            dot::<1, 8>,
        ],
        &[
            dot::<2, 1>,
            dot::<2, 2>,
            dot::<2, 3>,
            dot::<2, 4>,
            dot::<2, 5>,
            dot::<2, 6>,
            dot::<2, 7>,
            dot::<2, 8>,
        ],
        &[dot::<3, 1>, dot::<3, 2>, dot::<3, 3>, dot::<3, 4>, dot::<3, 5>, dot::<3, 6>],
        &[dot::<4, 1>, dot::<4, 2>, dot::<4, 3>, dot::<4, 4>, dot::<4, 5>, dot::<4, 6>],
    ],
    transpose,
};
