//! Embeddings, positions, attention and transformers: values and gradients.

use std::collections::BTreeMap;

use cygnet::gradcheck::links::Methods;
use cygnet::gradcheck::native::NativeCode;
use cygnet::gradcheck::program::targets;
use cygnet::gradcheck::{Options, Verdict, check};
use cygnet::language::program::Mode;
use cygnet_compiler::differentiate::Differentiator;

use crate::elaborate::{assert_close, model, outputs, package};
use crate::semantics::value;

#[test]
fn an_embedding_looks_rows_up() {
    let text = "model m(x: i32[n: 2, t: 2]) = x |> word: embedding(3, 2)";
    let m = model(text, &[], Mode::Inference);
    let values = [("x", [2., 0., 1., 1.].as_slice()), ("word.weight", &[1., 2., 3., 4., 5., 6.])];
    let found = outputs(&m.program, &values).remove(0);
    assert_eq!(found.ty.to_string(), "f32[2, 2, 2]");
    assert_eq!(found.values, [5., 6., 1., 2., 3., 4., 3., 4.]);
    let padded = text.replace("(3, 2)", "(3, 2, padding: 0)");
    let m = model(&padded, &[], Mode::Inference);
    let found = outputs(&m.program, &values).remove(0);
    assert_eq!(found.values, [5., 6., 0., 0., 3., 4., 3., 4.]);
}

#[test]
fn positions_as_numbers() {
    let (ty, found) = value("x: f32[1]", "10 * sinusoidal(3, 4) + 0 * sum(x)");
    assert_eq!(ty, "f32[3, 4]");
    for t in 0..3 {
        for i in 0..4 {
            let angle = t as f64 * 10_000_f64.powf(-f64::from(i / 2 * 2) / 4.0);
            let wanted = if i % 2 == 0 { angle.sin() } else { angle.cos() };
            assert!((found[t * 4 + i as usize] - 100.0 * wanted).abs() < 0.01, "{found:?}");
        }
    }
}

/// Turning keeps lengths, and the product of a query and a key depends on their distance alone.
#[test]
fn rotary_positions_are_relative() {
    let body = "
let q = rotary(x as [t, e] -> [1, t, 1, e])
let k = rotary(y as [t, e] -> [1, t, 1, e])
dot(q[0] as [t, 1, e] -> [t, e], k[0] as [s, 1, e] -> [s, e], over: e)";
    let signature = "row: f32[e: 6], other: f32[e]";
    let body =
        format!("let x = row as [e] -> [t: 4, e]\nlet y = (other + 0.3) as [e] -> [t, e]\n{body}");
    let (ty, found) = value(signature, &body);
    assert_eq!(ty, "f32[4, 4]");
    for t in 0..3 {
        for s in 0..3 {
            assert!((found[t * 4 + s] - found[(t + 1) * 4 + s + 1]).abs() < 0.02, "{found:?}");
        }
    }
    assert!((found[0] - found[3]).abs() > 1.0, "{found:?}");
}

/// One head, computed by hand.
#[test]
fn attention_weighs_values_by_scores() {
    let signature = "q: f32[n: 1, t: 2, h: 1, e: 2], k: f32[n, s: 2, h, e], v: f32[n, s, h, e]";
    let slots = |body: &str| {
        let text = format!("model m({signature}) = {body}");
        let m = model(&text, &[], Mode::Inference);
        let values = [
            ("q", [1., 0., 0., 2.].as_slice()),
            ("k", &[1., 1., -1., 1.]),
            ("v", &[1., 2., 3., 4.]),
        ];
        outputs(&m.program, &values).remove(0).values
    };
    // Scores over sqrt(2): (1, -1) and (2, 2).
    let first = 1.0 / (1.0 + (-2.0 / 2_f64.sqrt()).exp());
    let mixed = |share: f64| [share + 3.0 * (1.0 - share), 2.0 * share + 4.0 * (1.0 - share)];
    let [a, b] = mixed(first);
    assert_close(&slots("attend(q, k, v)"), &[a, b, 2., 3.]);
    assert_close(&slots("attend(q, k, v, causal: true)"), &[1., 2., 2., 3.]);
    assert_close(
        &slots("attend_masked(q, k, v, (arange[s] == 0) as [s] -> [n, s])"),
        &[1., 2., 1., 2.],
    );
}

