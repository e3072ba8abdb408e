//! What a loop over vectors computes, before an instruction set and registers are chosen.

use super::assembler::Opcode;
use crate::op::ReduceKind;

/// Number of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::codegen) struct ValueId(pub u32);

/// Number of a parameter, each a word of 64 bits.
pub(in crate::codegen) type ParameterId = usize;

/// A comparison; one of floats is false for NaN but for the last two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::codegen) enum Comparison {
    IntegerEqual,
    IntegerLess,
    FloatEqual,
    FloatLess,
    FloatLessEqual,
    FloatNotEqual,
    /// Whether one is a NaN.
    FloatUnordered,
}

/// An operation on two masks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::codegen) enum MaskOperation {
    And,
    /// The second without the first.
    AndNot,
    Or,
    /// Where both are the same.
    Same,
}

/// What a value is held in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Words of 32 bits.
    Vector,
    /// One bit for each, or one word, as the instruction set has it.
    Mask,
}

/// A place in memory: so many bytes behind where a parameter points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::codegen) struct Base {
    pub pointer: ParameterId,
    pub displacement: i32,
}

/// Elements in memory, which lie side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::codegen) struct Row {
    /// The first one.
    pub base: Base,
    pub element: Element,
}

/// How an element lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::codegen) enum Element {
    /// 32 bits.
    Word,
    /// 8 bits, without sign.
    Byte,
    /// One of 32 bits for all.
    Same,
}

/// What computes a value that is the same for all vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::codegen) enum Invariant {
    /// The lower 32 bits of a parameter in all elements.
    Parameter(ParameterId),
    /// These bits in all elements.
    Constant(u32),
    /// A mask: all elements if a parameter is 1, none if it is 0.
    Guard(ParameterId),
    /// A mask of all elements, or of none.
    Always(bool),
    /// The numbers from 0 on.
    Places,
}

/// What computes a value of each vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::codegen) enum Operation {
    /// Where the guard (a mask) holds, what is in memory, else the fill value.
    Load { row: Row, guard: Option<(ValueId, ValueId)> },
    /// What is in memory at indices, in words, behind a place.
    Gather { base: Base, places: ValueId },
    /// The index of the vector's first element, counted from 0, in all elements.
    First,
    /// An instruction with one operand, and perhaps a constant.
    Unary(Opcode, Option<u8>, ValueId),
    /// An instruction with two operands.
    Binary(Opcode, ValueId, ValueId),
    /// A mask.
    Compare(Comparison, ValueId, ValueId),
    /// The second where the mask, the first, holds, else the third.
    Select(ValueId, ValueId, ValueId),
    /// The second where the mask, the first, holds, else zero.
    Keep(ValueId, ValueId),
    /// Of two masks.
    Mask(MaskOperation, ValueId, ValueId),
    /// The larger; the second if it is a NaN.
    Max(ValueId, ValueId),
}

impl Operation {
    pub(super) fn class(&self) -> Class {
        match self {
            Operation::Compare(..) | Operation::Mask(..) => Class::Mask,
            _ => Class::Vector,
        }
    }

    pub(super) fn operands(&self) -> impl Iterator<Item = ValueId> + use<> {
        let operands = match *self {
            Operation::Load { guard, .. } => [guard.map(|g| g.0), guard.map(|g| g.1), None],
            Operation::First => [None; 3],
            Operation::Unary(_, _, a) | Operation::Gather { places: a, .. } => {
                [Some(a), None, None]
            }
            Operation::Binary(_, a, b)
            | Operation::Compare(_, a, b)
            | Operation::Keep(a, b)
            | Operation::Mask(_, a, b)
            | Operation::Max(a, b) => [Some(a), Some(b), None],
            Operation::Select(a, b, c) => [Some(a), Some(b), Some(c)],
        };
        operands.into_iter().flatten()
    }
}

/// What is left of a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::codegen) enum Effect {
    /// A row is written.
    Store(Row, ValueId),
    /// A row, whose vectors are aligned, is written past the caches.
    Stream(Row, ValueId),
    /// Words are written at indices (the first value) behind a place.
    Scatter(Base, ValueId, ValueId),
    /// A value goes into the accumulators of a fold, by its number.
    Fold(usize, ValueId),
    /// A row of words is asked for ahead of its use, wherever it lies.
    Prefetch(Row),
}

