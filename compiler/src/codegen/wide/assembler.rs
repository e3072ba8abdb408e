//! Encodes the x86-64 instructions that loops over wide vectors consist of.
//!
//! Formats after Intel's "64 and IA-32 Architectures Software Developer's Manual", volume 2, chapter 2:
//! EVEX for vectors of 512 bits, VEX for those of 256 bits and for masks, legacy for general registers.

/// A general register, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct General(pub u8);

impl General {
    pub(super) const RAX: General = General(0);
    pub(super) const RCX: General = General(1);
    pub(super) const RDX: General = General(2);
    pub(super) const RBX: General = General(3);
    pub(super) const RSP: General = General(4);
    pub(super) const RBP: General = General(5);
    pub(super) const RSI: General = General(6);
    pub(super) const RDI: General = General(7);
    pub(super) const R8: General = General(8);
    pub(super) const R9: General = General(9);
    pub(super) const R10: General = General(10);
    pub(super) const R11: General = General(11);
    pub(super) const R12: General = General(12);
    pub(super) const R13: General = General(13);
    pub(super) const R14: General = General(14);
    pub(super) const R15: General = General(15);
}

/// A register for vectors or masks, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Register(pub u8);

/// A place in memory: `base + index * scale + displacement`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    pub base: General,
    /// A register and the logarithm of its scale.
    pub index: Option<(General, u8)>,
    pub displacement: i32,
}

/// The last operand of a vector instruction.
#[derive(Clone, Copy, Debug)]
pub(super) enum Operand {
    /// Of either kind.
    Register(Register),
    General(General),
    /// Memory, and the bytes that an instruction reads or writes there.
    Memory(Memory, i32),
    /// The 64 bytes of a literal behind the code.
    Literal(usize),
}

/// A vector instruction on 32-bit elements: its map of opcodes, its prefix, its opcode. EVEX and VEX have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::codegen) struct Opcode {
    pub(super) map: u8,
    pub(super) prefix: u8,
    pub(super) byte: u8,
}

/// The maps of opcodes 0F, 0F38 and 0F3A, and the prefixes 66 and F3, by their numbers in EVEX and VEX.
pub(super) const MAP_0F: u8 = 1;
pub(super) const MAP_0F38: u8 = 2;
pub(super) const MAP_0F3A: u8 = 3;
pub(super) const PREFIX_NONE: u8 = 0;
pub(super) const PREFIX_66: u8 = 1;
pub(super) const PREFIX_F3: u8 = 2;

/// Instructions of both encodings, by their mnemonics.
impl Opcode {
    pub(super) const fn new(map: u8, prefix: u8, byte: u8) -> Opcode {
        Opcode { map, prefix, byte }
    }

    pub(super) const VMOVUPS_LOAD: Opcode = Opcode::new(MAP_0F, PREFIX_NONE, 0x10);
    pub(super) const VMOVUPS_STORE: Opcode = Opcode::new(MAP_0F, PREFIX_NONE, 0x11);
    pub(super) const VMOVNTPS: Opcode = Opcode::new(MAP_0F, PREFIX_NONE, 0x2b);
    pub(super) const VPMOVZXBD: Opcode = Opcode::new(MAP_0F38, PREFIX_66, 0x31);
    pub(super) const VBROADCASTSS: Opcode = Opcode::new(MAP_0F38, PREFIX_66, 0x18);
    pub(super) const VADDPS: Opcode = Opcode::new(MAP_0F, PREFIX_NONE, 0x58);
    pub(super) const VMULPS: Opcode = Opcode::new(MAP_0F, PREFIX_NONE, 0x59);
    pub(super) const VSUBPS: Opcode = Opcode::new(MAP_0F, PREFIX_NONE, 0x5c);
    pub(super) const VDIVPS: Opcode = Opcode::new(MAP_0F, PREFIX_NONE, 0x5e);
    pub(super) const VMAXPS: Opcode = Opcode::new(MAP_0F, PREFIX_NONE, 0x5f);
    pub(super) const VSQRTPS: Opcode = Opcode::new(MAP_0F, PREFIX_NONE, 0x51);
    pub(super) const VRNDSCALEPS: Opcode = Opcode::new(MAP_0F3A, PREFIX_66, 0x08);
    pub(super) const VCVTDQ2PS: Opcode = Opcode::new(MAP_0F, PREFIX_NONE, 0x5b);
    pub(super) const VCVTTPS2DQ: Opcode = Opcode::new(MAP_0F, PREFIX_F3, 0x5b);
    pub(super) const VPANDD: Opcode = Opcode::new(MAP_0F, PREFIX_66, 0xdb);
    pub(super) const VPXORD: Opcode = Opcode::new(MAP_0F, PREFIX_66, 0xef);
    pub(super) const VPADDD: Opcode = Opcode::new(MAP_0F, PREFIX_66, 0xfe);
    pub(super) const VPSUBD: Opcode = Opcode::new(MAP_0F, PREFIX_66, 0xfa);
    pub(super) const VPMULLD: Opcode = Opcode::new(MAP_0F38, PREFIX_66, 0x40);
    pub(super) const VPABSD: Opcode = Opcode::new(MAP_0F38, PREFIX_66, 0x1e);
    pub(super) const VPMINSD: Opcode = Opcode::new(MAP_0F38, PREFIX_66, 0x39);
    pub(super) const VPMAXSD: Opcode = Opcode::new(MAP_0F38, PREFIX_66, 0x3d);
}

