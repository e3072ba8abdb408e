//! Rowwise iteration: tiles along a reduced axis, one row after another.

use crate::index::Expression;
use crate::kernel::loops::{
    Address, AxisId, Convention, Function, LoopInstruction, LoopInstructionKind, Range, Statement,
};
use crate::kernel::{Body, InstructionId, InstructionKind};
use crate::op::{ArgKind, ReduceKind};
use crate::schedule::memory::Memory;
use crate::schedule::pieces::{Cuttable, Cutting, cut};
use crate::types::DType;

use super::analysis::{Analysis, is_expensive, reduction_operand};
use super::columnwise::identity;
use super::emitter::{Emitter, Lanes, nest};

/// Largest row kept between sweeps, in bytes: well within the L2 cache.
const MOST_KEPT_BYTES: usize = 128 << 10;

/// Lowers `body` with tiles along `tile_axis`, a reduced one.
pub fn lower(
    name: &str,
    body: &Body,
    analysis: &Analysis,
    tile_axis: usize,
    memory: &Memory,
    cutting: Cutting,
) -> (Function, usize) {
    let mut emitter = Emitter::new(name, Convention::Pieces, body, analysis, memory);
    let (reduced, outer): (Vec<usize>, Vec<usize>) =
        (0..body.axes.len()).partition(|axis| analysis.reduced & (1 << axis) != 0);
    let cuttable: Vec<Cuttable> = outer
        .iter()
        .map(|&axis| Cuttable { axis, extent: body.axes[axis].extent, granularity: 1, most: None })
        .collect();
    let (ranges, pieces) = cut(&cuttable, cutting);
    let loops: Vec<(AxisId, Range)> = outer.into_iter().zip(ranges).collect();

    let roots: Vec<InstructionId> = (body.instructions.iter())
        .filter_map(|instruction| reduction_operand(&instruction.kind))
        .chain(body.stores.iter().map(|store| store.instruction))
        .collect();
    let scalars = emitter.hoist(&roots, &loops, analysis.reduced);
    let mut sweeps = Sweeps { emitter, reduced, tile_axis, statements: Vec::new() };
    sweeps.row(0);
    for sweep in 0..analysis.sweeps {
        sweeps.points(sweep);
        sweeps.row(sweep + 1);
    }
    let mut function = sweeps.emitter.function;
    function.body = nest(&loops, scalars, sweeps.statements);
    (function, pieces)
}

/// A reduction under way: the instruction and its variables.
struct Running {
    index: usize,
    variable: usize,
    position: Option<usize>,
}

struct Sweeps<'a> {
    emitter: Emitter<'a>,
    reduced: Vec<usize>,
    tile_axis: usize,
    statements: Vec<Statement>,
}

