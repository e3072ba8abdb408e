//! From a program to machine code.

use super::allocate::Allocation;
use super::assembler::{Assembler, Condition, General, Memory, Register};
use super::instruction_set::InstructionSet;
use super::program::{
    Class, Count, Effect, Element, Invariant, Operation, ParameterId, Program, Step,
};

/// Machine code of a loop, a function by the C calling convention of x86-64 systems other than Windows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::codegen) struct Routine {
    pub bytes: Vec<u8>,
    /// The parameter that each argument is for.
    pub arguments: Vec<ParameterId>,
    /// Offsets where code of an instruction of kernel IR begins, or, with `None`, code of none.
    pub sources: Vec<(usize, Option<u32>)>,
}

/// Registers of the first arguments; others lie on the stack.
const ARGUMENTS: [General; 6] =
    [General::RDI, General::RSI, General::RDX, General::RCX, General::R8, General::R9];
/// Registers for pointers that lie on the stack; the caller wants them back as they were.
const SAVED: [General; 6] =
    [General::RBX, General::RBP, General::R12, General::R13, General::R14, General::R15];
/// The index of the running vector's first element.
pub(super) const INDEX: General = General::RAX;
pub(super) const SCRATCH: General = General::R10;
/// What the index is compared with.
const LIMIT: General = General::R11;

/// Machine code for a program; `None` if it has too many rows or values for the registers, or accesses for
/// which there are no instructions.
pub(super) fn assemble(program: &Program, instructions: &dyn InstructionSet) -> Option<Routine> {
    let width = instructions.width();
    let has_rest = match program.count {
        Count::Fixed(count) | Count::Parameter(_, count) => !count.is_multiple_of(width),
    };
    // Fixed numbers of elements are compared as numbers of 32 bits.
    let is_long = matches!(program.count, Count::Fixed(count) if i32::try_from(count).is_err());
    if is_long || !program.steps.iter().all(|step| can_run(step, instructions, has_rest)) {
        return None;
    }
    let registers = instructions.registers();
    let wanted = copies(program, width);
    let (copies, allocation) = [wanted, 1]
        .into_iter()
        .find_map(|copies| Some((copies, Allocation::new(program, copies, &registers)?)))?;
    let mut pointers: Vec<ParameterId> = Vec::new();
    let bases = program.steps.iter().filter_map(Step::base).map(|base| base.pointer);
    for pointer in bases.chain(program.fold_memory.map(|memory| memory.pointer)) {
        if !pointers.contains(&pointer) {
            pointers.push(pointer);
        }
    }
    if pointers.len() > ARGUMENTS.len() + SAVED.len() {
        return None;
    }
    let others = (0..program.parameters).filter(|parameter| !pointers.contains(parameter));
    let arguments: Vec<ParameterId> = pointers.iter().copied().chain(others).collect();
    let saved = pointers.len().saturating_sub(ARGUMENTS.len());
    let emitter = Emitter {
        program,
        instructions,
        width,
        allocation,
        copies,
        assembler: Assembler::default(),
        arguments: &arguments,
        saved: &SAVED[..saved],
        sources: Vec::new(),
    };
    let (bytes, sources) = emitter.emit();
    Some(Routine { bytes, arguments, sources })
}

/// Whether an instruction set has what a step accesses memory with.
fn can_run(step: &Step, instructions: &dyn InstructionSet, has_rest: bool) -> bool {
    match step {
        Step::Compute(_, Operation::Load { row, guard }) => {
            // An element that is the same for all is there for those that there are.
            let in_mask = guard.is_some() || (has_rest && row.element != Element::Same);
            instructions.can_access(row.element, false, in_mask)
        }
        Step::Effect(Effect::Store(row, _) | Effect::Stream(row, _)) => {
            instructions.can_access(row.element, true, has_rest)
        }
        Step::Effect(Effect::Scatter(..)) => instructions.can_scatter(),
        _ => true,
    }
}

/// Copies of the body in the main loop, each with accumulators of its own: a short body waits for these
/// otherwise, or for the loop itself.
fn copies(program: &Program, width: usize) -> usize {
    let steps = program.steps.len();
    let wanted = match (program.folds.is_empty(), steps) {
        (_, 0..=6) | (false, 7..=8) => 4,
        (_, 7..=12) | (false, 13..=16) => 2,
        _ => 1,
    };
    let most = match program.count {
        Count::Fixed(count) => (count / width).max(1),
        Count::Parameter(..) => usize::MAX,
    };
    // A few vectors take no loop.
    let all = if most <= 4 && most * steps <= 128 { most } else { 1 };
    wanted.max(all).min(most)
}

