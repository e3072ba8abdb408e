//! The `data` clause: where samples come from, and what each of them brings.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::Run;
use crate::data::source::{OptionValue, SourceSpec};
use crate::diagnostic::Diagnostic;
use crate::language::evaluate::{Eval, Evaluator, Stop};
use crate::language::program::{DataAxis, DataClause, DataField};
use crate::language::scope::Scope;
use crate::language::signature::{Dims, Input};
use crate::language::value::Value;
use crate::source::Span;
use crate::syntax::ast::{self, AxisValue, ClauseKind, Expr, ExprKind, Pattern, TypeKind};

impl<'p> Run<'_, 'p> {
    /// `data fields from source(...)`.
    pub(super) fn data(&mut self, fields: &'p [ast::Field], source: &'p Expr) -> Eval<()> {
        let spec = self.source(source)?;
        if self.outcome.plan.data.is_some() {
            return Err(self.evaluator.report(
                Diagnostic::error("two-sources", "a recipe has one `data` clause")
                    .primary(self.evaluator.here(), "a second one")
                    .help("list all fields in one clause"),
            ));
        }
        let batch_dim = fields.iter().find_map(|field| samples_dim(field.ty.as_ref()?));
        self.outcome.plan.batch_dim = batch_dim.map(str::to_owned);
        if let (Some(dim), Some(batch), false) = (batch_dim, self.outcome.plan.batch, self.symbolic)
        {
            self.bindings.dims.entry(dim.to_owned()).or_insert(batch);
        }
        let mut missing = Vec::new();
        let mut clause = DataClause { source: spec, fields: Vec::new(), span: source.span };
        for field in fields {
            let mut dims = Dims { bindings: &self.bindings, symbolic: self.symbolic, missing };
            let evaluated = field_of(self.evaluator, field, &self.scope, &mut dims);
            missing = dims.missing;
            let Ok((described, input)) = evaluated else { continue };
            clause.fields.push(described);
            self.outcome.inputs.extend(input);
        }
        self.outcome.plan.data = Some(clause);
        if self.outcome.plan.batch.is_none() && self.says_batch() {
            // What it says was refused.
            missing.retain(|(name, _)| Some(name.as_str()) != batch_dim);
        }
        let dims = Dims { bindings: &self.bindings, symbolic: self.symbolic, missing };
        if dims.missing.is_empty() {
            return Ok(());
        }
        self.evaluator.report_missing(&self.recipe.name, &dims, batch_dim);
        Err(Stop)
    }

    /// Whether the number of samples in a step is given, rightly or wrongly.
    fn says_batch(&self) -> bool {
        let clauses = &self.recipe.clauses;
        clauses.iter().any(|clause| matches!(clause.kind, ClauseKind::Batch(_)))
            || self.bindings.settings.contains_key("batch")
    }

    /// Binds the names of fields that are not known.
    pub(super) fn unknown_fields(&mut self, fields: &'p [ast::Field]) {
        for field in fields {
            let dims = match field.ty.as_ref().map(|ty| &ty.kind) {
                Some(TypeKind::Tensor { shape, .. }) => shape.names(),
                _ => Vec::new(),
            };
            let names = field.pattern.names();
            let names = names.into_iter().map(|name| (name.name.as_str(), name.span));
            for (name, span) in names.chain(dims) {
                if self.scope.own(name).is_none() {
                    self.scope.fix(name, Value::Unknown, span);
                }
            }
        }
    }

    /// The name and arguments of a data source.
    pub(super) fn source(&mut self, source: &'p Expr) -> Eval<SourceSpec> {
        let call = match &source.kind {
            ExprKind::Call { callee, arguments } => match &callee.kind {
                ExprKind::Name(name) => Some((name.clone(), arguments)),
                _ => None,
            },
            _ => None,
        };
        let Some((name, arguments)) = call else {
            return Err(self.evaluator.report(
                Diagnostic::error("data-source", "this is not a data source")
                    .primary(source.span, "not a call")
                    .help("write `idx(\"folder\")`, `csv(\"file\")` or the like"),
            ));
        };
        let (mut paths, mut options) = (Vec::new(), BTreeMap::new());
        for argument in arguments {
            let value = self.evaluator.expr(&argument.value, &self.scope)?;
            let span = argument.value.span;
            match &argument.name {
                Some(name) => {
                    let what = format!("the option `{}`", name.name);
                    let setting = static_setting(self.evaluator, &value, span, &what)?;
                    options.insert(name.name.clone(), setting);
                }
                None => match value {
                    Value::Text(text) => paths.push(text.to_string()),
                    other => {
                        let what = "an argument without a name";
                        return Err(self.evaluator.unfit(&other, span, what, "a path"));
                    }
                },
            }
        }
        Ok(SourceSpec { kind: name, paths, options })
    }
}

