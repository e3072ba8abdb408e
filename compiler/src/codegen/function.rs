//! Translation of a function: its arguments, loops and scalar instructions.

use std::collections::HashMap;

use cranelift::codegen::ir::{self, BlockArg, InstBuilder, MemFlagsData, SourceLoc, types};
use cranelift::codegen::isa::TargetFrontendConfig;
use cranelift::frontend::{FunctionBuilder, FunctionBuilderContext, Variable};
use cranelift::prelude::IntCC;
use cygnet_runtime::program::Motion;

use super::abi;
use super::indices::{Indices, add_constant, multiply};
use super::lanes::{LaneBuilder, Width};
use super::runtime::Imports;
use super::wide::{Routine, WideVectors};
use crate::index::Constraint;
use crate::kernel::loops::{
    AxisId, Convention, Function, LaneId, LoopInstruction, LoopInstructionKind, Place, Range,
    Statement,
};
use crate::op::lowering::{Lane, Lanes, Lowering};
use crate::types::DType;

/// Memory accesses of generated code never trap: the arena holds every element they name.
pub(super) const MEMORY: MemFlagsData = MemFlagsData::new().with_notrap();

/// Fills `target`, whose signature is set, with the code of a verified function; if it is `shared`
/// it reads the places of its buffers from a table.
pub(super) fn translate(
    function: &Function,
    shared: bool,
    target: &mut ir::Function,
    context: &mut FunctionBuilderContext,
    imports: &Imports,
    (frontend, wide_vectors): (TargetFrontendConfig, Option<WideVectors>),
) -> Translated {
    let builder = FunctionBuilder::new(target, context);
    let mut translator = Translator::new(function, shared, builder, imports, wide_vectors);
    translator.statements(&function.body);
    if translator.streams {
        // What went past the caches is in memory before anybody is told so.
        translator.lanes.ins().fence();
    }
    translator.lanes.ins().return_(&[]);
    translator.lanes.builder.seal_all_blocks();
    translator.lanes.builder.finalize(frontend);
    let Translator { scratch_bytes, routines, .. } = translator;
    Translated { scratch_bytes, routines }
}

/// What a function's code needs beside its CLIF.
pub(super) struct Translated {
    /// Bytes of scratch memory.
    pub(super) scratch_bytes: usize,
    /// Routines with wide vectors, which the code calls by their numbers.
    pub(super) routines: Vec<Routine>,
}

/// Bounds of a loop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) start: ir::Value,
    pub(super) end: ir::Value,
    /// Number of indices, where it is fixed.
    pub(super) length: Option<usize>,
    /// A number that divides the number of indices.
    pub(super) multiple: usize,
    /// A power of two, 16 at most, that divides the first index.
    pub(super) alignment: usize,
}

/// The region that a region function works on.
#[derive(Clone, Copy)]
pub(super) struct RegionArguments {
    pub(super) tile: ir::Value,
    pub(super) tile_stride: ir::Value,
    pub(super) region: ir::Value,
    pub(super) batch_axes: usize,
    pub(super) block: Option<usize>,
}

pub(super) struct Translator<'a> {
    pub(super) function: &'a Function,
    pub(super) imports: &'a Imports,
    pub(super) lanes: LaneBuilder<'a>,
    pub(super) indices: Indices,
    pub(super) frame: ir::Value,
    /// For each buffer the address that its place counts from, and its place.
    pub(super) places: Vec<(ir::Value, i64)>,
    pub(super) scratch: ir::Value,
    piece: Option<ir::Value>,
    pub(super) region: Option<RegionArguments>,
    /// The axis of the loop that is emitted now, the innermost one.
    pub(super) around: Option<AxisId>,
    /// Values of scalar instructions.
    pub(super) values: HashMap<LaneId, Lane>,
    pub(super) variables: Vec<Variable>,
    /// Number of the next instruction of the listing.
    next_mark: usize,
    /// Bytes of scratch memory that the function's buffers take.
    pub(super) buffer_scratch: usize,
    /// Bytes of scratch memory that buffers and tiles take together.
    pub(super) scratch_bytes: usize,
    /// What segments may become routines with.
    pub(super) wide_vectors: Option<WideVectors>,
    /// These, each once.
    pub(super) routines: Vec<Routine>,
    /// Whether some of them write past the caches.
    pub(super) streams: bool,
}

