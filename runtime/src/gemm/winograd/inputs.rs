//! The transform of tiles of the input, a vector of tiles at a time: `B^T d B`.

use std::ops::Range;

use super::tiles::{Parts, Strip, Visit, places};
use super::{filter, point_stride};
use crate::cpu::Cpu;
use crate::gemm::vector::Vector;
use crate::simd::multiversion;

/// Tiles to transform.
#[repr(C)]
pub(super) struct Inputs<'a> {
    pub source: *const f32,
    pub strip: Strip<'a>,
    /// Results of a tile along a side.
    pub side: usize,
    pub channels: Range<usize>,
    /// All channels.
    pub depth: usize,
    pub plane: usize,
    pub row: usize,
    /// Transformed tiles, in panels: `[points, columns / panel, depth, panel]`. A micro-kernel then
    /// reads one stretch of memory.
    pub target: *mut f32,
    /// Columns that a micro-kernel takes, a multiple of the vectors here.
    pub panel: usize,
}

impl Inputs<'_> {
    /// Transforms them.
    ///
    /// # Safety
    /// As for `Prepared::run_piece`.
    pub unsafe fn transform(&self, cpu: Cpu) {
        // SAFETY: by the caller's promise.
        unsafe { transform_inputs::address(cpu)(self) };
    }
}

multiversion! {
    transform_inputs(inputs: *const Inputs<'_>) = inputs_of;
}

/// Transforms tiles.
#[inline(always)]
unsafe fn inputs_of<V: Vector<Element = f32>>(inputs: *const Inputs<'_>) {
    // SAFETY: by the promise to `Prepared::run_piece`.
    unsafe {
        let inputs = &*inputs;
        match inputs.side {
            2 => inputs.strip.each::<V, 2>(&All::<2, 4>(inputs)),
            _ => inputs.strip.each::<V, 4>(&All::<4, 6>(inputs)),
        }
    }
}

/// Tiles with so many results, and inputs, along a side, of all channels.
struct All<'a, const TILE: usize, const SIDE: usize>(&'a Inputs<'a>);

impl<V: Vector<Element = f32>, const TILE: usize, const SIDE: usize> Visit<V>
    for All<'_, TILE, SIDE>
{
    #[inline(always)]
    unsafe fn visit(&self, tile: usize, parts: &impl Parts<V>) {
        let inputs = self.0;
        // SAFETY: by the promise to `Prepared::run_piece`.
        unsafe {
            let zero = V::load_first(inputs.source, 0);
            let inner = tile % inputs.panel;
            let panel = inputs.target.wrapping_add((tile - inner) * inputs.depth + inner);
            let point = point_stride(inputs.depth * inputs.strip.columns);
            for channel in inputs.channels.clone() {
                let source = inputs.source.wrapping_add(channel * inputs.plane);
                let target = panel.wrapping_add(channel * inputs.panel);
                // By columns.
                let mut columns = [[zero; SIDE]; SIDE];
                for i in 0..SIDE {
                    let source = source.wrapping_add(i * inputs.row);
                    let first = places::<V, TILE>(source, parts);
                    let rest = places::<V, TILE>(source.wrapping_add(TILE), parts);
                    for (column, value) in columns.iter_mut().zip(first.into_iter().chain(rest)) {
                        column[i] = value;
                    }
                }
                for column in &mut columns {
                    *column = filter::of_inputs::<V, SIDE>(*column);
                }
                for i in 0..SIDE {
                    let row = filter::row(&columns, i);
                    let target = target.wrapping_add(SIDE * i * point);
                    for (j, value) in filter::of_inputs::<V, SIDE>(row).into_iter().enumerate() {
                        value.store(target.wrapping_add(j * point));
                    }
                }
            }
        }
    }
}