/// The name of the first axis of a field, if it is one.
fn samples_dim(ty: &ast::Type) -> Option<&str> {
    let TypeKind::Tensor { shape, .. } = &ty.kind else { return None };
    match &shape.axes.first()?.value {
        AxisValue::Expr(Expr { kind: ExprKind::Name(name), .. }) => Some(name),
        _ => None,
    }
}

/// A field of a `data` clause, and its input if it has a name.
fn field_of<'p>(
    evaluator: &mut Evaluator<'p>,
    field: &'p ast::Field,
    scope: &Rc<Scope<'p>>,
    dims: &mut Dims<'_>,
) -> Eval<(DataField, Option<Input>)> {
    let name = match &field.pattern {
        Pattern::Name(name) => Some(name),
        Pattern::Ignore(_) => None,
        Pattern::Tuple(_, span) => {
            return Err(evaluator.report(
                Diagnostic::error("data-pattern", "a field of data is one tensor")
                    .primary(*span, "a tuple")
                    .help("list the fields: `data x: f32[n], y: f32[n] from ...`"),
            ));
        }
    };
    let described = |dtype, axes| DataField {
        name: name.map_or("_", |name| &name.name).to_owned(),
        dtype,
        axes,
        span: field.span,
    };
    let (element, shape) = match (field.ty.as_ref().map(|ty| &ty.kind), name) {
        (Some(TypeKind::Tensor { element, shape }), _) => (element, shape),
        (None, None) => return Ok((described(None, Vec::new()), None)),
        (_, name) => {
            let name = name.map_or("_", |name| &name.name);
            return Err(evaluator.report(
                Diagnostic::error(
                    "untyped-field",
                    format!("the field `{name}` has no tensor type"),
                )
                .primary(field.span, "of unknown shape")
                .help(format!("declare it: `{name}: f32[n, d]`")),
            ));
        }
    };
    let (tensor, slot) = match name {
        Some(name) => evaluator.input(&name.name, element, shape, scope, dims)?,
        None => return Ok((described(Some(evaluator.element_type(element)?), Vec::new()), None)),
    };
    let axes = tensor.axes.iter().enumerate().map(|(place, axis)| DataAxis {
        name: evaluator.axes.name(axis.id).map(str::to_owned),
        size: axis
            .size
            .as_constant()
            .filter(|_| place > 0)
            .and_then(|size| usize::try_from(size).ok()),
    });
    let described = described(Some(tensor.dtype), axes.collect());
    let Some(name) = name else { return Ok((described, None)) };
    scope.fix(&name.name, Value::Tensor(tensor.clone()), name.span);
    evaluator.name_value(&Value::Tensor(tensor.clone()), &name.name);
    Ok((described, Some(Input { name: name.name.clone(), slot, tensor })))
}

/// A static value as an option of a data source.
fn static_setting<'p>(
    evaluator: &mut Evaluator<'p>,
    value: &Value<'p>,
    span: Span,
    what: &str,
) -> Eval<OptionValue> {
    match value {
        Value::Int(int) => int.size.as_constant().map(OptionValue::Int).ok_or(Stop),
        Value::Float(Some(value)) => Ok(OptionValue::Float(*value)),
        Value::Bool(value) => Ok(OptionValue::Bool(*value)),
        Value::Text(text) => Ok(OptionValue::Str(text.to_string())),
        Value::List(parts) | Value::Tuple(parts) => {
            let parts: Eval<Vec<OptionValue>> =
                parts.iter().map(|part| static_setting(evaluator, part, span, what)).collect();
            parts.map(OptionValue::List)
        }
        other => Err(evaluator.unfit(other, span, what, "a number, text, bool or list")),
    }
}
