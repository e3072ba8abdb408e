//! Both ways to cover graphs with kernels, against the reference evaluation.

use proptest::prelude::*;

use super::*;
use crate::arbitrary::{self, Options};
use crate::array::Array;
use crate::evaluate::{Evaluator, kink_distance};
use crate::graph::{Output, SlotRole};
use crate::kernel::verify::verify;
use crate::kernel::{Cost, KernelBody};
use crate::op::Emit;
use crate::optimize::optimize;
use crate::optimize::samples::{assert_computes, assert_equal, layer_norm, mlp_step, slot_values};
use crate::types::{DType, TensorType};

/// Optimizes and covers a graph in all ways, checks the results, and returns the cover made with
/// both levels.
fn covered(graph: &Graph) -> KernelGraph {
    let slots = slot_values(graph);
    // Constants are rounded to f32 when they are folded.
    check(graph, &slots, 1e-5)
}

/// Checks all ways to compile a graph against its evaluation.
fn check(graph: &Graph, slots: &[Array], tolerance: f64) -> KernelGraph {
    let mut cover = None;
    for (algebra, fusion) in [(false, false), (false, true), (true, false), (true, true)] {
        let options = OptimizeOptions { algebra, fusion, ..OptimizeOptions::default() };
        let (optimized, _) = optimize(graph, &options);
        optimized.verify().unwrap_or_else(|error| panic!("{error}\n{optimized}"));
        assert_equal(&optimized, graph, slots, tolerance);
        let kernels = fuse(&optimized, &options, 1);
        verify(&kernels).unwrap_or_else(|error| panic!("{error}\n{kernels}\n{optimized}"));
        assert_computes(&kernels, &optimized, slots);
        cover = Some(kernels);
    }
    cover.expect("there are ways")
}

/// Graphs in f64, so that folded constants are exact.
fn doubles() -> Options {
    Options { dtype: DType::F64, ..Options::default() }
}

proptest! {
    #![proptest_config(arbitrary::config(48))]

    #[test]
    fn random_graphs_keep_their_meaning(random in arbitrary::graph_with(doubles())) {
        check(&random.graph, &random.slots, 1e-7);
    }

    #[test]
    fn random_training_steps_keep_their_meaning(random in arbitrary::graph_with(doubles())) {
        // Rounding decides on which side of a kink a value falls, and what the gradient is.
        let values = Evaluator::new(&random.slots).values(&random.graph);
        prop_assume!(kink_distance(&random.graph, &values, &random.parameters()) > 1e-9);
        let slots = random.slots.clone();
        check(&random.training_step().graph, &slots, 1e-7);
    }
}

#[test]
fn a_training_step() {
    let fused = covered(&mlp_step(4, &[7, 6, 5, 3]));
    let kernels = fused.kernels.node_weights();
    let products = kernels.filter(|kernel| matches!(kernel.body, KernelBody::Product(_))).count();
    assert_eq!(fused.kernels.node_count(), 14, "{fused}");
    // Three products forward, two back, three for the weights' gradients and their updates.
    assert_eq!(products, 8, "{fused}");
}

#[test]
fn a_layer_norm() {
    let fused = covered(&layer_norm(3, 5));
    assert_eq!(fused.kernels.node_count(), 1, "{fused}");
}

/// The gradient of slices, parts padded with zeros and added up, and a value of the parts' shape:
/// one kernel computes them all and writes each part where it belongs.
#[test]
fn parts_of_a_whole() {
    let mut graph = Graph::new();
    let mut input = |name: &str| {
        let slot =
            graph.declare_slot(name, SlotRole::Input, TensorType::new(DType::F64, &[2, 6, 5]));
        graph.read_slot(slot)
    };
    let [x, y] = ["x", "y"].map(&mut input);
    let parts = [graph.mul(x, y), graph.sub(x, y), graph.apply("tanh", &[x])];
    let padded: Vec<NodeId> = (parts.iter().enumerate())
        .map(|(number, &part)| {
            let part = graph.reshape(part, &[1, 2, 6, 5]);
            graph.pad(part, &[number, 0, 0, 0], &[2 - number, 0, 0, 0], &[0; 4], 0.0)
        })
        .collect();
    let whole = padded.into_iter().reduce(|sum, part| graph.add(sum, part)).unwrap();
    let whole = graph.permute(whole, &[1, 2, 0, 3]);
    let whole = graph.reshape(whole, &[2, 6, 15]);
    let beside = graph.add(x, y);
    for (name, node) in [("whole", whole), ("beside", beside)] {
        graph.outputs.push(Output { name: name.to_owned(), node });
    }
    let fused = covered(&graph);
    assert_eq!(fused.kernels.node_count(), 1, "{fused}");
    let stores = fused.kernels.node_weights().flat_map(|kernel| kernel.stored());
    assert_eq!(stores.count(), 4, "{fused}");
}

