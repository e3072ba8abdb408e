//! Checks kernel IR before code is made of it.

use cygnet_runtime::program::Motion;
use thiserror::Error;

use super::{
    Address, AxisId, Buffer, BufferId, Constraint, Convention, Function, LaneId, LoopInstruction,
    LoopInstructionKind, Place, Range, Statement, VariableId,
};
use crate::index::{Atom, Expression};
use crate::op::{Primitive, ReduceKind};
use crate::types::{DType, TensorType};

/// A function that breaks a rule of kernel IR; an error of the compiler, not of its user.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("function `{function}`, {place}: {rule}")]
pub struct Invalid {
    /// Name of the function.
    pub function: String,
    /// The declaration, statement or instruction, as in the listing.
    pub place: String,
    /// What is wrong.
    pub rule: String,
}

/// Checks that every value is defined before it is used, that element types agree, that
/// expressions use axes in scope only, and - for affine addresses without constraints - that
/// accesses stay inside their buffers.
pub fn verify(function: &Function) -> Result<(), Invalid> {
    let mut verifier =
        Verifier { function, ranges: vec![None; function.axes.len()], defined: Vec::new() };
    for (id, buffer) in function.buffers.iter().enumerate() {
        verifier.buffer(buffer).map_err(|rule| verifier.invalid(format!("buffer b{id}"), rule))?;
    }
    verifier.statements(&function.body)
}

type Rule = Result<(), String>;

struct Verifier<'f> {
    function: &'f Function,
    /// Smallest index and one past the largest, for axes in scope.
    ranges: Vec<Option<(usize, usize)>>,
    /// Values in scope.
    defined: Vec<(LaneId, DType)>,
}

