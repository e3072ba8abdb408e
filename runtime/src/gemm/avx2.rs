//! Kernels for x86-64 processors with AVX2 and FMA: 16 registers of 8 lanes.

use std::arch::x86_64::__m256;

use super::kernel::{self, Kernels, Tile};
use super::places::{self, Copy};
use crate::simd::avx2::F32x8;

sums! {
    __m256, "avx2,fma", ("ymm" 32 12 13 14),
    rows 6: [1 2 3 4 5 6];
    sums ["ymm0" 0 0 "ymm1" 0 1 "ymm2" 1 0 "ymm3" 1 1 "ymm4" 2 0 "ymm5" 2 1 "ymm6" 3 0 "ymm7" 3 1 "ymm8" 4 0 "ymm9" 4 1 "ymm10" 5 0 "ymm11" 5 1];
    others ["ymm12" "ymm13" "ymm14"]
}

compiled!(F32x8, "avx2,fma");

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
    lanes: LANES,
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
    dot_terms: 200.0,
    copy,
    transpose,
    along,
    across,
};
