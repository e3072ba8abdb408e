//! Recipes: data, objectives and optimizers as a training step and an evaluation.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use cygnet_compiler::differentiate::gradient;

use super::bindings::{Bindings, parse_setting};
use super::elaborate::{choose, settable};
use super::evaluate::{Arguments, Eval, Evaluator, Number, Site, Stop};
use super::instance::{Activation, Root};
use super::package::{Definition, Package};
use super::program::{DataAxis, DataClause, DataField, RecipeGraph, RecipePlan, ScalarSetting};
use super::scope::Scope;
use super::signature::{Dims, Input};
use super::value::{Tensor, Value};
use crate::data::source::{OptionValue, SourceSpec};
use crate::diagnostic::Diagnostic;
use crate::source::Span;
use crate::syntax::ast::{
    self, AxisValue, Clause, ClauseKind, Expr, ExprKind, FunctionKind, Item, Pattern, PipeStep,
    Recipe, TypeKind, UpdateGroup,
};

/// Elaborates a recipe for the sizes in `bindings`. The dim of the samples is what `batch` says
/// unless it is bound, too.
///
/// Without a name, the program's only recipe is taken.
///
/// # Errors
/// Everything that is wrong with the program, or with the bindings.
pub fn elaborate_recipe(
    package: &Package,
    name: Option<&str>,
    bindings: &Bindings,
) -> Result<RecipeGraph, Vec<Diagnostic>> {
    let recipe = recipe_called(package, name)?;
    let build = |training: bool| {
        let mut evaluator = Evaluator::new(package, true, training);
        let outcome = evaluate_recipe(&mut evaluator, recipe, bindings, false);
        if evaluator.has_errors() {
            return Err(evaluator.finish().0);
        }
        let outputs = outcome.objectives.iter().chain(&outcome.reports).cloned().collect();
        let scalars = outcome.plan.scalars.iter();
        let scalars = scalars.map(|scalar| (scalar.name.clone(), scalar.value)).collect();
        let mut program = evaluator.program(outcome.inputs, outputs, scalars);
        if training {
            let guards = outcome.objectives.iter().filter_map(|(_, tensor)| tensor.node);
            program.graph.guards.extend(guards);
        }
        let names = |list: &[(String, Tensor)]| list.iter().map(|(name, _)| name.clone()).collect();
        let objectives: Vec<String> = names(&outcome.objectives);
        let reports: Vec<String> = names(&outcome.reports);
        Ok((program, outcome.plan, objectives, reports))
    };
    let (training, plan, objectives, reports) = build(true)?;
    let (evaluation, ..) = build(false)?;
    Ok(RecipeGraph { plan, evaluation, training, objectives, reports })
}

/// What a recipe says besides its graphs. Free dims need no numbers.
///
/// # Errors
/// Everything that is wrong with the program, or with the settings.
pub fn plan_recipe(
    package: &Package,
    name: Option<&str>,
    bindings: &Bindings,
) -> Result<RecipePlan, Vec<Diagnostic>> {
    let recipe = recipe_called(package, name)?;
    let mut evaluator = Evaluator::new(package, false, true);
    let outcome = evaluate_recipe(&mut evaluator, recipe, bindings, true);
    if evaluator.has_errors() { Err(evaluator.finish().0) } else { Ok(outcome.plan) }
}

fn recipe_called<'p>(
    package: &'p Package,
    name: Option<&str>,
) -> Result<&'p Recipe, Vec<Diagnostic>> {
    package.errors_so_far()?;
    let recipes: Vec<&Recipe> = package.recipes().collect();
    choose("train", name, &recipes, |recipe| &recipe.name.name)
        .map_err(|diagnostic| vec![diagnostic])
}

/// What the evaluation of a recipe gives.
pub(super) struct Outcome {
    /// What it says besides its graphs.
    pub plan: RecipePlan,
    inputs: Vec<Input>,
    objectives: Vec<(String, Tensor)>,
    reports: Vec<(String, Tensor)>,
}