impl Verifier<'_> {
    fn invalid(&self, place: impl ToString, rule: String) -> Invalid {
        Invalid { function: self.function.name.clone(), place: place.to_string(), rule }
    }

    fn buffer(&self, buffer: &Buffer) -> Rule {
        match buffer.place {
            Place::Arena(offset) | Place::Scratch(offset) => {
                check(offset % buffer.dtype.size() == 0, || "is not aligned".into())
            }
            Place::Moving(offset, Motion(strides)) => {
                let size = buffer.dtype.size();
                let aligned = |bytes: &isize| bytes.unsigned_abs().is_multiple_of(size);
                let all = offset.is_multiple_of(size) && strides.iter().all(aligned);
                check(all, || "is not aligned".into())
            }
            Place::Tile => check(self.function.convention != Convention::Pieces, || {
                "only region functions have a tile".into()
            }),
        }
    }

    fn statements(&mut self, statements: &[Statement]) -> Result<(), Invalid> {
        let outer = self.defined.len();
        for statement in statements {
            match statement {
                Statement::Loop { axis, range, body } => {
                    self.enter(*axis, *range)
                        .map_err(|rule| self.invalid(format!("loop i{axis}"), rule))?;
                    self.statements(body)?;
                    self.ranges[*axis] = None;
                }
                Statement::Tiles { axis, range, body } => {
                    self.enter(*axis, *range)
                        .map_err(|rule| self.invalid(format!("tiles i{axis}"), rule))?;
                    let before = self.defined.len();
                    self.instructions(body)?;
                    self.loads_come_first(body)?;
                    self.defined.truncate(before);
                    self.ranges[*axis] = None;
                }
                Statement::Scalar(body) => self.instructions(body)?,
            }
        }
        self.defined.truncate(outer);
        Ok(())
    }

    /// Puts an axis in scope.
    fn enter(&mut self, axis: AxisId, range: Range) -> Rule {
        let extent = match self.function.axes.get(axis) {
            Some(axis) => axis.extent,
            None => return Err("there is no such axis".into()),
        };
        check(self.ranges[axis].is_none(), || "the axis runs already".into())?;
        let (start, end) = match range {
            Range::Fixed { start, end } => (start, end),
            Range::Piece { count, inner, chunk, extent } => {
                check(count * inner * chunk > 0, || "a part of a range is empty".into())?;
                check(count * chunk >= extent, || "the pieces do not cover the range".into())?;
                (0, extent)
            }
            Range::RegionBatch { inner, extent } => {
                check(inner * extent > 0, || "a batch axis is empty".into())?;
                (0, extent)
            }
            Range::RegionRows
            | Range::RegionColumns
            | Range::RegionBlocks { .. }
            | Range::RegionWithin { .. } => (0, extent),
        };
        check(start <= end && end <= extent, || format!("the range exceeds {extent}"))?;
        if let Convention::Region { batch_axes, block } = self.function.convention {
            let expected = match range {
                Range::RegionRows => Some((batch_axes, block)),
                Range::RegionColumns => Some((batch_axes + 1, None)),
                Range::RegionBlocks { width } => Some((batch_axes + 1, Some(width))),
                Range::RegionWithin { width } => Some((batch_axes + 2, Some(width))),
                _ => None,
            };
            check(expected.is_none_or(|expected| (axis, block) == expected), || {
                "rows and columns come right after the batch axes".into()
            })?;
            if let Range::RegionWithin { .. } = range {
                check(self.ranges[batch_axes + 1].is_some(), || "no block runs".into())?;
            }
        } else {
            let regional = !matches!(range, Range::Fixed { .. } | Range::Piece { .. });
            check(!regional, || "only region functions have a region".into())?;
        }
        self.ranges[axis] = Some((start, end));
        Ok(())
    }

    fn instructions(&mut self, body: &[LoopInstruction]) -> Result<(), Invalid> {
        for instruction in body {
            self.instruction(instruction).map_err(|rule| self.invalid(instruction, rule))?;
            if let Some(result) = instruction.result {
                self.defined.push((result, instruction.dtype));
            }
        }
        Ok(())
    }

    fn loads_come_first(&self, body: &[LoopInstruction]) -> Result<(), Invalid> {
        let mut stored = Vec::new();
        for instruction in body {
            match &instruction.kind {
                LoopInstructionKind::Store { buffer, .. }
                | LoopInstructionKind::Accumulate { buffer, .. } => stored.push(*buffer),
                LoopInstructionKind::Load { buffer, .. }
                | LoopInstructionKind::Gather { buffer, .. }
                    if stored.contains(buffer) =>
                {
                    let rule = "loads come before stores to the same buffer".into();
                    return Err(self.invalid(instruction, rule));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn instruction(&self, instruction: &LoopInstruction) -> Rule {
        let LoopInstruction { result, dtype, kind } = instruction;
        check(result.is_none() == kind.is_effect(), || "values have a place, effects none".into())?;
        if let Some(result) = result {
            check(self.defined.iter().all(|(known, _)| known != result), || {
                format!("{result} has a value already")
            })?;
        }
        match kind {
            LoopInstructionKind::Constant(value) => same(value.dtype, *dtype),
            LoopInstructionKind::Index(expression) => {
                check(*dtype != DType::Bool, || "an index is a number".into())?;
                self.expression(expression)
            }
            LoopInstructionKind::Load { buffer, address, constraints, fill } => {
                check(constraints.is_empty() == fill.is_none(), || {
                    "a fill value goes with constraints".into()
                })?;
                fill.map_or(Ok(()), |fill| same(fill.dtype, *dtype))?;
                self.constraints(constraints)?;
                self.access(*buffer, address, *dtype, constraints.is_empty())
            }
            LoopInstructionKind::Gather { buffer, address, index, stride, extent } => {
                same(self.value(*index)?, DType::I32)?;
                check(*extent > 0, || "there is no index".into())?;
                check(*address != Address::Tile, || "a tile is not indexed".into())?;
                self.access(*buffer, address, *dtype, true)?;
                let last = address.moved(((extent - 1) * stride) as i64);
                self.access(*buffer, &last, *dtype, true)
            }
            LoopInstructionKind::Masked { operand, constraints, fill } => {
                same(fill.dtype, *dtype)?;
                self.constraints(constraints)?;
                same(self.value(*operand)?, *dtype)
            }
            LoopInstructionKind::Random { index, .. } => {
                check(dtype.is_float(), || format!("random numbers are floats, not {dtype}"))?;
                self.expression(index)
            }
            LoopInstructionKind::Apply(function, operands) => {
                let types = operands
                    .iter()
                    .map(|operand| Ok(TensorType::scalar(self.value(*operand)?)))
                    .collect::<Result<Vec<_>, String>>()?;
                same(function.infer(&types.iter().collect::<Vec<_>>())?.dtype, *dtype)
            }
            LoopInstructionKind::Cast(operand) => self.value(*operand).map(drop),
            LoopInstructionKind::Store { buffer, address, value } => {
                same(self.value(*value)?, *dtype)?;
                self.access(*buffer, address, *dtype, true)
            }
            LoopInstructionKind::Accumulate { buffer, address, value, .. } => {
                combinable(*dtype)?;
                same(self.value(*value)?, *dtype)?;
                self.access(*buffer, address, *dtype, true)
            }
            LoopInstructionKind::Set(variable, value) => {
                same(self.value(*value)?, *dtype)?;
                same(self.variable(*variable)?, *dtype)
            }
            LoopInstructionKind::Get(variable) => same(self.variable(*variable)?, *dtype),
            LoopInstructionKind::Fold { variable, kind, value } => {
                combinable(*dtype)?;
                same(self.value(*value)?, *dtype)?;
                let variable = self.variable(*variable)?;
                match kind {
                    ReduceKind::Sum => same(variable, DType::F64),
                    ReduceKind::Max | ReduceKind::Prod => same(variable, *dtype),
                }
            }
            LoopInstructionKind::FoldArg { variable, position, value, index, .. } => {
                combinable(*dtype)?;
                same(self.value(*value)?, *dtype)?;
                same(self.variable(*variable)?, *dtype)?;
                same(self.variable(*position)?, DType::I32)?;
                self.expression(index)
            }
        }
    }

    fn value(&self, lane: LaneId) -> Result<DType, String> {
        let found = self.defined.iter().find(|(known, _)| *known == lane);
        found.map(|(_, dtype)| *dtype).ok_or_else(|| format!("{lane} is not defined here"))
    }

    fn variable(&self, variable: VariableId) -> Result<DType, String> {
        let found = self.function.variables.get(variable);
        found.copied().ok_or_else(|| format!("there is no variable v{variable}"))
    }

    fn constraints(&self, constraints: &[Constraint]) -> Rule {
        constraints.iter().try_for_each(|constraint| self.expression(&constraint.expression))
    }

    fn expression(&self, expression: &Expression) -> Rule {
        for (axis, range) in self.ranges.iter().enumerate() {
            check(range.is_some() || !expression.depends_on(axis), || {
                format!("axis i{axis} does not run here")
            })?;
        }
        let known = expression.last_axis().is_none_or(|axis| axis < self.ranges.len());
        check(known, || "there is no such axis".into())
    }

    fn access(&self, buffer: BufferId, address: &Address, dtype: DType, always: bool) -> Rule {
        let Some(declared) = self.function.buffers.get(buffer) else {
            return Err(format!("there is no buffer b{buffer}"));
        };
        same(declared.dtype, dtype)?;
        match address {
            Address::Tile => {
                check(declared.place == Place::Tile, || format!("b{buffer} is not the tile"))?;
                let Convention::Region { batch_axes, block } = self.function.convention else {
                    return Err("only region functions have a tile".into());
                };
                for axis in batch_axes..batch_axes + 2 + usize::from(block.is_some()) {
                    let runs = self.ranges.get(axis).copied().flatten().is_some();
                    check(runs, || format!("axis i{axis} does not run here"))?;
                }
                Ok(())
            }
            Address::Offset(expression) => {
                check(declared.place != Place::Tile, || {
                    format!("b{buffer} is the tile, which has rows and columns")
                })?;
                self.expression(expression)?;
                match self.affine_range(expression) {
                    Some((low, high)) if always => {
                        check(low >= 0 && high < declared.length as i64, || {
                            let length = declared.length;
                            format!("reaches elements {low}..={high} of {length} of b{buffer}")
                        })
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    /// Smallest and largest value of an affine expression; `None` if it is not affine, or if some
    /// axis has no index at all.
    fn affine_range(&self, expression: &Expression) -> Option<(i64, i64)> {
        let mut range = (expression.offset(), expression.offset());
        for (atom, coefficient) in expression.terms() {
            let Atom::Axis(axis) = atom else { return None };
            let (start, end) = self.ranges[*axis]?;
            let (first, last) = (start as i64 * coefficient, (end as i64 - 1) * coefficient);
            range = (range.0 + first.min(last), range.1 + first.max(last));
        }
        let runs = self.ranges.iter().flatten().all(|(start, end)| start < end);
        runs.then_some(range)
    }
}

fn check(holds: bool, rule: impl FnOnce() -> String) -> Rule {
    if holds { Ok(()) } else { Err(rule()) }
}

fn same(found: DType, expected: DType) -> Rule {
    check(found == expected, || format!("{found} where {expected} is expected"))
}

fn combinable(dtype: DType) -> Rule {
    check(dtype.is_float() || dtype == DType::I32, || format!("{dtype} cannot be combined"))
}
