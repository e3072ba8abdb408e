//! Choosing kernels: the candidates as an e-graph, and the cheapest cover extracted from it.
//!
//! A class is a tensor that could be in memory, or a kernel with all that it computes. A tensor's
//! e-nodes are the exports of the kernels that can write it; an export costs the store, a kernel
//! costs its work, once for all its exports. What is stored and what is computed again is thus
//! weighed in one extraction.

use std::collections::{BTreeMap, BTreeSet};

use egg::{EGraph, Id, Language};
use smallvec::SmallVec;

use super::atlas::Atlas;
use super::draft::Draft;
use super::propose::Proposal;
use super::survey::Survey;
use crate::graph::NodeId;
use crate::op::{Emit, Op};
use crate::optimize::cost;
use crate::optimize::extract::{Choice, Choices, Extraction, Move, extract};

/// An e-node of the graph of kernels.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Cover {
    /// A tensor in memory: free if it is a slot, else only a name for its class.
    Tensor(NodeId),
    /// A candidate (by number) that reads these tensors.
    Kernel(usize, SmallVec<[Id; 4]>),
    /// A node's tensor as written by a kernel.
    Export(NodeId, [Id; 1]),
}

impl Language for Cover {
    type Discriminant = std::mem::Discriminant<Cover>;

    fn discriminant(&self) -> Self::Discriminant {
        std::mem::discriminant(self)
    }

    fn matches(&self, other: &Self) -> bool {
        match (self, other) {
            (Cover::Tensor(a), Cover::Tensor(b)) => a == b,
            (Cover::Kernel(a, x), Cover::Kernel(b, y)) => a == b && x.len() == y.len(),
            (Cover::Export(a, _), Cover::Export(b, _)) => a == b,
            _ => false,
        }
    }

    fn children(&self) -> &[Id] {
        match self {
            Cover::Tensor(_) => &[],
            Cover::Kernel(_, inputs) => inputs,
            Cover::Export(_, kernel) => kernel,
        }
    }

    fn children_mut(&mut self) -> &mut [Id] {
        match self {
            Cover::Tensor(_) => &mut [],
            Cover::Kernel(_, inputs) => inputs,
            Cover::Export(_, kernel) => kernel,
        }
    }
}

/// The price of what is there already; prices are positive.
const AT_HAND: f64 = 1e-3;

/// Chooses candidates that together compute all roots, and builds their kernels. Adds to `trials`
/// how many changes of the cover were tried.
pub(super) fn choose(survey: &Survey<'_>, proposal: &Proposal, trials: &mut usize) -> Vec<Draft> {
    let mut egraph: EGraph<Cover, ()> = EGraph::default();
    let tensors: BTreeMap<NodeId, Id> =
        (proposal.demanded.iter()).map(|&node| (node, egraph.add(Cover::Tensor(node)))).collect();
    for (number, candidate) in proposal.candidates.iter().enumerate() {
        let inputs = candidate.inputs.iter().map(|node| tensors[node]).collect();
        let kernel = egraph.add(Cover::Kernel(number, inputs));
        for node in candidate.exports.keys() {
            if let Some(&tensor) = tensors.get(node) {
                let export = egraph.add(Cover::Export(*node, [kernel]));
                egraph.union(tensor, export);
            }
        }
    }
    egraph.rebuild();

    let ids: Vec<Id> = egraph.classes().map(|class| class.id).collect();
    let number_of: BTreeMap<Id, usize> = ids.iter().enumerate().map(|(n, id)| (*id, n)).collect();
    let class_of = |id: Id| number_of[&egraph.find(id)];
    let mut nodes: Vec<Vec<&Cover>> = Vec::with_capacity(ids.len());
    let mut choices = Choices::default();
    for id in &ids {
        let (mut usable, mut list) = (Vec::new(), Vec::new());
        for node in &egraph[*id].nodes {
            if let Some(price) = price(survey, proposal, node) {
                let children = node.children().iter().map(|&child| class_of(child)).collect();
                usable.push(node);
                list.push(Choice { price, children });
            }
        }
        nodes.push(usable);
        choices.classes.push(list);
    }
    choices.roots = survey.roots.iter().map(|node| class_of(tensors[node])).collect();
    let Extraction { chosen, trials: tried, .. } = extract(&choices, &moves(proposal, &nodes));
    *trials += tried;

    // The candidate that writes a demanded node.
    let maker = |node: NodeId| {
        let class = class_of(tensors[&node]);
        let Cover::Export(_, [kernel]) = nodes[class][chosen[class]] else { return None };
        let kernel = class_of(*kernel);
        match nodes[kernel][chosen[kernel]] {
            Cover::Kernel(number, _) => Some(*number),
            _ => None,
        }
    };
    let order = order_of_kernels(&choices, &chosen, &nodes);
    build(survey, proposal, &order, &maker)
}

