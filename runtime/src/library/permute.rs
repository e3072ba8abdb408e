//! Tensors with their axes in another order.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::{part, wanted_pieces};
use crate::cpu::Cpu;
use crate::simd::{AcrossLanes, MAX_LANES, Vector, multiversion};

/// A tensor whose axes come in another order: each axis of the result, the outermost first, with its extent
/// and the distance of neighbours along it in the source. Another axis than the last has neighbours next to
/// each other in the source.
///
/// Squares of the last axis and that one are transposed in registers, so both are gone along by whole vectors.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Permute(#[serde(with = "crate::list")] SmallVec<[(usize, usize); 4]>);

impl Permute {
    /// For axes of the result, (extent, distance in the source); nothing if they are not those of a
    /// permutation as described.
    pub fn new(axes: impl IntoIterator<Item = (usize, usize)>) -> Option<Permute> {
        let mut joined: SmallVec<[(usize, usize); 4]> = SmallVec::new();
        for (extent, distance) in axes {
            match joined.last_mut() {
                _ if extent == 1 => {}
                Some(last) if extent.checked_mul(distance) == Some(last.1) => {
                    *last = (last.0.checked_mul(extent)?, distance);
                }
                _ => joined.push((extent, distance)),
            }
        }
        let mut sorted = joined.clone();
        sorted.sort_unstable_by_key(|axis| axis.1);
        let mut elements = 1usize;
        for (extent, distance) in sorted {
            if distance != elements || extent == 0 {
                return None;
            }
            elements = elements.checked_mul(extent)?;
        }
        (joined.last()?.1 != 1).then_some(Permute(joined))
    }

    /// The axes of the result, (extent, distance in the source), those joined that go on together.
    pub fn axes(&self) -> &[(usize, usize)] {
        &self.0
    }

    /// Elements of the tensor.
    pub(super) fn elements(&self) -> usize {
        self.0.iter().map(|axis| axis.0).product()
    }

    /// The axes' extents and distances in source and result: of the axis along the source, of that along the
    /// result, and of all others.
    fn roles(&self) -> (Axis, Axis, SmallVec<[Axis; 4]>) {
        let mut axes: SmallVec<[Axis; 4]> = SmallVec::new();
        let mut target = 1;
        for &(extent, source) in self.0.iter().rev() {
            axes.push(Axis { extent, source, target });
            target *= extent;
        }
        let along_target = axes.remove(0);
        let along_source = axes.iter().position(|axis| axis.source == 1);
        let along_source = axes.remove(along_source.expect("an axis lies along the source"));
        axes.reverse();
        (along_source, along_target, axes)
    }

    /// Parts of the result that are computed on their own: for each index of the other axes, blocks along the last.
    fn units(&self) -> usize {
        let (_, along_target, others) = self.roles();
        let others: usize = others.iter().map(|axis| axis.extent).product();
        others * along_target.extent.div_ceil(MAX_LANES)
    }

    pub(super) fn pieces(&self) -> usize {
        wanted_pieces(self.elements()).min(self.units())
    }

    /// Computes a piece.
    ///
    /// # Safety
    /// The machine has the instructions; the pointers lead to as many elements as the extents say;
    /// nobody writes the source or uses the piece's part of the result meanwhile.
    pub(super) unsafe fn run(&self, cpu: Cpu, source: *const f32, result: *mut f32, piece: usize) {
        let (along_source, along_target, others) = self.roles();
        let units = part(self.units(), self.pieces(), piece);
        let move_ = Move { along_source, along_target, others, units, source, result };
        // SAFETY: by the caller's promise.
        unsafe { squares::address(cpu)(&raw const move_) };
    }
}

/// An axis: its extent, and distances of neighbours along it.
#[derive(Clone, Copy)]
struct Axis {
    extent: usize,
    source: usize,
    target: usize,
}

/// Units to compute.
struct Move {
    along_source: Axis,
    along_target: Axis,
    others: SmallVec<[Axis; 4]>,
    units: Range<usize>,
    source: *const f32,
    result: *mut f32,
}

multiversion! {
    squares(what: *const Move) = squares_of;
}

#[inline(always)]
unsafe fn squares_of<V: Vector + AcrossLanes<Lane = f32>>(what: *const Move) {
    // SAFETY: by the promise to `Permute::run`: indices lie within the axes' extents.
    unsafe {
        let Move { along_source, along_target, others, units, source, result } = &*what;
        let blocks = along_target.extent.div_ceil(MAX_LANES);
        for unit in units.clone() {
            let (mut rest, mut from, mut to) = (unit / blocks, *source, *result);
            for axis in others.iter().rev() {
                let index = rest % axis.extent;
                rest /= axis.extent;
                from = from.wrapping_add(index * axis.source);
                to = to.wrapping_add(index * axis.target);
            }
            let first = unit % blocks * MAX_LANES;
            let end = along_target.extent.min(first + MAX_LANES);
            for first in (first..end).step_by(V::LANES) {
                let count = V::LANES.min(end - first);
                let from = from.wrapping_add(first * along_target.source);
                let to = to.wrapping_add(first);
                for line in (0..along_source.extent).step_by(V::LANES) {
                    let lines = V::LANES.min(along_source.extent - line);
                    let from = from.wrapping_add(line);
                    let to = to.wrapping_add(line * along_source.target);
                    square::<V>(from, along_target.source, [count, lines], to, along_source.target);
                }
            }
        }
    }
}

/// Moves `rows` lines of the source with `columns` elements to as many columns of the result.
#[inline(always)]
unsafe fn square<V: Vector + AcrossLanes<Lane = f32>>(
    source: *const f32,
    source_distance: usize,
    [rows, columns]: [usize; 2],
    result: *mut f32,
    result_distance: usize,
) {
    // SAFETY: by the caller's promise; lanes beyond the counts are neither read nor written.
    unsafe {
        let line = |row: usize| source.wrapping_add(row * source_distance);
        let loaded = match [rows, columns] == [V::LANES; 2] {
            true => V::square(|row| V::load(line(row))),
            false => {
                V::square(|row| V::load_first(line(row), if row < rows { columns } else { 0 }))
            }
        };
        let transposed = V::transpose(loaded);
        for (column, vector) in transposed.as_ref()[..columns].iter().enumerate() {
            let to = result.wrapping_add(column * result_distance);
            if rows == V::LANES { vector.store(to) } else { vector.store_first(to, rows) }
        }
    }
}
