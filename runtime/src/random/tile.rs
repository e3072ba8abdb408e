//! Random tiles: what generated code calls for a run of a stream's elements.

use serde::{Deserialize, Serialize};

use super::normal::Normal;
use super::{Distribution, GROUP, GROUP_BLOCKS, Generator, Uniform, WORDS};
use crate::cpu::Cpu;
use crate::dtype::DType;
use crate::simd::{MAX_LANES, Vector, multiversion};

/// A distribution of random numbers on tiles.
///
/// With T as `f32` or `f64`, [`address`](RandomTile::address) gives an
/// `unsafe extern "C" fn(out: *mut T, seed: u64, stream: u64, step: u64, first_index: u64,
/// distance: u64, len: usize)` that writes `len` elements of the stream, from `first_index` on at this distance
/// from each other, which wraps around. The caller promises `len` writable elements at `out`.
///
/// The numbers are those of [`uniform`](super::uniform) and [`normal`](super::normal()), bit for
/// bit, on every [`Cpu`]; in double precision, the same numbers. Whole groups of 64 elements
/// (`first_index` a multiple of 64, `distance` 1) are fastest; at other distances than 1, each number takes a block
/// of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RandomTile {
    /// Uniform in [0, 1).
    Uniform,
    /// Standard normal.
    Normal,
}

impl RandomTile {
    /// All distributions, in declaration order.
    pub const ALL: &[RandomTile] = &[RandomTile::Uniform, RandomTile::Normal];

    /// The name in listings.
    pub const fn name(self) -> &'static str {
        match self {
            RandomTile::Uniform => "random_uniform",
            RandomTile::Normal => "random_normal",
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
            (RandomTile::Uniform, DType::F32) => narrow::address::<Uniform>(cpu) as *const u8,
            (RandomTile::Uniform, DType::F64) => wide::address::<Uniform>(cpu) as *const u8,
            (RandomTile::Normal, DType::F32) => narrow::address::<Normal>(cpu) as *const u8,
            (RandomTile::Normal, DType::F64) => wide::address::<Normal>(cpu) as *const u8,
            _ => panic!("no random numbers of type {dtype}"),
        }
    }
}

multiversion! {
    narrow<D: Distribution>(
        out: *mut f32, seed: u64, stream: u64, step: u64, first_index: u64, distance: u64, len: usize
    ) = fill;
}

multiversion! {
    wide<D: Distribution>(
        out: *mut f64, seed: u64, stream: u64, step: u64, first_index: u64, distance: u64, len: usize
    ) = fill_wide;
}

/// Writes a run of a stream in single precision.
///
/// # Safety
///
/// As [`RandomTile`] says; and the processor has the instructions of `V`.
#[inline(always)]
unsafe fn fill<V: Vector, D: Distribution>(
    out: *mut f32,
    seed: u64,
    stream: u64,
    step: u64,
    first_index: u64,
    distance: u64,
    len: usize,
) {
    let generator = Generator::new(seed, stream, step);
    if distance != 1 {
        for (first, position, count) in vectors_apart(first_index, distance, len, V::LANES) {
            // SAFETY: the caller vouches for the instructions and for `len` elements.
            unsafe {
                let numbers = fill_apart::<V, D>(&generator, first, distance);
                out.add(position).copy_from_nonoverlapping(numbers.as_ptr(), count);
            }
        }
        return;
    }
    for (group, within, position, count) in runs(first_index, len) {
        // SAFETY: `position..position + count` is within the `len` elements that the caller
        // vouches for, as he does for the instructions.
        unsafe {
            let to = out.add(position);
            if count == GROUP {
                fill_group::<V, D>(&generator, group, to);
            } else {
                let mut numbers = [0.0; GROUP];
                fill_group::<V, D>(&generator, group, numbers.as_mut_ptr());
                to.copy_from_nonoverlapping(numbers[within..].as_ptr(), count);
            }
        }
    }
}

