//! Both ways to cover graphs with kernels, against the reference evaluation.

use super::*;
use crate::kernel::verify::verify;
use crate::optimize::samples::{assert_computes, layer_norm, mlp_step};

/// Covers a graph both ways, checks the results, and returns the fused cover.
fn covered(graph: &Graph) -> KernelGraph {
    let separate = fuse(graph, &OptimizeOptions { fusion: false });
    verify(&separate).unwrap();
    assert_computes(&separate, graph);
    let fused = fuse(graph, &OptimizeOptions { fusion: true });
    verify(&fused).unwrap();
    assert_computes(&fused, graph);
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
