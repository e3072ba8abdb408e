//! The table of elementwise primitives.
//!
//! An entry is all there is to an elementwise operation: add one to the file of its theme and it
//! can be called from the language, differentiated, optimized, compiled, printed and tested.

mod arithmetic;
mod comparison;
#[cfg(test)]
mod tests;
mod transcendental;

use std::fmt;

use smallvec::SmallVec;

use super::lowering::Lowering;
use super::{Application, Context, Cotangents, Emit, NodeId, Primitive, wrong_count};
use crate::array::Array;
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

/// The cotangent of one operand, from the graph under construction, the operands `x`, the result
/// `y` and its cotangent `dy`.
pub type OperandGradient = fn(&mut dyn Emit, &[NodeId], NodeId, NodeId) -> NodeId;

/// Where tests sample operands.
#[derive(Clone, Copy, Debug)]
pub struct Domain {
    /// Per operand, a range in which the function is well conditioned and no derivative is large.
    pub ranges: &'static [(f64, f64)],
    /// Distance of the operands from the nearest place where the function is not differentiable;
    /// infinite if there is none.
    pub kink_distance: fn(&[f64]) -> f64,
}

impl Domain {
    /// A domain without kinks.
    const fn smooth(ranges: &'static [(f64, f64)]) -> Domain {
        Domain { ranges, kink_distance: |_| f64::INFINITY }
    }
}

/// Declaration of an elementwise primitive.
#[derive(Clone, Copy)]
pub struct Entry {
    /// Name in the language, in printed graphs and in rules.
    pub name: &'static str,
    /// One line on what it computes, of operands `a`, `b` and `c`.
    pub doc: &'static str,
    /// Number of operands.
    pub arity: usize,
    /// Which element types it takes and gives.
    pub typing: Typing,
    /// Whether the two operands may change places.
    pub commutative: bool,
    /// Reference evaluation on one element, in f64; booleans are 0 and 1.
    pub evaluate: fn(&[f64]) -> f64,
    /// Reference evaluation on integers, which wrap; present exactly for [`Typing::Numeric`].
    pub evaluate_i32: Option<fn(&[i32]) -> i32>,
    /// Per operand, how its cotangent is computed; `None` where the function is piecewise
    /// constant or the operand is not a float.
    pub gradient: &'static [Option<OperandGradient>],
    /// How it becomes code.
    pub lowering: Lowering,
    /// Predicted nanoseconds per f32 element, operands in the first-level cache, on one core.
    ///
    /// Measured on a Zen 5 over 512 elements: inline operations in 128-bit vectors, what one more
    /// of them adds to a chain; tile functions with AVX-512, the whole call. (With AVX2 tile
    /// functions take two to three times as long.)
    pub cost: f64,
    /// Where tests sample operands.
    pub domain: Domain,
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

    /// Reference evaluation of one element of a result of this type.
    pub fn evaluate_element(self, result: DType, arguments: &[f64]) -> f64 {
        match self.entry().evaluate_i32.filter(|_| result == DType::I32) {
            Some(evaluate) => {
                let arguments: SmallVec<[i32; 3]> = arguments.iter().map(|&x| x as i32).collect();
                f64::from(evaluate(&arguments))
            }
            None => (self.entry().evaluate)(arguments),
        }
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

    fn doc(&self) -> &'static str {
        self.entry().doc
    }

    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let Entry { arity, typing, .. } = self.entry();
        if operands.len() != *arity {
            return Err(wrong_count(*arity, operands.len()));
        }
        if operands.iter().any(|operand| operand.shape != operands[0].shape) {
            let shapes: Vec<String> = operands.iter().map(ToString::to_string).collect();
            return Err(format!("operands of different shapes: {}", shapes.join(", ")));
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
            return Err(format!("does not take {}", types.join(", ")));
        }
        let result = if *typing == Typing::Comparison { DType::Bool } else { dtype };
        Ok(operands[0].with_dtype(result))
    }

    fn evaluate(&self, operands: &[&Array], result: &TensorType, _: &Context<'_>) -> Array {
        let mut arguments = vec![0.0; operands.len()];
        let values = (0..result.elements()).map(|element| {
            for (argument, operand) in arguments.iter_mut().zip(operands) {
                *argument = operand.values[element];
            }
            self.evaluate_element(result.dtype, &arguments)
        });
        Array { ty: result.clone(), values: values.collect() }
    }

    fn differentiable(&self, operand: usize) -> bool {
        self.entry().gradient[operand].is_some()
    }

    fn gradient(&self, graph: &mut dyn Emit, at: &Application<'_>) -> Result<Cotangents, String> {
        let rules = self.entry().gradient.iter().zip(at.wanted);
        Ok(rules
            .map(|(rule, wanted)| {
                let rule = rule.filter(|_| *wanted)?;
                Some(rule(graph, at.operands, at.result, at.cotangent))
            })
            .collect())
    }

    fn flops(&self, _: &[&TensorType], result: &TensorType) -> f64 {
        result.elements() as f64
    }

    fn kink_distance(&self, operands: &[&Array]) -> f64 {
        if !operands.iter().any(|operand| operand.ty.dtype.is_float()) {
            return f64::INFINITY;
        }
        let elements = operands[0].values.len();
        let distance = |element: usize| {
            let arguments: Vec<f64> = operands.iter().map(|x| x.values[element]).collect();
            (self.entry().domain.kink_distance)(&arguments)
        };
        (0..elements).map(distance).fold(f64::INFINITY, f64::min)
    }
}

/// All entries, theme by theme.
pub static ELEMENTWISE: &[Entry] = &TABLE;

static TABLE: [Entry; COUNT] = join(&THEMES);

const THEMES: [&[Entry]; 3] = [arithmetic::ENTRIES, transcendental::ENTRIES, comparison::ENTRIES];

const COUNT: usize = THEMES[0].len() + THEMES[1].len() + THEMES[2].len();

const fn join<const N: usize>(themes: &[&[Entry]]) -> [Entry; N] {
    let mut all = [themes[0][0]; N];
    let mut filled = 0;
    let mut theme = 0;
    while theme < themes.len() {
        let mut place = 0;
        while place < themes[theme].len() {
            all[filled] = themes[theme][place];
            filled += 1;
            place += 1;
        }
        theme += 1;
    }
    all
}
