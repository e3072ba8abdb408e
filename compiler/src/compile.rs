//! The whole way from a graph to a program that the runtime executes.

use std::sync::Arc;

use cygnet_runtime::cpu::Cpu;
use cygnet_runtime::program::{
    Loop, Part as ProgramPart, Phase, Program, Slot, Task as ProgramTask, Work as ProgramWork,
};
use serde::Serialize;

use crate::codegen::{self, CodegenError, CodegenOptions, CompiledCode};
use crate::graph::Graph;
use crate::kernel::{KernelBody, ValueId};
use crate::op::Op;
use crate::optimize::prepare::{self, Preparation};
use crate::optimize::{self, OptimizeOptions, OptimizeReport};
use crate::schedule::{self, Part, Schedule, Task, Work};

/// How to compile.
#[derive(Clone, Copy, Debug)]
pub struct CompileOptions {
    /// What the optimizer may do.
    pub optimize: OptimizeOptions,
    /// Instructions that the program may use.
    pub cpu: Cpu,
    /// Threads that generate code.
    pub threads: usize,
}

impl Default for CompileOptions {
    /// Everything on, for this machine, on two threads.
    fn default() -> CompileOptions {
        CompileOptions { optimize: OptimizeOptions::default(), cpu: Cpu::detect(), threads: 2 }
    }
}

/// A stage of compilation, for measuring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Algebra on the graph.
    Optimize,
    /// Choice of kernels.
    Fuse,
    /// Order, cutting, memory, lowering to loops.
    Schedule,
    /// Native code.
    Generate,
}

/// A compiled graph with what can be shown of each stage.
pub struct Compiled {
    /// The graph after algebra.
    pub optimized: Graph,
    /// What algebra did.
    pub report: OptimizeReport,
    /// What is computed when weights are set; only with [`OptimizeOptions::fixed_weights`].
    pub preparations: Vec<Preparation>,
    /// Kernels, memory plan, loops.
    pub schedule: Schedule,
    /// Native code.
    pub code: Arc<CompiledCode>,
}

impl Compiled {
    /// The program: addresses in the place of function numbers. Any number of programs can share
    /// the code. `cpu` is what it was generated for.
    pub fn program(&self, cpu: Cpu) -> Program {
        let Compiled { schedule, code, .. } = self;
        let scratch = (0..schedule.functions.len()).map(|function| code.scratch_bytes(function));
        Program {
            cpu,
            arena_bytes: schedule.memory.arena_bytes,
            scratch_bytes: scratch.max().unwrap_or(0),
            parts: parts(&schedule.parts, schedule, code),
            slots: slots(schedule),
            code: Arc::clone(code) as _,
        }
    }

    /// The optimized graph whose nodes a kernel computes: that of the step, or of the body of a
    /// loop.
    pub fn graph_of_kernel(&self, number: u32) -> &Graph {
        let body = self.schedule.bodies.iter().rev().find(|body| body.first <= number);
        let path = body.map_or(&[][..], |body| &body.path);
        let mut graph = &self.optimized;
        let mut kernels = &self.schedule.kernels;
        for &id in path {
            let kernel = &kernels.kernels[id];
            let scan = kernel.nodes.iter().find_map(|&node| match &graph.node(node).op {
                Op::Scan(scan) => Some(scan),
                _ => None,
            });
            let (Some(scan), KernelBody::Loop(the_loop)) = (scan, &kernel.body) else { break };
            (graph, kernels) = (&scan.body, &the_loop.body);
        }
        graph
    }
}

/// Compiles a verified graph; `finished` is told when each stage is done. The program's slots are
/// the graph's slots, in order, then those of the preparations, then the outputs.
///
/// # Errors
/// If code generation fails, which is a defect of the compiler and not of the graph.
pub fn compile(
    graph: &Graph,
    options: &CompileOptions,
    mut finished: impl FnMut(Stage),
) -> Result<(Program, Compiled), CodegenError> {
    let (mut optimized, report) = optimize::optimize(graph, &options.optimize);
    let mut preparations = Vec::new();
    if options.optimize.fixed_weights {
        (optimized, preparations) = prepare::split(&optimized);
    }
    finished(Stage::Optimize);
    let kernels = optimize::fusion::fuse(&optimized, &options.optimize);
    finished(Stage::Fuse);
    let schedule = schedule::schedule(kernels);
    finished(Stage::Schedule);
    let codegen = CodegenOptions { cpu: options.cpu, threads: options.threads };
    let code = Arc::new(codegen::compile_functions(&schedule.functions, &codegen)?);
    let compiled = Compiled { optimized, report, preparations, schedule, code };
    let program = compiled.program(options.cpu);
    finished(Stage::Generate);
    Ok((program, compiled))
}

fn parts(parts: &[Part], schedule: &Schedule, code: &CompiledCode) -> Vec<ProgramPart> {
    let part = |part: &Part| match part {
        Part::Phase(tasks) => {
            let tasks = tasks.iter().map(|t| task(t, schedule, code)).collect();
            ProgramPart::Phase(Phase { tasks })
        }
        Part::Loop(the_loop) => ProgramPart::Loop(Loop {
            kernel: the_loop.kernel,
            depth: the_loop.depth,
            count: the_loop.length as u64,
            reverse: the_loop.reverse,
            until: the_loop.until,
            parts: self::parts(&the_loop.parts, schedule, code),
        }),
    };
    parts.iter().map(part).collect()
}

fn task(task: &Task, schedule: &Schedule, code: &CompiledCode) -> ProgramTask {
    let work = match &task.work {
        Work::Function(function) => ProgramWork::Native(code.piece_function(*function)),
        Work::Product(product) => {
            let function = |function| code.region_function(function);
            ProgramWork::Contraction(Box::new(product.resolve(function)))
        }
        Work::Library(call) => ProgramWork::Library(call.clone()),
        Work::Guard(value) => ProgramWork::Guard {
            offset: schedule.memory.offset(*value),
            dtype: schedule.memory.dtype(*value),
        },
    };
    ProgramTask {
        kernel: task.kernel,
        work,
        pieces: task.pieces as u32,
        piece_cost: task.piece_cost,
    }
}

/// Slots of the graph in order, then outputs.
fn slots(schedule: &Schedule) -> Vec<Slot> {
    let kernels = &schedule.kernels;
    let place = |name: &str, value: ValueId| Slot {
        name: name.to_owned(),
        dtype: schedule.memory.dtype(value),
        shape: schedule.memory.shape(value).to_vec(),
        offset: schedule.memory.offset(value),
        strides: schedule.memory.strides(value).to_vec(),
    };
    let mut places: Vec<(u32, ValueId)> = (kernels.values.iter().enumerate())
        .filter_map(|(index, value)| Some((value.slot?, ValueId(index as u32))))
        .collect();
    places.sort_unstable();
    let slots =
        places.iter().map(|&(slot, value)| place(&kernels.slots[slot as usize].name, value));
    let outputs = kernels.outputs.iter().map(|(name, value)| place(name, *value));
    slots.chain(outputs).collect()
}
