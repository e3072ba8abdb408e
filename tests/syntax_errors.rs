//! Every syntax error: what it says, where it points, and that reading goes on behind it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use cygnet::diagnostic::Diagnostic;
use cygnet::source::SourceMap;
use cygnet::syntax;

use crate::language::render;

/// The diagnostics of a program, and as they are shown.
fn check(text: &str) -> (Vec<Diagnostic>, String) {
    let mut sources = SourceMap::new();
    let file = sources.add("example.cyg", text);
    let diagnostics = syntax::parse(&sources, file).diagnostics;
    let shown = render(&diagnostics, &sources);
    (diagnostics, shown)
}

/// One program for each kind of mistake. The name is the code of the diagnostic; what follows a
/// `/` tells cases of one code apart.
const CASES: &[(&str, &str)] = &[
    // The lexer.
    ("unexpected-character", "fn f(x) = x;\n"),
    ("unexpected-character/and", "fn f(x, y) = x && y\n"),
    ("unterminated-string", "fn f(x) = g(x, \"abc)\nfn h(x) = x\n"),
    ("single-quotes", "use 'resnet.cyg': resnet18\n"),
    ("malformed-number", "fn f(x) = 2x + 1__0\n"),
    ("number-too-large", "fn f(x) = x + 99999999999999999999 + 1e999\n"),
    // Strings.
    ("unknown-escape", "let a = \"C:\\data\"\n"),
    ("unclosed-value", "let a = \"l{i\"\n"),
    // Delimiters.
    ("unclosed-delimiter/call", "fn f(x) {\n    let y = g(x, (1 + 2)\n    let z = y\n    z\n}\n"),
    ("unclosed-delimiter/signature", "layer f(x: f32[n], out: dim {\n    x\n}\n"),
    (
        "unclosed-delimiter/block",
        "layer a(x) {\n    if x {\n        x\n}\n\nmodel b(x) {\n    x\n}\n",
    ),
    ("unclosed-delimiter/end", "model b(x) {\n    x |> a(\n"),
    ("mismatched-delimiter", "fn f(x) = g(x, 2] + 1\n"),
    ("unmatched-delimiter", "fn f(x) {\n    x)\n}\n}\n"),
    ("empty-parentheses", "fn f(x) = x + ()\n"),
    // What is missing.
    ("expected-token", "fn f(x) {\n    let y\n    param w: f32[2]\n    y\n}\n"),
    ("expected-token/list", "fn f(x) = g(x y, z = 3)\n"),
    ("expected-token/using", "train t() {\n    minimize loss(x)\n    batch 3\n}\n"),
    ("expected-token/body", "fn f(x)\n\nfn g(x) = x\n"),
    ("expected-token/parameters", "train digits {\n    batch 3\n}\n"),
    ("expected-expression", "fn f(x) = x +\n\nfn g(x) = * 2\n"),
    ("expected-expression/compound", "fn f(x) {\n    x += 1\n    x\n}\n"),
    ("expected-expression/continuation", "fn f(x) {\n    x\n    * 2\n}\n"),
    ("expected-expression/point", "fn f(x) = x + .5\n"),
    ("expected-name", "fn f(x) {\n    let model = x\n    let 3 = x\n    x\n}\n"),
    ("expected-name/tuple", "fn f(x) = x.0\n"),
    ("expected-type", "fn f(x: 3, y: f32[n]) = x\n"),
    ("expected-definition", "modle f(x) = x\n\nx = 3\n\nvar y = 2\n"),
    ("expected-definition/comment", "// a comment\nfn f(x) = x\n"),
    ("expected-clause", "train t() {\n    epoch 15\n    bacth 3\n    f(x)\n    show x\n}\n"),
    ("expected-line-end", "fn f(x) {\n    lte y = x\n    return y\n    y y\n}\n"),
    ("expected-line-end/let", "fn f(x) {\n    y: f32[] = x\n    y\n}\n"),
    ("expected-line-end/range", "fn f(x) {\n    0..1..2\n    0.. + 1\n    x\n}\n"),
    ("expected-line-end/pipe", "fn f(x, y) = x |> g + y\nfn h(x) {\n    x as [n] * 2\n    x\n}\n"),
    ("expected-line-end/elif", "fn f(x) = if x { 1 } elif x { 2 } else { 3 }\n"),
    // What is there but makes no sense.
    ("chained-comparison", "fn f(a, b, c) = a < b < c\n"),
    ("not-needs-parentheses", "fn f(a, b) = a == not b\n"),
    ("assignment-in-condition", "fn f(a) = if a = 3 { 1 } else { 2 }\n"),
    ("not-assignable", "fn f(x) {\n    x[0] = 3\n    (a, b) = x\n    x\n}\n"),
    ("not-a-label", "fn f(x) = x |> a(3): b(2)\n"),
    ("misplaced-definition", "fn f(x) {\n    layer g(y) = y\n    g(x)\n}\n"),
    ("recipe-result", "train t() -> f32[] {\n    batch 3\n}\n"),
    ("assignment-to-clause", "train t() {\n    batch = 3\n}\n"),
];

