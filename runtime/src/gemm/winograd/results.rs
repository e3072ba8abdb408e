//! The transform of products back to tiles of the result, a vector of tiles at a time: `A^T m A`.

use super::{count_of, filter, point_stride};
use crate::cpu::Cpu;
use crate::gemm::places::{From, Lanes, Piece};
use crate::gemm::vector::Vector;
use crate::simd::multiversion;

/// Products to transform back.
#[repr(C)]
pub(super) struct Results<'a> {
    /// `[rows, columns]` for each point.
    pub source: *const f32,
    pub lanes: &'a Lanes,
    pub group: usize,
    /// Results of a tile along a side.
    pub side: usize,
    pub tiles: usize,
    pub rows: usize,
    pub columns: usize,
    pub target: *mut f32,
    pub plane: usize,
    pub row: usize,
}

impl Results<'_> {
    /// Transforms them back.
    ///
    /// # Safety
    /// As for `Prepared::run_piece`.
    pub unsafe fn transform(&self, cpu: Cpu) {
        // SAFETY: by the caller's promise.
        unsafe { transform_results::address(cpu)(self) };
    }
}

multiversion! {
    transform_results(results: *const Results<'_>) = results_of;
}

/// Transforms products back.
#[inline(always)]
unsafe fn results_of<V: Vector<Element = f32>>(results: *const Results<'_>) {
    // SAFETY: by the promise to `Prepared::run_piece`.
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
    results: &Results<'_>,
) {
    // SAFETY: by the promise to `Prepared::run_piece`.
    unsafe {
        let point = point_stride(results.rows * results.columns);
        for tile in (0..results.tiles).step_by(V::LANES) {
            let group = results.group + TILE * tile / V::LANES;
            for row in 0..results.rows {
                let source = results.source.wrapping_add(row * results.columns + tile);
                let zero = V::load_first(source, 0);
                // By columns.
                let mut columns = [[zero; TILE]; SIDE];
                for (j, column) in columns.iter_mut().enumerate() {
                    let mut m = [zero; SIDE];
                    for (i, m) in m.iter_mut().enumerate() {
                        *m = V::load(source.wrapping_add((SIDE * i + j) * point));
                    }
                    *column = filter::of_points::<V, SIDE, TILE>(m);
                }
                for i in 0..TILE {
                    let m = filter::row(&columns, i);
                    let vectors = neighbours(filter::of_points::<V, SIDE, TILE>(m));
                    let target = results.target.wrapping_add(row * results.plane + i * results.row);
                    for (part, vector) in vectors.into_iter().enumerate() {
                        let count = count_of(TILE, results.tiles, tile, part, V::LANES);
                        if count > 0 {
                            store(results.lanes, group + part, count, target, vector);
                        }
                    }
                }
            }
        }
    }
}

/// A row of tiles, given a vector for each place in a tile.
#[inline(always)]
fn neighbours<V: Vector<Element = f32>, const TILE: usize>(places: [V; TILE]) -> [V; TILE] {
    let mut row = places;
    if TILE == 2 {
        (row[0], row[1]) = V::interleave(places[0], places[1]);
    } else {
        let (even, later_even) = V::interleave(places[0], places[2]);
        let (odd, later_odd) = V::interleave(places[1], places[3]);
        (row[0], row[1]) = V::interleave(even, odd);
        (row[2], row[3]) = V::interleave(later_even, later_odd);
    }
    row
}

/// Writes the elements of a group.
#[inline(always)]
unsafe fn store<V: Vector<Element = f32>>(
    lanes: &Lanes,
    group: usize,
    count: usize,
    target: *mut f32,
    vector: V,
) {
    let target = target.wrapping_offset(lanes.offsets(group)[0]);
    // SAFETY: by the promise to `Prepared::run_piece`.
    unsafe {
        match lanes.groups[group] {
            From::Run if count == V::LANES => vector.store(target),
            From::Run => vector.store_first(target, count),
            From::Pieces(first, end) => {
                for &Piece { offset, first, end } in &lanes.pieces[first..end] {
                    vector.store_lanes(target.wrapping_offset(offset), first, end);
                }
            }
            From::Apart(number) => {
                let offsets = &lanes.gathered[number];
                for (lane, &offset) in offsets[..count].iter().enumerate() {
                    let to = target.wrapping_offset(offset as isize);
                    vector.store_lanes(to, lane, lane + 1);
                }
            }
        }
    }
}
