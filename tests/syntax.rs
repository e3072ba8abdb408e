//! Parsing and formatting of whole programs.

use std::fs;
use std::path::{Path, PathBuf};

use cygnet::diagnostic::{RenderOptions, render_all};
use cygnet::source::SourceMap;
use cygnet::syntax;

/// The programs under `tests/language`: what the language must be able to say.
fn programs() -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/language");
    let mut programs: Vec<(PathBuf, String)> = fs::read_dir(folder)
        .expect("the programs are there")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "cyg"))
        .map(|path| {
            let text = fs::read_to_string(&path).expect("readable");
            (path, text)
        })
        .collect();
    programs.sort();
    assert!(programs.len() >= 11, "ten programs and the standard library's pieces");
    programs
}

#[test]
fn every_program_parses() {
    for (path, text) in programs() {
        let mut sources = SourceMap::new();
        let file = sources.add(path.to_string_lossy(), text);
        let parsed = syntax::parse(&sources, file);
        let rendered = render_all(&parsed.diagnostics, &sources, &RenderOptions::default());
        assert!(parsed.diagnostics.is_empty(), "{rendered}");
    }
}
