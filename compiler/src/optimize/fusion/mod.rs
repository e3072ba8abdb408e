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
#[cfg(test)]
mod tests;
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
    let is_slot = |id| matches!(graph.node(id).op, Op::Slot(_));
    let inline = |id| matches!(graph.node(id).op, Op::Constant(_)) && !survey.is_read(id);
    let nodes = survey.needed().filter(|id| !is_slot(*id));
    let nodes = nodes.filter(|id| !inline(*id) || survey.roots.contains(id));
    nodes.map(|id| Draft::of_node(graph, id)).collect()
}
