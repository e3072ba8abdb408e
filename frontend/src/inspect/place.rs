//! Naming places in source text.

use std::fmt;

use cygnet_compiler::graph::{Graph, NodeId};
use serde::Serialize;

use crate::source::{SourceMap, Span};

/// A place in a source file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Place {
    /// The file's name.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1, in characters.
    pub column: usize,
    /// The text there, its first line.
    pub text: String,
}

/// `digits.cyg:3:5`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Names the places of spans.
#[derive(Clone, Copy)]
pub struct Places<'a> {
    sources: &'a SourceMap,
}

impl<'a> Places<'a> {
    /// Names places in these files.
    pub fn new(sources: &'a SourceMap) -> Places<'a> {
        Places { sources }
    }

    /// The place of a span; `None` if it lies in no file.
    pub fn of(&self, span: Span) -> Option<Place> {
        let file = self.sources.file_of(span)?;
        let text = file.slice(span);
        if text.is_empty() {
            return None;
        }
        let (line, column) = file.line_and_column(span.start);
        let first_line = text.lines().next().unwrap_or_default().trim_end();
        let more = if text.trim_end().contains('\n') { " …" } else { "" };
        let text = format!("{first_line}{more}");
        Some(Place { file: file.name().to_owned(), line, column, text })
    }

    /// The places of a node: the expression, then the calls that led to it.
    pub fn of_node(&self, graph: &Graph, node: NodeId) -> Vec<Place> {
        graph.node(node).origin.spans.iter().filter_map(|&span| self.of(span)).collect()
    }

    /// The places of some nodes, each once, in the order of the text: where they are written, and
    /// from where that was called in the first place.
    pub fn of_nodes(&self, graph: &Graph, nodes: &[NodeId]) -> Vec<SourceLine> {
        let mut ends: Vec<(Span, Span)> = (nodes.iter())
            .filter_map(|&node| {
                let spans = &graph.node(node).origin.spans;
                Some((*spans.last()?, *spans.first()?))
            })
            .collect();
        ends.sort_unstable();
        ends.dedup();
        ends.into_iter()
            .filter_map(|(outer, inner)| {
                let called_from = if outer == inner { None } else { self.of(outer) };
                Some(SourceLine { place: self.of(inner)?, called_from })
            })
            .collect()
    }
}

/// Where something is written, and from where it was called in the first place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceLine {
    /// The expression.
    #[serde(flatten)]
    pub place: Place,
    /// The call in the program that led to it, if it stands in a function or layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub called_from: Option<Place>,
}

/// `std/layers.cyg:9:14 y + bias, from digits.cyg:4:5`.
impl fmt::Display for SourceLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.place, self.place.text)?;
        self.called_from.as_ref().map_or(Ok(()), |from| write!(f, ", from {from}"))
    }
}
