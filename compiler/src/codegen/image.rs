//! Machine code that is not placed in memory yet.
//!
//! An [`Image`] holds the bytes of generated functions with the places where addresses go, these by
//! what they are addresses of. It depends on nothing of the process that made it, so it can be
//! written to a file and placed by another process - of the same build, on a machine with the same
//! instructions.

use serde::{Deserialize, Serialize};

use super::jit::CodegenError;
use super::runtime::RuntimeFunction;
use crate::kernel::loops::Convention;

/// Functions in machine code, to be placed in memory by [`Image::place`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The functions of the runtime that the code calls.
    pub(super) imports: Vec<RuntimeFunction>,
    /// Bodies, each of one function or shared by several.
    pub(super) bodies: Vec<Code>,
    /// The entries of functions that share their body: of those called by pieces, and of those
    /// called by regions.
    pub(super) entries: [Option<Code>; 2],
    /// The functions.
    pub(super) functions: Vec<Function>,
}

/// The bytes of a function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Code {
    pub bytes: Vec<u8>,
    pub alignment: u64,
    /// Where absolute addresses of eight bytes go.
    pub addresses: Vec<Address>,
    /// Where in the bytes its routines with wide vectors begin.
    pub routines: Vec<u32>,
}

impl Code {
    /// Puts a routine behind the code.
    pub(super) fn append(&mut self, routine: &[u8]) {
        /// Literals of a routine lie at multiples of a cache line.
        const ALIGNMENT: usize = 64;
        self.alignment = self.alignment.max(ALIGNMENT as u64);
        // What fills the gap traps.
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0xcc);
        self.routines.push(self.bytes.len() as u32);
        self.bytes.extend(routine);
    }
}

/// A place in code that holds an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Address {
    /// Byte offset in the code.
    pub offset: u32,
    /// What the address is of.
    pub target: Target,
    /// Bytes beyond it.
    pub addend: i64,
}

/// What code refers to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Target {
    /// A function of the runtime, by its number in [`Image::imports`].
    Import(u32),
    /// One of the code's own routines, by its number in [`Code::routines`].
    Routine(u32),
    /// A function that Cranelift calls for what the machine cannot do, by its name.
    Library(String),
    /// In an entry: the body that it calls.
    Body,
    /// In an entry: the table of the function's buffers.
    Table,
}

/// A function of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Function {
    pub convention: Convention,
    /// The number of its body in [`Image::bodies`].
    pub body: usize,
    /// The table that it calls a shared body with.
    pub table: Option<Vec<u8>>,
    pub scratch_bytes: usize,
}

/// The place in [`Image::entries`] of the entry that a function with this convention has.
pub(super) fn entry_of(convention: Convention) -> usize {
    usize::from(convention != Convention::Pieces)
}

impl Image {
    /// The conventions of its functions, in order.
    pub fn conventions(&self) -> impl ExactSizeIterator<Item = Convention> {
        self.functions.iter().map(|function| function.convention)
    }

    /// Checks that all numbers lead to something and all places lie in their code. What the code
    /// does cannot be checked.
    ///
    /// # Errors
    /// If not.
    pub(super) fn verify(&self) -> Result<(), CodegenError> {
        self.bodies.iter().try_for_each(|code| self.verify_code(code, false))?;
        self.entries.iter().flatten().try_for_each(|code| self.verify_code(code, true))?;
        let complete = |function: &Function| {
            let entry = &self.entries[entry_of(function.convention)];
            function.body < self.bodies.len() && (function.table.is_none() || entry.is_some())
        };
        match self.functions.iter().all(complete) {
            true => Ok(()),
            false => Err(damaged("a function without code")),
        }
    }

    fn verify_code(&self, code: &Code, is_entry: bool) -> Result<(), CodegenError> {
        if code.bytes.is_empty() || !code.alignment.is_power_of_two() || code.alignment > 4096 {
            return Err(damaged("code that cannot be placed"));
        }
        for Address { offset, target, .. } in &code.addresses {
            if *offset as usize + size_of::<u64>() > code.bytes.len() {
                return Err(damaged("an address outside of its code"));
            }
            let known = match target {
                Target::Import(number) => (*number as usize) < self.imports.len(),
                Target::Routine(number) => {
                    let start = code.routines.get(*number as usize);
                    start.is_some_and(|&start| (start as usize) < code.bytes.len())
                }
                Target::Library(_) => true,
                Target::Body | Target::Table => is_entry,
            };
            if !known {
                return Err(damaged("an address of nothing"));
            }
        }
        Ok(())
    }
}

fn damaged(what: &str) -> CodegenError {
    CodegenError::Inconsistent(format!("its code has {what}"))
}
