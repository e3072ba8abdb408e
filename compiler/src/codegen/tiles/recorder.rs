//! Recording what a segment computes for a routine with wide vectors.

use std::collections::HashMap;

use cranelift::codegen::ir;

use super::TilesCode;
use crate::codegen::memory::Stride;
use crate::codegen::wide::{
    Base, Effect, Element, Invariant, Operation, ParameterId, Row, ValueId, WideLanes,
};
use crate::index::{Atom, Expression};
use crate::kernel::loops::{Address, AxisId, Function, LaneId};
use crate::op::lowering::{Lane, Lanes};
use crate::types::DType;

/// Bytes of a page.
const PAGE: i64 = 4096;

/// How many steps of a loop ahead memory is asked for.
const STEPS_AHEAD: i64 = 4;

/// What a routine is given.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Argument {
    /// The address of elements, so many bytes from each other (0 if it is one for all); that of index 0 is this.
    Row(ir::Value, i64),
    /// The address of elements in slots.
    Slots,
    /// A uniform operand.
    Uniform(LaneId),
    /// Whether the constraints of an instruction hold, in this cut.
    Guard(usize),
    /// Whether the index of a gathering is inside.
    Inside(usize),
    /// An index expression at the first element.
    First(Expression),
    /// How many elements there are.
    Count,
    /// The address of accumulators in scratch memory, by their offset.
    Folds(usize),
}

/// A segment while it is recorded.
pub(super) struct Recorder<'c> {
    pub(super) function: &'c Function,
    pub(super) code: &'c TilesCode<'c>,
    pub(super) lanes: WideLanes,
    /// Elements of a vector.
    pub(super) width: usize,
    /// A number that divides the first index.
    pub(super) alignment: usize,
    /// The axis of the loop around, if each of its steps reads short parts of rows.
    pub(super) around: Option<AxisId>,
    /// What each parameter is.
    pub(super) arguments: Vec<Argument>,
    /// Values computed so far, by instruction.
    pub(super) values: HashMap<usize, Lane>,
    /// Multiples of numbers, by these.
    pub(super) steps: HashMap<i32, Lane>,
}

