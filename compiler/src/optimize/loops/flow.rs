//! Which nodes of a loop's body are computed where.

use std::collections::{BTreeMap, BTreeSet};

use super::stack::is_stackable;
use crate::graph::{Graph, NodeId};
use crate::op::{Op, OperandRole, Scan};
use crate::optimize::cost;

/// Where the nodes of a body are computed.
pub struct Flow {
    /// Carries that are needed.
    pub carries: BTreeSet<usize>,
    /// Per node: computed in front of the loop.
    pub in_front: Vec<bool>,
    /// Per node: computed behind it.
    pub behind: Vec<bool>,
    /// Per node: computed in it.
    pub inside: Vec<bool>,
    /// Nodes that come into the loop from outside: slots that are not carries, and what is
    /// computed in front.
    pub entering: BTreeSet<NodeId>,
    /// Nodes that steps yield: wanted yields, and what nodes behind the loop need.
    pub yields: BTreeSet<NodeId>,
    /// The final values of wanted carries, once they are emitted.
    pub carry_results: BTreeMap<usize, NodeId>,
}

impl Flow {
    /// Decides for a loop of which these results are wanted.
    pub fn of(scan: &Scan, wanted: &BTreeSet<usize>) -> Flow {
        let body = &scan.body;
        let (carries, live) = live(scan, wanted);
        let carried = depends(body, |op| match op {
            Op::Slot(slot) => scan.role(slot.index as usize) == OperandRole::Carry,
            _ => false,
        });
        let in_front = in_front(scan, &live, &carried);
        let behind = behind(scan, &live, &carries, &in_front);
        let is_carry = |id: NodeId| match &body.node(id).op {
            Op::Slot(slot) => scan.role(slot.index as usize) == OperandRole::Carry,
            _ => false,
        };
        let is_slot = |id: NodeId| matches!(body.node(id).op, Op::Slot(_));
        // Needed in the loop: by carries, by what is yielded, and by what is needed for these.
        let mut flow = Flow {
            inside: vec![false; body.nodes.len()],
            carries,
            in_front,
            behind,
            entering: BTreeSet::new(),
            yields: BTreeSet::new(),
            carry_results: BTreeMap::new(),
        };
        for (number, output) in body.outputs.iter().enumerate().skip(scan.carries) {
            if !wanted.contains(&number) {
                continue;
            }
            match scan.until {
                // Which steps are done only the loop knows.
                true => _ = flow.yields.insert(output.node),
                false => flow.want(body, output.node, is_carry),
            }
        }
        for (id, node) in body.iter() {
            if flow.behind[id.index()] {
                node.operands.iter().for_each(|operand| flow.want(body, *operand, is_carry));
            }
        }
        let roots = flow.carries.iter().map(|&carry| body.outputs[carry].node);
        let roots = roots.chain(scan.end());
        for root in roots.chain(flow.yields.iter().copied()).collect::<Vec<_>>() {
            flow.inside[root.index()] = true;
        }
        for (id, node) in body.iter().rev() {
            if !flow.inside[id.index()] {
                continue;
            }
            if (is_slot(id) && !is_carry(id)) || flow.in_front[id.index()] {
                flow.entering.insert(id);
                flow.inside[id.index()] = false;
            } else {
                for operand in &node.operands {
                    flow.inside[operand.index()] = true;
                }
            }
        }
        flow
    }

    /// A tensor of all steps is needed outside: it is yielded unless it is known there.
    fn want(&mut self, body: &Graph, id: NodeId, is_carry: impl Fn(NodeId) -> bool) {
        let node = body.node(id);
        let known = self.in_front[id.index()] || self.behind[id.index()];
        match node.op {
            Op::Slot(_) if !is_carry(id) => {}
            _ if known => {}
            Op::Slot(_) => _ = self.yields.insert(id),
            _ if node.operands.is_empty() => self.in_front[id.index()] = true,
            _ => _ = self.yields.insert(id),
        }
    }
}