/// Writes a run of a stream in double precision.
///
/// # Safety
///
/// As [`RandomTile`] says; and the processor has the instructions of `V`.
#[inline(always)]
unsafe fn fill_wide<V: Vector, D: Distribution>(
    out: *mut f64,
    seed: u64,
    stream: u64,
    step: u64,
    first_index: u64,
    distance: u64,
    len: usize,
) {
    let generator = Generator::new(seed, stream, step);
    if distance != 1 {
        for (first, position, count) in vectors_apart(first_index, distance, len, V::LANES) {
            // SAFETY: the caller vouches for the instructions.
            let numbers = unsafe { fill_apart::<V, D>(&generator, first, distance) };
            for (offset, &number) in numbers[..count].iter().enumerate() {
                // SAFETY: within the `len` elements that the caller vouches for.
                unsafe { *out.add(position + offset) = f64::from(number) };
            }
        }
        return;
    }
    for (group, within, position, count) in runs(first_index, len) {
        let mut numbers = [0.0; GROUP];
        // SAFETY: the caller vouches for the instructions; the array has `GROUP` elements.
        unsafe { fill_group::<V, D>(&generator, group, numbers.as_mut_ptr()) };
        for (offset, &number) in numbers[within..within + count].iter().enumerate() {
            // SAFETY: within the `len` elements that the caller vouches for.
            unsafe { *out.add(position + offset) = f64::from(number) };
        }
    }
}

/// Cuts elements `first_index..first_index + len` at the borders of groups. Yields the group,
/// the first element's place in it, its position in the tile, and the number of elements.
#[inline(always)]
fn runs(first_index: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize, usize)> {
    let mut position = 0;
    std::iter::from_fn(move || {
        let index = first_index.wrapping_add(position as u64);
        let within = index as usize % GROUP;
        let count = (GROUP - within).min(len - position);
        let run = (index / GROUP as u64, within, position, count);
        position += count;
        (count > 0).then_some(run)
    })
}

/// Writes a whole group.
///
/// # Safety
///
/// `out` has room for [`GROUP`] elements, and the processor has the instructions of `V`.
#[inline(always)]
unsafe fn fill_group<V: Vector, D: Distribution>(generator: &Generator, group: u64, out: *mut f32) {
    // SAFETY: nothing is read.
    let proof = unsafe { V::load_first(out, 0) }.bits();
    for first_lane in (0..GROUP_BLOCKS).step_by(V::LANES) {
        let words = generator.words(proof, group, first_lane as u32);
        for (word, numbers) in D::numbers(words).into_iter().enumerate() {
            // SAFETY: in all, the first_lane and word range over the group's elements.
            unsafe { numbers.store(out.add(word * GROUP_BLOCKS + first_lane)) };
        }
    }
}

/// Cuts elements at a distance from each other into vectors. Yields the first element's index, its position in
/// the tile, and the number of elements.
#[inline(always)]
fn vectors_apart(
    first_index: u64,
    distance: u64,
    len: usize,
    lanes: usize,
) -> impl Iterator<Item = (u64, usize, usize)> {
    (0..len).step_by(lanes).map(move |position| {
        let first = first_index.wrapping_add(distance.wrapping_mul(position as u64));
        (first, position, lanes.min(len - position))
    })
}

/// A vector of elements at a distance from each other, each in a block of its own.
///
/// # Safety
///
/// The processor has the instructions of `V`.
#[inline(always)]
unsafe fn fill_apart<V: Vector, D: Distribution>(
    generator: &Generator,
    first_index: u64,
    distance: u64,
) -> [f32; MAX_LANES] {
    let mut blocks = [[0u32; MAX_LANES]; 2];
    let mut words = [0; MAX_LANES];
    for (lane, word) in words.iter_mut().enumerate() {
        let index = first_index.wrapping_add(distance.wrapping_mul(lane as u64));
        let (group, within) = (index / GROUP as u64, index % GROUP as u64);
        let block = group.wrapping_mul(GROUP_BLOCKS as u64) + within % GROUP_BLOCKS as u64;
        (blocks[0][lane], blocks[1][lane]) = (block as u32, (block >> 32) as u32);
        *word = within as usize / GROUP_BLOCKS;
    }
    let mut numbers = [[0.0; MAX_LANES]; WORDS];
    // SAFETY: arrays have as many elements as any vector.
    unsafe {
        let [low, high] = blocks.each_ref().map(|half| half.as_ptr().cast());
        let (low, high) = (V::load(low).bits(), V::load(high).bits());
        let made = D::numbers(generator.words_of_blocks(low, high));
        for (row, vector) in numbers.iter_mut().zip(made) {
            vector.store(row.as_mut_ptr());
        }
    }
    let mut picked = [0.0; MAX_LANES];
    for (lane, (number, word)) in picked.iter_mut().zip(words).enumerate() {
        *number = numbers[word][lane];
    }
    picked
}

