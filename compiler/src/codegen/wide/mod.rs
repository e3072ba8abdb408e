//! Loops over wide vectors: of 512 bits for processors with AVX-512, of 256 bits for those with AVX2.
//!
//! Cranelift has vectors of 128 bits. Where a segment of a tile reads and writes elements side by side, or at one
//! distance, it becomes a routine of machine code that is made here: what is to be computed is recorded by
//! [`WideLanes`], from the same lowerings that Cranelift's code is made from, as a [`program`]; `allocate`
//! chooses registers, `emit` writes loops and `body` what is in them, an instruction set (`avx512`, `avx2`) says what each operation takes,
//! and `assembler` encodes that. The routine is called by Cranelift's code, and computes the same bits but for sums
//! and products of a row, which have more accumulators.

mod allocate;
mod assembler;
mod avx2;
mod avx512;
mod body;
mod emit;
mod instruction_set;
mod lanes;
mod program;
#[cfg(test)]
mod tests;

use cygnet_runtime::cpu::Cpu;

use self::instruction_set::InstructionSet;

pub(super) use emit::Routine;
pub(super) use lanes::WideLanes;
pub(super) use program::{
    Base, Count, Effect, Element, Fold, FoldMemory, Invariant, Operation, ParameterId, Program,
    Row, ValueId,
};

/// Vectors wider than Cranelift's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WideVectors {
    Avx512,
    Avx2,
}

impl WideVectors {
    /// Those that a processor has, if any.
    pub(super) fn of(cpu: Cpu) -> Option<WideVectors> {
        match cpu {
            _ if !cfg!(target_arch = "x86_64") => None,
            Cpu::Avx512 => Some(WideVectors::Avx512),
            Cpu::Avx2 => Some(WideVectors::Avx2),
            Cpu::Portable => None,
        }
    }

    fn instructions(self) -> &'static dyn InstructionSet {
        match self {
            WideVectors::Avx512 => &avx512::Avx512,
            WideVectors::Avx2 => &avx2::Avx2,
        }
    }

    /// Elements of a vector.
    pub(super) fn width(self) -> usize {
        self.instructions().width()
    }

    /// Machine code for a program; `None` if it has too many rows or values for the registers, or accesses for
    /// which there are no instructions.
    pub(super) fn assemble(self, program: &Program) -> Option<Routine> {
        emit::assemble(program, self.instructions())
    }
}
