//! Formatting: it keeps the program and its comments, and does nothing the second time.

use std::fs;
use std::path::Path;

use cygnet::format::{WIDTH, format};
use cygnet::source::SourceMap;
use cygnet::syntax::{self, Parsed};
use proptest::prelude::*;

use crate::language::{programs, render};

fn parse(text: &str) -> (SourceMap, Parsed) {
    let mut sources = SourceMap::new();
    let file = sources.add("example.cyg", text);
    let parsed = syntax::parse(&sources, file);
    assert!(parsed.diagnostics.is_empty(), "{text}\n{}", render(&parsed.diagnostics, &sources));
    (sources, parsed)
}

fn formatted(text: &str) -> String {
    let mut sources = SourceMap::new();
    let file = sources.add("example.cyg", text);
    match format(sources.file(file)) {
        Ok(formatted) => formatted,
        Err(diagnostics) => panic!("{text}\n{}", render(&diagnostics, &sources)),
    }
}

/// The tree as text, without the places.
fn tree(parsed: &Parsed) -> String {
    let text = format!("{:?}", parsed.ast);
    let mut pieces = text.split("Span {");
    let mut tree = pieces.next().unwrap_or_default().to_string();
    for piece in pieces {
        tree.push_str("Span");
        tree.push_str(piece.split_once('}').map_or("", |(_, rest)| rest));
    }
    tree
}

/// The words of all comments, sorted: comments may be joined and may move.
fn comment_words(sources: &SourceMap, parsed: &Parsed) -> Vec<String> {
    let mut words: Vec<String> = parsed
        .comments
        .iter()
        .flat_map(|comment| sources.slice(comment.span).split_whitespace().map(str::to_string))
        .collect();
    words.sort();
    words
}

/// Checks everything that formatting promises, and returns the formatted text.
pub fn check(text: &str) -> String {
    let once = formatted(text);
    let (sources_before, before) = parse(text);
    let (sources_after, after) = parse(&once);
    assert_eq!(tree(&before), tree(&after), "{text}\n--- formatted:\n{once}");
    assert_eq!(
        comment_words(&sources_before, &before),
        comment_words(&sources_after, &after),
        "{text}\n--- formatted:\n{once}"
    );
    let twice = formatted(&once);
    assert_eq!(once, twice, "{text}");
    once
}

#[test]
fn the_programs_are_formatted() {
    let update = std::env::var_os("UPDATE_PROGRAMS").is_some();
    for (path, text) in programs() {
        let formatted = check(&text);
        if update {
            fs::write(&path, &formatted).expect("writable");
        } else {
            assert!(formatted == text, "{} is not formatted:\n{formatted}", path.display());
        }
        for line in formatted.lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
    }
}

#[test]
fn the_library_and_the_examples_are_formatted() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folders = [
        "frontend/std",
        "examples",
        "examples/networks",
        "examples/bench",
        "examples/bench/parts",
        "tests/gradcheck",
        "tests/golden",
    ];
    for folder in folders {
        let files = fs::read_dir(root.join(folder)).expect("a folder");
        let files = files.map(|file| file.expect("an entry").path());
        for file in files.filter(|file| file.extension().is_some_and(|kind| kind == "cyg")) {
            let text = fs::read_to_string(&file).expect("a program");
            assert!(formatted(&text) == text, "run `cygnet fmt {}`", file.display());
        }
    }
}

#[test]
fn line_breaks_between_brackets_mean_nothing() {
    for (path, text) in programs() {
        let spread: Vec<String> = text
            .lines()
            .map(|line| if line.contains('#') { line.into() } else { line.replace(", ", ",\n\n ") })
            .collect();
        assert_eq!(check(&spread.join("\n")), text, "{}", path.display());
    }
}

#[test]
fn comments_stay_where_they_are() {
    let text = "\
# About the file.

# About f.
fn f(x, # the input
     # the size
     n: dim
     # no more
) {
    # first

    let y = g(x, # one
        2) # two
    let z = y + # sum
        # of these
        x
    y # input
        # step
        |> f(1) # one
        |> g # two
    if x { y # inside
    }
    # last
}
# The end.
";
    insta::assert_snapshot!(check(text));
}

