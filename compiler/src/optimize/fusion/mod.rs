//! Level two: from the optimized graph to fused kernels.

mod assemble;
mod atlas;
mod candidate;
mod cover;
mod downstream;
mod draft;
mod inline;
mod looping;
mod padding;
mod permutation;
mod product;
mod propose;
mod replay;
mod routines;
mod survey;
#[cfg(test)]
mod tests;
mod upstream;
mod ways;

use crate::graph::{Graph, NodeId};
use crate::kernel::KernelGraph;
use crate::op::Op;
use crate::optimize::OptimizeOptions;
use atlas::Atlas;
use draft::Draft;
use survey::Survey;

/// How much was done to find a cover; a measure of time that does not depend on the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effort {
    /// Kernels that were proposed.
    pub candidates: usize,
    /// Plans that were priced: equal ones are priced once.
    pub priced: usize,
    /// Changes of the cover that were tried.
    pub trials: usize,
}

/// Covers a graph with kernels: with [`OptimizeOptions::fusion`] by the cheapest cover found, else
/// with a kernel for each node. Looks for kernels on up to `threads` threads; which ones are found
/// does not depend on how many.
pub fn fuse(graph: &Graph, options: &OptimizeOptions, threads: usize) -> KernelGraph {
    fuse_with_effort(graph, options, threads).0
}

/// As [`fuse`], and how much was done for it. The bodies of loops do not count.
pub fn fuse_with_effort(
    graph: &Graph,
    options: &OptimizeOptions,
    threads: usize,
) -> (KernelGraph, Effort) {
    let survey = Survey::new(graph, options);
    let mut effort = Effort::default();
    let mut drafts = if options.fusion {
        let proposal = propose::propose(&survey, threads);
        effort.candidates = proposal.candidates.len();
        effort.priced = proposal.priced;
        cover::choose(&survey, &proposal, &mut effort.trials)
    } else {
        separate(&survey)
    };
    let mut atlas = Atlas::new(graph);
    drafts.extend(survey.copied.iter().map(|&slot| Draft::of_node(&mut atlas, slot)));
    let mut kernels = assemble::assemble(graph, drafts);
    routines::call_routines(&mut kernels);
    debug_assert_eq!(crate::kernel::verify::verify(&kernels), Ok(()), "{kernels}");
    (kernels, effort)
}

/// A kernel for each node but slots and constants.
fn separate(survey: &Survey<'_>) -> Vec<Draft> {
    let graph = survey.graph;
    let nodes = survey.needed().filter(|&id| match graph.node(id).op {
        Op::Slot(_) | Op::Port(_) | Op::Scan(_) => false,
        Op::Constant(_) => survey.roots.contains(&id) || survey.is_read(id),
        _ => true,
    });
    let mut atlas = Atlas::new(graph);
    let drafts = nodes.map(|id| Draft::of_node(&mut atlas, id));
    drafts.chain(loops(survey)).collect()
}

/// The kernels of the loops that are needed, with all results that are.
fn loops<'a>(survey: &'a Survey<'_>) -> impl Iterator<Item = Draft> + 'a {
    let is_loop = |id: &NodeId| matches!(survey.graph.node(*id).op, Op::Scan(_));
    let scans = survey.needed().filter(is_loop);
    scans.map(|scan| looping::draft(survey.graph, scan, survey.users(scan), survey.options))
}
