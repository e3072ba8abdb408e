//! Passes that go through the nodes once and replace some of them.

use std::sync::Arc;

use super::{Emit, Graph, NodeId};

impl Graph {
    /// The graph in which `rewrite` may emit something else for a node. It is given the new graph, the
    /// numbers that the nodes before have there, and the node; where it has nothing to say, the node
    /// is emitted again. Slots, outputs, updates and guards keep their order; what nothing needs any
    /// more is removed.
    #[must_use]
    pub fn rewritten(
        &self,
        mut rewrite: impl FnMut(&mut Graph, &[NodeId], NodeId) -> Option<NodeId>,
    ) -> Graph {
        let mut result = Graph::new();
        result.slots.clone_from(&self.slots);
        let mut nodes: Vec<NodeId> = Vec::with_capacity(self.nodes.len());
        for (id, node) in self.iter() {
            result.set_origin(Arc::clone(&node.origin));
            let emitted = rewrite(&mut result, &nodes, id).unwrap_or_else(|| {
                let operands = node.operands.iter().map(|operand| nodes[operand.index()]);
                let operands: Vec<NodeId> = operands.collect();
                result.emit(node.op.clone(), &operands)
            });
            nodes.push(emitted);
        }
        result.set_origin(Arc::default());
        result.take_results(self, |old| nodes[old.index()]);
        result.prune();
        result
    }
}
