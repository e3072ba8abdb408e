//! Sums in which only some terms depend on the steps before.

use std::sync::Arc;

use super::flow::depends;
use crate::graph::{Graph, NodeId, Origin, Output};
use crate::op::{Emit, Op, OperandRole, Primitive, Scan};

/// What rearranged sums say about themselves.
const TOGETHER: &str = "terms that do not depend on the steps before are added up first";

/// The body of a loop with such terms added up first, so that their sum can leave the loop:
/// `(x_t w + b) + (h u + c)` becomes `h u + ((x_t w + b) + c)`. `None` if there is no such sum.
pub fn gather_terms(scan: &Scan) -> Option<Graph> {
    let body = &scan.body;
    let carried = depends(body, |op| match op {
        Op::Slot(slot) => scan.role(slot.index as usize) == OperandRole::Carry,
        _ => false,
    });
    let mut uses = vec![0usize; body.nodes.len()];
    let of_nodes = body.nodes.iter().flat_map(|node| &node.operands);
    for id in of_nodes.chain(body.outputs.iter().map(|output| &output.node)) {
        uses[id.index()] += 1;
    }
    let is_sum = |id: NodeId| {
        let node = body.node(id);
        let adds = matches!(&node.op, Op::Elementwise(function) if function.name() == "add");
        adds && node.ty.dtype.is_float() && carried[id.index()]
    };
    // Per node: whether it is a term of a larger sum and nothing else.
    let mut inner = vec![false; body.nodes.len()];
    for (id, node) in body.iter() {
        if is_sum(id) {
            for &operand in &node.operands {
                inner[operand.index()] = is_sum(operand) && uses[operand.index()] == 1;
            }
        }
    }
    let mut result = Graph::new();
    result.slots.clone_from(&body.slots);
    let mut nodes: Vec<NodeId> = Vec::with_capacity(body.nodes.len());
    let mut changed = false;
    for (id, node) in body.iter() {
        result.set_origin(Arc::clone(&node.origin));
        let mut terms = Vec::new();
        if is_sum(id) && !inner[id.index()] {
            collect(body, id, &inner, &mut terms);
        }
        let (held, free): (Vec<NodeId>, Vec<NodeId>) =
            terms.into_iter().partition(|term| carried[term.index()]);
        let new = if free.len() > 1 {
            changed = true;
            let mut origin = Origin::clone(&node.origin);
            origin.rules.push(TOGETHER);
            result.set_origin(Arc::new(origin));
            let mut add_up = |terms: &[NodeId]| {
                let terms = terms.iter().map(|term| nodes[term.index()]);
                terms.reduce(|sum, term| result.add(sum, term)).expect("a term at least")
            };
            let (held, free) = (add_up(&held), add_up(&free));
            result.add(held, free)
        } else {
            let operands: Vec<NodeId> = node.operands.iter().map(|o| nodes[o.index()]).collect();
            result.emit(node.op.clone(), &operands)
        };
        nodes.push(new);
    }
    result.set_origin(Arc::default());
    let outputs = body.outputs.iter();
    let output =
        |output: &Output| Output { name: output.name.clone(), node: nodes[output.node.index()] };
    result.outputs = outputs.map(output).collect();
    result.prune();
    changed.then_some(result)
}

/// The terms of a sum, from left to right.
fn collect(body: &Graph, id: NodeId, inner: &[bool], terms: &mut Vec<NodeId>) {
    for &operand in &body.node(id).operands {
        match inner[operand.index()] {
            true => collect(body, operand, inner, terms),
            false => terms.push(operand),
        }
    }
}
