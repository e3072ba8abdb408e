//! Every stage of a small recipe, and questions that have no answer.

use std::sync::Arc;

use cygnet_compiler::compile::CompileOptions;
use cygnet_compiler::differentiate::gradient;
use cygnet_compiler::graph::{Emit, Graph, NodeId, Origin, Output, SlotRole, Update};
use cygnet_compiler::types::{DType, TensorType};

use super::*;
use crate::language::package::Package;
use crate::source::SourceFile;

const SOURCE: &str = "\
# Two numbers in, three out.
model line(x: f32[n, 2]) {
    x |> linear(3) |> tanh
}
train fit() {
    minimize mean(line(x) ** 2) using sgd(lr: 0.5)
}
";

const LIBRARY: &str = "layer linear(x, out: dim) = dot(x, weight)\n";

/// A recipe as elaboration leaves it.
struct Fit {
    sources: SourceMap,
    forward: Graph,
    training: Graph,
}

impl Fit {
    fn new() -> Fit {
        let mut sources = SourceMap::new();
        sources.add("std/layers.cyg", LIBRARY);
        sources.add("fit.cyg", SOURCE);
        let mut fit = Fit { sources, forward: Graph::new(), training: Graph::new() };
        fit.forward = fit.build(false);
        fit.training = fit.build(true);
        fit
    }

    fn span(&self, text: &str) -> Span {
        let find = |file: &SourceFile| Some((file.clone(), file.text().find(text)?));
        let (file, start) = self.sources.files().iter().find_map(find).unwrap();
        file.span(start as u32, (start + text.len()) as u32)
    }

    /// Marks the nodes that follow as made by these expressions, innermost first.
    fn at(&self, graph: &mut Graph, texts: &[&str], path: &str, name: Option<&str>) {
        graph.set_origin(Arc::new(Origin {
            spans: texts.iter().map(|text| self.span(text)).collect(),
            path: path.to_owned(),
            name: name.map(str::to_owned),
            gradient: false,
            rules: Default::default(),
        }));
    }

    fn build(&self, training: bool) -> Graph {
        let mut graph = Graph::new();
        let g = &mut graph;
        let f32s = |shape: &[usize]| TensorType::new(DType::F32, shape);
        let x = g.declare_slot("x", SlotRole::Input, f32s(&[4, 2]));
        let weight = g.declare_slot("linear.weight", SlotRole::Parameter, f32s(&[3, 2]));
        self.at(g, &["x: f32[n, 2]"], "", Some("x"));
        let x = g.read_slot(x);
        self.at(g, &["linear(3)", "line(x)"], "linear", Some("weight"));
        let weight_before = g.read_slot(weight);
        self.at(g, &["dot(x, weight)", "linear(3)", "line(x)"], "linear", None);
        let y = g.contract(x, weight_before, &[], &[(1, 1)]);
        self.at(g, &["tanh", "line(x)"], "", None);
        let y = g.apply("tanh", &[y]);
        self.at(g, &["mean(line(x) ** 2)"], "", Some("loss"));
        let squares = g.mul(y, y);
        let sum = g.sum(squares, &[0, 1]);
        let loss = times(g, sum, 1.0 / 12.0);
        g.outputs.push(Output { name: "loss".to_owned(), node: loss });
        if training {
            let by_weight = gradient(g, loss, &[weight_before]).unwrap()[0].unwrap();
            self.at(g, &["sgd(lr: 0.5)"], "", None);
            let change = times(g, by_weight, -0.5);
            let node = g.add(weight_before, change);
            g.updates.push(Update { slot: weight, node });
            g.guards.push(loss);
        }
        graph.verify().unwrap();
        graph
    }

    fn inspector(&self) -> Inspector<'_> {
        let definitions = vec![self.span(SOURCE[SOURCE.find("train").unwrap()..].trim_end())];
        Inspector::new(
            Subject {
                name: "fit",
                sources: &self.sources,
                standard_files: 1,
                definitions,
                forward: &self.forward,
                training: Some(&self.training),
            },
            CompileOptions::default(),
        )
    }
}

fn times(graph: &mut Graph, value: NodeId, factor: f64) -> NodeId {
    let factor = graph.constant_like(value, factor);
    graph.mul(value, factor)
}

