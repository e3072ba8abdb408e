//! Checking a program: every definition, also those that nothing uses.

use std::collections::HashSet;

use cygnet_compiler::types::DType;
use serde::Serialize;

use super::bindings::Bindings;
use super::evaluate::{Constraint, Evaluator, entry_points, has_entry_points};
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ModelSummary {
    /// Its name.
    pub name: String,
    /// Its inputs: name and type. A model with entry points has none of its own.
    pub inputs: Vec<(String, String)>,
    /// The type of its result, if it is known.
    pub output: Option<String>,
    /// Its entry points.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entry_points: Vec<EntryPointSummary>,
    /// Its parameters and what it saves with them.
    pub parameters: Vec<ParameterSummary>,
    /// What its free dims must fulfil: "16 divides h".
    pub constraints: Vec<String>,
}

/// An entry point of a model with symbolic sizes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EntryPointSummary {
    /// Its name.
    pub name: String,
    /// Its inputs: name and type.
    pub inputs: Vec<(String, String)>,
    /// The type of its result, if it is known.
    pub output: Option<String>,
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

/// Checks one definition on its own, with all its entry points: its free dims are symbols.
fn check_function(
    package: &Package,
    module: ModuleId,
    function: &Function,
    training: bool,
) -> (Vec<Diagnostic>, ModelSummary) {
    let mut diagnostics = Vec::new();
    let mut summary = ModelSummary { name: function.name.name.clone(), ..ModelSummary::default() };
    let entries: Vec<Option<&Function>> = match has_entry_points(function) {
        true => entry_points(function).map(Some).collect(),
        false => vec![None],
    };
    for entry in entries {
        let mut evaluator = Evaluator::new(package, false, training);
        let bindings = Bindings::default();
        let mut dims = Dims { bindings: &bindings, symbolic: true, missing: Vec::new() };
        let (inputs, value) = evaluator.definition_alone(module, function, entry, &mut dims);
        if function.kind == FunctionKind::Optimizer {
            check_optimizer(&mut evaluator, module, function);
        }
        summary.add(&evaluator, entry, &inputs, value.ok().as_ref());
        let (found, constraints) = evaluator.finish();
        diagnostics.extend(found);
        for Constraint { requirement, .. } in constraints {
            let text = requirement.to_string();
            if !summary.constraints.contains(&text) {
                summary.constraints.push(text);
            }
        }
    }
    (diagnostics, summary)
}

/// Runs an optimizer on a parameter of unknown size.
fn check_optimizer<'p>(evaluator: &mut Evaluator<'p>, module: ModuleId, function: &'p Function) {
    evaluator.in_recipe = true;
    let scope = Scope::of_function(module, None);
    let bindings = Bindings::default();
    let mut dims = Dims { bindings: &bindings, symbolic: true, missing: Vec::new() };
    evaluator.bind_signature(function, &scope, &mut dims);
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

impl ModelSummary {
    /// Adds what is known after the evaluation of the definition or of one of its entry points.
    fn add<'p>(
        &mut self,
        evaluator: &Evaluator<'p>,
        entry: Option<&Function>,
        inputs: &[Input],
        output: Option<&Value<'p>>,
    ) {
        for record in evaluator.slots.records() {
            if self.parameters.iter().all(|known| known.path != record.path) {
                self.parameters.push(ParameterSummary {
                    path: record.path.clone(),
                    dtype: record.dtype,
                    shape: record.axes.iter().map(|axis| axis.size.to_string()).collect(),
                    trainable: record.role == cygnet_compiler::graph::SlotRole::Parameter,
                });
            }
        }
        let inputs = inputs.iter().map(|input| (input.name.clone(), evaluator.show(&input.tensor)));
        let inputs = inputs.collect();
        let output = output.and_then(|value| show_output(evaluator, value));
        match entry {
            Some(entry) => {
                let name = entry.name.name.clone();
                self.entry_points.push(EntryPointSummary { name, inputs, output });
            }
            None => (self.inputs, self.output) = (inputs, output),
        }
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
