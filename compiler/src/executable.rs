//! A compiled graph as it runs and is reported on, without the stages that led to it.
//!
//! An [`Executable`] refers to nothing of the process that made it: functions are numbers, code is
//! an [`Image`]. So it can be written to a file and run by another process, see
//! [`fingerprint`] for which.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use cygnet_runtime::cpu::Cpu;
use cygnet_runtime::dtype::DType;
use cygnet_runtime::library::LibraryCall;
use cygnet_runtime::program::{self, Home, Phase, Program, Slot};
use serde::{Deserialize, Serialize};

use crate::codegen::{self, CodegenError, CompiledCode, Image};
use crate::compile::CompileOptions;
use crate::graph::{Graph, SlotInfo};
use crate::kernel::loops::Convention;
use crate::kernel::{Cost, ValueId};
use crate::schedule::product::ProductTask;
use crate::schedule::{self, Schedule};

/// A compiled graph, to be loaded.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Executable {
    /// Named places: the graph's slots that something reads or writes, in order, then the results.
    pub places: Vec<Slot>,
    /// The graph's slots.
    pub slots: Vec<SlotInfo>,
    /// What is known of each kernel: first those outside loops, then body after body.
    pub kernels: Vec<KernelFacts>,
    /// Number of kernels outside loops.
    pub outer_kernels: usize,
    /// Bytes of the arena.
    pub arena_bytes: usize,
    parts: Vec<Part>,
    image: Image,
}

/// What reports tell about a kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KernelFacts {
    /// Its number as listings show it: `3`, and `3.0` for the first kernel of a loop that is
    /// kernel 3.
    pub label: String,
    /// Its name.
    pub name: String,
    /// Its predicted cost.
    pub cost: Cost,
}

/// A step, and what is computed for it when weights are set.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Bundle {
    /// The step.
    pub step: Executable,
    /// How tensors are computed from weights alone.
    pub preparations: Vec<PreparedTensor>,
    /// The programs that compute them. Their slots are called by numbers, and they have one output.
    pub preparing: Vec<Executable>,
}

/// A tensor that is computed when weights are set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreparedTensor {
    /// The number of the program that computes it; several tensors may share one.
    pub program: usize,
    /// Names of the weights that it depends on, in the order of the program's slots.
    pub sources: Vec<String>,
    /// Name of the slot of the step that it is for.
    pub result: String,
}

