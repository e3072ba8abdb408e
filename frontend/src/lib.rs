//! Cygnet: a small language for neural networks, compiled to native CPU code as one optimized graph.
//!
//! From Rust, a program is loaded with [`language::package::Package`], a model is run with
//! [`model::Model`], a recipe is trained with [`train::Trainer`]. Errors are values
//! ([`error::Error`]) whose diagnostics carry spans. The command line is [`cli::main`].
//!
//! | module | what it is about |
//! |---|---|
//! | [`syntax`], [`format`] | text to syntax tree, and back |
//! | [`language`] | names, sizes, shapes; from syntax tree to graph; the standard library |
//! | [`data`] | files of samples, arrays and weights |
//! | [`session`], [`model`], [`train`], [`bench`] | compiled graphs at work |
//! | [`cache`] | compiled programs on disk |
//! | [`tune`], [`compilations`] | many trainings side by side, with what they share |
//! | [`inspect`] | every stage of compilation, shown |
//! | [`diagnostic`], [`highlight`], [`terminal`] | what a person sees |

pub mod bench;
pub mod cache;
pub mod cli;
pub mod compilations;
pub mod data;
pub mod diagnostic;
pub mod error;
pub mod format;
pub mod gradcheck;
pub mod highlight;
pub mod inspect;
pub mod language;
pub mod model;
pub mod session;
pub mod source;
pub mod syntax;
pub mod terminal;
pub mod train;
pub mod tune;