/// The price of an e-node; none for the mere name of a tensor.
fn price(survey: &Survey<'_>, proposal: &Proposal, node: &Cover) -> Option<f64> {
    match node {
        Cover::Tensor(node) => {
            matches!(survey.graph.node(*node).op, Op::Slot(_)).then_some(AT_HAND)
        }
        Cover::Kernel(number, _) => Some(proposal.candidates[*number].price),
        Cover::Export(node, _) => Some(cost::of_store(survey.graph.type_of(*node))),
    }
}

/// For each candidate: writing all that it exports.
fn moves(proposal: &Proposal, nodes: &[Vec<&Cover>]) -> Vec<Move> {
    let mut kernels: BTreeMap<Id, usize> = BTreeMap::new();
    let mut moves = vec![Move::new(); proposal.candidates.len()];
    for (class, list) in nodes.iter().enumerate() {
        for (choice, node) in list.iter().enumerate() {
            if let Cover::Export(_, [kernel]) = node {
                let count = kernels.len();
                let number = *kernels.entry(*kernel).or_insert(count);
                let change: &mut Move = &mut moves[number];
                // A class may hold exports of several nodes of one kernel: equal tensors.
                if change.last().is_none_or(|&(last, _)| last != class) {
                    change.push((class, choice));
                }
            }
        }
    }
    moves.retain(|change| !change.is_empty());
    moves
}

/// The chosen candidates, those that write a tensor before those that read it.
fn order_of_kernels(choices: &Choices, chosen: &[usize], nodes: &[Vec<&Cover>]) -> Vec<usize> {
    let mut order = Vec::new();
    let mut seen = vec![false; nodes.len()];
    let mut stack: Vec<(usize, bool)> = choices.roots.iter().map(|&root| (root, false)).collect();
    while let Some((class, done)) = stack.pop() {
        if done {
            if let Cover::Kernel(number, _) = nodes[class][chosen[class]] {
                order.push(*number);
            }
        } else if !std::mem::replace(&mut seen[class], true) {
            stack.push((class, true));
            let children = &choices.classes[class][chosen[class]].children;
            stack.extend(children.iter().map(|&child| (child, false)));
        }
    }
    order
}

/// Builds the chosen kernels with the exports that are really needed: an export that was planned
/// may be needed by a part of a kernel that is needed for none of its own.
fn build(
    survey: &Survey<'_>,
    proposal: &Proposal,
    order: &[usize],
    maker: &dyn Fn(NodeId) -> Option<usize>,
) -> Vec<Draft> {
    let mut wanted: BTreeSet<NodeId> = survey.roots.clone();
    let mut atlas = Atlas::new(survey.graph);
    let mut drafts = Vec::new();
    for &number in order.iter().rev() {
        let candidate = &proposal.candidates[number];
        let written = candidate.exports.keys().copied();
        let outputs: Vec<NodeId> =
            written.filter(|node| wanted.contains(node) && maker(*node) == Some(number)).collect();
        if !outputs.is_empty() {
            let draft = candidate.draft(&mut atlas, outputs);
            wanted.extend(&draft.inputs);
            drafts.push(draft);
        }
    }
    drafts.reverse();
    drafts
}
