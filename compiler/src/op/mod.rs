//! Primitive operations, each declared once.
//!
//! An [`Op`] is a primitive with its attributes. What the compiler knows about a primitive - type
//! rule, reference evaluation, gradient, cost, sample domain - is its [`Primitive`]
//! implementation, in the file of its theme. Elementwise primitives are entries of one table
//! ([`elementwise::ELEMENTWISE`]).

pub mod contraction;
pub mod elementwise;
pub mod emit;
pub mod leaf;
pub mod lowering;
pub mod movement;
pub mod reduction;

use std::fmt;

pub use contraction::Contract;
pub use elementwise::Elementwise;
pub use emit::{Emit, NodeId};
pub use leaf::{Constant, Iota, Random, RandomKind, Slot};
pub use movement::{Broadcast, Concat, Pad, Permute, Reshape, Slice, View};
pub use reduction::{ArgKind, ArgReduce, Reduce, ReduceKind};

use crate::types::{DType, TensorType};

/// What the compiler knows about a primitive operation.
pub trait Primitive {
    /// Name in printed graphs.
    fn name(&self) -> &'static str;

    /// Attributes as printed after the name, for example `axes=[1]`; empty if there are none.
    fn attributes(&self) -> String {
        String::new()
    }

    /// The result's type, or why these operands do not fit, as a sentence that names axes by
    /// number and extents by value.
    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String>;
}

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
    /// Constant margins, and gaps between elements.
    Pad(Pad),
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
    /// The operand, opaque to differentiation.
    StopGradient(StopGradient),
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let primitive = self.primitive();
        let attributes = primitive.attributes();
        f.write_str(primitive.name())?;
        if attributes.is_empty() { Ok(()) } else { write!(f, "{{{attributes}}}") }
    }
}

/// Conversion to another element type. Float to integer truncates toward zero and saturates (NaN
/// gives 0); anything to `bool` compares with zero.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cast {
    /// Element type of the result.
    pub dtype: DType,
}

impl Primitive for Cast {
    fn name(&self) -> &'static str {
        "cast"
    }

    fn attributes(&self) -> String {
        self.dtype.to_string()
    }

    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [operand] = operands_of(operands)?;
        Ok(operand.with_dtype(self.dtype))
    }
}

/// The operand itself in the forward direction; no cotangent passes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StopGradient;

impl Primitive for StopGradient {
    fn name(&self) -> &'static str {
        "stop_gradient"
    }

    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [operand] = operands_of(operands)?;
        Ok(operand.clone())
    }
}

/// Exactly `N` operands, or an error that says how many there are.
fn operands_of<'a, const N: usize>(
    operands: &[&'a TensorType],
) -> Result<[&'a TensorType; N], String> {
    operands.try_into().map_err(|_| format!("takes {N} operands, got {}", operands.len()))
}