/// Code while it is emitted.
pub(super) struct Emitter<'p> {
    pub(super) program: &'p Program,
    pub(super) instructions: &'p dyn InstructionSet,
    /// Elements of a vector.
    width: usize,
    pub(super) allocation: Allocation,
    copies: usize,
    pub(super) assembler: Assembler,
    arguments: &'p [ParameterId],
    saved: &'p [General],
    pub(super) sources: Vec<(usize, Option<u32>)>,
}

/// The vector that a copy of the body is for.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// Elements beyond the index.
    pub(super) offset: usize,
    /// The copy, by its number.
    pub(super) copy: usize,
    /// Which elements there are, if not all.
    pub(super) mask: Option<Register>,
}

/// Where an argument is.
enum Argument {
    Register(General),
    Stack(Memory),
}

impl Emitter<'_> {
    /// The code, and where which instruction's begins.
    fn emit(mut self) -> (Vec<u8>, Vec<(usize, Option<u32>)>) {
        for &register in self.saved {
            self.assembler.push(register);
        }
        for (n, &register) in self.saved.iter().enumerate() {
            let memory = self.on_stack(ARGUMENTS.len() + n);
            self.assembler.load(register, memory);
        }
        for &(value, invariant) in &self.program.invariants {
            if let Some(register) = self.allocation.kept(value) {
                match self.program.class(value) {
                    Class::Mask => self.make_mask(register, invariant),
                    Class::Vector => self.make(register, invariant),
                }
            }
        }
        self.start_folds();
        self.assembler.set(INDEX, 0);
        match self.program.count {
            Count::Fixed(count) => self.fixed(count),
            Count::Parameter(count, multiple) => self.variable(count, multiple),
        }
        self.finish_folds();
        self.assembler.vzeroupper();
        for &register in self.saved.iter().rev() {
            self.assembler.pop(register);
        }
        self.assembler.ret();
        (self.assembler.finish(), self.sources)
    }

    /// The vectors of a number of elements that is known.
    fn fixed(&mut self, count: usize) {
        let group = self.width * self.copies;
        let groups = count / group;
        if groups > 0 {
            let again = self.assembler.label();
            self.assembler.place(again);
            self.group();
            if groups > 1 {
                self.assembler.add(INDEX, group as i32);
                self.assembler.compare_with(INDEX, (groups * group) as i32);
                self.assembler.jump_if(Condition::Less, again);
            }
        }
        // After one group, the index stays where it is.
        let mut offset = if groups == 1 { group } else { 0 };
        let mut copy = 0;
        for _ in 0..(count - groups * group) / self.width {
            self.body(Place { offset, copy, mask: None });
            offset += self.width;
            copy += 1;
        }
        let rest = count % self.width;
        if rest > 0 {
            self.assembler.set(LIMIT, rest as u32);
            let mask = self.rest();
            self.body(Place { offset, copy: copy % self.copies, mask });
        }
    }

    /// The vectors of a number of elements that is a parameter, and a multiple of `multiple`.
    fn variable(&mut self, count: ParameterId, multiple: usize) {
        match self.argument(count) {
            Argument::Register(register) => self.assembler.copy(LIMIT, register),
            Argument::Stack(memory) => self.assembler.load(LIMIT, memory),
        }
        let group = self.width * self.copies;
        let mut before = 0;
        let mut loops = vec![self.copies];
        if self.copies > 1 && !multiple.is_multiple_of(group) {
            loops.push(1);
        }
        for copies in loops {
            let step = (self.width * copies) as i32;
            self.assembler.add(LIMIT, before - step);
            before = step;
            let (again, done) = (self.assembler.label(), self.assembler.label());
            self.assembler.compare_numbers(INDEX, LIMIT);
            self.assembler.jump_if(Condition::Greater, done);
            self.assembler.place(again);
            if copies > 1 {
                self.group();
            } else {
                self.body(Place { offset: 0, copy: 0, mask: None });
            }
            self.assembler.add(INDEX, step);
            self.assembler.compare_numbers(INDEX, LIMIT);
            self.assembler.jump_if(Condition::LessEqual, again);
            self.assembler.place(done);
        }
        if multiple.is_multiple_of(self.width) {
            return;
        }
        let done = self.assembler.label();
        self.assembler.add(LIMIT, before);
        self.assembler.subtract(LIMIT, INDEX);
        self.assembler.jump_if(Condition::Equal, done);
        let mask = self.rest();
        self.body(Place { offset: 0, copy: 0, mask });
        self.assembler.place(done);
    }

    /// The mask of the first so many elements as the limit says.
    fn rest(&mut self) -> Option<Register> {
        self.instructions.set_rest(&mut self.assembler, LIMIT);
        Some(self.instructions.rest())
    }

    /// All copies of the body.
    fn group(&mut self) {
        for copy in 0..self.copies {
            self.body(Place { offset: self.width * copy, copy, mask: None });
        }
    }

    fn argument(&self, parameter: ParameterId) -> Argument {
        let place = self.arguments.iter().position(|&argument| argument == parameter);
        let place = place.expect("every parameter has an argument");
        match ARGUMENTS.get(place) {
            Some(&register) => Argument::Register(register),
            None => Argument::Stack(self.on_stack(place)),
        }
    }

    /// Where an argument beyond the registers lies: behind saved registers and the return address.
    fn on_stack(&self, place: usize) -> Memory {
        let words = self.saved.len() + 1 + place - ARGUMENTS.len();
        Memory { base: General::RSP, index: None, displacement: 8 * words as i32 }
    }

    /// The register of a pointer.
    pub(super) fn pointer(&self, parameter: ParameterId) -> General {
        let place = self.arguments.iter().position(|&argument| argument == parameter);
        let place = place.expect("every pointer has an argument");
        match ARGUMENTS.get(place) {
            Some(&register) => register,
            None => self.saved[place - ARGUMENTS.len()],
        }
    }

    /// Makes a vector that is the same for all vectors.
    pub(super) fn make(&mut self, register: Register, invariant: Invariant) {
        match invariant {
            Invariant::Constant(0) => self.instructions.zero(&mut self.assembler, register),
            Invariant::Constant(bits) => {
                self.assembler.set(SCRATCH, bits);
                self.instructions.splat(&mut self.assembler, register, SCRATCH);
            }
            Invariant::Parameter(parameter) => match self.argument(parameter) {
                Argument::Register(from) => {
                    self.instructions.splat(&mut self.assembler, register, from);
                }
                Argument::Stack(memory) => {
                    self.instructions.splat_memory(&mut self.assembler, register, memory);
                }
            },
            Invariant::Places => {
                let literal = self.assembler.literal(std::array::from_fn(|place| place as u32));
                self.instructions.literal(&mut self.assembler, register, literal);
            }
            Invariant::Guard(_) | Invariant::Always(_) => unreachable!("masks are no vectors"),
        }
    }

    fn make_mask(&mut self, mask: Register, invariant: Invariant) {
        match invariant {
            Invariant::Always(all) => {
                self.instructions.constant_mask(&mut self.assembler, mask, all);
            }
            Invariant::Guard(parameter) => {
                match self.argument(parameter) {
                    Argument::Register(register) => self.assembler.copy(SCRATCH, register),
                    Argument::Stack(memory) => self.assembler.load(SCRATCH, memory),
                }
                self.assembler.negate(SCRATCH);
                self.instructions.mask_from_bits(&mut self.assembler, mask, SCRATCH);
            }
            _ => unreachable!("vectors are no masks"),
        }
    }

    /// Sets the accumulators: in the first copy to what memory has, if folds are continued.
    fn start_folds(&mut self) {
        let Some(memory) = self.program.fold_memory else { return };
        for (n, fold) in self.program.folds.iter().enumerate() {
            for (copy, register) in self.allocation.accumulators[n].clone().into_iter().enumerate()
            {
                if copy == 0 && memory.continued {
                    let place = (self.fold_place(memory.pointer, n), Element::Word);
                    self.instructions.load(&mut self.assembler, register, place, None);
                } else {
                    self.make(register, Invariant::Constant(fold.neutral));
                }
            }
        }
    }

    /// Combines the accumulators of a fold, neighbours first, and stores the result.
    fn finish_folds(&mut self) {
        let Some(memory) = self.program.fold_memory else { return };
        let is_fold = |step: &Step| matches!(step, Step::Effect(Effect::Fold(..)));
        let some_fold = self.program.steps.iter().position(is_fold);
        for (n, fold) in self.program.folds.iter().enumerate() {
            let temporary = self.temporary_mask(some_fold.expect("a fold is a step"));
            let mut accumulators = self.allocation.accumulators[n].clone();
            while accumulators.len() > 1 {
                for pair in accumulators.chunks(2) {
                    if let [known, value] = *pair {
                        self.combine(fold.kind, known, [known, value], temporary);
                    }
                }
                accumulators = accumulators.into_iter().step_by(2).collect();
            }
            let place = (self.fold_place(memory.pointer, n), Element::Word);
            let assembler = &mut self.assembler;
            self.instructions.store(assembler, accumulators[0], place, None, false);
        }
    }

    fn fold_place(&self, pointer: ParameterId, fold: usize) -> Memory {
        let displacement = (4 * self.width * fold) as i32;
        Memory { base: self.pointer(pointer), index: None, displacement }
    }
}
