//! Calls of tile functions.

use cranelift::codegen::ir::{self, InstBuilder, types};

use super::TilesCode;
use super::plan::{Home, slot_size};
use super::segment::Group;
use crate::codegen::abi;
use crate::codegen::function::{Bounds, MEMORY, Translator};
use crate::codegen::indices::{add_constant, multiply};
use crate::codegen::memory::Element;
use crate::codegen::runtime::RuntimeFunction;
use crate::index::Expression;
use crate::kernel::loops::{LaneId, LoopInstruction, LoopInstructionKind};
use crate::op::lowering::Lane;

impl Translator<'_> {
    /// Emits the call of a tile function for a tile.
    pub(super) fn call(&mut self, code: &TilesCode<'_>, n: usize, bounds: Bounds) {
        self.mark(code.first_mark + n);
        let instruction = &code.body[n];
        if let LoopInstructionKind::Random { stream, index, .. } = &instruction.kind {
            self.random(code, n, bounds, (*stream, index));
            self.unmark();
            return;
        }
        let out = self.home(code, n, bounds);
        let length = self.lanes.ins().isub(bounds.end, bounds.start);
        let operands = instruction.kind.operands();
        let mut arguments = vec![out];
        arguments.extend(operands.iter().map(|&id| self.tile_operand(code, id, bounds)));
        arguments.push(length);
        self.call_runtime(instruction, &arguments);
        self.unmark();
    }

    /// The address of an operand's values for the tile.
    fn tile_operand(&mut self, code: &TilesCode<'_>, id: LaneId, bounds: Bounds) -> ir::Value {
        match code.plan.varying(id) {
            None => {
                let element = self.slot(code, code.plan.rows[&id]);
                self.address(element)
            }
            Some(n) if code.plan.homes.contains_key(&n) => self.home(code, n, bounds),
            Some(n) => self.row_start(code, n, bounds),
        }
    }

    /// The address of a value that lies in memory.
    fn home(&mut self, code: &TilesCode<'_>, n: usize, bounds: Bounds) -> ir::Value {
        match code.plan.homes[&n] {
            Home::Slot(slot) => {
                let element = self.slot(code, slot);
                self.address(element)
            }
            Home::Stored(store) => self.row_start(code, store, bounds),
        }
    }

    /// The address of the tile's first element in the row that an instruction accesses.
    fn row_start(&mut self, code: &TilesCode<'_>, n: usize, bounds: Bounds) -> ir::Value {
        let (row, stride) = code.rows[&n];
        let element = self.at(row, stride, code.body[n].dtype.size(), bounds.start);
        self.address(element)
    }

    /// Emits random numbers for a tile: in one call if their positions lie at one distance, else one by one.
    fn random(
        &mut self,
        code: &TilesCode<'_>,
        n: usize,
        bounds: Bounds,
        (stream, position): (u64, &Expression),
    ) {
        let instruction = &code.body[n];
        let out = self.home(code, n, bounds);
        if let Some(distance) = position.stride(code.axis) {
            let first = Group::new(bounds.start);
            let first = self.expression_at(code, &first, 0, position);
            let length = self.lanes.ins().isub(bounds.end, bounds.start);
            self.call_random(instruction, out, stream, first, (distance, length));
            return;
        }
        self.counted_loop(bounds.start, bounds.end, 1, |this, index| {
            let number = this.expression_at(code, &Group::new(index), 0, position);
            let builder = &mut this.lanes.builder;
            let place = builder.ins().isub(index, bounds.start);
            let bytes = multiply(builder, place, slot_size(instruction.dtype) as i64);
            let out = builder.ins().iadd(out, bytes);
            let one = builder.ins().iconst(types::I64, 1);
            this.call_random(instruction, out, stream, number, (1, one));
        });
    }

    fn call_random(
        &mut self,
        instruction: &LoopInstruction,
        out: ir::Value,
        stream: u64,
        first: ir::Value,
        (distance, length): (i64, ir::Value),
    ) {
        let [seed, step] = [abi::frame::SEED, abi::frame::STEP].map(|field| {
            let fixed = MEMORY.with_aligned().with_readonly();
            self.lanes.ins().load(types::I64, fixed, self.frame, field)
        });
        let stream = self.lanes.ins().iconst(types::I64, stream.cast_signed());
        let distance = self.lanes.ins().iconst(types::I64, distance);
        self.call_runtime(instruction, &[out, seed, stream, step, first, distance, length]);
    }

    /// Calls the runtime function that computes an instruction.
    fn call_runtime(&mut self, instruction: &LoopInstruction, arguments: &[ir::Value]) {
        let callee = RuntimeFunction::of(instruction).expect("only such functions are called");
        let callee = self.imports.import(self.lanes.builder.func, callee);
        self.lanes.ins().call(callee, arguments);
    }

    /// The address of an element as one value.
    fn address(&mut self, element: Element) -> ir::Value {
        add_constant(&mut self.lanes.builder, element.pointer, i64::from(element.displacement))
    }

    /// A tile function on one element, by way of scratch memory.
    pub(in crate::codegen) fn call_scalar(
        &mut self,
        instruction: &LoopInstruction,
        operands: &[Lane],
    ) -> Lane {
        let start = self.buffer_scratch.next_multiple_of(64);
        self.reserve_scratch(start + 8 * operands.len().max(1));
        let places = (0..).map(|place| Element {
            pointer: self.scratch,
            displacement: (start + 8 * place) as i32,
        });
        let places: Vec<Element> = places.take(operands.len().max(1)).collect();
        let out = self.address(places[0]);
        let one = self.lanes.ins().iconst(types::I64, 1);
        if let LoopInstructionKind::Random { stream, index, .. } = &instruction.kind {
            let index = self.indices.evaluate(&mut self.lanes.builder, index);
            self.call_random(instruction, out, *stream, index, (1, one));
        } else {
            let mut arguments = vec![out];
            for (&operand, &place) in operands.iter().zip(&places) {
                self.lanes.store_one(operand, place);
                arguments.push(self.address(place));
            }
            arguments.push(one);
            self.call_runtime(instruction, &arguments);
        }
        self.lanes.load_one(instruction.dtype, places[0])
    }
}