#[test]
fn long_constructs_break() {
    let text = "\
use \"some/long/path/to/a/file.cyg\": first_definition, second_definition, third_definition, fourth
fn f(first_parameter: f32[n, d], second_parameter: f32[n, d], third_parameter: dim = 3) = first_parameter * second_parameter + third_parameter
fn g(x) = \"a string that is too long to fit on a line, and that cannot be broken anywhere, so it sticks out of it\"
fn h(condition, x) = if condition_number_one(x) and condition_number_two(x) or condition_number_three(x) { x } else { y }
fn i(x) = x[first_axis: 0..4*some_long_size, second_axis: 1..some_longer_size-1, third_axis: some_index]
train t() {
    data image: u8[n, 1, 28, 28], label: i32[n], weight_of_the_example: f32[n] from some_loader(\"data/mnist\", size: 28)
    minimize objective_with_a_long_name = cross_entropy(logits, label) + penalty * l2(weights) using clip_norm(1.0) |> adam(lr: lr)
    report accuracy(logits, label), precision(logits, label), recall(logits, label), f1(logits, label), auc(logits, label)
    freeze network.first_layer, network.second_layer except network.first_layer.bias while epoch < thaw_after_epochs
}
";
    insta::assert_snapshot!(check(text));
}

#[test]
fn what_means_something_keeps_its_form() {
    for text in [
        "fn f(x) = x |> f(1)() |> g() |> h",
        "fn f(x) = (a,)",
        "fn f(x) = ((a))",
        "fn f(x) = -(-x) - -x ** -2 ** 3",
        "fn f(x) = not not x and (not y) == z",
        "fn f(x) = (x and y or z)..(x == not_y)",
        "fn f(x) = x[.., ..3, 2.., 1..2, a: .., ...]",
        "fn f(x) = x[(a,), (h: 2, w: 3)]",
        "fn f(x: (f32[n], (i32[], dim))) -> (f32[], f32[n]) = x",
        "fn f() {}",
        "train t() {}",
        "use \"a\" as b\nuse \"c\"\nlet (a, (b, _)) = c",
        "fn f(x) = \"a{1 + f( x )}b\\{c\\}\"",
        "fn f(x) = x |> a.b[0][i + 1].c: g |> \"l{i}\": h |> [i]: k",
        "train t() {\n    freeze a.0.*, b . c except\n d\n}",
        "fn f(state) {\n    state = state\n    state\n}",
        "",
        "# only a comment",
        "\u{feff}fn f(x) = x\r\n# a\r\n",
    ] {
        check(text);
    }
    assert_eq!(formatted("\n\n"), "");
    assert_eq!(formatted("fn f(x) = x |> f(1)()"), "fn f(x) = x |> f(1)()\n");
    assert_eq!(formatted("fn f(x) = x |> f()"), "fn f(x) = x |> f\n");
}

#[test]
fn the_deepest_programs_are_formatted() {
    let depth = 100;
    for text in [
        format!("fn f(x) = {}x{}", "(".repeat(depth), ")".repeat(depth)),
        format!("fn f(x) = x{}", " + x".repeat(depth)),
        format!("fn f(x) = x{}", " ** x".repeat(depth)),
        format!("fn f(x) = {}x", "not ".repeat(depth)),
        format!("fn f(x) = {}{{ 1 }}", "if x { 1 } else ".repeat(depth)),
        format!("fn f(x) {{ {}x{} }}", "{ ".repeat(depth), " }".repeat(depth)),
    ] {
        check(&text);
    }
}

#[test]
fn a_broken_program_is_not_touched() {
    let mut sources = SourceMap::new();
    let file = sources.add("example.cyg", "fn f(x = 3");
    let diagnostics = format(sources.file(file)).expect_err("it cannot be parsed");
    assert_eq!(diagnostics[0].code, "unclosed-delimiter");
}

// Random programs: text by the rules of the grammar, with random blanks, line breaks and comments
// where they mean nothing.

/// Blanks inside brackets and behind operators.
fn space() -> impl Strategy<Value = &'static str> {
    prop_oneof![6 => Just(" "), 2 => Just(""), 1 => Just("\n"), 1 => Just(" # note\n"), 1 => Just("\n\n# more\n")]
}

fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "x",
        "y",
        "h1",
        "weight",
        "over",
        "batch",
        "along",
        "from",
        "state",
        "hidden_size",
    ])
    .prop_map(str::to_string)
}

fn literal() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "1",
        "1_000",
        "0.5",
        "1e-3",
        "true",
        "\"text\"",
        "\"l{i + 1}_{ name }\"",
        "_",
        "inf",
    ])
    .prop_map(str::to_string)
}

/// `element, element` with random spaces.
fn comma_list(
    element: impl Strategy<Value = String>,
    size: std::ops::Range<usize>,
) -> impl Strategy<Value = String> {
    (prop::collection::vec((space(), element, space()), size), any::<bool>()).prop_map(
        |(elements, trailing)| {
            let mut text = String::new();
            for (index, (before, element, after)) in elements.iter().enumerate() {
                let comma = if trailing || index + 1 < elements.len() { "," } else { "" };
                text.push_str(&format!("{before}{element}{after}{comma}"));
            }
            text
        },
    )
}

fn argument(expr: BoxedStrategy<String>) -> impl Strategy<Value = String> {
    (prop::option::of(name()), space(), expr).prop_map(|(name, space, expr)| match name {
        Some(name) => format!("{name}:{space}{expr}"),
        None => expr,
    })
}

fn axis(expr: BoxedStrategy<String>) -> impl Strategy<Value = String> {
    prop_oneof![
        1 => Just("...".to_string()),
        4 => argument(expr.clone()),
        1 => (expr.clone(), expr.clone()).prop_map(|(start, end)| format!("({start})..({end})")),
        1 => expr.prop_map(|start| format!("({start})..")),
    ]
}

/// Something that operators can be applied to.
fn operand(expr: BoxedStrategy<String>) -> BoxedStrategy<String> {
    prop_oneof![
        4 => name(),
        2 => literal(),
        2 => (space(), expr.clone(), space()).prop_map(|(a, expr, b)| format!("({a}{expr}{b})")),
        1 => comma_list(argument(expr.clone()), 2..4).prop_map(|list| format!("({list})")),
        1 => comma_list(expr.clone(), 0..4).prop_map(|list| format!("[{list}]")),
        3 => (name(), comma_list(argument(expr.clone()), 0..4))
            .prop_map(|(callee, list)| format!("{callee}({list})")),
        1 => (name(), comma_list(axis(expr.clone()), 0..3))
            .prop_map(|(base, list)| format!("{base}[{list}]")),
        1 => (name(), name()).prop_map(|(base, field)| format!("{base}.{field}")),
        1 => (space(), expr.clone()).prop_map(|(space, expr)| format!("-{space}({expr})")),
        1 => (expr.clone(), block(expr.clone()), block(expr.clone()))
            .prop_map(|(condition, then, other)| format!("if {condition} {then} else {other}")),
        1 => (expr.clone(), block(expr)).prop_map(|(source, body)| {
            format!("for i, (x, _) in {source}, y in ys along t until x == y {body}")
        }),
    ]
    .boxed()
}

