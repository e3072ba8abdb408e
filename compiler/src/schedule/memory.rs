//! The memory plan: where every value lies in the arena.
//!
//! Liveness is counted in phases. A buffer is reused only by values first written in a later
//! phase than its last read, so a barrier always lies between.

use std::ops::RangeInclusive;

use crate::kernel::{Value, ValueId};
use crate::types::{DType, Shape};

/// Alignment of every buffer, in bytes: a cache line.
const ALIGNMENT: usize = 64;

/// Where each value lies.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Per value: place and type.
    values: Vec<Placed>,
    /// Bytes of the whole arena.
    pub arena_bytes: usize,
    /// Bytes at the arena's start that hold slots.
    pub slot_bytes: usize,
}

#[derive(Clone, Debug)]
struct Placed {
    offset: usize,
    dtype: DType,
    shape: Shape,
    alias: Option<ValueId>,
    lifetime: RangeInclusive<usize>,
}

/// What has to be placed.
pub struct Demand<'a> {
    /// All values; slots and temporaries.
    pub values: &'a [Value],
    /// Per value: the value whose place it takes (an update written in place of its slot).
    pub alias: &'a [Option<ValueId>],
    /// Per value: phases from the first write to the last read. Slots live forever.
    pub lifetime: &'a [RangeInclusive<usize>],
}

impl Memory {
    /// Places slots first, one after another, then temporaries: largest first, each at the lowest
    /// offset that no value alive at the same time covers.
    pub fn plan(demand: &Demand<'_>) -> Memory {
        let Demand { values, alias, lifetime } = demand;
        let mut offsets = vec![0; values.len()];
        let mut slot_bytes = 0;
        for (index, value) in values.iter().enumerate() {
            if value.slot.is_some() {
                offsets[index] = slot_bytes;
                slot_bytes += padded(value.ty.bytes());
            }
        }
        let mut temporaries: Vec<usize> = (0..values.len())
            .filter(|&index| values[index].slot.is_none() && alias[index].is_none())
            .collect();
        temporaries.sort_by_key(|&index| (std::cmp::Reverse(values[index].ty.bytes()), index));
        let mut placed: Vec<usize> = Vec::new();
        let mut arena_bytes = slot_bytes;
        for index in temporaries {
            let bytes = padded(values[index].ty.bytes());
            let mut taken: Vec<(usize, usize)> = placed
                .iter()
                .filter(|&&other| overlap(&lifetime[index], &lifetime[other]))
                .map(|&other| (offsets[other], offsets[other] + padded(values[other].ty.bytes())))
                .collect();
            taken.sort_unstable();
            let mut offset = slot_bytes;
            for (start, end) in taken {
                if offset + bytes <= start {
                    break;
                }
                offset = offset.max(end);
            }
            offsets[index] = offset;
            arena_bytes = arena_bytes.max(offset + bytes);
            placed.push(index);
        }
        for index in 0..values.len() {
            if let Some(target) = alias[index] {
                offsets[index] = offsets[target.0 as usize];
            }
        }
        let values = values
            .iter()
            .enumerate()
            .map(|(index, value)| Placed {
                offset: offsets[index],
                dtype: value.ty.dtype,
                shape: value.ty.shape.clone(),
                alias: alias[index],
                lifetime: lifetime[index].clone(),
            })
            .collect();
        Memory { values, arena_bytes, slot_bytes }
    }

    /// Byte offset of a value.
    pub fn offset(&self, value: ValueId) -> usize {
        self.placed(value).offset
    }

    /// Element type of a value.
    pub fn dtype(&self, value: ValueId) -> DType {
        self.placed(value).dtype
    }

    /// Number of elements of a value.
    pub fn elements(&self, value: ValueId) -> usize {
        self.placed(value).shape.iter().product()
    }

    /// Extents of a value.
    pub fn shape(&self, value: ValueId) -> &[usize] {
        &self.placed(value).shape
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
        let elements = |placed: &Placed| placed.shape.iter().product::<usize>();
        self.values.iter().map(|placed| padded(elements(placed) * placed.dtype.size())).sum()
    }

    fn placed(&self, value: ValueId) -> &Placed {
        &self.values[value.0 as usize]
    }
}

fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGNMENT)
}

fn overlap(a: &RangeInclusive<usize>, b: &RangeInclusive<usize>) -> bool {
    a.start() <= b.end() && b.start() <= a.end()
}
