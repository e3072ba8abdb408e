//! Native code against the interpreter of kernel IR.

mod harness;
mod statements;