impl Effect {
    pub(super) fn operands(self) -> Vec<ValueId> {
        match self {
            Effect::Store(_, value) | Effect::Stream(_, value) | Effect::Fold(_, value) => {
                vec![value]
            }
            Effect::Scatter(_, places, value) => vec![places, value],
            Effect::Prefetch(_) => vec![],
        }
    }
}

/// Something that happens for each vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Compute(ValueId, Operation),
    Effect(Effect),
}

impl Step {
    /// The place in memory that it accesses.
    pub(super) fn base(&self) -> Option<Base> {
        match *self {
            Step::Compute(_, Operation::Load { row, .. })
            | Step::Effect(
                Effect::Store(row, _) | Effect::Stream(row, _) | Effect::Prefetch(row),
            ) => Some(row.base),
            Step::Compute(_, Operation::Gather { base, .. })
            | Step::Effect(Effect::Scatter(base, ..)) => Some(base),
            _ => None,
        }
    }
}

/// How many elements there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::codegen) enum Count {
    Fixed(usize),
    /// As many as a parameter says, a multiple of this number.
    Parameter(ParameterId, usize),
}

/// Accumulators, one for each element of a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::codegen) struct Fold {
    pub kind: ReduceKind,
    /// What changes nothing, by its bits.
    pub neutral: u32,
}

/// Where accumulators lie in the end, one fold after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::codegen) struct FoldMemory {
    pub pointer: ParameterId,
    /// Whether they are there in the beginning, too; else they begin as what changes nothing.
    pub continued: bool,
}

/// A loop over vectors.
#[derive(Debug)]
pub(in crate::codegen) struct Program {
    pub(super) parameters: usize,
    pub(super) classes: Vec<Class>,
    pub(super) invariants: Vec<(ValueId, Invariant)>,
    pub(super) steps: Vec<Step>,
    /// For each step, the instruction of kernel IR that it belongs to.
    pub(super) sources: Vec<u32>,
    source: u32,
    pub(super) folds: Vec<Fold>,
    pub(super) fold_memory: Option<FoldMemory>,
    pub(super) count: Count,
}

impl Program {
    pub(in crate::codegen) fn new() -> Program {
        Program {
            parameters: 0,
            classes: Vec::new(),
            invariants: Vec::new(),
            steps: Vec::new(),
            sources: Vec::new(),
            source: 0,
            folds: Vec::new(),
            fold_memory: None,
            count: Count::Fixed(0),
        }
    }

    fn value(&mut self, class: Class) -> ValueId {
        self.classes.push(class);
        ValueId(self.classes.len() as u32 - 1)
    }

    pub(super) fn class(&self, value: ValueId) -> Class {
        self.classes[value.0 as usize]
    }

    /// A new parameter.
    pub(in crate::codegen) fn parameter(&mut self) -> ParameterId {
        self.parameters += 1;
        self.parameters - 1
    }

    /// A value that is the same for all vectors, once for all that need it.
    pub(in crate::codegen) fn invariant(&mut self, invariant: Invariant) -> ValueId {
        if let Some((known, _)) = self.invariants.iter().find(|(_, known)| *known == invariant) {
            return *known;
        }
        let class = match invariant {
            Invariant::Guard(_) | Invariant::Always(_) => Class::Mask,
            _ => Class::Vector,
        };
        let value = self.value(class);
        self.invariants.push((value, invariant));
        value
    }

    /// A value of each vector.
    pub(in crate::codegen) fn compute(&mut self, operation: Operation) -> ValueId {
        let value = self.value(operation.class());
        self.step(Step::Compute(value, operation));
        value
    }

    pub(in crate::codegen) fn effect(&mut self, effect: Effect) {
        self.step(Step::Effect(effect));
    }

    fn step(&mut self, step: Step) {
        self.steps.push(step);
        self.sources.push(self.source);
    }

    /// Says which instruction of kernel IR the steps that follow belong to.
    pub(in crate::codegen) fn mark(&mut self, instruction: usize) {
        self.source = instruction as u32;
    }

    /// A new fold; returns its number.
    pub(in crate::codegen) fn fold(&mut self, fold: Fold) -> usize {
        self.folds.push(fold);
        self.folds.len() - 1
    }

    pub(in crate::codegen) fn fold_count(&self) -> usize {
        self.folds.len()
    }

    pub(in crate::codegen) fn set_fold_memory(&mut self, memory: FoldMemory) {
        self.fold_memory = Some(memory);
    }

    pub(in crate::codegen) fn set_count(&mut self, count: Count) {
        self.count = count;
    }
}
