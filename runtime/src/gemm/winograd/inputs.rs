//! The transform of tiles of the input, a vector of tiles at a time: `B^T d B`.

use super::count_of;
use super::filter;
use crate::cpu::Cpu;
use crate::gemm::places::{From, Lanes, Piece};
use crate::gemm::vector::Vector;
use crate::simd::multiversion;

/// Tiles to transform.
#[repr(C)]
pub(super) struct Inputs<'a> {
    pub source: *const f32,
    pub lanes: &'a Lanes,
    /// The first group of elements.
    pub group: usize,
    /// Results of a tile along a side.
    pub side: usize,
    pub tiles: usize,
    pub channels: usize,
    pub plane: usize,
    pub row: usize,
    /// Transformed tiles, in panels: `[points, columns / panel, channels, panel]`. A micro-kernel then
    /// reads one stretch of memory.
    pub target: *mut f32,
    pub columns: usize,
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
        match (*inputs).side {
            2 => inputs_by::<V, 2, 4>(&*inputs),
            _ => inputs_by::<V, 4, 6>(&*inputs),
        }
    }
}

/// The same for tiles with so many results, and inputs, along a side.
#[inline(always)]
unsafe fn inputs_by<V: Vector<Element = f32>, const TILE: usize, const SIDE: usize>(
    inputs: &Inputs<'_>,
) {
    let none = Piece { offset: 0, first: 0, end: 0 };
    for tile in (0..inputs.columns).step_by(V::LANES) {
        let first = inputs.group + TILE * tile / V::LANES;
        let (mut runs, mut counts) = ([[none; 2]; TILE], [0; TILE]);
        let (mut whole, mut in_runs) = (true, true);
        for part in 0..TILE {
            counts[part] = count_of(TILE, inputs.tiles, tile, part, V::LANES);
            match two_runs(inputs.lanes, first + part, counts[part]) {
                Some(known) => runs[part] = known,
                None => in_runs = false,
            }
            whole &= (runs[part][0].first, runs[part][0].end) == (0, V::LANES);
        }
        // SAFETY: by the promise to `Prepared::run_piece`.
        unsafe {
            if in_runs && whole {
                let mut offsets = [0; TILE];
                for (offset, [run, _]) in offsets.iter_mut().zip(runs) {
                    *offset = run.offset;
                }
                input_tiles::<V, TILE, SIDE>(inputs, tile, &Whole(offsets));
            } else if in_runs {
                input_tiles::<V, TILE, SIDE>(inputs, tile, &TwoRuns(runs));
            } else {
                let lanes = inputs.lanes;
                input_tiles::<V, TILE, SIDE>(inputs, tile, &Anywhere { lanes, first, counts });
            }
        }
    }
}

/// Where the elements of a vector of tiles lie, a vector for each result along a side. No closures:
/// those are functions of their own, without the instructions of what they are called from, unless they
/// happen to be inlined.
trait Parts<V> {
    /// The elements of one part.
    unsafe fn load(&self, source: *const f32, part: usize) -> V;
}

/// Each part in one run.
struct Whole<const TILE: usize>([isize; TILE]);

/// Each part in two runs, of which the second may be empty.
struct TwoRuns<const TILE: usize>([[Piece; 2]; TILE]);

/// Groups of any form, the first part from group `first`.
struct Anywhere<'a, const TILE: usize> {
    lanes: &'a Lanes,
    first: usize,
    counts: [usize; TILE],
}

impl<V: Vector<Element = f32>, const TILE: usize> Parts<V> for Whole<TILE> {
    #[inline(always)]
    unsafe fn load(&self, source: *const f32, part: usize) -> V {
        // SAFETY: by the promise to `Prepared::run_piece`.
        unsafe { V::load(source.wrapping_offset(self.0[part])) }
    }
}

