//! Diagnostics as text for people, drawn by `miette`.

use std::fmt;
use std::sync::Arc;

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};

use super::{Diagnostic, Label, Severity};
use crate::highlight::SnippetHighlighter;
use crate::source::{SourceMap, Span};

/// How diagnostics are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RenderOptions {
    /// Whether to colour them; see [`ColorChoice`](crate::terminal::ColorChoice).
    pub color: bool,
    /// Whether frames may use characters beyond ASCII.
    pub unicode: bool,
    /// How many columns there are.
    pub width: usize,
}

impl Default for RenderOptions {
    /// Neither colour nor characters beyond ASCII, 100 columns.
    fn default() -> Self {
        RenderOptions { color: false, unicode: false, width: 100 }
    }
}

/// Several diagnostics one below the other, in the order given.
pub fn render_all(
    diagnostics: &[Diagnostic],
    sources: &SourceMap,
    options: &RenderOptions,
) -> String {
    let rendered: Vec<String> =
        diagnostics.iter().map(|diagnostic| render(diagnostic, sources, options)).collect();
    rendered.join("\n")
}

/// One diagnostic with the lines of source it is about. Ends in a newline.
pub fn render(diagnostic: &Diagnostic, sources: &SourceMap, options: &RenderOptions) -> String {
    let theme = match (options.unicode, options.color) {
        (true, true) => GraphicalTheme::unicode(),
        (true, false) => GraphicalTheme::unicode_nocolor(),
        (false, true) => GraphicalTheme::ascii(),
        (false, false) => GraphicalTheme::none(),
    };
    let mut handler =
        GraphicalReportHandler::new_themed(theme).with_width(options.width).with_links(false);
    handler = if options.color {
        handler.with_syntax_highlighting(SnippetHighlighter)
    } else {
        handler.without_syntax_highlighting()
    };
    let mut text = String::new();
    if handler.render_report(&mut text, &Report::new(diagnostic, sources)).is_err() {
        // Drawing fails only for spans outside their text; what is wrong must still be said.
        return format!("{}\n", diagnostic.message);
    }
    trim_line_ends(&text)
}

/// Takes trailing blanks from every line, so that output compares and copies well.
fn trim_line_ends(text: &str) -> String {
    let mut trimmed = String::with_capacity(text.len());
    for line in text.trim_end().lines() {
        trimmed.push_str(line.trim_end());
        trimmed.push('\n');
    }
    trimmed
}

/// A diagnostic in `miette`'s terms: one source with labels. Labels in other files follow as
/// reports of their own.
struct Report {
    severity: miette::Severity,
    /// `error[unknown-name]`.
    header: Option<String>,
    message: String,
    source: Option<NamedSource<Arc<str>>>,
    labels: Vec<LabeledSpan>,
    help: Option<String>,
    cause: Option<Cause>,
    related: Vec<Report>,
}

impl Report {
    fn new(diagnostic: &Diagnostic, sources: &SourceMap) -> Self {
        let main_file = diagnostic.primary_span().map(|span| span.file);
        let (here, elsewhere): (Vec<&Label>, Vec<&Label>) =
            diagnostic.labels.iter().partition(|label| Some(label.span.file) == main_file);
        let (severity, word) = match diagnostic.severity {
            Severity::Error => (miette::Severity::Error, "error"),
            Severity::Warning => (miette::Severity::Warning, "warning"),
        };
        Report {
            severity,
            header: Some(format!("{word}[{}]", diagnostic.code)),
            message: diagnostic.message.clone(),
            source: diagnostic.primary_span().and_then(|span| named_source(span, sources)),
            labels: here
                .into_iter()
                .map(|label| labeled_span(label, Some(label.text.clone()), sources))
                .collect(),
            help: diagnostic.help.clone(),
            cause: Cause::chain(&diagnostic.notes),
            related: elsewhere
                .into_iter()
                .map(|label| Report {
                    severity: miette::Severity::Advice,
                    header: None,
                    message: label.text.clone(),
                    source: named_source(label.span, sources),
                    labels: vec![labeled_span(label, None, sources)],
                    help: None,
                    cause: None,
                    related: Vec::new(),
                })
                .collect(),
        }
    }
}

