//! From kernel IR to the bytes of machine code.

use cranelift::codegen::binemit::Reloc;
use cranelift::codegen::control::ControlPlane;
use cranelift::codegen::isa::{CallConv, OwnedTargetIsa};
use cranelift::codegen::settings::{self, Configurable};
use cranelift::codegen::{CompiledCode, Context, FinalizedMachReloc};
use cranelift::frontend::FunctionBuilderContext;
use cranelift_module::{FuncId, ModuleReloc, ModuleRelocTarget};
use cygnet_runtime::cpu::Cpu;

use super::abi;
use super::function::{Translated, translate};
use super::image::{Address, Code, Target};
use super::jit::CodegenError;
use super::runtime::{Imports, ROUTINES};
use super::sharing;
use super::wide::WideVectors;
use crate::kernel::loops::{Convention, Function, Range, Statement};

/// How much work goes into a function's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effort {
    /// Optimize.
    Speed,
    /// Compile quickly: for what takes no time in a step.
    Quick,
}

impl Effort {
    /// Optimization costs about 0.1 ms more and gains about a third of the run time; that is worth
    /// it within some hundred steps for a function that executes this many instructions.
    const HOT_INSTRUCTIONS: f64 = 2e3;

    /// The effort that suits a function.
    pub(super) fn for_function(function: &Function) -> Effort {
        match executed(function, &function.body) < Effort::HOT_INSTRUCTIONS {
            true => Effort::Quick,
            false => Effort::Speed,
        }
    }
}

/// About how many instructions of kernel IR are executed in a step, by all pieces together.
fn executed(function: &Function, body: &[Statement]) -> f64 {
    let trips = |axis: usize, range: &Range| match range {
        Range::Fixed { start, end } => (end - start) as f64,
        Range::Piece { extent, .. } | Range::RegionBatch { extent, .. } => *extent as f64,
        Range::RegionRows
        | Range::RegionColumns
        | Range::RegionBlocks { .. }
        | Range::RegionWithin { .. } => function.axes[axis].extent as f64,
    };
    let statement = |statement: &Statement| match statement {
        Statement::Loop { axis, range, body } => trips(*axis, range) * executed(function, body),
        Statement::Tiles { axis, range, body } => trips(*axis, range) * body.len() as f64,
        Statement::Scalar(body) => body.len() as f64,
    };
    body.iter().map(statement).sum()
}

/// Cranelift's description of this machine, for each effort.
pub(super) struct Targets {
    speed: OwnedTargetIsa,
    quick: OwnedTargetIsa,
    wide_vectors: Option<WideVectors>,
}

/// What a function is compiled for.
#[derive(Clone, Copy)]
pub(super) struct Goal<'t> {
    pub isa: &'t OwnedTargetIsa,
    /// What there may be routines with.
    pub wide_vectors: Option<WideVectors>,
}

impl Targets {
    /// For code with these instructions.
    pub(super) fn new(cpu: Cpu) -> Result<Targets, CodegenError> {
        Targets::with_blocks(cpu, false)
    }

    /// The same; compiled functions tell where their blocks begin if `blocks`.
    pub(super) fn with_blocks(cpu: Cpu, blocks: bool) -> Result<Targets, CodegenError> {
        let blocks = ("machine_code_cfg_info", if blocks { "true" } else { "false" });
        let quick = [blocks, ("opt_level", "none"), ("regalloc_algorithm", "single_pass")];
        let speed = target(&[blocks, ("opt_level", "speed")])?;
        // Routines are called as is usual for C.
        let is_usual = speed.default_call_conv() == CallConv::SystemV;
        let wide_vectors = WideVectors::of(cpu).filter(|_| is_usual);
        Ok(Targets { speed, quick: target(&quick)?, wide_vectors })
    }

    pub(super) fn goal(&self, effort: Effort) -> Goal<'_> {
        let isa = match effort {
            Effort::Speed => &self.speed,
            Effort::Quick => &self.quick,
        };
        Goal { isa, wide_vectors: self.wide_vectors }
    }
}

/// What generated code depends on beside the functions: the version of Cranelift, and the
/// instructions of this machine.
///
/// # Errors
/// If there is no back end for this machine.
pub fn machine() -> Result<String, CodegenError> {
    let isa = target(&[])?;
    let flags: Vec<String> = isa.isa_flags().iter().map(ToString::to_string).collect();
    Ok(format!("{} {} {}", cranelift::codegen::VERSION, isa.triple(), flags.join(" ")))
}

