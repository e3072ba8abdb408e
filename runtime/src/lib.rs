//! Runs compiled Cygnet programs: tensors, arena, thread team, micro-kernels and random numbers.
//!
//! This is the ground floor. A [`program::Program`] is a list of barrier-separated phases of
//! pieces of work, produced by the compiler; everything it touches has its place in one arena,
//! fixed at compile time.

pub mod arena;
mod claims;
pub mod contraction;
pub mod cpu;
pub mod dtype;
pub mod executor;
pub mod gemm;
pub mod library;
pub mod limits;
pub mod list;
pub mod profile;
pub mod program;
pub mod random;
mod schedule;
mod simd;
pub mod slots;
pub mod team;
pub mod tensor;
pub mod tile;
mod verify;
