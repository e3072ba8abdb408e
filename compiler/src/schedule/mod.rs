//! Scheduling: from fused kernels to phases of pieces with every buffer placed.
//!
//! The scheduler orders, cuts, places, and adds copies where it must; it never fuses.

mod bands;
mod copies;
mod in_place;
mod looping;
pub mod lower;
pub mod memory;
mod order;
mod pieces;
pub mod product;

use cygnet_runtime::library::LibraryCall;
use cygnet_runtime::program::Home;
use smallvec::SmallVec;

use crate::graph::NodeId;
use crate::kernel::loops::Function;
use crate::kernel::{Kernel, KernelBody, KernelGraph, KernelId, Loop, Value, ValueId};
use crate::types::TensorType;
use bands::Bands;
use looping::{Ordered, OrderedLoop};
use memory::{Memory, Placed};
use order::PhaseKind;
use pieces::Cutting;
use product::{ProductTask, Source};

/// A scheduled step.
pub struct Schedule {
    /// The kernels, with copies added.
    pub kernels: KernelGraph,
    /// Where values lie.
    pub memory: Memory,
    /// The bodies of loops, each after the one around it.
    pub bodies: Vec<BodySchedule>,
    /// Native functions to be generated.
    pub functions: Vec<Function>,
    /// What runs, in order.
    pub parts: Vec<Part>,
}

/// Where a kernel is found: the loops around it, outermost first, each in the body of the one
/// before.
pub type LoopPath = SmallVec<[KernelId; 2]>;

/// The body of a loop in a schedule.
pub struct BodySchedule {
    /// The loop: a path that ends in it.
    pub path: LoopPath,
    /// Number of the body's first kernel: kernels are numbered through, first those outside
    /// loops, then body after body.
    pub first: u32,
    /// Where the body's values lie.
    pub memory: Memory,
}

/// A part of a step.
pub enum Part {
    /// What runs between two barriers.
    Phase(Vec<Task>),
    /// A loop.
    Loop(LoopPart),
}

/// A loop over parts.
pub struct LoopPart {
    /// Number of the loop's kernel.
    pub kernel: u32,
    /// How many loops stand around it.
    pub depth: usize,
    /// Number of steps; the most of them, if the loop may end early.
    pub length: usize,
    /// Whether the last elements of sequences come first.
    pub reverse: bool,
    /// Where the condition to end lies, a bool.
    pub until: Option<Home>,
    /// If rows never meet in the loop, the number of bands that it is cut into: all tasks have as many
    /// pieces, and a piece depends on pieces of its own number only.
    pub bands: Option<usize>,
    /// What a step does.
    pub parts: Vec<Part>,
}

/// One kernel's work in a phase.
pub struct Task {
    /// Number of the kernel ([`Schedule::kernel`]); for a guard, of the one that computes what is
    /// checked.
    pub kernel: u32,
    /// What is done.
    pub work: Work,
    /// Number of pieces.
    pub pieces: usize,
    /// Predicted nanoseconds of one piece.
    pub piece_cost: f64,
}

/// What a task does.
pub enum Work {
    /// Runs a generated function, by number.
    Function(usize),
    /// A matrix product.
    Product(Box<ProductTask>),
    /// A routine of the runtime's library.
    Library(Box<LibraryCall>),
    /// Checks that a value is finite.
    Guard(ValueId),
}

impl Work {
    /// The generated functions that it runs, by number.
    pub fn functions(&self) -> impl Iterator<Item = usize> {
        let functions = match self {
            Work::Function(function) => [Some(*function), None, None],
            Work::Product(task) => [&task.left, &task.right, &task.output].map(Source::function),
            Work::Library(_) | Work::Guard(_) => [None; 3],
        };
        functions.into_iter().flatten()
    }
}

impl Schedule {
    /// The kernel with this number.
    pub fn kernel(&self, number: u32) -> &Kernel {
        let (graph, _, first) = self.graph_of(number);
        &graph.kernels[KernelId::new((number - first) as usize)]
    }

    /// The graph that the kernel with this number belongs to, where its values lie, and the
    /// number of its first kernel.
    pub fn graph_of(&self, number: u32) -> (&KernelGraph, &Memory, u32) {
        match self.bodies.iter().rev().find(|body| body.first <= number) {
            Some(body) => (self.body(body), &body.memory, body.first),
            None => (&self.kernels, &self.memory, 0),
        }
    }