impl Sweeps<'_> {
    /// Per-row results of a level, as scalars, and the stores that are ready.
    fn row(&mut self, level: usize) {
        let (body, analysis) = (self.emitter.body, self.emitter.analysis);
        let mut list = Vec::new();
        let mut local = self.emitter.locals();
        for index in 0..body.instructions.len() {
            let id = InstructionId(index as u32);
            let ready = level > 0
                && analysis.level(id) == level
                && !analysis.is_per_point(id)
                && self.emitter.scalars[index].is_none();
            if ready {
                let lane = self.emitter.compute(id, &mut list, &mut local);
                self.emitter.scalars[index] = Some(lane);
            }
        }
        let ready = self.emitter.stores_of(level, false);
        self.emitter.stores(ready, &mut list, &mut local);
        if !list.is_empty() {
            self.statements.push(Statement::Scalar(list));
        }
    }

    /// One sweep over the row: the reductions of level `sweep + 1`, and stores that are ready.
    fn points(&mut self, sweep: usize) {
        let (body, analysis) = (self.emitter.body, self.emitter.analysis);
        let mut list = Vec::new();
        let mut local = self.emitter.locals();
        let mut running = Vec::new();
        for (index, instruction) in body.instructions.iter().enumerate() {
            if analysis.level[index] != sweep + 1 {
                continue;
            }
            match instruction.kind {
                InstructionKind::Reduce(kind, operand) => {
                    let value = self.emitter.compute(operand, &mut list, &mut local);
                    let variable = self.start(kind, instruction.dtype);
                    let fold = LoopInstructionKind::Fold { variable, kind, value };
                    list.push(LoopInstruction {
                        result: None,
                        dtype: instruction.dtype,
                        kind: fold,
                    });
                    running.push(Running { index, variable, position: None });
                }
                InstructionKind::ArgReduce(kind, operand) => {
                    let value = self.emitter.compute(operand, &mut list, &mut local);
                    let dtype = body.instruction(operand).dtype;
                    let extreme = match kind {
                        ArgKind::Max => identity(ReduceKind::Max, dtype),
                        ArgKind::Min if dtype.is_float() => f64::INFINITY,
                        ArgKind::Min => f64::from(i32::MAX),
                    };
                    let variable = self.set(dtype, extreme);
                    let position = self.set(DType::I32, 0.0);
                    let index_along = Expression::axis(self.tile_axis);
                    let fold = LoopInstructionKind::FoldArg {
                        variable,
                        position,
                        kind,
                        value,
                        index: index_along,
                    };
                    list.push(LoopInstruction { result: None, dtype, kind: fold });
                    running.push(Running { index, variable, position: Some(position) });
                }
                _ => {}
            }
        }
        let ready = self.emitter.stores_of(sweep, true);
        self.emitter.stores(ready, &mut list, &mut local);
        self.keep(sweep, &mut list, &local);
        let mut statement = Statement::Tiles {
            axis: self.tile_axis,
            range: Range::Fixed { start: 0, end: body.axes[self.tile_axis].extent },
            body: list,
        };
        for &axis in self.reduced.iter().rev().filter(|&&axis| axis != self.tile_axis) {
            let range = Range::Fixed { start: 0, end: body.axes[axis].extent };
            statement = Statement::Loop { axis, range, body: vec![statement] };
        }
        self.statements.push(statement);
        self.finish(&running);
    }

    /// Keeps the dear per-point results of this sweep that later sweeps use; instead of one that is
    /// used for a single other result, that one.
    fn keep(&mut self, sweep: usize, list: &mut Vec<LoopInstruction>, local: &Lanes) {
        let (body, analysis) = (self.emitter.body, self.emitter.analysis);
        let points: usize = self.reduced.iter().map(|&axis| body.axes[axis].extent).product();
        for (index, instruction) in body.instructions.iter().enumerate() {
            let dear = is_expensive(&instruction.kind)
                && analysis.is_per_point(InstructionId(index as u32));
            if !dear || local[index].is_none() {
                continue;
            }
            let index = self.last_of_chain(index, local);
            let (id, dtype) = (InstructionId(index as u32), body.instructions[index].dtype);
            let Some(value) = local[index] else { continue };
            let fits = points * dtype.size() <= MOST_KEPT_BYTES;
            let fresh = self.emitter.kept[index].is_none();
            if !(fits && fresh && self.is_used_after(id, sweep)) {
                continue;
            }
            let buffer = self.emitter.scratch(dtype, points, format!("kept{index}"));
            let place = self.reduced.iter().fold(Expression::constant(0), |sum, &axis| {
                sum.times(body.axes[axis].extent as i64).plus(&Expression::axis(axis))
            });
            let address = Address::Offset(place);
            let kind = LoopInstructionKind::Store { buffer, address: address.clone(), value };
            list.push(LoopInstruction { result: None, dtype, kind });
            self.emitter.kept[index] = Some((buffer, address));
        }
    }

    /// From an instruction on to the one that its result is used for, as long as that is a single
    /// elementwise function computed in the same sweep.
    fn last_of_chain(&self, mut index: usize, local: &Lanes) -> usize {
        let body = self.emitter.body;
        loop {
            let id = InstructionId(index as u32);
            let stored = body.stores.iter().any(|store| store.instruction == id);
            let mut users = (index + 1..body.instructions.len())
                .filter(|&user| body.instructions[user].kind.operands().contains(&id));
            let (Some(user), None) = (users.next(), users.next()) else { return index };
            let function = matches!(body.instructions[user].kind, InstructionKind::Apply(..));
            if stored || !function || local[user].is_none() {
                return index;
            }
            index = user;
        }
    }

    /// Whether a sweep after `sweep` needs the per-point instruction `id`.
    fn is_used_after(&self, id: InstructionId, sweep: usize) -> bool {
        let (body, analysis) = (self.emitter.body, self.emitter.analysis);
        let mut needs = vec![false; body.instructions.len()];
        needs[id.0 as usize] = true;
        for (index, instruction) in body.instructions.iter().enumerate().skip(id.0 as usize + 1) {
            if let Some(operand) = reduction_operand(&instruction.kind) {
                if needs[operand.0 as usize] && analysis.level[index] > sweep + 1 {
                    return true;
                }
            } else {
                needs[index] =
                    instruction.kind.operands().iter().any(|operand| needs[operand.0 as usize]);
            }
        }
        body.stores.iter().any(|store| {
            needs[store.instruction.0 as usize] && analysis.level(store.instruction) > sweep
        })
    }

    /// A variable with the identity of `kind`, in f64 for sums of floats.
    fn start(&mut self, kind: ReduceKind, dtype: DType) -> usize {
        let wide = if kind == ReduceKind::Sum && dtype.is_float() { DType::F64 } else { dtype };
        self.set(wide, identity(kind, dtype))
    }

    fn set(&mut self, dtype: DType, value: f64) -> usize {
        let variable = self.emitter.variable(dtype);
        let mut list = Vec::new();
        let value = self.emitter.constant(&mut list, dtype, value);
        let kind = LoopInstructionKind::Set(variable, value);
        list.push(LoopInstruction { result: None, dtype, kind });
        self.statements.push(Statement::Scalar(list));
        variable
    }

    /// Reads the finished reductions.
    fn finish(&mut self, running: &[Running]) {
        let mut list = Vec::new();
        for Running { index, variable, position } in running {
            let variable = position.unwrap_or(*variable);
            let wide = self.emitter.function.variables[variable];
            let dtype = self.emitter.body.instructions[*index].dtype;
            let mut lane = self.emitter.push(&mut list, wide, LoopInstructionKind::Get(variable));
            if wide != dtype {
                lane = self.emitter.push(&mut list, dtype, LoopInstructionKind::Cast(lane));
            }
            self.emitter.scalars[*index] = Some(lane);
        }
        if !list.is_empty() {
            self.statements.push(Statement::Scalar(list));
        }
    }
}
