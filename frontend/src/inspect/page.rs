//! A page for a browser: source, kernel graph and kernels, which lead to each other. It is one
//! file that loads nothing.

use std::collections::BTreeSet;

use cygnet_compiler::compile::Compiled;
use serde::Serialize;

use super::Shown;
use super::kernels::{KernelView, kernel_view};
use super::place::Places;
use crate::highlight::Language;
use crate::source::SourceMap;

/// The page, with a place for the data.
const TEMPLATE: &str = include_str!("page.html");

/// What the page's script reads.
#[derive(Serialize)]
struct Data<'a> {
    name: &'a str,
    /// The files that kernels come from, the program's own first.
    files: Vec<FileView<'a>>,
    kernels: Vec<KernelView>,
    /// The nodes of the optimized graph as text, by number.
    nodes: Vec<String>,
}

#[derive(Serialize)]
struct FileView<'a> {
    name: &'a str,
    text: &'a str,
}

/// The page of a compiled subject.
pub fn show(
    name: &str,
    compiled: &Compiled,
    places: &Places<'_>,
    sources: &SourceMap,
    standard_files: usize,
) -> Shown {
    let ids = compiled.schedule.kernels.kernels.node_indices();
    let kernels: Vec<KernelView> = ids.map(|id| kernel_view(compiled, id, places)).collect();
    let lines = kernels.iter().flat_map(|kernel| &kernel.lines);
    let used: BTreeSet<&str> = lines
        .flat_map(|line| line.led_to_by.iter().chain([&line.line]))
        .map(|line| line.file.as_str())
        .collect();
    let (standard, own) = sources.files().split_at(standard_files);
    let files = own.iter().chain(standard).filter(|file| used.contains(file.name()));
    let files = files.map(|file| FileView { name: file.name(), text: file.text() }).collect();
    let graph = &compiled.optimized;
    let nodes = graph.iter().map(|(id, node)| {
        let operands: Vec<String> = node.operands.iter().map(ToString::to_string).collect();
        format!("{id} = {} {}: {}", node.op.primitive().name(), operands.join(", "), node.ty)
    });
    let data = Data { name, files, nodes: nodes.collect(), kernels };
    let json = serde_json::to_string(&data).expect("plain data become JSON");
    // Nothing in the data can end the element that they stand in.
    let text = TEMPLATE.replacen("{{DATA}}", &json.replace('<', "\\u003c"), 1);
    Shown { text, language: Language::Plain }
}
