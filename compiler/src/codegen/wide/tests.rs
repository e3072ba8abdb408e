//! What an independent disassembler makes of encoded instructions.

use capstone::arch::{BuildsCapstone, BuildsCapstoneSyntax};
use capstone::{Capstone, arch};

use super::assembler::{Assembler, Condition, General, Memory, Opcode, Register};
use super::avx2::Avx2;
use super::avx512::Avx512;
use super::instruction_set::InstructionSet;
use super::program::{Comparison, Element, MaskOperation};

fn disassembled(assembler: Assembler) -> Vec<String> {
    let mode = arch::x86::ArchMode::Mode64;
    let syntax = arch::x86::ArchSyntax::Intel;
    let capstone = Capstone::new().x86().mode(mode).syntax(syntax).build().unwrap();
    let bytes = assembler.finish();
    let code = capstone.disasm_all(&bytes, 0).unwrap();
    let line = |line: &capstone::Insn<'_>| {
        let (mnemonic, operands) = (line.mnemonic().unwrap(), line.op_str().unwrap());
        format!("{mnemonic} {operands}").trim_end().to_owned()
    };
    let lines: Vec<String> = code.iter().map(line).collect();
    let read: usize = code.iter().map(|line| line.bytes().len()).sum();
    assert_eq!(read, bytes.len(), "all of it is code");
    lines
}

/// Every bit of a register's number arrives where it belongs.
#[test]
fn registers_of_512_bits() {
    for (result, a, b) in [(0, 1, 2), (9, 18, 31), (31, 0, 16), (16, 31, 8), (23, 12, 27)] {
        let mut assembler = Assembler::default();
        let [r, x, y] = [result, a, b].map(Register);
        Avx512.binary(&mut assembler, Opcode::VADDPS, r, [x, y]);
        Avx512.select(&mut assembler, r, Register(5), [x, y]);
        Avx512.keep(&mut assembler, r, Register(7), y);
        Avx512.unary(&mut assembler, Opcode::VRNDSCALEPS, r, y, Some(9));
        Avx512.compare(&mut assembler, Comparison::FloatLess, Register(6), [x, y]);
        Avx512.compare(&mut assembler, Comparison::IntegerLess, Register(6), [x, y]);
        let expected = [
            format!("vaddps zmm{result}, zmm{a}, zmm{b}"),
            format!("vblendmps zmm{result} {{k5}}, zmm{b}, zmm{a}"),
            format!("vmovaps zmm{result} {{k7}} {{z}}, zmm{b}"),
            format!("vrndscaleps zmm{result}, zmm{b}, 9"),
            format!("vcmplt_oqps k6, zmm{a}, zmm{b}"),
            format!("vpcmpltd k6, zmm{a}, zmm{b}"),
        ];
        assert_eq!(disassembled(assembler), expected);
    }
}

#[test]
fn registers_of_256_bits() {
    for (result, a, b, mask) in [(0, 1, 2, 3), (9, 14, 7, 15), (15, 0, 8, 9), (4, 13, 12, 1)] {
        let mut assembler = Assembler::default();
        let [r, x, y, m] = [result, a, b, mask].map(Register);
        Avx2.binary(&mut assembler, Opcode::VPMULLD, r, [x, y]);
        Avx2.select(&mut assembler, r, m, [x, y]);
        Avx2.keep(&mut assembler, r, m, y);
        Avx2.unary(&mut assembler, Opcode::VRNDSCALEPS, r, y, Some(9));
        Avx2.compare(&mut assembler, Comparison::FloatLess, r, [x, y]);
        Avx2.compare(&mut assembler, Comparison::IntegerLess, r, [x, y]);
        Avx2.combine_masks(&mut assembler, MaskOperation::AndNot, r, [x, y]);
        Avx2.splat(&mut assembler, r, General::R10);
        let expected = [
            format!("vpmulld ymm{result}, ymm{a}, ymm{b}"),
            format!("vblendvps ymm{result}, ymm{b}, ymm{a}, ymm{mask}"),
            format!("vandps ymm{result}, ymm{mask}, ymm{b}"),
            format!("vroundps ymm{result}, ymm{b}, 9"),
            format!("vcmplt_oqps ymm{result}, ymm{a}, ymm{b}"),
            format!("vpcmpgtd ymm{result}, ymm{b}, ymm{a}"),
            format!("vandnps ymm{result}, ymm{a}, ymm{b}"),
            format!("vmovd xmm{result}, r10d"),
            format!("vpbroadcastd ymm{result}, xmm{result}"),
        ];
        assert_eq!(disassembled(assembler), expected);
    }
}

