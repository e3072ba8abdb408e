//! Checking a program: every definition, also those that nothing uses.

use std::collections::HashSet;

use cygnet_compiler::types::DType;
use serde::Serialize;

use super::bindings::Bindings;
use super::evaluate::{Constraint, Evaluator};
use super::instance::{Activation, Root};
use super::package::{ModuleId, Package};
use super::program::RecipePlan;
use super::recipe::evaluate_recipe;
use super::scope::Scope;
use super::signature::{Dims, Input};
use super::size::Size;
use super::value::{Axis, Closure, Settings, Tensor, Value};
use crate::diagnostic::Diagnostic;
use crate::syntax::ast::{Function, FunctionKind, Item};

/// What is known of a program before its dims have numbers.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    /// Mistakes and doubtful things, in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
    /// The models of the program's own file.
    pub models: Vec<ModelSummary>,
    /// Its recipes.
    pub recipes: Vec<RecipePlan>,
}

/// A model with symbolic sizes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelSummary {
    /// Its name.
    pub name: String,
    /// Its inputs: name and type.
    pub inputs: Vec<(String, String)>,
    /// The type of its result, if it is known.
    pub output: Option<String>,
    /// Its parameters and what it saves with them.
    pub parameters: Vec<ParameterSummary>,
    /// What its free dims must fulfil: "16 divides h".
    pub constraints: Vec<String>,
}

/// A parameter with symbolic sizes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ParameterSummary {
    /// Its path.
    pub path: String,
    /// Element type.
    pub dtype: DType,
    /// Its extents.
    pub shape: Vec<String>,
    /// Whether it is trained.
    pub trainable: bool,
}

impl Checked {
    /// Whether the program has mistakes.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }
}

/// Checks names, shapes and element types of all definitions of a program.
pub fn check(package: &Package) -> Checked {
    let mut reports = Reports::default();
    reports.extend(package.diagnostics().to_vec());
    let mut models = Vec::new();
    let mut recipes = Vec::new();
    if !package.is_readable() {
        return Checked { diagnostics: reports.sorted(), models, recipes };
    }
    for module in package.program() {
        for item in &package.module(module).ast.items {
            match item {
                Item::Function(function) => {
                    for training in [true, false] {
                        let (diagnostics, summary) =
                            check_function(package, module, function, training);
                        reports.extend(diagnostics);
                        let own = module == package.root() && training;
                        if own && function.kind == FunctionKind::Model {
                            models.push(summary);
                        }
                    }
                }
                Item::Recipe(recipe) if module == package.root() => {
                    for training in [true, false] {
                        let mut evaluator = Evaluator::new(package, false, training);
                        let outcome = evaluate_recipe(
                            &mut evaluator,
                            recipe,
                            &Bindings::default(),
                            true,
                            &[],
                        );
                        reports.extend(evaluator.finish().0);
                        if training {
                            recipes.push(outcome.plan);
                        }
                    }
                }
                Item::Binding(binding) => {
                    let mut evaluator = Evaluator::new(package, false, true);
                    let scope = Scope::of_function(module, None);
                    evaluator.bind(binding, &scope);
                    reports.extend(evaluator.finish().0);
                }
                Item::Use(_) | Item::Recipe(_) => {}
            }
        }
    }
    Checked { diagnostics: reports.sorted(), models, recipes }
}

/// Diagnostics, each place and kind once.
#[derive(Default)]
struct Reports {
    list: Vec<Diagnostic>,
    seen: HashSet<(&'static str, Option<crate::source::Span>)>,
}

impl Reports {
    fn extend(&mut self, diagnostics: Vec<Diagnostic>) {
        for diagnostic in diagnostics {
            // Every use of a definition without end fails in another place.
            let endless = diagnostic.code.starts_with("endless");
            let place = if endless { None } else { diagnostic.primary_span() };
            if self.seen.insert((diagnostic.code, place)) {
                self.list.push(diagnostic);
            }
        }
    }

