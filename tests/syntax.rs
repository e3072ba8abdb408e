//! Parsing whole programs.

use cygnet::source::SourceMap;
use cygnet::syntax;

use crate::language::{programs, render};

#[test]
fn every_program_parses() {
    for (path, text) in programs() {
        let mut sources = SourceMap::new();
        let file = sources.add(path.to_string_lossy(), text);
        let parsed = syntax::parse(&sources, file);
        assert!(parsed.diagnostics.is_empty(), "{}", render(&parsed.diagnostics, &sources));
    }
}
