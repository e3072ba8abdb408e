//! The syntax of the language: from text to the syntax tree.
//!
//! [`lexer`] splits text into tokens, [`parser`] makes the tree ([`ast`]) of them. The grammar
//! stands in the language reference (`frontend/language.md`).

pub mod ast;
pub mod lexer;
pub mod parser;
pub mod token;

pub use parser::{MAX_NESTING, MAX_SOURCE_BYTES, Parsed, parse, parse_file};

/// After so many mistakes the rest of a file is not read.
const MAX_DIAGNOSTICS: usize = 50;
