//! Statements.

use std::rc::Rc;

use super::{Eval, Evaluator, Site, Stop, Updated};
use crate::diagnostic::Diagnostic;
use crate::language::scope::{BindingKind, Scope};
use crate::language::value::{Closure, Given, Value};
use crate::syntax::ast::{Assignment, Binding, Expr, Function, Pattern, Statement};

impl<'p> Evaluator<'p> {
    /// Runs a statement. Its value is that of an expression, or nothing.
    pub fn statement(
        &mut self,
        statement: &'p Statement,
        scope: &Rc<Scope<'p>>,
    ) -> Eval<Value<'p>> {
        match statement {
            Statement::Expr(expr) => return self.expr(expr, scope),
            Statement::Binding(binding) => self.bind(binding, scope),
            Statement::Declaration(declaration) => self.declare(declaration, scope),
            Statement::Assignment(assignment) => self.assign(assignment, scope),
            // Functions are bound when their block begins.
            Statement::Function(_) => {}
            Statement::Yield(statement) => {
                self.capture_name = self.yields.last().and_then(|yields| {
                    Some(format!("{}.{}", yields.name.as_ref()?, yields.values.len()))
                });
                let value = self.expr(&statement.value, scope).unwrap_or(Value::Unknown);
                self.capture_name = None;
                match self.yields.last_mut() {
                    Some(yields) => yields.values.push(value),
                    None => {
                        self.report(
                            Diagnostic::error("stray-yield", "`yield` stands in no loop")
                                .primary(statement.span, "nothing collects this")
                                .help("the value of a block is its last expression"),
                        );
                    }
                }
            }
            Statement::Error(_) => return Err(Stop),
        }
        Ok(Value::Unit)
    }

    /// A function inside a definition.
    pub fn bind_function(&mut self, function: &'p Function, scope: &Rc<Scope<'p>>) {
        let closure = Closure {
            function,
            module: scope.module,
            scope: Some(Rc::clone(scope)),
            activation: self.activation(),
        };
        scope.fix(&function.name.name, Value::Closure(closure), function.name.span);
    }

    /// `let` and `var`.
    pub fn bind(&mut self, binding: &'p Binding, scope: &Rc<Scope<'p>>) {
        if let Pattern::Name(name) = &binding.pattern {
            self.capture_name = Some(name.name.clone());
        }
        let value = self.expr(&binding.value, scope);
        self.capture_name = None;
        let span = binding.value.span;
        let value = value.and_then(|value| match &binding.ty {
            Some(ty) => {
                let site = Site { what: "the value", value: span };
                self.at(span, |this| this.match_type(&value, ty, scope, &site, None))
            }
            None => Ok(value),
        });
        let value = value.unwrap_or(Value::Unknown);
        self.bind_pattern(&binding.pattern, Given { value, span }, binding.mutable, scope);
    }

    /// Binds the names of a pattern to the parts of a value.
    pub fn bind_pattern(
        &mut self,
        pattern: &'p Pattern,
        given: Given<'p>,
        mutable: bool,
        scope: &Rc<Scope<'p>>,
    ) {
        match pattern {
            Pattern::Name(name) => {
                self.name_value(&given.value, &name.name);
                let kind = if mutable { BindingKind::Variable } else { BindingKind::Fixed };
                scope.bind(&name.name, given.value, kind, name.span);
            }
            Pattern::Ignore(_) => {}
            Pattern::Tuple(patterns, pattern_span) => {
                let parts: Vec<Value<'p>> = match &given.value {
                    Value::Tuple(parts) | Value::List(parts) if parts.len() == patterns.len() => {
                        parts.to_vec()
                    }
                    Value::Unknown => vec![Value::Unknown; patterns.len()],
                    other => {
                        let found = self.describe(other);
                        let count = patterns.len();
                        self.report(
                            Diagnostic::error(
                                "pattern-mismatch",
                                format!("{found} cannot be taken apart into {count} names"),
                            )
                            .primary(*pattern_span, format!("{count} names"))
                            .secondary(given.span, format!("this is {found}"))
                            .help("use as many names as there are values, `_` for one not needed"),
                        );
                        vec![Value::Unknown; patterns.len()]
                    }
                };
                for (pattern, value) in patterns.iter().zip(parts) {
                    self.bind_pattern(pattern, Given { value, span: given.span }, mutable, scope);
                }
            }
        }
    }

    /// `name = value`.
    pub fn assign(&mut self, assignment: &'p Assignment, scope: &Rc<Scope<'p>>) {
        let name = &assignment.name;
        let value: &'p Expr = &assignment.value;
        let value =
            Given { value: self.expr(value, scope).unwrap_or(Value::Unknown), span: value.span };
        let kind = scope.lookup(&name.name).map(|binding| binding.kind);
        let value = match (kind, &self.updated) {
            (Some(BindingKind::State(slot)), _) => self.assign_state(slot, &value),
            (Some(_), Some(Updated { tensor, declared, .. })) if name.name == "value" => {
                let (tensor, declared) = (tensor.clone(), *declared);
                self.fit_tensor(&tensor, "value", declared, &value).map(Value::Tensor)
            }
            _ => Ok(value.value),
        };
        let value = value.unwrap_or(Value::Unknown);
        self.name_value(&value, &name.name);
        if scope.assign(&name.name, value).is_none() {
            let mut diagnostic =
                Diagnostic::error("not-assignable", format!("`{}` cannot be assigned", name.name))
                    .primary(name.span, "neither a `var` nor a `state` of this definition");
            if let Some(binding) = scope.lookup(&name.name) {
                diagnostic = diagnostic.secondary(binding.span, "bound here");
            }
            self.report(diagnostic.help("declare it with `var` to assign it later"));
        }
    }
}