/// When a jump is taken, after the comparison of two signed numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Equal,
    Less,
    LessEqual,
    Greater,
}

impl Condition {
    const fn number(self) -> u8 {
        match self {
            Condition::Equal => 0x4,
            Condition::Less => 0xc,
            Condition::LessEqual => 0xe,
            Condition::Greater => 0xf,
        }
    }
}

/// A place in the code that jumps lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label(usize);

/// Machine code while it grows.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    bytes: Vec<u8>,
    /// Where labels are, once that is known.
    labels: Vec<Option<usize>>,
    /// Places of distances to labels; a distance counts from the end of its four bytes.
    jumps: Vec<(usize, Label)>,
    literals: Vec<[u32; 16]>,
    /// Places of distances to literals.
    literal_uses: Vec<(usize, usize)>,
}

/// The mask of an instruction of EVEX, by its number, 0 for all elements; and whether elements outside of it
/// become zero instead of staying what they are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Masking {
    pub mask: u8,
    pub zeroing: bool,
}

impl Masking {
    pub(super) const NONE: Masking = Masking { mask: 0, zeroing: false };
}

impl Assembler {
    /// The finished code: instructions, then literals.
    pub(super) fn finish(mut self) -> Vec<u8> {
        for (place, label) in std::mem::take(&mut self.jumps) {
            let target = self.labels[label.0].expect("labels are placed");
            self.set_distance(place, target);
        }
        if !self.literals.is_empty() {
            self.bytes.resize(self.bytes.len().next_multiple_of(64), 0xcc);
            let first = self.bytes.len();
            self.bytes.extend(self.literals.iter().flatten().flat_map(|word| word.to_le_bytes()));
            for (place, literal) in std::mem::take(&mut self.literal_uses) {
                self.set_distance(place, first + 64 * literal);
            }
        }
        self.bytes
    }

    fn set_distance(&mut self, place: usize, target: usize) {
        let distance = target as i64 - (place as i64 + 4);
        self.bytes[place..place + 4].copy_from_slice(&(distance as i32).to_le_bytes());
    }

    /// A literal that instructions can read.
    pub(super) fn literal(&mut self, words: [u32; 16]) -> usize {
        self.literals.push(words);
        self.literals.len() - 1
    }

    /// How many bytes there are so far.
    pub(super) fn offset(&self) -> usize {
        self.bytes.len()
    }

    /// A label that has no place yet.
    pub(super) fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// Places a label here.
    pub(super) fn place(&mut self, label: Label) {
        self.labels[label.0] = Some(self.bytes.len());
    }