    fn sorted(mut self) -> Vec<Diagnostic> {
        self.list.sort_by_key(|diagnostic| diagnostic.primary_span());
        self.list
    }
}

/// Checks one definition on its own: its free dims are symbols.
fn check_function(
    package: &Package,
    module: ModuleId,
    function: &Function,
    training: bool,
) -> (Vec<Diagnostic>, ModelSummary) {
    let mut evaluator = Evaluator::new(package, false, training);
    let bindings = Bindings::default();
    let mut dims = Dims { bindings: &bindings, symbolic: true, missing: Vec::new() };
    let activation = match function.kind {
        FunctionKind::Fn | FunctionKind::Optimizer => None,
        FunctionKind::Layer | FunctionKind::Model => {
            Some(Activation::of_root("", Root::PROGRAM, 0))
        }
    };
    let (inputs, output) = evaluator.in_frame(&function.name.name, None, activation, |evaluator| {
        let scope = Scope::of_function(module, None);
        let inputs = evaluator.bind_signature(function, &scope, &mut dims);
        if function.kind == FunctionKind::Optimizer {
            check_optimizer(evaluator, module, function, &scope);
            return (inputs, None);
        }
        (inputs, evaluator.body(function, &scope).ok())
    });
    let summary = summarize(&evaluator, function, &inputs, output.as_ref());
    let (diagnostics, constraints) = evaluator.finish();
    let constraints =
        constraints.iter().map(|Constraint { requirement, .. }| requirement.to_string());
    (diagnostics, ModelSummary { constraints: constraints.collect(), ..summary })
}

/// Runs an optimizer on a parameter of unknown size.
fn check_optimizer<'p>(
    evaluator: &mut Evaluator<'p>,
    module: ModuleId,
    function: &'p Function,
    scope: &std::rc::Rc<Scope<'p>>,
) {
    evaluator.in_recipe = true;
    let axis = Axis { id: evaluator.axes.unnamed(), size: Size::free("size") };
    let tensor = Tensor { dtype: DType::F32, axes: vec![axis], node: None };
    let value = |name: &str| scope.lookup(name).map_or(Value::Unknown, |binding| binding.value);
    let settings = Settings {
        closure: Closure { function, module, scope: None, activation: None },
        values: function.parameters.iter().map(|parameter| value(&parameter.name.name)).collect(),
        span: function.name.span,
    };
    // What is wrong was reported.
    let _ = evaluator.run_optimizer(&settings, "parameter", tensor.clone(), tensor);
}

fn summarize<'p>(
    evaluator: &Evaluator<'p>,
    function: &Function,
    inputs: &[Input],
    output: Option<&Value<'p>>,
) -> ModelSummary {
    let parameters = evaluator.slots.records().iter().map(|record| ParameterSummary {
        path: record.path.clone(),
        dtype: record.dtype,
        shape: record.axes.iter().map(|axis| axis.size.to_string()).collect(),
        trainable: record.role == cygnet_compiler::graph::SlotRole::Parameter,
    });
    let inputs = inputs.iter().map(|input| (input.name.clone(), evaluator.show(&input.tensor)));
    ModelSummary {
        name: function.name.name.clone(),
        inputs: inputs.collect(),
        output: output.and_then(|value| show_output(evaluator, value)),
        parameters: parameters.collect(),
        constraints: Vec::new(),
    }
}

/// The type of a result, if all of it is known.
fn show_output<'p>(evaluator: &Evaluator<'p>, value: &Value<'p>) -> Option<String> {
    match value {
        Value::Tensor(tensor) => Some(evaluator.show(tensor)),
        Value::Tuple(parts) => {
            let parts: Option<Vec<String>> =
                parts.iter().map(|part| show_output(evaluator, part)).collect();
            parts.map(|parts| format!("({})", parts.join(", ")))
        }
        _ => None,
    }
}
