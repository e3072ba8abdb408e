//! Choice of registers: values that stay for the whole loop first, then a linear scan over a body without
//! branches.

use super::assembler::Register;
use super::instruction_set::Registers;
use super::program::{Class, Effect, Invariant, Operation, Program, Step, ValueId};

/// Registers of all values.
pub(super) struct Allocation {
    /// For each value its register, of the value's class; `None` for values that are made where they
    /// are used.
    registers: Vec<Option<Register>>,
    /// For each fold its accumulators, one for each copy of the body.
    pub(super) accumulators: Vec<Vec<Register>>,
    /// For each step the registers that it may use beside its operands' and its result's.
    pub(super) temporaries: Vec<Temporaries>,
}

/// Registers for parts of a step.
#[derive(Clone, Debug, Default)]
pub(super) struct Temporaries {
    /// For invariants that are made where they are used: each with its register.
    pub(super) made: Vec<(ValueId, Register)>,
    /// A mask that the step computes for itself.
    pub(super) mask: Option<Register>,
    /// A vector that it does.
    pub(super) vector: Option<Register>,
}

impl Allocation {
    /// The register of a value at a step.
    pub(super) fn register(&self, step: usize, value: ValueId) -> Register {
        let made = || {
            let made = self.temporaries[step].made.iter().find(|(made, _)| *made == value);
            made.expect("the value is at hand").1
        };
        self.kept(value).unwrap_or_else(made)
    }

    /// The register of a value that stays in one.
    pub(super) fn kept(&self, value: ValueId) -> Option<Register> {
        self.registers[value.0 as usize]
    }

    /// Registers for a loop whose body is there in so many copies; `None` if there are too few.
    pub(super) fn new(
        program: &Program,
        copies: usize,
        registers: &Registers,
    ) -> Option<Allocation> {
        // What is used least is the first to be made where it is used.
        let vectors = program.invariants.iter().filter(|(value, invariant)| {
            program.class(*value) == Class::Vector && *invariant != Invariant::Places
        });
        let mut candidates: Vec<ValueId> = vectors.map(|(value, _)| *value).collect();
        candidates.sort_by_key(|&value| uses(program, value));
        (0..=candidates.len())
            .find_map(|made| Scan::new(program, copies, &candidates[..made], registers)?.run())
    }
}

/// How often the body uses a value.
fn uses(program: &Program, value: ValueId) -> usize {
    program.steps.iter().flat_map(operands).filter(|&operand| operand == value).count()
}

fn operands(step: &Step) -> Vec<ValueId> {
    match step {
        Step::Compute(_, operation) => operation.operands().collect(),
        Step::Effect(effect) => effect.operands(),
    }
}

struct Scan<'p> {
    program: &'p Program,
    made: &'p [ValueId],
    /// Free registers: of vectors, and of masks, if these are none.
    free: (Vec<Register>, Option<Vec<Register>>),
    allocation: Allocation,
}

impl<'p> Scan<'p> {
    fn new(
        program: &'p Program,
        copies: usize,
        made: &'p [ValueId],
        registers: &Registers,
    ) -> Option<Scan<'p>> {
        // The first ones are taken first.
        let listed = |numbers: &[u8]| numbers.iter().rev().map(|&n| Register(n)).collect();
        let free = (listed(&registers.vectors), registers.masks.as_deref().map(listed));
        let registers = vec![None; program.classes.len()];
        let allocation =
            Allocation { registers, accumulators: Vec::new(), temporaries: Vec::new() };
        let mut scan = Scan { program, made, free, allocation };
        for &(value, _) in &program.invariants {
            if !made.contains(&value) {
                scan.assign(value)?;
            }
        }
        for _ in &program.folds {
            let accumulators: Option<Vec<Register>> =
                (0..copies).map(|_| scan.take(Class::Vector)).collect();
            scan.allocation.accumulators.push(accumulators?);
        }
        Some(scan)
    }

    fn file(&mut self, class: Class) -> &mut Vec<Register> {
        match (class, &mut self.free) {
            (Class::Mask, (_, Some(masks))) => masks,
            (_, (vectors, _)) => vectors,
        }
    }

    fn take(&mut self, class: Class) -> Option<Register> {
        self.file(class).pop()
    }

    fn assign(&mut self, value: ValueId) -> Option<()> {
        let register = self.take(self.program.class(value))?;
        self.allocation.registers[value.0 as usize] = Some(register);
        Some(())
    }

    fn run(mut self) -> Option<Allocation> {
        let steps = &self.program.steps;
        let mut last_use = vec![None; self.program.classes.len()];
        for (n, step) in steps.iter().enumerate() {
            for operand in operands(step) {
                last_use[operand.0 as usize] = Some(n);
            }
        }
        for &(value, _) in &self.program.invariants {
            last_use[value.0 as usize] = None;
        }
        for (n, step) in steps.iter().enumerate() {
            let operands = operands(step);
            let mut temporaries = Temporaries::default();
            for &operand in &operands {
                let known = |known: &[(ValueId, Register)]| known.iter().any(|m| m.0 == operand);
                if self.made.contains(&operand) && !known(&temporaries.made) {
                    temporaries.made.push((operand, self.take(Class::Vector)?));
                }
            }
            if needs_mask(step) {
                temporaries.mask = Some(self.take(Class::Mask)?);
            }
            if matches!(step, Step::Effect(Effect::Fold(..))) {
                temporaries.vector = Some(self.take(Class::Vector)?);
            }
            let mut dying: Vec<ValueId> = operands;
            dying.sort_unstable();
            dying.dedup();
            dying.retain(|operand| last_use[operand.0 as usize] == Some(n));
            let result = match step {
                Step::Compute(result, operation) => Some((*result, result_may_alias(operation))),
                Step::Effect(_) => None,
            };
            if let Some((result, false)) = result {
                self.assign(result)?;
            }
            for operand in dying {
                self.release(operand);
            }
            if let Some((result, true)) = result {
                self.assign(result)?;
            }
            // A result that nobody needs.
            if let Some((result, _)) = result
                && last_use[result.0 as usize].is_none()
            {
                self.release(result);
            }
            let vectors = temporaries.made.iter().map(|made| made.1).chain(temporaries.vector);
            self.file(Class::Vector).extend(vectors);
            self.file(Class::Mask).extend(temporaries.mask);
            self.allocation.temporaries.push(temporaries);
        }
        Some(self.allocation)
    }

    fn release(&mut self, value: ValueId) {
        let register = self.allocation.registers[value.0 as usize].expect("it has a register");
        let class = self.program.class(value);
        self.file(class).push(register);
    }
}

/// Whether a step needs a mask of its own.
fn needs_mask(step: &Step) -> bool {
    matches!(
        step,
        Step::Compute(
            _,
            Operation::Max(..) | Operation::Load { guard: Some(_), .. } | Operation::Gather { .. }
        ) | Step::Effect(Effect::Fold(..) | Effect::Scatter(..))
    )
}

/// Whether the register of an operand may become that of the result.
fn result_may_alias(operation: &Operation) -> bool {
    !matches!(operation, Operation::Max(..) | Operation::Load { .. } | Operation::Gather { .. })
}
