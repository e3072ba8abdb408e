//! Compiles functions on several threads and puts them into executable memory.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Mutex;

use cranelift::codegen::binemit::Reloc;
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{
    DataDescription, DataId, FuncId, Linkage, Module, ModuleError, ModuleReloc, ModuleRelocTarget,
    default_libcall_names,
};
use cygnet_runtime::cpu::Cpu;
use cygnet_runtime::program::{PieceFunction, RegionFunction};
use thiserror::Error;

use super::compiler::{Compiler, Effort, Targets};
use super::image::{self, Address, Code, Image, Target, entry_of};
use super::runtime::{Imports, RuntimeFunction};
use super::sharing::{self, representatives};
use crate::kernel::loops::{Convention, Function};
use crate::parallel;

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
    /// A program refers to what is not there, or to places outside of its memory.
    #[error("the program is inconsistent: {0}")]
    Inconsistent(String),
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
    /// Number of functions.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

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

/// Compiles verified functions to machine code with the instructions of `cpu` that is not placed in memory
/// yet, on several threads. Function `n` of the image is `functions[n]`.
///
/// # Errors
/// If the machine is not supported or a limit of the code generator is exceeded.
pub fn generate(functions: &[Function], threads: usize, cpu: Cpu) -> Result<Image, CodegenError> {
    let targets = Targets::new(cpu)?;
    let called: BTreeSet<RuntimeFunction> =
        functions.iter().flat_map(RuntimeFunction::called).collect();
    let numbered = called.iter().enumerate().map(|(number, &callee)| (callee, number as u32));
    let imports = Imports::Numbers(numbered.collect());
    let representatives = representatives(functions);
    let mut bodies: Vec<Body> = Vec::new();
    let mut bodies_by_function = HashMap::new();
    for &function in &representatives {
        let body = *bodies_by_function.entry(function).or_insert(bodies.len());
        match bodies.get_mut(body) {
            Some(body) => body.shared = true,
            None => bodies.push(Body { function, shared: false }),
        }
    }
    let mut compilers: Vec<Compiler> = (0..threads.max(1)).map(|_| Compiler::new()).collect();
    let compiled = parallel::map(&mut compilers, &bodies, |compiler, body| {
        let Body { function, shared } = *body;
        let goal = targets.goal(Effort::for_function(&functions[function]));
        compiler.compile(&functions[function], shared, goal, &imports)
    });
    let compiled = compiled.into_iter().collect::<Result<Vec<_>, CodegenError>>()?;

    let mut entries = [None, None];
    let mut compiler = Compiler::new();
    let mut described = Vec::with_capacity(functions.len());
    for (function, representative) in functions.iter().zip(&representatives) {
        let body = bodies_by_function[representative];
        let convention = function.convention;
        let shared = bodies[body].shared;
        let entry = &mut entries[entry_of(convention)];
        if shared && entry.is_none() {
            *entry = Some(compiler.compile_entry(convention, targets.goal(Effort::Quick).isa)?);
        }
        let table = shared.then(|| sharing::table(function));
        let scratch_bytes = compiled[body].1;
        described.push(image::Function { convention, body, table, scratch_bytes });
    }
    Ok(Image {
        imports: called.into_iter().collect(),
        bodies: compiled.into_iter().map(|(code, _)| code).collect(),
        entries,
        functions: described,
    })
}

/// A body of code, which one function has or several share.
struct Body {
    /// The function that it is compiled from.
    function: usize,
    shared: bool,
}

fn memory_error(error: ModuleError) -> CodegenError {
    CodegenError::Memory(error.to_string())
}

