//! Primitive operations, each declared once.
//!
//! An [`Op`] is a primitive with its attributes. What the compiler knows about a primitive - type
//! rule, reference evaluation, gradient, kinks, arithmetic - is its [`Primitive`] implementation,
//! in the file of its theme. Elementwise primitives are entries of one table
//! ([`elementwise::ELEMENTWISE`]).

pub mod contraction;
pub mod conversion;
pub mod convolution;
pub mod elementwise;
pub mod emit;
pub mod indexing;
pub mod interleave;
pub mod leaf;
pub mod library;
pub mod lowering;
pub mod movement;
pub mod ordering;
pub mod reduction;
pub mod scan;
#[cfg(test)]
mod tests;
pub mod window;
pub mod winograd;

use std::fmt;

use smallvec::SmallVec;

pub use contraction::Contract;
pub use conversion::{Cast, StopGradient};
pub use convolution::{Conv, Sliding};
pub use cygnet_runtime::library::ScatterKind;
pub use elementwise::Elementwise;
pub use emit::{Emit, NodeId};
pub use indexing::{Gather, Scatter};
pub use interleave::Interleave;
pub use leaf::{Constant, Iota, Random, RandomKind, Slot};
pub use movement::{Broadcast, Concat, Pad, Permute, Reshape, Reverse, Slice, View};
pub use ordering::{ArgSort, Cumulate};
pub use reduction::{ArgKind, ArgReduce, Reduce, ReduceKind};
pub use scan::{OperandRole, Port, Scan};
pub use window::{Fold, Unfold, Window, Windows};
pub use winograd::{Winograd, WinogradGradient, WinogradInput, WinogradKernel, WinogradTaps};

use crate::array::Array;
use crate::types::TensorType;

/// What the compiler knows about a primitive operation.
pub trait Primitive {
    /// Name in printed graphs.
    fn name(&self) -> &'static str;

    /// One line on what it computes.
    fn doc(&self) -> &'static str;

    /// Attributes as printed after the name, for example `axes=[1]`; empty if there are none.
    fn attributes(&self) -> String {
        String::new()
    }

    /// The result's type, or why these operands do not fit, as a sentence that names axes by
    /// number and extents by value.
    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String>;

    /// Reference evaluation in f64, without cleverness: the oracle for all other ways to execute.
    /// `result` is the inferred type.
    ///
    /// # Panics
    /// May panic if the operands do not fit ([`Primitive::infer`]).
    fn evaluate(&self, operands: &[&Array], result: &TensorType, context: &Context<'_>) -> Array;

    /// Whether a cotangent of the result gives one of this operand, both being floats.
    fn differentiable(&self, operand: usize) -> bool;

    /// Emits the cotangents of the wanted operands; absent where nothing flows back. Called only
    /// if the result and the wanted operands are floats and these
    /// [differentiable](Primitive::differentiable).
    ///
    /// # Errors
    /// A sentence on why the primitive has no gradient.
    fn gradient(&self, graph: &mut dyn Emit, at: &Application<'_>) -> Result<Cotangents, String>;

    /// Arithmetic operations: a multiplication and addition counts as two, an elementwise
    /// function as one for each element, movement as none.
    fn flops(&self, _operands: &[&TensorType], _result: &TensorType) -> f64 {
        0.0
    }

    /// A lower bound, up to a constant factor, on how far an operand can change before the
    /// gradient jumps; infinite for smooth functions. Finite differences are meaningful only well
    /// below it.
    fn kink_distance(&self, _operands: &[&Array]) -> f64 {
        f64::INFINITY
    }
}

/// What reference evaluation depends on besides operands.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Values of the graph's slots before the step.
    pub slots: &'a [Array],
    /// Seed of all random streams.
    pub seed: u64,
    /// Number of the step, counted from 0.
    pub step: u64,
}

/// An application of a primitive, seen in reverse.
#[derive(Clone, Copy, Debug)]
pub struct Application<'a> {
    /// The operands.
    pub operands: &'a [NodeId],
    /// The result.
    pub result: NodeId,
    /// The cotangent of the result: the derivative of the loss by it.
    pub cotangent: NodeId,
    /// Per operand, whether its cotangent is wanted.
    pub wanted: &'a [bool],
}

