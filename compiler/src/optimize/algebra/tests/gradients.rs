//! Gradients through all terms of a class: they must agree as the values do.

use std::collections::{BTreeMap, BTreeSet};

use egg::Id;

use super::{Draw, agree, draw_slots};
use crate::differentiate::gradient;
use crate::evaluate::{Evaluator, kink_distance};
use crate::graph::{Emit, Graph, NodeId, SlotRole};
use crate::op::Op;
use crate::optimize::algebra::facts::Terms;
use crate::optimize::algebra::rules::RULES;
use crate::types::TensorType;

/// Values closer than this to a kink have no gradient that could be compared.
const KINK: f64 = 1e-3;

/// A graph with all terms of an e-graph, and for each class its first term and another one.
fn all_terms(graph: &Graph, terms: &Terms) -> (Graph, Vec<(NodeId, NodeId)>) {
    let mut all = Graph::new();
    for slot in &graph.slots {
        all.declare_slot(&slot.name, slot.role, slot.ty.clone());
    }
    let mut first: BTreeMap<Id, NodeId> = BTreeMap::new();
    let mut done: BTreeSet<(Id, usize)> = BTreeSet::new();
    let mut pairs = Vec::new();
    loop {
        let before = done.len();
        for class in terms.classes() {
            for (number, term) in class.nodes.iter().enumerate() {
                if done.contains(&(class.id, number)) {
                    continue;
                }
                let operands: Option<Vec<NodeId>> =
                    term.children.iter().map(|&c| first.get(&terms.find(c)).copied()).collect();
                let Some(operands) = operands else { continue };
                done.insert((class.id, number));
                let op = terms.analysis.operations.get(term.operation).clone();
                let node = all.emit(op, &operands);
                match first.get(&class.id) {
                    Some(&leader) => pairs.push((leader, node)),
                    None => {
                        first.insert(class.id, node);
                    }
                }
            }
        }
        if done.len() == before {
            return (all, pairs);
        }
    }
}

/// Checks that the terms of each class have the same gradients with respect to all inputs, at a
/// point where every function is defined and smooth.
pub fn check(rule: usize, graph: &Graph, terms: &Terms, draw: &mut Draw) {
    let (all, pairs) = all_terms(graph, terms);
    for (leader, other) in pairs {
        if !all.type_of(leader).dtype.is_float() {
            continue;
        }
        let mut all = all.clone();
        let inputs: Vec<NodeId> = all
            .iter()
            .filter(|(_, node)| matches!(node.op, Op::Slot(_)) && node.ty.dtype.is_float())
            .map(|(id, _)| id)
            .collect();
        // The sum of the elements in some proportion, so that no two of them can be exchanged.
        let ty = all.type_of(leader).clone();
        let slot =
            all.declare_slot("proportion", SlotRole::Input, TensorType::new(ty.dtype, &ty.shape));
        let proportion = all.read_slot(slot);
        let axes: Vec<usize> = (0..ty.rank()).collect();
        let mut gradients = |node: NodeId| {
            let product = all.mul(node, proportion);
            let loss = all.sum(product, &axes);
            gradient(&mut all, loss, &inputs)
        };
        // Some operations have no gradient; then neither way has.
        let (Ok(expected), Ok(found)) = (gradients(leader), gradients(other)) else { continue };
        let mut slots = draw_slots(&all, draw, false);
        for value in slots.iter_mut().filter(|s| s.ty.dtype.is_float()).flat_map(|s| &mut s.values)
        {
            *value = value.abs().clamp(0.1, 5.0);
        }
        let values = Evaluator::new(&slots).values(&all);
        let forward = NodeId(leader.0.max(other.0) + 1);
        let mut prefix = all.clone();
        prefix.nodes.truncate(forward.index());
        if kink_distance(&prefix, &values, &inputs) < KINK {
            continue;
        }
        let zero = |input: NodeId| vec![0.0; all.type_of(input).elements()];
        for ((&input, a), b) in inputs.iter().zip(expected).zip(found) {
            let of = |node: Option<NodeId>| match node {
                Some(node) => values[node.index()].values.clone(),
                None => zero(input),
            };
            for (a, b) in of(a).into_iter().zip(of(b)) {
                assert!(
                    agree(a, b, 1e-7),
                    "{}: the gradient {a} becomes {b}; {leader} and {other} by {input} in\n{all}",
                    RULES.rules[rule].sentence
                );
            }
        }
    }
}