/// Evaluates a recipe. With `symbolic`, free dims are symbols.
pub(super) fn evaluate_recipe<'p>(
    evaluator: &mut Evaluator<'p>,
    recipe: &'p Recipe,
    bindings: &Bindings,
    symbolic: bool,
) -> Outcome {
    evaluator.in_recipe = true;
    evaluator.single_model = uses_single_model(evaluator.package, recipe);
    let activation = Activation::of_root("", Root::PROGRAM, 0);
    let names = recipe.parameters.iter().map(|parameter| parameter.name.name.as_str());
    let fields = recipe.clauses.iter().flat_map(|clause| match &clause.kind {
        ClauseKind::Data { fields, .. } => fields.as_slice(),
        _ => &[],
    });
    let types = fields.filter_map(|field| field.ty.as_ref());
    let known = settable(names.chain(["batch", "epochs"]), types);
    if let Some(unknown) = bindings.unknown(&known, &recipe.name) {
        evaluator.report(unknown);
    }
    evaluator.in_frame(&recipe.name.name, None, Some(activation), |evaluator| {
        let scope = Scope::of_function(evaluator.package.root(), None);
        let mut run = Run {
            evaluator,
            recipe,
            scope,
            bindings: bindings.clone(),
            symbolic,
            outcome: Outcome {
                plan: RecipePlan { name: recipe.name.name.clone(), ..RecipePlan::default() },
                inputs: Vec::new(),
                objectives: Vec::new(),
                reports: Vec::new(),
            },
        };
        run.parameters();
        run.counts();
        for clause in &recipe.clauses {
            let span = clause.span;
            let before = run.evaluator.move_to(span);
            let evaluated = run.clause(clause);
            run.evaluator.move_to(before);
            if let (Err(Stop), ClauseKind::Data { fields, .. }) = (evaluated, &clause.kind) {
                run.unknown_fields(fields);
            }
        }
        run.outcome
    })
}

/// Whether a recipe uses one instance of a model and no layer of its own: its parameters then
/// need no prefix.
fn uses_single_model(package: &Package, recipe: &Recipe) -> bool {
    let kind_of = |callee: &Expr| {
        let ExprKind::Name(name) = &callee.kind else { return None };
        let definition: Definition = package.definition(package.root(), name)?;
        match package.item(definition)? {
            Item::Function(function) => Some(function.kind),
            _ => None,
        }
    };
    let mut instances: BTreeSet<(String, u32)> = BTreeSet::new();
    let mut layers = false;
    let mut count = |callee: &Expr, own: bool, place: u32| match kind_of(callee) {
        Some(FunctionKind::Model) => {
            let ExprKind::Name(name) = &callee.kind else { return };
            instances.insert((name.clone(), if own { place } else { 0 }));
        }
        Some(FunctionKind::Layer) => layers = true,
        _ => {}
    };
    for clause in &recipe.clauses {
        clause.each(&mut |expr| match &expr.kind {
            ExprKind::Call { callee, arguments } => {
                let capture = arguments
                    .iter()
                    .any(|argument| matches!(argument.value.kind, ExprKind::Placeholder));
                count(callee, capture, expr.span.end);
            }
            ExprKind::Pipe { steps, .. } => {
                for step in steps {
                    if let PipeStep::Stage(stage) = step {
                        count(&stage.callee, stage.label.is_some(), stage.span.end);
                    }
                }
            }
            _ => {}
        });
    }
    instances.len() == 1 && !layers
}

/// A recipe being evaluated.
struct Run<'a, 'p> {
    evaluator: &'a mut Evaluator<'p>,
    recipe: &'p Recipe,
    scope: Rc<Scope<'p>>,
    bindings: Bindings,
    symbolic: bool,
    outcome: Outcome,
}

