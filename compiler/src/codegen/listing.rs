//! Generated code as text.
//!
//! Text is made only when somebody asks for it, by generating the code once more: what runs
//! carries no listings along.

use std::fmt::{self, Write};

use capstone::{Capstone, Insn, Syntax};
use cranelift::codegen::CompiledCode;
use cygnet_runtime::cpu::Cpu;

use super::compiler::{Compiler, Effort, Goal, Targets};
use super::function::Translated;
use super::jit::CodegenError;
use super::runtime::Imports;
use super::sharing::representatives;
use super::wide::Routine;
use crate::kernel::loops::{Function, LoopInstruction, Statement};

/// A function's code at two stages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// What Cranelift is given. `@000a` marks what belongs to instruction 10 of the kernel IR,
    /// counted from 0 in the order of its listing.
    pub clif: String,
    /// Machine code of this machine, in Intel's syntax; comments tell which instruction of the
    /// kernel IR the code that follows belongs to.
    pub assembly: String,
}

/// The code that [`generate`](super::generate) makes of verified functions for a processor, as text;
/// functions that share their code have the same.
///
/// # Errors
/// As [`generate`](super::generate); also where there is no disassembler for
/// this machine.
pub fn list_functions(functions: &[Function], cpu: Cpu) -> Result<Vec<Listing>, CodegenError> {
    let targets = Targets::with_blocks(cpu, true)?;
    let mut compiler = Compiler::new();
    let bodies = representatives(functions);
    let is_shared = |body: usize| bodies.iter().filter(|&&other| other == body).count() > 1;
    let listings = bodies.iter().map(|&body| {
        let goal = targets.goal(Effort::for_function(&functions[body]));
        list(&functions[body], is_shared(body), goal, &mut compiler)
    });
    listings.collect()
}

fn list(
    function: &Function,
    shared: bool,
    goal: Goal<'_>,
    compiler: &mut Compiler,
) -> Result<Listing, CodegenError> {
    let Translated { routines, .. } = compiler.translate(function, shared, goal, &Imports::Symbols);
    let isa = goal.isa;
    let clif = compiler.clif();
    let mut disassembler =
        isa.to_capstone().map_err(|error| CodegenError::Machine(error.to_string()))?;
    if cfg!(target_arch = "x86_64") {
        let syntax = disassembler.set_syntax(Syntax::Intel);
        syntax.map_err(|error| CodegenError::Machine(error.to_string()))?;
    }
    let code = compiler.generate(&function.name, isa)?;
    let assembly = disassemble(function, code, &disassembler).and_then(|mut text| {
        for (number, routine) in routines.iter().enumerate() {
            list_routine(&mut text, function, number, routine, &disassembler)?;
        }
        Ok(text)
    });
    let assembly = assembly.map_err(|error| CodegenError::Function {
        function: function.name.clone(),
        reason: error.to_string(),
    })?;
    Ok(Listing { clif, assembly })
}

/// Instructions in the order of the listing.
fn instructions<'f>(statements: &'f [Statement], found: &mut Vec<&'f LoopInstruction>) {
    for statement in statements {
        match statement {
            Statement::Loop { body, .. } => instructions(body, found),
            Statement::Tiles { body, .. } | Statement::Scalar(body) => found.extend(body),
        }
    }
}

fn disassemble(
    function: &Function,
    code: &CompiledCode,
    disassembler: &Capstone,
) -> Result<String, Box<dyn std::error::Error>> {
    let mut sources = Vec::new();
    instructions(&function.body, &mut sources);
    let mut text = String::new();
    let bytes = code.code_buffer();
    let mut starts: Vec<usize> = code.bb_starts.iter().map(|&start| start as usize).collect();
    starts.push(0);
    starts.sort_unstable();
    starts.dedup();
    let ends = starts.iter().skip(1).copied().chain([bytes.len()]);
    let mut known = None;
    for (number, (&start, end)) in starts.iter().zip(ends).enumerate() {
        writeln!(text, "block{number}:")?;
        let block = disassembler.disasm_all(&bytes[start..end], start as u64)?;
        let mut data = start;
        for line in block.iter() {
            let source = source_of(code, line.address());
            if source != known {
                match source.and_then(|source| sources.get(source)) {
                    Some(instruction) => writeln!(text, "  ; {instruction}")?,
                    None => writeln!(text, "  ; -")?,
                }
                known = source;
            }
            write_line(&mut text, code, &starts, line)?;
            data = line.address() as usize + line.len();
            // The last block ends where control leaves it; constants follow.
            if end == bytes.len() && matches!(line.mnemonic(), Some("ret" | "jmp")) {
                break;
            }
        }
        for row in bytes[data..end].chunks(16) {
            write!(text, "  {data:4x}: .byte")?;
            for (place, byte) in row.iter().enumerate() {
                write!(text, "{} {byte:#04x}", if place == 0 { "" } else { "," })?;
            }
            writeln!(text)?;
            data += row.len();
        }
    }
    Ok(text)
}

/// A routine with wide vectors; jumps lead to offsets in it.
fn list_routine(
    text: &mut String,
    function: &Function,
    number: usize,
    routine: &Routine,
    disassembler: &Capstone,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut instructions_of = Vec::new();
    instructions(&function.body, &mut instructions_of);
    writeln!(text, "vectors{number}:")?;
    let mut sources = routine.sources.iter().peekable();
    for line in disassembler.disasm_all(&routine.bytes, 0)?.iter() {
        let mut source = None;
        while let Some(begun) = sources.next_if(|(offset, _)| *offset as u64 <= line.address()) {
            source = Some(begun.1);
        }
        match source {
            Some(Some(number)) => writeln!(text, "  ; {}", instructions_of[number as usize])?,
            Some(None) => writeln!(text, "  ; -")?,
            None => {}
        }
        let (mnemonic, operands) = (line.mnemonic().unwrap_or("?"), line.op_str());
        writeln!(text, "  {:4x}: {mnemonic} {}", line.address(), operands.unwrap_or_default())?;
        // Literals follow.
        if mnemonic == "ret" {
            break;
        }
    }
    Ok(())
}

/// The number of the instruction of kernel IR that the code at an offset belongs to.
fn source_of(code: &CompiledCode, offset: u64) -> Option<usize> {
    let ranges = code.buffer.get_srclocs_sorted();
    let holds = |range: &&cranelift::codegen::MachSrcLoc<_>| {
        (u64::from(range.start)..u64::from(range.end)).contains(&offset)
    };
    let range = ranges.iter().find(holds)?;
    (!range.loc.is_default()).then(|| range.loc.bits() as usize)
}

fn write_line(
    text: &mut String,
    code: &CompiledCode,
    blocks: &[usize],
    line: &Insn<'_>,
) -> fmt::Result {
    let mnemonic = line.mnemonic().unwrap_or("?");
    write!(text, "  {:4x}: {mnemonic}", line.address())?;
    let operands = line.op_str().unwrap_or_default();
    // The target of a jump is an address; blocks have names.
    let target = operands.strip_prefix("0x").and_then(|hex| usize::from_str_radix(hex, 16).ok());
    match target.and_then(|target| blocks.binary_search(&target).ok()) {
        Some(block) if mnemonic.starts_with('j') => write!(text, " block{block}")?,
        _ if operands.is_empty() => {}
        _ => write!(text, " {operands}")?,
    }
    let bytes = line.address()..line.address() + line.len() as u64;
    for relocation in code.buffer.relocs() {
        if bytes.contains(&u64::from(relocation.offset)) {
            write!(text, "  ; {}", relocation.target.display(None))?;
        }
    }
    writeln!(text)
}