/// [`program::Part`], functions being numbers.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Part {
    Phase(Vec<Task>),
    Loop {
        kernel: u32,
        depth: usize,
        count: u64,
        reverse: bool,
        until: Option<Home>,
        bands: Option<u32>,
        parts: Vec<Part>,
    },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Task {
    kernel: u32,
    work: Work,
    pieces: u32,
    piece_cost: f64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Work {
    Function(usize),
    Product(Box<ProductTask>),
    Library(Box<LibraryCall>),
    Guard { offset: usize, dtype: DType },
}

/// A [`Bundle`] in the memory of this process.
pub struct Loaded {
    /// What it was loaded from.
    pub bundle: Bundle,
    cpu: Cpu,
    step: Arc<CompiledCode>,
    preparing: Vec<Arc<CompiledCode>>,
}

impl Bundle {
    /// Puts its code into memory. `cpu` is what it was compiled for.
    ///
    /// # Errors
    /// If there is no memory, the machine is another one, or something is inconsistent, so that the
    /// runtime would refuse it.
    pub fn load(self, cpu: Cpu) -> Result<Loaded, CodegenError> {
        let step = self.step.load(cpu)?;
        let preparing = self.preparing.iter().map(|program| program.load(cpu));
        let preparing = preparing.collect::<Result<_, _>>()?;
        self.verify_preparations().map_err(CodegenError::Inconsistent)?;
        Ok(Loaded { bundle: self, cpu, step, preparing })
    }

    /// Whether it has the slots and the results of a graph.
    pub fn is_of(&self, graph: &Graph) -> bool {
        let results = self.step.places.iter().rev();
        let results = results.map(|place| &place.name).take(graph.outputs.len());
        let is_source =
            |slot: &SlotInfo| self.preparations.iter().any(|one| one.sources.contains(&slot.name));
        // Weights that only preparations read are no slots of the step, and prepared tensors come
        // behind the graph's own slots.
        let mut slots = self.step.slots.iter().peekable();
        let has = |slot: &SlotInfo| slots.next_if(|own| *own == slot).is_some() || is_source(slot);
        graph.slots.iter().all(has)
            && results.eq(graph.outputs.iter().rev().map(|output| &output.name))
    }

    fn verify_preparations(&self) -> Result<(), String> {
        for PreparedTensor { program, sources, result } in &self.preparations {
            let program = self.preparing.get(*program);
            let fits = program.is_some_and(|program| {
                program.slots.len() == sources.len() && !program.places.is_empty()
            });
            if !fits {
                return Err(format!("nothing computes `{result}`"));
            }
        }
        Ok(())
    }
}

impl Loaded {
    /// The code of the step.
    pub fn code(&self) -> &CompiledCode {
        &self.step
    }

    /// The step. Any number of programs can share its code.
    pub fn program(&self) -> Program {
        self.bundle.step.program(&self.step, self.cpu)
    }

    /// The program with this number in [`Bundle::preparing`].
    ///
    /// # Panics
    /// If there is none.
    pub fn preparing_program(&self, number: usize) -> Program {
        self.bundle.preparing[number].program(&self.preparing[number], self.cpu)
    }
}

impl Executable {
    /// A scheduled step with the code of its functions.
    pub fn new(schedule: &Schedule, image: Image) -> Executable {
        let facts = |number: u32| {
            let kernel = schedule.kernel(number);
            let (label, name) = (schedule.label(number), kernel.name.clone());
            KernelFacts { label, name, cost: kernel.cost }
        };
        Executable {
            places: places(schedule),
            slots: schedule.kernels.slots.clone(),
            kernels: schedule.kernel_numbers().map(facts).collect(),
            outer_kernels: schedule.kernels.kernels.node_count(),
            arena_bytes: schedule.memory.arena_bytes,
            parts: parts(&schedule.parts, schedule),
            image,
        }
    }

    /// Puts its code into memory.
    fn load(&self, cpu: Cpu) -> Result<Arc<CompiledCode>, CodegenError> {
        self.verify_parts(&self.parts).map_err(CodegenError::Inconsistent)?;
        if self.outer_kernels > self.kernels.len() {
            return Err(CodegenError::Inconsistent("kernels are missing".to_owned()));
        }
        let code = Arc::new(self.image.place(cpu)?);
        self.program(&code, cpu).verify().map_err(CodegenError::Inconsistent)?;
        Ok(code)
    }

    /// Checks that numbers of functions and kernels lead to something.
    fn verify_parts(&self, parts: &[Part]) -> Result<(), String> {
        let conventions: Vec<Convention> = self.image.conventions().collect();
        let by_pieces = |function: usize| conventions.get(function) == Some(&Convention::Pieces);
        let by_regions = |function: usize| {
            conventions.get(function).is_some_and(|convention| *convention != Convention::Pieces)
        };
        for part in parts {
            let kernels: Vec<u32> = match part {
                Part::Loop { kernel, parts, .. } => {
                    self.verify_parts(parts)?;
                    vec![*kernel]
                }
                Part::Phase(tasks) => {
                    for Task { kernel, work, .. } in tasks {
                        let callable = match work {
                            Work::Function(function) => by_pieces(*function),
                            Work::Product(product) => product.is_complete(by_regions),
                            Work::Library(_) | Work::Guard { .. } => true,
                        };
                        if !callable {
                            return Err(format!("kernel {kernel} calls what is not there"));
                        }
                    }
                    tasks.iter().map(|task| task.kernel).collect()
                }
            };
            if kernels.iter().any(|kernel| *kernel as usize >= self.kernels.len()) {
                return Err("a kernel is not there".to_owned());
            }
        }
        Ok(())
    }

    fn program(&self, code: &Arc<CompiledCode>, cpu: Cpu) -> Program {
        let scratch = (0..code.len()).map(|function| code.scratch_bytes(function));
        Program {
            cpu,
            arena_bytes: self.arena_bytes,
            scratch_bytes: scratch.max().unwrap_or(0),
            parts: self.parts.iter().map(|part| part.resolve(code)).collect(),
            slots: self.places.clone(),
            code: Arc::clone(code) as _,
        }
    }
}

impl Part {
    fn resolve(&self, code: &CompiledCode) -> program::Part {
        match self {
            Part::Phase(tasks) => {
                let tasks = tasks.iter().map(|task| task.resolve(code)).collect();
                program::Part::Phase(Phase { tasks })
            }
            Part::Loop { kernel, depth, count, reverse, until, bands, parts } => {
                program::Part::Loop(program::Loop {
                    kernel: *kernel,
                    depth: *depth,
                    count: *count,
                    reverse: *reverse,
                    until: *until,
                    bands: *bands,
                    parts: parts.iter().map(|part| part.resolve(code)).collect(),
                })
            }
        }
    }
}

impl Task {
    fn resolve(&self, code: &CompiledCode) -> program::Task {
        let work = match &self.work {
            Work::Function(function) => program::Work::Native(code.piece_function(*function)),
            Work::Product(product) => {
                let function = |function| code.region_function(function);
                program::Work::Contraction(Box::new(product.resolve(function)))
            }
            Work::Library(call) => program::Work::Library(call.clone()),
            Work::Guard { offset, dtype } => {
                program::Work::Guard { offset: *offset, dtype: *dtype }
            }
        };
        let Task { kernel, pieces, piece_cost, .. } = *self;
        program::Task { kernel, work, pieces, piece_cost }
    }
}

fn parts(parts: &[schedule::Part], schedule: &Schedule) -> Vec<Part> {
    let part = |part: &schedule::Part| match part {
        schedule::Part::Phase(tasks) => {
            Part::Phase(tasks.iter().map(|each| task(each, schedule)).collect())
        }
        schedule::Part::Loop(the_loop) => Part::Loop {
            kernel: the_loop.kernel,
            depth: the_loop.depth,
            count: the_loop.length as u64,
            reverse: the_loop.reverse,
            until: the_loop.until,
            bands: the_loop.bands.map(|bands| bands as u32),
            parts: self::parts(&the_loop.parts, schedule),
        },
    };
    parts.iter().map(part).collect()
}

fn task(task: &schedule::Task, schedule: &Schedule) -> Task {
    let work = match &task.work {
        schedule::Work::Function(function) => Work::Function(*function),
        schedule::Work::Product(product) => Work::Product(product.clone()),
        schedule::Work::Library(call) => Work::Library(call.clone()),
        schedule::Work::Guard(value) => Work::Guard {
            offset: schedule.memory.offset(*value),
            dtype: schedule.memory.dtype(*value),
        },
    };
    let (kernel, pieces) = (task.kernel, task.pieces as u32);
    Task { kernel, work, pieces, piece_cost: task.piece_cost }
}

/// Slots of the graph in order, then outputs.
fn places(schedule: &Schedule) -> Vec<Slot> {
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

/// Feeds a hasher everything that the executable of a graph depends on: the graph, the options, the
/// instructions that this machine has, the sources of the compiler and the runtime, and how they
/// were built. Where parts of the graph come from does not matter, nor does the number of threads.
///
/// # Errors
/// If there is no code generator for this machine.
pub fn fingerprint(
    graph: &Graph,
    options: &CompileOptions,
    hasher: &mut impl Hasher,
) -> Result<(), CodegenError> {
    let CompileOptions { optimize, cpu, threads: _ } = options;
    graph.hash(hasher);
    optimize.hash(hasher);
    cpu.hash(hasher);
    codegen::machine()?.hash(hasher);
    // Set by `build.rs`.
    env!("CYGNET_BUILD").hash(hasher);
    Ok(())
}
