//! The table of elementwise primitives.
//!
//! An entry is all there is to an elementwise operation: add one here and it can be called from
//! the language, differentiated, optimized, compiled, printed and tested.

use std::fmt;

use super::Primitive;
use crate::types::{DType, TensorType};

/// How operand element types determine the result's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Typing {
    /// Floats or i32, all the same; so is the result.
    Numeric,
    /// Floats, all the same; so is the result.
    Float,
    /// Any type but all the same; the result is bool.
    Comparison,
    /// All bool; so is the result.
    Logical,
    /// A bool and two of one type, which is the result's.
    Select,
}

/// Declaration of an elementwise primitive.
pub struct Entry {
    /// Name in the language, in printed graphs and in rules.
    pub name: &'static str,
    /// One line on what it computes.
    pub doc: &'static str,
    /// Number of operands.
    pub arity: usize,
    /// Which element types it takes and gives.
    pub typing: Typing,
    /// Reference evaluation on one element, in f64; booleans are 0 and 1.
    pub evaluate: fn(&[f64]) -> f64,
}

/// An elementwise primitive: a handle on its [`Entry`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Elementwise(u8);

impl Elementwise {
    /// All elementwise primitives, in table order.
    pub fn all() -> impl Iterator<Item = Elementwise> {
        (0..ELEMENTWISE.len()).map(|index| Elementwise(index as u8))
    }

    /// The primitive with this name.
    pub fn named(name: &str) -> Option<Elementwise> {
        Elementwise::all().find(|function| function.entry().name == name)
    }

    /// The declaration.
    pub fn entry(self) -> &'static Entry {
        &ELEMENTWISE[usize::from(self.0)]
    }
}

impl fmt::Debug for Elementwise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.entry().name)
    }
}

impl Primitive for Elementwise {
    fn name(&self) -> &'static str {
        self.entry().name
    }

    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let Entry { name, arity, typing, .. } = self.entry();
        if operands.len() != *arity {
            return Err(format!("{name} takes {arity} operands, got {}", operands.len()));
        }
        if operands.iter().any(|operand| operand.shape != operands[0].shape) {
            let shapes: Vec<String> = operands.iter().map(ToString::to_string).collect();
            return Err(format!("{name} of different shapes: {}", shapes.join(", ")));
        }
        let values = if *typing == Typing::Select { &operands[1..] } else { operands };
        let dtype = values[0].dtype;
        let fits = values.iter().all(|operand| operand.dtype == dtype)
            && match typing {
                Typing::Numeric => dtype.is_float() || dtype == DType::I32,
                Typing::Float => dtype.is_float(),
                Typing::Comparison => true,
                Typing::Logical => dtype == DType::Bool,
                Typing::Select => operands[0].dtype == DType::Bool,
            };
        if !fits {
            let types: Vec<String> = operands.iter().map(ToString::to_string).collect();
            return Err(format!("{name} does not take {}", types.join(", ")));
        }
        let result = if *typing == Typing::Comparison { DType::Bool } else { dtype };
        Ok(operands[0].with_dtype(result))
    }
}

/// All entries.
pub static ELEMENTWISE: &[Entry] = &[
    Entry {
        name: "add",
        doc: "a + b",
        arity: 2,
        typing: Typing::Numeric,
        evaluate: |x| x[0] + x[1],
    },
    Entry {
        name: "sub",
        doc: "a - b",
        arity: 2,
        typing: Typing::Numeric,
        evaluate: |x| x[0] - x[1],
    },
    Entry {
        name: "mul",
        doc: "a * b",
        arity: 2,
        typing: Typing::Numeric,
        evaluate: |x| x[0] * x[1],
    },
    Entry { name: "div", doc: "a / b", arity: 2, typing: Typing::Float, evaluate: |x| x[0] / x[1] },
    Entry { name: "neg", doc: "-a", arity: 1, typing: Typing::Numeric, evaluate: |x| -x[0] },
    Entry { name: "exp", doc: "e^a", arity: 1, typing: Typing::Float, evaluate: |x| x[0].exp() },
    Entry {
        name: "select",
        doc: "b where a holds, else c",
        arity: 3,
        typing: Typing::Select,
        evaluate: |x| if x[0] != 0.0 { x[1] } else { x[2] },
    },
];
