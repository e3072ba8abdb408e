//! Segments as routines with wide vectors.

use std::collections::HashMap;

use cranelift::codegen::ir::{self, InstBuilder, MemFlagsData, types};

use super::TilesCode;
use super::fold::neutral;
use super::plan::{Home, Step};
use super::recorder::{Argument, Recorder};
use super::segment::Group;
use crate::codegen::function::{Bounds, Translator};
use crate::codegen::indices::add_constant;
use crate::codegen::lanes::{Held, Width};
use crate::codegen::memory::{Element as Place, Stride};
use crate::codegen::wide::{Count, Effect, Fold, FoldMemory, WideLanes, WideVectors};
use crate::kernel::loops::{LaneId, LoopInstructionKind};
use crate::op::indexing::missing;
use crate::op::lowering::{Lane, Lanes, Lowering};
use crate::types::DType;

/// Parts of rows are so long at most.
const PART_OF_ROW: usize = 128;

/// The call of a routine that computes a segment.
#[derive(Clone, Debug)]
pub(super) struct WideSegment {
    /// Its number among the function's routines.
    routine: usize,
    arguments: Vec<Argument>,
}

impl Translator<'_> {
    /// Makes a routine of each segment that can be one; `bounds` are those of a tile. Accumulators of folds
    /// lie at the offset `folds_at` of scratch memory, segment after segment; tells where they end, too.
    pub(super) fn wide_segments(
        &mut self,
        code: &TilesCode<'_>,
        bounds: Bounds,
        folds_at: usize,
    ) -> (Vec<Option<WideSegment>>, usize) {
        let mut folds_end = folds_at;
        let segments = code.plan.steps.iter().map(|step| match step {
            Step::Segment(members) => {
                let vectors = self.wide_vectors?;
                let segment = self.wide_segment(vectors, code, members, (bounds, folds_end));
                let (segment, folds) = segment?;
                folds_end += self.wide_accumulator_bytes() * folds;
                Some(segment)
            }
            _ => None,
        });
        let segments = segments.collect();
        (segments, folds_end)
    }

    /// A segment as a routine, and how many folds it has; `None` if it cannot be one.
    fn wide_segment(
        &mut self,
        vectors: WideVectors,
        code: &TilesCode<'_>,
        members: &[usize],
        (bounds, folds_at): (Bounds, usize),
    ) -> Option<(WideSegment, usize)> {
        let is_cut = !code.guards.intervals_of(members).is_empty();
        if bounds.length.is_some_and(|length| length < vectors.width()) {
            return None;
        }
        let lanes = WideLanes::new();
        let (arguments, values, steps) = (Vec::new(), HashMap::new(), HashMap::new());
        let alignment = if is_cut { 1 } else { bounds.alignment };
        let function = self.function;
        let width = vectors.width();
        // Rows that are read in whole the processor asks for itself.
        let is_part = bounds.length.is_some_and(|length| length <= PART_OF_ROW);
        let around = self.around.filter(|_| is_part);
        let mut recorder =
            Recorder { function, code, lanes, width, alignment, around, arguments, values, steps };
        for &n in members {
            recorder.lanes.program.mark(code.first_mark + n);
            let lane = self.record(&mut recorder, n)?;
            if let Some(lane) = lane {
                recorder.values.insert(n, lane);
                if let Some(&Home::Slot(slot)) = code.plan.homes.get(&n) {
                    recorder.store_slot(slot, lane);
                }
            }
            if !recorder.lanes.is_supported() {
                return None;
            }
        }
        let folds = recorder.lanes.program.fold_count();
        if folds > 0 {
            let pointer = recorder.parameter(Argument::Folds(folds_at));
            let memory = FoldMemory { pointer, continued: is_cut };
            recorder.lanes.program.set_fold_memory(memory);
        }
        let count = match bounds.length {
            Some(length) if !is_cut => Count::Fixed(length),
            _ => {
                let multiple = if is_cut { 1 } else { bounds.multiple };
                Count::Parameter(recorder.parameter(Argument::Count), multiple)
            }
        };
        recorder.lanes.program.set_count(count);
        let routine = vectors.assemble(&recorder.lanes.program)?;
        let arguments =
            routine.arguments.iter().map(|&argument| recorder.arguments[argument].clone());
        let arguments = arguments.collect();
        let known = self.routines.iter().position(|known| known.bytes == routine.bytes);
        let routine = known.unwrap_or_else(|| {
            self.routines.push(routine);
            self.routines.len() - 1
        });
        Some((WideSegment { routine, arguments }, folds))
    }

    /// Records an instruction: `None` if it cannot be part of a routine, else its value, if it has one.
    fn record(&mut self, recorder: &mut Recorder<'_>, n: usize) -> Option<Option<Lane>> {
        let code = recorder.code;
        let instruction = &code.body[n];
        let dtype = instruction.dtype;
        let lane = match &instruction.kind {
            LoopInstructionKind::Index(expression) => {
                let stride = i32::try_from(expression.stride(code.axis)?).ok()?;
                recorder.index(expression, stride, dtype)
            }
            LoopInstructionKind::Load { fill, .. } => {
                let guard = recorder.guard(n)?.zip(*fill);
                match recorder.row(n, None) {
                    Some(row) => {
                        recorder.prefetch(n, row);
                        recorder.load(dtype, row, guard.map(|(guard, fill)| (guard, fill.value())))
                    }
                    None if guard.is_none() => recorder.gather(n)?,
                    None => return None,
                }
            }
            LoopInstructionKind::Gather { .. } => {
                let indexed = code.gathers.get(&n)?.indexed;
                let first = self.indexed_element(code.rows[&n].0, indexed);
                let row = recorder.row(n, Some(first.pointer))?;
                let loaded = recorder.load(dtype, row, None);
                let missing = recorder.lanes.constant(dtype, missing(dtype));
                let inside = recorder.flag(Argument::Inside(n));
                recorder.lanes.select(inside, loaded, missing)
            }
            LoopInstructionKind::Masked { operand, fill, .. } => {
                let operand = self.recorded_operand(recorder, *operand)?;
                match recorder.guard(n)? {
                    Some(inside) => {
                        let fill = recorder.lanes.constant(dtype, fill.value());
                        recorder.lanes.select(inside, operand, fill)
                    }
                    None => operand,
                }
            }
            LoopInstructionKind::Apply(function, operands) => {
                let Lowering::Inline(lowering) = function.entry().lowering else { return None };
                let operands = operands.iter().map(|&id| self.recorded_operand(recorder, id));
                let operands = operands.collect::<Option<Vec<Lane>>>()?;
                lowering(&mut recorder.lanes, &operands)
            }
            LoopInstructionKind::Cast(operand) => {
                let operand = self.recorded_operand(recorder, *operand)?;
                recorder.lanes.cast(operand, dtype)
            }
            LoopInstructionKind::Store { value, .. } => {
                let value = self.recorded_operand(recorder, *value)?;
                match recorder.stored_row(n) {
                    Some(row) if recorder.can_stream(n) => {
                        self.streams = true;
                        let value = recorder.lanes.value(value);
                        recorder.lanes.program.effect(Effect::Stream(row, value));
                    }
                    Some(row) => {
                        recorder.prefetch(n, row);
                        recorder.store(row, value);
                    }
                    None => recorder.scatter(n, value)?,
                }
                return Some(None);
            }
            LoopInstructionKind::Accumulate { kind, value, .. } => {
                let value = self.recorded_operand(recorder, *value)?;
                let row = recorder.stored_row(n)?;
                let known = recorder.load(dtype, row, None);
                let combined = recorder.lanes.combine(*kind, known, value);
                recorder.store(row, combined);
                return Some(None);
            }
            LoopInstructionKind::Fold { kind, value, .. } => {
                if dtype != DType::F32 {
                    return None;
                }
                let value = self.recorded_operand(recorder, *value)?;
                let value = recorder.lanes.value(value);
                let neutral = neutral(*kind, dtype) as f32;
                let program = &mut recorder.lanes.program;
                let fold = program.fold(Fold { kind: *kind, neutral: neutral.to_bits() });
                program.effect(Effect::Fold(fold, value));
                return Some(None);
            }
            LoopInstructionKind::FoldArg { .. } => return None,
            LoopInstructionKind::Constant(_)
            | LoopInstructionKind::Random { .. }
            | LoopInstructionKind::Set(..)
            | LoopInstructionKind::Get(_) => unreachable!("not part of a segment"),
        };
        Some(Some(lane))
    }

    /// The value of an operand.
    fn recorded_operand(&mut self, recorder: &mut Recorder<'_>, id: LaneId) -> Option<Lane> {
        let code = recorder.code;
        let Some(n) = code.plan.varying(id) else {
            let dtype = self.dtype_of(id);
            if let Some(LoopInstructionKind::Constant(value)) =
                code.plan.uniform_kind(code.body, id)
            {
                return Some(recorder.lanes.constant(dtype, value.value()));
            }
            return Some(match dtype {
                DType::Bool => recorder.flag(Argument::Uniform(id)),
                DType::F64 => return None,
                _ => recorder.splat(dtype, Argument::Uniform(id)),
            });
        };
        if let Some(&lane) = recorder.values.get(&n) {
            return Some(lane);
        }
        let dtype = code.body[n].dtype;
        let lane = match code.plan.homes[&n] {
            Home::Slot(slot) => recorder.load_slot(slot, dtype),
            Home::Stored(store) => {
                let row = recorder.stored_row(store)?;
                recorder.load(dtype, row, None)
            }
        };
        recorder.values.insert(n, lane);
        Some(lane)
    }

    /// Emits the call of a segment's routine within a cut.
    pub(super) fn call_wide(
        &mut self,
        code: &TilesCode<'_>,
        segment: &WideSegment,
        guards: &HashMap<usize, ir::Value>,
        bounds: Bounds,
    ) {
        let arguments: Vec<ir::Value> = segment
            .arguments
            .iter()
            .map(|argument| match argument {
                Argument::Row(row, bytes) => self.row_at(*row, bounds.start, *bytes),
                Argument::Slots => self.row_at(code.slot_base(4), bounds.start, 4),
                Argument::Uniform(id) => self.word(self.values[id]),
                Argument::Guard(n) => {
                    let guard = guards[n];
                    self.lanes.ins().uextend(types::I64, guard)
                }
                Argument::Inside(n) => self.word(code.gathers[n].indexed.inside),
                Argument::First(expression) => {
                    self.expression_at(code, &Group::new(bounds.start), 0, expression)
                }
                Argument::Count => self.lanes.ins().isub(bounds.end, bounds.start),
                Argument::Folds(offset) => {
                    add_constant(&mut self.lanes.builder, self.scratch, *offset as i64)
                }
            })
            .collect();
        let callee = self.imports.import_routine(
            self.lanes.builder.func,
            segment.routine as u32,
            arguments.len(),
        );
        self.lanes.ins().call(callee, &arguments);
    }

    /// The address of the element at an index, so many bytes from its neighbours.
    fn row_at(&mut self, pointer: ir::Value, index: ir::Value, bytes: i64) -> ir::Value {
        let first = Place { pointer, displacement: 0 };
        self.at(first, Stride::Fixed(bytes), 1, index).pointer
    }

    /// A lane of one element of 32 bits, or a boolean, as a word of 64 bits.
    fn word(&mut self, lane: Lane) -> ir::Value {
        let Held { dtype, parts: [value, _], .. } = self.lanes.held(lane);
        let builder = &mut self.lanes.builder;
        let bits = match dtype {
            DType::F32 => builder.ins().bitcast(types::I32, MemFlagsData::new(), value),
            _ => value,
        };
        builder.ins().uextend(types::I64, bits)
    }

    /// Bytes of the accumulators of a fold in scratch memory.
    pub(super) fn wide_accumulator_bytes(&self) -> usize {
        4 * self.wide_vectors.map_or(0, WideVectors::width)
    }

    /// The places of a fold's accumulators in scratch memory, four by four.
    fn accumulator_places(&self, offset: usize) -> impl Iterator<Item = Place> + use<> {
        let (start, pointer) = (offset as i32, self.scratch);
        let displacements = (0..self.wide_accumulator_bytes()).step_by(4 * Width::Four.elements());
        displacements.map(move |at| Place { pointer, displacement: start + at as i32 })
    }

    /// The accumulators of a fold in scratch memory, four by four.
    pub(super) fn wide_accumulators(&mut self, dtype: DType, offset: usize) -> Vec<Lane> {
        self.accumulator_places(offset).map(|place| self.lanes.load_four(dtype, place)).collect()
    }

    /// Sets the accumulators of a fold in scratch memory.
    pub(super) fn set_wide_accumulators(&mut self, value: Lane, offset: usize) {
        for place in self.accumulator_places(offset) {
            self.lanes.store_four(value, place);
        }
    }
}
