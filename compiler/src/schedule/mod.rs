//! Scheduling: from fused kernels to phases of pieces with every buffer placed.
//!
//! The scheduler orders, cuts, places, and adds copies where it must; it never fuses.

mod copies;
pub mod lower;
pub mod memory;
mod order;
mod pieces;
pub mod product;

use cygnet_runtime::library::LibraryCall;

use crate::kernel::loops::Function;
use crate::kernel::{KernelBody, KernelGraph, KernelId, ValueId};
use memory::{Demand, Memory};
use order::PhaseKind;
use product::{ProductTask, Source};

/// A scheduled step.
pub struct Schedule {
    /// The kernels, with copies added.
    pub kernels: KernelGraph,
    /// Where values lie.
    pub memory: Memory,
    /// Native functions to be generated.
    pub functions: Vec<Function>,
    /// What runs between barriers, in order.
    pub phases: Vec<Vec<Task>>,
}

/// One kernel's work in a phase.
pub struct Task {
    /// The kernel; for a guard, the one that computes what is checked.
    pub kernel: KernelId,
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

/// Schedules a verified kernel graph.
pub fn schedule(mut kernels: KernelGraph) -> Schedule {
    let order = order::order(&mut kernels);
    let memory = Memory::plan(&Demand {
        values: &kernels.values,
        alias: &order.alias,
        lifetime: &order.lifetime,
    });
    let writers = order::writers(&kernels);
    let mut functions = Vec::new();
    let phases = order
        .phases
        .iter()
        .map(|phase| match phase {
            PhaseKind::Guard(value) => {
                let work = Work::Guard(*value);
                let kernel = writers[value.0 as usize].expect("what is checked is computed");
                vec![Task { kernel, work, pieces: 1, piece_cost: 0.0 }]
            }
            PhaseKind::Kernels(ids) => {
                ids.iter().map(|&id| task(&kernels, id, &memory, &mut functions)).collect()
            }
        })
        .collect();
    Schedule { kernels, memory, functions, phases }
}

fn task(
    kernels: &KernelGraph,
    id: KernelId,
    memory: &Memory,
    functions: &mut Vec<Function>,
) -> Task {
    let kernel = &kernels.kernels[id];
    let nanoseconds = kernel.cost.nanoseconds;
    let name = format!("k{}_{}", id.index(), kernel.name);
    let (work, pieces) = match &kernel.body {
        KernelBody::Fused(body) => {
            let (function, pieces) = lower::fused(&name, body, memory, nanoseconds);
            functions.push(function);
            (Work::Function(functions.len() - 1), pieces)
        }
        KernelBody::Product(product) => {
            let task = product::describe(&name, product, memory, functions);
            let pieces = task.pieces();
            (Work::Product(Box::new(task)), pieces)
        }
        KernelBody::Library(library) => {
            let call = LibraryCall {
                routine: library.routine.clone(),
                dtype: library.dtype,
                operands: library.operands.iter().map(|&value| memory.offset(value)).collect(),
                result: memory.offset(library.result),
            };
            let pieces = call.routine.pieces();
            (Work::Library(Box::new(call)), pieces)
        }
    };
    Task { kernel: id, work, pieces, piece_cost: nanoseconds / pieces.max(1) as f64 }
}