    /// An instruction on vectors of 512 bits, whose operands are in `reg`, `vvvv` and `operand`: four bytes of
    /// prefix, then opcode and operands. Of a register's number, the lower three bits stand behind the opcode
    /// and the others, inverted, in the prefix.
    pub(super) fn evex(
        &mut self,
        opcode: Opcode,
        [reg, vvvv]: [u8; 2],
        operand: Operand,
        masking: Masking,
        immediate: Option<u8>,
    ) {
        let bit = |number: u8, place: u8| (number >> place) & 1;
        // Of the last operand: bits 3 of base and index, or bits 3 and 4 of a vector.
        let (b, x) = match operand {
            Operand::Register(register) => (bit(register.0, 3), bit(register.0, 4)),
            Operand::General(general) => (bit(general.0, 3), 0),
            Operand::Memory(memory, _) => {
                let index = memory.index.map_or(0, |(index, _)| index.0);
                (bit(memory.base.0, 3), bit(index, 3))
            }
            Operand::Literal(_) => (0, 0),
        };
        const LENGTH_512: u8 = 0b10 << 5;
        let inverted = |bit: u8, place: u8| (bit ^ 1) << place;
        self.bytes.extend([
            0x62,
            inverted(bit(reg, 3), 7)
                | inverted(x, 6)
                | inverted(b, 5)
                | inverted(bit(reg, 4), 4)
                | opcode.map,
            ((!vvvv & 0xf) << 3) | 0b100 | opcode.prefix,
            (u8::from(masking.zeroing) << 7)
                | LENGTH_512
                | inverted(bit(vvvv, 4), 3)
                | masking.mask,
            opcode.byte,
        ]);
        // Short displacements count in what the instruction accesses.
        let unit = if let Operand::Memory(_, bytes) = operand { bytes } else { 1 };
        self.operands(reg, operand, unit, immediate);
    }

    /// An instruction on vectors of 256 bits if `long`, else on masks or general registers: three bytes of prefix, then
    /// opcode and operands.
    pub(super) fn vex(
        &mut self,
        opcode: Opcode,
        long: bool,
        [reg, vvvv]: [u8; 2],
        operand: Operand,
        immediate: Option<u8>,
    ) {
        let (b, x) = match operand {
            Operand::Register(Register(rm)) | Operand::General(General(rm)) => (rm >> 3, 0),
            Operand::Memory(memory, _) => {
                (memory.base.0 >> 3, memory.index.map_or(0, |(index, _)| index.0 >> 3))
            }
            Operand::Literal(_) => (0, 0),
        };
        self.bytes.extend([
            0xc4,
            (((reg >> 3) ^ 1) << 7) | ((x ^ 1) << 6) | ((b ^ 1) << 5) | opcode.map,
            ((!vvvv & 0xf) << 3) | (u8::from(long) << 2) | opcode.prefix,
            opcode.byte,
        ]);
        self.operands(reg, operand, 1, immediate);
    }

    /// What stands behind an opcode.
    fn operands(&mut self, reg: u8, operand: Operand, unit: i32, immediate: Option<u8>) {
        match operand {
            Operand::Register(Register(rm)) | Operand::General(General(rm)) => {
                self.bytes.push(0b1100_0000 | ((reg & 7) << 3) | (rm & 7));
            }
            Operand::Memory(memory, _) => self.memory(reg, memory, unit),
            Operand::Literal(literal) => {
                self.bytes.push(((reg & 7) << 3) | 0b101);
                debug_assert!(immediate.is_none(), "the distance counts from its end");
                self.literal_uses.push((self.bytes.len(), literal));
                self.bytes.extend([0; 4]);
            }
        }
        self.bytes.extend(immediate);
    }

    /// A place in memory behind an opcode; a displacement of one byte is a multiple of `unit`.
    fn memory(&mut self, reg: u8, memory: Memory, unit: i32) {
        let Memory { base, index, displacement } = memory;
        let short = (displacement % unit == 0).then_some(displacement / unit);
        let short = short.and_then(|short| i8::try_from(short).ok());
        // What would mean no displacement for rbp and r13 means something else.
        let none = displacement == 0 && base.0 & 7 != 5;
        let mode = if none { 0 } else { 2 - u8::from(short.is_some()) };
        let needs_index = index.is_some() || base.0 & 7 == 4;
        let rm = if needs_index { 4 } else { base.0 & 7 };
        self.bytes.push((mode << 6) | ((reg & 7) << 3) | rm);
        if needs_index {
            // Index 4 stands for none.
            let (index, scale) = index.map_or((4, 0), |(index, scale)| (index.0, scale));
            self.bytes.push((scale << 6) | ((index & 7) << 3) | (base.0 & 7));
        }
        match (none, short) {
            (true, _) => {}
            (false, Some(short)) => self.bytes.push(short as u8),
            (false, None) => self.bytes.extend(displacement.to_le_bytes()),
        }
    }

