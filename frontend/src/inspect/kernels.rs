//! Kernels: as text with their loops, drawn, and as data.

use std::fmt::Write;

use cygnet_compiler::compile::Compiled;
use cygnet_compiler::graph::TypeView;
use cygnet_compiler::kernel::{Kernel, KernelId};
use cygnet_compiler::schedule::{Schedule, Work};
use serde::Serialize;

use super::place::{Places, SourceLine};
use super::{Format, Shown, Stage, json};
use crate::highlight::Language;

#[derive(Serialize)]
struct KernelsView<'a> {
    name: &'a str,
    stage: Stage,
    values: Vec<ValueView<'a>>,
    kernels: Vec<KernelView>,
    phases: Vec<Vec<TaskView>>,
    functions: Vec<FunctionView<'a>>,
    outputs: Vec<ResultView<'a>>,
    updates: Vec<ResultView<'a>>,
    guards: Vec<u32>,
}

#[derive(Serialize)]
struct ValueView<'a> {
    id: u32,
    node: u32,
    #[serde(flatten)]
    ty: TypeView,
    #[serde(skip_serializing_if = "Option::is_none")]
    slot: Option<&'a str>,
}

/// A kernel as data.
#[derive(Serialize)]
pub struct KernelView {
    /// Its number.
    pub id: usize,
    /// Its name.
    pub name: String,
    /// Nodes of the optimized graph that it computes.
    pub nodes: Vec<u32>,
    /// Values that it reads.
    pub reads: Vec<u32>,
    /// Values that it writes.
    pub writes: Vec<u32>,
    /// The source lines that it computes.
    pub lines: Vec<SourceLine>,
    /// Why it was chosen.
    pub reasons: Vec<String>,
    /// Predicted cost.
    pub cost: CostView,
    /// The kernel as text.
    pub listing: String,
}

/// A predicted cost as data.
#[derive(Serialize)]
pub struct CostView {
    nanoseconds: f64,
    flops: f64,
    bytes: f64,
}

#[derive(Serialize)]
struct TaskView {
    kernel: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    guard: Option<u32>,
    pieces: usize,
    functions: Vec<usize>,
}

#[derive(Serialize)]
struct FunctionView<'a> {
    name: &'a str,
    listing: String,
}

#[derive(Serialize)]
struct ResultView<'a> {
    name: &'a str,
    value: u32,
}

/// Shows the kernels of a schedule, and the loops that they became.
pub fn show(name: &str, compiled: &Compiled, places: &Places<'_>, format: Format) -> Shown {
    match format {
        Format::Text => Shown { text: text(compiled, places), language: Language::Listing },
        Format::Dot => {
            Shown { text: compiled.schedule.kernels.to_dot(), language: Language::Listing }
        }
        Format::Json => json(&view(name, compiled, places)),
    }
}

/// A kernel as data.
pub fn kernel_view(compiled: &Compiled, id: KernelId, places: &Places<'_>) -> KernelView {
    let kernel = &compiled.schedule.kernels.kernels[id];
    let Kernel { name, nodes, reasons, cost, .. } = kernel;
    KernelView {
        id: id.index(),
        name: name.clone(),
        nodes: nodes.iter().map(|node| node.0).collect(),
        reads: kernel.loaded().iter().map(|value| value.0).collect(),
        writes: kernel.stored().map(|value| value.0).collect(),
        lines: places.lines(&compiled.optimized, nodes),
        reasons: reasons.clone(),
        cost: CostView { nanoseconds: cost.nanoseconds, flops: cost.flops, bytes: cost.bytes },
        listing: kernel.to_string(),
    }
}

fn text(compiled: &Compiled, places: &Places<'_>) -> String {
    let Schedule { kernels, functions, phases, .. } = &compiled.schedule;
    let notes = |id: KernelId| {
        let kernel = &kernels.kernels[id];
        let lines = places.lines(&compiled.optimized, &kernel.nodes);
        let mut notes: Vec<String> = lines.iter().map(SourceLine::to_string).collect();
        notes.push(kernel.cost.to_string());
        notes
    };
    let mut text = kernels.listing(&notes).to_string();
    text.push('\n');
    for (number, tasks) in phases.iter().enumerate() {
        let tasks: Vec<String> = (tasks.iter())
            .map(|task| match &task.work {
                Work::Guard(value) => format!("guard {value}"),
                _ if task.pieces == 1 => format!("kernel {}", task.kernel.index()),
                _ => format!("kernel {} in {} pieces", task.kernel.index(), task.pieces),
            })
            .collect();
        let _ = writeln!(text, "phase {number}: {}", tasks.join(", "));
    }
    for function in functions {
        let _ = write!(text, "\n{function}");
    }
    text
}

fn view<'a>(name: &'a str, compiled: &'a Compiled, places: &Places<'_>) -> KernelsView<'a> {
    let Schedule { kernels, functions, phases, .. } = &compiled.schedule;
    let slot_name = |slot: u32| kernels.slots[slot as usize].name.as_str();
    let values = kernels.values.iter().enumerate().map(|(id, value)| ValueView {
        id: id as u32,
        node: value.node.0,
        ty: (&value.ty).into(),
        slot: value.slot.map(slot_name),
    });
    let tasks = phases.iter().map(|tasks| {
        let tasks = tasks.iter().map(|task| TaskView {
            kernel: task.kernel.index(),
            guard: match &task.work {
                Work::Guard(value) => Some(value.0),
                Work::Function(_) | Work::Product(_) | Work::Library(_) => None,
            },
            pieces: task.pieces,
            functions: task.work.functions().collect(),
        });
        tasks.collect()
    });
    let functions = functions.iter();
    let outputs = kernels.outputs.iter();
    let updates = kernels.updates.iter();
    KernelsView {
        name,
        stage: Stage::Kernels,
        values: values.collect(),
        kernels: (kernels.kernels.node_indices())
            .map(|id| kernel_view(compiled, id, places))
            .collect(),
        phases: tasks.collect(),
        functions: functions
            .map(|function| FunctionView { name: &function.name, listing: function.to_string() })
            .collect(),
        outputs: outputs.map(|(name, value)| ResultView { name, value: value.0 }).collect(),
        updates: updates
            .map(|(slot, value)| ResultView { name: slot_name(*slot), value: value.0 })
            .collect(),
        guards: kernels.guards.iter().map(|value| value.0).collect(),
    }
}
