//! Both levels together, on whole random graphs: the same input gives the same program, and what
//! the kinds of arithmetic may change.

use proptest::prelude::*;

use super::samples::assert_equal;
use super::{MathMode, OptimizeOptions, algebra, fusion, optimize};
use crate::arbitrary::{self, Options};
use crate::graph::Graph;
use crate::schedule::schedule;
use crate::types::DType;

/// Every stage of a graph as text, down to the loops that code is generated from.
fn stages(graph: &Graph) -> [String; 4] {
    let options = OptimizeOptions::default();
    let (optimized, report) = optimize(graph, &options);
    let kernels = fusion::fuse(&optimized, &options, 2);
    let kernels_text = kernels.to_string();
    let schedule = schedule(kernels);
    let functions = schedule.functions.iter().map(ToString::to_string).collect::<Vec<_>>();
    [optimized.to_string(), format!("{report:?}"), kernels_text, functions.join("\n")]
}

/// The graph after level one.
fn simplified(graph: &Graph, math: MathMode) -> Graph {
    algebra::simplify(graph, &OptimizeOptions { math, ..OptimizeOptions::default() }).0
}

proptest! {
    #![proptest_config(arbitrary::config(24))]

    #[test]
    fn the_same_graph_gives_the_same_program(random in arbitrary::training_step()) {
        let first = stages(&random.graph);
        // On a thread of its own, with other addresses and hash seeds.
        let graph = random.graph.clone();
        let second = std::thread::spawn(move || stages(&graph)).join().expect("no panic");
        prop_assert_eq!(first, second);
    }
}

proptest! {
    #![proptest_config(arbitrary::config(64))]

    #[test]
    fn strict_arithmetic_changes_no_bit(random in doubles()) {
        let (graph, slots) = (&random.graph, &random.slots);
        let strict = simplified(graph, MathMode::Strict);
        assert_equal(&strict, graph, slots, 0.0);
    }

    #[test]
    fn default_arithmetic_differs_from_strict_by_rounding(random in doubles()) {
        let (graph, slots) = (&random.graph, &random.slots);
        let strict = simplified(graph, MathMode::Strict);
        let default = simplified(graph, MathMode::Default);
        assert_equal(&default, &strict, slots, 1e-7);
    }
}

/// Random graphs in f64, so that folded constants are exact.
fn doubles() -> impl Strategy<Value = arbitrary::RandomGraph> {
    arbitrary::graph_with(Options { dtype: DType::F64, ..Options::default() })
}
