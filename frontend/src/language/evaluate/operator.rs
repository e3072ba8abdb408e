//! Operators and elementwise functions.

use cygnet_compiler::graph::Emit;
use cygnet_compiler::op::Elementwise;
use cygnet_compiler::op::elementwise::Typing;
use cygnet_compiler::types::DType;

use super::broadcast::Operand;
use super::{Eval, Evaluator, Number, Requirement, Stop};
use crate::diagnostic::Diagnostic;
use crate::language::size::{Division, Size};
use crate::language::value::{Given, Tensor, Value};
use crate::source::Span;
use crate::syntax::ast::{BinaryOperator, UnaryOperator};

/// Powers up to this one are products.
const LARGEST_PRODUCT: i64 = 4;

impl<'p> Evaluator<'p> {
    /// `operator operand`.
    pub fn unary(&mut self, operator: UnaryOperator, operand: Given<'p>) -> Eval<Value<'p>> {
        match (operator, &operand.value) {
            (UnaryOperator::Negate, Value::Int(int)) => Ok(Value::int(int.size.negate())),
            (UnaryOperator::Negate, _) => self.elementwise("neg", vec![operand]),
            (UnaryOperator::Not, Value::Bool(value)) => Ok(Value::Bool(!value)),
            (UnaryOperator::Not, _) => self.elementwise("not", vec![operand]),
        }
    }

    /// `left operator right`.
    pub fn binary(
        &mut self,
        operator: BinaryOperator,
        left: Given<'p>,
        right: Given<'p>,
    ) -> Eval<Value<'p>> {
        use BinaryOperator as Op;
        if let (Value::Int(a), Value::Int(b)) = (&left.value, &right.value) {
            let (a, b) = (a.size.clone(), b.size.clone());
            return self.integer_operation(operator, &a, &b, right.span);
        }
        if let Some(value) = static_operation(operator, &left.value, &right.value) {
            return Ok(Value::Bool(value));
        }
        match operator {
            Op::Add => self.elementwise("add", vec![left, right]),
            Op::Subtract => self.elementwise("sub", vec![left, right]),
            Op::Multiply => self.elementwise("mul", vec![left, right]),
            Op::Divide => self.elementwise("div", vec![left, right]),
            Op::FloorDivide => self.floor_divide(left, right),
            Op::Power => self.power(left, right),
            Op::Equal => self.elementwise("eq", vec![left, right]),
            Op::NotEqual => {
                let equal = self.elementwise("eq", vec![left, right])?;
                self.unary(UnaryOperator::Not, Given { value: equal, span: self.here() })
            }
            Op::Less => self.elementwise("lt", vec![left, right]),
            Op::LessEqual => self.elementwise("le", vec![left, right]),
            Op::Greater => self.elementwise("lt", vec![right, left]),
            Op::GreaterEqual => self.elementwise("le", vec![right, left]),
            Op::And => self.elementwise("and", vec![left, right]),
            Op::Or => self.elementwise("or", vec![left, right]),
        }
    }

