//! Kernels in plain Rust, for any processor, and for f64.

use super::kernel::{self, Kernels, Tile};
use super::places::{self, Copy};
use super::vector::Vector;
use crate::simd::portable::Lanes;

impl<const N: usize> Vector for Lanes<N, f64> {
    type Element = f64;
    const LANES: usize = N;

    #[inline(always)]
    unsafe fn load(from: *const f64) -> Self {
        // SAFETY: the caller's promise; an array may be read unaligned like this.
        Lanes::from(unsafe { from.cast::<[f64; N]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f64, count: usize) -> Self {
        let mut lanes = [0.0; N];
        // SAFETY: the caller's promise; `count <= N`.
        unsafe { from.copy_to_nonoverlapping(lanes.as_mut_ptr(), count) };
        Lanes::from(lanes)
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f64) {
        // SAFETY: the caller's promise; an array may be written unaligned like this.
        unsafe { to.cast::<[f64; N]>().write_unaligned(self.into()) }
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f64, count: usize) {
        let lanes: [f64; N] = self.into();
        // SAFETY: the caller's promise; `count <= N`.
        unsafe { to.copy_from_nonoverlapping(lanes.as_ptr(), count) }
    }
}

unsafe fn outer<V: Vector, const ROWS: usize, const VECTORS: usize, const TABLES: bool>(
    tile: &Tile<V::Element>,
) {
    // SAFETY: by the caller's promise.
    unsafe { kernel::outer::<V, ROWS, VECTORS, TABLES>(tile) }
}

unsafe fn dot<V: Vector, const ROWS: usize, const COLUMNS: usize>(tile: &Tile<V::Element>) {
    // SAFETY: by the caller's promise.
    unsafe { kernel::dot::<V, ROWS, COLUMNS>(tile) }
}

unsafe fn copy<V: Vector>(
    source: *const V::Element,
    source_stride: isize,
    target: *mut V::Element,
    target_stride: isize,
    rows: usize,
    columns: usize,
) {
    // SAFETY: by the caller's promise.
    unsafe { kernel::copy::<V>(source, source_stride, target, target_stride, rows, columns) }
}

unsafe fn transpose<V: Vector>(
    source: *const V::Element,
    source_stride: isize,
    target: *mut V::Element,
    target_stride: isize,
    rows: usize,
    columns: usize,
) {
    // SAFETY: by the caller's promise.
    unsafe { kernel::transpose::<V>(source, source_stride, target, target_stride, rows, columns) }
}

unsafe fn along<V: Vector>(copy: &Copy<'_, V::Element>) {
    // SAFETY: by the caller's promise.
    unsafe { places::along::<V>(copy) }
}

unsafe fn across<V: Vector>(copy: &Copy<'_, V::Element>) {
    // SAFETY: by the caller's promise.
    unsafe { places::across::<V>(copy) }
}

/// Outer kernels for each number of rows and some numbers of vectors, with or without tables.
macro_rules! outer_tiles {
    ($V:ident, $tables:literal) => {
        &[
            &[outer::<$V, 1, 1, $tables>, outer::<$V, 1, 2, $tables>, outer::<$V, 1, 4, $tables>],
            &[outer::<$V, 2, 1, $tables>, outer::<$V, 2, 2, $tables>],
            &[outer::<$V, 3, 1, $tables>, outer::<$V, 3, 2, $tables>],
            &[outer::<$V, 4, 1, $tables>, outer::<$V, 4, 2, $tables>],
        ]
    };
}

/// Tiles for sixteen 128-bit registers, what x86-64 guarantees.
const fn kernels<V: Vector>() -> Kernels<V::Element> {
    Kernels {
        lanes: V::LANES,
        outer: const { outer_tiles!(V, false) },
        scattered: const { outer_tiles!(V, true) },
        dot: const {
            &[&[dot::<V, 1, 1>, dot::<V, 1, 2>, dot::<V, 1, 3>], &[dot::<V, 2, 1>, dot::<V, 2, 2>]]
        },
        dot_terms: 48.0,
        copy: copy::<V>,
        transpose: transpose::<V>,
        along: along::<V>,
        across: across::<V>,
    }
}

/// For f32.
pub(super) static KERNELS_F32: Kernels<f32> = kernels::<Lanes<4>>();

/// For f64, which serves checking: speed matters little, so all instruction sets share it.
pub(super) static KERNELS_F64: Kernels<f64> = kernels::<Lanes<2, f64>>();
