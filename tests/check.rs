//! Checking programs: every mistake has a message with its places, its cause and a remedy.

use std::collections::BTreeSet;
use std::path::Path;

use cygnet::diagnostic::render_all;
use cygnet::diagnostic::{Diagnostic, RenderOptions};
use cygnet::language::bindings::Bindings;
use cygnet::language::check::{Checked, check};
use cygnet::language::elaborate::elaborate_model;
use cygnet::language::package::Package;
use cygnet::language::program::Mode;
use cygnet::language::recipe::elaborate_recipe;

use crate::language::render;

fn checked(text: &str) -> (Package, Checked) {
    let (package, _) = Package::from_source("test.cyg", text);
    let checked = check(&package);
    (package, checked)
}

/// What is reported about a program, as text.
pub fn report(text: &str) -> String {
    let (package, checked) = checked(text);
    render(&checked.diagnostics, package.sources())
}

/// One snapshot for each program.
macro_rules! reports {
    ($($name:ident: $text:expr;)*) => {
        $(#[test]
        fn $name() {
            insta::assert_snapshot!(report($text));
        })*
    };
}

reports! {
    unknown_name: "fn f(x) = tahn(x) + y";
    unknown_name_of_a_value: "model m(image: f32[n, 4]) = imgae |> linear(2)";
    unknown_arguments: "model m(x: f32[n, 4]) = x |> linear(2, bais: false) |> linear(2, 3, true)";
    missing_and_repeated_arguments: "fn f(x, y) = x + y\nfn g(x) = f(x) + f(x, x, y: x)";
    duplicate_names: "fn f(x, x) = x\nfn g(x) {\n    let y = x\n    let y = y\n    y\n}\nfn g(x) = x";
    unused_names: "fn f(x, y) {\n    let z = x\n    var _w = x\n    x\n}";
    not_assignable: "fn f(x) {\n    let y = x\n    y = x + 1\n    z = 2\n    y\n}";
    metrics_elsewhere: "fn f(x, y) = rmse(x, y)
layer g(x: f32[n]) {
    rmse(x, x)
}
model m(x: f32[n, d]) = x |> linear(1)
metric weighs(x) {
    param w: f32[] = ones
    w * mean(x)
}
train t() {
    data x: f32[n, d] from csv(\"x.csv\")
    let y = rmse(m(x), m(x))
    minimize mean(m(x)) using adam
    batch 4
    epochs 1
    report 2 * rmse(m(x), m(x)), weighs(x), a = mean(x), a = mean(x), rmse
}";
    metrics_of_samples: "model m(x: f32[n, d]) = x |> linear(1)
metric all_of(x) = x
metric last(x) {
    state before: f32[x] = zeros
    before = x
    mean(before)
}
train t() {
    data x: f32[n, d] from csv(\"x.csv\")
    minimize mean(m(x)) using adam
    batch 4
    epochs 1
    report all_of(x), last(x)
}";
    yield_without_loop: "fn f(x) {\n    yield x\n    x\n}";
    input_after_static: "layer f(n: int, x: f32[d]) = x * n";
    shadowing: "fn relu(x) = max(x, 0)";
    index_type: "model m(x: f32[n, v], y: f32[n]) = x[v: y]";
    index_by_a_condition: "model m(x: f32[n, v]) = x[n: x > 0]";
    slice_step: "model m(x: f32[n, 4]) = x[.., 0.. by 0]";
    step_in_a_loop: "model m(x: f32[n, 4]) {
    var y = x
    for i in 0..4 by 2 { y = y + x[.., i] }
    y
}";
    scatter_without_updates: "model m(x: f32[n, d], i: i32[t]) = scatter(x, i, 4)";
    topk_of_too_many: "model m(x: f32[n, 4]) = topk(x, 5)";
    sort_along_two_axes: "model m(x: f32[n, t]) = sort(x, along: [n, t])";
    reverse_without_axis: "model m(x: f32[n, t]) = reverse(x)";
    split_that_does_not_fit: "model m(x: f32[n, 4]) = split(x, [1, 2], along: 1)[0]";
    stack_of_other_shapes: "model m(x: f32[n, t], y: f32[n]) = stack(x, y)";
    negative_padding: "model m(x: f32[n, t]) = pad(x, -1, 0, along: t)";
    axes_with_other_names: "model m(x: f32[n, d], y: f32[n, e]) = x + y";
    equal_sizes_with_other_names: "model m(x: f32[n, 4]) {
    let a = x as [n, d]
    let b = x as [n, e]
    a + b
}";
    unnamed_sizes_differ: "model m(x: f32[n, 4], y: f32[5]) = x + y";
    size_one_does_not_stretch: "model m(x: f32[n, 4], y: f32[n, 1]) = x + y";
    dtypes_differ: "model m(x: f32[n], y: i32[n]) = x + y";
    function_of_integers: "model m(y: i32[n]) = exp(y)";
    float_to_integer: "model m(y: i32[n]) = y + 0.5";
    dtype_of_argument: "model m(y: i32[n, 4]) = y |> linear(2)";
    rank_of_argument: "layer l(x: f32[n, d]) = x\nmodel m(x: f32[n]) = x |> l";
    size_of_argument: "layer l(x: f32[n, 8]) = x\nmodel m(x: f32[n, 4]) = x |> l";
    names_of_arguments: "fn both(x: f32[n], y: f32[n]) = x + y
model m(x: f32[a], y: f32[b]) = both(x, y)";
    kind_of_argument: "model m(x: f32[n, 4]) = x |> linear(\"ten\") |> linear(2.5)";
    result_type: "model m(x: f32[n, 4]) -> f32[n, 3] = x |> linear(2)";
    mistake_in_the_library: "model m(x: i32[n, 4]) = gelu_tanh(x)";
    mistake_in_a_layer: "layer inner(x: f32[n, d]) = x + zeros[3]
layer outer(x: f32[n, d]) = x |> inner
model m(x: f32[n, 4]) = x |> outer";
    repeated_path: "model m(x: f32[n, 4]) = x |> fc: linear(4) |> fc: linear(4)";
    capture_in_a_loop: "model m(x: f32[n, 4]) {
    var y = x
    for i in 0..2 {
        let cell = linear(_, 4 + 0 * i)
        y = cell(y)
    }
    y
}";
    shared_shapes: "model m(x: f32[n, 4]) {
    let f = linear(_, 4 * 2)
    x |> f |> f
}";
    capture_without_placeholder: "model m(x: f32[n, 4]) {\n    let f = linear(8)\n    f(x)\n}";
    layer_in_function: "fn f(x) = x |> linear(2)";
    random_in_function: "fn f(x: f32[n]) = x + normal[n]";
    param_in_function: "fn f(x: f32[d]) {\n    param w: f32[d] = zeros\n    x * w\n}";
    param_of_integers: "layer l(x: f32[d]) {\n    param w: i32[d] = zeros\n    x * f32(w)\n}";
    inexact_division: "model m(x: f32[n, 10], heads: int = 4) = x as [n, (heads, e)] -> [n, heads, e]";
    split_with_two_unknowns: "model m(x: f32[n, 12]) = x as [n, (a, b)]";
    lost_axis: "model m(x: f32[n, t, d]) = x as [n, t, d] -> [n, d]";
    unknown_axis_in_result: "model m(x: f32[n]) = x as [n] -> [n, t]";
    reading_too_few_axes: "model m(x: f32[n, t, d]) = x as [n, d]";
    no_such_axis: "model m(x: f32[n, t], y: f32[k]) = sum(x, over: k) + sum(y) + sum(x, over: 2)";
    index_out_of_range: "model m(x: f32[n, 4]) = x[0, 4] + x[n: 0][5..]";
    indexing_an_unknown_axis: "model m(x: f32[n, 4]) = x[t: 0]";
    if_on_a_tensor: "model m(x: f32[n]) = if sum(x) > 0 { x } else { -x }";
    for_over_a_tensor: "model m(x: f32[n]) {\n    var y = 0.0\n    for v in x { y = y + v }\n    y\n}";
    patterns: "model m(x: f32[n]) {\n    let (a, b) = (x, x, x)\n    a + b\n}";
    calling_a_number: "model m(x: f32[n]) {\n    let k = 3\n    k(x)\n}";
    zero_division: "model m(x: f32[n, 4], k: int = 0) = x[0..4 // k]";
    dot_axes: "model m(x: f32[n, d], y: f32[m, e]) = dot(x, y, over: d)";
    concat_shapes: "model m(x: f32[n, d], y: f32[m, d]) = concat(x, y, along: d)";
    state_keeps_its_type: "layer l(x: f32[n, d]) {
    state total: f32[d] = zeros
    total = sum(x)
    total = x
    x + total
}";
    kernel_larger_than_the_input: "model m(x: f32[n, 1, 8, 8]) = x |> conv2d(4, kernel: 5) |> conv2d(8, kernel: 5)