#[cfg(test)]
mod tests {
    use super::super::{normal, uniform};
    use super::*;

    type Fill<T> = unsafe extern "C" fn(*mut T, u64, u64, u64, u64, u64, usize);

    fn filled<T: From<i8> + Clone>(
        tile: RandomTile,
        dtype: DType,
        cpu: Cpu,
        first_index: u64,
        distance: u64,
        len: usize,
    ) -> Vec<T> {
        assert_eq!(size_of::<T>(), dtype.size());
        let mut out = vec![T::from(-7); len + 2];
        // SAFETY: the function has this type; there is room for `len` elements.
        unsafe {
            let fill: Fill<T> = std::mem::transmute(tile.address(dtype, cpu));
            fill(out[1..].as_mut_ptr(), 5, 6, 7, first_index, distance, len);
        }
        out
    }

    #[test]
    fn tiles_have_the_bits_of_the_scalar_functions() {
        for &tile in RandomTile::ALL {
            let scalar = match tile {
                RandomTile::Uniform => uniform,
                RandomTile::Normal => normal,
            };
            for cpu in Cpu::ALL.into_iter().filter(|cpu| cpu.supported()) {
                let first_indices = [0, 1, 37, 64, (1 << 36) + 63, u64::MAX - 100];
                let distances = [1, 0, 3, 196, 1 << 35, u64::MAX];
                for (first, distance) in
                    first_indices.into_iter().flat_map(|i| distances.map(|distance| (i, distance)))
                {
                    for len in [0, 1, 2, 27, 63, 64, 65, 200] {
                        let name = format!("{} on {cpu}, {first} + {distance}", tile.name());
                        let out: Vec<f32> = filled(tile, DType::F32, cpu, first, distance, len);
                        assert_eq!((out[0], out[len + 1]), (-7.0, -7.0), "{name}");
                        let wide: Vec<f64> = filled(tile, DType::F64, cpu, first, distance, len);
                        assert_eq!((wide[0], wide[len + 1]), (-7.0, -7.0), "{name}");
                        for offset in 0..len {
                            let moved = distance.wrapping_mul(offset as u64);
                            let expected = scalar(5, 6, 7, first.wrapping_add(moved));
                            let number = out[offset + 1];
                            assert_eq!(number.to_bits(), expected.to_bits(), "{name}");
                            assert_eq!(wide[offset + 1], f64::from(expected), "{name}");
                        }
                    }
                }
            }
        }
    }

    /// The bits of large numbers of elements agree between processors, also while subnormals
    /// are flushed.
    #[test]
    fn processors_agree() {
        let _mode = crate::cpu::FlushSubnormals::enter();
        for &tile in RandomTile::ALL {
            let portable: Vec<f32> = filled(tile, DType::F32, Cpu::Portable, 0, 1, 100_000);
            for cpu in Cpu::ALL.into_iter().filter(|cpu| cpu.supported()) {
                let numbers: Vec<f32> = filled(tile, DType::F32, cpu, 0, 1, 100_000);
                assert!(numbers == portable, "{} on {cpu}", tile.name());
            }
        }
    }

    #[test]
    #[should_panic(expected = "no random numbers of type bool")]
    fn only_floats_are_random() {
        RandomTile::Uniform.address(DType::Bool, Cpu::Portable);
    }
}
