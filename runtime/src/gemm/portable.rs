//! Kernels in plain Rust, for any processor, and for f64.

use std::array;

use super::kernel::{self, Kernels, Tile};
use super::vector::{Element, Vector};

/// `LANES` elements, which the compiler puts in whatever registers the target has.
#[derive(Clone, Copy)]
struct Lanes<T, const LANES: usize>([T; LANES]);

impl<T, const LANES: usize> Vector for Lanes<T, LANES>
where
    T: Element,
{
    type Element = T;
    type Square = [Lanes<T, LANES>; LANES];
    type Mask = usize;
    const LANES: usize = LANES;

    #[inline(always)]
    unsafe fn mask(lanes: usize) -> usize {
        lanes
    }

    #[inline(always)]
    unsafe fn zero() -> Self {
        Lanes([T::ZERO; LANES])
    }

    #[inline(always)]
    unsafe fn splat(from: *const T) -> Self {
        // SAFETY: the caller promises a valid element.
        Lanes([unsafe { *from }; LANES])
    }

    #[inline(always)]
    unsafe fn load(from: *const T) -> Self {
        // SAFETY: the caller promises valid elements.
        Lanes(unsafe { from.cast::<[T; LANES]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn load_masked(from: *const T, mask: usize) -> Self {
        // SAFETY: the caller promises valid elements for the lanes of the mask.
        Lanes(array::from_fn(|i| if i < mask { unsafe { *from.add(i) } } else { T::ZERO }))
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut T) {
        // SAFETY: the caller promises valid elements.
        unsafe { to.cast::<[T; LANES]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    unsafe fn store_masked(self, to: *mut T, mask: usize) {
        for (i, &value) in self.0.iter().enumerate().take(mask) {
            // SAFETY: the caller promises valid elements for the lanes of the mask.
            unsafe { *to.add(i) = value }
        }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        Lanes(array::from_fn(|i| self.0[i] + other.0[i]))
    }

    /// Rounded twice: a fused operation would be a slow library call where there is none.
    #[inline(always)]
    unsafe fn add_product(self, a: Self, b: Self) -> Self {
        Lanes(array::from_fn(|i| self.0[i] + a.0[i] * b.0[i]))
    }

    #[inline(always)]
    unsafe fn sum(self) -> T {
        self.0.into_iter().fold(T::ZERO, |sum, value| sum + value)
    }

    #[inline(always)]
    unsafe fn square(row: impl FnMut(usize) -> Self) -> [Self; LANES] {
        array::from_fn(row)
    }

    #[inline(always)]
    unsafe fn transpose(rows: [Self; LANES]) -> [Self; LANES] {
        array::from_fn(|column| Lanes(array::from_fn(|row| rows[row].0[column])))
    }
}

unsafe fn outer<T: Element, const LANES: usize, const ROWS: usize, const VECTORS: usize>(
    tile: &Tile<T>,
) {
    // SAFETY: by the caller's promise.
    unsafe { kernel::outer::<Lanes<T, LANES>, ROWS, VECTORS>(tile) }
}

unsafe fn dot<T: Element, const LANES: usize, const ROWS: usize, const COLUMNS: usize>(
    tile: &Tile<T>,
) {
    // SAFETY: by the caller's promise.
    unsafe { kernel::dot::<Lanes<T, LANES>, ROWS, COLUMNS>(tile) }
}

unsafe fn transpose<T: Element, const LANES: usize>(
    source: *const T,
    source_stride: isize,
    target: *mut T,
    target_stride: isize,
    rows: usize,
    columns: usize,
) {
    // SAFETY: by the caller's promise.
    unsafe {
        kernel::transpose::<Lanes<T, LANES>>(
            source,
            source_stride,
            target,
            target_stride,
            rows,
            columns,
        )
    }
}

/// Tiles for sixteen 128-bit registers, what x86-64 guarantees.
const fn kernels<T: Element, const LANES: usize>() -> Kernels<T> {
    Kernels {
        lanes: LANES,
        outer: const {
            &[
                &[outer::<T, LANES, 1, 1>, outer::<T, LANES, 1, 2>, outer::<T, LANES, 1, 4>],
                &[outer::<T, LANES, 2, 1>, outer::<T, LANES, 2, 2>],
                &[outer::<T, LANES, 3, 1>, outer::<T, LANES, 3, 2>],
                &[outer::<T, LANES, 4, 1>, outer::<T, LANES, 4, 2>],
            ]
        },
        dot: const {
            &[
                &[dot::<T, LANES, 1, 1>, dot::<T, LANES, 1, 2>, dot::<T, LANES, 1, 3>],
                &[dot::<T, LANES, 2, 1>, dot::<T, LANES, 2, 2>],
            ]
        },
        transpose: transpose::<T, LANES>,
    }
}

/// For f32.
pub(super) static KERNELS_F32: Kernels<f32> = kernels::<f32, 4>();

/// For f64, which serves checking: speed matters little, so all instruction sets share it.
pub(super) static KERNELS_F64: Kernels<f64> = kernels::<f64, 2>();