model p(x: f32[n, 1, 3]) = max_pool1d(x, 4)";
    groups_that_do_not_divide: "model m(x: f32[n, 6, 8, 8]) = x |> conv2d(8, groups: 3) |> conv2d(9, groups: 4)
model w(x: f32[n, 6, 8], w: f32[4, 2, 3]) = conv(x, w, groups: 3)";
    channels_differ: "model m(x: f32[n, 6, 8], w: f32[4, 3, 3]) = conv(x, w)
model t(x: f32[n, 6, 8], w: f32[4, 3, 3]) = conv_transpose(x, w)
model r(x: f32[n, 6], w: f32[4, 6, 3]) = conv(x, w)";
    paddings_and_counts: "model m(x: f32[n, 1, 8, 8]) = x |> conv2d(4, padding: \"full\") |> relu
model s(x: f32[n, 1, 8, 8]) = x |> conv2d(4, stride: 2, padding: \"same\")
model l(x: f32[n, 1, 8, 8]) = x |> conv2d(4, stride: [1, 2, 3])
model z(x: f32[n, 1, 8, 8]) = x |> conv2d(4, stride: 0)
model p(x: f32[n, 1, 8]) = max_pool1d(x, 2, padding: 2)
model o(x: f32[n, 1, 8]) = x |> conv_transpose1d(4, stride: 2, output_padding: 2)
model c(x: f32[n, 1, 2]) = x |> conv_transpose1d(4, padding: 4)";
    recursion: "fn f(x) = f(x) + 1\nmodel m(x: f32[n]) = f(x)";
    cyclic_values: "let a = b + 1\nlet b = a + 1\nmodel m(x: f32[n]) = x * a";
    unknown_type: "model m(x: float32[n], k: integer = 3, y: f32) = x * k";
    optimizer_without_update: "optimizer none(lr: float) = lr";
    optimizer_of_another_shape: "optimizer sums(lr: float = 0.1) { value = lr * sum(grad) + value[0] }";
    unsupported: "model m(x: f32[n, t]) {
    let middle = mean(_, over: t)
    middle(x)
}";
    objective_is_not_a_scalar: "model m(x: f32[n, 4]) = x |> linear(1)
