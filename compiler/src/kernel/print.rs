//! Kernel graphs as text.

use std::fmt;

use cygnet_runtime::gemm::{Winograd, WinogradGradient};
use cygnet_runtime::library::{Cumulate, Interleave, Pad, Routine, Scatter, Sort};
use petgraph::algo::toposort;

use super::{
    AxisRole, Body, Cost, Instruction, InstructionId, InstructionKind, Kernel, KernelBody,
    KernelGraph, KernelId, Library, Loop, LoopOperand, Product, ProductOperand, ValueId,
};
use crate::index::IndexMap;
use crate::op::{ArgKind, Primitive, RandomKind, ReduceKind};

impl fmt::Display for ValueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

/// Values, then kernels in an order in which they can run, then results.
impl fmt::Display for KernelGraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.listing(&|_| Vec::new()).fmt(f)
    }
}

/// Kernels as text with notes; made by [`KernelGraph::listing`].
pub struct Listing<'a> {
    graph: &'a KernelGraph,
    notes: &'a dyn Fn(KernelId) -> Vec<String>,
    /// Stands before the numbers of kernels: the loops that they are in.
    prefix: String,
}

impl KernelGraph {
    /// The graph as text, in which notes on each kernel stand as comments below its name.
    pub fn listing<'a>(&'a self, notes: &'a dyn Fn(KernelId) -> Vec<String>) -> Listing<'a> {
        Listing { graph: self, notes, prefix: String::new() }
    }
}

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let KernelGraph { kernels, values, slots, outputs, updates, guards } = self.graph;
        for (number, value) in values.iter().enumerate() {
            write!(f, "v{number}: {}", value.ty)?;
            match value.slot {
                Some(slot) => writeln!(f, " = slot {}", slots[slot as usize].name)?,
                None => writeln!(f)?,
            }
        }
        let order = toposort(kernels, None).unwrap_or_else(|_| kernels.node_indices().collect());
        for id in order {
            let label = format!("{}{}", self.prefix, id.index());
            write!(f, "\nkernel {label} {}", kernels[id].name)?;
            write_kernel(f, &kernels[id], &(self.notes)(id), &format!("{label}."))?;
            writeln!(f)?;
        }
        for (name, value) in outputs {
            writeln!(f, "output {name} = {value}")?;
        }
        for (slot, value) in updates {
            writeln!(f, "update {} = {value}", slots[*slot as usize].name)?;
        }
        for value in guards {
            writeln!(f, "guard {value}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        write_kernel(f, self, &[], "")
    }
}

/// `4.12 us, 1280 flops, 5376 bytes`.
impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cost { nanoseconds, flops, bytes } = self;
        write!(f, "{:.2} us, {flops} flops, {bytes} bytes", nanoseconds / 1e3)
    }
}

/// What follows a kernel's name.
fn write_kernel(
    f: &mut fmt::Formatter<'_>,
    kernel: &Kernel,
    notes: &[String],
    prefix: &str,
) -> fmt::Result {
    for comment in notes.iter().chain(&kernel.reasons) {
        write!(f, "\n  ; {comment}")?;
    }
    match &kernel.body {
        KernelBody::Fused(body) => {
            write!(f, "\n  over")?;
            write_axes(f, body)?;
            write_body(f, body, "  ")
        }
        KernelBody::Product(product) => write_product(f, product),
        KernelBody::Library(library) => write_library(f, library),
        KernelBody::Loop(the_loop) => write_loop(f, the_loop, prefix),
    }
}

