//! Native programs against the reference evaluator: random graphs, and a whole training step.

#[path = "native/convolution.rs"]
mod convolution;
mod support;

use cygnet_compiler::arbitrary::{self, RandomGraph};
use cygnet_compiler::compile::CompileOptions;
use cygnet_compiler::evaluate::{Evaluator, kink_distance};
use cygnet_compiler::optimize::OptimizeOptions;
use cygnet_runtime::cpu::Cpu;
use cygnet_runtime::tensor::Tensor;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use support::{execute, expected, results};

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