#[test]
fn every_error_is_explained() {
    for (name, text) in CASES {
        let (diagnostics, shown) = check(text);
        let code = name.split('/').next().expect("has a code");
        let codes: Vec<&str> = diagnostics.iter().map(|diagnostic| diagnostic.code).collect();
        assert!(codes.contains(&code), "{name}: {shown}");
        insta::assert_snapshot!(name.replace('/', "__"), format!("{text}\n{shown}"));
    }
}

#[test]
fn nesting_is_bounded_and_said_once() {
    for text in [
        format!("fn f(x) = {}x{}", "(".repeat(20_000), ")".repeat(20_000)),
        format!("fn f(x) = {}x", "-".repeat(20_000)),
        format!("fn f(x) = {}x", "not ".repeat(20_000)),
        format!("fn f(x) = x{}", " + x".repeat(20_000)),
        format!("fn f(x) = x{}", " ** x".repeat(20_000)),
        format!("fn f(x) = x{}", "(x)".repeat(20_000)),
        format!("fn f(x) = {}", "if x { 1 } else ".repeat(20_000)),
        format!("fn f(x) {}", "{".repeat(20_000)),
        format!("fn f(x: {}", "(".repeat(20_000)),
        format!("fn f(x) {{ let {}", "(".repeat(20_000)),
        format!("fn f(x) {{ {}", "fn f(x) { ".repeat(20_000)),
        format!("fn f(x) {{ {}", "train f(x) { ".repeat(20_000)),
        format!("fn f(x) = {}", "for x in ".repeat(20_000)),
        format!("fn f(x) = x[{}", "[".repeat(20_000)),
    ] {
        let (diagnostics, _) = check(&text);
        let gives_up =
            |found: &&Diagnostic| matches!(found.code, "nested-too-deeply" | "too-many-errors");
        let deep = diagnostics.iter().filter(gives_up).count();
        let start: String = text.chars().take(40).collect();
        assert_eq!(deep, 1, "{start}: {:?}", diagnostics.first());
    }
    let wide = format!("fn f(x) = g({})", "x + 1, ".repeat(10_000));
    assert!(check(&wide).0.is_empty(), "width is not depth");
    let long = format!("fn f(x) = x{}", " |> g(1)".repeat(10_000));
    assert!(check(&long).0.is_empty(), "a long pipe is not deep");
}

#[test]
fn the_number_of_errors_is_bounded() {
    for line in ["fn f(x) = +\n", "fn f(x) = ?\n", "\0\u{1}\n", "let a = \"\\q\"\n"] {
        let (diagnostics, _) = check(&line.repeat(1000));
        assert_eq!(diagnostics.len(), 51, "{line}");
        assert_eq!(diagnostics[50].code, "too-many-errors", "{line}");
    }
}

#[test]
fn a_file_too_long_is_refused() {
    let (diagnostics, shown) = check(&"#".repeat(syntax::MAX_SOURCE_BYTES + 1));
    assert_eq!(diagnostics[0].code, "source-too-long");
    assert!(shown.contains("16777217 bytes"), "{shown}");
}

#[test]
fn one_run_reports_independent_errors_and_keeps_the_rest() {
    let text = "layer a(x) {\n    let y = )\n    y\n}\n\nmodel b(x: f32[n) = x\n\nfn c(x) = x\n";
    let mut sources = SourceMap::new();
    let file = sources.add("example.cyg", text);
    let parsed = syntax::parse(&sources, file);
    assert_eq!(parsed.diagnostics.len(), 2, "{:?}", parsed.diagnostics);
    assert_eq!(parsed.ast.items.len(), 3);
}

/// Every code that the sources of the lexer and the parser mention has a case here.
#[test]
fn no_code_is_untested() {
    let mut codes = BTreeSet::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/syntax");
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("the sources are there") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let source = fs::read_to_string(&path).expect("readable");
            for opening in ["Diagnostic::error(", "report_expected("] {
                for piece in source.split(opening).skip(1) {
                    let literal = piece
                        .trim_start()
                        .strip_prefix('"')
                        .and_then(|rest| rest.split('"').next());
                    codes.extend(literal.map(str::to_string));
                }
            }
        }
    }
    assert!(codes.len() > 20, "{codes:?}");
    for code in ["nested-too-deeply", "too-many-errors", "source-too-long"] {
        assert!(codes.remove(code), "{code} has a test of its own");
    }
    let tested: BTreeSet<String> = CASES
        .iter()
        .map(|(name, _)| name.split('/').next().expect("has a code").to_string())
        .collect();
    assert_eq!(codes, tested);
}
