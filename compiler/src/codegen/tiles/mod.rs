//! Translation of `Tiles` statements.
//!
//! A statement becomes a loop over tiles; in each tile the steps of the [`plan`] follow one
//! another: segments, which are calls of routines with wide vectors ([`wide`]) or loops over vectors
//! of four elements with a scalar rest, and calls of tile functions. Without tile functions and folds
//! there is one segment over the whole range.

mod access;
mod calls;
mod fold;
mod gather;
mod guard;
mod plan;
mod recorder;
mod segment;
mod wide;

use std::collections::HashMap;

use cranelift::codegen::ir::{self, InstBuilder, types};

use self::fold::LaneFold;
use self::gather::GatheredRow;
use self::guard::Guards;
use self::plan::{Plan, Step, TILE, slot_size};
use self::segment::{LoopShape, Rest};
use self::wide::WideSegment;
use super::function::{Bounds, Translator, greatest_divisor};
use super::indices::{add_constant, multiply};
use super::memory::{Element, Stride};
use crate::kernel::loops::{AxisId, LaneId, LoopInstruction, LoopInstructionKind, Range};
use crate::types::DType;

/// Code for a `Tiles` statement while it is emitted.
struct TilesCode<'s> {
    axis: AxisId,
    body: &'s [LoopInstruction],
    /// Number of the first instruction in the listing.
    first_mark: usize,
    plan: Plan,
    /// Where the accesses of varying instructions begin, and how they go on.
    rows: HashMap<usize, (Element, Stride)>,
    guards: Guards,
    /// Where the indices of gatherings lead that are the same for all elements.
    gathers: HashMap<usize, GatheredRow>,
    /// For each step the call that computes it, if it is a routine with wide vectors.
    wide: Vec<Option<WideSegment>>,
    /// The loops of each step that is none.
    shapes: Vec<LoopShape>,
    folds: HashMap<usize, LaneFold>,
    /// Byte offset of the first slot in scratch memory.
    slots: usize,
    /// Bytes of a slot.
    slot_bytes: usize,
    /// Where slots of 4 and of 8 byte elements would begin, if the tile started at index 0.
    slot_bases: [ir::Value; 2],
}

impl TilesCode<'_> {
    /// The displacement of a slot.
    fn slot(&self, slot: usize) -> i32 {
        (self.slots + slot * self.slot_bytes) as i32
    }

    fn slot_base(&self, size: usize) -> ir::Value {
        self.slot_bases[usize::from(size == 8)]
    }

    /// The folds, in the order of the body.
    fn sorted_folds(&self) -> impl Iterator<Item = &LaneFold> {
        (0..self.body.len()).filter_map(|n| self.folds.get(&n))
    }
}

