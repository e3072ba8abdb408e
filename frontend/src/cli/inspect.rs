//! `cygnet inspect`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use cygnet_compiler::graph::Graph;

use crate::diagnostic::{Diagnostic, closest};
use crate::error::Error;
use crate::inspect::{Format, InspectError, Inspector, Stage, Subject, definitions_used};
use crate::language::bindings::Bindings;
use crate::language::definition::ModelEntry;
use crate::language::elaborate::elaborate_model;
use crate::language::package::Package;
use crate::language::program::{DataAxis, Mode};
use crate::language::recipe::{elaborate_recipe, plan_recipe};
use crate::syntax::ast::{Function, FunctionKind, Recipe};
use crate::train::load_data;

use super::common::{Instructions, Settings, base_of, load_package};
use super::console::{Console, Failure};
use super::feed;

/// Arguments of `cygnet inspect`.
#[derive(Args)]
pub struct Arguments {
    /// The .cyg file
    file: PathBuf,
    /// The recipe or model; may be left out if the file has one recipe, or none and one model
    name: Option<String>,
    /// What to show; the kernels if not given
    #[arg(long, value_enum)]
    stage: Option<Stage>,
    /// How to show it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Tell where this node of the optimized graph comes from and what became of it
    #[arg(long, value_name = "NODE", value_parser = node_number)]
    why: Option<u32>,
    /// Look for a model only, where a recipe has the same name
    #[arg(long)]
    model: bool,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    instructions: Instructions,
}

/// `17` or `%17`.
fn node_number(text: &str) -> Result<u32, String> {
    let number = text.strip_prefix('%').unwrap_or(text);
    number.parse().map_err(|_| "give the number of a node, like 17 or %17".to_owned())
}

/// The definition that is looked into.
enum Chosen<'p> {
    Model(ModelEntry<'p>),
    Recipe(&'p Recipe),
}

/// Its graphs.
struct Graphs {
    forward: Graph,
    training: Option<Graph>,
}

/// Shows a stage, or the history of a node.
pub fn run(arguments: &Arguments, console: &Console) -> Result<(), Failure> {
    let options = arguments.instructions.options()?;
    if let (Some(_), Some(stage)) = (arguments.why, arguments.stage)
        && stage != Stage::Optimized
    {
        return Err(Failure::usage(
            format!("--why is about the optimized graph, not the stage `{}`", stage.name()),
            "leave out --stage",
        ));
    }
    let package = load_package(&arguments.file, console)?;
    let chosen = choose(&package, arguments)?;
    let graphs = elaborate(&package, &chosen, arguments)?;
    let (name, span) = match chosen {
        Chosen::Model(model) => (model.name(), model.model.span),
        Chosen::Recipe(recipe) => (recipe.name.name.clone(), recipe.span),
    };
    let item = package.module(package.root()).ast.items.iter().find(|item| item.span() == span);
    let subject = Subject {
        name: &name,
        sources: package.sources(),
        standard_files: package.standard().count(),
        definitions: item.map_or_else(Vec::new, |item| definitions_used(&package, item)),
        forward: &graphs.forward,
        training: graphs.training.as_ref(),
    };
    let inspector = Inspector::new(subject, options);
    let shown = match (arguments.why, arguments.stage) {
        (Some(node), _) => inspector.why(node, arguments.format),
        (None, None) if arguments.format == Format::Html => inspector.page(),
        (None, stage) => inspector.show(stage.unwrap_or(Stage::Kernels), arguments.format),
    };
    let shown = shown.map_err(|error| failure(&error))?;
    console.print_document(&shown.text, shown.language);
    Ok(())
}

fn failure(error: &InspectError) -> Failure {
    match error.is_usage() {
        true => Failure::usage(error.to_string(), error.remedy()),
        false => Error::request(error.to_string(), error.remedy()).into(),
    }
}

/// The definition of the given name, recipes first; without one the only recipe or model.
fn choose<'p>(package: &'p Package, arguments: &Arguments) -> Result<Chosen<'p>, Failure> {
    let recipes = package.recipes().filter(|_| !arguments.model);
    let recipes: Vec<&Recipe> = recipes.collect();
    let models: Vec<&Function> = package.functions(FunctionKind::Model).collect();
    if let Some(name) = &arguments.name {
        let recipe = recipes.iter().find(|recipe| recipe.name.name == *name);
        let (model_name, _) = name.split_once('.').unwrap_or((name, ""));
        let model = models.iter().find(|model| model.name.name == model_name);
        match (recipe, model) {
            (Some(recipe), _) => return Ok(Chosen::Recipe(recipe)),
            (None, Some(_)) => return model_entry(package, Some(name)),
            (None, None) => {}
        }
    } else {
        match (recipes.as_slice(), models.as_slice()) {
            ([recipe], _) => return Ok(Chosen::Recipe(recipe)),
            ([], [_]) => return model_entry(package, None),
            _ => {}
        }
    }
    let kinds = if arguments.model { "model" } else { "recipe or model" };
    let names = recipes.iter().map(|recipe| recipe.name.name.as_str());
    let mut names: Vec<&str> =
        names.chain(models.iter().map(|model| model.name.name.as_str())).collect();
    names.dedup();
    let listed = match names.as_slice() {
        [] => format!("the file has no {kinds}: add one, or give another file"),
        names => format!("name one of {}", names.join(", ")),
    };
    Err(match &arguments.name {
        Some(name) => {
            let near = closest(name, names.iter().copied());
            let remedy = near.map_or(listed, |near| format!("did you mean `{near}`?"));
            Failure::usage(format!("there is no {kinds} `{name}`"), remedy)
        }
        None => Failure::usage(format!("which {kinds} is meant?"), listed),
    })
}

