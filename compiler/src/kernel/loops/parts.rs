//! What an instruction consists of, whatever it does.

use super::{Address, Buffer, BufferId, LaneId, LoopInstructionKind, Place};
use crate::index::{Constraint, Expression};

impl LoopInstructionKind {
    /// The values that it takes.
    pub fn operands(&self) -> &[LaneId] {
        match self {
            LoopInstructionKind::Apply(_, operands) => operands,
            LoopInstructionKind::Gather { index: value, .. }
            | LoopInstructionKind::Masked { operand: value, .. }
            | LoopInstructionKind::Cast(value)
            | LoopInstructionKind::Store { value, .. }
            | LoopInstructionKind::Accumulate { value, .. }
            | LoopInstructionKind::Set(_, value)
            | LoopInstructionKind::Fold { value, .. }
            | LoopInstructionKind::FoldArg { value, .. } => std::slice::from_ref(value),
            LoopInstructionKind::Constant(_)
            | LoopInstructionKind::Index(_)
            | LoopInstructionKind::Load { .. }
            | LoopInstructionKind::Random { .. }
            | LoopInstructionKind::Get(_) => &[],
        }
    }

    /// The buffer that it accesses, and the element.
    pub fn access(&self) -> Option<(BufferId, &Address)> {
        match self {
            LoopInstructionKind::Load { buffer, address, .. }
            | LoopInstructionKind::Gather { buffer, address, .. }
            | LoopInstructionKind::Store { buffer, address, .. }
            | LoopInstructionKind::Accumulate { buffer, address, .. } => Some((*buffer, address)),
            _ => None,
        }
    }

    /// The conditions that it tests.
    pub fn constraints(&self) -> &[Constraint] {
        match self {
            LoopInstructionKind::Load { constraints, .. }
            | LoopInstructionKind::Masked { constraints, .. } => constraints,
            _ => &[],
        }
    }

    /// Whether it changes memory or a variable instead of giving a value.
    pub fn is_effect(&self) -> bool {
        matches!(
            self,
            LoopInstructionKind::Store { .. }
                | LoopInstructionKind::Accumulate { .. }
                | LoopInstructionKind::Set(..)
                | LoopInstructionKind::Fold { .. }
                | LoopInstructionKind::FoldArg { .. }
        )
    }

    /// All index expressions in it.
    pub fn expressions(&self) -> impl Iterator<Item = &Expression> {
        let address = self.access().and_then(|(_, address)| match address {
            Address::Offset(expression) => Some(expression),
            Address::Tile => None,
        });
        let index = match self {
            LoopInstructionKind::Index(index)
            | LoopInstructionKind::Random { index, .. }
            | LoopInstructionKind::FoldArg { index, .. } => Some(index),
            _ => None,
        };
        let constraints = self.constraints().iter().map(|constraint| &constraint.expression);
        address.into_iter().chain(index).chain(constraints)
    }
}

impl Address {
    /// The element that lies so many elements further on.
    pub fn moved(&self, distance: i64) -> Address {
        match self {
            Address::Offset(expression) => {
                Address::Offset(expression.plus(&Expression::constant(distance)))
            }
            Address::Tile => Address::Tile,
        }
    }
}

impl Buffer {
    /// Whether some byte belongs to both buffers.
    pub fn overlaps(&self, other: &Buffer) -> bool {
        let ranges = |start: usize, other_start: usize| {
            start < other_start + other.length * other.dtype.size()
                && other_start < start + self.length * self.dtype.size()
        };
        match (self.place, other.place) {
            (Place::Arena(start), Place::Arena(other))
            | (Place::Scratch(start), Place::Scratch(other)) => ranges(start, other),
            (Place::Moving(start, motion), Place::Moving(other, other_motion)) => {
                motion == other_motion && ranges(start, other)
            }
            (Place::Tile, Place::Tile) => true,
            _ => false,
        }
    }
}