fn operation(expr: BoxedStrategy<String>) -> BoxedStrategy<String> {
    let operator = prop::sample::select(vec!["+", "-", "*", "/", "//", "**", "and", "or", "=="]);
    let operand = operand(expr.clone());
    prop_oneof![
        3 => operand.clone(),
        2 => (operand.clone(), operator, space(), operand.clone())
            .prop_map(|(left, operator, space, right)| format!("{left} {operator} {space}{right}")),
        1 => prop::collection::vec((operand.clone(), space()), 2..5).prop_map(|terms| {
            let terms: Vec<String> =
                terms.into_iter().map(|(term, space)| format!("{space}{term}")).collect();
            format!("x + {}", terms.join(" -"))
        }),
        2 => (operand, prop::collection::vec(step(expr), 1..4))
            .prop_map(|(input, steps)| format!("{input}{}", steps.concat())),
    ]
    .boxed()
}

fn step(expr: BoxedStrategy<String>) -> impl Strategy<Value = String> {
    let label = prop::sample::select(vec!["", "conv1: ", "layers[i]: ", "[i]: ", "\"l{i}\": "]);
    prop_oneof![
        3 => (space(), label, name(), comma_list(argument(expr), 0..3))
            .prop_map(|(space, label, callee, list)| format!("{space}|> {label}{callee}({list})")),
        1 => (space(), name()).prop_map(|(space, callee)| format!("{space}|> {callee}")),
        1 => space().prop_map(|space| format!("{space} as [n, (h: 2, w)] {space} -> [n, h, w]")),
    ]
}

fn block(expr: BoxedStrategy<String>) -> impl Strategy<Value = String> {
    let line = prop_oneof![
        2 => (name(), space(), expr.clone())
            .prop_map(|(name, space, expr)| format!("let {name} ={space}{expr}")),
        1 => (name(), expr.clone()).prop_map(|(name, expr)| format!("{name} = {expr}")),
        1 => (name(), expr.clone())
            .prop_map(|(name, expr)| format!("param {name} \"a.b\": f32[n, 4 * d] = {expr}")),
        1 => expr.clone().prop_map(|expr| format!("yield {expr}")),
        1 => expr.clone(),
    ];
    let end = prop::sample::select(vec!["\n", "\n\n", " # why\n", "\n# next\n"]);
    prop_oneof![
        expr.prop_map(|expr| format!("{{ {expr} }}")),
        prop::collection::vec((line, end), 0..3).prop_map(|lines| {
            let lines: String =
                lines.into_iter().map(|(line, end)| format!("{line}{end}")).collect();
            format!("{{\n{lines}}}")
        }),
    ]
}

fn expression() -> BoxedStrategy<String> {
    prop_oneof![name(), literal()]
        .boxed()
        .prop_recursive(4, 24, 4, |inner| operation(inner.boxed()))
        .boxed()
}

fn definition() -> impl Strategy<Value = String> {
    let kind = prop::sample::select(vec!["fn", "layer", "model", "optimizer"]);
    let parameter =
        (name(), prop::sample::select(vec!["", ": dim", ": f32[n, ..., 2*d]"]), expression())
            .prop_map(|(name, ty, default)| format!("{name}{ty} = {default}"));
    let parameters = comma_list(parameter, 0..3).boxed();
    prop_oneof![
        (kind, parameters.clone(), block(expression()))
            .prop_map(|(kind, parameters, body)| format!("{kind} f({parameters}) {body}")),
        (parameters, space(), expression())
            .prop_map(|(parameters, space, body)| format!("fn f({parameters}) -> f32[n] ={space}{body}")),
        expression().prop_map(|value| format!("let (a, b): dim = {value}")),
        (expression(), expression(), space()).prop_map(|(loss, rate, space)| format!(
            "train t(lr: float = {rate}) {{\n data x: f32[n], _ from idx({loss}){space}\n \
             minimize l = {loss}{space} over net.0.*, b except c using clip(1) |> adam({rate}){space} \
             using sgd\n report {loss},{space}{rate}\n freeze net {space} while {rate}\n}}"
        )),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(1),
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_programs_keep_their_meaning(
        definitions in prop::collection::vec((definition(), prop::sample::select(vec!["\n", "\n\n\n", " # end\n"])), 1..4)
    ) {
        let text: String = definitions.into_iter().map(|(text, end)| format!("{text}{end}")).collect();
        check(&text);
    }
}
