//! How tiles are read where they lie, a vector of tiles at a time.

use super::count_of;
use crate::gemm::places::{From, Lanes, Piece};
use crate::gemm::vector::Vector;

/// Tiles that follow each other.
#[derive(Clone, Copy)]
pub(super) struct Strip<'a> {
    /// Elements of one row of all tiles.
    pub lanes: &'a Lanes,
    /// The first group of them.
    pub group: usize,
    /// Tiles that there are.
    pub tiles: usize,
    /// Tiles that there is room for, whole vectors.
    pub columns: usize,
}

/// What is done with a vector of tiles, given how to read it.
pub(super) trait Visit<V> {
    /// Does it for the tiles from `tile` on.
    ///
    /// # Safety
    /// As for what is visited.
    unsafe fn visit(&self, tile: usize, parts: &impl Parts<V>);
}

impl Strip<'_> {
    /// Visits all vectors of tiles, which have `TILE` elements along a side for themselves.
    ///
    /// # Safety
    /// That of what is visited.
    #[inline(always)]
    pub unsafe fn each<V: Vector<Element = f32>, const TILE: usize>(
        &self,
        visitor: &impl Visit<V>,
    ) {
        let none = Piece { offset: 0, first: 0, end: 0 };
        for tile in (0..self.columns).step_by(V::LANES) {
            let first = self.group + TILE * tile / V::LANES;
            let (mut runs, mut counts) = ([[none; 2]; TILE], [0; TILE]);
            let (mut whole, mut in_runs) = (true, true);
            for part in 0..TILE {
                counts[part] = count_of(TILE, self.tiles, tile, part, V::LANES);
                match two_runs(self.lanes, first + part, counts[part]) {
                    Some(known) => runs[part] = known,
                    None => in_runs = false,
                }
                whole &= (runs[part][0].first, runs[part][0].end) == (0, V::LANES);
            }
            // SAFETY: by the caller's promise.
            unsafe {
                if in_runs && whole {
                    let mut offsets = [0; TILE];
                    for (offset, [run, _]) in offsets.iter_mut().zip(runs) {
                        *offset = run.offset;
                    }
                    visitor.visit(tile, &Whole(offsets));
                } else if in_runs {
                    visitor.visit(tile, &TwoRuns(runs));
                } else {
                    visitor.visit(tile, &Anywhere { lanes: self.lanes, first, counts });
                }
            }
        }
    }
}

/// Where the elements of a vector of tiles lie, a vector for each result along a side. No closures:
/// those are functions of their own, without the instructions of what they are called from, unless they
/// happen to be inlined.
pub(super) trait Parts<V> {
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
pub(super) unsafe fn places<V: Vector<Element = f32>, const TILE: usize>(
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