    /// The number of a kernel as listings show it: `3`, and `3.0` for the first kernel of a loop
    /// that is kernel 3.
    pub fn label(&self, number: u32) -> String {
        let body = self.bodies.iter().rev().find(|body| body.first <= number);
        let (path, first) = body.map_or((&[][..], 0), |body| (&body.path[..], body.first));
        let loops: String = path.iter().map(|id| format!("{}.", id.index())).collect();
        format!("{loops}{}", number - first)
    }

    /// The numbers of all kernels.
    pub fn kernel_numbers(&self) -> impl Iterator<Item = u32> + '_ {
        let inside = self.bodies.iter().map(|body| (body.first, self.body(body)));
        let graphs = std::iter::once((0, &self.kernels)).chain(inside);
        graphs.flat_map(|(first, graph)| first..first + graph.kernels.node_count() as u32)
    }

    /// The kernels of a body.
    pub fn body(&self, body: &BodySchedule) -> &KernelGraph {
        body.path.iter().fold(&self.kernels, |graph, &id| match &graph.kernels[id].body {
            KernelBody::Loop(the_loop) => &the_loop.body,
            _ => unreachable!("paths lead to loops"),
        })
    }

    /// All tasks, in the order of the parts.
    pub fn tasks(&self) -> Vec<&Task> {
        fn collect<'a>(parts: &'a [Part], tasks: &mut Vec<&'a Task>) {
            for part in parts {
                match part {
                    Part::Phase(phase) => tasks.extend(phase),
                    Part::Loop(the_loop) => collect(&the_loop.parts, tasks),
                }
            }
        }
        let mut tasks = Vec::new();
        collect(&self.parts, &mut tasks);
        tasks
    }
}

/// Schedules a verified kernel graph.
pub fn schedule(mut kernels: KernelGraph) -> Schedule {
    let ordered = Ordered::new(&mut kernels, 0);
    let (ids, blocks): (Vec<KernelId>, Vec<memory::Block>) = ordered.blocks().into_iter().unzip();
    let (memory, places) = Memory::plan(&kernels.values, &ordered.order, &blocks);
    let mut scheduler = Scheduler {
        bodies: Vec::new(),
        functions: Vec::new(),
        next: kernels.kernels.node_count() as u32,
    };
    let block_of = |id: KernelId| {
        places[ids.iter().position(|other| *other == id).expect("every loop has a block")]
    };
    let place = Place { path: LoopPath::new(), first: 0, memory: &memory, bands: None };
    let parts = scheduler.parts(&kernels, &ordered, &place, &block_of);
    let Scheduler { bodies, functions, .. } = scheduler;
    Schedule { kernels, memory, bodies, functions, parts }
}

/// What scheduling has made so far.
struct Scheduler {
    bodies: Vec<BodySchedule>,
    functions: Vec<Function>,
    /// Number of the next body's first kernel.
    next: u32,
}

/// The graph being scheduled.
struct Place<'a> {
    /// The loops that it is in.
    path: LoopPath,
    /// Number of its first kernel.
    first: u32,
    /// Where its values lie.
    memory: &'a Memory,
    /// If it is the body of a loop that is cut into bands, how its kernels are.
    bands: Option<&'a Bands>,
}

impl Place<'_> {
    /// How a kernel is cut.
    fn cutting(&self, id: KernelId, kernel: &Kernel) -> Cutting {
        match self.bands {
            Some(bands) => Cutting::Bands { axis: bands.axes[id.index()], height: bands.height },
            None => Cutting::Cost(kernel.cost.nanoseconds),
        }
    }
}

impl Scheduler {
    fn parts(
        &mut self,
        graph: &KernelGraph,
        ordered: &Ordered,
        place: &Place<'_>,
        block_of: &dyn Fn(KernelId) -> usize,
    ) -> Vec<Part> {
        let writers = order::writers(graph);
        let number = |id: KernelId| place.first + id.index() as u32;
        let mut parts = Vec::new();
        for phase in &ordered.order.phases {
            match phase {
                PhaseKind::Guard(value) => {
                    let work = Work::Guard(*value);
                    let kernel = writers[value.0 as usize].expect("what is checked is computed");
                    let kernel = number(kernel);
                    parts.push(Part::Phase(vec![Task {
                        kernel,
                        work,
                        pieces: 1,
                        piece_cost: 0.0,
                    }]));
                }
                PhaseKind::Kernels(ids) => {
                    let task = |&id| {
                        let kernel = &graph.kernels[id];
                        self.task(kernel, number(id), place.memory, place.cutting(id, kernel))
                    };
                    parts.push(Part::Phase(ids.iter().map(task).collect()));
                }
                PhaseKind::Loop(id) => {
                    let KernelBody::Loop(the_loop) = &graph.kernels[*id].body else {
                        unreachable!("the phase of a loop")
                    };
                    let inside = &ordered.loops[id];
                    parts.extend(self.looping(the_loop, inside, *id, place, block_of(*id)));
                }
            }
        }
        parts
    }

