//! Kernel graphs, computed in f64 without native code: what fusion is tested against.

use std::collections::BTreeMap;

use petgraph::algo::toposort;

use super::{
    AxisRole, Body, InstructionId, InstructionKind, KernelBody, KernelGraph, Library, Loop,
    LoopOperand, Product, ProductOperand, ValueId,
};
use crate::index::IndexMap;
use crate::op::indexing::missing;
use crate::op::library::evaluate_routine;
use crate::op::{ArgKind, RandomKind};
use crate::types::{DType, Scalar};

/// A source of random numbers: distribution, stream and position to number.
pub type RandomNumbers<'a> = &'a dyn Fn(RandomKind, u64, u64) -> f64;

/// Computes all values of a kernel graph. Slots are given dense and row-major, by slot number.
///
/// # Panics
/// If the graph is not valid ([`super::verify`]) or a slot that it reads has another length.
pub fn interpret(
    graph: &KernelGraph,
    slots: &[Vec<f64>],
    random: RandomNumbers<'_>,
) -> BTreeMap<ValueId, Vec<f64>> {
    let mut memory = Memory { graph, tensors: BTreeMap::new() };
    for (number, value) in graph.values.iter().enumerate() {
        let tensor = match value.slot {
            Some(slot) => slots[slot as usize].clone(),
            None => vec![0.0; value.ty.elements()],
        };
        assert_eq!(tensor.len(), value.ty.elements(), "length of value {number}");
        memory.tensors.insert(ValueId(number as u32), tensor);
    }
    for kernel in toposort(&graph.kernels, None).expect("kernels do not wait for each other") {
        match &graph.kernels[kernel].body {
            KernelBody::Fused(body) => run_body(&mut memory, body, random),
            KernelBody::Product(product) => run_product(&mut memory, product, random),
            KernelBody::Library(library) => run_library(&mut memory, library),
            KernelBody::Loop(the_loop) => run_loop(&mut memory, the_loop, random),
        }
    }
    memory.tensors
}

fn run_loop(memory: &mut Memory<'_>, the_loop: &Loop, random: RandomNumbers<'_>) {
    let Loop { length, body, operands, yields, .. } = the_loop;
    let read = |operand: &LoopOperand| memory.tensors[&operand.read()].clone();
    let mut slots: Vec<Vec<f64>> = operands.iter().map(read).collect();
    for step in 0..*length {
        let place = if the_loop.reverse { length - 1 - step } else { step };
        for (slot, operand) in slots.iter_mut().zip(operands) {
            if let LoopOperand::Sequence(value) = operand {
                let all = &memory.tensors[value];
                let elements = all.len() / length;
                *slot = all[place * elements..][..elements].to_vec();
            }
        }
        let values = interpret(body, &slots, random);
        for ((_, inside), outside) in body.outputs.iter().zip(yields) {
            let element = &values[inside];
            let all = memory.tensors.get_mut(outside).expect("every value has memory");
            all[place * element.len()..][..element.len()].copy_from_slice(element);
        }
        for &(slot, value) in &body.updates {
            slots[slot as usize].clone_from(&values[&value]);
        }
        if the_loop.end().is_some_and(|end| values[&end][0] != 0.0) {
            break;
        }
    }
    for (slot, operand) in slots.into_iter().zip(operands) {
        if let LoopOperand::Carry { result: Some(result), .. } = operand {
            memory.tensors.insert(*result, slot);
        }
    }
}

struct Memory<'a> {
    graph: &'a KernelGraph,
    tensors: BTreeMap<ValueId, Vec<f64>>,
}

