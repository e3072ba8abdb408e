//! Kernels for x86-64 processors with AVX-512: 32 registers of 16 lanes.

use std::arch::x86_64::__m512;

use super::kernel::{self, Kernels, Tile};
use super::places::{self, Copy};
use crate::simd::avx512::F32x16;

sums! {
    __m512, "avx512f", ("zmm" 64 28 29 30),
    rows 14: [1 2 3 4 5 6 7 8 9 10 11 12 13 14];
    sums ["zmm0" 0 0 "zmm1" 0 1 "zmm2" 1 0 "zmm3" 1 1 "zmm4" 2 0 "zmm5" 2 1 "zmm6" 3 0 "zmm7" 3 1 "zmm8" 4 0 "zmm9" 4 1 "zmm10" 5 0 "zmm11" 5 1 "zmm12" 6 0 "zmm13" 6 1 "zmm14" 7 0 "zmm15" 7 1 "zmm16" 8 0 "zmm17" 8 1 "zmm18" 9 0 "zmm19" 9 1 "zmm20" 10 0 "zmm21" 10 1 "zmm22" 11 0 "zmm23" 11 1 "zmm24" 12 0 "zmm25" 12 1 "zmm26" 13 0 "zmm27" 13 1];
    others ["zmm28" "zmm29" "zmm30"]
}

compiled!(F32x16, "avx512f,avx512dq,avx512vl,avx512bw");

/// Outer kernels for each number of rows and some numbers of vectors, with or without tables.
macro_rules! outer_tiles {
    ($tables:literal) => {
        outer_tiles! { $tables;
            1: 1 2 4 8 16;
            2: 1 2 4 8;
            3: 1 2 4 8;
            4: 1 2 4;
            5: 1 2 4;
            6: 1 2 4;
            7: 1 2;
            8: 1 2;
            9: 1 2;
            10: 1 2;
            11: 1 2;
            12: 1 2;
            13: 1 2;
            14: 1 2;
        }
    };
    ($tables:literal; $($rows:literal: $($vectors:literal)*;)*) => {
        &[$(&[$(outer::<$rows, $vectors, $tables>),*]),*]
    };
}

/// The largest tile, 14 x 32, keeps 28 of the 32 registers for sums, two for the right operand's
/// row and one for the left operand's element. Few rows need many vectors, to have the eight
/// independent sums in flight that two multiply-adds a cycle of four cycles' latency ask for.
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
    dot_terms: 48.0,
    copy,
    transpose,
    along,
    across,
};
