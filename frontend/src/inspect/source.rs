//! Source text: a definition and those that it uses.

use std::fmt::Write;

use serde::Serialize;

use super::Stage;
use crate::language::package::{Definition, ModuleId, Package};
use crate::source::{SourceFile, SourceMap, Span};
use crate::syntax::ast::{Block, Body, Expr, ExprKind, Function, Item, Statement};

/// Definitions as data.
#[derive(Serialize)]
pub struct SourceView<'a> {
    name: &'a str,
    stage: Stage,
    definitions: Vec<DefinitionView<'a>>,
}

#[derive(Serialize)]
struct DefinitionView<'a> {
    file: &'a str,
    line: usize,
    text: &'a str,
}

/// The text of definitions, with the comments right above them.
pub fn view<'a>(name: &'a str, spans: &[Span], sources: &'a SourceMap) -> SourceView<'a> {
    let definitions = spans.iter().filter_map(|&span| {
        let file = sources.file_of(span)?;
        let span = Span { start: with_comments(file, span.start), ..span };
        let (line, _) = file.line_and_column(span.start);
        Some(DefinitionView { file: file.name(), line, text: file.slice(span) })
    });
    SourceView { name, stage: Stage::Source, definitions: definitions.collect() }
}

/// The definitions one after another, each below a comment that says where it stands.
pub fn text(view: &SourceView<'_>) -> String {
    let mut text = String::new();
    for (number, DefinitionView { file, line, text: definition }) in
        view.definitions.iter().enumerate()
    {
        let blank = if number == 0 { "" } else { "\n" };
        let _ = writeln!(text, "{blank}# {file}:{line}\n{definition}");
    }
    text
}

/// Start of the comments that stand right above a definition, or of itself.
fn with_comments(file: &SourceFile, start: u32) -> u32 {
    let mut first = start as usize;
    while let Some(above) = file.text()[..first].strip_suffix('\n') {
        let line_start = above.rfind('\n').map_or(0, |newline| newline + 1);
        if !above[line_start..].starts_with('#') {
            break;
        }
        first = line_start;
    }
    first as u32
}

/// The text of an item of the program's own file, and of all functions, layers, optimizers and
/// constants that it uses, directly or not, in the order in which they are met; those of the
/// language itself have no text.
pub fn definitions_used(package: &Package, item: &Item) -> Vec<Span> {
    let mut used = vec![item.span()];
    let mut next = vec![(package.root(), item)];
    while let Some((module, item)) = next.pop() {
        let mut met = Vec::new();
        each_expression(item, &mut |expr| {
            let Some(definition) = defined_by(package, module, expr) else { return };
            let Definition::Item { module, .. } = definition else { return };
            let Some(item) = package.item(definition) else { return };
            if !used.contains(&item.span()) {
                used.push(item.span());
                met.push((module, item));
            }
        });
        next.extend(met.into_iter().rev());
    }
    used
}

/// What an expression, read at the top of `module`, refers to: `name` or `module.name`.
fn defined_by(package: &Package, module: ModuleId, expr: &Expr) -> Option<Definition> {
    match &expr.kind {
        ExprKind::Name(name) => package.definition(module, name),
        ExprKind::Field { base, name } => match defined_by(package, module, base)? {
            Definition::Module(module) => package.definition(module, &name.name),
            Definition::Item { .. } => None,
        },
        _ => None,
    }
}

/// Calls `visit` for every expression of an item but names that stand for its own parameters.
fn each_expression<'a>(item: &'a Item, visit: &mut dyn FnMut(&'a Expr)) {
    match item {
        Item::Use(_) => {}
        Item::Binding(binding) => binding.value.each(visit),
        Item::Function(function) => each_of_function(function, visit),
        Item::Recipe(recipe) => {
            let parameters = recipe.parameters.iter();
            parameters.filter_map(|p| p.default.as_ref()).for_each(|default| default.each(visit));
            recipe.clauses.iter().for_each(|clause| clause.each(visit));
        }
    }
}

fn each_of_function<'a>(function: &'a Function, visit: &mut dyn FnMut(&'a Expr)) {
    let parameters = || function.parameters.iter();
    parameters().filter_map(|p| p.default.as_ref()).for_each(|default| default.each(visit));
    let mut visit = |expr: &'a Expr| {
        let own = |name: &String| parameters().any(|parameter| parameter.name.name == *name);
        if !matches!(&expr.kind, ExprKind::Name(name) if own(name)) {
            visit(expr);
        }
    };
    match &function.body {
        Body::Expr(expr) => expr.each(&mut visit),
        Body::Block(block) => each_of_block(block, &mut visit),
    }
}

/// As [`Block::each`], with the functions inside the block.
fn each_of_block<'a>(block: &'a Block, visit: &mut dyn FnMut(&'a Expr)) {
    block.each(visit);
    for statement in &block.statements {
        if let Statement::Function(function) = statement {
            each_of_function(function, visit);
        }
    }
}
