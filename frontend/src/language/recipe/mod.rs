//! Recipes: data, objectives and optimizers as a training step and an evaluation.

mod accumulate;
mod course;
mod data;
mod group;
mod load;
mod objective;
mod report;
mod show;

use std::collections::{BTreeSet, HashSet};
use std::rc::Rc;

pub use accumulate::COMPLETE;
use course::Holds;

use super::bindings::{Bindings, parse_setting, setting_text};
use super::definition::choose;
use super::elaborate::settable;
use super::evaluate::{Eval, Evaluator, Site, Stop};
use super::instance::{Activation, Root};
use super::package::{Definition, Package};
use super::program::{
    Condition, LoadClause, Plateau, Program, RecipeGraph, RecipePlan, Report, ScalarSetting,
};
use super::scope::Scope;
use super::selection::Selection;
use super::signature::Input;
use super::value::{Tensor, Value};
use crate::diagnostic::Diagnostic;
use crate::source::Span;
use crate::syntax::ast::{
    self, Clause, ClauseKind, Expr, ExprKind, FunctionKind, Item, PipeStep, Recipe, TypeKind,
};

/// Elaborates a recipe for the sizes in `bindings`. The dim of the samples is what `batch` says
/// unless it is bound, too. The training step is the one in which all `freeze ... while` hold; see
/// [`elaborate_training`] for others.
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
    let Built { program: training, outcome, conditions, plateaus } =
        build(package, recipe, bindings, &[], Purpose::Training)?;
    let evaluation = build(package, recipe, bindings, &[], Purpose::Evaluation)?.program;
    let showing = match outcome.shows.is_empty() {
        true => None,
        false => Some(build(package, recipe, bindings, &[], Purpose::Showing)?.program),
    };
    let [freezes, stops] = conditions;
    Ok(RecipeGraph {
        objectives: outcome.objectives.into_iter().map(|(name, _)| name).collect(),
        reports: outcome.reports.into_iter().map(|(report, _)| report).collect(),
        plan: outcome.plan,
        evaluation,
        training,
        showing,
        freezes,
        stops,
        plateaus,
        loads: outcome.loads,
    })
}

/// The training step of a recipe in which the `freeze ... while` clauses hold or not, in their
/// order. Its slots have the same names as in [`RecipeGraph::training`]; what is frozen has no
/// optimizer state.
///
/// # Errors
/// As [`elaborate_recipe`].
pub fn elaborate_training(
    package: &Package,
    name: &str,
    bindings: &Bindings,
    frozen: &[bool],
) -> Result<Program, Vec<Diagnostic>> {
    let recipe = recipe_called(package, Some(name))?;
    Ok(build(package, recipe, bindings, frozen, Purpose::Training)?.program)
}

/// The clauses that are numbers, and can be set like parameters.
const COUNTS: [&str; 3] = ["batch", "accumulate", "epochs"];

/// What a graph is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Training,
    Evaluation,
    /// What `show` names.
    Showing,
}

/// An elaborated graph, and what else the recipe says.
struct Built {
    program: Program,
    outcome: Outcome,
    /// Those of `freeze ... while`, and of `stop when`.
    conditions: [Vec<Condition>; 2],
    plateaus: Vec<Plateau>,
}

