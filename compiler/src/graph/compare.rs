//! Equality of graphs: of what they compute, not of where it comes from.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use super::{Graph, NodeId, Output, SlotInfo, Update};
use crate::op::Op;

/// What makes a graph different from others.
type Key<'a> = (&'a [SlotInfo], Vec<(&'a Op, &'a [NodeId])>, &'a [Output], &'a [Update]);

impl Graph {
    /// Types follow from operations and operands.
    fn key(&self) -> (Key<'_>, &[NodeId]) {
        let nodes = self.nodes.iter().map(|node| (&node.op, node.operands.as_slice()));
        ((&self.slots, nodes.collect(), &self.outputs, &self.updates), &self.guards)
    }
}

impl PartialEq for Graph {
    fn eq(&self, other: &Graph) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Graph {}

impl PartialOrd for Graph {
    fn partial_cmp(&self, other: &Graph) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Graph {
    fn cmp(&self, other: &Graph) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl Hash for Graph {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}
