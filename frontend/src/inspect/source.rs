//! Source text: a definition and those that it uses.

use std::fmt::Write;

use serde::Serialize;

use super::Stage;
use crate::source::{SourceFile, SourceMap, Span};

/// Definitions as data.
#[derive(Serialize)]
pub struct SourceView<'a> {
    name: &'a str,
    stage: Stage,
    definitions: Vec<DefinitionView<'a>>,
}

#[derive(Serialize)]
struct DefinitionView<'a> {
    file: &'a str,
    line: usize,
    text: &'a str,
}

/// The text of definitions, with the comments right above them.
pub fn view<'a>(name: &'a str, spans: &[Span], sources: &'a SourceMap) -> SourceView<'a> {
    let definitions = spans.iter().filter_map(|&span| {
        let file = sources.file_of(span)?;
        let span = Span { start: with_comments(file, span.start), ..span };
        let (line, _) = file.line_and_column(span.start);
        Some(DefinitionView { file: file.name(), line, text: file.slice(span) })
    });
    SourceView { name, stage: Stage::Source, definitions: definitions.collect() }
}

/// The definitions one after another, each below a comment that says where it stands.
pub fn text(view: &SourceView<'_>) -> String {
    let mut text = String::new();
    for (number, DefinitionView { file, line, text: definition }) in
        view.definitions.iter().enumerate()
    {
        let blank = if number == 0 { "" } else { "\n" };
        let _ = writeln!(text, "{blank}# {file}:{line}\n{definition}");
    }
    text
}

/// Start of the comments that stand right above a definition, or of itself.
fn with_comments(file: &SourceFile, start: u32) -> u32 {
    let mut first = start as usize;
    while let Some(above) = file.text()[..first].strip_suffix('\n') {
        let line_start = above.rfind('\n').map_or(0, |newline| newline + 1);
        if !above[line_start..].starts_with('#') {
            break;
        }
        first = line_start;
    }
    first as u32
}