fn build(
    package: &Package,
    recipe: &Recipe,
    bindings: &Bindings,
    frozen: &[bool],
    purpose: Purpose,
) -> Result<Built, Vec<Diagnostic>> {
    let training = purpose == Purpose::Training;
    let mut evaluator = Evaluator::new(package, true, training);
    let mut outcome = evaluate_recipe(&mut evaluator, recipe, bindings, false, frozen);
    if evaluator.has_errors() {
        return Err(evaluator.finish().0);
    }
    let outputs = match purpose {
        Purpose::Showing => outcome.shows.clone(),
        _ => {
            let reports = outcome.reports.iter();
            let reports = reports.map(|(report, tensor)| (report.name.clone(), tensor.clone()));
            outcome.objectives.iter().cloned().chain(reports).collect()
        }
    };
    let mut scalars: Vec<(String, Option<f64>)> =
        outcome.plan.scalars.iter().map(|scalar| (scalar.name.clone(), scalar.value)).collect();
    scalars.extend([(COMPLETE.to_owned(), Some(1.0)), ("steps".to_owned(), Some(1.0))]);
    let plateaus = std::mem::take(&mut evaluator.plateaus);
    scalars.extend(plateaus.iter().map(|plateau| (plateau.scalar.clone(), Some(0.0))));
    let inputs = std::mem::take(&mut outcome.inputs);
    let mut program = evaluator.program(inputs, outputs, scalars);
    match purpose {
        Purpose::Training => {
            let guards = outcome.objectives.iter().filter_map(|(_, tensor)| tensor.node);
            program.graph.guards.extend(guards);
        }
        Purpose::Evaluation => {}
        Purpose::Showing => program.graph.updates.clear(),
    }
    let freezes = course::conditions(&mut evaluator, &program.graph, &outcome.freezes);
    let stops = course::conditions(&mut evaluator, &program.graph, &outcome.stops);
    let (Ok(freezes), Ok(stops)) = (freezes, stops) else {
        return Err(evaluator.finish().0);
    };
    Ok(Built { program, outcome, conditions: [freezes, stops], plateaus })
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
    let outcome = evaluate_recipe(&mut evaluator, recipe, bindings, true, &[]);
    if evaluator.has_errors() { Err(evaluator.finish().0) } else { Ok(outcome.plan) }
}

/// The recipe of this name, or without a name the program's only one.
///
/// # Errors
/// If there is none, or the program has mistakes.
pub fn recipe_called<'p>(
    package: &'p Package,
    name: Option<&str>,
) -> Result<&'p Recipe, Vec<Diagnostic>> {
    package.errors_so_far()?;
    let recipes: Vec<&Recipe> = package.recipes().collect();
    choose("train", name, &recipes, |recipe| &recipe.name.name)
        .map_err(|diagnostic| vec![diagnostic])
}

/// What the evaluation of a recipe gives.
#[derive(Default)]
pub(super) struct Outcome {
    /// What it says besides its graphs.
    pub plan: RecipePlan,
    inputs: Vec<Input>,
    objectives: Vec<(String, Tensor)>,
    /// Where the objectives have their names from.
    objective_spans: Vec<(String, Span)>,
    reports: Vec<(Report, Tensor)>,
    shows: Vec<(String, Tensor)>,
    loads: Vec<LoadClause>,
    /// The conditions of `freeze ... while` that are known only when the program runs.
    freezes: Vec<Holds>,
    /// What is frozen at any time.
    freezable: Vec<Selection>,
    /// The conditions of `stop when`.
    stops: Vec<Holds>,
    /// Whether a clause could not be evaluated.
    failed: bool,
    /// The parameters that some objective updates, by number.
    trained: HashSet<usize>,
}

impl Outcome {
    /// Whether the parameter with this path is frozen at some time.
    fn may_freeze(&self, path: &str) -> bool {
        self.freezable.iter().any(|selection| selection.covers(path))
    }
}

/// Evaluates a recipe. With `symbolic`, free dims are symbols. `frozen` says which `freeze ...
/// while` hold; where it ends, they do.
pub(super) fn evaluate_recipe<'p>(
    evaluator: &mut Evaluator<'p>,
    recipe: &'p Recipe,
    bindings: &Bindings,
    symbolic: bool,
    frozen: &[bool],
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
    let known = settable(names.chain(COUNTS), types);
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
            variant: frozen.to_vec(),
            outcome: Outcome {
                plan: RecipePlan { name: recipe.name.name.clone(), ..RecipePlan::default() },
                ..Outcome::default()
            },
        };
        run.parameters();
        run.counts();
        for clause in &recipe.clauses {
            let span = clause.span;
            let before = run.evaluator.move_to(span);
            let evaluated = run.clause(clause);
            run.evaluator.move_to(before);
            run.outcome.failed |= evaluated.is_err();
            if let (Err(Stop), ClauseKind::Data { fields, .. }) = (evaluated, &clause.kind) {
                run.unknown_fields(fields);
            }
        }
        run.check_course();
        if run.evaluator.training {
            run.report_untrained();
        }
        run.outcome
    })
}

