//! The memory plan: where every value lies in the arena.
//!
//! Liveness is counted in phases. A buffer is reused only by values first written in a later
//! phase than its last read, so a barrier always lies between.

use std::ops::RangeInclusive;

use cygnet_runtime::program::Home;

use super::order::Order;
use crate::kernel::{Value, ValueId};
use crate::types::{DType, Shape, TensorType};

/// Alignment of every buffer, in bytes: a cache line.
const ALIGNMENT: usize = 64;

/// Bytes from which on tensors that no kernel reads are written past the caches. On a machine with 1 MB of
/// second-level cache a core, a layer normalization of 16 MB took an eighth less time.
const STREAMED_BYTES: usize = 8 << 20;

/// Where each value lies.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Per value: place and type.
    values: Vec<Placed>,
    /// Bytes of the whole arena.
    pub arena_bytes: usize,
    /// Bytes at the arena's start that hold slots.
    pub slot_bytes: usize,
    phases: usize,
}

/// Where a value lies, and when.
#[derive(Clone, Debug)]
pub struct Placed {
    /// Its place.
    pub home: Home,
    /// Its type.
    pub ty: TensorType,
    /// The value whose place it takes.
    pub alias: Option<ValueId>,
    /// Phases from the first write to the last read.
    pub lifetime: RangeInclusive<usize>,
    /// Whether a kernel reads it.
    pub is_read: bool,
}

/// Something that needs bytes of its own for some phases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// How many.
    pub bytes: usize,
    /// Phases from the first write to the last read.
    pub lifetime: RangeInclusive<usize>,
}

/// Places blocks from `start` on, the largest first, each at the lowest offset that no block alive
/// at the same time covers. Returns the offset of each, and the end of all.
pub fn pack(blocks: &[Block], start: usize) -> (Vec<usize>, usize) {
    let mut offsets = vec![start; blocks.len()];
    let mut end_of_all = start;
    let mut order: Vec<usize> = (0..blocks.len()).collect();
    order.sort_by_key(|&index| (std::cmp::Reverse(blocks[index].bytes), index));
    let mut placed: Vec<usize> = Vec::new();
    for index in order {
        let bytes = padded(blocks[index].bytes);
        let mut taken: Vec<(usize, usize)> = placed
            .iter()
            .filter(|&&other| overlap(&blocks[index].lifetime, &blocks[other].lifetime))
            .map(|&other| (offsets[other], offsets[other] + padded(blocks[other].bytes)))
            .collect();
        taken.sort_unstable();
        let mut offset = start;
        for (start, end) in taken {
            if offset + bytes <= start {
                break;
            }
            offset = offset.max(end);
        }
        offsets[index] = offset;
        end_of_all = end_of_all.max(offset + bytes);
        placed.push(index);
    }
    (offsets, end_of_all)
}

impl Memory {
    /// The places of values, of which the first `slot_bytes` bytes of the arena hold slots.
    pub fn new(values: Vec<Placed>, arena_bytes: usize, slot_bytes: usize) -> Memory {
        Memory { values, arena_bytes, slot_bytes, phases: 0 }
    }

    /// Places the values of a whole step: slots first, one after another, then temporaries and
    /// further blocks, such as what loops need. Returns the offsets of the blocks, too.
    pub fn plan(values: &[Value], order: &Order, blocks: &[Block]) -> (Memory, Vec<usize>) {
        let mut offsets = vec![0; values.len()];
        let mut slot_bytes = 0;
        for (index, value) in values.iter().enumerate() {
            if value.slot.is_some() {
                offsets[index] = slot_bytes;
                slot_bytes += padded(value.ty.bytes());
            }
        }
        let temporaries: Vec<usize> = (0..values.len())
            .filter(|&index| values[index].slot.is_none() && order.alias[index].is_none())
            .collect();
        let mut all: Vec<Block> = (temporaries.iter())
            .map(|&index| Block {
                bytes: values[index].ty.bytes(),
                lifetime: order.lifetime[index].clone(),
            })
            .collect();
        all.extend_from_slice(blocks);
        let (places, arena_bytes) = pack(&all, slot_bytes);
        for (&index, &offset) in temporaries.iter().zip(&places) {
            offsets[index] = offset;
        }
        for index in 0..values.len() {
            if let Some(target) = order.alias[index] {
                offsets[index] = offsets[target.0 as usize];
            }
        }
        let placed = values.iter().enumerate().map(|(index, value)| Placed {
            home: Home::fixed(offsets[index]),
            ty: value.ty.clone(),
            alias: order.alias[index],
            lifetime: order.lifetime[index].clone(),
            is_read: order.is_read[index],
        });
        let values = placed.collect();
        let phases = order.phases.len();
        let memory = Memory { values, arena_bytes, slot_bytes, phases };
        (memory, places[temporaries.len()..].to_vec())
    }

    /// Where a value lies.
    pub fn home(&self, value: ValueId) -> Home {
        self.placed(value).home
    }

    /// Whether a value is better written past the caches: it does not fit them, and no kernel reads it.
    pub fn is_streamed(&self, value: ValueId) -> bool {
        let placed = self.placed(value);
        !placed.is_read && placed.alias.is_none() && placed.ty.bytes() >= STREAMED_BYTES
    }

    /// Byte offset of a value while all loops around stand at their beginning.
    pub fn offset(&self, value: ValueId) -> usize {
        self.home(value).offset
    }

    /// Element type of a value.
    pub fn dtype(&self, value: ValueId) -> DType {
        self.placed(value).ty.dtype
    }

    /// Number of elements of a value.
    pub fn elements(&self, value: ValueId) -> usize {
        self.placed(value).ty.elements()
    }

    /// Extents of a value.
    pub fn shape(&self, value: ValueId) -> &[usize] {
        &self.placed(value).ty.shape
    }

    /// Elements between neighbours along each axis: row-major.
    pub fn strides(&self, value: ValueId) -> Shape {
        let shape = self.shape(value);
        let mut strides = Shape::from_elem(1, shape.len());
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis] * shape[axis];
        }
        strides
    }

    /// Number of phases in which lifetimes are counted; a loop is one.
    pub fn phases(&self) -> usize {
        self.phases
    }

    /// The value whose place it takes, if it is written in place.
    pub fn alias(&self, value: ValueId) -> Option<ValueId> {
        self.placed(value).alias
    }

    /// Phases from the first write to the last read; up to the number of phases for what is read
    /// after the step. A slot's place is taken forever.
    pub fn lifetime(&self, value: ValueId) -> RangeInclusive<usize> {
        self.placed(value).lifetime.clone()
    }

    /// Bytes of an arena in which no value shares the place of another.
    pub fn bytes_without_reuse(&self) -> usize {
        self.values.iter().map(|placed| padded(placed.ty.bytes())).sum()
    }

    fn placed(&self, value: ValueId) -> &Placed {
        &self.values[value.0 as usize]
    }
}

/// Bytes with what lies between them and the next block.
pub fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGNMENT)
}

fn overlap(a: &RangeInclusive<usize>, b: &RangeInclusive<usize>) -> bool {
    a.start() <= b.end() && b.start() <= a.end()
}
