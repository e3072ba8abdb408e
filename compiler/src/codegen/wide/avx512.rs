//! Vectors of 512 bits, with masks of 16 bits.

use super::assembler::{
    Assembler, General, MAP_0F, MAP_0F3A, MAP_0F38, Masking, Memory, Opcode, Operand, PREFIX_66,
    PREFIX_F3, PREFIX_NONE, Register,
};
use super::instruction_set::{InstructionSet, Registers, predicate};
use super::program::{Comparison, Element, MaskOperation};

/// AVX-512 F, DQ, and BMI2.
pub(super) struct Avx512;

const VMOVAPS: Opcode = Opcode::new(MAP_0F, PREFIX_NONE, 0x28);
const VPMOVDB: Opcode = Opcode::new(MAP_0F38, PREFIX_F3, 0x31);
const VPBROADCASTD: Opcode = Opcode::new(MAP_0F38, PREFIX_66, 0x7c);
const VGATHERDPS: Opcode = Opcode::new(MAP_0F38, PREFIX_66, 0x92);
const VSCATTERDPS: Opcode = Opcode::new(MAP_0F38, PREFIX_66, 0xa2);
const VCMPPS: Opcode = Opcode::new(MAP_0F, PREFIX_NONE, 0xc2);
const VPCMPD: Opcode = Opcode::new(MAP_0F3A, PREFIX_66, 0x1f);
const VBLENDMPS: Opcode = Opcode::new(MAP_0F38, PREFIX_66, 0x65);
const KMOVW: Opcode = Opcode::new(MAP_0F, PREFIX_NONE, 0x92);
const KANDW: Opcode = Opcode::new(MAP_0F, PREFIX_NONE, 0x41);
const KANDNW: Opcode = Opcode::new(MAP_0F, PREFIX_NONE, 0x42);
const KORW: Opcode = Opcode::new(MAP_0F, PREFIX_NONE, 0x45);
const KXNORW: Opcode = Opcode::new(MAP_0F, PREFIX_NONE, 0x46);
const KXORW: Opcode = Opcode::new(MAP_0F, PREFIX_NONE, 0x47);

/// Predicates of comparisons of integers.
const EQUAL: u8 = 0;
const LESS: u8 = 1;

impl Avx512 {
    fn masks(assembler: &mut Assembler, opcode: Opcode, result: Register, [a, b]: [Register; 2]) {
        assembler.vex(opcode, true, [result.0, a.0], Operand::Register(b), None);
    }

    /// Words that lie apart: the highest bit of their indices' register has the place of the second operand's.
    fn apart(
        assembler: &mut Assembler,
        opcode: Opcode,
        value: Register,
        (memory, places): (Memory, Register),
        mask: Register,
    ) {
        let index = Some((General(places.0 & 0xf), 2));
        let operand = Operand::Memory(Memory { index, ..memory }, 4);
        let masking = Masking { mask: mask.0, zeroing: false };
        assembler.evex(opcode, [value.0, places.0 & 0x10], operand, masking, None);
    }
}

/// Bytes of a vector's elements in memory.
const fn bytes(element: Element) -> i32 {
    match element {
        Element::Word => 64,
        Element::Byte => 16,
        Element::Same => 4,
    }
}

impl InstructionSet for Avx512 {
    fn width(&self) -> usize {
        16
    }

    fn registers(&self) -> Registers {
        // Mask 0 cannot be the mask of an instruction.
        Registers { vectors: (0..32).collect(), masks: Some((2..8).collect()) }
    }

    fn rest(&self) -> Register {
        Register(1)
    }

    fn can_access(&self, _: Element, _: bool, _: bool) -> bool {
        true
    }

    fn can_scatter(&self) -> bool {
        true
    }

    fn set_rest(&self, assembler: &mut Assembler, count: General) {
        let bits = General::R10;
        assembler.set(bits, u32::MAX);
        assembler.clear_bits_from(bits, bits, count);
        self.mask_from_bits(assembler, self.rest(), bits);
    }

    fn splat(&self, assembler: &mut Assembler, result: Register, bits: General) {
        let bits = Operand::General(bits);
        assembler.evex(VPBROADCASTD, [result.0, 0], bits, Masking::NONE, None);
    }

    fn splat_memory(&self, assembler: &mut Assembler, result: Register, memory: Memory) {
        self.load(assembler, result, (memory, Element::Same), None);
    }

    fn zero(&self, assembler: &mut Assembler, result: Register) {
        self.binary(assembler, Opcode::VPXORD, result, [result; 2]);
    }

    fn literal(&self, assembler: &mut Assembler, result: Register, literal: usize) {
        let literal = Operand::Literal(literal);
        assembler.evex(Opcode::VMOVUPS_LOAD, [result.0, 0], literal, Masking::NONE, None);
    }

