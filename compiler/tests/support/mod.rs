//! Running graphs natively and in the reference evaluator.

#![allow(dead_code, reason = "each test binary uses a part")]

use cygnet_compiler::array::Array;
use cygnet_compiler::compile::{CompileOptions, compile};
use cygnet_compiler::evaluate::Evaluator;
use cygnet_compiler::graph::{Emit, Graph, NodeId, SlotRole};
use cygnet_compiler::optimize::OptimizeOptions;
use cygnet_compiler::types::{DType, TensorType};
use cygnet_runtime::cpu::Cpu;
use cygnet_runtime::executor::Executor;
use cygnet_runtime::program::Outcome;
use cygnet_runtime::tensor::Tensor;

/// Loads a graph with these slot values and runs a step.
pub fn execute(
    graph: &Graph,
    slots: &[Array],
    options: &CompileOptions,
    threads: usize,
) -> Executor {
    let compiled = compile(graph, options, |_| {}).expect("the graph compiles");
    let program = compiled.loaded.program();
    // SAFETY: the program comes from the compiler, for this machine.
    let mut executor = unsafe { Executor::new(program, threads) };
    for (index, value) in slots.iter().enumerate() {
        executor.write_slot(index, &to_tensor(value)).expect("slots come first, in order");
    }
    assert_eq!(executor.step(), Outcome::Finished);
    executor
}

pub fn to_tensor(array: &Array) -> Tensor {
    let mut tensor = Tensor::zeros(array.ty.dtype, &array.ty.shape);
    for (index, &value) in array.values.iter().enumerate() {
        match array.ty.dtype {
            DType::F32 => tensor.as_mut_slice::<f32>()[index] = value as f32,
            DType::F64 => tensor.as_mut_slice::<f64>()[index] = value,
            DType::I32 => tensor.as_mut_slice::<i32>()[index] = value as i32,
            DType::U8 | DType::Bool => tensor.bytes_mut()[index] = value as u8,
        }
    }
    tensor
}

/// Everything that a step leaves behind: updated slots, then outputs.
pub fn results(graph: &Graph, executor: &Executor) -> Vec<Tensor> {
    let updated = graph.updates.iter().map(|update| update.slot as usize);
    let outputs = graph.slots.len()..graph.slots.len() + graph.outputs.len();
    updated.chain(outputs).map(|index| executor.read_slot(index)).collect()
}

/// What [`results`] should be, exactly.
pub fn expected(graph: &Graph, slots: &[Array]) -> Vec<Array> {
    let results = Evaluator::new(slots).run(graph);
    results.updates.into_iter().map(|(_, value)| value).chain(results.outputs).collect()
}

/// An input of f32 numbers.
pub fn declare(graph: &mut Graph, name: &str, shape: &[usize]) -> NodeId {
    let slot = graph.declare_slot(name, SlotRole::Input, TensorType::new(DType::F32, shape));
    graph.read_slot(slot)
}

/// Element `index` of the first axis.
pub fn element(graph: &mut Graph, stacked: NodeId, index: usize) -> NodeId {
    let shape = graph.type_of(stacked).shape.clone();
    let (mut start, mut stop) = (vec![0; shape.len()], shape.to_vec());
    (start[0], stop[0]) = (index, index + 1);
    let sliced = graph.slice(stacked, &start, &stop, &vec![1; shape.len()]);
    graph.reshape(sliced, &shape[1..])
}

/// Numbers between -1 and 1 for all slots.
pub fn values(graph: &Graph, seed: u64) -> Vec<Array> {
    let number = |slot: usize, index: usize| {
        let hash = (seed << 40 | (slot as u64) << 20 | index as u64) + 1;
        let hash = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        (hash as f64 / f64::from(1 << 23)) - 1.0
    };
    let slots = graph.slots.iter().enumerate();
    slots
        .map(|(slot, info)| {
            let elements = info.ty.elements();
            let values = (0..elements).map(|index| f64::from(number(slot, index) as f32));
            Array::new(info.ty.clone(), values.collect())
        })
        .collect()
}

/// Compiles the graph in several ways and compares a step with the reference evaluator; any
/// number of threads must give the same bits.
pub fn check(graph: &Graph, seed: u64) {
    graph.verify().expect("a valid graph");
    let slots = values(graph, seed);
    let expected = expected(graph, &slots);
    for (algebra, fusion) in [(false, false), (false, true), (true, true)] {
        let optimize = OptimizeOptions { algebra, fusion, ..OptimizeOptions::default() };
        let options = CompileOptions { optimize, cpu: Cpu::detect(), threads: 1 };
        let one = results(graph, &execute(graph, &slots, &options, 1));
        for (tensor, array) in one.iter().zip(&expected) {
            let scale = array.values.iter().fold(1.0f64, |most, value| most.max(value.abs()));
            for (index, &value) in array.values.iter().enumerate() {
                let native = tensor.get_f64(index);
                let close = (native - value).abs() <= 1e-4 * scale;
                assert!(close, "element {index} is {native}, not {value}, of\n{graph}");
            }
        }
        for threads in [2, 4] {
            let many = results(graph, &execute(graph, &slots, &options, threads));
            let same = one.iter().map(Tensor::bytes).eq(many.iter().map(Tensor::bytes));
            assert!(same, "{threads} threads give other bits");
        }
    }
}
