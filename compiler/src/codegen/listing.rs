//! Generated code as text.
//!
//! Text is made only when somebody asks for it, by generating the code once more: what runs
//! carries no listings along.

use std::collections::BTreeSet;

use super::compiler::{Compiler, Effort, Targets};
use super::jit::CodegenError;
use super::runtime::{Imports, RuntimeFunction};
use crate::kernel::loops::Function;

/// The code of a function as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Cranelift's intermediate representation, before Cranelift optimizes it.
    pub clif: String,
    /// The machine code, disassembled.
    pub assembly: String,
}

/// The code that [`compile_functions`](super::compile_functions) makes of these functions, as
/// text. It is the same for every [`Cpu`](cygnet_runtime::cpu::Cpu): only the addresses of the
/// tile functions that it calls, shown by name, depend on that.
///
/// # Errors
/// As [`compile_functions`](super::compile_functions); also where there is no disassembler for
/// this machine.
pub fn list_functions(functions: &[Function]) -> Result<Vec<Listing>, CodegenError> {
    let targets = Targets::new()?;
    let called: BTreeSet<RuntimeFunction> =
        functions.iter().flat_map(RuntimeFunction::called).collect();
    let imports: Imports = called.into_iter().zip(0..).collect();
    let mut compiler = Compiler::new();
    let listings = functions.iter().map(|function| {
        let isa = targets.isa(Effort::for_function(function));
        let (clif, assembly) = compiler.list(function, isa, &imports)?;
        let clif = with_names(clif, &imports);
        Ok(Listing { clif, assembly: with_names(assembly, &imports) })
    });
    listings.collect()
}

/// Names of the runtime's functions in the place of their numbers.
fn with_names(text: String, imports: &Imports) -> String {
    // Larger numbers first: the text of a small one is the beginning of theirs.
    let mut numbered: Vec<(u32, String)> =
        imports.iter().map(|(callee, &number)| (number, callee.symbol())).collect();
    numbered.sort_unstable_by(|a, b| b.cmp(a));
    numbered
        .iter()
        .fold(text, |text, (number, symbol)| text.replace(&format!("u0:{number}"), symbol))
}
