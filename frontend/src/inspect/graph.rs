//! Graphs of operations: as text, drawn, and as data.

use std::fmt::Write;

use cygnet_compiler::graph::{
    Graph, GraphView, NodeId, NodeView, OutputView, SlotView, UpdateView,
};
use cygnet_compiler::optimize::OptimizeReport;
use serde::Serialize;

use super::place::{Place, Places};
use super::{Format, Shown, Stage, json};
use crate::highlight::Language;

/// A graph as data, with places for people beside the spans.
#[derive(Serialize)]
struct PlacedGraph<'a> {
    name: &'a str,
    stage: Stage,
    slots: Vec<SlotView<'a>>,
    nodes: Vec<PlacedNode<'a>>,
    outputs: Vec<OutputView<'a>>,
    updates: Vec<UpdateView<'a>>,
    guards: Vec<u32>,
}

#[derive(Serialize)]
struct PlacedNode<'a> {
    #[serde(flatten)]
    node: NodeView<'a>,
    places: Vec<Place>,
}

/// Shows a graph.
pub fn show(name: &str, stage: Stage, graph: &Graph, places: &Places<'_>, format: Format) -> Shown {
    match format {
        Format::Text => {
            let place = |span| places.of(span).map(|place| place.to_string());
            let text = graph.listing(&place).to_string();
            Shown { text, language: Language::Listing }
        }
        Format::Dot => Shown { text: graph.to_dot(), language: Language::Listing },
        Format::Json | Format::Html => json(&view(name, stage, graph, places)),
    }
}

/// What algebra did, as comments at the head of the optimized graph.
pub fn rules_applied(report: &OptimizeReport) -> String {
    let mut text = format!(
        "; {} nodes of {}, {} arithmetic operations of {}\n",
        report.nodes_after, report.nodes_before, report.flops_after, report.flops_before
    );
    for (sentence, count) in &report.algebra.rules {
        let _ = writeln!(text, "; {count} times: {sentence}");
    }
    text + "\n"
}

fn view<'a>(name: &'a str, stage: Stage, graph: &'a Graph, places: &Places<'_>) -> PlacedGraph<'a> {
    let GraphView { slots, nodes, outputs, updates, guards } = graph.view();
    let place = |node: NodeView<'a>| {
        let places = places.of_node(graph, NodeId(node.id));
        PlacedNode { node, places }
    };
    let nodes = nodes.into_iter().map(place).collect();
    PlacedGraph { name, stage, slots, nodes, outputs, updates, guards }
}