impl Recorder<'_> {
    /// The parameter that stands for an argument.
    pub(super) fn parameter(&mut self, argument: Argument) -> ParameterId {
        if let Some(known) = self.arguments.iter().position(|known| *known == argument) {
            return known;
        }
        self.arguments.push(argument);
        self.lanes.program.parameter()
    }

    /// A mask from an argument that is 0 or 1.
    pub(super) fn flag(&mut self, argument: Argument) -> Lane {
        let parameter = self.parameter(argument);
        let mask = self.lanes.program.invariant(Invariant::Guard(parameter));
        self.lanes.hold(DType::Bool, mask)
    }

    /// An argument in all elements.
    pub(super) fn splat(&mut self, dtype: DType, argument: Argument) -> Lane {
        let parameter = self.parameter(argument);
        let value = self.lanes.program.invariant(Invariant::Parameter(parameter));
        self.lanes.hold(dtype, value)
    }

    /// Whether the constraints of an instruction hold in a cut, if it has any; `None` if that differs from
    /// element to element.
    pub(super) fn guard(&mut self, n: usize) -> Option<Option<Lane>> {
        if !self.code.guards.irregular(n).is_empty() {
            return None;
        }
        Some(self.code.guards.is_guarded(n).then(|| self.flag(Argument::Guard(n))))
    }

    /// The elements that an instruction accesses, from `pointer` if it is given; `None` if they do not lie
    /// side by side.
    pub(super) fn row(&mut self, n: usize, pointer: Option<ir::Value>) -> Option<Row> {
        let (first, stride) = self.code.rows[&n];
        let size = self.code.body[n].dtype.size();
        let element = match (stride, size) {
            (Stride::Fixed(1), 1) => Element::Byte,
            (Stride::Fixed(1), 4) => Element::Word,
            (Stride::Fixed(0), 4) => Element::Same,
            _ => return None,
        };
        let bytes = if element == Element::Same { 0 } else { size as i64 };
        let pointer = Argument::Row(pointer.unwrap_or(first.pointer), bytes);
        let pointer = self.parameter(pointer);
        Some(Row { base: Base { pointer, displacement: first.displacement }, element })
    }

    /// The elements that an instruction accesses, at one distance from each other: the first, and indices of
    /// the others; `None` if they are none, or not of 32 bits.
    fn apart(&mut self, n: usize) -> Option<(Base, ValueId)> {
        let (first, stride) = self.code.rows[&n];
        let (Stride::Fixed(stride), 4) = (stride, self.code.body[n].dtype.size()) else {
            return None;
        };
        let stride = i32::try_from(stride).ok()?;
        let (buffer, _) = self.code.body[n].kind.access()?;
        i32::try_from(self.function.buffers[buffer].length).ok()?;
        let pointer = self.parameter(Argument::Row(first.pointer, 4 * i64::from(stride)));
        let places = self.steps(stride);
        let places = self.lanes.value(places);
        Some((Base { pointer, displacement: first.displacement }, places))
    }

    pub(super) fn gather(&mut self, n: usize) -> Option<Lane> {
        let (base, places) = self.apart(n)?;
        let value = self.lanes.program.compute(Operation::Gather { base, places });
        Some(self.lanes.hold(self.code.body[n].dtype, value))
    }

    pub(super) fn scatter(&mut self, n: usize, value: Lane) -> Option<()> {
        let (base, places) = self.apart(n)?;
        let value = self.lanes.value(value);
        self.lanes.program.effect(Effect::Scatter(base, places, value));
        Some(())
    }

    /// The elements that an instruction writes.
    pub(super) fn stored_row(&mut self, n: usize) -> Option<Row> {
        self.row(n, None).filter(|row| row.element != Element::Same)
    }

    /// Whether what an instruction writes side by side is better written past the caches, and vectors are aligned.
    pub(super) fn can_stream(&self, n: usize) -> bool {
        let Some((buffer, Address::Offset(offset))) = self.code.body[n].kind.access() else {
            return false;
        };
        let others = offset.terms().iter().filter(|(atom, _)| *atom != Atom::Axis(self.code.axis));
        let width = self.width as i64;
        self.function.buffers[buffer].streamed
            && self.code.body[n].dtype == DType::F32
            && self.alignment >= self.width
            && offset.offset() % width == 0
            && others.into_iter().all(|(_, stride)| stride % width == 0)
    }

    /// Asks for what the loop around will access a few steps later, if that is on other pages: the
    /// processor does not look ahead beyond those in use. (The gradient of a Gaussian error linear
    /// unit of 1024 x 1024 elements, with its sum over rows, took half the time on Zen 3.)
    pub(super) fn prefetch(&mut self, n: usize, row: Row) {
        let Some(axis) = self.around else { return };
        let Some((_, Address::Offset(offset))) = self.code.body[n].kind.access() else { return };
        let Some(elements) = offset.stride(axis) else { return };
        let distance = 4 * elements;
        let ahead = i32::try_from(STEPS_AHEAD * distance + i64::from(row.base.displacement));
        if let (Element::Word, Ok(displacement)) = (row.element, ahead)
            && distance.abs() >= PAGE
        {
            let base = Base { displacement, ..row.base };
            self.lanes.program.effect(Effect::Prefetch(Row { base, ..row }));
        }
    }

    /// Loads elements; where the guard fails, the fill value.
    pub(super) fn load(&mut self, dtype: DType, row: Row, guard: Option<(Lane, f64)>) -> Lane {
        // A boolean is a number, which is compared with zero.
        let number = if dtype == DType::Bool { DType::U8 } else { dtype };
        let guard = guard.map(|(guard, fill)| {
            let fill = self.lanes.constant(number, fill);
            (self.lanes.value(guard), self.lanes.value(fill))
        });
        let value = self.lanes.program.compute(Operation::Load { row, guard });
        let lane = self.lanes.hold(number, value);
        self.lanes.cast(lane, dtype)
    }

    pub(super) fn store(&mut self, row: Row, value: Lane) {
        let number = match self.lanes.dtype(value) {
            DType::Bool => self.lanes.cast(value, DType::I32),
            _ => value,
        };
        let number = self.lanes.value(number);
        self.lanes.program.effect(Effect::Store(row, number));
    }

    fn slot(&mut self, slot: usize) -> Row {
        let pointer = self.parameter(Argument::Slots);
        let base = Base { pointer, displacement: self.code.slot(slot) };
        Row { base, element: Element::Word }
    }

    /// Booleans and bytes lie in slots as 32-bit words.
    pub(super) fn load_slot(&mut self, slot: usize, dtype: DType) -> Lane {
        let row = self.slot(slot);
        self.load(dtype, row, None)
    }

    pub(super) fn store_slot(&mut self, slot: usize, value: Lane) {
        let row = self.slot(slot);
        self.store(row, value);
    }

    /// An index expression as numbers, which grow by `stride`.
    pub(super) fn index(&mut self, expression: &Expression, stride: i32, dtype: DType) -> Lane {
        let steps = self.steps(stride);
        let start = self.splat(DType::I32, Argument::First(expression.clone()));
        let numbers = self.lanes.add(start, steps);
        self.lanes.cast(numbers, dtype)
    }

    /// Multiples of `stride`: that by which elements lie behind the first one.
    fn steps(&mut self, stride: i32) -> Lane {
        if let Some(&known) = self.steps.get(&stride) {
            return known;
        }
        let program = &mut self.lanes.program;
        let (places, first) =
            (program.invariant(Invariant::Places), program.compute(Operation::First));
        let [places, first] = [places, first].map(|value| self.lanes.hold(DType::I32, value));
        let mut steps = self.lanes.add(first, places);
        if stride != 1 {
            let stride = self.lanes.constant(DType::I32, f64::from(stride));
            steps = self.lanes.mul(steps, stride);
        }
        self.steps.insert(stride, steps);
        steps
    }
}
