//! The whole way from a graph to what the runtime executes.

use std::collections::HashMap;
use std::sync::Arc;

use cygnet_runtime::cpu::Cpu;
use serde::Serialize;

use crate::codegen::{self, CodegenError};
use crate::executable::{Bundle, Executable, Loaded, PreparedTensor};
use crate::graph::Graph;
use crate::kernel::KernelBody;
use crate::op::Op;
use crate::optimize::prepare::{self, Preparation};
use crate::optimize::{self, OptimizeOptions, OptimizeReport};
use crate::schedule::{self, Schedule};

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
    /// What is computed from weights alone, by all of these stages; code put into memory.
    Place,
    /// All of it by an earlier process, whose program is loaded.
    Load,
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
    /// What runs.
    pub loaded: Arc<Loaded>,
}

impl Compiled {
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
/// the graph's slots, in order, but for weights that only preparations read, then the results of
/// the preparations, then the outputs.
///
/// # Errors
/// If code generation fails, which is a defect of the compiler and not of the graph.
pub fn compile(
    graph: &Graph,
    options: &CompileOptions,
    mut finished: impl FnMut(Stage),
) -> Result<Compiled, CodegenError> {
    let (mut optimized, report) = optimize::optimize(graph, &options.optimize);
    let mut preparations = Vec::new();
    if options.optimize.fixed_weights {
        (optimized, preparations) = prepare::split(&optimized);
    }
    finished(Stage::Optimize);
    let kernels = optimize::fusion::fuse(&optimized, &options.optimize, options.threads);
    finished(Stage::Fuse);
    let schedule = schedule::schedule(kernels);
    finished(Stage::Schedule);
    let image = codegen::generate(&schedule.functions, options.threads, options.cpu)?;
    let step = Executable::new(&schedule, image);
    finished(Stage::Generate);
    let (preparing, prepared) = compile_preparations(&preparations, options)?;
    let bundle = Bundle { step, preparations: prepared, preparing };
    let loaded = Arc::new(bundle.load(options.cpu)?);
    finished(Stage::Place);
    Ok(Compiled { optimized, report, preparations, schedule, loaded })
}

/// The programs of preparations, equal ones once, and which one computes which tensor.
fn compile_preparations(
    preparations: &[Preparation],
    options: &CompileOptions,
) -> Result<(Vec<Executable>, Vec<PreparedTensor>), CodegenError> {
    let mut programs = Vec::new();
    let mut numbers: HashMap<&Graph, usize> = HashMap::new();
    let mut prepared = Vec::with_capacity(preparations.len());
    let optimize = OptimizeOptions { fixed_weights: false, ..options.optimize };
    for Preparation { graph, sources, result } in preparations {
        let program = match numbers.get(graph) {
            Some(&number) => number,
            None => {
                let (optimized, _) = optimize::optimize(graph, &optimize);
                let kernels = optimize::fusion::fuse(&optimized, &optimize, options.threads);
                let schedule = schedule::schedule(kernels);
                let functions = &schedule.functions;
                let image = codegen::generate(functions, options.threads, options.cpu)?;
                programs.push(Executable::new(&schedule, image));
                numbers.insert(graph, programs.len() - 1);
                programs.len() - 1
            }
        };
        let (sources, result) = (sources.clone(), result.clone());
        prepared.push(PreparedTensor { program, sources, result });
    }
    Ok((programs, prepared))
}
