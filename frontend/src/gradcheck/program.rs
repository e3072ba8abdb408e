//! Models and recipes of a program as subjects of checks.

use std::collections::{BTreeMap, BTreeSet};

use cygnet_compiler::graph::{Emit, Graph, NodeId, SlotRole};
use cygnet_compiler::types::{Axes, DType};

use crate::diagnostic::{Diagnostic, closest};
use crate::language::bindings::Bindings;
use crate::language::definition::ModelEntry;
use crate::language::elaborate::elaborate_model;
use crate::language::evaluate::{DEFAULT_ENTRY, entry_point, has_entry_points};
use crate::language::initializer::Initializer;
use crate::language::package::{Definition, Package};
use crate::language::program::{Mode, Program};
use crate::language::recipe::{elaborate_recipe, plan_recipe};
use crate::syntax::ast::{AxisValue, Body, ExprKind, Function, FunctionKind, Statement, TypeKind};

use super::Subject;
use super::problem::{Problem, Sampling, Values};
use super::sample::Size;

/// Sizes that free dims may take: small ones, and round ones for models that divide them.
const SIZES: [usize; 9] = [1, 2, 3, 4, 5, 6, 8, 12, 16];
/// Largest number of samples.
const LARGEST_BATCH: usize = 4;

/// Spread of parameters that start at one value.
const SPREAD: f64 = 0.5;

/// What kind of definition a target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A recipe: the sum of its objectives, while training.
    Recipe,
    /// A model: its outputs, weighted at random, while training.
    Model,
}

/// A model or recipe to be checked.
#[derive(Debug)]
pub struct Target<'a> {
    package: &'a Package,
    kind: Kind,
    name: String,
    settings: BTreeMap<String, String>,
    sizes: Vec<Size>,
}

impl Target<'_> {
    /// What it is called in messages: "the model `digits`".
    pub fn title(&self) -> String {
        match self.kind {
            Kind::Recipe => format!("the recipe `{}`", self.name),
            Kind::Model => format!("the model `{}`", self.name),
        }
    }

    /// Whether it is a model or a recipe.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// The recipes and models called `name`, or an entry point of a model (`vae.decode`); without a name, all recipes, or all models if there are
/// none. `settings` fixes sizes and static values; sizes that it leaves open are drawn.
///
/// # Errors
/// If there are none, or a recipe is wrong whatever its sizes.
pub fn targets<'a>(
    package: &'a Package,
    name: Option<&str>,
    settings: &BTreeMap<String, String>,
) -> Result<Vec<Target<'a>>, Vec<Diagnostic>> {
    let target = |kind: Kind, name: String, mut sizes: Vec<Size>| {
        sizes.retain(|size| !settings.contains_key(&size.name));
        Target { package, kind, name, settings: settings.clone(), sizes }
    };
    let is_wanted = |found: &str| name.is_none_or(|name| name == found);
    let mut targets = Vec::new();
    for recipe in package.recipes().filter(|recipe| is_wanted(&recipe.name.name)) {
        let name = recipe.name.name.clone();
        let sizes = recipe_sizes(package, &name, settings)?;
        targets.push(target(Kind::Recipe, name, sizes));
    }
    if name.is_some() || targets.is_empty() {
        let (wanted, entry) = match name.and_then(|name| name.split_once('.')) {
            Some((model, entry)) => (Some(model), Some(entry)),
            None => (name, None),
        };
        let models = package.functions(FunctionKind::Model);
        for model in models.filter(|model| wanted.is_none_or(|name| model.name.name == name)) {
            let chosen = match (has_entry_points(model), entry) {
                (false, None) => ModelEntry { model, entry: None },
                (false, Some(_)) => continue,
                (true, entry) => match entry_point(model, entry.unwrap_or(DEFAULT_ENTRY)) {
                    Ok(entry) => ModelEntry { model, entry: Some(entry) },
                    Err(_) => continue,
                },
            };
            let (name, sizes) = (chosen.name(), model_sizes(package, chosen));
            targets.push(target(Kind::Model, name, sizes));
        }
    }
    match targets.is_empty() {
        true => Err(vec![nothing_to_check(package, name)]),
        false => Ok(targets),
    }
}

