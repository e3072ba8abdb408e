//! The history of one node: where it comes from and what became of it.

use std::fmt::Write;

use cygnet_compiler::compile::Compiled;
use cygnet_compiler::graph::NodeId;
use serde::Serialize;

use super::kernels::{KernelView, kernel_view};
use super::place::{Place, Places};

/// The history of a node as data.
#[derive(Serialize)]
pub struct WhyView<'a> {
    name: &'a str,
    node: u32,
    expression: String,
    #[serde(rename = "type")]
    ty: String,
    places: Vec<Place>,
    layer: &'a str,
    value_name: Option<&'a str>,
    gradient: bool,
    rules: &'a [&'static str],
    users: Vec<u32>,
    results: Vec<String>,
    kernels: Vec<KernelView>,
    #[serde(skip)]
    costs: Vec<String>,
}

/// The history of a node of the optimized graph.
pub fn view<'a>(
    name: &'a str,
    node: u32,
    compiled: &'a Compiled,
    places: &Places<'_>,
) -> WhyView<'a> {
    let id = NodeId(node);
    let graph = &compiled.optimized;
    let origin = &graph.node(id).origin;
    let users = graph.iter().filter(|(_, user)| user.operands.contains(&id));
    let outputs = graph.outputs.iter().filter(|output| output.node == id);
    let updates = graph.updates.iter().filter(|update| update.node == id);
    let results = outputs
        .map(|output| format!("output {}", output.name))
        .chain(updates.map(|update| format!("update {}", graph.slots[update.slot as usize].name)));
    let kernels = &compiled.schedule.kernels.kernels;
    let computes = |kernel: &u32| compiled.schedule.kernel(*kernel).nodes.contains(&id);
    let computing: Vec<u32> = (0..kernels.node_count() as u32).filter(computes).collect();
    WhyView {
        name,
        node,
        expression: graph.expression(id),
        ty: graph.node(id).ty.to_string(),
        places: places.of_node(graph, id),
        layer: &origin.path,
        value_name: origin.name.as_deref(),
        gradient: origin.gradient,
        rules: &origin.rules,
        users: users.map(|(user, _)| user.0).collect(),
        results: results.collect(),
        costs: (computing.iter())
            .map(|&kernel| compiled.schedule.kernel(kernel).cost.to_string())
            .collect(),
        kernels: computing.iter().map(|&id| kernel_view(compiled, id, places)).collect(),
    }
}

/// The history in paragraphs.
pub fn text(view: &WhyView<'_>) -> String {
    let mut text = format!("%{} = {}: {}\n", view.node, view.expression, view.ty);
    let mut line = |what: &str, words: &str| {
        let _ = writeln!(text, "{}", format!("{what:<10}{words}").trim_end());
    };
    for (number, place) in view.places.iter().enumerate() {
        let what = if number == 0 { "source" } else { "led to by" };
        line(what, &format!("{place}  {}", place.text));
    }
    if view.places.is_empty() {
        line("source", "none: the compiler made it");
    }
    if !view.layer.is_empty() {
        line("layer", view.layer);
    }
    if let Some(name) = view.value_name {
        line("name", name);
    }
    let gradient = match view.gradient {
        true => "it belongs to the gradient of what is written there",
        false => "no, it belongs to the forward pass or the update",
    };
    line("gradient", gradient);
    for (number, rule) in view.rules.iter().enumerate() {
        line(if number == 0 { "rules" } else { "" }, rule);
    }
    if view.rules.is_empty() {
        line("rules", "none led to it");
    }
    let users = view.users.iter().map(|user| format!("%{user}"));
    let users: Vec<String> = users.chain(view.results.iter().cloned()).collect();
    line("used by", &users.join(", "));
    for (kernel, cost) in view.kernels.iter().zip(&view.costs) {
        line("kernel", &format!("{} {}", kernel.id, kernel.name));
        let others = kernel.nodes.iter().filter(|node| **node != view.node);
        let others: Vec<String> = others.map(|node| format!("%{node}")).collect();
        if !others.is_empty() {
            line("", &format!("computes {} too", others.join(", ")));
        }
        line("", &format!("predicted {cost}"));
        for reason in &kernel.reasons {
            line("", reason);
        }
    }
    if view.kernels.is_empty() {
        line("kernel", "none: it is read where it is needed");
    }
    text
}
