//! Native programs with indices that are data, and with routines of the runtime, against the
//! reference evaluator: tables and rows long enough for vectors, tiles and several pieces.

use cygnet_compiler::array::Array;
use cygnet_compiler::compile::{CompileOptions, Compiled, compile};
use cygnet_compiler::differentiate::gradient;
use cygnet_compiler::evaluate::Evaluator;
use cygnet_compiler::graph::{Emit, Graph, NodeId, Output, SlotRole, Update};
use cygnet_compiler::kernel::KernelBody;
use cygnet_compiler::op::{ArgSort, Cumulate, Gather, Op, ReduceKind, Scatter, ScatterKind};
use cygnet_compiler::optimize::OptimizeOptions;
use cygnet_compiler::types::{DType, TensorType};
use cygnet_runtime::executor::Executor;
use cygnet_runtime::program::Outcome;
use cygnet_runtime::tensor::Tensor;

/// A graph and values of its slots.
#[derive(Default)]
struct Sample {
    graph: Graph,
    slots: Vec<Array>,
}

impl Sample {
    fn slot(
        &mut self,
        role: SlotRole,
        dtype: DType,
        shape: &[usize],
        at: impl Fn(usize) -> f64,
    ) -> NodeId {
        let ty = TensorType::new(dtype, shape);
        let name = format!("x{}", self.slots.len());
        self.slots.push(Array::new(ty.clone(), (0..ty.elements()).map(at).collect()).rounded());
        let slot = self.graph.declare_slot(&name, role, ty);
        self.graph.read_slot(slot)
    }

    fn floats(&mut self, shape: &[usize]) -> NodeId {
        self.slot(SlotRole::Parameter, DType::F32, shape, |i| (i as f64 * 1.7).sin())
    }

    /// Indices below an extent, in no order.
    fn indices(&mut self, shape: &[usize], extent: usize) -> NodeId {
        self.slot(SlotRole::Input, DType::I32, shape, |i| (i * i * 31 % extent) as f64)
    }

    fn output(&mut self, node: NodeId) {
        let name = format!("y{}", self.graph.outputs.len());
        self.graph.outputs.push(Output { name, node });
    }

    fn step(&self, fusion: bool, threads: usize) -> (Vec<Tensor>, Compiled) {
        let optimize = OptimizeOptions { fusion, ..OptimizeOptions::default() };
        let options = CompileOptions { optimize, ..CompileOptions::default() };
        let compiled = compile(&self.graph, &options, |_| {}).expect("it compiles");
        let program = compiled.loaded.program();
        // SAFETY: the program comes from the compiler, for this machine.
        let mut executor = unsafe { Executor::new(program, threads) };
        for (index, value) in self.slots.iter().enumerate() {
            let mut tensor = Tensor::zeros(value.ty.dtype, &value.ty.shape);
            for (place, &number) in value.values.iter().enumerate() {
                match value.ty.dtype {
                    DType::I32 => tensor.as_mut_slice::<i32>()[place] = number as i32,
                    _ => tensor.as_mut_slice::<f32>()[place] = number as f32,
                }
            }
            executor.write_slot(index, &tensor).expect("slots come first");
        }
        assert_eq!(executor.step(), Outcome::Finished);
        let updated = self.graph.updates.iter().map(|update| update.slot as usize);
        let outputs = self.slots.len()..self.slots.len() + self.graph.outputs.len();
        (updated.chain(outputs).map(|index| executor.read_slot(index)).collect(), compiled)
    }

    /// Asserts that native programs, fused or not, compute what the evaluator does, and the same
    /// bits on several threads; returns the fused one.
    fn check(&self) -> Compiled {
        self.graph.verify().unwrap();
        let results = Evaluator::new(&self.slots).run(&self.graph);
        let expected: Vec<Array> =
            results.updates.into_iter().map(|(_, value)| value).chain(results.outputs).collect();
        let (fused, compiled) = self.step(true, 1);
        for found in [&fused, &self.step(false, 1).0] {
            for (tensor, array) in found.iter().zip(&expected) {
                for (place, &wanted) in array.values.iter().enumerate() {
                    let value = tensor.get_f64(place);
                    let close = (value - wanted).abs() <= 1e-4 * (1.0 + wanted.abs());
                    assert!(close || value.is_nan() && wanted.is_nan(), "{value}, not {wanted}");
                }
            }
        }
        for threads in [2, 4] {
            let (other, _) = self.step(true, threads);
            assert!(fused.iter().map(Tensor::bytes).eq(other.iter().map(Tensor::bytes)));
        }
        compiled
    }
}