fn nothing_to_check(package: &Package, name: Option<&str>) -> Diagnostic {
    let Some(name) = name else {
        return Diagnostic::error("no-definition", "the program has neither a model nor a recipe")
            .help("define a `model`, or give another file");
    };
    let models = package.functions(FunctionKind::Model).map(|model| model.name.name.as_str());
    let recipes = package.recipes().map(|recipe| recipe.name.name.as_str());
    let known: BTreeSet<&str> = models.chain(recipes).collect();
    let missing =
        Diagnostic::error("no-definition", format!("there is no model or recipe `{name}`"));
    match closest(name, known.iter().copied()) {
        Some(near) => missing.help(format!("did you mean `{near}`?")),
        None => {
            let known: Vec<&str> = known.into_iter().collect();
            missing.help(format!("the program has {}", known.join(", ")))
        }
    }
}

fn size(name: &str, largest: usize) -> Size {
    let choices = SIZES.into_iter().filter(|size| *size <= largest).collect();
    Size { name: name.to_owned(), choices }
}

/// The dims that a recipe's data would give.
fn recipe_sizes(
    package: &Package,
    name: &str,
    settings: &BTreeMap<String, String>,
) -> Result<Vec<Size>, Vec<Diagnostic>> {
    let bindings = Bindings { settings: settings.clone(), ..Bindings::default() };
    let plan = plan_recipe(package, Some(name), &bindings)?;
    let axes = plan.data.iter().flat_map(|data| &data.fields).flat_map(|field| &field.axes);
    let open: BTreeSet<&str> =
        axes.filter(|axis| axis.size.is_none()).filter_map(|axis| axis.name.as_deref()).collect();
    let batch = plan.batch_dim.as_deref();
    let dims = open.into_iter().filter(|name| batch != Some(*name));
    let samples = batch.map(|name| size(name, LARGEST_BATCH));
    Ok(samples.into_iter().chain(dims.map(|name| size(name, usize::MAX))).collect())
}

/// The dims that a model's callers give: names of axes of its inputs that stand for nothing else,
/// and static dims without a default.
fn model_sizes(package: &Package, chosen: ModelEntry<'_>) -> Vec<Size> {
    let mut tensors = BTreeSet::new();
    let mut statics = BTreeSet::new();
    let entry = chosen.entry.map(|entry| entry.parameters.as_slice());
    for parameter in chosen.model.parameters.iter().chain(entry.unwrap_or_default()) {
        match parameter.ty.as_ref().map(|ty| &ty.kind) {
            Some(TypeKind::Tensor { shape, .. }) => {
                tensors.extend(shape.axes.iter().filter_map(|axis| match &axis.value {
                    AxisValue::Expr(size) => match &size.kind {
                        ExprKind::Name(name) => Some(name.as_str()),
                        _ => None,
                    },
                    AxisValue::Ellipsis => None,
                }));
            }
            Some(TypeKind::Name(ty)) => {
                let is_open = ty.name == "dim" && parameter.default.is_none();
                statics.insert((parameter.name.name.as_str(), is_open));
            }
            _ => {}
        }
    }
    let is_bound = |name: &str| {
        let own = statics.iter().any(|(other, _)| *other == name);
        let held = chosen.entry.is_some() && binds(chosen.model, name);
        own || held
            || matches!(package.definition(package.root(), name), Some(Definition::Item { .. }))
    };
    let axes = tensors.into_iter().filter(|name| !is_bound(name));
    let open = statics.iter().filter(|(_, open)| *open).map(|(name, _)| *name);
    axes.chain(open).map(|name| size(name, usize::MAX)).collect()
}

/// Whether a `let` in the body of a definition binds `name`.
fn binds(function: &Function, name: &str) -> bool {
    let Body::Block(block) = &function.body else { return false };
    block.statements.iter().any(|statement| match statement {
        Statement::Binding(binding) => binding.pattern.names().iter().any(|own| own.name == name),
        _ => false,
    })
}

