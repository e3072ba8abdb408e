//! What fusion wants to know about a graph, gathered once.

use std::collections::BTreeSet;

use smallvec::SmallVec;

use super::assemble::keeps_slot;
use super::draft::reads_tensor;
use crate::graph::{Graph, NodeId};
use crate::op::{Emit, Op};
use crate::optimize::{OptimizeOptions, cost};

/// Facts about the nodes that the roots of a graph need.
pub(super) struct Survey<'g> {
    /// The graph.
    pub graph: &'g Graph,
    /// What the optimizer may do.
    pub options: &'g OptimizeOptions,
    /// Nodes whose tensors must be written, slots excepted.
    pub roots: BTreeSet<NodeId>,
    /// Slots that are results, or new values of other slots: they have to be copied.
    pub copied: BTreeSet<NodeId>,
    needed: Vec<bool>,
    users: Vec<SmallVec<[NodeId; 4]>>,
    free: Vec<bool>,
}

impl<'g> Survey<'g> {
    /// Looks at a graph.
    pub fn new(graph: &'g Graph, options: &'g OptimizeOptions) -> Survey<'g> {
        let updates = graph.updates.iter();
        let all: BTreeSet<NodeId> = updates
            .filter(|update| !keeps_slot(graph, update.slot, update.node))
            .map(|update| update.node)
            .chain(graph.outputs.iter().map(|output| output.node))
            .chain(graph.guards.iter().copied())
            .collect();
        let (copied, roots): (BTreeSet<NodeId>, BTreeSet<NodeId>) =
            all.into_iter().partition(|node| matches!(graph.node(*node).op, Op::Slot(_)));
        let mut needed = vec![false; graph.nodes.len()];
        let mut users = vec![SmallVec::new(); graph.nodes.len()];
        for root in &roots {
            needed[root.index()] = true;
        }
        for (id, node) in graph.iter().rev() {
            if needed[id.index()] {
                for operand in &node.operands {
                    needed[operand.index()] = true;
                    let users: &mut SmallVec<[NodeId; 4]> = &mut users[operand.index()];
                    if users.last() != Some(&id) {
                        users.push(id);
                    }
                }
            }
        }
        let mut free = vec![false; graph.nodes.len()];
        for (id, node) in graph.iter() {
            free[id.index()] = match &node.op {
                Op::Constant(_) | Op::Iota(_) => true,
                Op::Cast(_) => free[node.operands[0].index()],
                op => op.is_movement() && free[node.operands[0].index()],
            };
        }
        Survey { graph, options, roots, copied, needed, users, free }
    }

    /// Nodes that the roots depend on, and themselves, operands first.
    pub fn needed(&self) -> impl DoubleEndedIterator<Item = NodeId> + '_ {
        self.graph.iter().map(|(id, _)| id).filter(|id| self.needed[id.index()])
    }

    /// The needed nodes with this operand, the last one first.
    pub fn users(&self, node: NodeId) -> &[NodeId] {
        &self.users[node.index()]
    }

    /// Whether a node costs nothing wherever it is computed and reads no memory.
    pub fn is_free(&self, node: NodeId) -> bool {
        self.free[node.index()]
    }

    /// Whether a node's tensor is wanted outside a kernel that computes it, whose nodes these are.
    pub fn leaves(&self, node: NodeId, inside: &BTreeSet<NodeId>) -> bool {
        let outside = |user: &NodeId| !inside.contains(user) || self.reads_tensor(*user, node);
        self.roots.contains(&node) || self.users(node).iter().any(outside)
    }

    /// Whether some node reads this one from memory, whatever kernels compute them.
    pub fn is_read(&self, node: NodeId) -> bool {
        self.users(node).iter().any(|&user| self.reads_tensor(user, node))
    }

    fn reads_tensor(&self, user: NodeId, node: NodeId) -> bool {
        let user = self.graph.node(user);
        let operands = user.operands.iter().enumerate();
        operands
            .filter(|(_, operand)| **operand == node)
            .any(|(place, _)| reads_tensor(&user.op, place))
    }

    /// Whether a node is cheaper to compute again than to store and load.
    pub fn is_cheap(&self, node: NodeId) -> bool {
        match &self.graph.node(node).op {
            Op::Elementwise(function) => function.entry().cost <= cost::CHEAP,
            op => {
                op.is_movement()
                    || matches!(op, Op::Cast(_) | Op::StopGradient(_))
                    || self.is_free(node)
            }
        }
    }

    /// Whether a node puts another axis last, of a tensor that is larger than the first-level cache and has as
    /// many elements wherever it comes from: reading it where its operand lies takes a cache line for each
    /// element. Permutations are such nodes, which the order leaves that tensors are computed in
    /// (`expand/builder.rs`); those that a program writes are views by then.
    pub fn transposes(&self, node: NodeId) -> bool {
        let Op::Permute(permute) = &self.graph.node(node).op else { return false };
        let mut source = self.graph.node(node).operands[0];
        while self.graph.node(source).op.is_movement() {
            source = self.graph.node(source).operands[0];
        }
        let last = permute.order.len().checked_sub(1);
        last.is_some_and(|last| permute.order[last] != last)
            && self.graph.type_of(node).bytes() > cost::L1_BYTES
            && self.elements(source) == self.elements(node)
    }

    /// For each node, whether it depends on one of `nodes` (which do so themselves).
    pub fn descendants(&self, nodes: &[NodeId]) -> Vec<bool> {
        let mut marks = vec![false; self.graph.nodes.len()];
        let Some(first) = nodes.iter().min() else { return marks };
        for node in nodes {
            marks[node.index()] = true;
        }
        for index in first.index()..marks.len() {
            let operands = &self.graph.nodes[index].operands;
            marks[index] |= operands.iter().any(|operand| marks[operand.index()]);
        }
        marks
    }

    /// Elements of a node's tensor.
    pub fn elements(&self, node: NodeId) -> usize {
        self.graph.type_of(node).elements()
    }
}