impl<'p> Run<'_, 'p> {
    /// Binds the recipe's parameters: floats are run-time scalars, everything else is static.
    fn parameters(&mut self) {
        for parameter in &self.recipe.parameters {
            let name = &parameter.name;
            let ty = match &parameter.ty {
                Some(ast::Type { kind: TypeKind::Name(ty), .. }) => ty,
                _ => {
                    self.evaluator.report(
                        Diagnostic::error(
                            "recipe-parameter",
                            format!("the recipe's parameter `{}` is not static", name.name),
                        )
                        .primary(parameter.span, "needs a static type")
                        .help("types are float, dim, int, bool, str and list"),
                    );
                    self.scope.fix(&name.name, Value::Unknown, name.span);
                    continue;
                }
            };
            let default = parameter.default.as_ref();
            let default = default.map(|expr| self.evaluator.expr(expr, &self.scope));
            let value = match self.bindings.text(&name.name) {
                Some(text) => self.setting(&text, &ty.name, parameter.span, &name.name),
                None => default.unwrap_or_else(|| {
                    Err(self.evaluator.report(
                        Diagnostic::error("missing-size", format!("`{}` has no value", name.name))
                            .primary(parameter.span, "no default")
                            .help(format!("set it: --set {}=..., or give a default", name.name)),
                    ))
                }),
            };
            let value = value.and_then(|value| {
                let span = default_span(parameter);
                if ty.name != "float" {
                    let what = format!("the parameter `{}`", name.name);
                    return self.evaluator.match_static(
                        &value,
                        ty,
                        &Site { what: &what, value: span },
                    );
                }
                let what = format!("the default of `{}`", name.name);
                let number = self.evaluator.expect_float(&value, span, &what)?;
                let setting = ScalarSetting { name: name.name.clone(), value: number };
                self.outcome.plan.scalars.push(setting);
                Ok(self.evaluator.run_scalar(&name.name))
            });
            self.scope.fix(&name.name, value.unwrap_or(Value::Unknown), name.span);
        }
    }

    fn setting(&mut self, text: &str, ty: &str, span: Span, name: &str) -> Eval<Value<'p>> {
        parse_setting(text, ty).map_err(|wanted| {
            self.evaluator.report(
                Diagnostic::error(
                    "bad-setting",
                    format!("`{name}` was set to `{text}`, which is not {wanted}"),
                )
                .primary(span, format!("`{name}` is {wanted}"))
                .help(format!("set it to {wanted}")),
            )
        })
    }

    /// `batch` and `epochs`, which other clauses may need wherever they stand.
    fn counts(&mut self) {
        for clause in &self.recipe.clauses {
            let (name, expr) = match &clause.kind {
                ClauseKind::Batch(expr) => ("batch", expr),
                ClauseKind::Epochs(expr) => ("epochs", expr),
                _ => continue,
            };
            let count = self.count(name, expr).ok();
            match name {
                "batch" => self.outcome.plan.batch = count,
                _ => self.outcome.plan.epochs = count,
            }
        }
        for name in ["batch", "epochs"] {
            if let Some(text) = self.bindings.settings.get(name).cloned() {
                let span = self.recipe.name.span;
                let value = self.setting(&text, "int", span, name);
                let count = value.and_then(|value| self.positive(name, &value, span)).ok();
                match name {
                    "batch" => self.outcome.plan.batch = count,
                    _ => self.outcome.plan.epochs = count,
                }
            }
        }
    }

    fn count(&mut self, name: &str, expr: &'p Expr) -> Eval<usize> {
        let value = self.evaluator.expr(expr, &self.scope)?;
        self.positive(name, &value, expr.span)
    }

    fn positive(&mut self, name: &str, value: &Value<'p>, span: Span) -> Eval<usize> {
        let number = self.evaluator.expect_integer(value, span, &format!("`{name}`"))?;
        match usize::try_from(number) {
            Ok(number) if number > 0 => Ok(number),
            _ => Err(self.evaluator.report(
                Diagnostic::error("bad-count", format!("`{name}` cannot be {number}"))
                    .primary(span, format!("this is {number}"))
                    .help("use a whole number from 1"),
            )),
        }
    }

    fn clause(&mut self, clause: &'p Clause) -> Eval<()> {
        match &clause.kind {
            ClauseKind::Binding(binding) => self.evaluator.bind(binding, &self.scope),
            ClauseKind::Declaration(declaration) => {
                self.evaluator.declare(declaration, &self.scope);
            }
            ClauseKind::Assignment(assignment) => self.evaluator.assign(assignment, &self.scope),
            ClauseKind::Data { fields, source } => return self.data(fields, source),
            ClauseKind::Minimize { name, objective, groups } => {
                return self.minimize(name.as_ref(), objective, groups);
            }
            ClauseKind::Report(exprs) => {
                for expr in exprs {
                    // The others can still be reported.
                    let _ = self.report(expr);
                }
            }
            ClauseKind::Load { .. } => return Err(self.unsupported("`load`", clause)),
            ClauseKind::Freeze { .. } => return Err(self.unsupported("`freeze`", clause)),
            ClauseKind::Show(_) => return Err(self.unsupported("`show`", clause)),
            ClauseKind::Batch(_) | ClauseKind::Epochs(_) | ClauseKind::Error => {}
        }
        Ok(())
    }

    fn unsupported(&mut self, what: &str, clause: &Clause) -> Stop {
        self.evaluator.unsupported(what, clause.span)
    }

    /// `data fields from source(...)`.
    fn data(&mut self, fields: &'p [ast::Field], source: &'p Expr) -> Eval<()> {
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
    fn unknown_fields(&mut self, fields: &'p [ast::Field]) {
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
    fn source(&mut self, source: &'p Expr) -> Eval<SourceSpec> {
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

    /// `minimize name = objective using optimizer`.
    fn minimize(
        &mut self,
        name: Option<&ast::Ident>,
        objective: &'p Expr,
        groups: &'p [UpdateGroup],
    ) -> Eval<()> {
        let value = self.evaluator.expr(objective, &self.scope);
        let settings: Vec<Eval<Value<'p>>> = groups
            .iter()
            .map(|group| {
                if matches!(group.using.kind, ExprKind::Pipe { .. }) {
                    let what = "a gradient transformation before an optimizer";
                    return Err(self.evaluator.unsupported(what, group.using.span));
                }
                let value = self.evaluator.expr(&group.using, &self.scope)?;
                match &value {
                    // An optimizer without settings need not be called: `using adam`.
                    Value::Closure(closure) if closure.function.kind == FunctionKind::Optimizer => {
                        let span = group.using.span;
                        let arguments = Arguments { given: Vec::new(), placeholder: None, span };
                        self.evaluator.call(&value, span, arguments, None)
                    }
                    _ => Ok(value),
                }
            })
            .collect();
        let loss = self.scalar(&value?, objective, "what is minimized")?;
        if !loss.dtype.is_float() {
            return Err(self.evaluator.report(
                Diagnostic::error("objective", "what is minimized must be a float")
                    .primary(objective.span, format!("this is {}", self.evaluator.show(&loss)))
                    .help("whole numbers and bools have no gradient; use a smooth loss"),
            ));
        }
        if !self.outcome.objectives.is_empty() {
            let span = self.evaluator.here();
            return Err(self.evaluator.unsupported("a second objective", span));
        }
        let name = name.map_or("loss", |name| &name.name).to_owned();
        self.outcome.objectives.push((name.clone(), loss.clone()));
        if let Some(bound) = self.recipe.clauses.iter().find_map(|clause| match &clause.kind {
            ClauseKind::Minimize { name: Some(bound), .. } if bound.name == name => Some(bound),
            _ => None,
        }) {
            self.scope.fix(&bound.name, Value::Tensor(loss.clone()), bound.span);
        }
        let [group] = groups else {
            return Err(self.evaluator.unsupported("several groups of parameters", objective.span));
        };
        if let Some(over) = &group.over {
            return Err(self.evaluator.unsupported("`over`", over.span));
        }
        let settings = match settings.into_iter().next() {
            Some(Ok(Value::Optimizer(settings))) => settings,
            Some(Ok(other)) => {
                let what = "what stands behind `using`";
                return Err(self.evaluator.unfit(&other, group.using.span, what, "an optimizer"));
            }
            _ => return Err(Stop),
        };
        if !self.evaluator.training {
            return Ok(());
        }
        let trained: Vec<usize> = self.evaluator.trained_slots();
        let gradients = self.gradients(&loss, &trained, objective.span)?;
        for (slot, gradient) in trained.into_iter().zip(gradients) {
            if let Some(gradient) = gradient {
                self.evaluator.update_parameter(&settings, slot, gradient)?;
            }
        }
        Ok(())
    }

    /// The gradients of `loss` with respect to parameters; `None` for one it does not depend on.
    fn gradients(
        &mut self,
        loss: &Tensor,
        slots: &[usize],
        span: Span,
    ) -> Eval<Vec<Option<Tensor>>> {
        let types: Vec<Tensor> =
            slots.iter().map(|&slot| self.evaluator.slots.record(slot).tensor()).collect();
        let nodes: Option<Vec<_>> = types.iter().map(|tensor| tensor.node).collect();
        let (Some(nodes), Some(node), Some(graph)) =
            (nodes, loss.node, self.evaluator.graph.as_mut())
        else {
            return Ok(types.into_iter().map(Some).collect());
        };
        let gradients = match gradient(graph, node, &nodes) {
            Ok(gradients) => gradients,
            Err(error) => {
                return Err(self.evaluator.report(
                    Diagnostic::error("no-gradient", format!("no gradient: {error}"))
                        .primary(span, "this cannot be minimized")
                        .help("`stop_gradient` keeps an operation out of the gradient"),
                ));
            }
        };
        if gradients.iter().all(Option::is_none) {
            return Err(self.evaluator.report(
                Diagnostic::error("nothing-to-train", "the objective depends on no parameter")
                    .primary(span, "nothing here can be trained")
                    .help("compute it from the output of a model"),
            ));
        }
        let tensors = gradients.into_iter().zip(types);
        Ok(tensors.map(|(node, ty)| node.map(|node| Tensor { node: Some(node), ..ty })).collect())
    }

    /// `report metric`.
    fn report(&mut self, expr: &'p Expr) -> Eval<()> {
        let value = self.evaluator.expr(expr, &self.scope)?;
        let tensor = self.scalar(&value, expr, "what is reported")?;
        let taken = |name: &str| {
            let all = self.outcome.objectives.iter().chain(&self.outcome.reports);
            all.into_iter().any(|(known, _)| known == name)
        };
        let base = report_name(expr);
        let numbered = (2..).map(|number| format!("{base}_{number}"));
        let name = std::iter::once(base.to_owned()).chain(numbered).find(|name| !taken(name));
        self.outcome.reports.push((name.unwrap_or_default(), tensor));
        Ok(())
    }

    /// A tensor without axes.
    fn scalar(&mut self, value: &Value<'p>, expr: &Expr, what: &str) -> Eval<Tensor> {
        let tensor = match Number::of(value) {
            Some(number) => {
                let f32 = cygnet_compiler::types::DType::F32;
                self.evaluator.spread(&number, f32, &[], expr.span)?
            }
            None => self.evaluator.expect_tensor(value, expr.span, what)?,
        };
        if tensor.axes.is_empty() {
            return Ok(tensor);
        }
        let shown = self.evaluator.show(&tensor);
        Err(self.evaluator.report(
            Diagnostic::error("not-a-scalar", format!("{what} must be a single number"))
                .primary(expr.span, format!("this is {shown}"))
                .help("reduce it: `mean(x)` or `sum(x)`"),
        ))
    }
}

fn default_span(parameter: &ast::Parameter) -> Span {
    parameter.default.as_ref().map_or(parameter.span, |default| default.span)
}

/// The name of the first axis of a field, if it is one.
fn samples_dim(ty: &ast::Type) -> Option<&str> {
    let TypeKind::Tensor { shape, .. } = &ty.kind else { return None };
    match &shape.axes.first()?.value {
        AxisValue::Expr(Expr { kind: ExprKind::Name(name), .. }) => Some(name),
        _ => None,
    }
}

/// The name of a metric: what is called, or the name of the value.
fn report_name(expr: &Expr) -> &str {
    match &expr.kind {
        ExprKind::Name(name) => name,
        ExprKind::Call { callee, .. } => report_name(callee),
        ExprKind::Pipe { steps, .. } => steps
            .iter()
            .rev()
            .find_map(|step| match step {
                PipeStep::Stage(stage) => Some(report_name(&stage.callee)),
                PipeStep::Movement(_) => None,
            })
            .unwrap_or("metric"),
        ExprKind::Paren(inner) => report_name(inner),
        ExprKind::Field { name, .. } => &name.name,
        _ => "metric",
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
        Value::List(parts) => {
            let parts: Eval<Vec<OptionValue>> =
                parts.iter().map(|part| static_setting(evaluator, part, span, what)).collect();
            parts.map(OptionValue::List)
        }
        other => Err(evaluator.unfit(other, span, what, "a number, text, bool or list")),
    }
}

impl Evaluator<'_> {
    /// The slots of trained parameters.
    fn trained_slots(&self) -> Vec<usize> {
        let records = self.slots.records().iter().enumerate();
        let parameter = cygnet_compiler::graph::SlotRole::Parameter;
        records.filter(|(_, record)| record.role == parameter).map(|(slot, _)| slot).collect()
    }
}