/// The carries that wanted results depend on, and the nodes.
fn live(scan: &Scan, wanted: &BTreeSet<usize>) -> (BTreeSet<usize>, Vec<bool>) {
    let body = &scan.body;
    let mut carries: BTreeSet<usize> =
        wanted.iter().copied().filter(|&result| result < scan.carries).collect();
    loop {
        let mut live = vec![false; body.nodes.len()];
        for (number, output) in body.outputs.iter().enumerate() {
            let needed = if number < scan.carries { &carries } else { wanted };
            live[output.node.index()] |= needed.contains(&number);
        }
        if let Some(end) = scan.end() {
            live[end.index()] = true;
        }
        let mut read = BTreeSet::new();
        for (id, node) in body.iter().rev() {
            if live[id.index()] {
                node.operands.iter().for_each(|operand| live[operand.index()] = true);
                if let Op::Slot(slot) = &node.op {
                    read.insert(slot.index as usize);
                }
            }
        }
        let before = carries.len();
        carries.extend(read.into_iter().filter(|&slot| slot < scan.carries));
        if carries.len() == before {
            return (carries, live);
        }
    }
}

/// For each node, whether it depends on one for which `source` holds, or is one.
pub fn depends(body: &Graph, source: impl Fn(&Op) -> bool) -> Vec<bool> {
    let mut depends = vec![false; body.nodes.len()];
    for (id, node) in body.iter() {
        depends[id.index()] =
            source(&node.op) || node.operands.iter().any(|operand| depends[operand.index()]);
    }
    depends
}

/// What is computed in front of the loop: products and other dear operations that depend on no
/// carry, with what they need, and what follows on them.
fn in_front(scan: &Scan, live: &[bool], carried: &[bool]) -> Vec<bool> {
    let body = &scan.body;
    let mut possible = vec![false; body.nodes.len()];
    let mut moved = vec![false; body.nodes.len()];
    let mut varies = vec![false; body.nodes.len()];
    for (id, node) in body.iter() {
        let index = id.index();
        let operands = || node.operands.iter().map(|operand| operand.index());
        varies[index] = match &node.op {
            Op::Slot(slot) => scan.role(slot.index as usize) == OperandRole::Sequence,
            _ => operands().any(|operand| varies[operand]),
        };
        possible[index] = !carried[index]
            && (matches!(node.op, Op::Slot(_)) || is_stackable(&node.op) || !varies[index])
            && operands().all(|operand| possible[operand]);
        if !possible[index] || !live[index] || node.operands.is_empty() {
            continue;
        }
        let follows = operands().any(|operand| moved[operand]) && !grows(body, id);
        let once = !varies[index] && !grows(body, id) && !node.op.is_movement();
        moved[index] = is_dear(&node.op) || follows || once;
    }
    // With all that they need.
    for (id, node) in body.iter().rev() {
        if moved[id.index()] {
            for operand in &node.operands {
                moved[operand.index()] |= !body.node(*operand).operands.is_empty();
            }
        }
    }
    moved
}

/// What is computed behind the loop: products that no later step depends on, and what follows.
/// Nothing, if the loop may end early: what the steps left out yield must stay zero.
fn behind(scan: &Scan, live: &[bool], carries: &BTreeSet<usize>, in_front: &[bool]) -> Vec<bool> {
    let body = &scan.body;
    // Whether a new carry depends on it, or something that has to stay in the loop.
    let mut held = vec![false; body.nodes.len()];
    for &carry in carries {
        held[body.outputs[carry].node.index()] = true;
    }
    for (id, node) in body.iter().rev() {
        let index = id.index();
        if live[index] && (held[index] || !is_stackable(&node.op)) {
            held[index] = true;
            node.operands.iter().for_each(|operand| held[operand.index()] = true);
        }
    }
    let mut behind = vec![false; body.nodes.len()];
    if scan.until {
        return behind;
    }
    for (id, node) in body.iter() {
        let index = id.index();
        let follows = node.operands.iter().any(|operand| behind[operand.index()]);
        behind[index] = live[index]
            && !held[index]
            && !in_front[index]
            && (matches!(node.op, Op::Contract(_)) || follows);
    }
    behind
}

/// Whether computing for all steps at once pays by itself.
fn is_dear(op: &Op) -> bool {
    match op {
        Op::Contract(_) | Op::Reduce(_) | Op::ArgReduce(_) => true,
        Op::Elementwise(function) => function.entry().cost > cost::CHEAP,
        _ => false,
    }
}

/// Whether a node has more elements than any of its operands: storing it would cost more than
/// computing it in each step.
fn grows(body: &Graph, id: NodeId) -> bool {
    let node = body.node(id);
    let largest = node.operands.iter().map(|operand| body.node(*operand).ty.elements()).max();
    largest.is_none_or(|largest| node.ty.elements() > largest)
}
