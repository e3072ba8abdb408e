//! Graphs as petgraph's graphs, and as drawings by Graphviz.

use petgraph::dot::{Config, Dot};
use petgraph::graph::{DiGraph, EdgeReference};
use petgraph::visit::EdgeRef;

use super::{Graph, NodeId};
use crate::op::Op;

impl Graph {
    /// The nodes, with an edge from each operand to its user that carries the operand's place.
    /// Indices are the nodes' numbers.
    pub fn to_petgraph(&self) -> DiGraph<NodeId, usize> {
        let mut graph = DiGraph::with_capacity(self.nodes.len(), 2 * self.nodes.len());
        let indices: Vec<_> = self.iter().map(|(id, _)| graph.add_node(id)).collect();
        for (id, node) in self.iter() {
            for (place, operand) in node.operands.iter().enumerate() {
                graph.add_edge(indices[operand.index()], indices[id.index()], place);
            }
        }
        graph
    }

    /// The graph in the language of Graphviz: slots are ellipses, gradients are dashed, results
    /// have a double border.
    pub fn to_dot(&self) -> String {
        let graph = self.to_petgraph();
        let edge = |_: &DiGraph<NodeId, usize>, edge: EdgeReference<'_, usize>| {
            let operands = &self.node(graph[edge.target()]).operands;
            match operands.len() {
                0 | 1 => String::new(),
                _ => format!("taillabel=\"{}\"", edge.weight()),
            }
        };
        let node = |_: &DiGraph<NodeId, usize>, (_, id): (_, &NodeId)| self.dot_attributes(*id);
        let config = [Config::EdgeNoLabel, Config::NodeNoLabel];
        format!("{:?}", Dot::with_attr_getters(&graph, &config, &edge, &node))
    }

    fn dot_attributes(&self, id: NodeId) -> String {
        let node = self.node(id);
        let mut lines = vec![format!("{id} {}", node.op.primitive().name()), node.ty.to_string()];
        let attributes = self.attributes(id);
        if !attributes.is_empty() {
            lines.insert(1, attributes);
        }
        let origin = node.origin.to_string();
        if !origin.is_empty() {
            lines.push(origin);
        }
        let outputs = self.outputs.iter().filter(|output| output.node == id);
        lines.extend(outputs.map(|output| format!("output {}", output.name)));
        let updates = self.updates.iter().filter(|update| update.node == id);
        lines.extend(updates.map(|u| format!("update {}", self.slots[u.slot as usize].name)));

        let shape = if matches!(node.op, Op::Slot(_)) { "ellipse" } else { "box" };
        let mut text = format!("shape={shape} label=\"{}\"", escaped(&lines.join("\n")));
        if node.origin.gradient {
            text.push_str(" style=dashed");
        }
        if self.roots().any(|root| root == id) {
            text.push_str(" peripheries=2");
        }
        text
    }
}

/// As it stands inside a quoted string of Graphviz.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