/// A tensor that two kernels would read across is transposed once, by a routine, and read along memory.
#[test]
fn what_is_read_across_is_transposed_once() {
    let mut graph = Graph::new();
    let mut input = |name: &str, shape: &[usize]| {
        let ty = TensorType::new(DType::F32, shape);
        let slot = graph.declare_slot(name, SlotRole::Input, ty);
        graph.read_slot(slot)
    };
    let (x, y) = (input("x", &[8, 64, 200]), input("y", &[8, 200, 64]));
    let moved = graph.permute(x, &[0, 2, 1]);
    let sum = graph.add(moved, y);
    let sums = graph.sum(sum, &[0, 1]);
    let sums = graph.broadcast(sums, &[8, 200, 64], &[2]);
    let product = graph.mul(moved, sums);
    graph.outputs.push(Output { name: "product".to_owned(), node: product });
    // Permutations come from the order that tensors are computed in; algebra makes views of those before.
    let fused = fuse(&graph, &OptimizeOptions::default(), 1);
    verify(&fused).unwrap_or_else(|error| panic!("{error}\n{fused}"));
    assert_computes(&fused, &graph, &slot_values(&graph));
    let is_transposition = |kernel: &&crate::kernel::Kernel| kernel.name == "permute";
    assert_eq!(fused.kernels.node_weights().filter(is_transposition).count(), 1, "{fused}");
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
            let default = OptimizeOptions::default();
            let survey = Survey::new(&optimized, &default);
            let proposal = propose::propose(&survey, 1);
            let proposed = run_time() - start;
            let drafts = cover::choose(&survey, &proposal, &mut 0);
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

/// A line for each way to compile a graph: nodes, kernels, megaflops, kilobytes moved, predicted
/// microseconds.
fn figures(graph: &Graph) -> String {
    let ways = [(false, false), (false, true), (true, false), (true, true)];
    let lines = ways.map(|(algebra, fusion)| {
        let options = OptimizeOptions { algebra, fusion, ..OptimizeOptions::default() };
        let (optimized, _) = optimize(graph, &options);
        let kernels = fuse(&optimized, &options, 2);
        let sum = |cost: fn(&Cost) -> f64| -> f64 {
            kernels.kernels.node_weights().map(|kernel| cost(&kernel.cost)).sum()
        };
        let name = match (algebra, fusion) {
            (false, false) => "neither",
            (false, true) => "fusion",
            (true, false) => "algebra",
            (true, true) => "both",
        };
        format!(
            "{name:8} {:4} nodes {:4} kernels {:9.3} MFLOP {:9.1} kB {:8.1} us",
            optimized.nodes.len(),
            kernels.kernels.node_count(),
            sum(|cost| cost.flops) / 1e6,
            sum(|cost| cost.bytes) / 1e3,
            sum(|cost| cost.nanoseconds) / 1e3,
        )
    });
    lines.join("\n")
}

#[test]
fn each_level_shows_in_the_figures() {
    insta::assert_snapshot!(figures(&mlp_step(128, &[784, 512, 256, 10])), @r"
    neither   215 nodes  145 kernels   316.160 MFLOP   89186.7 kB   2329.6 us
    fusion    215 nodes   14 kernels   316.160 MFLOP   19649.4 kB   1866.7 us
    algebra   210 nodes  148 kernels   316.160 MFLOP   89187.7 kB   2270.9 us
    both      210 nodes   14 kernels   316.160 MFLOP   19256.2 kB   1757.8 us
    ");
    insta::assert_snapshot!(figures(&mlp_step(64, &[64, 32, 10])), @r"
    neither   154 nodes  104 kernels     0.700 MFLOP     617.0 kB     36.6 us
    fusion    154 nodes   10 kernels     0.702 MFLOP     191.4 kB     11.1 us
    algebra   152 nodes  107 kernels     0.700 MFLOP     617.5 kB     36.7 us
    both      152 nodes   10 kernels     0.700 MFLOP     175.1 kB     10.4 us
    ");
    insta::assert_snapshot!(figures(&layer_norm(4096, 1024)), @r"
    neither    23 nodes   17 kernels    37.765 MFLOP  419635.2 kB  13288.1 us
    fusion     23 nodes    1 kernels    37.765 MFLOP   50339.8 kB   2517.0 us
    algebra    25 nodes   18 kernels    37.769 MFLOP  419668.0 kB  13288.1 us
    both       25 nodes    1 kernels    37.769 MFLOP   50339.8 kB   2097.2 us
    ");
}

#[test]
fn effort_grows_no_faster_than_the_network() {
    let options = OptimizeOptions::default();
    let effort = |layers: usize| {
        let (optimized, _) = optimize(&mlp_step(16, &vec![32; layers + 1]), &options);
        fuse_with_effort(&optimized, &options, 2).1
    };
    let (small, large) = (effort(12), effort(96));
    let grown = [
        (small.candidates, large.candidates),
        (small.priced, large.priced),
        (small.trials, large.trials),
    ];
    let within = grown.iter().all(|(small, large)| *large <= 9 * small);
    assert!(within, "{small:?} for 12 layers, {large:?} for 96");
    // Equal layers are priced once.
    assert!(large.priced < 2 * small.priced, "{small:?} for 12 layers, {large:?} for 96");
}
