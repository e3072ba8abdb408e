//! Both ways to cover graphs with kernels, against the reference evaluation.

use super::*;
use crate::kernel::verify::verify;
use crate::optimize::optimize;
use crate::optimize::samples::{assert_computes, assert_equal, layer_norm, mlp_step};

/// Covers a graph both ways, checks the results, and returns the fused cover.
fn covered(graph: &Graph) -> KernelGraph {
    let separate = fuse(graph, &OptimizeOptions { fusion: false, ..OptimizeOptions::default() });
    verify(&separate).unwrap();
    assert_computes(&separate, graph);
    let fused = fuse(graph, &OptimizeOptions::default());
    verify(&fused).unwrap();
    assert_computes(&fused, graph);
    let (optimized, _) = optimize(graph, &OptimizeOptions::default());
    assert_equal(&optimized, graph);
    let fused = fuse(&optimized, &OptimizeOptions::default());
    verify(&fused).unwrap();
    assert_computes(&fused, &optimized);
    fused
}

#[test]
fn a_training_step() {
    let fused = covered(&mlp_step(4, &[7, 6, 5, 3]));
    let count = |name: &str| fused.kernels.node_weights().filter(|k| k.name.contains(name)).count();
    assert_eq!(fused.kernels.node_count(), 14, "{fused}");
    // Three products forward, two back, three for the weights' gradients and their updates.
    assert_eq!(count("matmul"), 8, "{fused}");
}

#[test]
fn a_layer_norm() {
    let fused = covered(&layer_norm(3, 5));
    assert_eq!(fused.kernels.node_count(), 1, "{fused}");
}

/// Nanoseconds that this thread has run.
fn run_time() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e6
}

#[test]
#[ignore = "a measurement"]
fn how_long_it_takes() {
    let sizes: Vec<usize> = std::iter::repeat_n(64, 30).collect();
    for sizes in [&[784, 512, 256, 10][..], &sizes] {
        let graph = mlp_step(128, sizes);
        for _ in 0..6 {
            let start = run_time();
            let (optimized, report) = optimize(&graph, &OptimizeOptions::default());
            let optimized_at = run_time() - start;
            let start = run_time();
            let survey = Survey::new(&optimized);
            let proposal = propose::propose(&survey);
            let proposed = run_time() - start;
            let drafts = cover::choose(&survey, &proposal);
            let chosen = run_time() - start;
            let kernels = assemble::assemble(&optimized, drafts);
            let all = run_time() - start;
            println!(
                "{} nodes: algebra {optimized_at:.2} ms ({} terms), {} candidates in {proposed:.2}, chosen {chosen:.2}, {} kernels {all:.2}",
                graph.nodes.len(),
                report.algebra.terms,
                proposal.candidates.len(),
                kernels.kernels.node_count()
            );
        }
    }
}
