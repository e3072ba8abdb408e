//! A page for a browser: source, kernel graph and kernels, which lead to each other. It is one
//! file that loads nothing.

use std::collections::BTreeSet;

use cygnet_compiler::compile::Compiled;
use cygnet_compiler::graph::NodeId;
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
    kernels: Vec<PageKernel>,
}

#[derive(Serialize)]
struct PageKernel {
    #[serde(flatten)]
    kernel: KernelView,
    /// The loop whose body it belongs to, as in its label; values are numbered in each body.
    body: String,
    /// The operations of the optimized graph that it computes, as text.
    operations: Vec<String>,
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
    let kernels: Vec<PageKernel> = (compiled.schedule.kernel_numbers())
        .map(|number| page_kernel(compiled, number, places))
        .collect();
    let lines = kernels.iter().flat_map(|kernel| &kernel.kernel.lines);
    let used: BTreeSet<&str> = lines
        .flat_map(|line| line.led_to_by.iter().chain([&line.line]))
        .map(|line| line.file.as_str())
        .collect();
    let (standard, own) = sources.files().split_at(standard_files);
    let files = own.iter().chain(standard).filter(|file| used.contains(file.name()));
    let files = files.map(|file| FileView { name: file.name(), text: file.text() }).collect();
    let data = Data { name, files, kernels };
    let json = serde_json::to_string(&data).expect("plain data become JSON");
    // Nothing in the data can end the element that they stand in.
    let text = TEMPLATE.replacen("{{DATA}}", &json.replace('<', "\\u003c"), 1);
    Shown { text, language: Language::Plain }
}

fn page_kernel(compiled: &Compiled, number: u32, places: &Places<'_>) -> PageKernel {
    let kernel = kernel_view(compiled, number, places);
    let graph = compiled.graph_of_kernel(number);
    let operation = |&id: &u32| {
        let node = graph.node(NodeId(id));
        let operands: Vec<String> = node.operands.iter().map(ToString::to_string).collect();
        format!("%{id} = {} {}: {}", node.op.primitive().name(), operands.join(", "), node.ty)
    };
    let operations = kernel.nodes.iter().map(operation).collect();
    let body = kernel.label.rsplit_once('.').map_or("", |(body, _)| body).to_owned();
    PageKernel { kernel, body, operations }
}
