//! From an e-graph back to a graph: the cheapest term of each class, with its history.

use std::sync::Arc;

use egg::Id;
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use super::facts::{Facts, Terms, fixed_by_operands};
use super::language::{Kind, Term};
use super::rules::RULES;
use crate::graph::{Emit, Graph, NodeId, Origin};
use crate::optimize::cost;
use crate::optimize::extract::{Choice, Choices, extract};
use crate::types::TensorType;

/// Most source places told for a node.
const MOST_SPANS: usize = 6;

/// The graph that computes what `graph` does, at the least predicted cost that was found;
/// `classes` are those of its nodes.
pub fn export(terms: &Terms, graph: &Graph, classes: &[Id]) -> Graph {
    let ids: Vec<Id> = terms.classes().map(|class| class.id).collect();
    let numbers: FxHashMap<Id, usize> = ids.iter().enumerate().map(|(n, id)| (*id, n)).collect();
    let number = |id: Id| numbers[&terms.find(id)];
    let kept = kept_anyway(terms);
    let mut choices = Choices::default();
    for id in &ids {
        let list = terms[*id].nodes.iter().map(|term| Choice {
            price: price(terms, term, &terms[*id].data.ty, &kept),
            children: term.children.iter().map(|&child| number(child)).collect(),
        });
        choices.classes.push(list.collect());
    }
    choices.roots = graph.roots().map(|root| number(classes[root.index()])).collect();
    let chosen = extract(&choices, &[]).chosen;

    let mut result = Graph::new();
    result.slots.clone_from(&graph.slots);
    let mut emitted: Vec<Option<NodeId>> = vec![None; ids.len()];
    let mut again: FxHashMap<usize, NodeId> = FxHashMap::default();
    for &root in &choices.roots {
        let mut stack = vec![(root, 0)];
        while let Some((class, next)) = stack.pop() {
            if emitted[class].is_some() {
                continue;
            }
            let term = &terms[ids[class]].nodes[chosen[class]];
            if let Some(&child) = term.children.get(next) {
                stack.push((class, next + 1));
                stack.push((number(child), 0));
                continue;
            }
            let mut operands: SmallVec<[NodeId; 3]> = SmallVec::new();
            for &child in &term.children {
                let child = number(child);
                let other = from_kept(terms, ids[child], chosen[child], &kept);
                let at_hand = |id: &Id| emitted[number(*id)];
                let same = other.and_then(|other| {
                    let operands: Option<SmallVec<[NodeId; 3]>> =
                        other.children.iter().map(at_hand).collect();
                    Some((other, operands?))
                });
                operands.push(match same {
                    Some((other, operands)) => *again.entry(child).or_insert_with(|| {
                        result.set_origin(origin(terms, graph, other, &terms[ids[child]].data));
                        result
                            .emit(terms.analysis.operations.get(other.operation).clone(), &operands)
                    }),
                    None => emitted[child].expect("children come first"),
                });
            }
            result.set_origin(origin(terms, graph, term, &terms[ids[class]].data));
            let op = terms.analysis.operations.get(term.operation).clone();
            emitted[class] = Some(result.emit(op, &operands));
        }
    }
    let node = |old: NodeId| emitted[number(classes[old.index()])].expect("roots are emitted");
    result.take_results(graph, node);
    result.set_origin(Arc::default());
    result
}

/// Nanoseconds for each term, whatever it does: of two equal prices, fewer nodes win.
const PER_TERM: f64 = 0.5;

/// Nanoseconds per element for looking at what is not kept anyway: it has to be kept for that, or
/// computed again.
const KEEPING: f64 = 0.004;

/// Share of [`PER_TERM`] for each element that is computed once for all steps: of two ways, the
/// one with smaller tensors wins.
const PREPARING: f64 = 1e-9;

fn price(terms: &Terms, term: &Term, ty: &TensorType, kept: &FxHashSet<Id>) -> f64 {
    let op = terms.analysis.operations.get(term.operation);
    // What is computed once for all steps.
    if fixed_by_operands(op, term.children.iter().map(|&child| &terms[child].data)) {
        return PER_TERM * ty.elements() as f64 * PREPARING;
    }
    let operands: SmallVec<[&TensorType; 3]> =
        term.children.iter().map(|&child| &terms[child].data.ty).collect();
    let passing = |child: &&Id| {
        let class = terms.find(**child);
        terms[class].data.constant.is_none() && !kept.contains(&class)
    };
    let keeping = match term.kind {
        Kind::Function(_) => term.children.iter().filter(passing).count() as f64,
        _ => 0.0,
    };
    PER_TERM + cost::of_operation(op, &operands, ty) + keeping * ty.elements() as f64 * KEEPING
}

/// Classes that are in memory in any case: slots, and operands of contractions and convolutions.
fn kept_anyway(terms: &Terms) -> FxHashSet<Id> {
    let mut kept = FxHashSet::default();
    for id in terms.classes_for_op(&Kind::Slot).into_iter().flatten() {
        kept.insert(terms.find(id));
    }
    for product in [Kind::Contract, Kind::Conv] {
        for id in terms.classes_for_op(&product).into_iter().flatten() {
            for term in terms[id].nodes.iter().filter(|term| term.kind == product) {
                kept.extend(term.children.iter().map(|&child| terms.find(child)));
            }
        }
    }
    kept
}

/// A cheap way to compute a class from tensors that are kept anyway, where the chosen way looks at
/// something else. Where those tensors are at hand, it spares keeping the other one: a rectified
/// value tells the sign of its argument.
fn from_kept<'t>(
    terms: &'t Terms,
    class: Id,
    chosen: usize,
    kept: &FxHashSet<Id>,
) -> Option<&'t Term> {
    let nodes = &terms[class].nodes;
    let looks_elsewhere = |term: &Term| {
        term.children.iter().any(|&child| {
            let child = terms.find(child);
            terms[child].data.constant.is_none() && !kept.contains(&child)
        })
    };
    let is_cheap = |term: &Term| match term.kind {
        Kind::Function(function) => function.entry().cost <= cost::CHEAP,
        _ => false,
    };
    if terms[class].data.constant.is_some() || !looks_elsewhere(&nodes[chosen]) {
        return None;
    }
    nodes.iter().find(|term| is_cheap(term) && !looks_elsewhere(term))
}

/// Where a term comes from: the places of all nodes that its class stands for, or of the node
/// that rules made it from, and the sentences of these rules.
fn origin(terms: &Terms, graph: &Graph, term: &Term, facts: &Facts) -> Arc<Origin> {
    let (node, rules) = terms.analysis.provenance.history(term.source);
    let nodes = if facts.nodes.is_empty() { &[node][..] } else { &facts.nodes[..] };
    let first = &graph.nodes[nodes[0] as usize].origin;
    if nodes.len() == 1 && rules.is_empty() {
        return Arc::clone(first);
    }
    let mut origin = Origin::clone(first);
    for &node in &nodes[1..] {
        let other = &graph.nodes[node as usize].origin;
        origin.gradient &= other.gradient;
        origin.name = origin.name.or_else(|| other.name.clone());
        for &span in &other.spans {
            if origin.spans.len() < MOST_SPANS && !origin.spans.contains(&span) {
                origin.spans.push(span);
            }
        }
    }
    for rule in rules {
        let sentence = RULES.rules[usize::from(rule)].sentence;
        if !origin.rules.contains(&sentence) {
            origin.rules.push(sentence);
        }
    }
    Arc::new(origin)
}
