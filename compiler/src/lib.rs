//! The Cygnet compiler: computation graph, differentiation, e-graph optimizer, scheduler and code
//! generation.
//!
//! A graph of primitives ([`graph::Graph`]) is differentiated, optimized, covered by fused
//! kernels ([`kernel::KernelGraph`]), lowered to loops ([`kernel::loops`]) and compiled to native
//! code that the runtime executes. This crate knows no files, no clock and no terminal.

#[cfg(any(test, feature = "arbitrary"))]
pub mod arbitrary;
pub mod array;
pub mod codegen;
pub mod compile;
pub mod differentiate;
pub mod evaluate;
pub mod executable;
pub mod graph;
pub mod index;
pub mod kernel;
pub mod narrow;
pub mod op;
pub mod optimize;
pub mod parallel;
pub mod schedule;
pub mod span;
pub mod types;

pub use array::Array;
pub use span::Span;
