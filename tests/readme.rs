//! The README's tables of what there is, held against the program and its library.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use cygnet::data::error::Fault;
use cygnet::data::load::load;
use cygnet::data::source::SourceSpec;
use cygnet::language::builtins::Builtin;
use cygnet::language::package::Package;
use cygnet::syntax::ast::Item;

use crate::command;

/// What the table of names stands between.
const MARKS: [&str; 2] = ["<!-- names -->\n\n", "\n<!-- end of names -->"];

/// Set to write the table into the README instead of comparing it.
const UPDATE: &str = "CYGNET_UPDATE_README";

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")
}

/// A table of all names that a program can use, made from the library itself.
fn table() -> String {
    let mut table = "| where | names |\n|---|---|\n".to_owned();
    let mut row = |place: String, names: Vec<String>| {
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        writeln!(table, "| {place} | {} |", names.join(", ")).expect("written");
    };
    let (package, _) = Package::from_source("empty.cyg", "");
    for id in package.standard() {
        let module = package.module(id);
        let names = module.ast.items.iter().filter_map(|item| match item {
            Item::Function(function) => Some(function.name.name.clone()),
            _ => None,
        });
        let file = package.sources().file(module.file).name();
        let file = Path::new(file).file_name().and_then(|name| name.to_str()).expect("a name");
        let place = format!("[`std/{file}`](frontend/std/{file})");
        row(place, names.collect());
    }
    let mut names: Vec<String> = Vec::new();
    for name in Builtin::names() {
        // `max` and `min` are reductions and elementwise functions.
        if !names.iter().any(|other| other == name) {
            names.push(name.to_owned());
        }
    }
    row("the language itself".to_owned(), names);
    row("sources of data".to_owned(), sources());
    row("[`examples/networks`](examples/networks)".to_owned(), networks());
    table
}

/// The sources that a wrong one is told of.
fn sources() -> Vec<String> {
    let spec = SourceSpec { kind: "none".to_owned(), paths: Vec::new(), options: BTreeMap::new() };
    let error = load(&spec, &[], Path::new(".")).expect_err("there is no such source");
    let Fault::UnknownSource { known, .. } = &*error.fault else { panic!("{error}") };
    known.iter().map(|name| (*name).to_owned()).collect()
}

fn networks() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/networks");
    let files = fs::read_dir(folder).expect("the networks").map(|entry| entry.expect("one").path());
    let programs = files.filter(|path| path.extension().is_some_and(|kind| kind == "cyg"));
    let names: BTreeSet<String> =
        programs.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect();
    names.into_iter().collect()
}

#[test]
fn the_table_of_names_is_that_of_the_library() {
    let text = fs::read_to_string(path()).expect("the README");
    let (before, rest) = text.split_once(MARKS[0]).expect("a table of names");
    let (written, after) = rest.split_once(MARKS[1]).expect("the end of the table");
    let table = table();
    if std::env::var_os(UPDATE).is_some() {
        let text = [before, MARKS[0], &table, MARKS[1], after].concat();
        fs::write(path(), text).expect("written");
    } else {
        assert_eq!(written, table, "run this test with {UPDATE}=1 to write the table anew");
    }
}

#[test]
fn the_table_of_commands_is_complete() {
    let text = fs::read_to_string(path()).expect("the README");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `cygnet "));
    let listed: BTreeSet<String> =
        rows.filter_map(|row| row.split([' ', '`']).next()).map(str::to_owned).collect();
    let help = command::cygnet().arg("--help").output().expect("runs");
    let help = String::from_utf8(help.stdout).expect("text");
    let commands = help.split("Commands:\n").nth(1).expect("a list of commands");
    let commands = commands.lines().take_while(|line| !line.is_empty());
    let known: BTreeSet<String> = commands
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect();
    assert_eq!(listed, known);
}