    /// A loop: its carries are set, and zeros written where steps may be left out, then the body
    /// is repeated.
    fn looping(
        &mut self,
        the_loop: &Loop,
        ordered: &OrderedLoop,
        id: KernelId,
        place: &Place<'_>,
        block: usize,
    ) -> [Part; 2] {
        let depth = place.path.len();
        let kernel = place.first + id.index() as u32;
        let initial = ordered.initial(the_loop, place.memory, block, depth);
        let copies = initial.into_iter().enumerate().map(|(slot, (value, home))| {
            let ty = the_loop.body.slots[slot].ty.clone();
            self.copy(
                kernel,
                Value { ty, slot: None, node: NodeId(0) },
                [place.memory.home(value), home],
            )
        });
        let mut begin: Vec<Task> = copies.collect();
        if the_loop.until {
            let zeros =
                the_loop.yields.iter().map(|&value| self.zeros(kernel, value, place.memory));
            begin.extend(zeros.collect::<Vec<Task>>());
        }
        let memory = ordered.place(the_loop, place.memory, block, depth);
        let first = self.next;
        self.next += the_loop.body.kernels.node_count() as u32;
        let mut path = place.path.clone();
        path.push(id);
        self.bodies.push(BodySchedule { path: path.clone(), first, memory: memory.clone() });
        let inside = Place { path, first, memory: &memory, bands: ordered.bands.as_ref() };
        let block_of = |id: KernelId| ordered.block_of(id, block);
        let parts = self.parts(&the_loop.body, &ordered.body, &inside, &block_of);
        let &Loop { length, reverse, .. } = the_loop;
        let until = ordered.end(block, depth);
        let bands = ordered.bands.as_ref().map(|bands| bands.count);
        let the_loop = LoopPart { kernel, depth, length, reverse, until, bands, parts };
        [Part::Phase(begin), Part::Loop(the_loop)]
    }

    /// The task that fills a value with zeros, on behalf of a loop.
    fn zeros(&mut self, kernel: u32, value: ValueId, memory: &Memory) -> Task {
        let ty = TensorType::new(memory.dtype(value), memory.shape(value));
        let fill = Kernel::filling(ValueId(0), &ty, "what steps that are left out yield");
        let home = memory.home(value);
        let placed = Placed { home, ty, alias: None, lifetime: 0..=0, is_read: true };
        let cutting = Cutting::Cost(fill.cost.nanoseconds);
        self.task(&fill, kernel, &Memory::new(vec![placed], 0, 0), cutting)
    }

    /// The task that copies a value from one place to another, on behalf of a loop.
    fn copy(&mut self, kernel: u32, value: Value, homes: [Home; 2]) -> Task {
        let placed = homes.map(|home| Placed {
            home,
            ty: value.ty.clone(),
            alias: None,
            lifetime: 0..=0,
            is_read: true,
        });
        let memory = Memory::new(placed.to_vec(), 0, 0);
        let copy = Kernel::copying(&value, ValueId(0), ValueId(1), "what a loop begins with");
        let cutting = Cutting::Cost(copy.cost.nanoseconds);
        self.task(&copy, kernel, &memory, cutting)
    }

    fn task(&mut self, kernel: &Kernel, number: u32, memory: &Memory, cutting: Cutting) -> Task {
        let nanoseconds = kernel.cost.nanoseconds;
        let name = format!("k{number}_{}", kernel.name);
        let (work, pieces) = match &kernel.body {
            KernelBody::Fused(body) => {
                let (function, pieces) = lower::fused(&name, body, memory, cutting);
                self.functions.push(function);
                (Work::Function(self.functions.len() - 1), pieces)
            }
            KernelBody::Product(product) => {
                let task = product::describe(&name, product, memory, cutting, &mut self.functions);
                let pieces = task.pieces();
                (Work::Product(Box::new(task)), pieces)
            }
            KernelBody::Library(library) => {
                let call = LibraryCall {
                    routine: library.routine.clone(),
                    dtype: library.dtype,
                    operands: library.operands.iter().map(|&value| memory.home(value)).collect(),
                    result: memory.home(library.result),
                };
                let pieces = call.routine.pieces();
                (Work::Library(Box::new(call)), pieces)
            }
            KernelBody::Loop(_) => unreachable!("a loop is a part of its own"),
        };
        Task { kernel: number, work, pieces, piece_cost: nanoseconds / pieces.max(1) as f64 }
    }
}
