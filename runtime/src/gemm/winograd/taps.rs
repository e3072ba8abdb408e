//! Kernels of nine taps in memory, and vectors of them: one for each tap, with a lane for each kernel.

use crate::gemm::vector::Vector;
use crate::simd::MAX_LANES;

/// Taps of a kernel.
pub(super) const TAPS: usize = 9;

/// Reads `count` kernels, so many elements apart.
///
/// # Safety
/// They are readable, the processor has the vectors' instructions, and lanes are at least `count`.
#[inline(always)]
pub(super) unsafe fn load<V: Vector<Element = f32>>(
    source: *const f32,
    stride: usize,
    count: usize,
) -> [V; TAPS] {
    // SAFETY: by the caller's promise.
    unsafe {
        let zero = V::load_first(source, 0);
        // A vector of a kernel's taps may be one too short.
        let used = TAPS.min(V::LANES);
        let mut kernels = [zero; MAX_LANES];
        for (lane, kernel) in kernels.iter_mut().enumerate().take(count) {
            *kernel = V::load_first(source.wrapping_add(lane * stride), used);
        }
        let square = V::transpose(V::square(|lane| kernels[lane]));
        let mut taps = [zero; TAPS];
        for (tap, vector) in taps.iter_mut().zip(square.as_ref()) {
            *tap = *vector;
        }
        for (tap, vector) in taps.iter_mut().enumerate().skip(used) {
            let mut last = [0.0; MAX_LANES];
            for (lane, value) in last.iter_mut().enumerate().take(count) {
                *value = *source.wrapping_add(lane * stride + tap);
            }
            *vector = V::load(last.as_ptr());
        }
        taps
    }
}

/// Writes `count` kernels, one behind the other.
///
/// # Safety
/// They are writable, the processor has the vectors' instructions, and lanes are at least `count`.
#[inline(always)]
pub(super) unsafe fn store<V: Vector<Element = f32>>(
    taps: [V; TAPS],
    target: *mut f32,
    count: usize,
) {
    // SAFETY: by the caller's promise.
    unsafe {
        let used = TAPS.min(V::LANES);
        let square = V::transpose(V::square(|row| taps[row.min(TAPS - 1)]));
        for (lane, kernel) in square.as_ref().iter().enumerate().take(count) {
            kernel.store_first(target.wrapping_add(lane * TAPS), used);
        }
        for (tap, vector) in taps.iter().enumerate().skip(used) {
            let mut last = [0.0; MAX_LANES];
            vector.store(last.as_mut_ptr());
            for (lane, value) in last.iter().enumerate().take(count) {
                *target.wrapping_add(lane * TAPS + tap) = *value;
            }
        }
    }
}