impl Memory<'_> {
    fn position(&self, value: ValueId, index: &[usize]) -> usize {
        let shape = &self.graph.values[value.0 as usize].ty.shape;
        assert!(index.iter().zip(shape).all(|(i, extent)| i < extent), "{index:?} in {shape:?}");
        index.iter().zip(shape).fold(0, |offset, (i, extent)| offset * extent + i)
    }

    fn read(&self, value: ValueId, map: &IndexMap, point: &[usize]) -> f64 {
        match map.evaluate(point) {
            Some(index) => self.tensors[&value][self.position(value, &index)],
            None => map.fill().expect("a map with constraints has a fill value").value(),
        }
    }

    /// The element whose index along `axis` is `index`.
    fn gather(
        &self,
        (value, axis): (ValueId, usize),
        map: &IndexMap,
        index: f64,
        point: &[usize],
    ) -> f64 {
        let mut place = map.evaluate(point).expect("gatherings have no constraints");
        let ty = &self.graph.values[value.0 as usize].ty;
        if index < 0.0 || index >= ty.shape[axis] as f64 {
            return missing(ty.dtype);
        }
        place[axis] = index as usize;
        self.tensors[&value][self.position(value, &place)]
    }

    fn write(&mut self, value: ValueId, map: &IndexMap, point: &[usize], element: f64) {
        let index = map.evaluate(point).expect("stores have no constraints");
        let position = self.position(value, &index);
        self.tensors.get_mut(&value).expect("every value has memory")[position] = element;
    }
}

/// The points of a rectangle, the last axis running fastest.
fn points(extents: &[usize]) -> impl Iterator<Item = Vec<usize>> {
    let count: usize = extents.iter().product();
    let extents = extents.to_vec();
    (0..count).map(move |number| {
        let mut rest = number;
        let mut point = vec![0; extents.len()];
        for axis in (0..extents.len()).rev() {
            point[axis] = rest % extents[axis];
            rest /= extents[axis];
        }
        point
    })
}

fn run_body(memory: &mut Memory<'_>, body: &Body, random: RandomNumbers<'_>) {
    let extents = body.extents();
    let is_row = |axis: usize| body.axes[axis].role == AxisRole::Parallel;
    let rows: Vec<usize> =
        (0..extents.len()).map(|a| if is_row(a) { extents[a] } else { 1 }).collect();
    let columns: Vec<usize> =
        (0..extents.len()).map(|a| if is_row(a) { 1 } else { extents[a] }).collect();
    let inside: Vec<Vec<usize>> = points(&columns).collect();
    let per_point = body.per_point();
    for row in points(&rows) {
        let row_points: Vec<Vec<usize>> = (inside.iter())
            .map(|point| point.iter().zip(&row).map(|(a, b)| a + b).collect())
            .collect();
        let values = run_row(memory, body, &row, &row_points, random, None);
        for store in &body.stores {
            let results = &values[store.instruction.0 as usize];
            if per_point[store.instruction.0 as usize] {
                for (point, &result) in row_points.iter().zip(results) {
                    memory.write(store.value, &store.map, point, result);
                }
            } else {
                let parallel: Vec<usize> =
                    (0..row.len()).filter(|&axis| is_row(axis)).map(|axis| row[axis]).collect();
                memory.write(store.value, &store.map, &parallel, results[0]);
            }
        }
    }
}

