//! The language reference: its examples are programs, and it names every word of the language.

use std::fs;
use std::path::Path;

use cygnet::language::builtins::Builtin;
use cygnet::language::check::check;
use cygnet::language::package::Package;
use cygnet::syntax::ast::Item;
use cygnet::syntax::token::{CLAUSE_WORDS, Keyword};

use crate::language::render;

fn reference() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("language.md");
    fs::read_to_string(path).expect("the reference is there")
}

/// The blocks of code that are marked as `cyg`.
fn examples(text: &str) -> Vec<&str> {
    text.split("```cyg\n").skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

#[test]
fn every_example_is_a_formatted_program() {
    let text = reference();
    let examples = examples(&text);
    assert!(examples.len() >= 9, "{}", examples.len());
    for example in examples {
        assert_eq!(crate::format::check(example), example);
    }
}

#[test]
fn every_word_of_the_language_is_listed() {
    let text = reference();
    let reserved = text.split("These words are reserved:").nth(1).expect("a list of words");
    let reserved: Vec<&str> =
        reserved.split("```").nth(1).expect("a block").split_whitespace().collect();
    let keywords: Vec<&str> = Keyword::ALL.iter().map(|keyword| keyword.text()).collect();
    assert_eq!(reserved, keywords);
    for word in CLAUSE_WORDS {
        assert!(text.contains(&format!("`{word}`")), "{word}");
    }
}

#[test]
fn the_examples_on_meaning_have_no_mistakes() {
    let text = reference();
    let meaning = text.split("\n## Meaning\n").nth(1).expect("a part on meaning");
    let examples = examples(meaning);
    assert!(examples.len() >= 7, "{}", examples.len());
    for example in examples {
        let (package, _) = Package::from_source("example.cyg", example);
        let mistakes = check(&package).diagnostics;
        assert!(mistakes.is_empty(), "{example}\n{}", render(&mistakes, package.sources()));
    }
}

#[test]
fn every_function_and_definition_is_listed() {
    let text = reference();
    let listed = |name: &str| {
        let uses =
            [format!("`{name}`"), format!("`{name}("), format!("`{name}["), format!(", `{name}(")];
        uses.iter().any(|written| text.contains(written.as_str()))
    };
    for name in Builtin::names() {
        assert!(listed(name), "the function {name}");
    }
    let (package, _) = Package::from_source("empty.cyg", "");
    for module in package.standard() {
        for item in &package.module(module).ast.items {
            if let Item::Function(function) = item {
                assert!(listed(&function.name.name), "{} of the library", function.name.name);
            }
        }
    }
}
