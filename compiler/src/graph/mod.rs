//! The computation graph: nodes of primitive operations on tensors of fixed shape.

mod compare;
mod dot;
mod json;
mod origin;
mod print;
mod prune;
mod rewrite;
mod scan;
#[cfg(test)]
mod tests;
mod verify;

pub use crate::op::{Emit, NodeId};
pub use json::{GraphView, NodeView, OutputView, SlotView, TypeView, UpdateView};
pub use origin::Origin;
pub use print::Listing;
pub(crate) use scan::Names;
pub use scan::{ScanBuilder, ScanNodes};
pub use verify::VerifyError;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::op::{Op, Slot};
use crate::types::TensorType;

/// What a slot is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SlotRole {
    /// Filled by the caller before each step.
    Input,
    /// A run-time scalar: a recipe's `float` parameter, or the step's number. Filled by the
    /// caller when it changes.
    Scalar,
    /// Trained; saved with the weights.
    Parameter,
    /// Carried from step to step and saved with the weights (running statistics).
    Buffer,
    /// Carried from step to step by an optimizer or a recipe.
    State,
}

/// A named tensor that outlives the step or comes from outside.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SlotInfo {
    /// A parameter's path (`layer1.0.conv1.weight`), or an input's name; unique.
    pub name: String,
    /// What it is for.
    pub role: SlotRole,
    /// Element type and shape.
    pub ty: TensorType,
}

/// An operation applied to operands.
#[derive(Clone, Debug)]
pub struct Node {
    /// The operation.
    pub op: Op,
    /// Nodes with smaller numbers.
    pub operands: SmallVec<[NodeId; 3]>,
    /// Type of the result, as the operation infers it.
    pub ty: TensorType,
    /// Where it comes from.
    pub origin: Arc<Origin>,
}

/// A result that the caller reads after the step.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Output {
    /// Name, unique among outputs.
    pub name: String,
    /// The node.
    pub node: NodeId,
}

/// A new value for a slot, in place when the step ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Update {
    /// Index of the slot.
    pub slot: u32,
    /// The node with the new value, of the slot's type.
    pub node: NodeId,
}

/// A computation graph: forward pass alone, or a whole training step.
///
/// Nodes stand in topological order. All operations read the slots as they were before the step.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Nodes; operands come before users.
    pub nodes: Vec<Node>,
    /// Slots, referred to by [`Slot::index`].
    pub slots: Vec<SlotInfo>,
    /// Results.
    pub outputs: Vec<Output>,
    /// New values of slots.
    pub updates: Vec<Update>,
    /// Scalars that must be finite before any slot is overwritten (losses).
    pub guards: Vec<NodeId>,
    /// Origin of the nodes emitted now.
    current_origin: Arc<Origin>,
}

impl Graph {
    /// Whether `other` has the same nodes, slots, results, updates and guards. Where they come
    /// from may differ.
    pub fn computes_the_same(&self, other: &Graph) -> bool {
        let node = |(a, b): (&Node, &Node)| a.op == b.op && a.operands == b.operands;
        self.nodes.len() == other.nodes.len()
            && self.nodes.iter().zip(&other.nodes).all(node)
            && self.slots == other.slots
            && self.outputs == other.outputs
            && self.updates == other.updates
            && self.guards == other.guards
    }

    /// A graph without nodes.
    pub fn new() -> Graph {
        Graph::default()
    }

    /// The node with this number.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// All nodes with their numbers, operands first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (NodeId, &Node)> {
        self.nodes.iter().enumerate().map(|(index, node)| (NodeId(index as u32), node))
    }

    /// Sets the origin of the nodes emitted from now on, and returns the one before.
    pub fn set_origin(&mut self, origin: Arc<Origin>) -> Arc<Origin> {
        std::mem::replace(&mut self.current_origin, origin)
    }

    /// Adds a rule to the origin of the nodes emitted from now on.
    pub fn add_rule(&mut self, rule: &'static str) {
        Arc::make_mut(&mut self.current_origin).rules.push(rule);
    }

    /// How often each node is referred to.
    pub fn uses(&self) -> Vec<usize> {
        let mut uses = vec![0; self.nodes.len()];
        let operands = self.nodes.iter().flat_map(|node| node.operands.iter().copied());
        for id in operands.chain(self.roots()) {
            uses[id.index()] += 1;
        }
        uses
    }

    /// Takes over the results, updates and guards of another graph, of whose nodes `node` tells what
    /// became here. Slots have the same numbers.
    pub fn take_results(&mut self, other: &Graph, node: impl Fn(NodeId) -> NodeId) {
        let outputs = other.outputs.iter();
        let output = |o: &Output| Output { name: o.name.clone(), node: node(o.node) };
        self.outputs = outputs.map(output).collect();
        let updates = other.updates.iter();
        self.updates = updates.map(|u| Update { slot: u.slot, node: node(u.node) }).collect();
        self.guards = other.guards.iter().map(|&guard| node(guard)).collect();
    }

    /// Declares a slot and returns its index. The slot has no node until [`Graph::read_slot`].
    pub fn declare_slot(&mut self, name: &str, role: SlotRole, ty: TensorType) -> u32 {
        self.slots.push(SlotInfo { name: name.to_owned(), role, ty });
        (self.slots.len() - 1) as u32
    }

    /// A node for the slot's value before the step.
    pub fn read_slot(&mut self, index: u32) -> NodeId {
        let ty = self.slots[index as usize].ty.clone();
        self.emit(Slot { index, ty }.into(), &[])
    }

    /// Appends a node, or says why the operands do not fit.
    pub fn try_emit(&mut self, op: Op, operands: &[NodeId]) -> Result<NodeId, String> {
        let ty = {
            let types: SmallVec<[&TensorType; 3]> =
                operands.iter().map(|&operand| self.type_of(operand)).collect();
            op.primitive().infer(&types)?
        };
        if ty.checked_bytes().is_none() {
            return Err(format!("a tensor of type {ty} does not fit into memory"));
        }
        let origin = Arc::clone(&self.current_origin);
        self.nodes.push(Node { op, operands: SmallVec::from_slice(operands), ty, origin });
        Ok(NodeId((self.nodes.len() - 1) as u32))
    }

    /// Arithmetic operations of all nodes; a body of a loop counts once for each step.
    pub fn flops(&self) -> f64 {
        let of = |node: &Node| {
            let operands: SmallVec<[&TensorType; 3]> =
                node.operands.iter().map(|operand| self.type_of(*operand)).collect();
            node.op.primitive().flops(&operands, &node.ty)
        };
        self.nodes.iter().map(of).sum()
    }

    /// The nodes that are read from outside: outputs, updates and guards.
    pub fn roots(&self) -> impl Iterator<Item = NodeId> + '_ {
        let outputs = self.outputs.iter().map(|output| output.node);
        outputs.chain(self.updates.iter().map(|update| update.node)).chain(self.guards.clone())
    }
}

impl Emit for Graph {
    fn emit(&mut self, op: Op, operands: &[NodeId]) -> NodeId {
        self.try_emit(op.clone(), operands).unwrap_or_else(|error| panic!("{op}: {error}"))
    }

    fn type_of(&self, node: NodeId) -> &TensorType {
        &self.node(node).ty
    }
}
