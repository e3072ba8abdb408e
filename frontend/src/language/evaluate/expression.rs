//! Expressions.

use std::rc::Rc;

use super::{Eval, Evaluator, MAX_DEPTH, MAX_EXPRESSIONS, Stop};
use crate::diagnostic::{Diagnostic, closest};
use crate::language::builtins::Builtin;
use crate::language::package::{Definition, ModuleId};
use crate::language::scope::Scope;
use crate::language::size::Size;
use crate::language::value::{Closure, Given, Value};
use crate::source::Span;
use crate::syntax::ast::{
    Argument, BinaryOperator, Expr, ExprKind, Function, FunctionKind, Item, Label, LabelPart,
    LoopKind, PipeStep, Stage, StringLiteral, StringPart,
};

impl<'p> Evaluator<'p> {
    /// The value of an expression.
    pub fn expr(&mut self, expr: &'p Expr, scope: &Rc<Scope<'p>>) -> Eval<Value<'p>> {
        if self.expressions >= MAX_EXPRESSIONS {
            return Err(Stop);
        }
        if self.depth >= MAX_DEPTH {
            self.expressions = MAX_EXPRESSIONS;
            return Err(self.report(
                Diagnostic::error("endless-recursion", "definitions call each other without end")
                    .primary(expr.span, "this is where it was given up")
                    .help("a definition that calls itself needs a static `if` that ends it"),
            ));
        }
        self.depth += 1;
        self.expressions += 1;
        if self.expressions == MAX_EXPRESSIONS {
            self.report(
                Diagnostic::error("endless-program", "the program takes too long to unroll")
                    .primary(expr.span, "this is where it was given up")
                    .help("use fewer iterations of `for`, or calls of definitions by themselves"),
            );
        }
        let value = self.at(expr.span, |this| this.expr_kind(expr, scope));
        self.depth -= 1;
        value
    }

    /// The value of an expression and where it stands.
    fn given(&mut self, expr: &'p Expr, scope: &Rc<Scope<'p>>) -> Eval<Given<'p>> {
        Ok(Given { value: self.expr(expr, scope)?, span: expr.span })
    }

    fn expr_kind(&mut self, expr: &'p Expr, scope: &Rc<Scope<'p>>) -> Eval<Value<'p>> {
        // Only a capture that is the whole value of a `let`, or an element of a list that is, is
        // called what the `let` binds.
        let whole = matches!(
            expr.kind,
            ExprKind::Call { .. } | ExprKind::Paren(_) | ExprKind::List(_) | ExprKind::Loop(_)
        );
        let capture_name = self.capture_name.take().filter(|_| whole);
        match &expr.kind {
            ExprKind::Name(name) => self.name(name, expr.span, scope),
            ExprKind::Int(value) => Ok(Value::int(Size::constant(*value))),
            ExprKind::Float(value) => Ok(Value::Float(Some(*value))),
            ExprKind::Bool(value) => Ok(Value::Bool(*value)),
            ExprKind::String(literal) => {
                self.text(literal, scope).map(|text| Value::Text(text.into()))
            }
            ExprKind::Paren(inner) => {
                self.capture_name = capture_name;
                self.expr(inner, scope)
            }
            ExprKind::Tuple(parts) => {
                let parts = parts.iter().map(|part| &part.value);
                self.values(parts, scope).map(|parts| Value::Tuple(parts.into()))
            }
            ExprKind::List(parts) => {
                let value = |(place, part): (usize, &'p Expr)| {
                    self.capture_name = capture_name.as_ref().map(|name| format!("{name}.{place}"));
                    self.expr(part, scope).unwrap_or(Value::Unknown)
                };
                let parts = parts.iter().enumerate().map(value).collect();
                self.capture_name = None;
                Ok(Value::List(parts))
            }
            ExprKind::Range { start, end, step: None } => {
                self.range(start.as_deref(), end.as_deref(), scope)
            }
            ExprKind::Range { step: Some(step), .. } => Err(self.report(
                Diagnostic::error("range-step", "only the ranges of an index have a step")
                    .primary(step.span, "a step")
                    .help("an index takes every second element by `x[t: 0.. by 2]`"),
            )),
            ExprKind::Unary { operator, operand } => {
                let operand = self.given(operand, scope)?;
                self.unary(*operator, operand)
            }
            ExprKind::Binary { operator, operator_span, left, right } => {
                self.binary_expr(*operator, *operator_span, left, right, scope)
            }
            ExprKind::Call { callee, arguments } => {
                let callee_value = self.expr(callee, scope)?;
                let arguments = self.arguments(None, arguments, scope, expr.span);
                self.capture_name = capture_name;
                let value = self.call(&callee_value, callee.span, arguments, None);
                self.capture_name = None;
                value
            }
            ExprKind::Index { base, shape } => {
                let base_value = self.given(base, scope)?;
                self.index(base_value, shape, scope)
            }
            ExprKind::Field { base, name } => {
                let base = self.given(base, scope)?;
                self.field(&base, &name.name, name.span)
            }
            ExprKind::Pipe { input, steps } => self.pipe(input, steps, scope),
            ExprKind::Block(block) => self.block(block, scope),
            ExprKind::If { condition, then, otherwise } => {
                self.if_expr(condition, then, otherwise.as_deref(), scope)
            }
            ExprKind::Loop(the_loop) => match the_loop.kind {
                LoopKind::For => {
                    self.capture_name = capture_name;
                    self.for_loop(the_loop, scope)
                }
                LoopKind::Scan => self.scan(the_loop, scope),
            },
            ExprKind::Placeholder => Err(self.report(
                Diagnostic::error("stray-placeholder", "`_` stands for nothing here")
                    .primary(expr.span, "not an argument")
                    .help("`_` captures a layer: `let embed = embedding(_, vocab, d)`"),
            )),
            ExprKind::Error => Err(Stop),
        }
    }

    /// A construct that the grammar has and the evaluator lacks.
    pub fn unsupported(&mut self, what: &str, span: Span) -> Stop {
        self.report(
            Diagnostic::error("not-supported", format!("{what} is not yet supported"))
                .primary(span, "this cannot be compiled yet")
                .help("write the program without it for now"),
        )
    }

    fn values(
        &mut self,
        parts: impl Iterator<Item = &'p Expr>,
        scope: &Rc<Scope<'p>>,
    ) -> Eval<Vec<Value<'p>>> {
        Ok(parts.map(|part| self.expr(part, scope).unwrap_or(Value::Unknown)).collect())
    }

    /// The value of a name.
    pub fn name(&mut self, name: &'p str, span: Span, scope: &Rc<Scope<'p>>) -> Eval<Value<'p>> {
        if let Some(binding) = scope.lookup(name) {
            return match binding.value {
                Value::Unknown => Err(Stop),
                value => Ok(value),
            };
        }
        if let Some(definition) = self.package.definition(scope.module, name) {
            return self.definition(definition, name);
        }
        if let Some(builtin) = Builtin::named(name) {
            return Ok(Value::Builtin(builtin));
        }
        match name {
            "training" => Ok(Value::Bool(self.is_training())),
            "inf" => Ok(Value::Float(Some(f64::INFINITY))),
            "nan" => Ok(Value::Float(Some(f64::NAN))),
            "pi" => Ok(Value::Float(Some(std::f64::consts::PI))),
            "step" | "steps" | "epoch" if self.in_recipe => Ok(self.run_scalar(name)),
            _ => Err(self.report(
                Diagnostic::error("unknown-name", format!("there is no `{name}`"))
                    .primary(span, "not defined"),
            )),
        }
    }

    /// The value of a definition at the top of a module.
    fn definition(&mut self, definition: Definition, name: &str) -> Eval<Value<'p>> {
        match definition {
            Definition::Module(module) => Ok(Value::Module(module)),
            Definition::Item { module, item } => {
                match &self.package.module(module).ast.items[item] {
                    Item::Function(function) => Ok(Value::Closure(Closure {
                        function,
                        module,
                        scope: None,
                        activation: None,
                    })),
                    Item::Binding(_) => self.global(module, item, name),
                    Item::Use(_) | Item::Recipe(_) => Err(Stop),
                }
            }
        }
    }

    /// The value of a `let` at the top of a module; it is evaluated once.
    pub fn global(&mut self, module: ModuleId, item: usize, name: &str) -> Eval<Value<'p>> {
        let Item::Binding(binding) = &self.package.module(module).ast.items[item] else {
            return Err(Stop);
        };
        let scope = match self.globals.get(&(module, item)) {
            Some(Some(scope)) => Rc::clone(scope),
            Some(None) => {
                return Err(self.report(
                    Diagnostic::error("let-cycle", format!("`{name}` depends on itself"))
                        .primary(binding.span, "its value needs its value")
                        .help("take one of the definitions out of the circle"),
                ));
            }
            None => {
                self.globals.insert((module, item), None);
                let scope = Scope::of_function(module, None);
                self.in_frame("let", None, None, |this| this.bind(binding, &scope));
                self.globals.insert((module, item), Some(Rc::clone(&scope)));
                scope
            }
        };
        scope.lookup(name).map(|binding| binding.value).ok_or(Stop)
    }

    /// The text of a string, with its values filled in.
    pub fn text(&mut self, literal: &'p StringLiteral, scope: &Rc<Scope<'p>>) -> Eval<String> {
        let mut text = String::new();
        for part in &literal.parts {
            match part {
                StringPart::Text(part) => text.push_str(part),
                StringPart::Value(expr) => match self.expr(expr, scope)? {
                    Value::Int(int) => text.push_str(&int.size.to_string()),
                    Value::Text(value) => text.push_str(&value),
                    Value::Float(Some(value)) => text.push_str(&value.to_string()),
                    Value::Bool(value) => text.push_str(if value { "true" } else { "false" }),
                    Value::Float(None) => return Err(Stop),
                    other => {
                        return Err(self.unfit(
                            &other,
                            expr.span,
                            "a value in a text",
                            "static (a number, a text or a bool)",
                        ));
                    }
                },
            }
        }
        Ok(text)
    }

    fn range(
        &mut self,
        start: Option<&'p Expr>,
        end: Option<&'p Expr>,
        scope: &Rc<Scope<'p>>,
    ) -> Eval<Value<'p>> {
        let (Some(start), Some(end)) = (start, end) else {
            return Err(self.report(
                Diagnostic::error("open-range", "this range has only one end")
                    .primary(self.here(), "open")
                    .help("an open range stands in an index: `x[t: 1..]`"),
            ));
        };
        let from = self.expr(start, scope)?;
        let to = self.expr(end, scope)?;
        let from = self.expect_size(&from, start.span, "the start of a range")?;
        let to = self.expect_size(&to, end.span, "the end of a range")?;
        Ok(Value::Range(from, to))
    }

    fn binary_expr(
        &mut self,
        operator: BinaryOperator,
        operator_span: Span,
        left: &'p Expr,
        right: &'p Expr,
        scope: &Rc<Scope<'p>>,
    ) -> Eval<Value<'p>> {
        let a = self.given(left, scope);
        if let Ok(Given { value: Value::Bool(value), .. }) = &a
            && matches!(
                (operator, value),
                (BinaryOperator::And, false) | (BinaryOperator::Or, true)
            )
        {
            return Ok(Value::Bool(*value));
        }
        let b = self.given(right, scope);
        self.operator = Some(operator_span);
        let value = self.binary(operator, a?, b?);
        self.operator = None;
        value
    }

    fn pipe(
        &mut self,
        input: &'p Expr,
        steps: &'p [PipeStep],
        scope: &Rc<Scope<'p>>,
    ) -> Eval<Value<'p>> {
        // Where a step fails the next ones go on with an unknown input: they may have mistakes of
        // their own.
        let unknown = |span| Given { value: Value::Unknown, span };
        let mut value = self.given(input, scope).unwrap_or(unknown(input.span));
        for step in steps {
            let (span, result) = match step {
                PipeStep::Stage(stage) => {
                    let span = stage.span;
                    (span, self.at(span, |this| this.stage(value, stage, scope)))
                }
                PipeStep::Movement(movement) => {
                    let span = movement.span;
                    (span, self.at(span, |this| this.movement(&value, movement, scope)))
                }
            };
            value = result.map_or(unknown(span), |value| Given { value, span });
        }
        match value.value {
            Value::Unknown => Err(Stop),
            value => Ok(value),
        }
    }

    fn stage(
        &mut self,
        input: Given<'p>,
        stage: &'p Stage,
        scope: &Rc<Scope<'p>>,
    ) -> Eval<Value<'p>> {
        let callee = self.expr(&stage.callee, scope)?;
        let label = stage.label.as_ref().map(|label| self.label(label, scope)).transpose()?;
        let written: &'p [Argument] = &stage.arguments;
        let arguments = self.arguments(Some(input), written, scope, stage.span);
        self.call(&callee, stage.callee.span, arguments, label)
    }

    /// The text of a label: its parts, joined by dots.
    fn label(&mut self, label: &'p Label, scope: &Rc<Scope<'p>>) -> Eval<String> {
        let mut parts = Vec::with_capacity(label.parts.len());
        for part in &label.parts {
            parts.push(match part {
                LabelPart::Name(name) => name.name.clone(),
                LabelPart::String(literal) => self.text(literal, scope)?,
                LabelPart::Index(expr) => {
                    let value = self.expr(expr, scope)?;
                    self.expect_integer(&value, expr.span, "the index of a label")?.to_string()
                }
            });
        }
        Ok(parts.join("."))
    }

    /// `base.name`.
    fn field(&mut self, base: &Given<'p>, name: &'p str, span: Span) -> Eval<Value<'p>> {
        match &base.value {
            Value::Module(module) => match self.package.module(*module).names.get(name) {
                Some(definition) => self.definition(*definition, name),
                None => Err(self.report_not_in_module(*module, name, span)),
            },
            Value::Capture(capture) => self.instance_field(capture, name, span),
            Value::Closure(closure)
                if matches!(closure.function.kind, FunctionKind::Layer | FunctionKind::Model) =>
            {
                match self.bare_instance(closure, base.span) {
                    Some(instance) => self.instance_field(&instance, name, span),
                    None => Err(self.report_no_instance(closure.function, base.span)),
                }
            }
            other => {
                let found = self.describe(other);
                Err(self.report(
                    Diagnostic::error("no-fields", format!("{found} has no fields"))
                        .primary(span, format!("`.{name}` of {found}"))
                        .help("only imported files and instances have fields"),
                ))
            }
        }
    }

    fn report_not_in_module(&mut self, module: ModuleId, name: &str, span: Span) -> Stop {
        let module = self.package.module(module);
        let file = self.package.sources().file(module.file).name();
        let mut names: Vec<&str> = module.names.keys().map(String::as_str).collect();
        names.sort_unstable();
        let missing =
            Diagnostic::error("unknown-name", format!("`{file}` does not define `{name}`"))
                .primary(span, "not defined there");
        self.report(match closest(name, names) {
            Some(near) => missing.help(format!("did you mean `{near}`?")),
            None => missing.help("a file imported as a name gives access to its own definitions"),
        })
    }

    fn report_no_instance(&mut self, function: &Function, span: Span) -> Stop {
        let (name, keyword) = (&function.name.name, function.kind.keyword());
        self.report(
            Diagnostic::error("no-instance", format!("`{name}` is a {keyword}, not an instance"))
                .primary(span, format!("a {keyword}"))
                .help(format!("make an instance and take the field of it: `let net = {name}(_)`")),
        )
    }
}
