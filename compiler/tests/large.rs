//! What only large tensors need: long sums in parts, results past the caches.

mod support;

use cygnet_compiler::compile::{CompileOptions, Compiled, compile};
use cygnet_compiler::graph::{Emit, Graph, NodeId, Output};
use cygnet_compiler::types::DType;
use support::{check, declare};

fn output(graph: &mut Graph, name: &str, node: NodeId) {
    graph.outputs.push(Output { name: name.to_owned(), node });
}

fn compiled(graph: &Graph) -> Compiled {
    compile(graph, &CompileOptions::default(), |_| {}).expect("it compiles")
}

/// Sums over the first axis, across memory. Where it has parts of at most 1024 rows, these are added in single
/// precision, each into an accumulator of its own; else all rows are added in double precision.
#[test]
fn long_sums_across_memory_are_added_in_parts() {
    // 3136 = 4 * 784; 2053 is prime.
    for (rows, has_parts) in [(1000, false), (3136, true), (2053, false), (5000, true)] {
        let mut graph = Graph::new();
        let x = declare(&mut graph, "x", &[rows, 32]);
        let y = declare(&mut graph, "y", &[rows, 32]);
        let products = graph.mul(x, y);
        let sums = graph.sum(products, &[0]);
        let squares = graph.mul(y, y);
        let others = graph.sum(squares, &[0]);
        output(&mut graph, "sums", sums);
        output(&mut graph, "others", others);
        check(&graph, 11);
        let functions = compiled(&graph).schedule.functions;
        let mut buffers = functions.iter().flat_map(|function| &function.buffers);
        let parts = buffers.any(|buffer| buffer.name.starts_with("part"));
        let mut buffers = functions.iter().flat_map(|function| &function.buffers);
        let is_double = buffers.any(|buffer| buffer.dtype == DType::F64);
        assert_eq!((parts, is_double), (has_parts, rows > 1024), "{rows} rows");
    }
}

/// A result that no kernel reads goes past the caches if it is larger than they are; what is read again does not.
#[test]
fn large_results_that_nobody_reads_are_streamed() {
    for (rows, is_large) in [(40, false), (2100, true)] {
        let mut graph = Graph::new();
        let x = declare(&mut graph, "x", &[rows, 1024]);
        let sums = graph.sum(x, &[1]);
        let sums = graph.broadcast(sums, &[rows, 1024], &[0]);
        let result = graph.add(x, sums);
        output(&mut graph, "result", result);
        check(&graph, 12);
        let functions = compiled(&graph).schedule.functions;
        let buffers = functions.iter().flat_map(|function| &function.buffers);
        let streamed = buffers.filter(|buffer| buffer.streamed).count();
        assert_eq!(streamed, usize::from(is_large), "{rows} rows");
    }
}
