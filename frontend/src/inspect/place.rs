//! Naming places in source text.

use std::collections::BTreeSet;
use std::fmt;

use cygnet_compiler::graph::{Graph, NodeId};
use serde::Serialize;

use crate::source::{FileId, SourceMap, Span};

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
    standard_files: usize,
}

impl<'a> Places<'a> {
    /// Names places in these files, of which the first `standard_files` are the standard library.
    pub fn new(sources: &'a SourceMap, standard_files: usize) -> Places<'a> {
        Places { sources, standard_files }
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

    /// The places of a node: the expression, then what led to it.
    pub fn of_node(&self, graph: &Graph, node: NodeId) -> Vec<Place> {
        graph.node(node).origin.spans.iter().filter_map(|&span| self.of(span)).collect()
    }

    /// The lines that some nodes come from, each once: the program's own lines in the order of
    /// the text, and with each those of the standard library that it led to.
    pub fn lines(&self, graph: &Graph, nodes: &[NodeId]) -> Vec<SourceLine> {
        let lines = nodes.iter().filter_map(|&node| {
            let spans = &graph.node(node).origin.spans;
            let inner = *spans.first()?;
            let own = spans.iter().find(|span| span.file as usize >= self.standard_files);
            Some((self.line(*own.unwrap_or(&inner))?, self.line(inner)?))
        });
        let lines: BTreeSet<((u32, usize), (u32, usize))> = lines.collect();
        let lines = lines.into_iter().map(|(own, inner)| SourceLine {
            line: self.source_line(inner),
            led_to_by: (own != inner).then(|| self.source_line(own)),
        });
        lines.collect()
    }

    /// File and line of a span's start.
    fn line(&self, span: Span) -> Option<(u32, usize)> {
        let (line, _) = self.sources.file_of(span)?.line_and_column(span.start);
        Some((span.file, line))
    }

    fn source_line(&self, (file, line): (u32, usize)) -> Line {
        let file = self.sources.file(FileId(file));
        let text = file.text().lines().nth(line - 1).unwrap_or_default().trim();
        Line { file: file.name().to_owned(), line, text: text.to_owned() }
    }
}

/// A line of a source file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// The file's name.
    pub file: String,
    /// Its number, from 1.
    pub line: usize,
    /// The line without the blanks around it.
    pub text: String,
}

/// A line that something is computed by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceLine {
    /// The line.
    #[serde(flatten)]
    pub line: Line,
    /// The line of the program that led to it, if it stands in the standard library.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub led_to_by: Option<Line>,
}

/// `std/layers.cyg:10 y + bias <- digits.cyg:4`.
impl fmt::Display for SourceLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Line { file, line, text } = &self.line;
        write!(f, "{file}:{line} {text}")?;
        match &self.led_to_by {
            Some(Line { file, line, .. }) => write!(f, " <- {file}:{line}"),
            None => Ok(()),
        }
    }
}
