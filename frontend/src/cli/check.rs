//! `cygnet check`.

use std::path::PathBuf;

use clap::Args;

use crate::language::check::{ModelSummary, check};
use crate::language::package::Package;
use crate::language::program::RecipePlan;

use super::console::{Console, Failure};

/// Arguments of `cygnet check`.
#[derive(Args)]
pub struct Arguments {
    /// The .cyg file
    file: PathBuf,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// Checks a file and prints what its models and recipes are.
pub fn run(arguments: &Arguments, console: &Console) -> Result<(), Failure> {
    let (package, _) = Package::load(&arguments.file);
    // What loading reports is part of what checking reports.
    let checked = check(&package);
    let diagnostics = &checked.diagnostics;
    if arguments.json {
        diagnostics.iter().for_each(|diagnostic| console.print_json(diagnostic));
    } else {
        console.diagnose(diagnostics, package.sources());
    }
    if checked.has_errors() {
        return Err(Failure::reported());
    }
    for model in &checked.models {
        match arguments.json {
            true => console.print_json(model),
            false => console.print(&describe_model(model)),
        }
    }
    for recipe in &checked.recipes {
        match arguments.json {
            true => console.print_json(recipe),
            false => console.print(&describe_recipe(recipe)),
        }
    }
    Ok(())
}

fn describe_model(model: &ModelSummary) -> String {
    let mut text = match model.entry_points.as_slice() {
        [] => signature(&model.name, &model.inputs, model.output.as_deref()),
        _ => model.name.clone(),
    };
    text.insert_str(0, "model ");
    for entry in &model.entry_points {
        let signature = signature(&entry.name, &entry.inputs, entry.output.as_deref());
        text += &format!("\n  fn {signature}");
    }
    let width = model.parameters.iter().map(|parameter| parameter.path.len()).max().unwrap_or(0);
    for parameter in &model.parameters {
        let kind = if parameter.trainable { "param" } else { "state" };
        let shape = parameter.shape.join(", ");
        text += &format!("\n  {kind} {:width$}  {}[{shape}]", parameter.path, parameter.dtype);
    }
    for constraint in &model.constraints {
        text += &format!("\n  needs {constraint}");
    }
    text
}

fn signature(name: &str, inputs: &[(String, String)], output: Option<&str>) -> String {
    let inputs: Vec<String> = inputs.iter().map(|(name, ty)| format!("{name}: {ty}")).collect();
    let result = output.map_or(String::new(), |output| format!(" -> {output}"));
    format!("{name}({}){result}", inputs.join(", "))
}

fn describe_recipe(recipe: &RecipePlan) -> String {
    let number = |value: Option<usize>| value.map_or("not set".to_owned(), |n| n.to_string());
    let mut text = format!("train {}", recipe.name);
    if let Some(data) = &recipe.data {
        let names: Vec<&str> = data.fields.iter().map(|field| field.name.as_str()).collect();
        text += &format!("\n  data {} from {}", names.join(", "), data.source.kind);
    }
    for scalar in &recipe.scalars {
        let value = scalar.value.map_or("not set".to_owned(), |value| value.to_string());
        text += &format!("\n  {} = {value}", scalar.name);
    }
    text += &format!("\n  batch {}\n  epochs {}", number(recipe.batch), number(recipe.epochs));
    text
}