    fn constant_mask(&self, assembler: &mut Assembler, result: Register, all: bool) {
        let opcode = if all { KXNORW } else { KXORW };
        Avx512::masks(assembler, opcode, result, [result; 2]);
    }

    fn mask_from_bits(&self, assembler: &mut Assembler, result: Register, bits: General) {
        assembler.vex(KMOVW, false, [result.0, 0], Operand::General(bits), None);
    }

    fn copy(&self, assembler: &mut Assembler, result: Register, from: Register) {
        self.unary(assembler, VMOVAPS, result, from, None);
    }

    fn copy_mask(&self, assembler: &mut Assembler, result: Register, from: Register) {
        Avx512::masks(assembler, KANDW, result, [from; 2]);
    }

    fn load(
        &self,
        assembler: &mut Assembler,
        result: Register,
        (memory, element): (Memory, Element),
        mask: Option<Register>,
    ) {
        let opcode = match element {
            Element::Word => Opcode::VMOVUPS_LOAD,
            Element::Byte => Opcode::VPMOVZXBD,
            Element::Same => Opcode::VBROADCASTSS,
        };
        let masking = mask.map_or(Masking::NONE, |mask| Masking { mask: mask.0, zeroing: true });
        let operand = Operand::Memory(memory, bytes(element));
        assembler.evex(opcode, [result.0, 0], operand, masking, None);
    }

    fn store(
        &self,
        assembler: &mut Assembler,
        value: Register,
        (memory, element): (Memory, Element),
        mask: Option<Register>,
        streamed: bool,
    ) {
        let opcode = match element {
            Element::Byte => VPMOVDB,
            _ if streamed => Opcode::VMOVNTPS,
            _ => Opcode::VMOVUPS_STORE,
        };
        let masking = mask.map_or(Masking::NONE, |mask| Masking { mask: mask.0, zeroing: false });
        let operand = Operand::Memory(memory, bytes(element));
        assembler.evex(opcode, [value.0, 0], operand, masking, None);
    }

    fn gather(
        &self,
        assembler: &mut Assembler,
        result: Register,
        from: (Memory, Register),
        mask: Register,
    ) {
        Avx512::apart(assembler, VGATHERDPS, result, from, mask);
    }

    fn scatter(
        &self,
        assembler: &mut Assembler,
        value: Register,
        to: (Memory, Register),
        mask: Register,
    ) {
        Avx512::apart(assembler, VSCATTERDPS, value, to, mask);
    }

    fn unary(
        &self,
        assembler: &mut Assembler,
        opcode: Opcode,
        result: Register,
        a: Register,
        immediate: Option<u8>,
    ) {
        let a = Operand::Register(a);
        assembler.evex(opcode, [result.0, 0], a, Masking::NONE, immediate);
    }

    fn binary(
        &self,
        assembler: &mut Assembler,
        opcode: Opcode,
        result: Register,
        [a, b]: [Register; 2],
    ) {
        assembler.evex(opcode, [result.0, a.0], Operand::Register(b), Masking::NONE, None);
    }

    fn compare(
        &self,
        assembler: &mut Assembler,
        comparison: Comparison,
        result: Register,
        [a, b]: [Register; 2],
    ) {
        let (opcode, predicate) = match comparison {
            Comparison::IntegerEqual => (VPCMPD, EQUAL),
            Comparison::IntegerLess => (VPCMPD, LESS),
            of_floats => (VCMPPS, predicate(of_floats)),
        };
        let b = Operand::Register(b);
        assembler.evex(opcode, [result.0, a.0], b, Masking::NONE, Some(predicate));
    }

    fn select(
        &self,
        assembler: &mut Assembler,
        result: Register,
        mask: Register,
        [yes, no]: [Register; 2],
    ) {
        let masking = Masking { mask: mask.0, zeroing: false };
        assembler.evex(VBLENDMPS, [result.0, no.0], Operand::Register(yes), masking, None);
    }

    fn keep(&self, assembler: &mut Assembler, result: Register, mask: Register, value: Register) {
        let masking = Masking { mask: mask.0, zeroing: true };
        assembler.evex(VMOVAPS, [result.0, 0], Operand::Register(value), masking, None);
    }

    fn combine_masks(
        &self,
        assembler: &mut Assembler,
        operation: MaskOperation,
        result: Register,
        operands: [Register; 2],
    ) {
        let opcode = match operation {
            MaskOperation::And => KANDW,
            MaskOperation::AndNot => KANDNW,
            MaskOperation::Or => KORW,
            MaskOperation::Same => KXNORW,
        };
        Avx512::masks(assembler, opcode, result, operands);
    }
}
