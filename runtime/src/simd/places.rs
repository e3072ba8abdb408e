//! Vectors whose lanes come from several places in memory.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;
use std::array;

#[cfg(target_arch = "x86_64")]
use super::avx2::F32x8;
#[cfg(target_arch = "x86_64")]
use super::avx512::F32x16;
use super::portable::Lanes;

/// A vector that is put together from memory.
pub(crate) trait FromPlaces: Copy {
    /// The type of a lane.
    type Lane;

    /// Lanes `first..end` from `from` on, the others as they are.
    ///
    /// # Safety
    ///
    /// The range lies within the lanes, and that many numbers are readable.
    unsafe fn with(self, from: *const Self::Lane, first: usize, end: usize) -> Self;

    /// For each of the first `count` lanes the number `offsets[lane]` elements from `from`; the
    /// others as they are.
    ///
    /// # Safety
    ///
    /// These numbers, and an offset for every lane of the vector, are readable.
    unsafe fn gather(self, from: *const Self::Lane, offsets: *const i32, count: usize) -> Self;

    /// For each lane one of the lanes of two vectors, numbered one vector after the other; numbers are taken
    /// modulo how many there are.
    ///
    /// # Safety
    ///
    /// A number for each lane is readable.
    unsafe fn pick_of_two(vectors: [Self; 2], numbers: *const i32) -> Self;

    /// Each lane of `first` if this power of two is no part of its number, else of `second`.
    ///
    /// # Safety
    ///
    /// A number for each lane is readable.
    unsafe fn choose<const POWER: i32>(first: Self, second: Self, numbers: *const i32) -> Self;

    /// The same as [`FromPlaces::pick_of_two`] of four vectors.
    ///
    /// # Safety
    ///
    /// As there.
    unsafe fn pick_of_four(vectors: [Self; 4], numbers: *const i32) -> Self;

    /// The same of eight.
    ///
    /// # Safety
    ///
    /// As there.
    unsafe fn pick_of_eight(vectors: [Self; 8], numbers: *const i32) -> Self;
}

/// A mask of lanes `first..end`.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn mask16(first: usize, end: usize) -> __mmask16 {
    ((1u32 << end) - (1u32 << first)) as __mmask16
}

/// A mask of lanes `first..end`.
///
/// # Safety
///
/// The processor has AVX2.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn mask8(first: usize, end: usize) -> __m256i {
    // SAFETY: by the caller's promise; no memory is touched.
    unsafe {
        let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        let behind = _mm256_cmpgt_epi32(_mm256_set1_epi32(end as i32), lanes);
        let before = _mm256_cmpgt_epi32(_mm256_set1_epi32(first as i32), lanes);
        _mm256_andnot_si256(before, behind)
    }
}

#[cfg(target_arch = "x86_64")]
impl FromPlaces for F32x16 {
    type Lane = f32;

    #[inline(always)]
    unsafe fn with(self, from: *const f32, first: usize, end: usize) -> Self {
        let mask = mask16(first, end);
        // SAFETY: the caller's promise; masked lanes are not read.
        F32x16(unsafe { _mm512_mask_loadu_ps(self.0, mask, from.wrapping_sub(first)) })
    }

    #[inline(always)]
    unsafe fn gather(self, from: *const f32, offsets: *const i32, count: usize) -> Self {
        let mask = mask16(0, count);
        // SAFETY: the caller's promise; masked lanes are not read.
        F32x16(unsafe {
            let offsets = _mm512_loadu_si512(offsets.cast());
            _mm512_mask_i32gather_ps::<4>(self.0, mask, offsets, from)
        })
    }

    #[inline(always)]
    unsafe fn pick_of_two([a, b]: [Self; 2], numbers: *const i32) -> Self {
        // SAFETY: the caller's promise.
        F32x16(unsafe { _mm512_permutex2var_ps(a.0, _mm512_loadu_si512(numbers.cast()), b.0) })
    }

    #[inline(always)]
    unsafe fn choose<const POWER: i32>(first: Self, second: Self, numbers: *const i32) -> Self {
        // SAFETY: the caller's promise.
        F32x16(unsafe {
            let numbers = _mm512_loadu_si512(numbers.cast());
            let of_second = _mm512_test_epi32_mask(numbers, _mm512_set1_epi32(POWER));
            _mm512_mask_blend_ps(of_second, first.0, second.0)
        })
    }

