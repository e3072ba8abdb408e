//! Cygnet: a small language for neural networks, compiled to native CPU code as one optimized graph.

pub mod data;
pub mod diagnostic;
pub mod elaborated;
pub mod format;
pub mod highlight;
pub mod language;
pub mod source;
pub mod syntax;
pub mod terminal;