fn write_loop(f: &mut fmt::Formatter<'_>, the_loop: &Loop, prefix: &str) -> fmt::Result {
    let Loop { length, reverse, body, operands, yields, until } = the_loop;
    write!(f, "\n  loop of {length} steps{}", if *reverse { ", the last first" } else { "" })?;
    for (slot, operand) in body.slots.iter().zip(operands) {
        match operand {
            LoopOperand::Carry { initial, result } => {
                write!(f, "\n  carry {} = {initial}", slot.name)?;
                if let Some(result) = result {
                    write!(f, ", at the end {result}")?;
                }
            }
            LoopOperand::Sequence(value) => write!(f, "\n  sequence {} = {value}", slot.name)?,
            LoopOperand::Capture(value) => write!(f, "\n  capture {} = {value}", slot.name)?,
        }
    }
    for ((name, _), value) in body.outputs.iter().zip(yields) {
        write!(f, "\n  {name} of each step = {value}")?;
    }
    if let (true, Some((_, end))) = (*until, body.outputs.last()) {
        write!(f, "\n  ends when {end} of the body holds")?;
    }
    let notes = |id: KernelId| vec![body.kernels[id].cost.to_string()];
    let body = Listing { graph: body, notes: &notes, prefix: prefix.to_owned() }.to_string();
    body.lines().try_for_each(|line| write!(f, "\n    {line}"))
}

fn write_axes(f: &mut fmt::Formatter<'_>, body: &Body) -> fmt::Result {
    if body.axes.is_empty() {
        return f.write_str(" a single point");
    }
    for (number, axis) in body.axes.iter().enumerate() {
        let role = if axis.role == AxisRole::Reduced { " reduced" } else { "" };
        write!(f, "{} i{number} < {}{role}", if number == 0 { "" } else { "," }, axis.extent)?;
    }
    Ok(())
}

/// `v3 = scatter_add f32 of v1, v2`, and the extents.
fn write_library(f: &mut fmt::Formatter<'_>, library: &Library) -> fmt::Result {
    let Library { routine, dtype, operands, result } = library;
    write!(f, "\n  {result} = {} {dtype} of", routine.name())?;
    for (place, operand) in operands.iter().enumerate() {
        write!(f, "{} {operand}", if place == 0 { "" } else { "," })?;
    }
    match routine {
        Routine::Scatter(Scatter { batch, extent, count, width, .. }) => {
            write!(f, "\n  batch {batch}, {count} of {extent} rows of {width}")
        }
        Routine::Cumulate(Cumulate { reverse, exclusive, outer, length, inner, .. }) => {
            write!(f, "\n  along {length} of [{outer}, {length}, {inner}]")?;
            f.write_str(if *reverse { ", reverse" } else { "" })?;
            f.write_str(if *exclusive { ", exclusive" } else { "" })
        }
        Routine::Sort(Sort { descending, rows, length, kept }) => {
            let order = if *descending { "descending" } else { "ascending" };
            write!(f, "\n  {rows} rows, {order}, {kept} of {length}")
        }
        Routine::Interleave(Interleave { parts, outer, inner }) => {
            write!(f, "\n  {parts} parts of {outer} blocks of {inner}")
        }
        Routine::Pad(Pad { outer, extents: [rows, columns], .. }) => {
            write!(f, "\n  {outer} images of {rows} x {columns}")
        }
        Routine::Permute(permute) => {
            let axes: Vec<String> = (permute.axes().iter())
                .map(|(extent, distance)| format!("{extent} at {distance}"))
                .collect();
            write!(f, "\n  {}", axes.join(", "))
        }
        Routine::Winograd(shape) => {
            let Winograd { samples, from, to, result: [height, width], .. } = shape;
            write!(f, "\n  {samples} of {from} to {to} channels, {height} x {width}")?;
            let inputs = if shape.transformed { "transformed " } else { "" };
            write!(f, " in {inputs}tiles of {0} x {0}", shape.tile)
        }
        Routine::WinogradInput(Winograd {
            samples, from, result: [height, width], tile, ..
        }) => {
            write!(f, "\n  {samples} of {from} channels, {height} x {width}")?;
            write!(f, " for tiles of {tile} x {tile}")
        }
        Routine::WinogradKernel(kernel) => {
            let turned = if kernel.turned { ", turned" } else { "" };
            write!(f, "\n  {} rows of {} kernels{turned}", kernel.to, kernel.from)?;
            write!(f, " for tiles of {0} x {0}", kernel.tile)
        }
        Routine::WinogradGradient(shape) => {
            let WinogradGradient { samples, from, to, cotangent: [height, width], .. } = shape;
            write!(f, "\n  {samples} of {from} to {to} channels, {height} x {width}")
        }
        Routine::WinogradTaps(shape) => {
            write!(f, "\n  {} rows of {} kernels", shape.to, shape.from)?;
            write!(f, " from {} parts", shape.parts())
        }
    }
}

