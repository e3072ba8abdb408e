//! Graphs in machine-readable form.

use serde::Serialize;

use super::{Graph, NodeId};
use crate::op::Op;
use crate::span::Span;
use crate::types::{DType, TensorType};

/// A graph as it is serialized, for `inspect --format json` and for tools.
#[derive(Clone, Debug, Serialize)]
pub struct GraphView<'a> {
    /// Slots, by number.
    pub slots: Vec<SlotView<'a>>,
    /// Nodes, by number; operands come first.
    pub nodes: Vec<NodeView<'a>>,
    /// Results.
    pub outputs: Vec<OutputView<'a>>,
    /// New values of slots.
    pub updates: Vec<UpdateView<'a>>,
    /// Numbers of the nodes that must be finite.
    pub guards: Vec<u32>,
}

/// Element type and extents.
#[derive(Clone, Debug, Serialize)]
pub struct TypeView {
    /// Name of the element type.
    pub dtype: DType,
    /// Extents, outermost first.
    pub shape: Vec<usize>,
}

/// A slot.
#[derive(Clone, Debug, Serialize)]
pub struct SlotView<'a> {
    /// Name.
    pub name: &'a str,
    /// What it is for.
    pub role: &'static str,
    /// Type.
    #[serde(flatten)]
    pub ty: TypeView,
}

/// A node.
#[derive(Clone, Debug, Serialize)]
pub struct NodeView<'a> {
    /// Number.
    pub id: u32,
    /// Name of the operation.
    pub op: &'static str,
    /// Its attributes as printed, for example `axes=[1]`; the slot's name for slots.
    pub attributes: String,
    /// Numbers of the operands.
    pub operands: Vec<u32>,
    /// Type of the result.
    #[serde(flatten)]
    pub ty: TypeView,
    /// Path of the layer instance.
    pub path: &'a str,
    /// Name of the value, if it has one.
    pub name: Option<&'a str>,
    /// Whether differentiation made it.
    pub gradient: bool,
    /// Source places, innermost first.
    pub spans: &'a [Span],
    /// Sentences of the rewrite rules that led to it.
    pub rules: &'a [&'static str],
    /// What a step of a loop computes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Box<GraphView<'a>>>,
}

/// A result.
#[derive(Clone, Debug, Serialize)]
pub struct OutputView<'a> {
    /// Name.
    pub name: &'a str,
    /// Number of the node.
    pub node: u32,
}

/// A new value of a slot.
#[derive(Clone, Debug, Serialize)]
pub struct UpdateView<'a> {
    /// Name of the slot.
    pub slot: &'a str,
    /// Number of the node.
    pub node: u32,
}

impl From<&TensorType> for TypeView {
    fn from(ty: &TensorType) -> TypeView {
        TypeView { dtype: ty.dtype, shape: ty.shape.to_vec() }
    }
}

impl Graph {
    /// The graph in machine-readable form.
    pub fn view(&self) -> GraphView<'_> {
        let slot_name = |index: u32| self.slots[index as usize].name.as_str();
        let slots = self.slots.iter().map(|slot| SlotView {
            name: &slot.name,
            role: slot.role.name(),
            ty: TypeView::from(&slot.ty),
        });
        let outputs = self.outputs.iter().map(|o| OutputView { name: &o.name, node: o.node.0 });
        let updates =
            self.updates.iter().map(|u| UpdateView { slot: slot_name(u.slot), node: u.node.0 });
        GraphView {
            slots: slots.collect(),
            nodes: self.iter().map(|(id, _)| self.view_node(id)).collect(),
            outputs: outputs.collect(),
            updates: updates.collect(),
            guards: self.guards.iter().map(|guard| guard.0).collect(),
        }
    }

    fn view_node(&self, id: NodeId) -> NodeView<'_> {
        let node = self.node(id);
        NodeView {
            id: id.0,
            op: node.op.primitive().name(),
            attributes: self.attributes(id),
            operands: node.operands.iter().map(|operand| operand.0).collect(),
            ty: TypeView::from(&node.ty),
            path: &node.origin.path,
            name: node.origin.name.as_deref(),
            gradient: node.origin.gradient,
            spans: &node.origin.spans,
            rules: &node.origin.rules,
            body: match &node.op {
                Op::Scan(scan) => Some(Box::new(scan.body.view())),
                _ => None,
            },
        }
    }
}