impl Subject for Target<'_> {
    fn sizes(&self) -> &[Size] {
        &self.sizes
    }

    fn problem(&self, sizes: &[usize]) -> Result<Problem, Vec<Diagnostic>> {
        let names = self.sizes.iter().map(|size| size.name.as_str());
        let dims = Bindings::of_dims(names.zip(sizes.iter().copied()));
        let bindings = Bindings { settings: self.settings.clone(), ..dims };
        let name = Some(self.name.as_str());
        Ok(match self.kind {
            Kind::Recipe => {
                let recipe = elaborate_recipe(self.package, name, &bindings)?;
                let loss = |graph: &mut Graph| objective(graph, &recipe.objectives);
                problem_of(recipe.training.clone(), loss)
            }
            Kind::Model => {
                let model = elaborate_model(self.package, name, &bindings, Mode::Training)?;
                problem_of(model.program, weighted_outputs)
            }
        })
    }
}

/// The problem of a program's graph, in which `loss` finds the scalar.
fn problem_of(mut program: Program, loss: impl FnOnce(&mut Graph) -> NodeId) -> Problem {
    let mut samplings: Vec<Sampling> = program.graph.slots.iter().map(Sampling::of_slot).collect();
    for (name, classes) in &program.labels {
        let inputs = program.inputs.iter().filter(|input| input.name == *name);
        for input in inputs {
            samplings[input.slot as usize].values = Values::Below(classes.count);
        }
    }
    for scalar in &program.scalars {
        // What is not given is the number of the step, from 1, or of the epoch, from 0.
        let first = if scalar.name == "epoch" { 0.0 } else { 1.0 };
        samplings[scalar.slot as usize].values = Values::Fixed(scalar.value.unwrap_or(first));
    }
    for parameter in program.parameters.iter().filter(|parameter| parameter.trainable()) {
        samplings[parameter.slot as usize].values = match parameter.initializer {
            Initializer::Constant { value } => Values::Normal { mean: value, std: SPREAD },
            Initializer::Normal { mean, std } => Values::Normal { mean, std },
            Initializer::Uniform { low, high } => Values::Uniform { low, high },
        };
    }
    let loss = loss(&mut program.graph);
    let directions = program.graph.slots.len() - samplings.len();
    let weights = Values::Normal { mean: 0.0, std: 1.0 };
    samplings.extend(vec![Sampling { values: weights, varied: false }; directions]);
    Problem::new(program.graph, loss, samplings)
}

/// The sum of outputs that are scalars.
fn objective(graph: &mut Graph, names: &[String]) -> NodeId {
    let nodes = graph.outputs.iter().filter(|output| names.contains(&output.name));
    let nodes: Vec<NodeId> = nodes.map(|output| output.node).collect();
    sum(graph, &nodes)
}

/// The sum of all float outputs, each element with a weight from a new slot.
fn weighted_outputs(graph: &mut Graph) -> NodeId {
    let mut terms = Vec::new();
    for output in graph.outputs.clone() {
        let ty = graph.type_of(output.node).clone();
        if ty.dtype.is_float() {
            let axes: Axes = (0..ty.rank()).collect();
            let name = format!("weights of {}", output.name);
            let slot = graph.declare_slot(&name, SlotRole::Input, ty);
            let weights = graph.read_slot(slot);
            let weighted = graph.mul(output.node, weights);
            terms.push(graph.sum(weighted, &axes));
        }
    }
    sum(graph, &terms)
}

/// The sum of scalars, as f32 unless there is but one.
fn sum(graph: &mut Graph, terms: &[NodeId]) -> NodeId {
    if let [only] = terms {
        return *only;
    }
    let mut sum = graph.constant(DType::F32, &[], 0.0);
    for &term in terms {
        let term = graph.cast(term, DType::F32);
        sum = graph.add(sum, term);
    }
    sum
}