impl<'a> Translator<'a> {
    fn new(
        function: &'a Function,
        shared: bool,
        mut builder: FunctionBuilder<'a>,
        imports: &'a Imports,
        wide_vectors: Option<WideVectors>,
    ) -> Translator<'a> {
        let entry = builder.create_block();
        builder.append_block_params_for_function_params(entry);
        builder.switch_to_block(entry);
        let arguments = builder.block_params(entry).to_vec();
        let frame = arguments[0];
        let fixed = MEMORY.with_aligned().with_readonly();
        let arena = builder.ins().load(types::I64, fixed, frame, abi::frame::ARENA);
        let scratch = builder.ins().load(types::I64, fixed, frame, abi::frame::SCRATCH);
        let (piece, region) = match function.convention {
            Convention::Pieces => (Some(arguments[1]), None),
            Convention::Region { batch_axes, block } => {
                let [tile, tile_stride, region] = [arguments[1], arguments[2], arguments[3]];
                (None, Some(RegionArguments { tile, tile_stride, region, batch_axes, block }))
            }
        };
        let table = shared.then(|| arguments[arguments.len() - 1]);
        let places = function
            .buffers
            .iter()
            .enumerate()
            .map(|(n, buffer)| match (buffer.place, table, region) {
                (Place::Arena(offset), None, _) => (arena, offset as i64),
                (Place::Moving(offset, motion), None, _) => {
                    (moved(&mut builder, frame, arena, motion), offset as i64)
                }
                (Place::Arena(_) | Place::Moving(..), Some(table), _) => {
                    let offset = builder.ins().load(types::I64, fixed, table, 8 * n as i32);
                    let start = builder.ins().iadd(arena, offset);
                    let motion = match buffer.place {
                        Place::Moving(_, motion) => motion,
                        _ => Motion::NONE,
                    };
                    (moved(&mut builder, frame, start, motion), 0)
                }
                (Place::Scratch(offset), ..) => (scratch, offset as i64),
                (Place::Tile, _, Some(region)) => (region.tile, 0),
                (Place::Tile, _, None) => unreachable!("verified: a piece has no tile"),
            })
            .collect();
        let variables = function
            .variables
            .iter()
            .map(|&dtype| builder.declare_var(Width::One.part_type(dtype)))
            .collect();
        let own_scratch = function.buffers.iter().filter_map(|buffer| match buffer.place {
            Place::Scratch(offset) => Some(offset + buffer.length * buffer.dtype.size()),
            _ => None,
        });
        let own_scratch = own_scratch.max().unwrap_or(0);
        Translator {
            function,
            imports,
            lanes: LaneBuilder::new(builder),
            indices: Indices::new(function.axes.iter().map(|axis| axis.extent).collect()),
            frame,
            places,
            scratch,
            piece,
            region,
            around: None,
            values: HashMap::new(),
            variables,
            next_mark: 0,
            buffer_scratch: own_scratch,
            scratch_bytes: own_scratch,
            wide_vectors,
            routines: Vec::new(),
            streams: false,
        }
    }

    fn statements(&mut self, statements: &[Statement]) {
        self.prepare(statements);
        for statement in statements {
            match statement {
                Statement::Loop { axis, range, body } => self.axis_loop(*axis, *range, body),
                Statement::Tiles { axis, range, body } => self.tiles(*axis, *range, body),
                Statement::Scalar(body) => {
                    let first = self.marks(body);
                    for (n, instruction) in body.iter().enumerate() {
                        self.mark(first + n);
                        self.scalar(instruction);
                    }
                    self.unmark();
                }
            }
        }
    }

    /// Takes numbers for the instructions of a statement; returns the first. They count in the
    /// order of the listing, so that machine code can be traced back to it.
    pub(super) fn marks(&mut self, body: &[LoopInstruction]) -> usize {
        self.next_mark += body.len();
        self.next_mark - body.len()
    }

    /// Says which instruction the code that follows belongs to.
    pub(super) fn mark(&mut self, instruction: usize) {
        self.lanes.builder.set_srcloc(SourceLoc::new(instruction as u32));
    }

    /// Says that the code that follows belongs to no instruction.
    pub(super) fn unmark(&mut self) {
        self.lanes.builder.set_srcloc(SourceLoc::default());
    }

    /// Computes the parts of index expressions that are fixed here and needed inside.
    fn prepare(&mut self, statements: &[Statement]) {
        for statement in statements {
            match statement {
                Statement::Loop { body, .. } => self.prepare(body),
                Statement::Tiles { body, .. } | Statement::Scalar(body) => {
                    for expression in body.iter().flat_map(|i| i.kind.expressions()) {
                        self.indices.prepare(&mut self.lanes.builder, expression);
                    }
                }
            }
        }
    }

    fn axis_loop(&mut self, axis: AxisId, range: Range, body: &[Statement]) {
        let bounds = self.bounds(range);
        if bounds.length == Some(1) {
            self.indices.enter(Some((axis, bounds.start)));
            self.statements(body);
            self.indices.leave();
            return;
        }
        let outside = self.around.replace(axis);
        self.counted_loop(bounds.start, bounds.end, 1, |this, index| {
            this.indices.enter(Some((axis, index)));
            this.statements(body);
            this.indices.leave();
        });
        self.around = outside;
    }

    /// Runs `body` for `start, start + step, ...` while a whole step is left before `end`.
    /// Returns where it stopped.
    pub(super) fn counted_loop(
        &mut self,
        start: ir::Value,
        end: ir::Value,
        step: i64,
        body: impl FnOnce(&mut Self, ir::Value),
    ) -> ir::Value {
        let builder = &mut self.lanes.builder;
        let head = builder.create_block();
        let exit = builder.create_block();
        let index = builder.append_block_param(head, types::I64);
        let stopped = builder.append_block_param(exit, types::I64);
        let last = add_constant(builder, end, -step);
        let runs = builder.ins().icmp(IntCC::SignedLessThanOrEqual, start, last);
        builder.ins().brif(runs, head, &[BlockArg::Value(start)], exit, &[BlockArg::Value(start)]);
        builder.switch_to_block(head);
        self.indices.enter(None);
        body(self, index);
        self.indices.leave();
        let builder = &mut self.lanes.builder;
        let next = builder.ins().iadd_imm_s(index, step);
        let again = builder.ins().icmp(IntCC::SignedLessThanOrEqual, next, last);
        builder.ins().brif(again, head, &[BlockArg::Value(next)], exit, &[BlockArg::Value(next)]);
        builder.seal_block(head);
        builder.seal_block(exit);
        builder.switch_to_block(exit);
        stopped
    }

    pub(super) fn bounds(&mut self, range: Range) -> Bounds {
        let builder = &mut self.lanes.builder;
        match range {
            Range::Fixed { start, end } => {
                let (length, alignment) = (end - start, alignment_of(start));
                let start = builder.ins().iconst(types::I64, start as i64);
                let end = builder.ins().iconst(types::I64, end as i64);
                Bounds { start, end, length: Some(length), multiple: length.max(1), alignment }
            }
            Range::Piece { count: 1, extent, .. } => {
                self.bounds(Range::Fixed { start: 0, end: extent })
            }
            Range::Piece { count, inner, chunk, extent } => {
                let piece = self.piece.expect("verified: a piece belongs to a piece function");
                let outer = self.digit(piece, inner, count);
                let builder = &mut self.lanes.builder;
                let start = builder.ins().imul_imm_s(outer, chunk as i64);
                let end = builder.ins().iadd_imm_s(start, chunk as i64);
                let alignment = alignment_of(chunk);
                if extent % chunk == 0 {
                    return Bounds { start, end, length: Some(chunk), multiple: chunk, alignment };
                }
                let limit = builder.ins().iconst(types::I64, extent as i64);
                let end = builder.ins().smin(end, limit);
                let multiple = greatest_divisor(chunk, extent);
                Bounds { start, end, length: None, multiple, alignment }
            }
            Range::RegionBatch { inner, extent } => {
                let batch = self.region_field(abi::region::BATCH);
                let start = self.digit(batch, inner, extent);
                let end = self.lanes.ins().iadd_imm_s(start, 1);
                Bounds { start, end, length: Some(1), multiple: 1, alignment: 1 }
            }
            Range::RegionRows => {
                let start = self.region_field(abi::region::ROW_START);
                let end = self.region_field(abi::region::ROW_END);
                Bounds { start, end, length: None, multiple: 1, alignment: 1 }
            }
            Range::RegionColumns => {
                let [start, end] = self.region_columns();
                Bounds { start, end, length: None, multiple: 1, alignment: 1 }
            }
            Range::RegionBlocks { width } => {
                let [start, end] = self.region_columns();
                let builder = &mut self.lanes.builder;
                let start = builder.ins().udiv_imm_u(start, width as i64);
                let past = builder.ins().iadd_imm_s(end, width as i64 - 1);
                let end = builder.ins().udiv_imm_u(past, width as i64);
                Bounds { start, end, length: None, multiple: 1, alignment: 1 }
            }
            Range::RegionWithin { width } => {
                let block = self.block_index().expect("verified: a block runs");
                let [start, end] = self.region_columns();
                let builder = &mut self.lanes.builder;
                let before = builder.ins().imul_imm_s(block, width as i64);
                let [start, end] = [start, end].map(|edge| builder.ins().isub(edge, before));
                let zero = builder.ins().iconst(types::I64, 0);
                let width = builder.ins().iconst(types::I64, width as i64);
                let start = builder.ins().smax(start, zero);
                let end = builder.ins().smin(end, width);
                Bounds { start, end, length: None, multiple: 1, alignment: 1 }
            }
        }
    }

    /// `number / inner % count`.
    fn digit(&mut self, number: ir::Value, inner: usize, count: usize) -> ir::Value {
        let builder = &mut self.lanes.builder;
        let mut digit = number;
        if inner > 1 {
            digit = builder.ins().udiv_imm_u(digit, inner as i64);
        }
        builder.ins().urem_imm_u(digit, count as i64)
    }

    /// The region's first column, and one past its last.
    fn region_columns(&mut self) -> [ir::Value; 2] {
        [abi::region::COLUMN_START, abi::region::COLUMN_END].map(|field| self.region_field(field))
    }

    /// The number of the running block of columns.
    fn block_index(&self) -> Option<ir::Value> {
        self.indices.index(self.region?.batch_axes + 1)
    }

    pub(super) fn region_field(&mut self, offset: i32) -> ir::Value {
        let region = self.region.expect("verified: a region belongs to a region function").region;
        self.lanes.ins().load(types::I64, MEMORY.with_aligned().with_readonly(), region, offset)
    }

    /// Emits an instruction for one element; all axes of its expressions run.
    pub(super) fn scalar(&mut self, instruction: &LoopInstruction) {
        let LoopInstruction { result, dtype, kind } = instruction;
        let dtype = *dtype;
        self.lanes.width = Width::One;
        let value = match kind {
            LoopInstructionKind::Constant(value) => {
                Some(self.lanes.constant(value.dtype, value.value()))
            }
            LoopInstructionKind::Index(expression) => {
                let index = self.indices.evaluate(&mut self.lanes.builder, expression);
                Some(self.index_number(index, dtype))
            }
            LoopInstructionKind::Load { buffer, address, constraints, fill } => {
                let guard = self.guard(constraints);
                Some(self.guarded(dtype, guard.zip(*fill), |this| {
                    let access = this.element(*buffer, address);
                    this.lanes.load_one(dtype, access)
                }))
            }
            LoopInstructionKind::Gather { buffer, address, index, stride, extent } => {
                let indexed = self.indexed(dtype, self.values[index], *stride, *extent);
                let first = self.element(*buffer, address);
                Some(self.gather_one(dtype, first, indexed))
            }
            LoopInstructionKind::Masked { operand, constraints, fill } => {
                let operand = self.values[operand];
                match self.guard(constraints) {
                    Some(guard) => {
                        let inside = self.lanes.hold(DType::Bool, Width::One, guard);
                        let fill = self.lanes.constant(dtype, fill.value());
                        Some(self.lanes.select(inside, operand, fill))
                    }
                    None => Some(operand),
                }
            }
            LoopInstructionKind::Random { .. } => Some(self.call_scalar(instruction, &[])),
            LoopInstructionKind::Apply(function, operands) => {
                let operands: Vec<Lane> = operands.iter().map(|id| self.values[id]).collect();
                Some(match function.entry().lowering {
                    Lowering::Inline(lowering) => lowering(&mut self.lanes, &operands),
                    Lowering::Tile(_) => self.call_scalar(instruction, &operands),
                })
            }
            LoopInstructionKind::Cast(operand) => {
                Some(self.lanes.cast(self.values[operand], dtype))
            }
            LoopInstructionKind::Store { buffer, address, value } => {
                let access = self.element(*buffer, address);
                self.lanes.store_one(self.values[value], access);
                None
            }
            LoopInstructionKind::Accumulate { buffer, address, kind, value } => {
                let access = self.element(*buffer, address);
                let known = self.lanes.load_one(dtype, access);
                let combined = self.lanes.combine(*kind, known, self.values[value]);
                self.lanes.store_one(combined, access);
                None
            }
            LoopInstructionKind::Set(variable, value) => {
                let value = self.lanes.value(self.values[value]);
                self.lanes.builder.def_var(self.variables[*variable], value);
                None
            }
            LoopInstructionKind::Get(variable) => Some(self.variable(*variable)),
            LoopInstructionKind::Fold { variable, kind, value } => {
                self.fold_scalar(*variable, *kind, self.values[value]);
                None
            }
            LoopInstructionKind::FoldArg { variable, position, kind, value, index } => {
                let index = self.indices.evaluate(&mut self.lanes.builder, index);
                self.fold_position(*variable, *position, *kind, self.values[value], index);
                None
            }
        };
        if let (Some(result), Some(value)) = (result, value) {
            self.values.insert(*result, value);
        }
    }

    /// A variable's value.
    pub(super) fn variable(&mut self, variable: usize) -> Lane {
        let value = self.lanes.builder.use_var(self.variables[variable]);
        self.lanes.hold(self.function.variables[variable], Width::One, value)
    }

    /// Whether all constraints hold, as 0 or 1; `None` without constraints.
    pub(super) fn guard(&mut self, constraints: &[Constraint]) -> Option<ir::Value> {
        let mut guard = None;
        for Constraint { expression, low, high } in constraints {
            let builder = &mut self.lanes.builder;
            let value = self.indices.evaluate(builder, expression);
            // One unsigned comparison tests both bounds.
            let above = add_constant(builder, value, -low);
            let holds = builder.ins().icmp_imm_u(IntCC::UnsignedLessThan, above, high - low);
            guard = Some(guard.map_or(holds, |guard| builder.ins().band(guard, holds)));
        }
        guard
    }

    /// An index as a number of type `dtype`.
    pub(super) fn index_number(&mut self, index: ir::Value, dtype: DType) -> Lane {
        let narrow = self.lanes.ins().ireduce(types::I32, index);
        let number = self.lanes.hold(DType::I32, Width::One, narrow);
        self.lanes.cast(number, dtype)
    }
}

/// An address that moves with the loops around.
fn moved(
    builder: &mut FunctionBuilder<'_>,
    frame: ir::Value,
    start: ir::Value,
    motion: Motion,
) -> ir::Value {
    let counters = motion.0.iter().enumerate().filter(|(_, bytes)| **bytes != 0);
    counters.fold(start, |address, (number, &bytes)| {
        let offset = abi::frame::COUNTERS + 8 * number as i32;
        let fixed = MEMORY.with_aligned().with_readonly();
        let counter = builder.ins().load(types::I64, fixed, frame, offset);
        let distance = multiply(builder, counter, bytes as i64);
        builder.ins().iadd(address, distance)
    })
}

/// The greatest number that divides both.
pub(super) fn greatest_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { greatest_divisor(b, a % b) }
}

/// The greatest power of two that divides a number, but 16 at most: the elements of the widest vectors.
fn alignment_of(number: usize) -> usize {
    1 << number.trailing_zeros().min(4)
}
