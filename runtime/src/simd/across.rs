//! Operations across lanes: sums of a vector's lanes, and transposition of squares.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;
use std::array;
use std::ops::Add;

#[cfg(target_arch = "x86_64")]
use super::avx2::F32x8;
#[cfg(target_arch = "x86_64")]
use super::avx512::F32x16;
#[cfg(target_arch = "x86_64")]
use super::operators::intrinsic;
use super::portable::Lanes;

/// A vector whose lanes can be combined with each other.
pub(crate) trait AcrossLanes: Copy {
    /// The type of a lane.
    type Lane;
    /// As many vectors as a vector has lanes.
    type Square: AsRef<[Self]>;

    /// The sum of all lanes of each of four vectors, in a fixed order.
    fn sums(vectors: [Self; 4]) -> [Self::Lane; 4];

    /// The square whose vector i is `row(i)`.
    fn square(row: impl FnMut(usize) -> Self) -> Self::Square;

    /// Swaps rows and columns: lane j of vector i becomes lane i of vector j.
    fn transpose(square: Self::Square) -> Self::Square;
}

#[cfg(target_arch = "x86_64")]
impl AcrossLanes for F32x16 {
    type Lane = f32;
    type Square = [F32x16; 16];

    /// Pairs within 128-bit parts, interleaving the vectors, then the parts.
    #[inline(always)]
    fn sums([a, b, c, d]: [F32x16; 4]) -> [f32; 4] {
        intrinsic!({
            let pairs = |a, b| _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
            let ab = _mm512_castps_pd(pairs(a.0, b.0));
            let cd = _mm512_castps_pd(pairs(c.0, d.0));
            let (low, high) = (_mm512_unpacklo_pd(ab, cd), _mm512_unpackhi_pd(ab, cd));
            let parts = _mm512_add_ps(_mm512_castpd_ps(low), _mm512_castpd_ps(high));
            let parts =
                _mm256_add_ps(_mm512_castps512_ps256(parts), _mm512_extractf32x8_ps::<1>(parts));
            add_halves(parts)
        })
    }

    #[inline(always)]
    fn square(row: impl FnMut(usize) -> F32x16) -> [F32x16; 16] {
        array::from_fn(row)
    }

    /// Four rounds that each double the length of transposed runs: twice within 128-bit parts,
    /// then whole parts.
    #[inline(always)]
    fn transpose(rows: [F32x16; 16]) -> [F32x16; 16] {
        // Loops instead of closures: those may become functions without these instructions.
        intrinsic!({
            let mut pairs = [rows[0].0; 16];
            for i in 0..8 {
                let (a, b) = (rows[2 * i].0, rows[2 * i + 1].0);
                pairs[2 * i] = _mm512_unpacklo_ps(a, b);
                pairs[2 * i + 1] = _mm512_unpackhi_ps(a, b);
            }
            // Number 4 g + j: columns j, j + 4, j + 8 and j + 12 of rows 4 g .. 4 g + 4.
            let mut quads = pairs;
            for i in 0..8 {
                let (group, half) = (4 * (i / 2), i % 2);
                let a = _mm512_castps_pd(pairs[group + half]);
                let b = _mm512_castps_pd(pairs[group + 2 + half]);
                quads[group + 2 * half] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
                quads[group + 2 * half + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
            }
            // Rows 0..8 (then 8..16) of columns j and j + 8 (then j + 4 and j + 12).
            let mut halves = quads;
            for i in 0..8 {
                let (lower, j) = (8 * (i / 4), i % 4);
                let (a, b) = (quads[lower + j], quads[lower + 4 + j]);
                halves[lower + j] = _mm512_shuffle_f32x4::<0b10_00_10_00>(a, b);
                halves[lower + 4 + j] = _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b);
            }
            let mut columns = rows;
            for j in 0..8 {
                let (a, b) = (halves[j], halves[8 + j]);
                columns[j] = F32x16(_mm512_shuffle_f32x4::<0b10_00_10_00>(a, b));
                columns[8 + j] = F32x16(_mm512_shuffle_f32x4::<0b11_01_11_01>(a, b));
            }
            columns
        })
    }
}

/// The lower half of an AVX register plus the upper one.
///
/// # Safety
/// The processor has AVX.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn add_halves(vector: __m256) -> [f32; 4] {
    let mut sums = [0.0; 4];
    // SAFETY: the caller's promise; the array has room for four lanes.
    unsafe {
        let sum = _mm_add_ps(_mm256_castps256_ps128(vector), _mm256_extractf128_ps::<1>(vector));
        _mm_storeu_ps(sums.as_mut_ptr(), sum);
    }
    sums
}

