//! Native programs against the reference evaluator: random graphs, and a whole training step.

#[path = "native/convolution.rs"]
mod convolution;

use cygnet_compiler::arbitrary::{self, RandomGraph};
use cygnet_compiler::array::Array;
use cygnet_compiler::compile::{CompileOptions, compile};
use cygnet_compiler::evaluate::{Evaluator, Precision, kink_distance};
use cygnet_compiler::graph::Graph;
use cygnet_compiler::optimize::OptimizeOptions;
use cygnet_compiler::types::DType;
use cygnet_runtime::cpu::Cpu;
use cygnet_runtime::executor::Executor;
use cygnet_runtime::program::Outcome;
use cygnet_runtime::tensor::Tensor;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

/// Loads a graph with these slot values and runs a step.
fn execute(graph: &Graph, slots: &[Array], options: &CompileOptions, threads: usize) -> Executor {
    let (program, _) = compile(graph, options, |_| {}).expect("the graph compiles");
    // SAFETY: the program comes from the compiler, for this machine.
    let mut executor = unsafe { Executor::new(program, threads) };
    for (index, value) in slots.iter().enumerate() {
        executor.write_slot(index, &to_tensor(value)).expect("slots come first, in order");
    }
    assert_eq!(executor.step(), Outcome::Finished);
    executor
}

fn to_tensor(array: &Array) -> Tensor {
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
fn results(graph: &Graph, executor: &Executor) -> Vec<Tensor> {
    let updated = graph.updates.iter().map(|update| update.slot as usize);
    let outputs = graph.slots.len()..graph.slots.len() + graph.outputs.len();
    updated.chain(outputs).map(|index| executor.read_slot(index)).collect()
}

fn expected(graph: &Graph, slots: &[Array]) -> Vec<Array> {
    let mut evaluator = Evaluator::new(slots);
    evaluator.precision = Precision::Double;
    let results = evaluator.run(graph);
    results.updates.into_iter().map(|(_, value)| value).chain(results.outputs).collect()
}

/// Rejects a forward graph near a kink, where rounding decides which side is taken. (The gradient
/// of a maximum compares equal numbers, so a training step must not be asked.)
fn assume_no_kink(random: &RandomGraph) -> Result<(), TestCaseError> {
    let RandomGraph { graph, slots, .. } = random;
    let values = Evaluator::new(slots).values(graph);
    let sources: Vec<_> = graph.iter().map(|(id, _)| id).collect();
    prop_assume!(kink_distance(graph, &values, &sources) > 1e-3);
    Ok(())
}

fn check(random: &RandomGraph, options: &CompileOptions) -> Result<(), TestCaseError> {
    let RandomGraph { graph, slots, .. } = random;
    let executor = execute(graph, slots, options, 1);
    for (tensor, array) in results(graph, &executor).iter().zip(expected(graph, slots)) {
        let scale = array.values.iter().fold(1.0f64, |most, value| most.max(value.abs()));
        for (index, &value) in array.values.iter().enumerate() {
            let native = tensor.get_f64(index);
            prop_assert!(
                (native - value).abs() <= 2e-4 * scale,
                "element {} is {}, not {}",
                index,
                native,
                value
            );
        }
    }
    Ok(())
}

fn config(cases: u32) -> Config {
    Config { cases, rng_seed: RngSeed::Fixed(7), failure_persistence: None, ..Config::default() }
}

fn options(cpu: Cpu, fusion: bool) -> CompileOptions {
    CompileOptions {
        cpu,
        optimize: OptimizeOptions { fusion, ..OptimizeOptions::default() },
        threads: 1,
    }
}

proptest! {
    #![proptest_config(config(150))]

    #[test]
    fn fused_graphs_compute_what_the_evaluator_does(random in arbitrary::graph()) {
        assume_no_kink(&random)?;
        check(&random, &options(Cpu::detect(), true))?;
    }

    #[test]
    fn separate_kernels_compute_what_the_evaluator_does(random in arbitrary::graph()) {
        assume_no_kink(&random)?;
        check(&random, &options(Cpu::Portable, false))?;
    }

    #[test]
    fn training_steps_compute_what_the_evaluator_does(random in arbitrary::graph()) {
        assume_no_kink(&random)?;
        check(&random.training_step(), &options(Cpu::detect(), true))?;
    }
}

proptest! {
    #![proptest_config(config(40))]

    #[test]
    fn any_number_of_threads_gives_the_same_bits(random in arbitrary::training_step()) {
        let options = options(Cpu::detect(), true);
        let one = results(&random.graph, &execute(&random.graph, &random.slots, &options, 1));
        for threads in [2, 4] {
            let many = execute(&random.graph, &random.slots, &options, threads);
            prop_assert!(one.iter().map(Tensor::bytes).eq(results(&random.graph, &many).iter().map(Tensor::bytes)));
        }
    }
}
