//! The syntax of the language: from text to the syntax tree.

pub mod ast;
