//! The programs under `tests/language`: what the language must be able to say.

use std::fs;
use std::path::{Path, PathBuf};

use cygnet::diagnostic::{Diagnostic, RenderOptions, render_all};
use cygnet::language::check::check;
use cygnet::language::package::Package;
use cygnet::source::SourceMap;

/// Every program, with its path.
pub fn programs() -> Vec<(PathBuf, String)> {
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
    assert!(programs.len() >= 11, "ten programs and pieces of the standard library");
    programs
}

#[test]
fn programs_have_no_mistakes() {
    for (path, _) in programs() {
        let (package, _) = Package::load(&path);
        let checked = check(&package);
        let shown = render(&checked.diagnostics, package.sources());
        assert!(!checked.has_errors(), "{}: {shown}", path.display());
    }
}

/// Diagnostics as plain text.
pub fn render(diagnostics: &[Diagnostic], sources: &SourceMap) -> String {
    render_all(diagnostics, sources, &RenderOptions::default())
}
