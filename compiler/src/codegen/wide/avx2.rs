//! Vectors of 256 bits, with masks that are vectors themselves: all bits of an element, or none.

use super::assembler::{
    Assembler, General, MAP_0F, MAP_0F3A, MAP_0F38, Memory, Opcode, Operand, PREFIX_66,
    PREFIX_NONE, Register,
};
use super::instruction_set::{InstructionSet, Registers, predicate};
use super::program::{Comparison, Element, MaskOperation};

/// AVX2.
pub(super) struct Avx2;

const VMOVAPS: Opcode = Opcode::new(MAP_0F, PREFIX_NONE, 0x28);
const VMOVD: Opcode = Opcode::new(MAP_0F, PREFIX_66, 0x6e);
const VPBROADCASTD: Opcode = Opcode::new(MAP_0F38, PREFIX_66, 0x58);
const VMASKMOVPS_LOAD: Opcode = Opcode::new(MAP_0F38, PREFIX_66, 0x2c);
const VMASKMOVPS_STORE: Opcode = Opcode::new(MAP_0F38, PREFIX_66, 0x2e);
const VGATHERDPS: Opcode = Opcode::new(MAP_0F38, PREFIX_66, 0x92);
const VCMPPS: Opcode = Opcode::new(MAP_0F, PREFIX_NONE, 0xc2);
const VPCMPEQD: Opcode = Opcode::new(MAP_0F, PREFIX_66, 0x76);
const VPCMPGTD: Opcode = Opcode::new(MAP_0F, PREFIX_66, 0x66);
const VBLENDVPS: Opcode = Opcode::new(MAP_0F3A, PREFIX_66, 0x4a);
const VANDPS: Opcode = Opcode::new(MAP_0F, PREFIX_NONE, 0x54);
const VANDNPS: Opcode = Opcode::new(MAP_0F, PREFIX_NONE, 0x55);
const VORPS: Opcode = Opcode::new(MAP_0F, PREFIX_NONE, 0x56);

impl Avx2 {
    fn encode(assembler: &mut Assembler, opcode: Opcode, registers: [u8; 2], operand: Operand) {
        assembler.vex(opcode, true, registers, operand, None);
    }
}

impl InstructionSet for Avx2 {
    fn width(&self) -> usize {
        8
    }

    fn registers(&self) -> Registers {
        Registers { vectors: (0..15).collect(), masks: None }
    }

    fn rest(&self) -> Register {
        Register(15)
    }

    /// There is no instruction that narrows words to bytes, and only words have masks.
    fn can_access(&self, element: Element, stores: bool, in_mask: bool) -> bool {
        match element {
            Element::Word => true,
            Element::Byte => !stores && !in_mask,
            Element::Same => !in_mask,
        }
    }

    fn can_scatter(&self) -> bool {
        false
    }

    fn set_rest(&self, assembler: &mut Assembler, count: General) {
        let rest = self.rest();
        self.splat(assembler, rest, count);
        let places = assembler.literal(std::array::from_fn(|place| place as u32));
        Avx2::encode(assembler, VPCMPGTD, [rest.0; 2], Operand::Literal(places));
    }

    fn splat(&self, assembler: &mut Assembler, result: Register, bits: General) {
        assembler.vex(VMOVD, false, [result.0, 0], Operand::General(bits), None);
        self.unary(assembler, VPBROADCASTD, result, result, None);
    }

    fn splat_memory(&self, assembler: &mut Assembler, result: Register, memory: Memory) {
        Avx2::encode(assembler, Opcode::VBROADCASTSS, [result.0, 0], Operand::Memory(memory, 4));
    }

    fn zero(&self, assembler: &mut Assembler, result: Register) {
        self.binary(assembler, Opcode::VPXORD, result, [result; 2]);
    }

    fn literal(&self, assembler: &mut Assembler, result: Register, literal: usize) {
        let literal = Operand::Literal(literal);
        Avx2::encode(assembler, Opcode::VMOVUPS_LOAD, [result.0, 0], literal);
    }

    fn constant_mask(&self, assembler: &mut Assembler, result: Register, all: bool) {
        match all {
            true => self.binary(assembler, VPCMPEQD, result, [result; 2]),
            false => self.zero(assembler, result),
        }
    }