train m() {
    data x: f32[n, 4], y: f32[n] from csv(\"a.csv\")
    minimize (m(x) as [n, 1] -> [n]) - y using sgd(lr: 0.1)
    report m(x)
    batch 8
}";
    recipe_mistakes: "model m(x: f32[n, 4]) = x |> linear(1)
train m(lr: float, x: f32[2] = zeros) {
    data z: f32[n, 4], y from csv(\"a.csv\")
    minimize mse(m(z), 0) using 0.1
    batch 0
    epochs 1.5
}";
    fills_and_counts: "model m(x: f32[n]) = x + arange(3) + f32(arange[n, 2]) + zeros[...] + zeros[0] + zeros[n, n]";
    huge_tensors: "model m(x: f32[n]) = sum(zeros[100_000, 100_000]) + sum(x)";
    lists: "model m(x: f32[n], k: int = 3) {
    let l = [1, 2]
    let a = x * l[2] + x * l[0, 1]
    let b = x * k[0] + x * k.size
    for i in 0..2, j in l { a }
    for i in 0..2, j in 0..3 { a }
    for i in 0..20_000 { a }
    for i in l along n { a }
    let z = zip(l, [1, 2, 3])
    let open = 0..
    (a + b, z, open)
}";
    indices: "model m(x: f32[n, 4]) = x[0, 1, 2] + x[0, n: 0] + x[1, 2..2]";
    extremes: "model m(x: f32[n, 4]) = max(x, 0, over: n) + argmax(x)";
    placeholders: "model m(x: f32[n, 4]) {
    let f = linear(_, 4)
    let g = f(_)
    g(x) + _
}";
    untyped_state: "layer l(x: f32[d]) {\n    param w = zeros\n    state s = zeros\n    s = x\n    x * w\n}";
    param_in_optimizer: "optimizer o(lr: float = 0.1) {
    param w: f32[3] = zeros
    value = value - lr * grad * sum(w)
}";
    initializers_are_static: "model m(x: f32[n, 4]) = x |> linear(4)
