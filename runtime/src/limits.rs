//! What this machine can do at most: multiply-adds and bandwidth, measured.
//!
//! These are the two limits of the roofline model (Williams, Waterman and Patterson, 2009). They
//! are measured for as many threads as a program runs on, all of them at once, since cores share
//! clocks and caches.

use std::sync::Barrier;
use std::time::Instant;

use crate::cpu::Cpu;
use crate::simd::{Vector, multiversion};

/// Limits of some threads together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Single-precision operations, a fused multiply-add counting as two.
    pub gflops_per_second: f64,
    /// Bytes read and written by a triad, `a = b + s c`, on arrays that fit the last-level cache.
    pub gigabytes_per_second: f64,
}

/// Independent sums: enough for two multiply-adds a cycle, each taking up to five cycles.
const SUMS: usize = 12;

/// Multiply-adds of each sum in a trial: about half a millisecond.
const ROUNDS: usize = 1 << 18;

/// Elements of each array of a triad: 4 MiB, more than a second-level cache.
const ELEMENTS: usize = 1 << 20;

/// Trials; the fastest one counts.
const TRIALS: usize = 6;

/// Measures the limits of `threads` threads that use the instructions `cpu`; takes some hundredths
/// of a second.
///
/// # Panics
/// If this machine does not support the instructions.
pub fn measure(cpu: Cpu, threads: usize) -> Limits {
    cpu.require();
    let lanes = if cpu == Cpu::Avx512 { 16 } else { 8 };
    let flops = (2 * lanes * SUMS * ROUNDS) as f64;
    let bytes = (3 * ELEMENTS * size_of::<f32>()) as f64;
    Limits {
        gflops_per_second: best_rate(threads, flops, || {
            let start: Vec<f32> = (0..SUMS + lanes).map(|index| index as f32).collect();
            let add = multiply_adds_f32::address(cpu);
            // SAFETY: the machine has the instructions, and each sum starts from a whole vector.
            move || unsafe {
                std::hint::black_box(add(start.as_ptr(), ROUNDS));
            }
        }),
        gigabytes_per_second: best_rate(threads, bytes, || {
            let (mut a, b, c) = (vec![0.0; ELEMENTS], vec![1.0; ELEMENTS], vec![2.0; ELEMENTS]);
            let triad = triad_f32::address(cpu);
            // SAFETY: the machine has the instructions, and the arrays have that many elements.
            move || unsafe { triad(a.as_mut_ptr(), b.as_ptr(), c.as_ptr(), ELEMENTS) }
        }),
    }
}

/// The best rate of all threads together, in units of 1e9 a second, each doing `work` in a trial.
fn best_rate<F: FnMut()>(threads: usize, work: f64, prepare: impl Fn() -> F + Sync) -> f64 {
    let barrier = Barrier::new(threads);
    let trials = || {
        let mut trial = prepare();
        let rate = |_| {
            barrier.wait();
            let since = Instant::now();
            trial();
            work / since.elapsed().as_secs_f64() / 1e9
        };
        (0..TRIALS).map(rate).collect::<Vec<f64>>()
    };
    let rates: Vec<Vec<f64>> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(trials)).collect();
        let own = trials();
        let others = others.into_iter().map(|other| other.join().expect("trials do not panic"));
        others.chain([own]).collect()
    });
    let total = |trial: usize| rates.iter().map(|rates| rates[trial]).sum();
    (0..TRIALS).map(total).fold(0.0, f64::max)
}

multiversion! {
    multiply_adds_f32(start: *const f32, rounds: usize) -> f32 = multiply_adds;
}

multiversion! {
    triad_f32(a: *mut f32, b: *const f32, c: *const f32, length: usize) = triad;
}

/// `rounds` multiply-adds of each of [`SUMS`] vectors, which start from neighbouring elements.
///
/// # Safety
/// `SUMS + V::LANES` elements are readable, and the processor has the instructions of `V`.
#[inline(always)]
unsafe fn multiply_adds<V: Vector>(start: *const f32, rounds: usize) -> f32 {
    // SAFETY: by the caller's promise.
    let mut sums: [V; SUMS] = std::array::from_fn(|sum| unsafe { V::load(start.add(sum)) });
    let (factor, addend) = (sums[0].splat(0.5), sums[0].splat(1.0));
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = sum.mul_add(factor, addend);
        }
    }
    let total = sums.into_iter().fold(addend, |total, sum| total + sum);
    let mut lanes = [0.0; crate::simd::MAX_LANES];
    // SAFETY: there is room for the widest vector.
    unsafe { total.store(lanes.as_mut_ptr()) };
    lanes[0]
}

/// `a = b + 3 c`, for lengths that are a multiple of the lanes.
///
/// # Safety
/// `length` elements of `b` and `c` are readable and those of `a` writable, and the processor has
/// the instructions of `V`.
#[inline(always)]
unsafe fn triad<V: Vector>(a: *mut f32, b: *const f32, c: *const f32, length: usize) {
    for index in (0..length).step_by(V::LANES) {
        // SAFETY: by the caller's promise.
        unsafe {
            let (b, c) = (V::load(b.add(index)), V::load(c.add(index)));
            c.mul_add(c.splat(3.0), b).store(a.add(index));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_has_limits() {
        for cpu in Cpu::ALL.into_iter().filter(|cpu| cpu.supported()) {
            let limits = measure(cpu, 2);
            // Any processor of this century.
            assert!(limits.gflops_per_second > 0.1 && limits.gflops_per_second < 1e5, "{limits:?}");
            assert!(limits.gigabytes_per_second > 0.1, "{limits:?}");
            assert!(limits.gigabytes_per_second < 1e5, "{limits:?}");
        }
    }
}
