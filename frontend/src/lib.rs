//! Cygnet: a small language for neural networks, compiled to native CPU code as one optimized graph.

pub mod bench;
pub mod cli;
pub mod data;
pub mod diagnostic;
pub mod error;
pub mod format;
pub mod gradcheck;
pub mod highlight;
pub mod inspect;
pub mod language;
pub mod session;
pub mod source;
pub mod syntax;
pub mod terminal;
pub mod train;
