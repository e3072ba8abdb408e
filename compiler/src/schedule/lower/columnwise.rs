//! Columnwise iteration: tiles along a parallel axis.

use smallvec::SmallVec;

use crate::index::Expression;
use crate::kernel::loops::{
    Address, AxisId, BufferId, Convention, Function, LaneId, LoopInstruction, LoopInstructionKind,
    Range, Statement,
};
use crate::kernel::{AxisRole, Body, InstructionId, InstructionKind};
use crate::op::ReduceKind;
use crate::schedule::memory::Memory;
use crate::schedule::pieces::{Cuttable, Cutting, cut};
use crate::types::DType;

use super::analysis::{Analysis, is_expensive, reduction_operand};
use super::emitter::{Emitter, nest};
use super::normalize::parted;

/// Elements of a cache line of f32: pieces do not share one.
const LINE: usize = 16;

/// Indices of the tile axis per piece are a multiple of this where rows are read one after another:
/// shorter parts of rows, far from each other, come slowly from memory.
const PART_OF_ROW: usize = 4 * LINE;

/// Most indices of the tile axis per piece when accumulators are kept per index: a few kilobytes.
const MOST_ACCUMULATORS: usize = 1024;

/// Longest chain of f32 additions; longer sums are accumulated in f64, from parts of at most so many terms if axes
/// can be parted so.
const LONGEST_CHAIN: usize = 1024;

/// The shortest part of a long sum that is worth a sweep over the accumulators.
const SHORTEST_PART: usize = 32;

/// `body` with the innermost reduced axis, if it is longer than a chain may be, in parts; `None` if it is not, or
/// has no such parts. Positions along a reduced axis are not told from two indices, so searched axes stay.
pub fn in_parts(body: &Body) -> Option<Body> {
    let axis = body.axes.iter().rposition(|axis| axis.role == AxisRole::Reduced)?;
    let kinds = body.instructions.iter().map(|instruction| &instruction.kind);
    let mut reductions = kinds.filter(|kind| reduction_operand(kind).is_some());
    let sums = reductions.all(|kind| matches!(kind, InstructionKind::Reduce(ReduceKind::Sum, _)));
    let extent = body.axes[axis].extent;
    if !sums || extent <= LONGEST_CHAIN {
        return None;
    }
    let width =
        (SHORTEST_PART..=LONGEST_CHAIN).rev().find(|&width| extent.is_multiple_of(width))?;
    Some(parted(body, axis, width))
}

/// Lowers `body` with tiles along its tile axis, a parallel one, or as a scalar computation.
pub fn lower(
    name: &str,
    body: &Body,
    analysis: &Analysis,
    memory: &Memory,
    cutting: Cutting,
) -> (Function, usize) {
    let mut emitter = Emitter::new(name, Convention::Pieces, body, analysis, memory);
    let Some(tile_axis) = analysis.tile_axis else {
        let mut list = Vec::new();
        let mut local = emitter.locals();
        emitter.stores(0..body.stores.len(), &mut list, &mut local);
        emitter.function.body = vec![Statement::Scalar(list)];
        return (emitter.function, 1);
    };

    let has_reductions = analysis.reduced != 0;
    let outer: Vec<usize> = (0..body.axes.len())
        .filter(|&axis| axis != tile_axis && analysis.reduced & (1 << axis) == 0)
        .collect();
    let cuttable: Vec<Cuttable> = outer
        .iter()
        .map(|&axis| Cuttable { axis, extent: body.axes[axis].extent, granularity: 1, most: None })
        .chain([Cuttable {
            axis: tile_axis,
            extent: body.axes[tile_axis].extent,
            granularity: if has_reductions { PART_OF_ROW } else { LINE },
            most: has_reductions.then_some(MOST_ACCUMULATORS),
        }])
        .collect();
    let (ranges, pieces) = cut(&cuttable, cutting);
    let tile_range = ranges[outer.len()];
    let loops: Vec<(AxisId, Range)> = outer.into_iter().zip(ranges).collect();

    let roots = roots(body);
    let inner = analysis.reduced | 1 << tile_axis;
    let scalars = emitter.hoist(&roots, &loops, inner);
    let mut sweeps = Sweeps { emitter, tile_axis, tile_range, statements: Vec::new() };
    sweeps.rows(0);
    for sweep in 0..analysis.sweeps {
        sweeps.points(sweep);
        sweeps.rows(sweep + 1);
    }
    let mut function = sweeps.emitter.function;
    function.body = nest(&loops, scalars, sweeps.statements);
    (function, pieces)
}

