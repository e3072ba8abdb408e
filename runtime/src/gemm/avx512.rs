//! Kernels for x86-64 processors with AVX-512: 32 registers of 16 lanes.

use std::arch::x86_64::*;
use std::array;

use super::kernel::{self, Kernels, Tile};
use super::vector::Vector;

/// 16 single-precision lanes.
#[derive(Clone, Copy)]
struct F32x16(__m512);

// The methods are compiled into the functions below, which have the features. No SAFETY comment
// repeats it: every intrinsic needs the feature, and loads and stores need what the trait says.
impl Vector for F32x16 {
    type Element = f32;
    type Square = [F32x16; 16];
    type Mask = __mmask16;
    const LANES: usize = 16;

    #[inline(always)]
    unsafe fn mask(lanes: usize) -> __mmask16 {
        ((1u32 << lanes) - 1) as __mmask16
    }

    #[inline(always)]
    unsafe fn zero() -> F32x16 {
        // SAFETY: see above.
        F32x16(unsafe { _mm512_setzero_ps() })
    }

    #[inline(always)]
    unsafe fn splat(from: *const f32) -> F32x16 {
        // SAFETY: see above.
        F32x16(unsafe { _mm512_set1_ps(*from) })
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> F32x16 {
        // SAFETY: see above.
        F32x16(unsafe { _mm512_loadu_ps(from) })
    }

    #[inline(always)]
    unsafe fn load_masked(from: *const f32, mask: __mmask16) -> F32x16 {
        // SAFETY: see above; lanes outside the mask are not accessed.
        F32x16(unsafe { _mm512_maskz_loadu_ps(mask, from) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: see above.
        unsafe { _mm512_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn store_masked(self, to: *mut f32, mask: __mmask16) {
        // SAFETY: see above; lanes outside the mask are not accessed.
        unsafe { _mm512_mask_storeu_ps(to, mask, self.0) }
    }

    #[inline(always)]
    unsafe fn add(self, other: F32x16) -> F32x16 {
        // SAFETY: see above.
        F32x16(unsafe { _mm512_add_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn add_product(self, a: F32x16, b: F32x16) -> F32x16 {
        // SAFETY: see above.
        F32x16(unsafe { _mm512_fmadd_ps(a.0, b.0, self.0) })
    }

    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        // SAFETY: see above.
        unsafe { _mm512_reduce_add_ps(self.0) }
    }

    #[inline(always)]
    unsafe fn square(row: impl FnMut(usize) -> F32x16) -> [F32x16; 16] {
        array::from_fn(row)
    }

    /// Four rounds that each double the length of transposed runs: 2 x 2 and 4 x 4 within
    /// 128-bit parts, then whole parts.
    #[inline(always)]
    unsafe fn transpose(rows: [F32x16; 16]) -> [F32x16; 16] {
        // SAFETY: see above.
        unsafe {
            let pairs: [__m512; 16] = array::from_fn(|i| {
                let (a, b) = (rows[i & !1].0, rows[i | 1].0);
                if i & 1 == 0 { _mm512_unpacklo_ps(a, b) } else { _mm512_unpackhi_ps(a, b) }
            });
            // quads[4 g + j]: columns j, j + 4, j + 8, j + 12 of rows 4 g .. 4 g + 4.
            let quads: [__m512; 16] = array::from_fn(|i| {
                let (group, j) = (i & !3, i & 3);
                let a = _mm512_castps_pd(pairs[group + (j >> 1)]);
                let b = _mm512_castps_pd(pairs[group + 2 + (j >> 1)]);
                _mm512_castpd_ps(if j & 1 == 0 {
                    _mm512_unpacklo_pd(a, b)
                } else {
                    _mm512_unpackhi_pd(a, b)
                })
            });
            // Rows 0..8 (or 8..16) of columns j and j + 8, or j + 4 and j + 12.
            let halves: [__m512; 16] = array::from_fn(|i| {
                let (j, odd, lower) = (i & 3, i & 4 != 0, i & 8);
                let (a, b) = (quads[lower + j], quads[lower + 4 + j]);
                if odd {
                    _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b)
                } else {
                    _mm512_shuffle_f32x4::<0b10_00_10_00>(a, b)
                }
            });
            array::from_fn(|column| {
                let (j, odd, high) = (column & 3, column & 4, column & 8 != 0);
                let (a, b) = (halves[odd + j], halves[8 + odd + j]);
                F32x16(if high {
                    _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b)
                } else {
                    _mm512_shuffle_f32x4::<0b10_00_10_00>(a, b)
                })
            })
        }
    }
}

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
    lanes: F32x16::LANES,
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
        &[dot::<2, 1>, dot::<2, 2>, dot::<2, 3>, dot::<2, 4>, dot::<2, 5>, dot::<2, 6>],
        &[dot::<3, 1>, dot::<3, 2>, dot::<3, 3>, dot::<3, 4>],
        &[dot::<4, 1>, dot::<4, 2>, dot::<4, 3>, dot::<4, 4>],
    ],
    transpose,
};