/// Whether a recipe uses one instance of a model and no layer of its own: its parameters then
/// need no prefix.
fn uses_single_model(package: &Package, recipe: &Recipe) -> bool {
    let kind_of = |callee: &Expr| match package.item(definition_of(package, callee)?)? {
        Item::Function(function) => Some(function.kind),
        _ => None,
    };
    let mut instances: BTreeSet<(String, u32)> = BTreeSet::new();
    let mut layers = false;
    let mut count = |callee: &Expr, own: bool, place: u32| {
        // `vae.sample` is a function of the instance that `vae` stands for.
        let callee = match &callee.kind {
            ExprKind::Field { base, .. } if kind_of(base).is_some() => base,
            _ => callee,
        };
        match kind_of(callee) {
            Some(FunctionKind::Model) => {
                let name = match &callee.kind {
                    ExprKind::Name(name) => name,
                    ExprKind::Field { name, .. } => &name.name,
                    _ => return,
                };
                instances.insert((name.clone(), if own { place } else { 0 }));
            }
            Some(FunctionKind::Layer) => layers = true,
            _ => {}
        }
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

/// The definition that a name, or a name of an imported file, stands for.
fn definition_of(package: &Package, expr: &Expr) -> Option<Definition> {
    match &expr.kind {
        ExprKind::Name(name) => package.definition(package.root(), name),
        ExprKind::Field { base, name } => match definition_of(package, base)? {
            Definition::Module(module) => package.module(module).names.get(&name.name).copied(),
            Definition::Item { .. } => None,
        },
        _ => None,
    }
}

/// A recipe being evaluated.
struct Run<'a, 'p> {
    evaluator: &'a mut Evaluator<'p>,
    recipe: &'p Recipe,
    scope: Rc<Scope<'p>>,
    bindings: Bindings,
    symbolic: bool,
    /// Which `freeze ... while` hold.
    variant: Vec<bool>,
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
                    let site = Site { what: &what, value: span };
                    let value = self.evaluator.match_static(&value, ty, &site)?;
                    let text = setting_text(&value).map(|text| (name.name.clone(), text));
                    self.outcome.plan.statics.extend(text);
                    return Ok(value);
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

    /// `batch`, `accumulate` and `epochs`, which other clauses may need wherever they stand.
    fn counts(&mut self) {
        for clause in &self.recipe.clauses {
            let (name, expr) = match &clause.kind {
                ClauseKind::Batch(expr) => ("batch", expr),
                ClauseKind::Accumulate(expr) => ("accumulate", expr),
                ClauseKind::Epochs(expr) => ("epochs", expr),
                _ => continue,
            };
            let count = self.count(name, expr).ok();
            self.set_count(name, count);
        }
        for name in COUNTS {
            if let Some(text) = self.bindings.settings.get(name).cloned() {
                let span = self.recipe.name.span;
                let value = self.setting(&text, "int", span, name);
                let count = value.and_then(|value| self.positive(name, &value, span)).ok();
                self.set_count(name, count);
            }
        }
    }

    fn set_count(&mut self, name: &str, count: Option<usize>) {
        let plan = &mut self.outcome.plan;
        match name {
            "batch" => plan.batch = count,
            "accumulate" => plan.accumulate = count.filter(|&count| count > 1),
            _ => plan.epochs = count,
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
            ClauseKind::Report(entries) => {
                for entry in entries {
                    // The others can still be reported.
                    let _ = self.report(entry);
                }
            }
            ClauseKind::Load { targets, source } => return self.load(targets, source),
            ClauseKind::Freeze { targets, condition } => {
                return self.freeze(targets, condition.as_ref());
            }
            ClauseKind::Stop(condition) => return self.stop(condition),
            ClauseKind::Show(exprs) => {
                for expr in exprs {
                    // The others can still be shown.
                    let _ = self.show(expr);
                }
            }
            ClauseKind::Batch(_)
            | ClauseKind::Accumulate(_)
            | ClauseKind::Epochs(_)
            | ClauseKind::Error => {}
        }
        Ok(())
    }
}

fn default_span(parameter: &ast::Parameter) -> Span {
    parameter.default.as_ref().map_or(parameter.span, |default| default.span)
}
