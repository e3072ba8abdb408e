//! Native code from kernel IR, by Cranelift.
//!
//! Every [`Function`] becomes one function of machine code, called as
//! [`cygnet_runtime::program`] says. Loops, index arithmetic, loads and stores and cheap
//! arithmetic are generated: by Cranelift with 128-bit vectors, or, for processors with AVX-512 or AVX2 and
//! where elements lie side by side, as routines with vectors as wide as theirs ([`wide`]). Transcendental functions and
//! random numbers are calls of the runtime's tile functions, which have the processor's widest vectors.

mod abi;
mod cast;
mod compiler;
mod function;
mod image;
mod indices;
mod jit;
mod lanes;
mod listing;
mod memory;
mod runtime;
mod sharing;
#[cfg(test)]
mod tests;
mod tiles;
mod wide;

pub use compiler::machine;
pub use image::Image;
pub use jit::{CodegenError, CompiledCode, generate};
pub use listing::{Listing, list_functions};