train m(scale: float = 0.1) {
    data x: f32[n, 4] from csv(\"a.csv\")
    minimize sum(m(x)) + sum(uniform(0, scale)[3]) using sgd
    batch 8
}";
    data_clauses: "model m(x: f32[n, 4]) = x |> linear(4)
train m() {
    data (x, y): f32[n, 4] from csv(\"a.csv\")
    data z: f32[n, 4] from \"b.csv\"
    data u: f32[n, 4] from csv(\"c.csv\")
    data v: f32[n, 4] from csv(\"d.csv\")
    minimize argmax(sum(m(u) + m(v), over: n), over: 0) using sgd
    batch 8
}";
    objective_of_integers: "model m(x: f32[n, 4]) = x |> linear(4)
train m() {
    data x: f32[n, 4] from csv(\"a.csv\")
    minimize argmax(sum(m(x), over: n), over: 0) using sgd
    batch 8
}";
    fields_of_instances: "model net(width: dim = 4) {
    let up = linear(_, width)
    fn encode(x: f32[n, d]) = up(x)
}
model outer(x: f32[n, 4]) {
    let inner = net(_)
    let y = inner.encod(x) + inner(x) + net.encode(x)
    let f = linear(_, 8)
    y + inner.widht + f.out + f.size + inner.encode(_)
}";
    entry_point_with_a_wrong_default: "model net(width: dim = 4) {
    fn forward(x: f32[n, width], h: f32[width] = \"none\") = x + h
    fn other(x: f32[n, width]) = x + y
}";
    unknown_value_is_split: "layer l(x: f32[n, t, d], heads: dim) {
    let q = x |> unknown as [n, t, (heads, e)] -> [n, heads, t, e]
    dot(q, q, over: e) / sqrt(e)
}";
    path_with_values: "let n = 3\nuse \"layers{n}.cyg\"";
    unrolled_without_end: "fn f(x: f32[n]) {
    var y = 0
    for i in 0..2000 { for j in 0..2000 { y = y + 1 } }
    x * y
}";
    fields_for_a_label: "model m(x: f32[n, 4]) = x |> linear(3)
train m() {
    data x: f32[n, 4], y: u8[n] from csv(\"a.csv\")
    minimize cross_entropy(m(x), y) using adam
    batch 8
}";
}

#[test]
fn several_mistakes_are_reported_at_once() {
    let (_, checked) = checked(
        "fn f(x) = tahn(x)
layer l(x: f32[n, d], y: f32[n, e]) = x + y
model m(x: f32[n, 4]) -> f32[n, 3] = x |> linear(2)
train t() {
    data x: f32[n, 4] from csv(\"a.csv\")
    minimize sum(m(x)) using sgd(lr: 0.1, momentun: 0.9)
    batch 4
}",
    );
    let codes: Vec<&str> = checked.diagnostics.iter().map(|diagnostic| diagnostic.code).collect();
    assert_eq!(codes, ["unknown-name", "axes-differ", "wrong-size", "unknown-argument"]);
}

#[test]
fn sizes_of_windows_are_formulas() {
    let text = "model m(x: f32[n, 1, h, w]) {
    let y = x |> down: conv2d(4, stride: 2, padding: 1) |> max_pool2d(2)
    let z: f32[n, 4, 7, v] = y
    let same: f32[n, 4, h, w] = x |> same: conv2d(4, padding: 1)
    let wide: f32[n, 2, 2*h, 2*w] = x |> up: conv_transpose2d(2, kernel: 4, stride: 2, padding: 1)
    (z, same, wide)
}";
    let (_, checked) = checked(text);
    assert!(checked.diagnostics.is_empty(), "{}", report(text));
    assert_eq!(checked.models[0].constraints, ["7 == ((h - 1) // 2 - 1) // 2 + 1"]);
}

#[test]
fn free_dims_give_constraints() {
    let (_, checked) = checked(
        "layer halve(x: f32[n, h]) = x as [n, (2, half)] -> [2, n, half]
model m(x: f32[n, h], y: f32[n, k], heads: int = 16) {
    let a = x as [n, (heads, e)]
    let b = y as [n, h]
    sum(a) + sum(b) + sum(x |> halve)
}",
    );
    assert!(checked.diagnostics.is_empty());
    assert_eq!(checked.models[0].constraints, ["16 divides h", "h == k", "2 divides h"]);
}

#[test]
fn models_are_summarized_with_symbolic_shapes() {
    let (package, checked) = checked(
        "model m(x: f32[n, t, d], hidden: dim = 32) -> f32[n, t, d] {
    let y = x |> up: linear(hidden) |> gelu |> dropout(0.1)
    x + (y |> down: linear(d, bias: false)) |> norm: layer_norm
}",
    );
    assert!(checked.diagnostics.is_empty(), "{}", render(&checked.diagnostics, package.sources()));
    let summary = serde_json::to_string_pretty(&checked.models).expect("plain data");
    insta::assert_snapshot!(summary);
}

#[test]
fn the_standard_library_has_no_mistakes() {
    for (name, text) in cygnet::language::standard::FILES {
        let (package, checked) = checked(text);
        let others: Vec<_> = (checked.diagnostics.into_iter())
            .filter(|diagnostic| diagnostic.code != "shadows-standard")
            .collect();
        assert!(others.is_empty(), "{name}: {}", render(&others, package.sources()));
    }
}

#[test]
fn files_use_each_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).expect("written");
    };
    write("layers.cyg", "fn double(x) = 2 * x\nlet width = 8\n");
    write(
        "main.cyg",
        "use \"layers.cyg\": double, width
use \"layers.cyg\" as layers
model m(x: f32[n, 4]) -> f32[n, 8] = double(x) |> linear(width) |> layers.double
",
    );
    let (package, _) = Package::load(&folder.path().join("main.cyg"));
    let checked = check(&package);
    assert!(checked.diagnostics.is_empty(), "{}", render(&checked.diagnostics, package.sources()));

    write("unknown.cyg", "use \"layers.cyg\" as layers\nmodel m(x: f32[n]) = layers.dubble(x)\n");
    let (package, _) = Package::load(&folder.path().join("unknown.cyg"));
    let text = render(&check(&package).diagnostics, package.sources());
    let text = text.replace(&format!("{}/", folder.path().display()), "");
    insta::assert_snapshot!("name_not_in_a_file", text);

    write("layers.cyg", "use \"main.cyg\": m\nuse \"gone.cyg\"\nfn dobule(x) = 2 * x\n");
    let (package, diagnostics) = Package::load(&folder.path().join("main.cyg"));
    let text = render_all(&diagnostics, package.sources(), &RenderOptions::default());
    let text = text.replace(&format!("{}/", folder.path().display()), "");
    insta::assert_snapshot!(text);

    let (package, diagnostics) = Package::load(Path::new("no/such/file.cyg"));
    insta::assert_snapshot!("missing_file", render(&diagnostics, package.sources()));
}

