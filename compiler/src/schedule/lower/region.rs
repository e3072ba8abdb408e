//! Lowering of what is fused to matrix products: epilogues and prologues.

use crate::kernel::loops::{
    Address, AxisId, Convention, Function, LoopInstruction, LoopInstructionKind, Range, Statement,
};
use crate::kernel::{Body, InstructionId};
use crate::schedule::memory::Memory;

use super::analysis::Analysis;
use super::emitter::{Emitter, nest};
use super::normalize::linearized;

/// A region function that reads finished products from the tile and performs the body's stores.
pub fn epilogue(name: &str, body: &Body, memory: &Memory) -> Function {
    lower(name, body, memory, None)
}

/// A region function that writes the body's last instruction to the tile.
pub fn prologue(name: &str, body: &Body, memory: &Memory) -> Function {
    lower(name, body, memory, Some(InstructionId(body.instructions.len() as u32 - 1)))
}

fn lower(name: &str, body: &Body, memory: &Memory, to_tile: Option<InstructionId>) -> Function {
    let body = linearized(body, memory);
    let analysis = Analysis::of(&body);
    let batch_axes = body.axes.len() - 2;
    let column_axis = batch_axes + 1;
    let convention = Convention::Region { batch_axes };
    let mut emitter = Emitter::new(name, convention, &body, &analysis, memory);

    let mut inner = body.axes[..batch_axes].iter().map(|axis| axis.extent).product::<usize>();
    let mut loops: Vec<(AxisId, Range)> = Vec::new();
    for (axis, &crate::kernel::Axis { extent, .. }) in body.axes[..batch_axes].iter().enumerate() {
        inner /= extent.max(1);
        loops.push((axis, Range::RegionBatch { inner, extent }));
    }
    loops.push((batch_axes, Range::RegionRows));

    let mut roots: Vec<InstructionId> = body.stores.iter().map(|s| s.instruction).collect();
    roots.extend(to_tile);
    let scalars = emitter.hoist(&roots, &loops, 1 << column_axis);
    let mut list = Vec::new();
    let mut local = emitter.locals();
    for store in 0..body.stores.len() {
        emitter.store(store, &mut list, &mut local);
    }
    if let Some(id) = to_tile {
        let value = emitter.compute(id, &mut list, &mut local);
        let dtype = body.instruction(id).dtype;
        let buffer = emitter.tile(dtype);
        let kind = LoopInstructionKind::Store { buffer, address: Address::Tile, value };
        list.push(LoopInstruction { result: None, dtype, kind });
    }
    let tiles = Statement::Tiles { axis: column_axis, range: Range::RegionColumns, body: list };
    let mut function = emitter.function;
    function.body = nest(&loops, scalars, vec![tiles]);
    function
}
