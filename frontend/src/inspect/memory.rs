//! The memory plan: as a table, and as data.

use std::fmt::Write;
use std::ops::RangeInclusive;

use cygnet_compiler::graph::TypeView;
use cygnet_compiler::kernel::{Value, ValueId};
use cygnet_compiler::schedule::{BodySchedule, Schedule};
use cygnet_runtime::program::Motion;
use serde::Serialize;

use super::Stage;
use super::listing::table;

/// A memory plan as data.
#[derive(Serialize)]
pub struct MemoryView<'a> {
    name: &'a str,
    stage: Stage,
    slots: Vec<SlotView<'a>>,
    temporaries: Vec<TemporaryView<'a>>,
    phases: usize,
    /// The bodies of loops.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    loops: Vec<LoopView>,
    slot_bytes: usize,
    arena_bytes: usize,
    bytes_without_reuse: usize,
}

/// Where the values of a loop's body lie.
#[derive(Serialize)]
struct LoopView {
    kernel: String,
    values: Vec<BodyValueView>,
}

#[derive(Serialize)]
struct BodyValueView {
    value: u32,
    name: String,
    #[serde(flatten)]
    ty: TypeView,
    #[serde(skip)]
    shown_type: String,
    offset: usize,
    /// Bytes by which it moves from step to step of each loop around.
    moves: Vec<isize>,
}

#[derive(Serialize)]
struct SlotView<'a> {
    value: u32,
    name: &'a str,
    role: &'static str,
    #[serde(flatten)]
    ty: TypeView,
    #[serde(skip)]
    shown_type: String,
    offset: usize,
    bytes: usize,
}

#[derive(Serialize)]
struct TemporaryView<'a> {
    value: u32,
    node: u32,
    #[serde(flatten)]
    ty: TypeView,
    #[serde(skip)]
    shown_type: String,
    offset: usize,
    bytes: usize,
    first_phase: usize,
    last_phase: usize,
    /// Whether it is read after the step.
    stays: bool,
    /// The slot that it is written in place of.
    #[serde(skip_serializing_if = "Option::is_none")]
    in_place_of: Option<&'a str>,
}

/// The memory plan of a schedule.
pub fn view<'a>(name: &'a str, schedule: &'a Schedule) -> MemoryView<'a> {
    let Schedule { kernels, memory, .. } = schedule;
    let phases = memory.phases();
    let slot_of = |value: &Value| Some(&kernels.slots[value.slot? as usize]);
    let numbered = || (0..).map(ValueId).zip(&kernels.values);
    let slots = numbered().filter_map(|(id, value)| {
        let slot = slot_of(value)?;
        Some(SlotView {
            value: id.0,
            name: &slot.name,
            role: slot.role.name(),
            ty: (&value.ty).into(),
            shown_type: value.ty.to_string(),
            offset: memory.offset(id),
            bytes: value.ty.bytes(),
        })
    });
    let temporaries = numbered().filter(|(_, value)| value.slot.is_none()).map(|(id, value)| {
        let lifetime: RangeInclusive<usize> = memory.lifetime(id);
        TemporaryView {
            value: id.0,
            node: value.node.0,
            ty: (&value.ty).into(),
            shown_type: value.ty.to_string(),
            offset: memory.offset(id),
            bytes: value.ty.bytes(),
            first_phase: *lifetime.start(),
            last_phase: (*lifetime.end()).min(phases.saturating_sub(1)),
            stays: *lifetime.end() >= phases,
            in_place_of: memory
                .alias(id)
                .and_then(|old| slot_of(&kernels.values[old.0 as usize]))
                .map(|slot| slot.name.as_str()),
        }
    });
    MemoryView {
        name,
        stage: Stage::Memory,
        slots: slots.collect(),
        temporaries: temporaries.collect(),
        phases,
        loops: schedule.bodies.iter().map(|body| loop_view(schedule, body)).collect(),
        slot_bytes: memory.slot_bytes,
        arena_bytes: memory.arena_bytes,
        bytes_without_reuse: memory.bytes_without_reuse(),
    }
}

fn loop_view(schedule: &Schedule, body: &BodySchedule) -> LoopView {
    let path: Vec<String> = body.path.iter().map(|id| id.index().to_string()).collect();
    let graph = schedule.body(body);
    let values = (0..).map(ValueId).zip(&graph.values).map(|(id, value)| {
        let home = body.memory.home(id);
        let slot = value.slot.map(|slot| graph.slots[slot as usize].name.clone());
        BodyValueView {
            value: id.0,
            name: slot.unwrap_or_default(),
            ty: (&value.ty).into(),
            shown_type: value.ty.to_string(),
            offset: home.offset,
            moves: (0..body.path.len()).map(|depth| home.motion.0[Motion::index(depth)]).collect(),
        }
    });
    LoopView { kernel: path.join("."), values: values.collect() }
}

/// The plan as tables of slots and of temporaries, then sums.
pub fn text(view: &MemoryView<'_>) -> String {
    let head = |cells: &[&str]| cells.iter().map(ToString::to_string).collect::<Vec<String>>();
    let mut slots = vec![head(&["value", "slot", "role", "type", "offset", "bytes"])];
    slots.extend(view.slots.iter().map(|slot| {
        vec![
            format!("v{}", slot.value),
            slot.name.to_owned(),
            slot.role.to_owned(),
            slot.shown_type.clone(),
            slot.offset.to_string(),
            slot.bytes.to_string(),
        ]
    }));
    let mut temporaries =
        vec![head(&["value", "node", "in place of", "type", "offset", "bytes", "phases"])];
    temporaries.extend(view.temporaries.iter().map(|temporary| {
        let until = match temporary.stays {
            true => "end".to_owned(),
            false => temporary.last_phase.to_string(),
        };
        vec![
            format!("v{}", temporary.value),
            format!("%{}", temporary.node),
            temporary.in_place_of.unwrap_or_default().to_owned(),
            temporary.shown_type.clone(),
            temporary.offset.to_string(),
            temporary.bytes.to_string(),
            format!("{}..{until}", temporary.first_phase),
        ]
    }));
    let mut text = table(&slots, 4);
    let _ = writeln!(text, "\n{}", table(&temporaries, 4));
    for the_loop in &view.loops {
        let mut rows = vec![head(&["value", "slot", "type", "offset", "bytes per step"])];
        rows.extend(the_loop.values.iter().map(|value| {
            let moves: Vec<String> = value.moves.iter().map(ToString::to_string).collect();
            vec![
                format!("v{}", value.value),
                value.name.clone(),
                value.shown_type.clone(),
                value.offset.to_string(),
                moves.join(", "),
            ]
        }));
        let _ = writeln!(text, "loop {}\n{}", the_loop.kernel, table(&rows, 3));
    }
    let MemoryView { phases, slot_bytes, arena_bytes, bytes_without_reuse, .. } = view;
    let saved = bytes_without_reuse - arena_bytes;
    let sums = [
        ("slots", slot_bytes),
        ("temporaries", &(arena_bytes - slot_bytes)),
        ("arena (peak)", arena_bytes),
        ("saved by reuse", &saved),
    ];
    let sums = sums.map(|(what, bytes)| vec![what.to_owned(), bytes.to_string()]);
    let _ = writeln!(text, "bytes, in {phases} phases");
    text + &table(&sums, 1)
}
