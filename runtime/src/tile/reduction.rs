//! Reductions of a tile to one value.

use crate::cpu::Cpu;
use crate::dtype::DType;
use crate::simd::{MAX_LANES, Mask, Vector, multiversion};

/// How many vectors are accumulated side by side: enough to hide the latency of an addition.
const CHAINS: usize = 4;

/// A reduction of a tile to one value.
///
/// With T as `f32` or `f64`, [`address`](TileReduction::address) gives an
/// `unsafe extern "C" fn(x: *const T, len: usize) -> T`, whose caller promises `len` readable
/// elements.
///
/// The order of additions is a function of `len` and of the [`Cpu`] only: element i belongs to
/// chain i mod c, where c is four times the number of lanes n (in double precision, c = n = 8);
/// then chains j, j + n, j + 2n and j + 3n are added pairwise, and the n results pairwise, i to
/// i + n/2 and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TileReduction {
    /// The sum; 0 of no elements.
    Sum,
    /// The greatest element, NaN if any is NaN; minus infinity of no elements.
    Max,
}

impl TileReduction {
    /// All reductions, in declaration order.
    pub const ALL: &[TileReduction] = &[TileReduction::Sum, TileReduction::Max];

    /// The name in listings.
    pub const fn name(self) -> &'static str {
        match self {
            TileReduction::Sum => "sum",
            TileReduction::Max => "max",
        }
    }

    /// The address of the machine code for element type `dtype` on `cpu`; see the type's
    /// documentation for its signature.
    ///
    /// # Panics
    ///
    /// If `dtype` is not a floating-point type or the machine does not support `cpu`.
    pub fn address(self, dtype: DType, cpu: Cpu) -> *const u8 {
        cpu.require();
        match (self, dtype) {
            (TileReduction::Sum, DType::F32) => sum_f32::address(cpu) as *const u8,
            (TileReduction::Sum, DType::F64) => sum_f64 as *const u8,
            (TileReduction::Max, DType::F32) => max_f32::address(cpu) as *const u8,
            (TileReduction::Max, DType::F64) => max_f64 as *const u8,
            _ => panic!("no tile reduction works on {dtype}"),
        }
    }
}

multiversion! {
    sum_f32(x: *const f32, len: usize) -> f32 = sum;
}

multiversion! {
    max_f32(x: *const f32, len: usize) -> f32 = max;
}

/// The sum of `len` elements.
///
/// # Safety
///
/// They are readable, and the processor has the instructions of `V`.
#[inline(always)]
unsafe fn sum<V: Vector>(x: *const f32, len: usize) -> f32 {
    // SAFETY: no element is read; the caller vouches for the instructions.
    let zero = unsafe { V::load_first(x, 0) };
    let mut chains = [zero; CHAINS];
    let whole = len - len % V::LANES;
    for block in (0..whole).step_by(CHAINS * V::LANES) {
        for (chain, sum) in chains.iter_mut().enumerate() {
            let start = block + chain * V::LANES;
            if start < whole {
                // SAFETY: a whole vector within the `len` elements.
                *sum = *sum + unsafe { V::load(x.add(start)) };
            }
        }
    }
    // SAFETY: the elements that are left, fewer than a vector.
    let rest = unsafe { V::load_first(x.add(whole), len - whole) };
    let last = whole / V::LANES % CHAINS;
    for (chain, sum) in chains.iter_mut().enumerate() {
        if chain == last {
            *sum = *sum + rest;
        }
    }
    let total = (chains[0] + chains[1]) + (chains[2] + chains[3]);
    fold_lanes(total, |a, b| a + b)
}

/// The greatest of `len` elements.
///
/// # Safety
///
/// They are readable, and the processor has the instructions of `V`.
#[inline(always)]
unsafe fn max<V: Vector>(x: *const f32, len: usize) -> f32 {
    if len < V::LANES {
        // SAFETY: the caller vouches for `len` elements.
        return greatest(unsafe { std::slice::from_raw_parts(x, len) });
    }
    // SAFETY: there are at least `V::LANES` elements.
    let first = unsafe { V::load(x) };
    let mut chains = [first; CHAINS];
    let mut nan = first.is_nan();
    // Maxima may overlap: the last vector ends with the last element.
    let last = len - V::LANES;
    for block in (0..len).step_by(CHAINS * V::LANES) {
        for (chain, max) in chains.iter_mut().enumerate() {
            let start = (block + chain * V::LANES).min(last);
            // SAFETY: a whole vector within the `len` elements.
            let vector = unsafe { V::load(x.add(start)) };
            nan = nan | vector.is_nan();
            *max = max.max(vector);
        }
    }
    if nan.any() {
        return f32::NAN;
    }
    let total = (chains[0].max(chains[1])).max(chains[2].max(chains[3]));
    fold_lanes(total, f32::max)
}

/// Combines the lanes pairwise: lane i with lane i + n/2, and so on until one is left.
#[inline(always)]
fn fold_lanes<V: Vector>(vector: V, combine: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0; MAX_LANES];
    // SAFETY: no vector has more than `MAX_LANES` lanes.
    unsafe { vector.store(lanes.as_mut_ptr()) };
    fold_array(&mut lanes[..V::LANES], combine)
}

/// Combines the elements of an array, whose length is a power of two, pairwise: element i with
/// element i + n/2, and so on until one is left.
#[inline(always)]
fn fold_array<T: Copy>(array: &mut [T], combine: impl Fn(T, T) -> T) -> T {
    let mut width = array.len();
    while width > 1 {
        width /= 2;
        for index in 0..width {
            array[index] = combine(array[index], array[index + width]);
        }
    }
    array[0]
}

