//! The transform of products back to tiles of the result, a vector of channels at a time: `A^T m A`.

use std::ops::Range;

use super::filter;
use super::tiles::Grid;
use crate::cpu::Cpu;
use crate::gemm::vector::Vector;
use crate::simd::multiversion;

/// Products to transform back.
#[repr(C)]
pub(super) struct Results {
    /// `[points, tiles, channels]`.
    pub source: *const f32,
    /// Elements from a tile to the next, and from a point.
    pub strides: [usize; 2],
    pub grid: Grid,
    /// Results of a tile along a side.
    pub side: usize,
    pub tiles: Range<usize>,
    /// Channels to transform.
    pub channels: usize,
    /// The first of these channels of the first place of all images.
    pub target: *mut f32,
    /// Rows and columns of an image.
    pub extents: [usize; 2],
    /// Elements from a place to the next.
    pub place: usize,
}

impl Results {
    /// Transforms them back.
    ///
    /// # Safety
    /// As for `Winograd::run_piece`.
    pub unsafe fn transform(&self, cpu: Cpu) {
        // SAFETY: by the caller's promise.
        unsafe { transform_results::address(cpu)(self) };
    }
}

multiversion! {
    transform_results(results: *const Results) = results_of;
}

/// Transforms products back.
#[inline(always)]
unsafe fn results_of<V: Vector<Element = f32>>(results: *const Results) {
    // SAFETY: by the promise to `Winograd::run_piece`.
    unsafe {
        match (*results).side {
            2 => results_by::<V, 2, 4>(&*results),
            _ => results_by::<V, 4, 6>(&*results),
        }
    }
}

/// The same for tiles with so many results, and inputs, along a side.
#[inline(always)]
unsafe fn results_by<V: Vector<Element = f32>, const TILE: usize, const SIDE: usize>(
    results: &Results,
) {
    let &Results { extents: [rows, columns], place, .. } = results;
    let [tile_stride, point_stride] = results.strides;
    for (number, tile) in results.tiles.clone().enumerate() {
        let (image, [row, column]) = results.grid.place(tile);
        let used = [rows - row, columns - column].map(|left| left.min(TILE));
        let target = ((image * rows + row) * columns + column) * place;
        let target = results.target.wrapping_add(target);
        let source = results.source.wrapping_add(number * tile_stride);
        for channel in (0..results.channels).step_by(V::LANES) {
            let count = V::LANES.min(results.channels - channel);
            let (source, target) = (source.wrapping_add(channel), target.wrapping_add(channel));
            // SAFETY: by the promise to `Winograd::run_piece`; products are whole vectors.
            unsafe {
                let zero = V::load_first(source, 0);
                // By columns.
                let mut columns_of = [[zero; TILE]; SIDE];
                for (j, column) in columns_of.iter_mut().enumerate() {
                    let mut m = [zero; SIDE];
                    for (i, m) in m.iter_mut().enumerate() {
                        *m = V::load(source.wrapping_add((SIDE * i + j) * point_stride));
                    }
                    *column = filter::of_points::<V, SIDE, TILE>(m);
                }
                for i in 0..TILE {
                    if i == used[0] {
                        break;
                    }
                    let row = filter::of_points::<V, SIDE, TILE>(filter::row(&columns_of, i));
                    for (j, value) in row.into_iter().enumerate() {
                        if j == used[1] {
                            break;
                        }
                        let target = target.wrapping_add((i * columns + j) * place);
                        if count == V::LANES {
                            value.store(target);
                        } else {
                            value.store_first(target, count);
                        }
                    }
                }
            }
        }
    }
}
