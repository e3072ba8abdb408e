//! Kernels for x86-64 processors with AVX2 and FMA: 16 registers of 8 lanes.

use std::arch::x86_64::__m256;
use std::array;

use super::kernel::{self, Kernels, Tile};
use super::places::{self, Copy};
use crate::simd::avx2::F32x8;

sums! {
    __m256, "avx2,fma", ("ymm" 32 12 13 14),
    rows 6: [1 2 3 4 5 6];
    sums ["ymm0" 0 0 "ymm1" 0 1 "ymm2" 1 0 "ymm3" 1 1 "ymm4" 2 0 "ymm5" 2 1 "ymm6" 3 0 "ymm7" 3 1 "ymm8" 4 0 "ymm9" 4 1 "ymm10" 5 0 "ymm11" 5 1];
    others ["ymm12" "ymm13" "ymm14"]
}

#[target_feature(enable = "avx2,fma")]
unsafe fn outer<const ROWS: usize, const VECTORS: usize, const TABLES: bool>(tile: &Tile<f32>) {
    // SAFETY: by the caller's promise; this function has the features.
    unsafe {
        if VECTORS == 2 && tile.columns == 16 {
            let sums = sums::<ROWS, TABLES>(tile);
            let sums = array::from_fn(|row| sums[row].map(F32x8::from));
            kernel::write::<F32x8, ROWS, 2>(tile, sums, [8; 2]);
        } else {
            kernel::outer::<F32x8, ROWS, VECTORS, TABLES>(tile);
        }
    }
}

#[target_feature(enable = "avx2,fma")]
unsafe fn dot<const ROWS: usize, const COLUMNS: usize>(tile: &Tile<f32>) {
    // SAFETY: by the caller's promise; this function has the features.
    unsafe { kernel::dot::<F32x8, ROWS, COLUMNS>(tile) }
}

#[target_feature(enable = "avx2,fma")]
unsafe fn copy(
    source: *const f32,
    source_stride: isize,
    target: *mut f32,
    target_stride: isize,
    rows: usize,
    columns: usize,
) {
    // SAFETY: by the caller's promise; this function has the features.
    unsafe { kernel::copy::<F32x8>(source, source_stride, target, target_stride, rows, columns) }
}

#[target_feature(enable = "avx2,fma")]
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
        kernel::transpose::<F32x8>(source, source_stride, target, target_stride, rows, columns)
    }
}

#[target_feature(enable = "avx2,fma")]
unsafe fn along(copy: &Copy<'_, f32>) {
    // SAFETY: by the caller's promise; this function has the features.
    unsafe { places::along::<F32x8>(copy) }
}

#[target_feature(enable = "avx2,fma")]
unsafe fn across(copy: &Copy<'_, f32>) {
    // SAFETY: by the caller's promise; this function has the features.
    unsafe { places::across::<F32x8>(copy) }
}

/// Outer kernels for each number of rows and some numbers of vectors, with or without tables.
macro_rules! outer_tiles {
    ($tables:literal) => {
        outer_tiles! { $tables;
            1: 1 2 4 8;
            2: 1 2 4;
            3: 1 2;
            4: 1 2;
            5: 1 2;
            6: 1 2;
        }
    };
    ($tables:literal; $($rows:literal: $($vectors:literal)*;)*) => {
        &[$(&[$(outer::<$rows, $vectors, $tables>),*]),*]
    };
}

/// The largest tile, 6 x 16, keeps 12 of the 16 registers for sums, two for the right operand's
/// row and one for the left operand's element.
pub(super) static KERNELS: Kernels<f32> = Kernels {
    lanes: 8,
    outer: outer_tiles!(false),
    scattered: outer_tiles!(true),
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
        &[dot::<2, 1>, dot::<2, 2>, dot::<2, 3>, dot::<2, 4>],
        &[dot::<3, 1>, dot::<3, 2>, dot::<3, 3>],
    ],
    copy,
    transpose,
    along,
    across,
};
