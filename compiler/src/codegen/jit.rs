//! Compiles functions on several threads and puts them into executable memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use cranelift::codegen::ir::Signature;
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{Linkage, Module, default_libcall_names};
use cygnet_runtime::cpu::Cpu;
use cygnet_runtime::program::{PieceFunction, RegionFunction};
use thiserror::Error;

use super::abi;
use super::compiler::{Compiler, Effort, Targets};
use super::runtime::{Imports, RuntimeFunction};
use crate::kernel::loops::{Convention, Function};

/// How code is generated.
#[derive(Clone, Copy, Debug)]
pub struct CodegenOptions {
    /// Whose tile functions are called.
    pub cpu: Cpu,
    /// Threads that compile.
    pub threads: usize,
}

/// Code could not be made: this machine is not supported, memory ran out, or a function broke a
/// limit of the code generator.
#[derive(Debug, Error)]
pub enum CodegenError {
    /// Cranelift has no back end for this machine.
    #[error("cannot generate code for this machine: {0}")]
    Machine(String),
    /// A function could not be compiled.
    #[error("cannot compile `{function}`: {reason}")]
    Function {
        /// Its name.
        function: String,
        /// Cranelift's explanation.
        reason: String,
    },
    /// Executable memory could not be had.
    #[error("cannot place machine code in memory: {0}")]
    Memory(String),
}

/// Functions in executable memory, which is freed when this is dropped.
pub struct CompiledCode {
    entries: Vec<Entry>,
    /// `None` only while it is dropped. The mutex makes sharing between threads safe; nothing
    /// locks it.
    module: Mutex<Option<JITModule>>,
}

struct Entry {
    convention: Convention,
    address: usize,
    code_bytes: usize,
    scratch_bytes: usize,
}

impl CompiledCode {
    /// The code of a function that is called by pieces.
    ///
    /// Calling it is sound while this `CompiledCode` lives, with a frame whose arena and scratch
    /// memory hold every buffer of the function, and with one of the pieces that its ranges
    /// count.
    ///
    /// # Panics
    /// If there is no such function, or if it is called by regions.
    pub fn piece_function(&self, function: usize) -> PieceFunction {
        let entry = &self.entries[function];
        assert_eq!(entry.convention, Convention::Pieces, "function {function} works on regions");
        // SAFETY: the code at this address was generated with the parameters of a
        // `PieceFunction` and the C calling convention of this machine.
        unsafe { std::mem::transmute::<*const u8, PieceFunction>(entry.address as *const u8) }
    }

    /// The code of a function that is called by regions; what
    /// [`piece_function`](CompiledCode::piece_function) says holds likewise.
    ///
    /// # Panics
    /// If there is no such function, or if it is called by pieces.
    pub fn region_function(&self, function: usize) -> RegionFunction {
        let entry = &self.entries[function];
        assert_ne!(entry.convention, Convention::Pieces, "function {function} works on pieces");
        // SAFETY: the code at this address was generated with the parameters of a
        // `RegionFunction` and the C calling convention of this machine.
        unsafe { std::mem::transmute::<*const u8, RegionFunction>(entry.address as *const u8) }
    }

    /// Bytes of scratch memory that a function uses.
    pub fn scratch_bytes(&self, function: usize) -> usize {
        self.entries[function].scratch_bytes
    }

    /// Bytes of machine code of a function.
    pub fn code_bytes(&self, function: usize) -> usize {
        self.entries[function].code_bytes
    }
}

impl fmt::Debug for CompiledCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: usize = self.entries.iter().map(|entry| entry.code_bytes).sum();
        write!(f, "CompiledCode({} functions, {bytes} bytes)", self.entries.len())
    }
}

impl Drop for CompiledCode {
    fn drop(&mut self) {
        if let Some(module) = self.module.get_mut().ok().and_then(Option::take) {
            // SAFETY: function pointers may be called only while `self` lives
            // ([`CompiledCode::piece_function`]), so nobody runs or will run this code.
            unsafe { module.free_memory() };
        }
    }
}

/// Compiles verified functions to native code. Function `n` of the result is `functions[n]`.
///
/// # Errors
/// If the machine is not supported or a limit of the code generator is exceeded.
pub fn compile_functions(
    functions: &[Function],
    options: &CodegenOptions,
) -> Result<CompiledCode, CodegenError> {
    let targets = Targets::new()?;
    let mut builder =
        JITBuilder::with_isa(targets.isa(Effort::Speed).clone(), default_libcall_names());
    let called: BTreeSet<RuntimeFunction> =
        functions.iter().flat_map(RuntimeFunction::called).collect();
    builder.symbols(called.iter().map(|callee| (callee.symbol(), callee.address(options.cpu))));
    let mut module = JITModule::new(builder);
    let convention = module.isa().default_call_conv();
    let mut declare = |name: &str, linkage, signature: Signature| {
        let declared = module.declare_function(name, linkage, &signature);
        declared.map_err(|error| CodegenError::Memory(error.to_string()))
    };
    let mut imports = BTreeMap::new();
    for callee in called {
        let id = declare(&callee.symbol(), Linkage::Import, callee.signature(convention))?;
        imports.insert(callee, id.as_u32());
    }
    let imports = Imports::Numbers(imports);
    let mut ids = Vec::with_capacity(functions.len());
    for (number, function) in functions.iter().enumerate() {
        let signature = abi::signature(function.convention, convention);
        ids.push(declare(&format!("function{number}"), Linkage::Local, signature)?);
    }

    let compiled = in_parallel(options.threads, functions.len(), |compiler, number| {
        let function = &functions[number];
        compiler.compile(
            function,
            targets.isa(Effort::for_function(function)),
            &imports,
            ids[number],
        )
    });
    let mut entries = Vec::with_capacity(functions.len());
    for ((function, compiled), id) in functions.iter().zip(compiled).zip(&ids) {
        let compiled = compiled?;
        module
            .define_function_bytes(*id, compiled.alignment, &compiled.code, &compiled.relocations)
            .map_err(|error| CodegenError::Memory(error.to_string()))?;
        entries.push(Entry {
            convention: function.convention,
            address: 0,
            code_bytes: compiled.code.len(),
            scratch_bytes: compiled.scratch_bytes,
        });
    }
    module.finalize_definitions().map_err(|error| CodegenError::Memory(error.to_string()))?;
    for (entry, id) in entries.iter_mut().zip(ids) {
        entry.address = module.get_finalized_function(id) as usize;
    }
    Ok(CompiledCode { entries, module: Mutex::new(Some(module)) })
}

/// The results of `work` for `0..count`, in order, from several threads with a compiler each.
fn in_parallel<T: Send>(
    threads: usize,
    count: usize,
    work: impl Fn(&mut Compiler, usize) -> T + Sync,
) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let run = || {
        let mut compiler = Compiler::new();
        let numbers = std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)));
        let numbers = numbers.take_while(|&number| number < count);
        numbers.map(|number| (number, work(&mut compiler, number))).collect::<Vec<(usize, T)>>()
    };
    let mut results = std::thread::scope(|scope| {
        let helpers: Vec<_> = (1..threads.min(count)).map(|_| scope.spawn(run)).collect();
        let mut results = run();
        for helper in helpers {
            match helper.join() {
                Ok(more) => results.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        results
    });
    results.sort_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}