    /// `result = value` with the bits from bit `count` on cleared, 32 bits.
    pub(super) fn clear_bits_from(&mut self, result: General, value: General, count: General) {
        const BZHI: Opcode = Opcode::new(MAP_0F38, PREFIX_NONE, 0xf5);
        self.vex(BZHI, false, [result.0, count.0], Operand::General(value), None);
    }

    /// Clears the upper parts of vectors, so that narrower instructions do not wait for them.
    pub(super) fn vzeroupper(&mut self) {
        self.bytes.extend([0xc5, 0xf8, 0x77]);
    }

    /// An instruction on general registers of 64 bits, or of 32 if not `long`.
    fn legacy(&mut self, byte: u8, long: bool, reg: u8, rm: General) {
        let rex = 0x40 | (u8::from(long) << 3) | ((reg >> 3) << 2) | (rm.0 >> 3);
        self.bytes.extend([rex, byte, 0b1100_0000 | ((reg & 7) << 3) | (rm.0 & 7)]);
    }

    pub(super) fn push(&mut self, register: General) {
        self.bytes.extend([0x40 | (register.0 >> 3), 0x50 | (register.0 & 7)]);
    }

    pub(super) fn pop(&mut self, register: General) {
        self.bytes.extend([0x40 | (register.0 >> 3), 0x58 | (register.0 & 7)]);
    }

    pub(super) fn copy(&mut self, to: General, from: General) {
        self.legacy(0x89, true, from.0, to);
    }

    /// Loads 64 bits.
    pub(super) fn load(&mut self, to: General, from: Memory) {
        let index = from.index.map_or(0, |(index, _)| index.0);
        let rex = 0x48 | ((to.0 >> 3) << 2) | ((index >> 3) << 1) | (from.base.0 >> 3);
        self.bytes.extend([rex, 0x8b]);
        self.memory(to.0, from, 1);
    }

    /// Asks for a cache line in all levels of the caches. Its address may be any number: nothing is read.
    pub(super) fn prefetch(&mut self, memory: Memory) {
        let index = memory.index.map_or(0, |(index, _)| index.0);
        let rex = 0x40 | ((index >> 3) << 1) | (memory.base.0 >> 3);
        self.bytes.extend([rex, 0x0f, 0x18]);
        self.memory(1, memory, 1);
    }

    /// Sets a register to a number of 32 bits; the upper half becomes zero.
    pub(super) fn set(&mut self, register: General, value: u32) {
        self.bytes.extend([0x40 | (register.0 >> 3), 0xb8 | (register.0 & 7)]);
        self.bytes.extend(value.to_le_bytes());
    }

    pub(super) fn add(&mut self, register: General, value: i32) {
        self.legacy(0x81, true, 0, register);
        self.bytes.extend(value.to_le_bytes());
    }

    pub(super) fn subtract(&mut self, register: General, other: General) {
        self.legacy(0x29, true, other.0, register);
    }

    /// `-register`, 32 bits.
    pub(super) fn negate(&mut self, register: General) {
        self.legacy(0xf7, false, 3, register);
    }

    pub(super) fn compare_numbers(&mut self, a: General, b: General) {
        self.legacy(0x39, true, b.0, a);
    }

    pub(super) fn compare_with(&mut self, register: General, value: i32) {
        self.legacy(0x81, true, 7, register);
        self.bytes.extend(value.to_le_bytes());
    }

    pub(super) fn jump_if(&mut self, condition: Condition, label: Label) {
        self.bytes.extend([0x0f, 0x80 | condition.number()]);
        self.jumps.push((self.bytes.len(), label));
        self.bytes.extend([0; 4]);
    }

    pub(super) fn ret(&mut self) {
        self.bytes.push(0xc3);
    }
}