    #[inline(always)]
    unsafe fn pick_of_four([a, b, c, d]: [Self; 4], numbers: *const i32) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            let first = Self::pick_of_two([a, b], numbers);
            let second = Self::pick_of_two([c, d], numbers);
            Self::choose::<32>(first, second, numbers)
        }
    }

    #[inline(always)]
    unsafe fn pick_of_eight([a, b, c, d, e, f, g, h]: [Self; 8], numbers: *const i32) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            let first = Self::pick_of_four([a, b, c, d], numbers);
            let second = Self::pick_of_four([e, f, g, h], numbers);
            Self::choose::<64>(first, second, numbers)
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl FromPlaces for F32x8 {
    type Lane = f32;

    #[inline(always)]
    unsafe fn with(self, from: *const f32, first: usize, end: usize) -> Self {
        // SAFETY: the caller's promise; masked lanes are not read.
        F32x8(unsafe {
            let mask = mask8(first, end);
            let loaded = _mm256_maskload_ps(from.wrapping_sub(first), mask);
            _mm256_blendv_ps(self.0, loaded, _mm256_castsi256_ps(mask))
        })
    }

    #[inline(always)]
    unsafe fn gather(self, from: *const f32, offsets: *const i32, count: usize) -> Self {
        // SAFETY: the caller's promise; masked lanes are not read.
        F32x8(unsafe {
            let mask = mask8(0, count);
            let offsets = _mm256_loadu_si256(offsets.cast());
            _mm256_mask_i32gather_ps::<4>(self.0, from, offsets, _mm256_castsi256_ps(mask))
        })
    }

    #[inline(always)]
    unsafe fn pick_of_two([a, b]: [Self; 2], numbers: *const i32) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            let places = _mm256_loadu_si256(numbers.cast());
            let first = F32x8(_mm256_permutevar8x32_ps(a.0, places));
            let second = F32x8(_mm256_permutevar8x32_ps(b.0, places));
            Self::choose::<8>(first, second, numbers)
        }
    }

    #[inline(always)]
    unsafe fn choose<const POWER: i32>(first: Self, second: Self, numbers: *const i32) -> Self {
        // SAFETY: the caller's promise.
        F32x8(unsafe {
            let numbers = _mm256_loadu_si256(numbers.cast());
            let power = _mm256_set1_epi32(POWER);
            let of_second = _mm256_cmpeq_epi32(_mm256_and_si256(numbers, power), power);
            _mm256_blendv_ps(first.0, second.0, _mm256_castsi256_ps(of_second))
        })
    }

    #[inline(always)]
    unsafe fn pick_of_four([a, b, c, d]: [Self; 4], numbers: *const i32) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            let first = Self::pick_of_two([a, b], numbers);
            let second = Self::pick_of_two([c, d], numbers);
            Self::choose::<16>(first, second, numbers)
        }
    }

    #[inline(always)]
    unsafe fn pick_of_eight([a, b, c, d, e, f, g, h]: [Self; 8], numbers: *const i32) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            let first = Self::pick_of_four([a, b, c, d], numbers);
            let second = Self::pick_of_four([e, f, g, h], numbers);
            Self::choose::<32>(first, second, numbers)
        }
    }
}

impl<const N: usize, T: Copy> FromPlaces for Lanes<N, T> {
    type Lane = T;

    #[inline(always)]
    unsafe fn with(self, from: *const T, first: usize, end: usize) -> Self {
        let mut lanes: [T; N] = self.into();
        // SAFETY: the caller's promise; `end <= N`.
        unsafe {
            from.copy_to_nonoverlapping(lanes.as_mut_ptr().add(first), end - first);
        }
        Lanes::from(lanes)
    }

    #[inline(always)]
    unsafe fn gather(self, from: *const T, offsets: *const i32, count: usize) -> Self {
        let mut lanes: [T; N] = self.into();
        for (lane, value) in lanes.iter_mut().enumerate().take(count) {
            // SAFETY: the caller's promise.
            *value = unsafe { *from.offset(*offsets.add(lane) as isize) };
        }
        Lanes::from(lanes)
    }

