//! Lowering of what is fused to matrix products: epilogues and prologues.

use crate::index::Expression;
use crate::kernel::loops::{
    Address, AxisId, Convention, Function, LoopInstruction, LoopInstructionKind, Range, Statement,
};
use crate::kernel::{Axis, Body, InstructionId};
use crate::schedule::memory::Memory;

use super::analysis::Analysis;
use super::emitter::{Emitter, nest};
use super::normalize::{expressions, linearized, rebased};

/// A region function that reads finished products from the tile and performs the body's stores.
pub fn epilogue(name: &str, body: &Body, memory: &Memory) -> Function {
    lower(name, body, memory, None)
}

/// A region function that writes the body's last instruction to the tile.
pub fn prologue(name: &str, body: &Body, memory: &Memory) -> Function {
    lower(name, body, memory, Some(InstructionId(body.instructions.len() as u32 - 1)))
}

/// Fewest columns that are worth a loop of their own.
const LEAST_WIDTH: usize = 4;

fn lower(name: &str, body: &Body, memory: &Memory, to_tile: Option<InstructionId>) -> Function {
    let body = linearized(body, memory);
    let batch_axes = body.axes.len() - 2;
    let block = block_of_columns(&body);
    let body = match block {
        Some(width) => in_blocks(&body, width),
        None => body,
    };
    let analysis = Analysis::of(&body);
    let column_axis = body.axes.len() - 1;
    let convention = Convention::Region { batch_axes, block };
    let mut emitter = Emitter::new(name, convention, &body, &analysis, memory);

    let mut inner = body.axes[..batch_axes].iter().map(|axis| axis.extent).product::<usize>();
    let mut loops: Vec<(AxisId, Range)> = Vec::new();
    for (axis, &Axis { extent, .. }) in body.axes[..batch_axes].iter().enumerate() {
        inner /= extent.max(1);
        loops.push((axis, Range::RegionBatch { inner, extent }));
    }
    loops.push((batch_axes, Range::RegionRows));
    let columns = match block {
        Some(width) => {
            loops.push((batch_axes + 1, Range::RegionBlocks { width }));
            Range::RegionWithin { width }
        }
        None => Range::RegionColumns,
    };

    let mut roots: Vec<InstructionId> = body.stores.iter().map(|s| s.instruction).collect();
    roots.extend(to_tile);
    let scalars = emitter.hoist(&roots, &loops, 1 << column_axis);
    let mut list = Vec::new();
    let mut local = emitter.locals();
    emitter.stores(0..body.stores.len(), &mut list, &mut local);
    if let Some(id) = to_tile {
        let value = emitter.compute(id, &mut list, &mut local);
        let dtype = body.instruction(id).dtype;
        let buffer = emitter.tile(dtype);
        let kind = LoopInstructionKind::Store { buffer, address: Address::Tile, value };
        list.push(LoopInstruction { result: None, dtype, kind });
    }
    let tiles = Statement::Tiles { axis: column_axis, range: columns, body: list };
    let mut function = emitter.function;
    function.body = nest(&loops, scalars, vec![tiles]);
    function
}

/// How wide blocks of columns must be so that no index within one is divided: the columns are
/// windows of an image, say, and a block is a row of them.
fn block_of_columns(body: &Body) -> Option<usize> {
    let axis = body.axes.len() - 1;
    let width = Expression::block_width(expressions(body), axis)?;
    (LEAST_WIDTH..body.axes[axis].extent).contains(&width).then_some(width)
}

/// The body with blocks of columns, and columns within a block, in place of columns.
fn in_blocks(body: &Body, width: usize) -> Body {
    let last = body.axes.len() - 1;
    let Axis { extent, role } = body.axes[last];
    let mut axes = body.axes.clone();
    axes[last].extent = extent.div_ceil(width);
    axes.push(Axis { extent: width, role });
    let column = Expression::axis(last).times(width as i64).plus(&Expression::axis(last + 1));
    let replacements: Vec<Expression> = (0..last).map(Expression::axis).chain([column]).collect();
    rebased(body, axes, &replacements)
}
