//! Level two: from the optimized graph to fused kernels.

mod assemble;
mod candidate;
mod cover;
mod downstream;
mod draft;
mod inline;
mod product;
mod propose;
mod survey;
mod upstream;

use crate::graph::Graph;
use crate::kernel::KernelGraph;
use crate::op::Op;
use crate::optimize::OptimizeOptions;
use draft::Draft;
use survey::Survey;

/// Covers a graph with kernels: with [`OptimizeOptions::fusion`] by the cheapest cover found, else
/// with a kernel for each node.
pub fn fuse(graph: &Graph, options: &OptimizeOptions) -> KernelGraph {
    let survey = Survey::new(graph);
    let mut drafts = if options.fusion {
        cover::choose(&survey, &propose::propose(&survey))
    } else {
        separate(&survey)
    };
    drafts.extend(survey.copied.iter().map(|&slot| Draft::of_node(graph, slot)));
    let kernels = assemble::assemble(graph, drafts);
    debug_assert_eq!(crate::kernel::verify::verify(&kernels), Ok(()), "{kernels}");
    kernels
}

/// A kernel for each node but slots and constants.
fn separate(survey: &Survey<'_>) -> Vec<Draft> {
    let graph = survey.graph;
    let inline = |id| matches!(graph.node(id).op, Op::Slot(_) | Op::Constant(_));
    let nodes = survey.needed().filter(|id| !inline(*id) || survey.roots.contains(id));
    nodes.map(|id| Draft::of_node(graph, id)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Emit, Output, SlotRole, Update};
    use crate::kernel::interpret::interpret;
    use crate::kernel::verify::verify;
    use crate::types::{DType, TensorType};

    #[test]
    fn a_layer_as_separate_kernels() {
        let mut graph = Graph::new();
        let ty = |shape: &[usize]| TensorType::new(DType::F32, shape);
        graph.declare_slot("x", SlotRole::Input, ty(&[2, 3]));
        graph.declare_slot("w", SlotRole::Parameter, ty(&[2, 3]));
        let x = graph.read_slot(0);
        let w = graph.read_slot(1);
        let product = graph.contract(x, w, &[], &[(1, 1)]);
        let turned = graph.permute(product, &[1, 0]);
        let total = graph.sum(turned, &[1]);
        let two = graph.constant(DType::F32, &[2, 3], 2.0);
        let doubled = graph.mul(w, two);
        graph.outputs.push(Output { name: "total".to_owned(), node: total });
        graph.outputs.push(Output { name: "x".to_owned(), node: x });
        graph.updates.push(Update { slot: 1, node: doubled });
        let kernels = fuse(&graph, &OptimizeOptions { fusion: false });
        verify(&kernels).unwrap();
        assert_eq!(kernels.kernels.node_count(), 5);
        let slots = [vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], vec![1.0, 0.0, 1.0, 0.0, 1.0, 0.0]];
        let values = interpret(&kernels, &slots, &|_, _, _| unreachable!("nothing is random"));
        assert_eq!(values[&kernels.outputs[0].1], [4.0 + 10.0, 2.0 + 5.0]);
        assert_eq!(values[&kernels.outputs[1].1], slots[0]);
        assert_eq!(values[&kernels.updates[0].1], [2.0, 0.0, 2.0, 0.0, 2.0, 0.0]);
    }
}