/// The text with predicted times, which are measured and tuned, left out.
fn without_times(text: &str) -> String {
    let line = |line: &str| match (line.find(" us, "), line.find("\"nanoseconds\": ")) {
        (Some(end), _) => {
            let start = line[..end].rfind(|c: char| !c.is_ascii_digit() && c != '.');
            let start = start.map_or(0, |before| before + 1);
            format!("{}T{}\n", &line[..start], &line[end..])
        }
        (None, Some(start)) => format!("{}\"nanoseconds\": T\n", &line[..start]),
        (None, None) => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

fn show(stage: Stage, format: Format) -> String {
    let fit = Fit::new();
    let shown = fit.inspector().show(stage, format).unwrap();
    assert!(shown.text.ends_with('\n'));
    if format == Format::Json {
        assert_eq!(shown.language, Language::Json);
        serde_json::from_str::<serde_json::Value>(&shown.text).unwrap();
    }
    without_times(&shown.text)
}

#[test]
fn source() {
    insta::assert_snapshot!("source_text", show(Stage::Source, Format::Text));
    insta::assert_snapshot!("source_json", show(Stage::Source, Format::Json));
}

#[test]
fn comments_above_a_definition_belong_to_it() {
    let fit = Fit::new();
    let model = Span { end: SOURCE.find("train").unwrap() as u32 - 1, ..fit.span("model line") };
    let view = source::view("line", &[model], &fit.sources);
    assert!(source::text(&view).starts_with("# fit.cyg:1\n# Two numbers in, three out.\nmodel"));
}

#[test]
fn definitions_are_followed_through_files_and_pipes() {
    let text = "fn relu6(x) = min(relu(x), cap)
let cap = 6.0
fn unused(x) = tanh(x)
layer block(x, tanh: float) {
    fn inner(y) = y |> relu6
    inner(x) * tanh
}
model net(x: f32[n, 2]) = x |> a: block(tanh: 2.0)
";
    let (package, _) = Package::from_source("net.cyg", text);
    let items = &package.module(package.root()).ast.items;
    let used = definitions_used(&package, items.last().unwrap());
    let names = used.iter().map(|&span| {
        let text = package.sources().slice(span);
        text.split(|c: char| " (".contains(c)).nth(1).unwrap()
    });
    assert_eq!(names.collect::<Vec<_>>(), ["net", "block", "relu6", "relu", "cap"]);
}

#[test]
fn graph() {
    insta::assert_snapshot!("graph_text", show(Stage::Graph, Format::Text));
    insta::assert_snapshot!("graph_dot", show(Stage::Graph, Format::Dot));
    insta::assert_snapshot!("graph_json", show(Stage::Graph, Format::Json));
}

#[test]
fn gradient_stage() {
    insta::assert_snapshot!("gradient_text", show(Stage::Gradient, Format::Text));
    insta::assert_snapshot!("gradient_dot", show(Stage::Gradient, Format::Dot));
    insta::assert_snapshot!("gradient_json", show(Stage::Gradient, Format::Json));
}

#[test]
fn optimized() {
    insta::assert_snapshot!("optimized_text", show(Stage::Optimized, Format::Text));
    insta::assert_snapshot!("optimized_dot", show(Stage::Optimized, Format::Dot));
    insta::assert_snapshot!("optimized_json", show(Stage::Optimized, Format::Json));
}

#[test]
fn kernels() {
    insta::assert_snapshot!("kernels_text", show(Stage::Kernels, Format::Text));
    insta::assert_snapshot!("kernels_dot", show(Stage::Kernels, Format::Dot));
    insta::assert_snapshot!("kernels_json", show(Stage::Kernels, Format::Json));
}

#[test]
fn memory() {
    insta::assert_snapshot!("memory_text", show(Stage::Memory, Format::Text));
    insta::assert_snapshot!("memory_json", show(Stage::Memory, Format::Json));
}

/// Machine code differs from machine to machine, so this looks for what every listing has.
#[test]
fn generated_code() {
    let fit = Fit::new();
    let inspector = fit.inspector();
    let functions = &inspector.compiled().unwrap().schedule.functions;
    let [clif, assembly] = [Stage::Clif, Stage::Asm].map(|stage| {
        let text = inspector.show(stage, Format::Text).unwrap().text;
        let json = inspector.show(stage, Format::Json).unwrap().text;
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let listed = json["functions"].as_array().unwrap();
        assert_eq!(listed.len(), functions.len());
        for (function, view) in functions.iter().zip(listed) {
            assert!(text.contains(&format!("; {}: ", function.name)), "{text}");
            assert!(text.contains(view["code"].as_str().unwrap()), "{text}");
            assert_eq!(view["name"], function.name);
            assert_ne!(view["kernels"].as_array().unwrap().len(), 0, "every function has a kernel");
        }
        text
    });
    assert_eq!(clif.matches("function u0:0(").count(), functions.len(), "{clif}");
    assert!(clif.contains("%tanh_f32 "), "the runtime's functions are named: {clif}");
    let line = "; fit.cyg:3 x |> linear(3) |> tanh";
    assert!(clif.contains(line), "{clif}");
    assert!(assembly.contains(line), "{assembly}");
    let returns = assembly.lines().filter(|line| line.trim_end().ends_with("ret")).count();
    assert!(returns >= functions.len(), "{assembly}");
}

#[test]
fn the_history_of_a_node() {
    let fit = Fit::new();
    let inspector = fit.inspector();
    let graph = &inspector.compiled().unwrap().optimized;
    let gradient = graph
        .iter()
        .find(|(_, node)| node.origin.gradient && node.op.primitive().name() == "contract");
    let (gradient, _) = gradient.unwrap();
    for (name, node) in [("why_gradient", gradient.0), ("why_slot", 0)] {
        let text = inspector.why(node, Format::Text).unwrap().text;
        insta::assert_snapshot!(name, without_times(&text));
    }
    let json = inspector.why(gradient.0, Format::Json).unwrap().text;
    insta::assert_snapshot!("why_json", without_times(&json));
}

#[test]
fn questions_without_an_answer() {
    let fit = Fit::new();
    let mut inspector = fit.inspector();
    let no_node = inspector.why(1000, Format::Text).unwrap_err();
    let not_a_graph = inspector.why(0, Format::Dot).unwrap_err();
    let no_drawing = inspector.show(Stage::Memory, Format::Dot).unwrap_err();
    inspector.subject.training = None;
    let no_gradient = inspector.show(Stage::Gradient, Format::Text).unwrap_err();
    let errors = [no_node, not_a_graph, no_drawing, no_gradient];
    assert!(errors.iter().all(InspectError::is_usage));
    let errors = errors.map(|error| format!("{error}\n  {}\n", error.remedy()));
    insta::assert_snapshot!("errors", errors.concat());
}
