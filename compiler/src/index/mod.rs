//! Quasi-affine index arithmetic.
//!
//! Every movement of elements - reshape, permute, broadcast, slice, pad, and any composition of
//! them - is an [`IndexMap`] from result indices to operand indices. Kernels read and write
//! through such maps, so movement costs no pass over memory of its own.

mod digits;
mod expression;
mod map;
mod steps;

pub use digits::Digits;
pub use expression::{Atom, Expression};
pub use map::{Constraint, IndexMap, row_major_strides};
