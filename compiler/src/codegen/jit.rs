//! Compiles functions on several threads and puts them into executable memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use cranelift::codegen::ir::Signature;
use cranelift::codegen::isa::OwnedTargetIsa;
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{
    DataDescription, FuncId, Linkage, Module, ModuleError, ModuleReloc, default_libcall_names,
};
use cygnet_runtime::cpu::Cpu;
use cygnet_runtime::program::{PieceFunction, RegionFunction};
use thiserror::Error;

use super::abi;
use super::compiler::{Compiled, Compiler, Effort, Targets};
use super::runtime::{Imports, RuntimeFunction};
use super::sharing::{self, representatives};
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

    /// Bytes of machine code of a function, which it may share with others.
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
        declared.map_err(memory_error)
    };
    let mut imports = BTreeMap::new();
    for callee in called {
        let id = declare(&callee.symbol(), Linkage::Import, callee.signature(convention))?;
        imports.insert(callee, id.as_u32());
    }
    let imports = Imports::Numbers(imports);
    let bodies = representatives(functions);
    let mut units: Vec<Unit> = Vec::new();
    let mut units_by_body = HashMap::new();
    for &body in &bodies {
        let unit = *units_by_body.entry(body).or_insert(units.len());
        match units.get_mut(unit) {
            Some(unit) => unit.shared = true,
            None => units.push(Unit { body, shared: false, id: FuncId::from_u32(0) }),
        }
    }
    for unit in &mut units {
        let signature = abi::signature(functions[unit.body].convention, unit.shared, convention);
        unit.id = declare(&format!("function{}", unit.body), Linkage::Local, signature)?;
    }
    let compiled = in_parallel(options.threads, units.len(), |compiler, number| {
        let Unit { body, shared, id } = units[number];
        let isa = targets.isa(Effort::for_function(&functions[body]));
        compiler.compile(&functions[body], shared, isa, &imports, id)
    });
    let compiled = compiled.into_iter().collect::<Result<Vec<Compiled>, CodegenError>>()?;

    let mut linker = Linker { module, entries: HashMap::new(), compiler: Compiler::new() };
    for (unit, compiled) in units.iter().zip(&compiled) {
        define(&mut linker.module, unit.id, compiled, &compiled.relocations)?;
    }
    let mut ids = Vec::with_capacity(functions.len());
    for (number, function) in functions.iter().enumerate() {
        let unit = &units[units_by_body[&bodies[number]]];
        ids.push(if unit.shared {
            linker.define_entry(number, function, unit.id, targets.isa(Effort::Quick))?
        } else {
            unit.id
        });
    }
    let mut module = linker.module;
    module.finalize_definitions().map_err(memory_error)?;
    let entries = functions.iter().zip(ids).enumerate();
    let entries = entries.map(|(number, (function, id))| {
        let compiled = &compiled[units_by_body[&bodies[number]]];
        Entry {
            convention: function.convention,
            address: module.get_finalized_function(id) as usize,
            code_bytes: compiled.code.len(),
            scratch_bytes: compiled.scratch_bytes,
        }
    });
    Ok(CompiledCode { entries: entries.collect(), module: Mutex::new(Some(module)) })
}

/// A body of code, which one function has or several share.
struct Unit {
    /// The function that it is compiled from.
    body: usize,
    shared: bool,
    id: FuncId,
}

fn memory_error(error: ModuleError) -> CodegenError {
    CodegenError::Memory(error.to_string())
}

/// Puts compiled code into the module.
fn define(
    module: &mut JITModule,
    id: FuncId,
    compiled: &Compiled,
    relocations: &[ModuleReloc],
) -> Result<(), CodegenError> {
    let Compiled { code, alignment, .. } = compiled;
    module.define_function_bytes(id, *alignment, code, relocations).map_err(memory_error)
}

/// Makes entries of functions that share their body.
struct Linker {
    module: JITModule,
    /// Entries, not linked yet: of functions called by pieces (true) or by regions.
    entries: HashMap<bool, Compiled>,
    compiler: Compiler,
}

impl Linker {
    /// Makes the entry and the table of a function that shares its body.
    fn define_entry(
        &mut self,
        number: usize,
        function: &Function,
        body: FuncId,
        isa: &OwnedTargetIsa,
    ) -> Result<FuncId, CodegenError> {
        let table = self.module.declare_anonymous_data(false, false).map_err(memory_error)?;
        let mut description = DataDescription::new();
        description.define(sharing::table(function).into_boxed_slice());
        description.set_align(8);
        self.module.define_data(table, &description).map_err(memory_error)?;
        let signature = abi::signature(function.convention, false, isa.default_call_conv());
        let name = format!("entry{number}");
        let id = self.module.declare_function(&name, Linkage::Local, &signature);
        let id = id.map_err(memory_error)?;
        let by_pieces = function.convention == Convention::Pieces;
        if !self.entries.contains_key(&by_pieces) {
            let entry = self.compiler.compile_entry(function.convention, isa)?;
            self.entries.insert(by_pieces, entry);
        }
        let entry = &self.entries[&by_pieces];
        let relocations = sharing::link_entry(&entry.relocations, body.into(), table.into());
        define(&mut self.module, id, entry, &relocations)?;
        Ok(id)
    }
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
