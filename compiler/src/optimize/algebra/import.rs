//! From a graph to an e-graph.

use egg::Id;

use super::facts::{Algebra, Provenance, Terms};
use super::language::Operations;
use super::rules::RULES;
use super::site::Site;
use crate::graph::Graph;
use crate::optimize::prepare::fixed_slots;

/// An e-graph without terms.
pub fn empty() -> Terms {
    Terms::new(Algebra {
        operations: Operations::default(),
        provenance: Provenance::default(),
        applied: vec![0; RULES.rules.len()],
        fixed_slots: Vec::new(),
    })
}

/// The terms of a graph's nodes, and the class of each node.
///
/// Equal nodes fall together; movement becomes views, joined where they follow one another; what
/// only stops gradients is gone. With `fixed_weights`, weights that the graph does not update are
/// fixed.
pub fn import(graph: &Graph, fixed_weights: bool) -> (Terms, Vec<Id>) {
    let mut terms = empty();
    if fixed_weights {
        terms.analysis.fixed_slots = fixed_slots(graph);
    }
    let mut classes: Vec<Id> = Vec::with_capacity(graph.nodes.len());
    for (id, node) in graph.iter() {
        let source = terms.analysis.provenance.node(id.0);
        let operands: Vec<Id> = node.operands.iter().map(|o| classes[o.index()]).collect();
        let class = Site::new(&mut terms, source).import(&node.op, &operands);
        terms[class].data.nodes.push(id.0);
        classes.push(class);
    }
    terms.rebuild();
    (terms, classes)
}
