//! What goes wrong in a user's program, and how it is shown.
//!
//! Every stage of the front end reports by [`Diagnostic`] values and goes on, so that one run
//! shows several. A diagnostic says what is wrong, where (with every place involved), why, and
//! what to do about it.

mod render;
mod suggest;

use std::fmt;

use serde::Serialize;

use crate::source::Span;

pub use render::{RenderOptions, render, render_all};
pub use suggest::closest;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The program cannot be used.
    Error,
    /// The program can be used but probably does not do what was meant.
    Warning,
}

/// A place in the source and what is to be said about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Label {
    /// The place.
    pub span: Span,
    /// What is said about it.
    pub text: String,
    /// Whether this is where the mistake is, rather than something it has to do with.
    pub primary: bool,
}

/// One mistake, or one doubtful thing, in a user's program.
///
/// ```
/// use cygnet::diagnostic::Diagnostic;
/// use cygnet::source::SourceMap;
///
/// let mut sources = SourceMap::new();
/// let file = sources.add("a.cyg", "let y = tanj(x)");
/// let span = sources.file(file).span(8, 12);
/// let diagnostic = Diagnostic::error("unknown-name", "there is no `tanj`")
///     .primary(span, "not defined anywhere")
///     .help("did you mean `tanh`?");
/// assert_eq!(diagnostic.primary_span(), Some(span));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// A short name of this kind of diagnostic that stays the same between versions:
    /// `unknown-name`.
    pub code: &'static str,
    /// What is wrong, in one sentence.
    pub message: String,
    /// Every place involved.
    pub labels: Vec<Label>,
    /// Why it is wrong: facts that led to it, the most direct one first.
    pub notes: Vec<String>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A mistake: the program cannot be used.
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, message.into())
    }

    /// Something doubtful: the program can be used.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, message.into())
    }

    fn new(severity: Severity, code: &'static str, message: String) -> Self {
        Diagnostic { severity, code, message, labels: Vec::new(), notes: Vec::new(), help: None }
    }

    /// Adds a place where the mistake is.
    pub fn primary(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: text.into(), primary: true });
        self
    }

    /// Adds a place that the mistake has to do with.
    pub fn secondary(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: text.into(), primary: false });
        self
    }

    /// Adds a reason.
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }

    /// Says what to do; a further call adds a line.
    pub fn help(mut self, text: impl Into<String>) -> Self {
        let text = text.into();
        self.help = Some(match self.help {
            Some(before) => format!("{before}\n{text}"),
            None => text,
        });
        self
    }

    /// Where the mistake is: the first primary place, or else the first place.
    pub fn primary_span(&self) -> Option<Span> {
        let primary = self.labels.iter().find(|label| label.primary);
        primary.or(self.labels.first()).map(|label| label.span)
    }

    /// Whether it is an error, not a warning.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Diagnostic {}