/// Two places at once and then one after the other, with a cache, as all at once.
#[test]
fn a_cache_changes_nothing() {
    let numbers = |count: usize, seed: usize| -> Vec<f64> {
        (0..count).map(|i| ((i * 7 + seed * 5) % 11) as f64 / 5.0 - 1.0).collect()
    };
    let (x, weight) = (numbers(2 * 5 * 4, 1), numbers(12 * 4, 2));
    let (bias, out) = (numbers(12, 3), numbers(16, 4));
    let values = [
        ("x", x.as_slice()),
        ("unit.in_proj_weight", &weight),
        ("unit.in_proj_bias", &bias),
        ("unit.out_proj.weight", &out),
        ("unit.out_proj.bias", &bias[..4]),
    ];
    let found = |body: &str| {
        let text = format!("model m(x: f32[n: 2, t: 5, d: 4]) {{\n{body}\n}}");
        outputs(&model(&text, &[], Mode::Inference).program, &values).remove(0)
    };
    let all = found("x |> unit: self_attention(2, causal: true)");
    // There is more room than is used.
    let cached = found(
        "let unit = cached_self_attention(_, _, _, _)
        let room = zeros[n, s: 7, heads: 2, e: 2]
        let (first, keys, values) = unit(x[t: ..2], room, room, 0)
        var cache = [keys, values]
        let others = scan i, now in x[t: 2..] along t {
            let (y, keys, values) = unit(now as [n, d] -> [n, one: 1, d], cache[0], cache[1], 2 + i)
            cache = [keys, values]
            yield y[one: 0]
        }
        concat(first, others, along: 1)",
    );
    assert_eq!(cached.ty, all.ty);
    assert_close(&cached.values, &all.values);
}

/// What stands in padding changes nothing elsewhere.
#[test]
fn transformers_do_not_look_at_padding() {
    let found = |body: &str, padding: f64| {
        let text = format!("model m(x: f32[n: 2, t: 5, d: 4]) {{\n{body}\n}}");
        let model = model(&text, &[], Mode::Inference);
        let mut x: Vec<f64> = (0..40).map(|i| f64::from(i * 7 % 11) / 5.0 - 1.0).collect();
        // Two places of the second sample.
        x[32..].fill(padding);
        let weights = model.program.parameters.iter().map(|parameter| {
            let values = (0..parameter.ty.elements()).map(|i| (i * 5 % 13) as f64 / 9.0 - 0.6);
            (parameter.path.clone(), values.collect::<Vec<f64>>())
        });
        let weights: Vec<_> = weights.collect();
        let mut values: Vec<(&str, &[f64])> =
            weights.iter().map(|(path, values)| (path.as_str(), values.as_slice())).collect();
        values.push(("x", &x));
        outputs(&model.program, &values).remove(0).values
    };
    let encoder = "transformer_encoder(SEEN heads: 2, depth: 2, hidden: 3)";
    let decoder = "transformer_decoder_layer(x, SEEN heads: 2, hidden: 3)";
    let seen = "(arange[t] as [t] -> [n, t]) < 5 - 2 * arange[n],";
    for (layer, end) in [(encoder, 32), (decoder, 40)] {
        let input = if end == 32 { "x" } else { "x * 0 + 0.3" };
        let body = |seen: &str| format!("{input} |> {}", layer.replace("SEEN", seen));
        let (masked, all) = (body(seen), body(""));
        assert_close(&found(&masked, 0.5)[..end], &found(&masked, -3.0)[..end]);
        let differ = |a: Vec<f64>, b: Vec<f64>| {
            a[20..32].iter().zip(&b[20..32]).any(|(a, b)| (a - b).abs() > 1e-3)
        };
        assert!(differ(found(&all, 0.5), found(&all, -3.0)), "{layer}");
    }
}