/// The greatest element, NaN if any is NaN, minus infinity if there is none.
#[inline(always)]
fn greatest<T: Copy + PartialOrd + From<f32>>(elements: &[T]) -> T {
    // Once the maximum is NaN, no comparison replaces it.
    elements.iter().fold(T::from(f32::NEG_INFINITY), |max, &element| {
        if element > max || element.partial_cmp(&element).is_none() { element } else { max }
    })
}

/// The sum of `len` elements in double precision.
///
/// # Safety
///
/// They are readable.
unsafe extern "C" fn sum_f64(x: *const f64, len: usize) -> f64 {
    // SAFETY: the caller vouches for `len` elements.
    let elements = unsafe { std::slice::from_raw_parts(x, len) };
    let mut chains = [0.0; 2 * CHAINS];
    for block in elements.chunks(chains.len()) {
        for (sum, element) in chains.iter_mut().zip(block) {
            *sum += element;
        }
    }
    fold_array(&mut chains, |a, b| a + b)
}

/// The greatest of `len` elements in double precision.
///
/// # Safety
///
/// They are readable.
unsafe extern "C" fn max_f64(x: *const f64, len: usize) -> f64 {
    // SAFETY: the caller vouches for `len` elements.
    greatest(unsafe { std::slice::from_raw_parts(x, len) })
}

#[cfg(test)]
mod tests {
    use super::*;

    type Reduce<T> = unsafe extern "C" fn(*const T, usize) -> T;

    fn reduce<T>(reduction: TileReduction, dtype: DType, cpu: Cpu, x: &[T]) -> T {
        assert_eq!(size_of::<T>(), dtype.size());
        // SAFETY: the function has this type; the slice vouches for its elements.
        unsafe {
            let function: Reduce<T> = std::mem::transmute(reduction.address(dtype, cpu));
            function(x.as_ptr(), x.len())
        }
    }

    fn lanes(cpu: Cpu) -> usize {
        if cpu == Cpu::Avx512 { 16 } else { 8 }
    }

    fn cpus() -> impl Iterator<Item = Cpu> {
        Cpu::ALL.into_iter().filter(|cpu| cpu.supported())
    }

    fn numbers(len: usize) -> Vec<f32> {
        (0..len).map(|index| (index as f32 * 1.3).sin() * 10f32.powi(index as i32 % 5)).collect()
    }

    #[test]
    fn sums_follow_the_documented_order() {
        for cpu in cpus() {
            for len in (0..200).chain([512, 1000]) {
                let x = numbers(len);
                let n = lanes(cpu);
                let mut chains = vec![0f32; 4 * n];
                for (index, &x) in x.iter().enumerate() {
                    chains[index % (4 * n)] += x;
                }
                let mut totals: Vec<f32> = (0..n)
                    .map(|j| (chains[j] + chains[j + n]) + (chains[j + 2 * n] + chains[j + 3 * n]))
                    .collect();
                while totals.len() > 1 {
                    let half = totals.len() / 2;
                    totals = (0..half).map(|i| totals[i] + totals[i + half]).collect();
                }
                let sum = reduce(TileReduction::Sum, DType::F32, cpu, &x);
                assert_eq!(sum.to_bits(), totals[0].to_bits(), "{len} elements on {cpu}");
                let wide: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
                let exact: f64 = wide.iter().sum();
                assert!((f64::from(sum) - exact).abs() <= 1e-6 * 1e4 * len as f64);
                let sum = reduce(TileReduction::Sum, DType::F64, cpu, &wide);
                assert!((sum - exact).abs() <= 1e-15 * 1e4 * len as f64);
            }
        }
    }

    #[test]
    fn maxima_are_found_at_every_position() {
        for cpu in cpus() {
            for len in 1..150 {
                let mut x = numbers(len);
                for position in [0, len / 3, len / 2, len - 1] {
                    let old = x[position];
                    for (planted, expected) in [(2e4, 2e4), (f32::NAN, f32::NAN)] {
                        x[position] = planted;
                        let wide: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
                        let max = reduce(TileReduction::Max, DType::F32, cpu, &x);
                        let wide_max = reduce(TileReduction::Max, DType::F64, cpu, &wide);
                        for max in [f64::from(max), wide_max] {
                            assert!(
                                max == f64::from(expected) || max.is_nan() && expected.is_nan(),
                                "{planted} at {position} of {len} on {cpu}: {max}"
                            );
                        }
                    }
                    x[position] = old;
                }
            }
        }
    }

    #[test]
    fn nothing_and_infinities_have_their_reductions() {
        for cpu in cpus() {
            assert_eq!(reduce::<f32>(TileReduction::Sum, DType::F32, cpu, &[]), 0.0);
            assert_eq!(reduce::<f64>(TileReduction::Sum, DType::F64, cpu, &[]), 0.0);
            for len in [0, 3, 16, 37] {
                let x = vec![f32::NEG_INFINITY; len];
                assert_eq!(
                    reduce(TileReduction::Max, DType::F32, cpu, &x),
                    f32::NEG_INFINITY,
                    "{len} on {cpu}"
                );
            }
            assert_eq!(reduce::<f64>(TileReduction::Max, DType::F64, cpu, &[]), f64::NEG_INFINITY);
        }
    }
}