/// The codes of all diagnostics that the sources of the language can make.
fn codes(folder: &Path, codes: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("the sources are there") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            self::codes(&path, codes);
            continue;
        }
        let text = std::fs::read_to_string(path).expect("readable");
        for call in ["Diagnostic::error(", "Diagnostic::warning("] {
            for rest in text.split(call).skip(1) {
                let code =
                    rest.trim_start().strip_prefix('"').and_then(|rest| rest.split_once('"'));
                codes.insert(code.expect("a diagnostic has a code").0.to_owned());
            }
        }
    }
}

#[test]
fn every_message_has_a_snapshot() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut wanted = BTreeSet::new();
    codes(&root.join("src/language"), &mut wanted);
    assert!(wanted.len() > 60, "{wanted:?}");
    let mut shown = String::new();
    for entry in std::fs::read_dir(root.join("../tests/snapshots")).expect("snapshots") {
        shown += &std::fs::read_to_string(entry.expect("readable").path()).expect("readable");
    }
    // No operation that the language can write lacks a gradient so far.
    wanted.remove("no-gradient");
    wanted.retain(|code| {
        !shown.contains(&format!("error[{code}]")) && !shown.contains(&format!("warning[{code}]"))
    });
    assert!(wanted.is_empty(), "without a snapshot: {wanted:?}");
}

