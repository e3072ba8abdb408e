//! The formatter behind `cygnet fmt`.
//!
//! A program has one layout, except for what says something: comments, single blank lines, and
//! whether a short block or a pipe stands on one line or on several. Lines have at most
//! [`WIDTH`] characters where they can be broken; blocks are indented by four. Formatting does
//! not change the syntax tree, and formatting twice changes nothing more.
//!
//! The tree is turned into a document, into which the comments are woven as the places they
//! stand before are passed.

mod comments;
mod document;
mod expression;
mod item;
mod recipe;
mod statement;

use crate::diagnostic::Diagnostic;
use crate::source::SourceFile;
use crate::syntax::{Parsed, parse_file};

use comments::Comments;
use expression::Spacing;

/// How long lines are, in characters.
pub const WIDTH: usize = 100;

/// Formats a program.
///
/// ```
/// use cygnet::{format::format, source::SourceMap};
///
/// let mut sources = SourceMap::new();
/// let file = sources.add("f.cyg", "fn f( x )=2*x   # twice");
/// assert_eq!(format(sources.file(file)).unwrap(), "fn f(x) = 2 * x # twice\n");
/// ```
///
/// # Errors
/// What is wrong with the program, if it cannot be parsed.
pub fn format(file: &SourceFile) -> Result<String, Vec<Diagnostic>> {
    let Parsed { ast, diagnostics, comments } = parse_file(file);
    if !diagnostics.is_empty() {
        return Err(diagnostics);
    }
    let mut formatter =
        Formatter { file, comments: Comments::new(file, &comments), spacing: Spacing::Wide };
    let mut text = formatter.file(&ast).print(WIDTH);
    if !text.is_empty() {
        text.push('\n');
    }
    Ok(text)
}

/// Turns the tree into a document. Every method handles the nodes of one kind, in the order of
/// the text: the comments depend on it.
struct Formatter<'a> {
    file: &'a SourceFile,
    comments: Comments<'a>,
    spacing: Spacing,
}
