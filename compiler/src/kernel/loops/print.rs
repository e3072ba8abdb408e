//! Listings of kernel IR.

use std::fmt::{self, Display, Formatter};

use cygnet_runtime::program::{MAX_LOOP_DEPTH, Motion};

use super::{
    Address, Constraint, Convention, Function, LaneId, LoopInstruction, LoopInstructionKind, Place,
    Range, Statement,
};
use crate::op::{ArgReduce, Primitive, RandomKind, Reduce, ReduceKind};
use crate::types::Axes;

impl Display for Function {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.convention {
            Convention::Pieces => writeln!(f, "function {} by pieces {{", self.name)?,
            Convention::Region { batch_axes, block } => {
                write!(f, "function {} by regions of {batch_axes} batch axes", self.name)?;
                match block {
                    Some(width) => writeln!(f, ", columns in blocks of {width} {{")?,
                    None => writeln!(f, " {{")?,
                }
            }
        }
        for (id, axis) in self.axes.iter().enumerate() {
            writeln!(f, "  axis i{id} < {}  // {}", axis.extent, axis.name)?;
        }
        for (id, buffer) in self.buffers.iter().enumerate() {
            write!(f, "  buffer b{id}: {}[{}]", buffer.dtype, buffer.length)?;
            match buffer.place {
                Place::Arena(offset) => write!(f, " at arena + {offset}")?,
                Place::Moving(offset, motion) => {
                    write!(f, " at arena + {offset}{}", moving(motion))?;
                }
                Place::Scratch(offset) => write!(f, " at scratch + {offset}")?,
                Place::Tile => f.write_str(" at tile")?,
            }
            if buffer.streamed {
                f.write_str(", past the caches")?;
            }
            writeln!(f, "  // {}", buffer.name)?;
        }
        for (id, dtype) in self.variables.iter().enumerate() {
            writeln!(f, "  variable v{id}: {dtype}")?;
        }
        write_statements(f, &self.body, 1)?;
        f.write_str("}\n")
    }
}

fn write_statements(f: &mut Formatter<'_>, statements: &[Statement], depth: usize) -> fmt::Result {
    let indent = "  ".repeat(depth);
    for statement in statements {
        match statement {
            Statement::Loop { axis, range, body } => {
                writeln!(f, "{indent}loop i{axis} in {range} {{")?;
                write_statements(f, body, depth + 1)?;
                writeln!(f, "{indent}}}")?;
            }
            Statement::Tiles { axis, range, body } => {
                writeln!(f, "{indent}tiles i{axis} in {range} {{")?;
                for instruction in body {
                    writeln!(f, "{indent}  {instruction}")?;
                }
                writeln!(f, "{indent}}}")?;
            }
            Statement::Scalar(body) => {
                for instruction in body {
                    writeln!(f, "{indent}{instruction}")?;
                }
            }
        }
    }
    Ok(())
}

impl Display for Range {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Range::Fixed { start, end } => write!(f, "{start}..{end}"),
            Range::Piece { count, inner, chunk, extent } => {
                write!(f, "0..{extent} by {chunk}, part piece")?;
                if *inner > 1 {
                    write!(f, " / {inner}")?;
                }
                write!(f, " % {count}")
            }
            Range::RegionBatch { inner, extent } => {
                f.write_str("region batch")?;
                if *inner > 1 {
                    write!(f, " / {inner}")?;
                }
                write!(f, " % {extent}")
            }
            Range::RegionRows => f.write_str("region rows"),
            Range::RegionColumns => f.write_str("region columns"),
            Range::RegionBlocks { width } => write!(f, "region columns / {width}"),
            Range::RegionWithin { width } => write!(f, "region columns % {width}"),
        }
    }
}

impl Display for LaneId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}

impl Display for Address {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Address::Offset(expression) => expression.fmt(f),
            Address::Tile => f.write_str("row, column"),
        }
    }
}

impl Display for LoopInstruction {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(result) = self.result {
            write!(f, "{result}: {} = ", self.dtype)?;
        }
        self.kind.fmt(f)
    }
}

impl Display for LoopInstructionKind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            LoopInstructionKind::Constant(value) => write!(f, "constant {value}"),
            LoopInstructionKind::Index(expression) => write!(f, "index {expression}"),
            LoopInstructionKind::Load { buffer, address, constraints, fill } => {
                write!(f, "load b{buffer}[{address}]")?;
                write_constraints(f, constraints)?;
                fill.map_or(Ok(()), |fill| write!(f, " else {fill}"))
            }
            LoopInstructionKind::Gather { buffer, address, index, stride, extent } => {
                write!(f, "gather b{buffer}[{address} + {stride}*{index}] of {extent}")
            }
            LoopInstructionKind::Masked { operand, constraints, fill } => {
                write!(f, "masked {operand}")?;
                write_constraints(f, constraints)?;
                write!(f, " else {fill}")
            }
            LoopInstructionKind::Random { kind, stream, index } => {
                let name = match kind {
                    RandomKind::Uniform => "uniform",
                    RandomKind::Normal => "normal",
                };
                write!(f, "{name} stream {stream:016x} at {index}")
            }
            LoopInstructionKind::Apply(function, operands) => {
                write!(f, "{function:?}")?;
                for (place, operand) in operands.iter().enumerate() {
                    write!(f, "{} {operand}", if place == 0 { "" } else { "," })?;
                }
                Ok(())
            }
            LoopInstructionKind::Cast(operand) => write!(f, "cast {operand}"),
            LoopInstructionKind::Store { buffer, address, value } => {
                write!(f, "store b{buffer}[{address}] = {value}")
            }
            LoopInstructionKind::Accumulate { buffer, address, kind, value } => {
                let name = reduction_name(*kind);
                write!(f, "accumulate {name} b{buffer}[{address}] with {value}")
            }
            LoopInstructionKind::Set(variable, value) => write!(f, "set v{variable} = {value}"),
            LoopInstructionKind::Get(variable) => write!(f, "get v{variable}"),
            LoopInstructionKind::Fold { variable, kind, value } => {
                write!(f, "fold {} v{variable} with {value}", reduction_name(*kind))
            }
            LoopInstructionKind::FoldArg { variable, position, kind, value, index } => {
                let name = ArgReduce { kind: *kind, axis: 0 }.name();
                write!(f, "fold {name} v{variable}, v{position} with {value} at {index}")
            }
        }
    }
}

fn reduction_name(kind: ReduceKind) -> &'static str {
    Reduce { kind, axes: Axes::new() }.name()
}

fn write_constraints(f: &mut Formatter<'_>, constraints: &[Constraint]) -> fmt::Result {
    for (place, Constraint { expression, low, high }) in constraints.iter().enumerate() {
        let joint = if place == 0 { "where" } else { "and" };
        write!(f, " {joint} {low} <= {expression} < {high}")?;
    }
    Ok(())
}

/// ` + 64 * step 0`: how a place moves with the loops around, outermost first.
fn moving(motion: Motion) -> String {
    let mut text = String::new();
    for depth in 0..MAX_LOOP_DEPTH {
        let counters = [(Motion::index(depth), "step"), (Motion::parity(depth), "parity")];
        for (counter, name) in counters {
            match motion.0[counter] {
                0 => {}
                bytes if bytes < 0 => text.push_str(&format!(" - {} * {name} {depth}", -bytes)),
                bytes => text.push_str(&format!(" + {bytes} * {name} {depth}")),
            }
        }
    }
    text
}