/// Everything that is computed for its own sake.
fn roots(body: &Body) -> Vec<InstructionId> {
    let reductions =
        body.instructions.iter().filter_map(|instruction| reduction_operand(&instruction.kind));
    reductions.chain(body.stores.iter().map(|store| store.instruction)).collect()
}

struct Sweeps<'a> {
    emitter: Emitter<'a>,
    tile_axis: usize,
    tile_range: Range,
    statements: Vec<Statement>,
}

impl Sweeps<'_> {
    /// Offset of the current index of the tile axis in a buffer as long as a piece's range.
    fn place(&self) -> Address {
        let index = Expression::axis(self.tile_axis);
        match self.tile_range {
            Range::Piece { chunk, .. } => {
                let extents: SmallVec<[usize; 4]> = self.emitter.body.extents();
                Address::Offset(index.remainder(chunk as i64, &extents))
            }
            _ => Address::Offset(index),
        }
    }

    fn length(&self) -> usize {
        match self.tile_range {
            Range::Piece { chunk, .. } => chunk,
            _ => self.emitter.body.axes[self.tile_axis].extent,
        }
    }

    fn tiles(&mut self, body: Vec<LoopInstruction>) -> Statement {
        Statement::Tiles { axis: self.tile_axis, range: self.tile_range, body }
    }

    /// What is computed once per row after `level` reductions: stores, and what later sweeps need
    /// and is dear to compute again.
    fn rows(&mut self, level: usize) {
        let (body, analysis) = (self.emitter.body, self.emitter.analysis);
        let mut list = Vec::new();
        let mut local = self.emitter.locals();
        let mut keep = Vec::new();
        for index in 0..body.instructions.len() {
            let id = InstructionId(index as u32);
            let kind = &body.instructions[index].kind;
            let later = analysis.sweeps > level && is_expensive(kind);
            if later
                && analysis.level(id) == level
                && !analysis.is_per_point(id)
                && self.emitter.scalars[index].is_none()
            {
                keep.push(id);
            }
        }
        for id in keep {
            self.keep(id, &mut list, &mut local);
        }
        let ready = self.emitter.stores_of(level, false);
        self.emitter.stores(ready, &mut list, &mut local);
        if !list.is_empty() {
            let tiles = self.tiles(list);
            self.statements.push(tiles);
        }
    }

    /// Computes `id` and keeps it in a buffer along the tile axis.
    fn keep(
        &mut self,
        id: InstructionId,
        list: &mut Vec<LoopInstruction>,
        local: &mut super::emitter::Lanes,
    ) {
        let dtype = self.emitter.body.instruction(id).dtype;
        let value = self.emitter.compute(id, list, local);
        let buffer = self.emitter.scratch(dtype, self.length(), format!("kept{}", id.0));
        let address = self.place();
        let kind = LoopInstructionKind::Store { buffer, address: address.clone(), value };
        list.push(LoopInstruction { result: None, dtype, kind });
        self.emitter.kept[id.0 as usize] = Some((buffer, address));
    }

    /// One sweep over the reduced axes: the reductions of level `sweep + 1` and the stores of
    /// per-point results that are ready.
    fn points(&mut self, sweep: usize) {
        let (body, analysis) = (self.emitter.body, self.emitter.analysis);
        let reduced: Vec<usize> =
            (0..body.axes.len()).filter(|axis| analysis.reduced & (1 << axis) != 0).collect();
        let length_of =
            |axes: &[usize]| -> usize { axes.iter().map(|&axis| body.axes[axis].extent).product() };
        let is_long = length_of(&reduced) > LONGEST_CHAIN;
        // Parts of a long sum that are no longer are added in f32 first.
        let outer = (0..reduced.len()).find(|&outer| length_of(&reduced[outer..]) <= LONGEST_CHAIN);
        let (outer, inner) = reduced.split_at(outer.unwrap_or(reduced.len()));
        let (mut start, mut start_part, mut end_part) = (Vec::new(), Vec::new(), Vec::new());
        let mut list = Vec::new();
        let mut local = self.emitter.locals();
        let mut finished = Vec::new();
        for (index, instruction) in body.instructions.iter().enumerate() {
            let InstructionKind::Reduce(kind, operand) = instruction.kind else { continue };
            if analysis.level[index] != sweep + 1 {
                continue;
            }
            let value = self.emitter.compute(operand, &mut list, &mut local);
            let (dtype, name) = (instruction.dtype, format!("accumulator{index}"));
            let buffer = match dtype {
                DType::F32 if kind == ReduceKind::Sum && is_long => {
                    let total = self.accumulator(kind, DType::F64, name, &mut start);
                    if inner.is_empty() {
                        let value = self.wide(value, &mut list);
                        self.accumulate(kind, DType::F64, total, value, &mut list);
                    } else {
                        let name = format!("part{index}");
                        let part = self.accumulator(kind, dtype, name, &mut start_part);
                        self.accumulate(kind, dtype, part, value, &mut list);
                        let load = LoopInstructionKind::Load {
                            buffer: part,
                            address: self.place(),
                            constraints: SmallVec::new(),
                            fill: None,
                        };
                        let value = self.emitter.push(&mut end_part, dtype, load);
                        let value = self.wide(value, &mut end_part);
                        self.accumulate(kind, DType::F64, total, value, &mut end_part);
                    }
                    total
                }
                _ => {
                    let buffer = self.accumulator(kind, dtype, name, &mut start);
                    self.accumulate(kind, dtype, buffer, value, &mut list);
                    buffer
                }
            };
            finished.push((index, buffer, self.place()));
        }
        let ready = self.emitter.stores_of(sweep, true);
        self.emitter.stores(ready, &mut list, &mut local);
        let loops = |mut statements: Vec<Statement>, axes: &[usize]| {
            for &axis in axes.iter().rev() {
                let range = Range::Fixed { start: 0, end: body.axes[axis].extent };
                statements = vec![Statement::Loop { axis, range, body: statements }];
            }
            statements
        };
        let mut part = loops(vec![self.tiles(list)], inner);
        if !start_part.is_empty() {
            part.insert(0, self.tiles(start_part));
            part.push(self.tiles(end_part));
        }
        if !start.is_empty() {
            let tiles = self.tiles(start);
            self.statements.push(tiles);
        }
        self.statements.extend(loops(part, outer));
        for (index, buffer, address) in finished {
            self.emitter.kept[index] = Some((buffer, address));
        }
    }

    /// A buffer along the tile axis with the identity of `kind` in it.
    fn accumulator(
        &mut self,
        kind: ReduceKind,
        dtype: DType,
        name: String,
        start: &mut Vec<LoopInstruction>,
    ) -> BufferId {
        let buffer = self.emitter.scratch(dtype, self.length(), name);
        let value = self.emitter.constant(start, dtype, identity(kind, dtype));
        let kind = LoopInstructionKind::Store { buffer, address: self.place(), value };
        start.push(LoopInstruction { result: None, dtype, kind });
        buffer
    }

    /// The value in f64.
    fn wide(&mut self, value: LaneId, list: &mut Vec<LoopInstruction>) -> LaneId {
        self.emitter.push(list, DType::F64, LoopInstructionKind::Cast(value))
    }

    /// Combines a value with what is in a buffer.
    fn accumulate(
        &mut self,
        kind: ReduceKind,
        dtype: DType,
        buffer: BufferId,
        value: LaneId,
        list: &mut Vec<LoopInstruction>,
    ) {
        let kind = LoopInstructionKind::Accumulate { buffer, address: self.place(), kind, value };
        list.push(LoopInstruction { result: None, dtype, kind });
    }
}

/// The value that changes nothing when combined.
pub fn identity(kind: ReduceKind, dtype: DType) -> f64 {
    match kind {
        ReduceKind::Sum => 0.0,
        ReduceKind::Prod => 1.0,
        ReduceKind::Max if dtype.is_float() => f64::NEG_INFINITY,
        ReduceKind::Max => f64::from(i32::MIN),
    }
}
