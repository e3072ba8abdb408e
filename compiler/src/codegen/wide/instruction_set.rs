//! What loops need of an instruction set.

use super::assembler::{Assembler, General, Memory, Opcode, Register};
use super::program::{Comparison, Element, MaskOperation};

/// Registers that values may have.
pub(super) struct Registers {
    pub vectors: Vec<u8>,
    /// Those of masks; `None` if masks are vectors.
    pub masks: Option<Vec<u8>>,
}

/// An instruction set: how many elements its vectors have, and its instructions for what programs compute.
///
/// Elements outside of a mask are neither read nor written.
pub(super) trait InstructionSet {
    /// Elements of a vector.
    fn width(&self) -> usize;

    /// The registers, but for [`REST`](InstructionSet::rest).
    fn registers(&self) -> Registers;

    /// The mask of the elements behind the last whole vector.
    fn rest(&self) -> Register;

    /// Whether there are instructions for elements that lie so, to be loaded or stored, in a mask or all.
    fn can_access(&self, element: Element, stores: bool, in_mask: bool) -> bool;

    /// Whether words that lie apart can be stored.
    fn can_scatter(&self) -> bool;

    /// Sets [`rest`](InstructionSet::rest) to so many elements, a number of 32 bits, which is lost.
    fn set_rest(&self, assembler: &mut Assembler, count: General);

    /// The lower 32 bits of a general register in all elements.
    fn splat(&self, assembler: &mut Assembler, result: Register, bits: General);

    /// 32 bits of memory in all elements.
    fn splat_memory(&self, assembler: &mut Assembler, result: Register, memory: Memory);

    /// Zero in all elements.
    fn zero(&self, assembler: &mut Assembler, result: Register);

    /// The first words of a literal.
    fn literal(&self, assembler: &mut Assembler, result: Register, literal: usize);

    /// A mask of all elements, or of none.
    fn constant_mask(&self, assembler: &mut Assembler, result: Register, all: bool);

    /// A mask of all elements if the lower 32 bits of a general register are ones, of none if they are zeros.
    fn mask_from_bits(&self, assembler: &mut Assembler, result: Register, bits: General);

    fn copy(&self, assembler: &mut Assembler, result: Register, from: Register);

    fn copy_mask(&self, assembler: &mut Assembler, result: Register, from: Register);

    /// Elements side by side (or one for all); zero outside of the mask.
    fn load(
        &self,
        assembler: &mut Assembler,
        result: Register,
        from: (Memory, Element),
        mask: Option<Register>,
    );

    /// Elements side by side, past the caches if `streamed`, which takes aligned and whole vectors.
    fn store(
        &self,
        assembler: &mut Assembler,
        value: Register,
        to: (Memory, Element),
        mask: Option<Register>,
        streamed: bool,
    );

    /// Words at indices `places`; the mask is lost. All registers differ.
    fn gather(
        &self,
        assembler: &mut Assembler,
        result: Register,
        from: (Memory, Register),
        mask: Register,
    );

    /// The same the other way; only if there are such [instructions](InstructionSet::can_scatter).
    fn scatter(
        &self,
        assembler: &mut Assembler,
        value: Register,
        to: (Memory, Register),
        mask: Register,
    );

    fn unary(
        &self,
        assembler: &mut Assembler,
        opcode: Opcode,
        result: Register,
        a: Register,
        immediate: Option<u8>,
    );

    fn binary(
        &self,
        assembler: &mut Assembler,
        opcode: Opcode,
        result: Register,
        operands: [Register; 2],
    );

    /// A mask.
    fn compare(
        &self,
        assembler: &mut Assembler,
        comparison: Comparison,
        result: Register,
        operands: [Register; 2],
    );

    /// `yes` in the mask, else `no`.
    fn select(
        &self,
        assembler: &mut Assembler,
        result: Register,
        mask: Register,
        choices: [Register; 2],
    );

    /// `value` in the mask, else zero.
    fn keep(&self, assembler: &mut Assembler, result: Register, mask: Register, value: Register);

    fn combine_masks(
        &self,
        assembler: &mut Assembler,
        operation: MaskOperation,
        result: Register,
        operands: [Register; 2],
    );
}

/// The predicate of the comparison of floats, by its number: quiet ones.
///
/// # Panics
/// If it is one of integers.
pub(super) fn predicate(comparison: Comparison) -> u8 {
    match comparison {
        Comparison::FloatEqual => 0,
        Comparison::FloatUnordered => 3,
        Comparison::FloatNotEqual => 4,
        Comparison::FloatLess => 17,
        Comparison::FloatLessEqual => 18,
        Comparison::IntegerEqual | Comparison::IntegerLess => unreachable!("of integers"),
    }
}