#[test]
fn positions_can_begin_anywhere() {
    let x: Vec<f64> = (0..12).map(f64::from).collect();
    let found = |body: &str| {
        let text = format!("model m(x: f32[n: 1, t: 3, heads: 1, e: 4]) = {body}");
        outputs(&model(&text, &[], Mode::Inference).program, &[("x", &x)]).remove(0).values
    };
    let (all, later) = (found("rotary(x)"), found("rotary(x[t: 1..], 1)"));
    assert_close(&later, &all[4..]);
}

#[test]
fn blocks_have_the_names_of_pytorch() {
    let text = "
model m(x: f32[n: 1, t: 2, d: 4]) {
    let y = x |> transformer_encoder(heads: 2, depth: 1, hidden: 8, pre_norm: true)
    x |> decoder: transformer_decoder_layer(y, heads: 2, hidden: 8)
}";
    let paths: Vec<String> = model(text, &[], Mode::Inference)
        .program
        .parameters
        .into_iter()
        .map(|parameter| parameter.path)
        .collect();
    for path in [
        "transformer_encoder.layers.0.self_attn.in_proj_weight",
        "transformer_encoder.layers.0.self_attn.out_proj.bias",
        "transformer_encoder.layers.0.linear2.weight",
        "transformer_encoder.norm.weight",
        "decoder.multihead_attn.in_proj_bias",
        "decoder.norm3.bias",
    ] {
        assert!(paths.iter().any(|known| known == path), "{path} is not among {paths:?}");
    }
}

const MODELS: &str = "
model table(x: i32[n, t]) = x |> embedding(5, 3, padding: 1)
model picked(x: f32[n, c], label: i32[n]) = x[c: label] * exp(x[c: label])
model summed(x: f32[n, t, d], slot: i32[n, t]) = exp(scatter(x, slot, 4, over: t))
model running(x: f32[n, t]) = cumsum(x, along: t) * cumprod(x, along: t, reverse: true)
model ordered(x: f32[n, 5]) {
    let (best, place) = topk(x, 3)
    sort(x, along: 1) * x + sum(best * f32(place), over: -1)
}
model moved(x: f32[n, t, d]) {
    roll(reverse(x, along: t), 1, along: d) * tril(x) + pad(x, 1, 1, along: t)[t: 0..-2]
}
model turned(x: f32[n, t, heads, e: 4]) = rotary(x)
model encoder(x: f32[n, t, 4]) {
    x |> transformer_encoder(heads: 2, depth: 2, hidden: 3, p: 0.0, activation: gelu_tanh, causal: true)
}
model translator(x: f32[n, t, 4], memory: f32[n, s, 4]) {
    x |> transformer_decoder_layer(memory, heads: 2, hidden: 3, p: 0.0, activation: silu, pre_norm: true)
}
model padded(x: f32[n, t, 4], length: i32[n]) {
    x |> masked_self_attention((arange[t] as [t] -> [n, t]) <= length, 2)
}
model losses(x: f32[n, 3], label: i32[n], y: f32[n, 3]) {
    let a = cross_entropy(x, label, smoothing: 0.1) + cross_entropy(x, label, ignore: 0 - 2)
    let b = huber(x, y) + hinge(x, y) + nll(x, label) + kl_divergence(x, sigmoid(y))
    a + b + weighted_cross_entropy(x, label, sigmoid(y[0]))
}
";

#[test]
fn gradients_are_right() {
    let package = package(MODELS);
    let native = NativeCode::default();
    let differentiator = Differentiator::default();
    let methods = Methods { differentiator: &differentiator, executor: Some(&native) };
    for target in targets(&package, None, &BTreeMap::new()).expect("models") {
        match check(&target, &methods, Options { cases: 3, seed: 5 }, |_| {}) {
            Ok(Verdict::Passed(summary)) => assert_eq!(summary.passed, 3, "{summary:?}"),
            Ok(Verdict::Failed(failure)) => panic!("{}: {failure:?}", target.name()),
            Err(error) => panic!("{}: {:?}", target.name(), error.diagnostics("it")),
        }
    }
}
