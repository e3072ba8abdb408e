//! Kernels: as text with their loops, drawn, and as data.

use std::fmt::Write;

use cygnet_compiler::compile::Compiled;
use cygnet_compiler::graph::TypeView;
use cygnet_compiler::kernel::{Kernel, KernelId};
use cygnet_compiler::schedule::{LoopPart, Part, Schedule, Task, Work};
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
    phases: Vec<PartView>,
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
    /// Its number: kernels in loops are counted after those outside.
    pub id: u32,
    /// The same as listings show it, with the loops that it is in: `3.0`.
    pub label: String,
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

/// What runs between two barriers, or a loop.
#[derive(Serialize)]
#[serde(untagged)]
enum PartView {
    Phase(Vec<TaskView>),
    Loop {
        kernel: u32,
        steps: usize,
        reverse: bool,
        /// Whether it may end before all steps are done.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        until: bool,
        /// In how many bands of rows, if they never meet.
        #[serde(skip_serializing_if = "Option::is_none")]
        bands: Option<usize>,
        phases: Vec<PartView>,
    },
}

#[derive(Serialize)]
struct TaskView {
    kernel: u32,
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
        Format::Json | Format::Html => json(&view(name, compiled, places)),
    }
}

/// A kernel as data.
pub fn kernel_view(compiled: &Compiled, id: u32, places: &Places<'_>) -> KernelView {
    let kernel = compiled.schedule.kernel(id);
    let Kernel { name, nodes, reasons, cost, .. } = kernel;
    KernelView {
        id,
        label: compiled.schedule.label(id),
        name: name.clone(),
        nodes: nodes.iter().map(|node| node.0).collect(),
        reads: kernel.loaded().iter().map(|value| value.0).collect(),
        writes: kernel.stored().map(|value| value.0).collect(),
        lines: places.lines(compiled.graph_of_kernel(id), nodes),
        reasons: reasons.clone(),
        cost: CostView { nanoseconds: cost.nanoseconds, flops: cost.flops, bytes: cost.bytes },
        listing: kernel.to_string(),
    }
}

fn text(compiled: &Compiled, places: &Places<'_>) -> String {
    let Schedule { kernels, functions, parts, .. } = &compiled.schedule;
    let notes = |id: KernelId| {
        let kernel = &kernels.kernels[id];
        let lines = places.lines(&compiled.optimized, &kernel.nodes);
        let mut notes: Vec<String> = lines.iter().map(SourceLine::to_string).collect();
        notes.push(kernel.cost.to_string());
        notes
    };
    let mut text = kernels.listing(&notes).to_string();
    text.push('\n');
    write_parts(&mut text, &compiled.schedule, parts, "");
    for function in functions {
        let _ = write!(text, "\n{function}");
    }
    text
}

/// The phases, those of loops indented.
fn write_parts(text: &mut String, schedule: &Schedule, parts: &[Part], indent: &str) {
    for (number, part) in parts.iter().enumerate() {
        let _ = write!(text, "{indent}phase {number}: ");
        match part {
            Part::Phase(tasks) => {
                let tasks: Vec<String> = (tasks.iter())
                    .map(|task| match &task.work {
                        Work::Guard(value) => format!("guard {value}"),
                        _ => {
                            let label = schedule.label(task.kernel);
                            match task.pieces {
                                1 => format!("kernel {label}"),
                                pieces => format!("kernel {label} in {pieces} pieces"),
                            }
                        }
                    })
                    .collect();
                let _ = writeln!(text, "{}", tasks.join(", "));
            }
            Part::Loop(the_loop) => {
                let LoopPart { kernel, length, parts, until, bands, .. } = the_loop;
                let most = if until.is_some() { "at most " } else { "" };
                let bands = bands.map_or_else(String::new, |bands| format!(" in {bands} bands"));
                let label = schedule.label(*kernel);
                let _ = writeln!(text, "kernel {label}, {most}{length} times{bands}");
                write_parts(text, schedule, parts, &format!("{indent}    "));
            }
        }
    }
}

fn part_views(parts: &[Part]) -> Vec<PartView> {
    let task = |task: &Task| TaskView {
        kernel: task.kernel,
        guard: match &task.work {
            Work::Guard(value) => Some(value.0),
            Work::Function(_) | Work::Product(_) | Work::Library(_) => None,
        },
        pieces: task.pieces,
        functions: task.work.functions().collect(),
    };
    let part = |part: &Part| match part {
        Part::Phase(tasks) => PartView::Phase(tasks.iter().map(task).collect()),
        Part::Loop(the_loop) => PartView::Loop {
            kernel: the_loop.kernel,
            steps: the_loop.length,
            reverse: the_loop.reverse,
            until: the_loop.until.is_some(),
            bands: the_loop.bands,
            phases: part_views(&the_loop.parts),
        },
    };
    parts.iter().map(part).collect()
}

fn view<'a>(name: &'a str, compiled: &'a Compiled, places: &Places<'_>) -> KernelsView<'a> {
    let Schedule { kernels, functions, parts, .. } = &compiled.schedule;
    let slot_name = |slot: u32| kernels.slots[slot as usize].name.as_str();
    let values = kernels.values.iter().enumerate().map(|(id, value)| ValueView {
        id: id as u32,
        node: value.node.0,
        ty: (&value.ty).into(),
        slot: value.slot.map(slot_name),
    });
    let functions = functions.iter();
    let outputs = kernels.outputs.iter();
    let updates = kernels.updates.iter();
    KernelsView {
        name,
        stage: Stage::Kernels,
        values: values.collect(),
        kernels: (compiled.schedule.kernel_numbers())
            .map(|id| kernel_view(compiled, id, places))
            .collect(),
        phases: part_views(parts),
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