    fn integer_operation(
        &mut self,
        operator: BinaryOperator,
        a: &Size,
        b: &Size,
        divisor: Span,
    ) -> Eval<Value<'p>> {
        use BinaryOperator as Op;
        let decided = |holds: fn(std::cmp::Ordering) -> bool| match Self::compare_sizes(a, b, holds)
        {
            Some(value) => Value::Bool(value),
            None => Value::Unknown,
        };
        Ok(match operator {
            Op::Add => Value::int(a.add(b)),
            Op::Subtract => Value::int(a.subtract(b)),
            Op::Multiply => Value::int(a.multiply(b)),
            Op::Divide => Value::int(self.divide_exactly(a, b, divisor)?),
            Op::FloorDivide => match a.floor_divide(b) {
                Some(quotient) => Value::int(quotient),
                None => return Err(self.report_zero_division(divisor)),
            },
            Op::Power => match b.as_constant() {
                Some(exponent @ 0..=64) => Value::int(
                    (0..exponent).fold(Size::constant(1), |product, _| product.multiply(a)),
                ),
                _ => Value::Float(
                    a.as_constant().zip(b.as_constant()).map(|(a, b)| (a as f64).powf(b as f64)),
                ),
            },
            Op::Equal => decided(|ordering| ordering.is_eq()),
            Op::NotEqual => decided(|ordering| ordering.is_ne()),
            Op::Less => decided(|ordering| ordering.is_lt()),
            Op::LessEqual => decided(|ordering| ordering.is_le()),
            Op::Greater => decided(|ordering| ordering.is_gt()),
            Op::GreaterEqual => decided(|ordering| ordering.is_ge()),
            Op::And | Op::Or => {
                return Err(self.report(
                    Diagnostic::error(
                        "wrong-kind",
                        format!("`{}` needs truth values, not numbers", operator.symbol()),
                    )
                    .primary(self.combination(), "both sides are numbers")
                    .help("compare the numbers first: `a > 0`"),
                ));
            }
        })
    }

    /// `a / b`, which must be exact.
    pub fn divide_exactly(&mut self, a: &Size, b: &Size, divisor: Span) -> Eval<Size> {
        match a.divide(b) {
            Division::Exact(quotient) => Ok(quotient),
            Division::Inexact if b.is(0) => Err(self.report_zero_division(divisor)),
            Division::Inexact => Err(self.report(
                Diagnostic::error("inexact-division", format!("{b} does not divide {a}"))
                    .primary(self.here(), format!("{a} / {b} is no whole number"))
                    .note("`/` on whole numbers and dims must be exact")
                    .help("round down with `//`, or make it a float: `1.0 * a / b`"),
            )),
            Division::Undecided => {
                self.require(Requirement::Divides(b.clone(), a.clone()));
                Ok(a.quotient(b))
            }
        }
    }

    fn report_zero_division(&mut self, divisor: Span) -> Stop {
        self.report(
            Diagnostic::error("zero-division", "division of a whole number by zero")
                .primary(divisor, "this is 0")
                .help("divide by a number other than 0"),
        )
    }

    /// The quotient, rounded down. Whole numbers are divided in f64, where 31 bits lose nothing: the
    /// quotient of numbers that do not divide each other is further from the next whole number than
    /// the spacing of f64 there.
    fn floor_divide(&mut self, left: Given<'p>, right: Given<'p>) -> Eval<Value<'p>> {
        let operands = [left, right];
        let is_float = |given: &Given| matches!(given.value, Value::Float(_) | Value::Scalar(_));
        let whole = self.common_dtype("//", &operands)? == Some(DType::I32)
            && !operands.iter().any(is_float);
        let floats = operands.into_iter().map(|Given { value, span }| match value {
            Value::Tensor(tensor) if whole => {
                Given { value: Value::Tensor(self.convert(&tensor, DType::F64)), span }
            }
            value => Given { value, span },
        });
        let floats = floats.collect();
        let value = self.elementwise("div", floats)?;
        let floor = self.elementwise("floor", vec![Given { value, span: self.here() }])?;
        Ok(match floor {
            Value::Tensor(tensor) if whole => Value::Tensor(self.convert(&tensor, DType::I32)),
            floor => floor,
        })
    }

    /// `base ** exponent`. Small static powers are products.
    fn power(&mut self, base: Given<'p>, exponent: Given<'p>) -> Eval<Value<'p>> {
        let whole = match &exponent.value {
            Value::Int(int) => int.size.as_constant(),
            _ => None,
        };
        let product = matches!(base.value, Value::Tensor(_) | Value::Scalar(_));
        match whole {
            Some(exponent @ 1..=LARGEST_PRODUCT) if product => {
                let mut value = base.value.clone();
                let span = self.here();
                for _ in 1..exponent {
                    value = self.elementwise("mul", vec![Given { value, span }, base.clone()])?;
                }
                Ok(value)
            }
            _ => self.elementwise("pow", vec![base, exponent]),
        }
    }

    /// Applies the elementwise primitive called `name`.
    pub fn elementwise(&mut self, name: &str, operands: Vec<Given<'p>>) -> Eval<Value<'p>> {
        match Elementwise::named(name) {
            Some(function) => self.apply(function, operands),
            None => Err(Stop),
        }
    }

    /// Applies an elementwise primitive: folds static numbers, computes with run-time floats in
    /// `f64`, and broadcasts tensors. As many operands as the primitive takes.
    pub fn apply(&mut self, function: Elementwise, operands: Vec<Given<'p>>) -> Eval<Value<'p>> {
        if operands.iter().any(|operand| matches!(operand.value, Value::Unknown)) {
            return Err(Stop);
        }
        let entry = function.entry();
        let condition = entry.typing == Typing::Select;
        let values = if condition { &operands[1..] } else { &operands[..] };
        let dtype = self.common_dtype(entry.name, values)?;
        let Some(dtype) = dtype else {
            let numbers: Option<Vec<Number>> =
                operands.iter().map(|operand| Number::of(&operand.value)).collect();
            if let Some(numbers) = numbers {
                return Ok(self.apply_to_numbers(function, &numbers));
            }
            if condition {
                return self.choose_number(function, operands);
            }
            return self.apply_to_statics(function, &operands);
        };
        self.apply_typed(function, operands, dtype)
    }

    /// The element type that the tensors among the operands share, if there are tensors.
    fn common_dtype(&mut self, name: &str, operands: &[Given<'p>]) -> Eval<Option<DType>> {
        let mut common: Option<(DType, Span, String)> = None;
        for operand in operands {
            let Value::Tensor(tensor) = &operand.value else { continue };
            match &common {
                Some((dtype, span, shown)) if *dtype != tensor.dtype => {
                    let (shown, span) = (shown.clone(), *span);
                    let other = self.show(tensor);
                    return Err(self.report(
                        Diagnostic::error(
                            "dtypes-differ",
                            format!("{shown} and {other} have different element types"),
                        )
                        .primary(self.combination(), format!("`{name}` takes operands of one type"))
                        .secondary(span, format!("this is {shown}"))
                        .secondary(operand.span, format!("this is {other}"))
                        .help("tensors are converted explicitly: `f32(x)`"),
                    ));
                }
                Some(_) => {}
                None => common = Some((tensor.dtype, operand.span, self.show(tensor))),
            }
        }
        Ok(common.map(|(dtype, ..)| dtype))
    }

    fn apply_to_numbers(&mut self, function: Elementwise, numbers: &[Number]) -> Value<'p> {
        let entry = function.entry();
        let comparison = entry.typing == Typing::Comparison;
        if numbers.iter().any(Number::is_scalar) {
            let nodes: Vec<_> = numbers.iter().map(|number| self.number_node(number)).collect();
            let nodes: Option<Vec<_>> = nodes.into_iter().collect();
            let node = nodes.and_then(|nodes| {
                self.emit_nodes([], |graph, []| graph.emit(function.into(), &nodes))
            });
            return match comparison {
                true => Value::Tensor(Tensor { dtype: DType::Bool, axes: Vec::new(), node }),
                false => Value::Scalar(node),
            };
        }
        let known: Option<Vec<f64>> = numbers.iter().map(Number::known).collect();
        let value = known.map(|values| (entry.evaluate)(&values));
        match (comparison, value) {
            (true, Some(value)) => Value::Bool(value != 0.0),
            (true, None) => Value::Unknown,
            (false, value) => Value::Float(value),
        }
    }

    /// A choice between two numbers by a tensor: a run-time float if that is a single truth value.
    fn choose_number(
        &mut self,
        function: Elementwise,
        operands: Vec<Given<'p>>,
    ) -> Eval<Value<'p>> {
        let numbers = operands[1..].iter().map(|operand| Number::of(&operand.value));
        if let Value::Tensor(tensor) = &operands[0].value
            && tensor.axes.is_empty()
            && tensor.dtype == DType::Bool
            && let Some(numbers) = numbers.collect::<Option<Vec<Number>>>()
        {
            let nodes: Option<Vec<_>> = std::iter::once(tensor.node)
                .chain(numbers.iter().map(|number| self.number_node(number)))
                .collect();
            let node = nodes.and_then(|nodes| {
                self.emit_nodes([], |graph, []| graph.emit(function.into(), &nodes))
            });
            return Ok(Value::Scalar(node));
        }
        self.apply_typed(function, operands, DType::F32)
    }

    /// Operands of which none is a tensor and one is not a number.
    fn apply_to_statics(
        &mut self,
        function: Elementwise,
        operands: &[Given<'p>],
    ) -> Eval<Value<'p>> {
        let entry = function.entry();
        let truths: Option<Vec<f64>> = operands
            .iter()
            .map(|operand| match operand.value {
                Value::Bool(value) => Some(f64::from(u8::from(value))),
                _ => None,
            })
            .collect();
        if let (Some(truths), Typing::Logical) = (truths, entry.typing) {
            return Ok(Value::Bool((entry.evaluate)(&truths) != 0.0));
        }
        let wrong = operands.iter().find(|operand| match entry.typing {
            Typing::Logical => !matches!(operand.value, Value::Bool(_)),
            _ => Number::of(&operand.value).is_none(),
        });
        let wanted = match entry.typing {
            Typing::Logical => "a bool or a tensor of bool",
            _ => "a number or a tensor",
        };
        match wrong {
            Some(operand) => {
                let what = format!("an operand of `{}`", entry.name);
                Err(self.unfit(&operand.value, operand.span, &what, wanted))
            }
            None => Err(Stop),
        }
    }

    /// Applies a primitive where the operands are tensors of `dtype` or adapt to it.
    fn apply_typed(
        &mut self,
        function: Elementwise,
        operands: Vec<Given<'p>>,
        dtype: DType,
    ) -> Eval<Value<'p>> {
        let entry = function.entry();
        let allowed = match entry.typing {
            Typing::Numeric => dtype.is_float() || dtype == DType::I32,
            Typing::Float => dtype.is_float(),
            Typing::Logical => dtype == DType::Bool,
            Typing::Comparison | Typing::Select => true,
        };
        if !allowed {
            let wanted = match entry.typing {
                Typing::Numeric => "floats or i32",
                Typing::Float => "floats",
                _ => "bools",
            };
            let help = match entry.typing {
                Typing::Logical => "compare the tensor first: `x > 0`",
                _ => "convert it first: `f32(x)`",
            };
            let tensor = operands.iter().find(|operand| matches!(operand.value, Value::Tensor(_)));
            let (span, shown) = match tensor {
                Some(operand) => (operand.span, self.describe(&operand.value)),
                None => (self.here(), dtype.to_string()),
            };
            return Err(self.report(
                Diagnostic::error(
                    "wrong-dtype",
                    format!("`{}` takes {wanted}, not {dtype}", entry.name),
                )
                .primary(self.combination(), format!("`{}` is not defined for {dtype}", entry.doc))
                .secondary(span, format!("this is {shown}"))
                .help(help),
            ));
        }
        // Numbers take whatever axes the tensors have.
        let mut tensors = Vec::with_capacity(operands.len());
        for (position, operand) in operands.iter().enumerate() {
            let condition = entry.typing == Typing::Select && position == 0;
            let dtype = if condition { DType::Bool } else { dtype };
            if let Some(tensor) = self.as_operand(entry.name, operand, dtype)? {
                tensors.push(Operand { tensor, span: operand.span });
            }
        }
        let mut broadcast = self.broadcast_together(tensors)?.into_iter();
        let axes = broadcast.as_slice().first().map(|tensor| tensor.axes.clone());
        let axes = axes.unwrap_or_default();
        let mut tensors = Vec::with_capacity(operands.len());
        for operand in &operands {
            tensors.push(match Number::of(&operand.value) {
                Some(number) => self.spread(&number, dtype, &axes, operand.span)?,
                None => broadcast.next().ok_or(Stop)?,
            });
        }
        let nodes: Option<Vec<_>> = tensors.iter().map(|tensor| tensor.node).collect();
        let node = nodes
            .and_then(|nodes| self.emit_nodes([], |graph, []| graph.emit(function.into(), &nodes)));
        let dtype = if entry.typing == Typing::Comparison { DType::Bool } else { dtype };
        Ok(Value::Tensor(Tensor { dtype, axes, node }))
    }

    /// An operand as a tensor of `dtype`; `None` for a number.
    fn as_operand(
        &mut self,
        name: &str,
        operand: &Given<'p>,
        dtype: DType,
    ) -> Eval<Option<Tensor>> {
        let what = format!("an operand of `{name}`");
        match &operand.value {
            Value::Tensor(tensor) if tensor.dtype == dtype => Ok(Some(tensor.clone())),
            Value::Bool(value) if dtype == DType::Bool => {
                let value = f64::from(u8::from(*value));
                let node = self.emit_nodes([], |graph, []| graph.constant(dtype, &[], value));
                Ok(Some(Tensor { dtype, axes: Vec::new(), node }))
            }
            value => match Number::of(value).filter(|_| dtype != DType::Bool) {
                Some(_) => Ok(None),
                None => {
                    let wanted = format!("a tensor of {dtype}");
                    Err(self.unfit(value, operand.span, &what, &wanted))
                }
            },
        }
    }
}

/// Comparisons of static texts and truth values.
fn static_operation(operator: BinaryOperator, left: &Value<'_>, right: &Value<'_>) -> Option<bool> {
    let equal = match (left, right) {
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Text(a), Value::Text(b)) => a == b,
        _ => return None,
    };
    match operator {
        BinaryOperator::Equal => Some(equal),
        BinaryOperator::NotEqual => Some(!equal),
        _ => None,
    }
}
