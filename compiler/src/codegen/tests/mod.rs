//! Native code against the interpreter of kernel IR.

mod elementwise;
mod harness;
mod random_bodies;
mod reductions;
mod regions;
mod sharing;
mod statements;
mod wide;
