//! Kernel graphs as drawings by Graphviz.

use petgraph::dot::{Config, Dot};
use petgraph::graph::{DiGraph, EdgeReference, NodeIndex};

use super::{KernelGraph, ValueId};

/// A vertex of a drawing: a kernel, a slot or a result.
#[derive(Clone, Copy, Debug)]
enum Vertex {
    Kernel,
    Slot,
    Result,
}

type Drawing = DiGraph<(Vertex, String), ValueId>;

impl KernelGraph {
    /// The graph in the language of Graphviz: slots are ellipses, results have a double border,
    /// edges are labelled with the values that flow.
    pub fn to_dot(&self) -> String {
        let drawing = self.drawing();
        let edge = |_: &Drawing, edge: EdgeReference<'_, ValueId>| {
            let value = edge.weight();
            format!("label=\"{value}: {}\"", self.values[value.0 as usize].ty)
        };
        let node = |_: &Drawing, (_, (vertex, label)): (NodeIndex, &(Vertex, String))| {
            let label = label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let style = match vertex {
                Vertex::Kernel => "shape=box",
                Vertex::Slot => "shape=ellipse",
                Vertex::Result => "shape=ellipse peripheries=2",
            };
            format!("{style} label=\"{label}\"")
        };
        let config = [Config::EdgeNoLabel, Config::NodeNoLabel];
        format!("{:?}", Dot::with_attr_getters(&drawing, &config, &edge, &node))
    }

    /// Kernels, slots that kernels read, and results, with the values that flow between them.
    fn drawing(&self) -> Drawing {
        let mut drawing: Drawing = self.kernels.map(
            |id, kernel| {
                let label = format!("kernel {} {}\n{}", id.index(), kernel.name, kernel.cost);
                (Vertex::Kernel, label)
            },
            |_, value| *value,
        );
        for (id, value) in (0..).map(ValueId).zip(&self.values) {
            let Some(slot) = value.slot else { continue };
            let slot = &self.slots[slot as usize];
            let label = format!("{} {}", slot.role.name(), slot.name);
            let vertex = drawing.add_node((Vertex::Slot, label));
            for kernel in self.kernels.node_indices() {
                if self.kernels[kernel].loaded().contains(&id) {
                    drawing.add_edge(vertex, kernel, id);
                }
            }
        }
        let slot_name = |slot: u32| &self.slots[slot as usize].name;
        let outputs = self.outputs.iter().map(|(name, value)| (format!("output {name}"), *value));
        let updates = self.updates.iter();
        let updates = updates.map(|(slot, value)| (format!("update {}", slot_name(*slot)), *value));
        for (label, value) in outputs.chain(updates) {
            let vertex = drawing.add_node((Vertex::Result, label));
            for kernel in self.kernels.node_indices() {
                if self.kernels[kernel].stored().any(|stored| stored == value) {
                    drawing.add_edge(kernel, vertex, value);
                }
            }
        }
        drawing
    }
}