/// Cotangents of operands, one by one; absent where nothing flows back.
pub type Cotangents = SmallVec<[Option<NodeId>; 3]>;

macro_rules! ops {
    ($($(#[$doc:meta])* $name:ident($type:ty)),* $(,)?) => {
        /// A primitive operation with its attributes.
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Op {
            $($(#[$doc])* $name($type),)*
        }

        impl Op {
            /// The declaration of this primitive.
            pub fn primitive(&self) -> &dyn Primitive {
                match self {
                    $(Op::$name(op) => op,)*
                }
            }
        }

        $(impl From<$type> for Op {
            fn from(op: $type) -> Op {
                Op::$name(op)
            }
        })*
    };
}

ops! {
    /// A tensor that outlives the step or comes from outside.
    Slot(Slot),
    /// One value everywhere.
    Constant(Constant),
    /// Position along an axis.
    Iota(Iota),
    /// Random numbers of a named stream.
    Random(Random),
    /// A function applied to each element.
    Elementwise(Elementwise),
    /// Conversion to another element type.
    Cast(Cast),
    /// The same elements in row-major order under another shape.
    Reshape(Reshape),
    /// Axes in another order.
    Permute(Permute),
    /// Repetition along new axes.
    Broadcast(Broadcast),
    /// Every `step`-th element between bounds.
    Slice(Slice),
    /// Axes from their end to their start.
    Reverse(Reverse),
    /// Constant margins, and gaps between elements.
    Pad(Pad),
    /// Sliding windows over the last axes.
    Unfold(Unfold),
    /// Operands one after another along an axis.
    Concat(Concat),
    /// A composition of movements as one index map; made by the optimizer.
    View(View),
    /// Sum, maximum or product over axes.
    Reduce(Reduce),
    /// Position of the extreme element along an axis.
    ArgReduce(ArgReduce),
    /// Batched product summed over shared axes.
    Contract(Contract),
    /// Slices at indices.
    Gather(Gather),
    /// Slices put at indices.
    Scatter(Scatter),
    /// Combinations of the elements up to each one.
    Cumulate(Cumulate),
    /// Positions of the elements in order.
    ArgSort(ArgSort),
    /// Sums of products of windows with a kernel.
    Conv(Conv),
    /// Sum of sliding windows where they overlap.
    Fold(Fold),
    /// The operand, opaque to differentiation.
    StopGradient(StopGradient),
    /// A loop.
    Scan(Scan),
    /// One result of a loop.
    Port(Port),
    /// Operands that take turns along an axis; made by the optimizer.
    Interleave(Interleave),
    /// A convolution in a transformed space; made by the optimizer.
    Winograd(Winograd),
    /// The input of one, transformed; made by the optimizer.
    WinogradInput(WinogradInput),
    /// Kernels for it; made by the optimizer.
    WinogradKernel(WinogradKernel),
    /// Sums for the gradient of such kernels; made by the optimizer.
    WinogradGradient(WinogradGradient),
    /// The gradient of such kernels; made by the optimizer.
    WinogradTaps(WinogradTaps),
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let primitive = self.primitive();
        let attributes = primitive.attributes();
        f.write_str(primitive.name())?;
        if attributes.is_empty() { Ok(()) } else { write!(f, "{{{attributes}}}") }
    }
}

/// Exactly `N` operands, or an error that says how many there are.
fn operands_of<'a, const N: usize>(
    operands: &[&'a TensorType],
) -> Result<[&'a TensorType; N], String> {
    operands.try_into().map_err(|_| wrong_count(N, operands.len()))
}

/// The error for `found` operands where there should be `expected`.
fn wrong_count(expected: usize, found: usize) -> String {
    format!("takes {expected} operand{}, got {found}", if expected == 1 { "" } else { "s" })
}
