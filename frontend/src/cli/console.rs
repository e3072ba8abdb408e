//! What commands print, and how they fail.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use serde::Serialize;

use crate::diagnostic::{Diagnostic, RenderOptions, render_all};
use crate::error::Error;
use crate::highlight::{Language, highlight};
use crate::source::SourceMap;
use crate::terminal::ColorChoice;

/// Why a command failed, with the sources that diagnostics refer to.
pub struct Failure {
    diagnostics: Vec<Diagnostic>,
    sources: SourceMap,
    exit_code: u8,
}

/// The codes of diagnostics about values that `--set` and its like give or should give.
const SETTING_CODES: [&str; 3] = ["missing-size", "unknown-setting", "bad-setting"];

impl Failure {
    /// The work failed, or what was set on the command line was wrong.
    pub fn new(error: &Error, sources: &SourceMap) -> Failure {
        let diagnostics = error.diagnostics();
        let of_settings = |diagnostic: &Diagnostic| SETTING_CODES.contains(&diagnostic.code);
        let errors = || diagnostics.iter().filter(|diagnostic| diagnostic.is_error());
        let usage = errors().next().is_some() && errors().all(of_settings);
        Failure { diagnostics, sources: sources.clone(), exit_code: if usage { 2 } else { 1 } }
    }

    /// The command was used wrongly.
    pub fn usage(message: impl Into<String>, remedy: impl Into<String>) -> Failure {
        let diagnostic = Diagnostic::error("usage", message).help(remedy);
        Failure { diagnostics: vec![diagnostic], sources: SourceMap::new(), exit_code: 2 }
    }

    /// The work failed in a way that was already reported.
    pub fn reported() -> Failure {
        Failure { diagnostics: Vec::new(), sources: SourceMap::new(), exit_code: 1 }
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.exit_code)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::new(&error, &SourceMap::new())
    }
}

/// Standard output and standard error.
pub struct Console {
    error_options: RenderOptions,
}

impl Console {
    /// Looks at what the terminal can show.
    pub fn new() -> Console {
        let stderr = std::io::stderr();
        let color = ColorChoice::Auto.for_stream(&stderr);
        let options = RenderOptions::default();
        Console { error_options: RenderOptions { color, unicode: stderr.is_terminal(), ..options } }
    }

    /// Prints diagnostics to stderr.
    pub fn diagnose(&self, diagnostics: &[Diagnostic], sources: &SourceMap) {
        eprint!("{}", render_all(diagnostics, sources, &self.error_options));
    }

    /// Prints why a command failed to stderr.
    pub fn report(&self, failure: &Failure) {
        self.diagnose(&failure.diagnostics, &failure.sources);
    }

    /// Prints a line of result to stdout. A reader that has gone away is no error.
    pub fn print(&self, line: &str) {
        let _ = writeln!(std::io::stdout().lock(), "{line}");
    }

    /// Prints a document that ends with a line break to stdout, in colours on a terminal.
    pub fn print_document(&self, text: &str, language: Language) {
        let mut stdout = std::io::stdout().lock();
        let color = ColorChoice::Auto.for_stream(&stdout);
        let _ = stdout.write_all(highlight(text, language, color).as_bytes());
    }

    /// Prints an object as a line of JSON to stdout.
    pub fn print_json(&self, value: &impl Serialize) {
        let line = serde_json::to_string(value).expect("plain data become JSON");
        self.print(&line);
    }
}