impl<V: Vector<Element = f32>, const TILE: usize> Parts<V> for TwoRuns<TILE> {
    #[inline(always)]
    unsafe fn load(&self, source: *const f32, part: usize) -> V {
        let [a, b] = self.0[part];
        // SAFETY: as above.
        unsafe {
            V::load_first(source, 0).with(source.wrapping_offset(a.offset), a.first, a.end).with(
                source.wrapping_offset(b.offset),
                b.first,
                b.end,
            )
        }
    }
}

impl<V: Vector<Element = f32>, const TILE: usize> Parts<V> for Anywhere<'_, TILE> {
    #[inline(always)]
    unsafe fn load(&self, source: *const f32, part: usize) -> V {
        // SAFETY: as above.
        unsafe {
            let zero = V::load_first(source, 0);
            match self.counts[part] {
                0 => zero,
                count => load(self.lanes, self.first + part, count, source, zero),
            }
        }
    }
}

/// The elements of a group as two runs of neighbours, of which the second may be empty; nothing if
/// they are more.
fn two_runs(lanes: &Lanes, group: usize, count: usize) -> Option<[Piece; 2]> {
    let none = Piece { offset: 0, first: 0, end: 0 };
    if count == 0 {
        return Some([none; 2]);
    }
    let base = lanes.offsets(group)[0];
    let moved = |piece: Piece| Piece { offset: base + piece.offset, ..piece };
    match lanes.groups[group] {
        From::Run => Some([moved(Piece { end: count, ..none }), none]),
        From::Pieces(first, end) => match lanes.pieces[first..end] {
            [a, b] => Some([moved(a), moved(b)]),
            _ => None,
        },
        From::Apart(_) => None,
    }
}

/// Elements `first + TILE * lane` and those behind of a row, a vector for each place in a tile.
#[inline(always)]
unsafe fn places<V: Vector<Element = f32>, const TILE: usize>(
    source: *const f32,
    parts: &impl Parts<V>,
) -> [V; TILE] {
    // SAFETY: by the promise to `Prepared::run_piece`.
    unsafe {
        let (even, odd) = V::deinterleave(parts.load(source, 0), parts.load(source, 1));
        let mut places = [even; TILE];
        if TILE == 2 {
            places[1] = odd;
        } else {
            let (later_even, later_odd) =
                V::deinterleave(parts.load(source, 2), parts.load(source, 3));
            (places[0], places[2]) = V::deinterleave(even, later_even);
            (places[1], places[3]) = V::deinterleave(odd, later_odd);
        }
        places
    }
}

/// Transforms a vector of tiles, of all channels.
#[inline(always)]
unsafe fn input_tiles<V: Vector<Element = f32>, const TILE: usize, const SIDE: usize>(
    inputs: &Inputs<'_>,
    tile: usize,
    parts: &impl Parts<V>,
) {
    // SAFETY: by the promise to `Prepared::run_piece`.
    unsafe {
        let zero = V::load_first(inputs.source, 0);
        let inner = tile % inputs.panel;
        let panel = inputs.target.wrapping_add((tile - inner) * inputs.channels + inner);
        let point = inputs.channels * inputs.columns;
        for channel in 0..inputs.channels {
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

/// The elements of a group.
#[inline(always)]
unsafe fn load<V: Vector<Element = f32>>(
    lanes: &Lanes,
    group: usize,
    count: usize,
    source: *const f32,
    zero: V,
) -> V {
    let source = source.wrapping_offset(lanes.offsets(group)[0]);
    // SAFETY: by the promise to `Prepared::run_piece`.
    unsafe {
        match lanes.groups[group] {
            From::Run => V::load_first(source, count),
            From::Pieces(first, end) => {
                let mut vector = zero;
                for &Piece { offset, first, end } in &lanes.pieces[first..end] {
                    vector = vector.with(source.wrapping_offset(offset), first, end);
                }
                vector
            }
            From::Apart(number) => zero.gather(source, lanes.gathered[number].as_ptr(), count),
        }
    }
}
