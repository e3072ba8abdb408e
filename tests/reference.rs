//! The language reference: its examples are programs, and it names every word of the language.

use std::fs;
use std::path::Path;

use cygnet::syntax::token::{CLAUSE_WORDS, Keyword};

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