    fn mask_from_bits(&self, assembler: &mut Assembler, result: Register, bits: General) {
        self.splat(assembler, result, bits);
    }

    fn copy(&self, assembler: &mut Assembler, result: Register, from: Register) {
        self.unary(assembler, VMOVAPS, result, from, None);
    }

    fn copy_mask(&self, assembler: &mut Assembler, result: Register, from: Register) {
        self.copy(assembler, result, from);
    }

    fn load(
        &self,
        assembler: &mut Assembler,
        result: Register,
        (memory, element): (Memory, Element),
        mask: Option<Register>,
    ) {
        let operand = Operand::Memory(memory, 1);
        let (opcode, mask) = match (element, mask) {
            (Element::Word, Some(mask)) => (VMASKMOVPS_LOAD, mask.0),
            (Element::Word, None) => (Opcode::VMOVUPS_LOAD, 0),
            (Element::Byte, _) => (Opcode::VPMOVZXBD, 0),
            (Element::Same, _) => (Opcode::VBROADCASTSS, 0),
        };
        Avx2::encode(assembler, opcode, [result.0, mask], operand);
    }

    fn store(
        &self,
        assembler: &mut Assembler,
        value: Register,
        (memory, _): (Memory, Element),
        mask: Option<Register>,
        streamed: bool,
    ) {
        let (opcode, mask) = match mask {
            Some(mask) => (VMASKMOVPS_STORE, mask.0),
            None if streamed => (Opcode::VMOVNTPS, 0),
            None => (Opcode::VMOVUPS_STORE, 0),
        };
        Avx2::encode(assembler, opcode, [value.0, mask], Operand::Memory(memory, 1));
    }

    fn gather(
        &self,
        assembler: &mut Assembler,
        result: Register,
        (memory, places): (Memory, Register),
        mask: Register,
    ) {
        let index = Some((General(places.0), 2));
        let operand = Operand::Memory(Memory { index, ..memory }, 1);
        Avx2::encode(assembler, VGATHERDPS, [result.0, mask.0], operand);
    }

    fn scatter(&self, _: &mut Assembler, _: Register, _: (Memory, Register), _: Register) {
        unreachable!("words that lie apart cannot be stored")
    }

    fn unary(
        &self,
        assembler: &mut Assembler,
        opcode: Opcode,
        result: Register,
        a: Register,
        immediate: Option<u8>,
    ) {
        assembler.vex(opcode, true, [result.0, 0], Operand::Register(a), immediate);
    }

    fn binary(
        &self,
        assembler: &mut Assembler,
        opcode: Opcode,
        result: Register,
        [a, b]: [Register; 2],
    ) {
        Avx2::encode(assembler, opcode, [result.0, a.0], Operand::Register(b));
    }

    fn compare(
        &self,
        assembler: &mut Assembler,
        comparison: Comparison,
        result: Register,
        [a, b]: [Register; 2],
    ) {
        match comparison {
            Comparison::IntegerEqual => self.binary(assembler, VPCMPEQD, result, [a, b]),
            Comparison::IntegerLess => self.binary(assembler, VPCMPGTD, result, [b, a]),
            of_floats => {
                let predicate = Some(predicate(of_floats));
                let b = Operand::Register(b);
                assembler.vex(VCMPPS, true, [result.0, a.0], b, predicate);
            }
        }
    }

    fn select(
        &self,
        assembler: &mut Assembler,
        result: Register,
        mask: Register,
        [yes, no]: [Register; 2],
    ) {
        let (yes, mask) = (Operand::Register(yes), Some(mask.0 << 4));
        assembler.vex(VBLENDVPS, true, [result.0, no.0], yes, mask);
    }

    fn keep(&self, assembler: &mut Assembler, result: Register, mask: Register, value: Register) {
        self.binary(assembler, VANDPS, result, [mask, value]);
    }

    fn combine_masks(
        &self,
        assembler: &mut Assembler,
        operation: MaskOperation,
        result: Register,
        operands: [Register; 2],
    ) {
        let opcode = match operation {
            MaskOperation::And => VANDPS,
            MaskOperation::AndNot => VANDNPS,
            MaskOperation::Or => VORPS,
            MaskOperation::Same => VPCMPEQD,
        };
        self.binary(assembler, opcode, result, operands);
    }
}
