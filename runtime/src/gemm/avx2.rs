//! Kernels for x86-64 processors with AVX2 and FMA: 16 registers of 8 lanes.

use std::arch::x86_64::*;
use std::array;

use super::kernel::{self, Kernels, Tile};
use super::vector::Vector;

/// 8 single-precision lanes.
#[derive(Clone, Copy)]
struct F32x8(__m256);

// The methods are compiled into the functions below, which have the features. No SAFETY comment
// repeats it: every intrinsic needs the feature, and loads and stores need what the trait says.
impl Vector for F32x8 {
    type Element = f32;
    type Square = [F32x8; 8];
    type Mask = __m256i;
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn mask(lanes: usize) -> __m256i {
        // SAFETY: see above.
        unsafe {
            let numbers = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            _mm256_cmpgt_epi32(_mm256_set1_epi32(lanes as i32), numbers)
        }
    }

    #[inline(always)]
    unsafe fn zero() -> F32x8 {
        // SAFETY: see above.
        F32x8(unsafe { _mm256_setzero_ps() })
    }

    #[inline(always)]
    unsafe fn splat(from: *const f32) -> F32x8 {
        // SAFETY: see above.
        F32x8(unsafe { _mm256_set1_ps(*from) })
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> F32x8 {
        // SAFETY: see above.
        F32x8(unsafe { _mm256_loadu_ps(from) })
    }

    #[inline(always)]
    unsafe fn load_masked(from: *const f32, mask: __m256i) -> F32x8 {
        // SAFETY: see above; lanes outside the mask are not accessed.
        F32x8(unsafe { _mm256_maskload_ps(from, mask) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: see above.
        unsafe { _mm256_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn store_masked(self, to: *mut f32, mask: __m256i) {
        // SAFETY: see above; lanes outside the mask are not accessed.
        unsafe { _mm256_maskstore_ps(to, mask, self.0) }
    }

    #[inline(always)]
    unsafe fn add(self, other: F32x8) -> F32x8 {
        // SAFETY: see above.
        F32x8(unsafe { _mm256_add_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn add_product(self, a: F32x8, b: F32x8) -> F32x8 {
        // SAFETY: see above.
        F32x8(unsafe { _mm256_fmadd_ps(a.0, b.0, self.0) })
    }

    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        // SAFETY: see above.
        unsafe {
            let four =
                _mm_add_ps(_mm256_castps256_ps128(self.0), _mm256_extractf128_ps::<1>(self.0));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }

    #[inline(always)]
    unsafe fn square(row: impl FnMut(usize) -> F32x8) -> [F32x8; 8] {
        array::from_fn(row)
    }

    /// Three rounds: 2 x 2 and 4 x 4 within 128-bit halves, then the halves.
    #[inline(always)]
    unsafe fn transpose(rows: [F32x8; 8]) -> [F32x8; 8] {
        // SAFETY: see above.
        unsafe {
            let pairs: [__m256; 8] = array::from_fn(|i| {
                let (a, b) = (rows[i & !1].0, rows[i | 1].0);
                if i & 1 == 0 { _mm256_unpacklo_ps(a, b) } else { _mm256_unpackhi_ps(a, b) }
            });
            // quads[4 g + j]: columns j and j + 4 of rows 4 g .. 4 g + 4.
            let quads: [__m256; 8] = array::from_fn(|i| {
                let (group, j) = (i & !3, i & 3);
                let a = _mm256_castps_pd(pairs[group + (j >> 1)]);
                let b = _mm256_castps_pd(pairs[group + 2 + (j >> 1)]);
                _mm256_castpd_ps(if j & 1 == 0 {
                    _mm256_unpacklo_pd(a, b)
                } else {
                    _mm256_unpackhi_pd(a, b)
                })
            });
            array::from_fn(|column| {
                let (j, high) = (column & 3, column & 4 != 0);
                let (a, b) = (quads[j], quads[4 + j]);
                F32x8(if high {
                    _mm256_permute2f128_ps::<0x31>(a, b)
                } else {
                    _mm256_permute2f128_ps::<0x20>(a, b)
                })
            })
        }
    }
}

#[target_feature(enable = "avx2,fma")]
unsafe fn outer<const ROWS: usize, const VECTORS: usize>(tile: &Tile<f32>) {
    // SAFETY: by the caller's promise; this function has the features.
    unsafe { kernel::outer::<F32x8, ROWS, VECTORS>(tile) }
}

#[target_feature(enable = "avx2,fma")]
unsafe fn dot<const ROWS: usize, const COLUMNS: usize>(tile: &Tile<f32>) {
    // SAFETY: by the caller's promise; this function has the features.
    unsafe { kernel::dot::<F32x8, ROWS, COLUMNS>(tile) }
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

/// The largest tile, 6 x 16, keeps 12 of the 16 registers for sums, two for the right operand's
/// row and one for the left operand's element.
pub(super) static KERNELS: Kernels<f32> = Kernels {
    lanes: F32x8::LANES,
    outer: &[
        &[outer::<1, 1>, outer::<1, 2>, outer::<1, 4>, outer::<1, 8>],
        &[outer::<2, 1>, outer::<2, 2>, outer::<2, 4>],
        &[outer::<3, 1>, outer::<3, 2>],
        &[outer::<4, 1>, outer::<4, 2>],
        &[outer::<5, 1>, outer::<5, 2>],
        &[outer::<6, 1>, outer::<6, 2>],
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
        &[dot::<2, 1>, dot::<2, 2>, dot::<2, 3>, dot::<2, 4>],
        &[dot::<3, 1>, dot::<3, 2>, dot::<3, 3>],
    ],
    transpose,
};