impl Image {
    /// Puts the code into executable memory of this process. `cpu` tells whose tile functions are
    /// called; it is the one that the code was generated for.
    ///
    /// # Errors
    /// If there is no memory, the code needs what this machine does not have, or the image is
    /// inconsistent.
    pub fn place(&self, cpu: Cpu) -> Result<CompiledCode, CodegenError> {
        self.verify()?;
        let targets = Targets::new(cpu)?;
        let isa = targets.goal(Effort::Speed).isa.clone();
        let mut builder = JITBuilder::with_isa(isa, default_libcall_names());
        let symbols = self.imports.iter().map(|callee| (callee.symbol(), callee.address(cpu)));
        builder.symbols(symbols);
        let mut linker = Linker::new(JITModule::new(builder), &self.imports)?;
        for (number, body) in self.bodies.iter().enumerate() {
            linker.define_body(number, body)?;
        }
        let mut ids = Vec::with_capacity(self.functions.len());
        for (number, function) in self.functions.iter().enumerate() {
            ids.push(match (&function.table, &self.entries[entry_of(function.convention)]) {
                (Some(table), Some(entry)) => {
                    linker.define_entry(number, entry, linker.bodies[function.body], table)?
                }
                _ => linker.bodies[function.body],
            });
        }
        let mut module = linker.module;
        module.finalize_definitions().map_err(memory_error)?;
        let entries = self.functions.iter().zip(ids).map(|(function, id)| Entry {
            convention: function.convention,
            address: module.get_finalized_function(id) as usize,
            code_bytes: self.bodies[function.body].bytes.len(),
            scratch_bytes: function.scratch_bytes,
        });
        Ok(CompiledCode { entries: entries.collect(), module: Mutex::new(Some(module)) })
    }
}

/// Puts the code of an image into a module.
struct Linker {
    module: JITModule,
    imports: Vec<FuncId>,
    bodies: Vec<FuncId>,
}

impl Linker {
    fn new(mut module: JITModule, imports: &[RuntimeFunction]) -> Result<Linker, CodegenError> {
        let convention = module.isa().default_call_conv();
        let declare = |callee: &RuntimeFunction| {
            let signature = callee.signature(convention);
            let id = module.declare_function(&callee.symbol(), Linkage::Import, &signature);
            id.map_err(memory_error)
        };
        let imports = imports.iter().map(declare).collect::<Result<_, _>>()?;
        Ok(Linker { module, imports, bodies: Vec::new() })
    }

    fn define_body(&mut self, number: usize, code: &Code) -> Result<(), CodegenError> {
        let id = self.define(&format!("function{number}"), code, None)?;
        self.bodies.push(id);
        Ok(())
    }

    /// Defines the entry of a function that shares its body, and its table.
    fn define_entry(
        &mut self,
        number: usize,
        code: &Code,
        body: FuncId,
        bytes: &[u8],
    ) -> Result<FuncId, CodegenError> {
        let table = self.module.declare_anonymous_data(false, false).map_err(memory_error)?;
        let mut description = DataDescription::new();
        description.define(bytes.into());
        description.set_align(8);
        self.module.define_data(table, &description).map_err(memory_error)?;
        self.define(&format!("entry{number}"), code, Some((body, table)))
    }

    /// Defines code; that of an entry refers to a body and a table.
    fn define(
        &mut self,
        name: &str,
        code: &Code,
        entry: Option<(FuncId, DataId)>,
    ) -> Result<FuncId, CodegenError> {
        // Nobody calls it through the module, so its parameters do not matter.
        let signature = self.module.make_signature();
        let id = self.module.declare_function(name, Linkage::Local, &signature);
        let id = id.map_err(memory_error)?;
        let link = |address: &Address| {
            let mut addend = address.addend;
            let to: ModuleRelocTarget = match (&address.target, entry) {
                (Target::Routine(number), _) => {
                    addend += i64::from(code.routines[*number as usize]);
                    id.into()
                }
                (Target::Import(number), _) => self.imports[*number as usize].into(),
                (Target::Body, Some((body, _))) => body.into(),
                (Target::Table, Some((_, table))) => table.into(),
                (Target::Library(call), _) => {
                    let call = call.parse().map_err(|_| unknown(call))?;
                    ModuleRelocTarget::LibCall(call)
                }
                (Target::Body | Target::Table, None) => return Err(unknown("an entry")),
            };
            Ok(ModuleReloc { offset: address.offset, kind: Reloc::Abs8, name: to, addend })
        };
        let relocations: Vec<ModuleReloc> =
            code.addresses.iter().map(link).collect::<Result<_, CodegenError>>()?;
        let defined =
            self.module.define_function_bytes(id, code.alignment, &code.bytes, &relocations);
        defined.map_err(memory_error)?;
        Ok(id)
    }
}

fn unknown(name: &str) -> CodegenError {
    CodegenError::Inconsistent(format!("its code refers to `{name}`, which is not there"))
}
