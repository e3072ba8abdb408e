//! Blocks, `if` and `for`. All of it is static: what depends on tensors is not decided here.

use std::rc::Rc;

use super::{Eval, Evaluator, Stop, Yields};
use crate::diagnostic::Diagnostic;
use crate::language::scope::Scope;
use crate::language::size::Size;
use crate::language::value::{Given, Value};
use crate::syntax::ast::{Block, Expr, ExprKind, Generator, Loop, Statement};

/// The most iterations of one `for`: each is compiled on its own.
const MAX_ITERATIONS: i64 = 10_000;

impl<'p> Evaluator<'p> {
    /// The value of a block with a scope of its own.
    pub fn block(&mut self, block: &'p Block, scope: &Rc<Scope<'p>>) -> Eval<Value<'p>> {
        self.block_in(block, &Scope::inside(scope))
    }

    /// The value of a block whose names are bound in `scope` itself.
    pub fn block_in(&mut self, block: &'p Block, scope: &Rc<Scope<'p>>) -> Eval<Value<'p>> {
        // Functions can be used before they stand there.
        for statement in &block.statements {
            if let Statement::Function(function) = statement {
                self.bind_function(function, scope);
            }
        }
        let last = block.statements.len().saturating_sub(1);
        let mut result = Ok(Value::Unit);
        for (position, statement) in block.statements.iter().enumerate() {
            let value = self.statement(statement, scope);
            if position == last {
                result = value;
            }
        }
        result
    }

    /// `if condition { then } else { otherwise }`.
    pub fn if_expr(
        &mut self,
        condition: &'p Expr,
        then: &'p Block,
        otherwise: Option<&'p Expr>,
        scope: &Rc<Scope<'p>>,
    ) -> Eval<Value<'p>> {
        let decided = self.expr(condition, scope).and_then(|value| match value {
            Value::Bool(holds) => Ok(holds),
            Value::Tensor(_) | Value::Scalar(_) => {
                Err(self.report_tensor_condition(&value, condition))
            }
            other => Err(self.unfit(&other, condition.span, "the condition of an `if`", "a bool")),
        });
        match decided {
            Ok(true) => self.block(then, scope),
            Ok(false) => match otherwise {
                Some(otherwise) => self.expr(otherwise, scope),
                None => Ok(Value::Unit),
            },
            Err(Stop) => {
                self.assigned_in_block(then, scope);
                if let Some(otherwise) = otherwise {
                    self.assigned_in_branch(otherwise, scope);
                }
                Err(Stop)
            }
        }
    }

    fn report_tensor_condition(&mut self, value: &Value<'p>, condition: &'p Expr) -> Stop {
        let found = self.describe(value);
        self.report(
            Diagnostic::error(
                "tensor-condition",
                "the condition of an `if` must be known when the program is compiled",
            )
            .primary(condition.span, format!("this is {found}"))
            .note("an `if` chooses what is compiled; a tensor has its value only when it runs")
            .help("choose element by element: `where(condition, a, b)`"),
        )
    }

    fn assigned_in_branch(&mut self, branch: &'p Expr, scope: &Rc<Scope<'p>>) {
        match &branch.kind {
            ExprKind::Block(block) => self.assigned_in_block(block, scope),
            ExprKind::If { then, otherwise, .. } => {
                self.assigned_in_block(then, scope);
                if let Some(otherwise) = otherwise {
                    self.assigned_in_branch(otherwise, scope);
                }
            }
            _ => {}
        }
    }

    /// The block may or may not run: what it assigns is not known from here on.
    pub fn assigned_in_block(&mut self, block: &'p Block, scope: &Rc<Scope<'p>>) {
        for statement in &block.statements {
            match statement {
                Statement::Assignment(assignment) => {
                    scope.assign(&assignment.name.name, Value::Unknown);
                }
                Statement::Expr(expr) => match &expr.kind {
                    ExprKind::Loop(inner) => self.assigned_in_block(&inner.body, scope),
                    _ => self.assigned_in_branch(expr, scope),
                },
                _ => {}
            }
        }
    }

    /// `for`: the body once for each element. Gives the list of what it yields, or nothing.
    pub fn for_loop(&mut self, the_loop: &'p Loop, scope: &Rc<Scope<'p>>) -> Eval<Value<'p>> {
        let name = self.capture_name.take();
        if let Some(along) = &the_loop.along {
            return Err(self.report(
                Diagnostic::error("for-along", "`along` belongs to `scan`")
                    .primary(along.span, "a `for` has no axis")
                    .help("use `scan` to run along an axis of a tensor"),
            ));
        }
        if let Some(until) = &the_loop.until {
            return Err(self.report(
                Diagnostic::error("for-until", "`until` belongs to `scan`")
                    .primary(until.span, "a `for` has no steps that could be left out")
                    .help("use `scan`: what `for` repeats is decided when the program is compiled"),
            ));
        }
        let sources: Eval<Vec<Vec<Value<'p>>>> =
            the_loop.generators.iter().map(|generator| self.elements(generator, scope)).collect();
        let Ok(sources) = sources else {
            self.assigned_in_block(&the_loop.body, scope);
            return Err(Stop);
        };
        let length = sources[0].len();
        for (generator, source) in the_loop.generators.iter().zip(&sources) {
            if source.len() != length {
                let (first, other) = (the_loop.generators[0].span, generator.span);
                return Err(self.report(
                    Diagnostic::error(
                        "loop-lengths",
                        "what a `for` runs over side by side has different lengths",
                    )
                    .primary(other, format!("{} elements", source.len()))
                    .secondary(first, format!("{length} elements"))
                    .help("give both as many elements"),
                ));
            }
        }
        self.yields.push(Yields { name, ..Yields::default() });
        for index in 0..length {
            let inner = Scope::inside(scope);
            for (generator, source) in the_loop.generators.iter().zip(&sources) {
                self.bind_element(generator, index, source[index].clone(), &inner);
            }
            // A mistake in the body was reported; the next element may show others.
            let _ = self.block_in(&the_loop.body, &inner);
        }
        let yielded = self.yields.pop().unwrap_or_default().values;
        Ok(if yielded.is_empty() { Value::Unit } else { Value::List(yielded.into()) })
    }

    fn bind_element(
        &mut self,
        generator: &'p Generator,
        index: usize,
        element: Value<'p>,
        scope: &Rc<Scope<'p>>,
    ) {
        let Some((pattern, counters)) = generator.patterns.split_last() else { return };
        let span = generator.source.span;
        for counter in counters {
            let value = Value::int(Size::from(index));
            self.bind_pattern(counter, Given { value, span }, false, scope);
        }
        self.bind_pattern(pattern, Given { value: element, span }, false, scope);
    }

    /// The elements that a `for` runs over.
    fn elements(
        &mut self,
        generator: &'p Generator,
        scope: &Rc<Scope<'p>>,
    ) -> Eval<Vec<Value<'p>>> {
        let span = generator.source.span;
        match self.expr(&generator.source, scope)? {
            Value::List(parts) | Value::Tuple(parts) => Ok(parts.to_vec()),
            Value::Range(start, end) => {
                let bounds = start.as_constant().zip(end.as_constant());
                let Some((start, end)) = bounds else { return Err(Stop) };
                if end.saturating_sub(start) > MAX_ITERATIONS {
                    return Err(self.report(
                        Diagnostic::error(
                            "long-loop",
                            format!("a `for` of {} iterations", end - start),
                        )
                        .primary(span, "each iteration is compiled on its own")
                        .help(format!("at most {MAX_ITERATIONS}; `scan` is a loop at run time")),
                    ));
                }
                Ok((start..end).map(|value| Value::int(Size::constant(value))).collect())
            }
            value @ Value::Tensor(_) => {
                let found = self.describe(&value);
                Err(self.report(
                    Diagnostic::error("tensor-loop", "a `for` does not run over a tensor")
                        .primary(span, format!("this is {found}"))
                        .help("compute with whole tensors, or use `scan x_t in x along t`"),
                ))
            }
            other => Err(self.unfit(&other, span, "what a `for` runs over", "a range or list")),
        }
    }
}