fn named_source(span: Span, sources: &SourceMap) -> Option<NamedSource<Arc<str>>> {
    let file = sources.file_of(span)?;
    Some(NamedSource::new(file.name(), file.shared_text()))
}

fn labeled_span(label: &Label, text: Option<String>, sources: &SourceMap) -> LabeledSpan {
    let length = sources.file_of(label.span).map_or(0, |file| file.text().len());
    let start = (label.span.start as usize).min(length);
    let end = (label.span.end as usize).clamp(start, length);
    let range = (start, end - start);
    if label.primary {
        LabeledSpan::new_primary_with_span(text, range)
    } else {
        LabeledSpan::new_with_span(text, range)
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Report {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_ref().map(|cause| cause as &(dyn std::error::Error + 'static))
    }
}

impl miette::Diagnostic for Report {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.header.as_ref().map(|header| Box::new(header) as Box<dyn fmt::Display>)
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(self.severity)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(self.labels.iter().cloned()))
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn miette::Diagnostic> + 'a>> {
        Some(Box::new(self.related.iter().map(|report| report as &dyn miette::Diagnostic)))
    }
}

/// A reason, and the reason behind it: `miette` draws the sources of an error below its message.
#[derive(Debug)]
struct Cause {
    text: String,
    next: Option<Box<Cause>>,
}

impl Cause {
    fn chain(notes: &[String]) -> Option<Cause> {
        notes
            .iter()
            .rev()
            .fold(None, |next, text| Some(Cause { text: text.clone(), next: next.map(Box::new) }))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl std::error::Error for Cause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.next.as_ref().map(|cause| cause as &(dyn std::error::Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_files() -> (SourceMap, Diagnostic) {
        let mut sources = SourceMap::new();
        let user = sources.add("digits.cyg", "model m(x: f32[n, d]) = linear(x, \"ten\")\n");
        let std = sources.add("std/layers.cyg", "layer linear(x: f32[..., i], out: dim) {\n");
        let diagnostic = Diagnostic::error("type-mismatch", "`out` is a dim, not a string")
            .primary(sources.file(user).span(34, 39), "a string")
            .secondary(sources.file(user).span(24, 30), "in this call")
            .secondary(sources.file(std).span(29, 37), "`out` is declared here")
            .note("`linear` takes its second argument as `out`")
            .note("`out` is used as the size of an axis")
            .help("write a number, such as `10`");
        (sources, diagnostic)
    }

    #[test]
    fn plain_text_shows_every_place_and_reason() {
        let (sources, diagnostic) = two_files();
        insta::assert_snapshot!(render(&diagnostic, &sources, &RenderOptions::default()));
    }

    #[test]
    fn unicode_frames_hold_the_same_text() {
        let (sources, diagnostic) = two_files();
        let options = RenderOptions { unicode: true, ..RenderOptions::default() };
        insta::assert_snapshot!(render(&diagnostic, &sources, &options));
    }

    #[test]
    fn colour_only_adds_escapes() {
        let (sources, diagnostic) = two_files();
        let options = RenderOptions { color: true, ..RenderOptions::default() };
        let colored = render(&diagnostic, &sources, &options);
        assert!(colored.contains("\x1b["));
        let plain = render(&diagnostic, &sources, &RenderOptions::default());
        assert_eq!(strip_escapes(&colored), plain);
    }

    #[test]
    fn a_span_outside_its_text_still_gives_the_message() {
        let (sources, diagnostic) = two_files();
        let lost = diagnostic.primary(Span { file: 0, start: 900, end: 100 }, "far away");
        let text = render(&lost, &sources, &RenderOptions::default());
        assert!(text.contains("`out` is a dim, not a string"), "{text}");
        let nowhere = Diagnostic::warning("odd", "odd but harmless")
            .primary(Span { file: 9, start: 0, end: 1 }, "nowhere");
        let text = render(&nowhere, &sources, &RenderOptions::default());
        assert!(text.contains("odd but harmless"), "{text}");
    }

    /// Takes `ESC [ ... m` sequences out.
    fn strip_escapes(text: &str) -> String {
        let mut plain = String::new();
        let mut pieces = text.split("\x1b[");
        plain.push_str(pieces.next().unwrap_or(""));
        for piece in pieces {
            plain.push_str(piece.split_once('m').map_or("", |(_, rest)| rest));
        }
        trim_line_ends(&plain)
    }
}