fn target(options: &[(&str, &str)]) -> Result<OwnedTargetIsa, CodegenError> {
    let mut flags = settings::builder();
    let verify = if cfg!(debug_assertions) { "true" } else { "false" };
    // Code is placed where it stays, and nothing unwinds through it.
    let common = [
        ("is_pic", "false"),
        ("enable_verifier", verify),
        ("unwind_info", "false"),
        ("enable_probestack", "false"),
    ];
    for (name, value) in common.iter().chain(options) {
        flags.set(name, value).expect("the setting exists and has this value");
    }
    let machine =
        cranelift_native::builder().map_err(|reason| CodegenError::Machine(reason.to_owned()))?;
    let flags = settings::Flags::new(flags);
    machine.finish(flags).map_err(|error| CodegenError::Machine(error.to_string()))
}

/// Compiles one function after another; each thread has its own.
pub(super) struct Compiler {
    context: Context,
    frontend: FunctionBuilderContext,
}

impl Compiler {
    pub(super) fn new() -> Compiler {
        Compiler { context: Context::new(), frontend: FunctionBuilderContext::new() }
    }

    /// Compiles a verified function; see [`translate`]. Also tells the bytes of scratch memory that
    /// it uses.
    pub(super) fn compile(
        &mut self,
        function: &Function,
        shared: bool,
        goal: Goal<'_>,
        imports: &Imports,
    ) -> Result<(Code, usize), CodegenError> {
        let Translated { scratch_bytes, routines } =
            self.translate(function, shared, goal, imports);
        let mut code = self.finish(&function.name, goal.isa, |name| match name {
            ModuleRelocTarget::User { namespace: ROUTINES, index } => Some(Target::Routine(*index)),
            ModuleRelocTarget::User { index, .. } => Some(Target::Import(*index)),
            _ => None,
        })?;
        for routine in &routines {
            code.append(&routine.bytes);
        }
        Ok((code, scratch_bytes))
    }

    /// Compiles an entry.
    pub(super) fn compile_entry(
        &mut self,
        convention: Convention,
        isa: &OwnedTargetIsa,
    ) -> Result<Code, CodegenError> {
        self.context.clear();
        let (target, frontend) = (&mut self.context.func, &mut self.frontend);
        let config = isa.frontend_config();
        sharing::translate_entry(convention, target, frontend, isa.default_call_conv(), config);
        self.finish("entry", isa, sharing::target)
    }

    /// Compiles the CLIF in the context; `target_of` tells what its names stand for.
    fn finish(
        &mut self,
        name: &str,
        isa: &OwnedTargetIsa,
        target_of: impl Fn(&ModuleRelocTarget) -> Option<Target>,
    ) -> Result<Code, CodegenError> {
        let compiled = self.generate(name, isa)?;
        let alignment = u64::from(compiled.buffer.alignment);
        let bytes = compiled.code_buffer().to_vec();
        let relocations = compiled.buffer.relocs().to_vec();
        let address = |relocation: &FinalizedMachReloc| {
            // Nothing refers to the function itself.
            let this = FuncId::from_u32(0);
            let ModuleReloc { offset, kind, name: to, addend } =
                ModuleReloc::from_mach_reloc(relocation, &self.context.func, this);
            let target = match &to {
                ModuleRelocTarget::LibCall(call) => Some(Target::Library(call.to_string())),
                to => target_of(to),
            };
            match (kind, target) {
                (Reloc::Abs8, Some(target)) => Ok(Address { offset, target, addend }),
                _ => Err(CodegenError::Function {
                    function: name.to_owned(),
                    reason: format!("it refers to {to} by a relocation of the kind {kind}"),
                }),
            }
        };
        let addresses = relocations.iter().map(address).collect::<Result<_, _>>()?;
        Ok(Code { bytes, alignment, addresses, routines: Vec::new() })
    }

    /// Puts a function into the context as CLIF.
    pub(super) fn translate(
        &mut self,
        function: &Function,
        shared: bool,
        Goal { isa, wide_vectors }: Goal<'_>,
        imports: &Imports,
    ) -> Translated {
        self.context.clear();
        let target = &mut self.context.func;
        target.signature = abi::signature(function.convention, shared, isa.default_call_conv());
        let machine = (isa.frontend_config(), wide_vectors);
        translate(function, shared, target, &mut self.frontend, imports, machine)
    }

    /// The CLIF in the context.
    pub(super) fn clif(&self) -> String {
        self.context.func.display().to_string()
    }

    /// Compiles the CLIF in the context.
    pub(super) fn generate(
        &mut self,
        name: &str,
        isa: &OwnedTargetIsa,
    ) -> Result<&CompiledCode, CodegenError> {
        let compiled = self.context.compile(&**isa, &mut ControlPlane::default());
        compiled.map_err(|error| CodegenError::Function {
            function: name.to_owned(),
            reason: format!("{:?}", error.inner),
        })
    }
}