/// Bases and indices with special encodings, and displacements of all kinds.
#[test]
fn places_in_memory() {
    let names = [
        "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12",
        "r13", "r14", "r15",
    ];
    let shown = |displacement: i32| match displacement {
        0 => String::new(),
        d if d > 9 => format!(" + {d:#x}"),
        d if d > 0 => format!(" + {d}"),
        d if d < -9 => format!(" - {:#x}", -d),
        d => format!(" - {}", -d),
    };
    for base in 0..16u8 {
        for displacement in [0, 4, 64, -64, 4096, 8128, 8192, -8192, 100_000, -1] {
            let mut assembler = Assembler::default();
            let plain = Memory { base: General(base), index: None, displacement };
            let words = (Memory { index: Some((General::RAX, 2)), ..plain }, Element::Word);
            let bytes = (Memory { index: Some((General::RAX, 0)), ..plain }, Element::Byte);
            let (mask, out) = (Some(Register(1)), Register(17));
            Avx512.load(&mut assembler, out, words, mask);
            Avx512.store(&mut assembler, out, bytes, None, false);
            Avx512.gather(&mut assembler, Register(3), (plain, Register(28)), Register(2));
            Avx2.load(&mut assembler, Register(9), words, Some(Register(14)));
            Avx2.store(&mut assembler, Register(9), words, None, true);
            Avx2.gather(&mut assembler, Register(3), (plain, Register(12)), Register(10));
            assembler.load(General(base), plain);
            assembler.prefetch(words.0);
            assembler.prefetch(Memory { index: None, ..plain });
            let (name, rest) = (names[usize::from(base)], shown(displacement));
            let expected = [
                format!("vmovups zmm17 {{k1}} {{z}}, zmmword ptr [{name} + rax*4{rest}]"),
                format!("vpmovdb xmmword ptr [{name} + rax{rest}], zmm17"),
                format!("vgatherdps zmm3 {{k2}}, zmmword ptr [{name} + zmm28*4{rest}]"),
                format!("vmaskmovps ymm9, ymm14, ymmword ptr [{name} + rax*4{rest}]"),
                format!("vmovntps ymmword ptr [{name} + rax*4{rest}], ymm9"),
                format!("vgatherdps ymm3, ymmword ptr [{name} + ymm12*4{rest}], ymm10"),
                format!("mov {name}, qword ptr [{name}{rest}]"),
                format!("prefetcht0 byte ptr [{name} + rax*4{rest}]"),
                format!("prefetcht0 byte ptr [{name}{rest}]"),
            ];
            assert_eq!(disassembled(assembler), expected);
        }
    }
}

#[test]
fn masks_and_general_registers() {
    let mut assembler = Assembler::default();
    let (again, done) = (assembler.label(), assembler.label());
    assembler.push(General::R13);
    assembler.place(again);
    let [k7, k3] = [7, 3].map(Register);
    Avx512.combine_masks(&mut assembler, MaskOperation::AndNot, Register(2), [k7, k3]);
    Avx512.constant_mask(&mut assembler, Register(4), true);
    Avx512.set_rest(&mut assembler, General::R11);
    assembler.copy(General::R11, General::RSI);
    assembler.add(General::RAX, -32);
    assembler.subtract(General::R11, General::RAX);
    assembler.jump_if(Condition::Equal, done);
    assembler.negate(General::R10);
    assembler.compare_numbers(General::RAX, General::R11);
    assembler.jump_if(Condition::LessEqual, again);
    assembler.compare_with(General::RAX, 512);
    assembler.place(done);
    assembler.vzeroupper();
    assembler.pop(General::R13);
    assembler.ret();
    let expected = [
        "push r13",
        "kandnw k2, k7, k3",
        "kxnorw k4, k4, k4",
        "mov r10d, 0xffffffff",
        "bzhi r10d, r10d, r11d",
        "kmovw k1, r10d",
        "mov r11, rsi",
        "add rax, -0x20",
        "sub r11, rax",
        "je 0x42",
        "neg r10d",
        "cmp rax, r11",
        "jle 2",
        "cmp rax, 0x200",
        "vzeroupper",
        "pop r13",
        "ret",
    ];
    assert_eq!(disassembled(assembler), expected);
}
