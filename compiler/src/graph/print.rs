//! Graphs as text.

use std::fmt;
use std::fmt::Write as _;

use super::{Graph, Node, NodeId, Origin, SlotRole};
use crate::op::{Op, Scan};
use crate::span::Span;

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}

impl SlotRole {
    /// The name in listings.
    pub fn name(self) -> &'static str {
        match self {
            SlotRole::Input => "input",
            SlotRole::Scalar => "scalar",
            SlotRole::Parameter => "parameter",
            SlotRole::Buffer => "buffer",
            SlotRole::State => "state",
        }
    }
}

/// `d` for gradients, then the layer instance and the value's name: `d encoder.linear: logits`.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gradient = if self.gradient { "d " } else { "" };
        match &self.name {
            Some(name) if self.path.is_empty() => write!(f, "{gradient}{name}"),
            Some(name) => write!(f, "{gradient}{}: {name}", self.path),
            None => write!(f, "{}", format!("{gradient}{}", self.path).trim_end()),
        }
    }
}

/// Slots, then nodes with operands, types and [origins](Origin), then results.
impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.listing(&|_| None).fmt(f)
    }
}

/// A graph as text with source places; made by [`Graph::listing`].
pub struct Listing<'a> {
    graph: &'a Graph,
    place: &'a dyn Fn(Span) -> Option<String>,
}

impl Graph {
    /// The graph as text, in which the innermost span of each node is shown as `place` names it
    /// (`digits.cyg:3:5`).
    pub fn listing<'a>(&'a self, place: &'a dyn Fn(Span) -> Option<String>) -> Listing<'a> {
        Listing { graph: self, place }
    }

    /// The operation and its operands: `add %1 %2`, `slot{hidden.weight}`.
    pub fn expression(&self, id: NodeId) -> String {
        let node = self.node(id);
        let operation = match &node.op {
            Op::Slot(_) => format!("slot{{{}}}", self.attributes(id)),
            op => op.to_string(),
        };
        node.operands.iter().fold(operation, |text, operand| format!("{text} {operand}"))
    }

    /// The attributes of a node's operation, with slots by name.
    pub(super) fn attributes(&self, id: NodeId) -> String {
        match &self.node(id).op {
            Op::Slot(slot) => self.slots[slot.index as usize].name.clone(),
            op => op.primitive().attributes(),
        }
    }
}

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let graph = self.graph;
        for slot in &graph.slots {
            writeln!(f, "{} {}: {}", slot.role.name(), slot.name, slot.ty)?;
        }
        self.write_nodes(f)
    }
}

/// The type of a node; of a scan, those of all its results.
fn type_name(node: &Node) -> String {
    let Op::Scan(scan) = &node.op else { return node.ty.to_string() };
    let types: Vec<String> = scan.results().iter().map(ToString::to_string).collect();
    format!("({})", types.join(", "))
}

impl Listing<'_> {
    /// The body of a loop, indented.
    fn write_body(&self, f: &mut dyn fmt::Write, scan: &Scan) -> fmt::Result {
        let body = &scan.body;
        let mut text = String::new();
        for (number, slot) in body.slots.iter().enumerate() {
            writeln!(text, "{} {}: {}", scan.role(number).name(), slot.name, slot.ty)?;
        }
        Listing { graph: body, place: self.place }.write_nodes(&mut text)?;
        text.lines().try_for_each(|line| writeln!(f, "    {line}"))
    }

    fn write_nodes(&self, f: &mut dyn fmt::Write) -> fmt::Result {
        let graph = self.graph;
        for (id, node) in graph.iter() {
            write!(f, "{id} = {}: {}", graph.expression(id), type_name(node))?;
            let origin = node.origin.to_string();
            let place = node.origin.spans.first().and_then(|&span| (self.place)(span));
            match (origin.is_empty(), place) {
                (true, None) => writeln!(f)?,
                (false, None) => writeln!(f, "  ; {origin}")?,
                (true, Some(place)) => writeln!(f, "  ; {place}")?,
                (false, Some(place)) => writeln!(f, "  ; {origin}, {place}")?,
            }
            if let Op::Scan(scan) = &node.op {
                self.write_body(f, scan)?;
            }
        }
        for output in &graph.outputs {
            writeln!(f, "output {} = {}", output.name, output.node)?;
        }
        for update in &graph.updates {
            writeln!(f, "update {} = {}", graph.slots[update.slot as usize].name, update.node)?;
        }
        for guard in &graph.guards {
            writeln!(f, "guard {guard}")?;
        }
        Ok(())
    }
}
