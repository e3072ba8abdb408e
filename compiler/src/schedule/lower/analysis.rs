//! What lowering needs to know about a body.

use crate::index::{Expression, IndexMap};
use crate::kernel::{AxisRole, Body, InstructionId, InstructionKind};
use crate::op::lowering::Lowering;

/// A set of axes, one bit each.
pub type AxisSet = u64;

/// Facts about a normalized body.
pub struct Analysis {
    /// Per instruction: the axes that its result varies along.
    pub varies: Vec<AxisSet>,
    /// Per instruction: how many reductions lie, one after another, before its result.
    pub level: Vec<usize>,
    /// The reduced axes.
    pub reduced: AxisSet,
    /// The axis along which the innermost loop runs; none for a scalar computation.
    pub tile_axis: Option<usize>,
    /// How well that axis suits the accesses: about the share of vector accesses, weighted.
    pub tile_score: f64,
    /// Sweeps over the reduced axes: one more than the level of the last per-point work.
    pub sweeps: usize,
}

impl Analysis {
    /// Analyses a body whose maps lead to element offsets.
    pub fn of(body: &Body) -> Analysis {
        let reduced = (body.axes.iter().enumerate())
            .filter(|(_, axis)| axis.role == AxisRole::Reduced)
            .fold(0, |set, (position, _)| set | 1 << position);
        let mut varies: Vec<AxisSet> = Vec::with_capacity(body.instructions.len());
        let mut level: Vec<usize> = Vec::with_capacity(body.instructions.len());
        for instruction in &body.instructions {
            let (mut axes, mut depth) = (0, 0);
            for operand in instruction.kind.operands() {
                axes |= varies[operand.0 as usize];
                depth = depth.max(level[operand.0 as usize]);
            }
            match &instruction.kind {
                InstructionKind::Load { map, .. }
                | InstructionKind::Gather { map, .. }
                | InstructionKind::Masked(_, map) => {
                    axes |= axes_of_map(map);
                }
                InstructionKind::Index(index) | InstructionKind::Random { index, .. } => {
                    axes |= axes_of(index);
                }
                InstructionKind::Accumulator => axes |= (1 << body.axes.len()) - 1,
                InstructionKind::Reduce(..) | InstructionKind::ArgReduce(..) => {
                    axes &= !reduced;
                    depth += 1;
                }
                InstructionKind::Constant(_)
                | InstructionKind::Apply(..)
                | InstructionKind::Cast(_) => {}
            }
            varies.push(axes);
            level.push(depth);
        }
        let mut analysis =
            Analysis { varies, level, reduced, tile_axis: None, tile_score: 0.0, sweeps: 0 };
        analysis.sweeps = analysis.count_sweeps(body);
        if let Some((axis, score)) = choose_tile_axis(body, &analysis) {
            (analysis.tile_axis, analysis.tile_score) = (Some(axis), score);
        }
        analysis
    }

    /// Whether the result differs between points of one row.
    pub fn is_per_point(&self, id: InstructionId) -> bool {
        self.varies[id.0 as usize] & self.reduced != 0
    }

    /// Whether tiles run along a parallel axis.
    pub fn is_columnwise(&self, body: &Body) -> bool {
        self.tile_axis.is_some_and(|axis| body.axes[axis].role == AxisRole::Parallel)
    }

    /// Level of an instruction.
    pub fn level(&self, id: InstructionId) -> usize {
        self.level[id.0 as usize]
    }

    fn count_sweeps(&self, body: &Body) -> usize {
        if self.reduced == 0 {
            return 0;
        }
        let reductions = (body.instructions.iter().enumerate())
            .filter(|(_, instruction)| reduction_operand(&instruction.kind).is_some())
            .map(|(index, _)| self.level[index]);
        let stores = (body.stores.iter())
            .filter(|store| self.store_axes(store.instruction, &store.map) & self.reduced != 0)
            .map(|store| self.level(store.instruction) + 1);
        reductions.chain(stores).max().unwrap_or(0)
    }

    /// The axes that a store runs over: its value may be the same along some.
    pub fn store_axes(&self, instruction: InstructionId, map: &IndexMap) -> AxisSet {
        self.varies[instruction.0 as usize] | axes_of_map(map)
    }
}

/// The operand of a reduction.
pub fn reduction_operand(kind: &InstructionKind) -> Option<InstructionId> {
    match kind {
        InstructionKind::Reduce(_, operand) | InstructionKind::ArgReduce(_, operand) => {
            Some(*operand)
        }
        _ => None,
    }
}

/// Whether computing it again costs more than reading it back from cache.
pub fn is_expensive(kind: &InstructionKind) -> bool {
    match kind {
        InstructionKind::Apply(function, _) => {
            matches!(function.entry().lowering, Lowering::Tile(_))
        }
        InstructionKind::Random { .. } => true,
        _ => false,
    }
}

fn axes_of(expression: &Expression) -> AxisSet {
    (0..AxisSet::BITS as usize)
        .filter(|&axis| expression.depends_on(axis))
        .fold(0, |set, axis| set | 1 << axis)
}

fn axes_of_map(map: &IndexMap) -> AxisSet {
    let indices = map.indices().iter();
    let constraints = map.constraints().iter().map(|constraint| &constraint.expression);
    indices.chain(constraints).fold(0, |set, expression| set | axes_of(expression))
}

/// How bad it is for the choice of a tile axis if neighbours along it are not neighbours in memory.
const APART: f64 = -2.0;

/// The axis whose neighbours are neighbours in memory for most accesses, with its score; of equals,
/// the innermost. An access counts as often as it is made.
fn choose_tile_axis(body: &Body, analysis: &Analysis) -> Option<(usize, f64)> {
    let searches = (body.instructions.iter())
        .any(|instruction| matches!(instruction.kind, InstructionKind::ArgReduce(..)));
    let share = |axes: AxisSet| -> f64 {
        let others = (0..body.axes.len()).filter(|axis| axes & (1 << axis) == 0);
        1.0 / others.map(|axis| body.axes[axis].extent.max(1) as f64).product::<f64>()
    };
    let score = |axis: usize| {
        let quality = |map: &IndexMap| match map.indices()[0].stride(axis) {
            Some(1) => 3.0,
            Some(0) => 1.0,
            _ => APART,
        };
        let loads = body.instructions.iter().map(|instruction| match &instruction.kind {
            InstructionKind::Load { map, .. } => share(axes_of_map(map)) * quality(map),
            InstructionKind::Gather { map, index, .. } => {
                let varies = analysis.varies[index.0 as usize];
                let apart = varies & (1 << axis) != 0;
                share(varies | axes_of_map(map)) * if apart { APART } else { quality(map) }
            }
            _ => 0.0,
        });
        let stores = body.stores.iter().map(|store| {
            let axes = analysis.store_axes(store.instruction, &store.map);
            2.0 * share(axes) * quality(&store.map)
        });
        let extent = body.axes[axis].extent as f64;
        (loads.sum::<f64>() + stores.sum::<f64>()) * extent / (extent + 8.0)
    };
    (0..body.axes.len())
        .filter(|&axis| !searches || analysis.reduced & (1 << axis) != 0)
        .map(|axis| (axis, score(axis)))
        .max_by(|a, b| a.1.total_cmp(&b.1))
}
