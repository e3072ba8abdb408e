//! Vectors whose lanes come from several places in memory.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

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
}

#[cfg(target_arch = "x86_64")]
impl FromPlaces for F32x16 {
    type Lane = f32;

    #[inline(always)]
    unsafe fn with(self, from: *const f32, first: usize, end: usize) -> Self {
        let mask = ((1u32 << end) - (1u32 << first)) as __mmask16;
        // SAFETY: the caller's promise; masked lanes are not read.
        F32x16(unsafe { _mm512_mask_loadu_ps(self.0, mask, from.wrapping_sub(first)) })
    }

    #[inline(always)]
    unsafe fn gather(self, from: *const f32, offsets: *const i32, count: usize) -> Self {
        let mask = ((1u32 << count) - 1) as __mmask16;
        // SAFETY: the caller's promise; masked lanes are not read.
        F32x16(unsafe {
            let offsets = _mm512_loadu_si512(offsets.cast());
            _mm512_mask_i32gather_ps::<4>(self.0, mask, offsets, from)
        })
    }
}

#[cfg(target_arch = "x86_64")]
impl FromPlaces for F32x8 {
    type Lane = f32;

    #[inline(always)]
    unsafe fn with(self, from: *const f32, first: usize, end: usize) -> Self {
        // SAFETY: the caller's promise; masked lanes are not read.
        F32x8(unsafe {
            let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            let behind = _mm256_cmpgt_epi32(_mm256_set1_epi32(end as i32), lanes);
            let before = _mm256_cmpgt_epi32(_mm256_set1_epi32(first as i32), lanes);
            let mask = _mm256_andnot_si256(before, behind);
            let loaded = _mm256_maskload_ps(from.wrapping_sub(first), mask);
            _mm256_blendv_ps(self.0, loaded, _mm256_castsi256_ps(mask))
        })
    }

    #[inline(always)]
    unsafe fn gather(self, from: *const f32, offsets: *const i32, count: usize) -> Self {
        // SAFETY: the caller's promise; masked lanes are not read.
        F32x8(unsafe {
            let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            let mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), lanes);
            let offsets = _mm256_loadu_si256(offsets.cast());
            _mm256_mask_i32gather_ps::<4>(self.0, from, offsets, _mm256_castsi256_ps(mask))
        })
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
