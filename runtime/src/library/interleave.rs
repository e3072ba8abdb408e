//! Tensors put together from parts that take turns along an axis.

use std::slice;

use serde::{Deserialize, Serialize};

use super::{part, wanted_pieces};

/// Elements that are copied by instructions in place: blocks are too short to call a function for each.
const CHUNK: usize = 16;

/// Parts `[outer, inner]` of one shape to a tensor `[outer, parts, inner]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Interleave {
    /// How many parts there are.
    pub parts: usize,
    /// Blocks of a part.
    pub outer: usize,
    /// Elements of a block.
    pub inner: usize,
}

impl Interleave {
    /// Elements of the result.
    pub(super) fn elements(&self) -> usize {
        self.parts * self.outer * self.inner
    }

    pub(super) fn pieces(&self) -> usize {
        wanted_pieces(self.elements()).min(self.outer.max(1))
    }

    /// Computes a piece.
    ///
    /// # Safety
    /// The pointers lead to as many elements as the extents say; nobody writes the parts or uses
    /// the piece's part of the result meanwhile.
    pub(super) unsafe fn run<T: Copy>(
        &self,
        operand: impl Fn(usize) -> *const T,
        result: *mut T,
        piece: usize,
    ) {
        let &Interleave { parts, outer, inner } = self;
        let blocks = part(outer, self.pieces(), piece);
        let (count, first) = (blocks.len() * inner, blocks.start * inner);
        // SAFETY: by the caller's promise; only this piece writes there.
        let target = unsafe { slice::from_raw_parts_mut(result.add(first * parts), count * parts) };
        // SAFETY: as above.
        let source =
            |part: usize| unsafe { slice::from_raw_parts(operand(part).add(first), count) };
        match (parts, inner) {
            (2, 1) => {
                let pairs = source(0).iter().zip(source(1));
                for (target, (&even, &odd)) in target.as_chunks_mut::<2>().0.iter_mut().zip(pairs) {
                    *target = [even, odd];
                }
            }
            _ => {
                for part in 0..parts {
                    let blocks = source(part).chunks_exact(inner);
                    let targets = target.chunks_exact_mut(inner).skip(part).step_by(parts);
                    for (target, block) in targets.zip(blocks) {
                        if inner.is_multiple_of(CHUNK) {
                            let chunks = target.as_chunks_mut::<CHUNK>().0.iter_mut();
                            let blocks = block.as_chunks::<CHUNK>().0;
                            chunks.zip(blocks).for_each(|(to, from)| *to = *from);
                        } else {
                            target.copy_from_slice(block);
                        }
                    }
                }
            }
        }
    }
}
