//! Numbers that are no tensors: static ones, and floats known when the program runs.

use cygnet_compiler::graph::{Emit, NodeId};
use cygnet_compiler::types::DType;

use super::{Eval, Evaluator};
use crate::diagnostic::Diagnostic;
use crate::language::size::{Comparison, Size};
use crate::language::value::{Axis, Tensor, Value};
use crate::source::Span;

/// A number that adapts to the element type of tensors.
#[derive(Clone, Debug)]
pub enum Number {
    /// A static whole number.
    Int(Size),
    /// A static float; `None` if it is not known yet.
    Float(Option<f64>),
    /// An `f64` scalar of the compiled program.
    Scalar(Option<NodeId>),
}

impl Number {
    /// The number that a value is, if it is one.
    pub fn of(value: &Value<'_>) -> Option<Number> {
        match value {
            Value::Int(int) => Some(Number::Int(int.size.clone())),
            Value::Float(float) => Some(Number::Float(*float)),
            Value::Scalar(node) => Some(Number::Scalar(*node)),
            _ => None,
        }
    }

    /// The number as a float, if it is static and known.
    pub fn known(&self) -> Option<f64> {
        match self {
            Number::Int(size) => size.as_constant().map(|value| value as f64),
            Number::Float(float) => *float,
            Number::Scalar(_) => None,
        }
    }

    /// Whether it is known only when the program runs.
    pub fn is_scalar(&self) -> bool {
        matches!(self, Number::Scalar(_))
    }
}

impl<'p> Evaluator<'p> {
    /// The number as a tensor of element type `dtype`, repeated along `axes`.
    ///
    /// A float does not become a whole number, and no number a bool.
    pub fn spread(
        &mut self,
        number: &Number,
        dtype: DType,
        axes: &[Axis],
        span: Span,
    ) -> Eval<Tensor> {
        let fits = match number {
            Number::Int(_) => dtype != DType::Bool,
            Number::Float(_) | Number::Scalar(_) => dtype.is_float(),
        };
        if !fits {
            let what = match number {
                Number::Int(_) => "a whole number",
                _ => "a float",
            };
            let mut diagnostic =
                Diagnostic::error("literal-type", format!("{what} does not become {dtype}"))
                    .primary(span, format!("this meets a tensor of {dtype}"));
            diagnostic = match dtype {
                DType::Bool => diagnostic.help("use `true` and `false`, or compare the tensor"),
                _ => diagnostic.help("convert the tensor: `f32(x)`"),
            };
            return Err(self.report(diagnostic));
        }
        let shape = Evaluator::extents(axes);
        let node = match (number, number.known()) {
            (Number::Scalar(node), _) => self.emit_nodes([*node], |graph, [scalar]| {
                let scalar = graph.cast(scalar, dtype);
                graph.splat(scalar, &shape)
            }),
            (_, Some(value)) => {
                self.emit_nodes([], |graph, []| graph.constant(dtype, &shape, value))
            }
            _ => None,
        };
        Ok(Tensor { dtype, axes: axes.to_vec(), node })
    }

    /// The node of a number among operands that are `f64` scalars.
    pub fn number_node(&mut self, number: &Number) -> Option<NodeId> {
        match (number, number.known()) {
            (Number::Scalar(node), _) => *node,
            (_, Some(value)) => {
                self.emit_nodes([], |graph, []| graph.constant(DType::F64, &[], value))
            }
            _ => None,
        }
    }

    /// A static whole number.
    pub fn expect_size(&mut self, value: &Value<'p>, span: Span, what: &str) -> Eval<Size> {
        match value {
            Value::Int(int) => Ok(int.size.clone()),
            other => Err(self.unfit(other, span, what, "a whole number or dim")),
        }
    }

    /// A static whole number that does not depend on free dims; [`super::Stop`] without a report
    /// if it does.
    pub fn expect_integer(&mut self, value: &Value<'p>, span: Span, what: &str) -> Eval<i64> {
        self.expect_size(value, span, what)?.as_constant().ok_or(super::Stop)
    }

    /// A static float, `None` if it is not known yet.
    pub fn expect_float(&mut self, value: &Value<'p>, span: Span, what: &str) -> Eval<Option<f64>> {
        match Number::of(value) {
            Some(Number::Scalar(_)) => Err(self.report(
                Diagnostic::error(
                    "not-static",
                    format!("{what} must be known when the program is compiled"),
                )
                .primary(span, "known only when the program runs")
                .help("a recipe's `float` parameters are run-time values; use a number here"),
            )),
            Some(number) => Ok(number.known()),
            None => Err(self.unfit(value, span, what, "a number")),
        }
    }

    /// An extent: at least 1, where this is known.
    pub fn expect_extent(&mut self, value: &Value<'p>, span: Span) -> Eval<Size> {
        let size = self.expect_size(value, span, "the size of an axis")?;
        if size.as_constant().is_some_and(|size| size < 1) {
            return Err(self.report(
                Diagnostic::error("empty-axis", format!("an axis cannot have the size {size}"))
                    .primary(span, format!("this is {size}"))
                    .help("an axis has at least one element"),
            ));
        }
        Ok(size)
    }

    /// Whether a comparison of two sizes holds; `None` if that depends on free dims.
    pub fn compare_sizes(
        a: &Size,
        b: &Size,
        holds: impl FnOnce(std::cmp::Ordering) -> bool,
    ) -> Option<bool> {
        match a.compare(b) {
            Comparison::Known(ordering) => Some(holds(ordering)),
            Comparison::Undecided => None,
        }
    }
}
