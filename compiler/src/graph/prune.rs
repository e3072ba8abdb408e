//! Removal of nodes that no result needs.

use super::{Graph, NodeId};

impl Graph {
    /// Removes the nodes that no output, update or guard needs; the others keep their order.
    /// Returns, for each node before, its number after.
    pub fn prune(&mut self) -> Vec<Option<NodeId>> {
        let mut needed = vec![false; self.nodes.len()];
        for root in self.roots().collect::<Vec<_>>() {
            needed[root.index()] = true;
        }
        for (id, node) in self.iter().rev() {
            if needed[id.index()] {
                for operand in &node.operands {
                    needed[operand.index()] = true;
                }
            }
        }

        let mut numbers = Vec::with_capacity(needed.len());
        let mut kept = 0;
        for &needed in &needed {
            numbers.push(needed.then_some(NodeId(kept)));
            kept += u32::from(needed);
        }
        let renumber = |node: &mut NodeId| {
            *node = numbers[node.index()].expect("what a needed node needs is needed");
        };
        let mut needed = needed.into_iter();
        self.nodes.retain(|_| needed.next().unwrap_or_default());
        self.nodes.iter_mut().flat_map(|node| &mut node.operands).for_each(renumber);
        self.outputs.iter_mut().for_each(|output| renumber(&mut output.node));
        self.updates.iter_mut().for_each(|update| renumber(&mut update.node));
        self.guards.iter_mut().for_each(renumber);
        numbers
    }
}