impl Translator<'_> {
    /// Emits a `Tiles` statement.
    pub(super) fn tiles(&mut self, axis: AxisId, range: Range, body: &[LoopInstruction]) {
        let bounds = self.bounds(range);
        let first_mark = self.marks(body);
        match bounds.length {
            Some(0) => {}
            Some(1) => {
                self.indices.enter(Some((axis, bounds.start)));
                for (n, instruction) in body.iter().enumerate() {
                    self.mark(first_mark + n);
                    self.scalar(instruction);
                }
                self.unmark();
                self.indices.leave();
            }
            _ => {
                self.indices.enter(None);
                let chunk = match range {
                    Range::Piece { count, chunk, .. } if count > 1 => Some(chunk),
                    _ => None,
                };
                self.many((axis, chunk), bounds, body, first_mark);
                self.indices.leave();
            }
        }
    }

    /// The tiles of an axis; with `chunk`, those of a piece that starts at a multiple of it.
    fn many(
        &mut self,
        (axis, chunk): (AxisId, Option<usize>),
        bounds: Bounds,
        body: &[LoopInstruction],
        first_mark: usize,
    ) {
        let plan = Plan::new(self.function, axis, body);
        for &n in &plan.uniform {
            self.mark(first_mark + n);
            self.scalar(&body[n]);
        }
        self.unmark();
        let mut rows = HashMap::new();
        for (n, instruction) in body.iter().enumerate() {
            if let Some((buffer, address)) = instruction.kind.access()
                && !plan.uniform.contains(&n)
            {
                let piece = chunk.map(|chunk| (chunk, bounds.start));
                rows.insert(n, self.row(buffer, address, axis, piece));
            }
        }
        let guards = self.guards(axis, &plan, body);
        let gathers = self.gathered_rows(&plan, body);
        let slots = self.buffer_scratch.next_multiple_of(64);
        let tile = bounds.length.map_or(TILE, |length| length.next_multiple_of(4).min(TILE));
        let wide = plan.homes.keys().any(|&n| slot_size(body[n].dtype) == 8)
            || plan.rows.keys().any(|id| slot_size(self.dtype_of(*id)) == 8);
        let slot_bytes = tile * if wide { 8 } else { 4 };
        let slot_bases = [self.scratch; 2];
        let mut code = TilesCode {
            axis,
            body,
            first_mark,
            plan,
            rows,
            guards,
            gathers,
            wide: Vec::new(),
            shapes: Vec::new(),
            folds: HashMap::new(),
            slots,
            slot_bytes,
            slot_bases,
        };
        let is_call = |step: &Step| matches!(step, Step::Call(_));
        let is_fold = |instruction: &LoopInstruction| {
            matches!(instruction.kind, LoopInstructionKind::Fold { .. })
        };
        let tiled = code.plan.steps.iter().any(is_call) || body.iter().any(is_fold);
        let in_tiles = tiled && bounds.length.is_none_or(|length| length > TILE);
        let multiple = greatest_divisor(bounds.multiple, TILE);
        let tile_bounds = match in_tiles {
            true => {
                let length = (multiple == TILE).then_some(TILE);
                Bounds { length, multiple, ..bounds }
            }
            false => bounds,
        };
        self.choose_loops(&mut code, bounds, tile_bounds);
        self.fill_rows(&code, tile);
        if !in_tiles {
            self.tile(&mut code, bounds);
            return;
        }
        // The last tile may be short, so the loop counts tile starts.
        let builder = &mut self.lanes.builder;
        let past = add_constant(builder, bounds.end, TILE as i64 - 1);
        self.counted_loop(bounds.start, past, TILE as i64, |this, start| {
            let builder = &mut this.lanes.builder;
            let full = builder.ins().iadd_imm_s(start, TILE as i64);
            let end = builder.ins().smin(full, bounds.end);
            this.tile(&mut code, Bounds { start, end, length: None, ..tile_bounds });
        });
    }

    /// Decides how each segment is computed, and reserves scratch memory.
    fn choose_loops(&mut self, code: &mut TilesCode<'_>, bounds: Bounds, tile_bounds: Bounds) {
        let slots_end = code.slots + code.plan.slot_count * code.slot_bytes;
        let folds_at = slots_end.next_multiple_of(64);
        let (wide, folds_end) = self.wide_segments(code, tile_bounds, folds_at);
        if folds_end > folds_at {
            self.reserve_scratch(folds_end);
        } else if code.plan.slot_count > 0 {
            self.reserve_scratch(slots_end);
        }
        let plan = &code.plan;
        let shape = |(step, wide): (&Step, &Option<WideSegment>)| {
            if wide.is_some() {
                return LoopShape { copies: 1, vectors: false, rest: Rest::None };
            }
            let members = step.members();
            let is_cut = !code.guards.intervals_of(members).is_empty();
            let is_repeatable = plan.is_repeatable(self.function, code.body, members);
            LoopShape::new(code.body, members, bounds, is_cut, is_repeatable)
        };
        code.shapes = plan.steps.iter().zip(&wide).map(shape).collect();
        code.wide = wide;
        code.folds = self.folds(code, folds_at);
    }

    /// Scratch memory is used by one `Tiles` statement at a time: they follow one another.
    fn reserve_scratch(&mut self, bytes: usize) {
        self.scratch_bytes = self.scratch_bytes.max(bytes);
    }

    fn dtype_of(&self, id: LaneId) -> DType {
        self.lanes.held(self.values[&id]).dtype
    }

    /// Emits the steps of one tile.
    fn tile(&mut self, code: &mut TilesCode<'_>, bounds: Bounds) {
        if code.plan.slot_count > 0 {
            code.slot_bases = [4, 8].map(|size| {
                let builder = &mut self.lanes.builder;
                let bytes = multiply(builder, bounds.start, size);
                builder.ins().isub(self.scratch, bytes)
            });
        }
        let code = &*code;
        self.start_folds(code);
        for (number, step) in code.plan.steps.iter().enumerate() {
            match step {
                Step::Segment(members) => self.segment(code, number, members, bounds),
                Step::Call(n) => self.call(code, *n, bounds),
            }
        }
        self.finish_folds(code);
    }

    /// Fills the slots of uniform operands of calls.
    fn fill_rows(&mut self, code: &TilesCode<'_>, tile: usize) {
        let mut rows: Vec<(LaneId, usize)> =
            code.plan.rows.iter().map(|(id, slot)| (*id, *slot)).collect();
        rows.sort_unstable();
        for (id, slot) in rows {
            let value = self.values[&id];
            let value = self.lanes.splat(value);
            let first = self.slot(code, slot);
            let zero = self.lanes.ins().iconst(types::I64, 0);
            let end = self.lanes.ins().iconst(types::I64, tile as i64);
            let size = slot_size(self.lanes.held(value).dtype);
            self.counted_loop(zero, end, 4, |this, index| {
                let element = this.at(first, Stride::Fixed(1), size, index);
                this.lanes.store_four(value, element);
            });
        }
    }

    /// A slot's first element.
    fn slot(&self, code: &TilesCode<'_>, slot: usize) -> Element {
        Element { pointer: self.scratch, displacement: code.slot(slot) }
    }
}