/// The results of all instructions for a row: one for each point, or a single one where it is per
/// row (or at the row's origin if the row has no points).
fn run_row(
    memory: &Memory<'_>,
    body: &Body,
    row: &[usize],
    row_points: &[Vec<usize>],
    random: RandomNumbers<'_>,
    accumulator: Option<f64>,
) -> Vec<Vec<f64>> {
    let per_point = body.per_point();
    let origin = [row.to_vec()];
    let mut values: Vec<Vec<f64>> = Vec::with_capacity(body.instructions.len());
    for (number, instruction) in body.instructions.iter().enumerate() {
        let of = |id: &InstructionId, place: usize| {
            let results: &Vec<f64> = &values[id.0 as usize];
            if per_point[id.0 as usize] { results[place] } else { results[0] }
        };
        let places = if per_point[number] { row_points } else { &origin[..] };
        let dtype = instruction.dtype;
        let all = |id: &InstructionId| (0..row_points.len()).map(|p| of(id, p)).collect::<Vec<_>>();
        let results: Vec<f64> = match &instruction.kind {
            InstructionKind::Reduce(kind, operand) => {
                let combine = |a, b| kind.combine(dtype, a, b);
                vec![all(operand).into_iter().fold(kind.identity(dtype).value(), combine)]
            }
            InstructionKind::ArgReduce(kind, operand) => vec![arg_reduce(*kind, &all(operand))],
            kind => (places.iter().enumerate())
                .map(|(place, point)| match kind {
                    InstructionKind::Constant(value) => value.value(),
                    InstructionKind::Load { value, map } => memory.read(*value, map, point),
                    InstructionKind::Gather { value, map, axis, index } => {
                        memory.gather((*value, *axis), map, of(index, place), point)
                    }
                    InstructionKind::Accumulator => accumulator.expect("a finished product"),
                    InstructionKind::Index(e) => e.evaluate(point) as f64,
                    InstructionKind::Random { kind, stream, index } => {
                        random(*kind, *stream, index.evaluate(point) as u64)
                    }
                    InstructionKind::Apply(function, operands) => {
                        let operands: Vec<f64> = operands.iter().map(|id| of(id, place)).collect();
                        function.evaluate_element(dtype, &operands)
                    }
                    InstructionKind::Cast(operand) => cast(dtype, of(operand, place)),
                    InstructionKind::Masked(operand, map) => match map.evaluate(point) {
                        Some(_) => of(operand, place),
                        None => map.fill().expect("constraints come with a fill value").value(),
                    },
                    InstructionKind::Reduce(..) | InstructionKind::ArgReduce(..) => {
                        unreachable!("handled above")
                    }
                })
                .collect(),
        };
        values.push(results);
    }
    values
}

/// Conversion between element types; floats keep their f64 precision.
fn cast(dtype: DType, value: f64) -> f64 {
    if dtype.is_float() { value } else { Scalar::new(dtype, value).value() }
}

fn arg_reduce(kind: ArgKind, elements: &[f64]) -> f64 {
    let better = |new: f64, old: f64| match kind {
        ArgKind::Max => new > old || (new.is_nan() && !old.is_nan()),
        ArgKind::Min => new < old || (new.is_nan() && !old.is_nan()),
    };
    let best = (1..elements.len())
        .fold(0, |best, place| if better(elements[place], elements[best]) { place } else { best });
    best as f64
}

fn run_library(memory: &mut Memory<'_>, library: &Library) {
    let operands: Vec<&[f64]> =
        library.operands.iter().map(|operand| &memory.tensors[operand][..]).collect();
    let result = evaluate_routine(&library.routine, library.dtype, &operands);
    memory.tensors.insert(library.result, result);
}

fn run_product(memory: &mut Memory<'_>, product: &Product, random: RandomNumbers<'_>) {
    let batches: Vec<Vec<usize>> = points(&product.batch).collect();
    for batch in &batches {
        let element = |operand: &ProductOperand, tail: [usize; 2]| {
            let point: Vec<usize> = batch.iter().copied().chain(tail).collect();
            match operand {
                ProductOperand::Value(value, map) => memory.read(*value, map, &point),
                ProductOperand::Computed(body) => {
                    let row_points = [point.clone()];
                    let values = run_row(memory, body, &point, &row_points, random, None);
                    values.last().expect("an operand has instructions")[0]
                }
            }
        };
        let matrix = |operand: &ProductOperand, rows: usize, columns: usize| -> Vec<Vec<f64>> {
            let row = |r: usize| (0..columns).map(|c| element(operand, [r, c])).collect();
            (0..rows).map(row).collect()
        };
        let left = matrix(&product.left, product.rows, product.depth);
        let right = matrix(&product.right, product.depth, product.columns);
        let body = &product.epilogue;
        for (row, factors) in left.iter().enumerate() {
            for column in 0..product.columns {
                let sum = factors.iter().zip(&right).map(|(a, b)| a * b[column]).sum();
                let point: Vec<usize> = batch.iter().copied().chain([row, column]).collect();
                let row_points = [point.clone()];
                let values = run_row(memory, body, &point, &row_points, random, Some(sum));
                for store in &body.stores {
                    let result = values[store.instruction.0 as usize][0];
                    memory.write(store.value, &store.map, &point, result);
                }
            }
        }
    }
}
