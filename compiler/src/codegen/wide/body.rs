//! The instructions for one vector.

use super::assembler::{Memory, Opcode, Register};
use super::emit::{Emitter, INDEX, Place, SCRATCH};
use super::program::{
    Base, Comparison, Effect, Element, MaskOperation, Operation, Row, Step, ValueId,
};
use crate::op::ReduceKind;

impl Emitter<'_> {
    /// The instructions for a vector.
    pub(super) fn body(&mut self, place: Place) {
        for (n, step) in self.program.steps.iter().enumerate() {
            let source = self.program.sources[n];
            self.sources.push((self.assembler.offset(), Some(source)));
            for (value, register) in self.allocation.temporaries[n].made.clone() {
                let invariant = self.program.invariants.iter().find(|(made, _)| *made == value);
                self.make(register, invariant.expect("only invariants are made").1);
            }
            match *step {
                Step::Compute(result, operation) => self.compute(n, result, operation, place),
                Step::Effect(effect) => self.effect(n, effect, place),
            }
        }
        self.sources.push((self.assembler.offset(), None));
    }

    fn effect(&mut self, n: usize, effect: Effect, place: Place) {
        match effect {
            Effect::Store(row, value) | Effect::Stream(row, value) => {
                let value = self.allocation.register(n, value);
                let to = (self.elements(row, place), row.element);
                // Only whole vectors can go past the caches.
                let streamed = matches!(effect, Effect::Stream(..)) && place.mask.is_none();
                self.instructions.store(&mut self.assembler, value, to, place.mask, streamed);
            }
            Effect::Scatter(base, places, value) => {
                let mask = self.mask_of_place(n, place);
                let [places, value] = [places, value].map(|v| self.allocation.register(n, v));
                let to = (self.memory(base), places);
                self.instructions.scatter(&mut self.assembler, value, to, mask);
            }
            Effect::Fold(fold, value) => self.fold(n, (fold, value), place),
            Effect::Prefetch(row) => {
                let memory = self.elements(row, place);
                self.assembler.prefetch(memory);
            }
        }
    }

    pub(super) fn temporary_mask(&self, step: usize) -> Register {
        self.allocation.temporaries[step].mask.expect("the step has a mask")
    }

    /// Sets the mask of a step to the elements that there are.
    fn mask_of_place(&mut self, step: usize, place: Place) -> Register {
        let mask = self.temporary_mask(step);
        match place.mask {
            None => self.instructions.constant_mask(&mut self.assembler, mask, true),
            Some(rest) => self.instructions.copy_mask(&mut self.assembler, mask, rest),
        }
        mask
    }

    fn memory(&self, base: Base) -> Memory {
        let Base { pointer, displacement } = base;
        Memory { base: self.pointer(pointer), index: None, displacement }
    }

    /// The elements of a row.
    fn elements(&self, row: Row, place: Place) -> Memory {
        let memory = self.memory(row.base);
        let scale = match row.element {
            Element::Word => 2,
            Element::Byte => 0,
            Element::Same => return memory,
        };
        let displacement = memory.displacement + ((place.offset as i32) << scale);
        Memory { index: Some((INDEX, scale)), displacement, ..memory }
    }

    fn compute(&mut self, n: usize, result: ValueId, operation: Operation, place: Place) {
        let of = |value: ValueId| self.allocation.register(n, value);
        let to = of(result);
        let instructions = self.instructions;
        match operation {
            Operation::Load { row, guard } => {
                let guard = guard.map(|(guard, fill)| (of(guard), of(fill)));
                self.load(n, to, (row, guard), place);
            }
            Operation::Gather { base, places } => {
                let from = (self.memory(base), of(places));
                let mask = self.mask_of_place(n, place);
                instructions.gather(&mut self.assembler, to, from, mask);
            }
            Operation::First => {
                let mut first = INDEX;
                if place.offset > 0 {
                    self.assembler.copy(SCRATCH, INDEX);
                    self.assembler.add(SCRATCH, place.offset as i32);
                    first = SCRATCH;
                }
                instructions.splat(&mut self.assembler, to, first);
            }
            Operation::Unary(opcode, constant, a) => {
                let a = of(a);
                instructions.unary(&mut self.assembler, opcode, to, a, constant);
            }
            Operation::Binary(opcode, a, b) => {
                let operands = [a, b].map(of);
                instructions.binary(&mut self.assembler, opcode, to, operands);
            }
            Operation::Compare(comparison, a, b) => {
                let operands = [a, b].map(of);
                instructions.compare(&mut self.assembler, comparison, to, operands);
            }
            Operation::Select(mask, yes, no) => {
                let (mask, choices) = (of(mask), [yes, no].map(of));
                instructions.select(&mut self.assembler, to, mask, choices);
            }
            Operation::Keep(mask, a) => {
                let (mask, a) = (of(mask), of(a));
                instructions.keep(&mut self.assembler, to, mask, a);
            }
            Operation::Mask(operation, a, b) => {
                let operands = [a, b].map(of);
                instructions.combine_masks(&mut self.assembler, operation, to, operands);
            }
            Operation::Max(known, value) => {
                let operands = [known, value].map(of);
                let temporary = self.temporary_mask(n);
                self.combine(ReduceKind::Max, to, operands, temporary);
            }
        }
    }

    fn load(
        &mut self,
        n: usize,
        result: Register,
        (row, guard): (Row, Option<(Register, Register)>),
        place: Place,
    ) {
        let from = (self.elements(row, place), row.element);
        let instructions = self.instructions;
        let Some((guard, fill)) = guard else {
            // An element that is the same for all is there for those that there are.
            let mask = place.mask.filter(|_| row.element != Element::Same);
            return instructions.load(&mut self.assembler, result, from, mask);
        };
        let mut mask = guard;
        if let Some(rest) = place.mask {
            mask = self.temporary_mask(n);
            let both = [guard, rest];
            instructions.combine_masks(&mut self.assembler, MaskOperation::And, mask, both);
        }
        instructions.load(&mut self.assembler, result, from, Some(mask));
        instructions.select(&mut self.assembler, result, guard, [result, fill]);
    }

    /// Combines two vectors: `known`, whose register the result may have, and `value`. A maximum is `value` if
    /// that is a NaN, and `known` if only that is one, as the machine's maximum has it.
    pub(super) fn combine(
        &mut self,
        kind: ReduceKind,
        result: Register,
        [known, value]: [Register; 2],
        temporary: Register,
    ) {
        let (instructions, assembler) = (self.instructions, &mut self.assembler);
        match kind {
            ReduceKind::Sum => {
                instructions.binary(assembler, Opcode::VADDPS, result, [known, value]);
            }
            ReduceKind::Prod => {
                instructions.binary(assembler, Opcode::VMULPS, result, [known, value]);
            }
            ReduceKind::Max => {
                let unordered = Comparison::FloatUnordered;
                instructions.compare(assembler, unordered, temporary, [value; 2]);
                instructions.binary(assembler, Opcode::VMAXPS, result, [value, known]);
                instructions.select(assembler, result, temporary, [value, result]);
            }
        }
    }

    /// Combines a value into an accumulator, where there are elements.
    fn fold(&mut self, n: usize, (fold, value): (usize, ValueId), place: Place) {
        let value = self.allocation.register(n, value);
        let accumulator = self.allocation.accumulators[fold][place.copy];
        let (kind, temporary) = (self.program.folds[fold].kind, self.temporary_mask(n));
        let Some(mask) = place.mask else {
            return self.combine(kind, accumulator, [accumulator, value], temporary);
        };
        let combined = self.allocation.temporaries[n].vector.expect("a fold has a vector");
        self.combine(kind, combined, [accumulator, value], temporary);
        let choices = [combined, accumulator];
        self.instructions.select(&mut self.assembler, accumulator, mask, choices);
    }
}