/// Rows of a table plus positions, normalized: the beginning of a transformer, and its gradient.
#[test]
fn embeddings_are_fused_with_what_follows() {
    let mut sample = Sample::default();
    let (table, positions) = (sample.floats(&[700, 64]), sample.floats(&[9, 64]));
    let index = sample.indices(&[5, 9], 700);
    let g = &mut sample.graph;
    let rows = g.emit(Gather { batch: 0 }.into(), &[table, index]);
    let places = g.broadcast(positions, &[5, 9, 64], &[1, 2]);
    let x = g.add(rows, places);
    let sum = g.sum(x, &[2]);
    let count = g.constant_like(sum, 64.0);
    let mean = g.div(sum, count);
    let mean = g.broadcast(mean, &[5, 9, 64], &[0, 1]);
    let distance = g.sub(x, mean);
    let square = g.mul(distance, distance);
    let spread = g.sum(square, &[2]);
    let spread = g.apply("sqrt", &[spread]);
    let spread = g.broadcast(spread, &[5, 9, 64], &[0, 1]);
    let y = g.div(distance, spread);
    let cube = g.mul(y, square);
    let loss = g.sum(cube, &[0, 1, 2]);
    let gradients = gradient(g, loss, &[table, positions]).unwrap();
    for (slot, (parameter, gradient)) in [table, positions].into_iter().zip(gradients).enumerate() {
        let node = g.sub(parameter, gradient.unwrap());
        g.updates.push(Update { slot: slot as u32, node });
    }
    sample.output(y);
    let compiled = sample.check();
    // The gathered rows never lie in memory: the kernel that reads the table computes on.
    let kernels = &compiled.schedule.kernels;
    let gathers = kernels.kernels.node_weights().filter(|kernel| {
        kernel.nodes.iter().any(|node| matches!(compiled.optimized.node(*node).op, Op::Gather(_)))
    });
    for kernel in gathers {
        let rows = kernel.stored().any(|value| {
            matches!(
                compiled.optimized.node(kernels.values[value.0 as usize].node).op,
                Op::Gather(_)
            )
        });
        assert!(!rows, "{kernel}");
    }
}

#[test]
fn indices_lead_along_rows_and_to_single_elements() {
    for (shape, index, batch) in [
        (&[40, 70][..], &[600][..], 0),
        (&[600], &[3, 50], 0),
        (&[6, 50], &[6, 70], 1),
        (&[4, 5, 30], &[4], 1),
        (&[300, 20], &[300], 1),
    ] {
        let mut sample = Sample::default();
        let x = sample.floats(shape);
        let index = sample.indices(index, shape[batch]);
        let rows = sample.graph.emit(Gather { batch }.into(), &[x, index]);
        let result = sample.graph.apply("exp", &[rows]);
        sample.output(rows);
        sample.output(result);
        sample.check();
    }
}

#[test]
fn an_index_outside_gives_nan() {
    for extent in [3, 7] {
        let mut sample = Sample::default();
        let (x, whole) = (sample.floats(&[3, 40]), sample.indices(&[3, 40], 9));
        let index = sample.slot(SlotRole::Input, DType::I32, &[20], |i| i as f64 % 7.0 - 2.0);
        let g = &mut sample.graph;
        let rows = g.emit(Gather { batch: 0 }.into(), &[x, index]);
        let twice = g.add(rows, rows);
        let numbers = g.emit(Gather { batch: 0 }.into(), &[whole, index]);
        let updates = g.slice(rows, &[0, 0], &[20, 8], &[1, 1]);
        let kind = ScatterKind::Add;
        let sums = g.emit(Scatter { kind, batch: 0, extent }.into(), &[index, updates]);
        for node in [twice, numbers, sums] {
            sample.output(node);
        }
        sample.check();
    }
}

#[test]
fn routines_compute_what_the_evaluator_does() {
    let mut sample = Sample::default();
    let x = sample.floats(&[30, 50, 40]);
    let index = sample.indices(&[30, 50], 90);
    let g = &mut sample.graph;
    let mut nodes = Vec::new();
    for kind in [ScatterKind::Add, ScatterKind::Set] {
        for batch in 0..=2 {
            nodes.push(g.emit(Scatter { kind, batch, extent: 90 }.into(), &[index, x]));
        }
    }
    for (axis, reverse) in [(0, false), (1, true), (2, false)] {
        for kind in ReduceKind::ALL {
            let exclusive = kind == ReduceKind::Sum;
            nodes.push(g.emit(Cumulate { kind, axis, reverse, exclusive }.into(), &[x]));
        }
    }
    for (descending, count) in [(false, 40), (true, 5)] {
        let order = g.emit(ArgSort { descending, count }.into(), &[x]);
        nodes.push(g.emit(Gather { batch: 2 }.into(), &[x, order]));
        nodes.push(order);
    }
    nodes.push(g.reverse(x, &[0, 2]));
    for node in nodes {
        sample.output(node);
    }
    let compiled = sample.check();
    let kernels = compiled.schedule.kernels.kernels.node_weights();
    let routines = kernels.filter(|kernel| matches!(kernel.body, KernelBody::Library(_)));
    assert_eq!(routines.count(), 6 + 9 + 2);
}

/// What a routine writes can become the new value of several slots.
#[test]
fn one_routine_updates_two_slots() {
    let mut sample = Sample::default();
    let (a, _) = (sample.floats(&[6]), sample.floats(&[6]));
    let cumulate = Cumulate { kind: ReduceKind::Sum, axis: 0, reverse: false, exclusive: false };
    let node = sample.graph.emit(cumulate.into(), &[a]);
    for slot in 0..2 {
        sample.graph.updates.push(Update { slot, node });
    }
    sample.check();
}
