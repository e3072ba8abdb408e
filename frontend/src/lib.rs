//! Cygnet: a small language for neural networks, compiled to native CPU code as one optimized graph.

pub mod source;
pub mod syntax;