#[cfg(target_arch = "x86_64")]
impl AcrossLanes for F32x8 {
    type Lane = f32;
    type Square = [F32x8; 8];

    /// Pairs within 128-bit halves, interleaving the vectors, then the halves.
    #[inline(always)]
    fn sums([a, b, c, d]: [F32x8; 4]) -> [f32; 4] {
        intrinsic!(add_halves(_mm256_hadd_ps(_mm256_hadd_ps(a.0, b.0), _mm256_hadd_ps(c.0, d.0))))
    }

    #[inline(always)]
    fn square(row: impl FnMut(usize) -> F32x8) -> [F32x8; 8] {
        array::from_fn(row)
    }

    /// Three rounds: twice within 128-bit halves, then the halves.
    #[inline(always)]
    fn transpose(rows: [F32x8; 8]) -> [F32x8; 8] {
        let pairs: [__m256; 8] = array::from_fn(|i| {
            let (a, b) = (rows[i & !1].0, rows[i | 1].0);
            intrinsic!(if i & 1 == 0 { _mm256_unpacklo_ps(a, b) } else { _mm256_unpackhi_ps(a, b) })
        });
        // Number 4 g + j: columns j and j + 4 of rows 4 g .. 4 g + 4.
        let quads: [__m256; 8] = array::from_fn(|i| {
            let (group, j) = (i & !3, i & 3);
            let (a, b) = (pairs[group + (j >> 1)], pairs[group + 2 + (j >> 1)]);
            intrinsic!({
                let (a, b) = (_mm256_castps_pd(a), _mm256_castps_pd(b));
                _mm256_castpd_ps(if j & 1 == 0 {
                    _mm256_unpacklo_pd(a, b)
                } else {
                    _mm256_unpackhi_pd(a, b)
                })
            })
        });
        array::from_fn(|column| {
            let (a, b) = (quads[column & 3], quads[4 + (column & 3)]);
            F32x8(intrinsic!(if column & 4 == 0 {
                _mm256_permute2f128_ps::<0x20>(a, b)
            } else {
                _mm256_permute2f128_ps::<0x31>(a, b)
            }))
        })
    }
}

impl<const N: usize, T: Copy + Add<Output = T>> AcrossLanes for Lanes<N, T> {
    type Lane = T;
    type Square = [Lanes<N, T>; N];

    #[inline(always)]
    fn sums(vectors: [Self; 4]) -> [T; 4] {
        vectors.map(|vector| {
            let mut sums: [T; N] = vector.into();
            let mut lanes = N;
            while lanes > 1 {
                lanes /= 2;
                for lane in 0..lanes {
                    sums[lane] = sums[lane] + sums[lane + lanes];
                }
            }
            sums[0]
        })
    }

    #[inline(always)]
    fn square(row: impl FnMut(usize) -> Self) -> [Self; N] {
        array::from_fn(row)
    }

    #[inline(always)]
    fn transpose(rows: [Self; N]) -> [Self; N] {
        let rows: [[T; N]; N] = rows.map(Into::into);
        array::from_fn(|column| Lanes::from(rows.map(|row| row[column])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Cpu;
    use crate::simd::Vector;

    /// Distinct small integers: sums are exact in any order.
    fn check<V: Vector + AcrossLanes<Lane = f32>>() {
        let value = |row: usize, lane: usize| (row * V::LANES + lane) as f32;
        let vector = |row: usize| {
            let lanes: Vec<f32> = (0..V::LANES).map(|lane| value(row, lane)).collect();
            // SAFETY: there are that many lanes; the caller checked the instructions.
            unsafe { V::load(lanes.as_ptr()) }
        };
        let sums = V::sums(array::from_fn(vector));
        for (row, sum) in sums.into_iter().enumerate() {
            assert_eq!(sum, (0..V::LANES).map(|lane| value(row, lane)).sum::<f32>());
        }
        let transposed = V::transpose(V::square(vector));
        for (column, vector) in transposed.as_ref().iter().enumerate() {
            let mut lanes = vec![0.0; V::LANES];
            // SAFETY: there is room for all lanes.
            unsafe { vector.store(lanes.as_mut_ptr()) };
            for (row, lane) in lanes.into_iter().enumerate() {
                assert_eq!(lane, value(row, column));
            }
        }
    }

    #[test]
    fn lanes_are_summed_and_transposed() {
        check::<Lanes<4>>();
        #[cfg(target_arch = "x86_64")]
        {
            if Cpu::Avx2.supported() {
                check::<F32x8>();
            }
            if Cpu::Avx512.supported() {
                check::<F32x16>();
            }
        }
    }
}