fn model_entry<'p>(package: &'p Package, name: Option<&str>) -> Result<Chosen<'p>, Failure> {
    let found = ModelEntry::find(package, name).map(Chosen::Model);
    found.map_err(|diagnostic| Failure::new(&vec![diagnostic].into(), package.sources()))
}

fn elaborate(
    package: &Package,
    chosen: &Chosen<'_>,
    arguments: &Arguments,
) -> Result<Graphs, Failure> {
    let fail = |error: Error| Failure::new(&error, package.sources());
    let wrong = |diagnostics: Vec<Diagnostic>| fail(diagnostics.into());
    let settings = arguments.settings.to_map();
    match chosen {
        Chosen::Model(model) => {
            let bindings = model_bindings(*model, settings)?;
            let name = model.name();
            let model =
                elaborate_model(package, Some(&name), &bindings, Mode::Inference).map_err(wrong)?;
            Ok(Graphs { forward: model.program.graph, training: None })
        }
        Chosen::Recipe(recipe) => {
            let name = Some(recipe.name.name.as_str());
            let mut bindings = Bindings { settings, ..Bindings::default() };
            let plan = plan_recipe(package, name, &bindings).map_err(wrong)?;
            let fields = plan.data.iter().flat_map(|data| &data.fields);
            let mut axes = fields.flat_map(|field| field.axes.iter().skip(1));
            let set = |name: &String| bindings.settings.contains_key(name);
            let open =
                |axis: &DataAxis| axis.size.is_none() && !axis.name.as_ref().is_some_and(set);
            bindings.dims = if axes.any(open) {
                let base = base_of(&arguments.file);
                let loaded = load_data(package, name, &base, bindings.settings.clone());
                loaded.map_err(fail)?.bindings.dims
            } else {
                plan.dims(&[])
            };
            let recipe = elaborate_recipe(package, name, &bindings).map_err(wrong)?;
            let training = Some(recipe.training.graph);
            Ok(Graphs { forward: recipe.evaluation.graph, training })
        }
    }
}

/// Settings of a model's parameters, and of the dims that its inputs leave free.
fn model_bindings(
    chosen: ModelEntry<'_>,
    settings: BTreeMap<String, String>,
) -> Result<Bindings, Failure> {
    let inputs = feed::input_axes(chosen.function());
    let free = |name: &str| {
        let parameters = chosen.model.parameters.iter().chain(&chosen.function().parameters);
        let is_parameter = parameters.map(|parameter| &parameter.name.name).any(|own| own == name);
        let names_axis = |axis: &Option<String>| axis.as_deref() == Some(name);
        !is_parameter && inputs.iter().any(|(_, axes)| axes.iter().any(names_axis))
    };
    let mut bindings = Bindings::default();
    for (name, value) in settings {
        if free(&name) {
            let size = value.parse().ok().filter(|&size: &usize| size > 0).ok_or_else(|| {
                Failure::usage(
                    format!("`{name}` is the size of an axis and cannot be `{value}`"),
                    format!("give a whole number above 0, like --set {name}=64"),
                )
            })?;
            bindings.dims.insert(name, size);
        } else {
            bindings.settings.insert(name, value);
        }
    }
    Ok(bindings)
}