/// What is reported when a program cannot be compiled for what is asked.
fn refusal(text: &str, name: Option<&str>, settings: &[(&str, &str)]) -> String {
    let (package, diagnostics) = Package::from_source("test.cyg", text);
    assert!(!diagnostics.iter().any(Diagnostic::is_error));
    let bindings = settings
        .iter()
        .fold(Bindings::default(), |bindings, (name, text)| bindings.set(name, text));
    let refused = if text.contains("train") {
        elaborate_recipe(&package, name, &bindings).err()
    } else {
        elaborate_model(&package, name, &bindings, Mode::Inference).err()
    };
    render(&refused.expect("mistakes"), package.sources())
}

/// One snapshot for each program, name and settings.
macro_rules! refusals {
    ($($name:ident: $text:expr, $which:expr, $settings:expr;)*) => {
        $(#[test]
        fn $name() {
            insta::assert_snapshot!(refusal($text, $which, &$settings));
        })*
    };
}

const TWO_MODELS: &str = "model small(x: f32[n, 4], width: dim = 8) = x |> linear(width)
model large(x: f32[n, 4]) = x |> linear(80)";

const ENTRIES: &str = "model net(width: dim = 4) {
    fn encode(x: f32[n, width], scale: f32[] = 2.0) = x * scale
}";

const TRAINED: &str = "model m(x: f32[n, t], k: int = 1) = x |> linear(k)
train m(lr: float = 0.1, rows: dim = 2, shuffle: bool = true) {
    data x: f32[n, t] from csv(\"a.csv\")
    minimize mean(m(x, k: if shuffle { rows } else { 1 })) using sgd(lr: lr)
    batch 8
}";

refusals! {
    no_such_model: TWO_MODELS, Some("smal"), [];
    which_model: TWO_MODELS, None, [];
    missing_size: TWO_MODELS, Some("small"), [];
    unknown_settings: TWO_MODELS, Some("small"), [("widht", "4"), ("depth", "2")];
    bad_settings: TWO_MODELS, Some("small"), [("width", "wide")];
    no_model: "fn f(x) = x", None, [];
    no_such_entry_point: ENTRIES, Some("net.encod"), [];
    entry_point_of_a_plain_model: TWO_MODELS, Some("small.encode"), [];
    bad_scalar: ENTRIES, Some("net.encode"), [("n", "2"), ("scale", "large")];
    untyped_input: "model m(x) = x + 1", None, [];
    open_input: "model m(x: f32[..., 4]) = x + 1", None, [];
    size_of_the_data: TRAINED, None, [];
    bad_recipe_settings: TRAINED, None,
        [("lr", "fast"), ("shuffle", "1"), ("rows", "0"), ("batch", "-1"), ("epoch", "3")];
    nothing_to_train: "train m() {
    data x: f32[n] from csv(\"a.csv\")
    minimize mean(x) using sgd(lr: 0.1)
    batch 8
}", None, [];
    no_batch: "model m(x: f32[n, 2]) = x |> linear(1)
train m() {
    data x: f32[n, 2] from csv(\"a.csv\")
    minimize mean(m(x)) using sgd(lr: 0.1)
}", None, [];
}