fn write_product(f: &mut fmt::Formatter<'_>, product: &Product) -> fmt::Result {
    let Product { dtype, batch, rows, columns, depth, .. } = product;
    write!(f, "\n  product {dtype} {rows} x {depth} x {columns}")?;
    if !batch.is_empty() {
        write!(f, " batch {:?}", batch.as_slice())?;
    }
    for (name, operand) in [("left", &product.left), ("right", &product.right)] {
        match operand {
            ProductOperand::Value(value, map) => {
                write!(f, "\n  {name} {}", access(*value, map))?;
            }
            ProductOperand::Computed(body) => {
                write!(f, "\n  {name} computed")?;
                write_body(f, body, "    ")?;
            }
        }
    }
    write!(f, "\n  epilogue")?;
    write_body(f, &product.epilogue, "    ")
}

fn write_body(f: &mut fmt::Formatter<'_>, body: &Body, indent: &str) -> fmt::Result {
    for (number, instruction) in body.instructions.iter().enumerate() {
        write!(f, "\n{indent}%{number} = {instruction}")?;
    }
    for store in &body.stores {
        let place = access(store.value, &store.map);
        write!(f, "\n{indent}{place} = %{}", store.instruction.0)?;
    }
    Ok(())
}

/// `v3[i0, i1 + 2]`, with the conditions of the map.
fn access(value: ValueId, map: &IndexMap) -> String {
    let indices: Vec<String> = map.indices().iter().map(ToString::to_string).collect();
    format!("{value}[{}]{}", indices.join(", "), conditions(map))
}

fn conditions(map: &IndexMap) -> String {
    let conditions: Vec<String> = (map.constraints().iter())
        .map(|c| format!("{} <= {} < {}", c.low, c.expression, c.high))
        .collect();
    match map.fill() {
        Some(fill) => format!(" where {} else {fill}", conditions.join(" and ")),
        None => String::new(),
    }
}

impl fmt::Display for Instruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list =
            |ids: &[InstructionId]| ids.iter().map(|id| format!(" %{}", id.0)).collect::<String>();
        match &self.kind {
            InstructionKind::Constant(value) => write!(f, "{value}"),
            InstructionKind::Load { value, map } => f.write_str(&access(*value, map)),
            InstructionKind::Gather { value, map, axis, index } => {
                let indices: Vec<String> = (map.indices().iter().enumerate())
                    .map(|(place, e)| match place == *axis {
                        true => format!("%{}", index.0),
                        false => e.to_string(),
                    })
                    .collect();
                write!(f, "{value}[{}]", indices.join(", "))
            }
            InstructionKind::Accumulator => f.write_str("product"),
            InstructionKind::Index(index) => write!(f, "index {index}"),
            InstructionKind::Random { kind, stream, index } => {
                let kind = match kind {
                    RandomKind::Uniform => "uniform",
                    RandomKind::Normal => "normal",
                };
                write!(f, "{kind} stream {stream:016x} at {index}")
            }
            InstructionKind::Apply(function, operands) => {
                write!(f, "{}{}", function.name(), list(operands))
            }
            InstructionKind::Cast(operand) => write!(f, "cast %{}", operand.0),
            InstructionKind::Masked(operand, map) => {
                write!(f, "%{}{}", operand.0, conditions(map))
            }
            InstructionKind::Reduce(kind, operand) => {
                let kind = match kind {
                    ReduceKind::Sum => "sum",
                    ReduceKind::Max => "max",
                    ReduceKind::Prod => "prod",
                };
                write!(f, "{kind} %{}", operand.0)
            }
            InstructionKind::ArgReduce(kind, operand) => {
                let kind = match kind {
                    ArgKind::Max => "argmax",
                    ArgKind::Min => "argmin",
                };
                write!(f, "{kind} %{}", operand.0)
            }
        }?;
        write!(f, ": {}", self.dtype)
    }
}