    #[inline(always)]
    unsafe fn pick_of_two(vectors: [Self; 2], numbers: *const i32) -> Self {
        // SAFETY: the caller's promise.
        unsafe { picked(vectors, numbers) }
    }

    #[inline(always)]
    unsafe fn choose<const POWER: i32>(first: Self, second: Self, numbers: *const i32) -> Self {
        let (first, second): ([T; N], [T; N]) = (first.into(), second.into());
        Lanes::from(array::from_fn(|lane| {
            // SAFETY: the caller's promise.
            let number = unsafe { *numbers.add(lane) };
            if number & POWER == 0 { first[lane] } else { second[lane] }
        }))
    }

    #[inline(always)]
    unsafe fn pick_of_four(vectors: [Self; 4], numbers: *const i32) -> Self {
        // SAFETY: the caller's promise.
        unsafe { picked(vectors, numbers) }
    }

    #[inline(always)]
    unsafe fn pick_of_eight(vectors: [Self; 8], numbers: *const i32) -> Self {
        // SAFETY: the caller's promise.
        unsafe { picked(vectors, numbers) }
    }
}

/// For each lane the one with this number of all lanes of the vectors.
///
/// # Safety
/// A number for each lane is readable.
#[inline(always)]
unsafe fn picked<const N: usize, const VECTORS: usize, T: Copy>(
    vectors: [Lanes<N, T>; VECTORS],
    numbers: *const i32,
) -> Lanes<N, T> {
    let vectors: [[T; N]; VECTORS] = vectors.map(Into::into);
    Lanes::from(array::from_fn(|lane| {
        // SAFETY: the caller's promise.
        let number = unsafe { *numbers.add(lane) } as usize;
        vectors[number / N % VECTORS][number % N]
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Cpu;
    use crate::simd::{MAX_LANES, Vector};

    fn check<V: Vector + FromPlaces<Lane = f32>>() {
        let memory: Vec<f32> = (0..200).map(|i| i as f32).collect();
        let lanes_of = |vector: V| {
            let mut lanes = vec![0.0; V::LANES];
            // SAFETY: there is room for all lanes.
            unsafe { vector.store(lanes.as_mut_ptr()) };
            lanes
        };
        let offsets: Vec<i32> = (0..MAX_LANES as i32).map(|i| 100 - 7 * i).collect();
        // SAFETY: all places lie in `memory`; the caller checked the instructions.
        unsafe {
            let whole = V::load(memory.as_ptr());
            for first in 0..V::LANES {
                for end in first..=V::LANES {
                    let lanes = lanes_of(whole.with(memory[50..].as_ptr(), first, end));
                    for (lane, value) in lanes.into_iter().enumerate() {
                        let inside = (first..end).contains(&lane);
                        let expected = if inside { 50 + lane - first } else { lane };
                        assert_eq!(value, expected as f32, "{first}..{end}");
                    }
                }
            }
            let vectors: [V; 8] = array::from_fn(|i| V::load(memory[i * V::LANES..].as_ptr()));
            let numbers: Vec<i32> = (0..MAX_LANES).map(|i| (i * 29 + 3) as i32).collect();
            let [a, b, c, d, ..] = vectors;
            let of_two = lanes_of(V::pick_of_two([a, b], numbers.as_ptr()));
            let of_four = lanes_of(V::pick_of_four([a, b, c, d], numbers.as_ptr()));
            let of_eight = lanes_of(V::pick_of_eight(vectors, numbers.as_ptr()));
            for (lane, number) in numbers[..V::LANES].iter().enumerate() {
                let of = |vectors: usize| (*number as usize % (vectors * V::LANES)) as f32;
                let found = [of_two[lane], of_four[lane], of_eight[lane]];
                assert_eq!(found, [2, 4, 8].map(of));
            }
            for count in 0..=V::LANES {
                let lanes = lanes_of(whole.gather(memory[60..].as_ptr(), offsets.as_ptr(), count));
                for (lane, value) in lanes.into_iter().enumerate() {
                    let expected = if lane < count { 60 + 100 - 7 * lane } else { lane };
                    assert_eq!(value, expected as f32, "{count}");
                }
            }
        }
    }

    #[test]
    fn lanes_come_from_several_places() {
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
