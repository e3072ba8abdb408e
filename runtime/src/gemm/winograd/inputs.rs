//! The transform of tiles of the input, a vector of channels at a time: `B^T d B`.

use std::ops::Range;

use super::filter;
use super::tiles::{Grid, Images};
use crate::cpu::Cpu;
use crate::gemm::vector::Vector;
use crate::simd::multiversion;

/// Tiles to transform.
#[repr(C)]
pub(super) struct Inputs {
    pub images: Images,
    pub grid: Grid,
    /// Results of a tile along a side.
    pub side: usize,
    pub tiles: Range<usize>,
    /// Channels to transform, from a multiple of all vectors on.
    pub channels: Range<usize>,
    /// Transformed tiles: `[points, tiles, channels]`.
    pub target: *mut f32,
    /// Elements from a tile to the next, and from a point.
    pub strides: [usize; 2],
}

impl Inputs {
    /// Transforms them.
    ///
    /// # Safety
    /// As for `Winograd::run_piece`.
    pub unsafe fn transform(&self, cpu: Cpu) {
        // SAFETY: by the caller's promise.
        unsafe { transform_inputs::address(cpu)(self) };
    }
}

multiversion! {
    transform_inputs(inputs: *const Inputs) = inputs_of;
}

/// Transforms tiles.
#[inline(always)]
unsafe fn inputs_of<V: Vector<Element = f32>>(inputs: *const Inputs) {
    // SAFETY: by the promise to `Winograd::run_piece`.
    unsafe {
        match (*inputs).side {
            2 => inputs_by::<V, 4>(&*inputs),
            _ => inputs_by::<V, 6>(&*inputs),
        }
    }
}

/// The same for tiles with so many inputs along a side.
#[inline(always)]
unsafe fn inputs_by<V: Vector<Element = f32>, const SIDE: usize>(inputs: &Inputs) {
    let [tile_stride, point_stride] = inputs.strides;
    for (number, tile) in inputs.tiles.clone().enumerate() {
        let (image, place) = inputs.grid.place(tile);
        let places = inputs.images.places::<SIDE, SIDE>(image, place);
        let target = inputs.target.wrapping_add(number * tile_stride);
        for channel in inputs.channels.clone().step_by(V::LANES) {
            let count = V::LANES.min(inputs.channels.end - channel);
            // SAFETY: by the promise to `Winograd::run_piece`; there is room for whole vectors.
            unsafe {
                // By columns.
                let mut columns = [[V::load_first(places[0][0], 0); SIDE]; SIDE];
                for (j, column) in columns.iter_mut().enumerate() {
                    for (value, row) in column.iter_mut().zip(&places) {
                        *value = V::load_first(row[j].wrapping_add(channel), count);
                    }
                    *column = filter::of_inputs::<V, SIDE>(*column);
                }
                for i in 0..SIDE {
                    let points = filter::of_inputs::<V, SIDE>(filter::row(&columns, i));
                    for (j, value) in points.into_iter().enumerate() {
                        let point = (SIDE * i + j) * point_stride;
                        value.store(target.wrapping_add(point + channel));
                    }
                }
            }
        }
    }
}
