//! Recurrent layers of the standard library against the same formulas step by step.

use cygnet::language::program::Mode;

use crate::elaborate::{assert_close, model, outputs};

/// The outputs of a model whose parameters and inputs are small and all different.
fn results(text: &str) -> Vec<Vec<f64>> {
    let model = model(text, &[], Mode::Inference);
    let slots = model.program.graph.slots.iter();
    let values: Vec<(String, Vec<f64>)> = slots
        .map(|slot| {
            let seed = slot.name.bytes().map(usize::from).sum::<usize>();
            let value = |index: usize| ((seed * 7 + index * 13) as f64 * 0.37).sin();
            (slot.name.clone(), (0..slot.ty.elements()).map(value).collect())
        })
        .collect();
    let values: Vec<(&str, &[f64])> =
        values.iter().map(|(name, values)| (name.as_str(), values.as_slice())).collect();
    outputs(&model.program, &values).into_iter().map(|output| output.values).collect()
}

fn paths(text: &str) -> Vec<String> {
    let model = model(text, &[], Mode::Inference);
    model.program.parameters.iter().map(|p| format!("{} {}", p.path, p.ty)).collect()
}

/// The same layer fed one step at a time, with the state handed on: an unrolled loop.
#[test]
fn layers_are_their_steps() {
    for (layer, states) in [("rnn", "h"), ("gru", "h"), ("lstm", "h, c")] {
        let by_loop = results(&format!(
            "model m(x: f32[n: 2, t: 4, i: 3]) {{
    let (ys, {states}) = x |> \"net\": {layer}(hidden: 5)
    (ys[t: 0], ys[t: 1], ys[t: 2], ys[t: 3], {states})
}}"
        ));
        let start: String =
            states.split(", ").map(|state| format!("    var {state} = zeros[n, 5]\n")).collect();
        let next: Vec<String> = states.split(", ").map(|state| format!("{state}1")).collect();
        let assign: String = (states.split(", ").zip(&next))
            .map(|(state, next)| format!("        {state} = {next}\n"))
            .collect();
        let by_steps = results(&format!(
            "model m(x: f32[n: 2, t: 4, i: 3]) {{
    let net = {layer}(_, hidden: 5)
{start}    let ys = for step in 0..4 {{
        let (_, {next}) = net(x[t: step..step + 1], {states})
{assign}        yield h
    }}
    (ys[0], ys[1], ys[2], ys[3], {states})
}}",
            next = next.join(", "),
        ));
        assert_eq!(by_loop.len(), by_steps.len());
        for (a, b) in by_loop.iter().zip(&by_steps) {
            assert_close(a, b);
        }
    }
}

#[test]
fn parameters_are_called_and_shaped_like_pytorchs() {
    let found = paths(
        "model m(x: f32[n: 2, t: 4, i: 3]) {
    let (a, _) = x |> \"rnn\": rnn(hidden: 5)
    let (b, _, _) = a |> \"lstm\": lstm(hidden: 6)
    let (c, _) = b |> \"gru\": gru(hidden: 7)
    let (d, _) = b |> \"deep\": gru(hidden: 2, layers: 2, bidirectional: true)
    (c, d)
}",
    );
    let expected = [
        "rnn.weight_ih_l0 f32[5, 3]",
        "rnn.weight_hh_l0 f32[5, 5]",
        "rnn.bias_ih_l0 f32[5]",
        "rnn.bias_hh_l0 f32[5]",
        "lstm.weight_ih_l0 f32[24, 5]",
        "lstm.weight_hh_l0 f32[24, 6]",
        "lstm.bias_ih_l0 f32[24]",
        "lstm.bias_hh_l0 f32[24]",
        "gru.weight_ih_l0 f32[21, 6]",
        "gru.weight_hh_l0 f32[21, 7]",
        "gru.bias_ih_l0 f32[21]",
        "gru.bias_hh_l0 f32[21]",
        "deep.weight_ih_l0 f32[6, 6]",
        "deep.weight_hh_l0 f32[6, 2]",
        "deep.bias_ih_l0 f32[6]",
        "deep.bias_hh_l0 f32[6]",
        "deep.weight_ih_l0_reverse f32[6, 6]",
        "deep.weight_hh_l0_reverse f32[6, 2]",
        "deep.bias_ih_l0_reverse f32[6]",
        "deep.bias_hh_l0_reverse f32[6]",
        "deep.weight_ih_l1 f32[6, 4]",
        "deep.weight_hh_l1 f32[6, 2]",
        "deep.bias_ih_l1 f32[6]",
        "deep.bias_hh_l1 f32[6]",
        "deep.weight_ih_l1_reverse f32[6, 4]",
        "deep.weight_hh_l1_reverse f32[6, 2]",
        "deep.bias_ih_l1_reverse f32[6]",
        "deep.bias_hh_l1_reverse f32[6]",
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_direction_is_that_of_the_reversed_sequence() {
    for layer in ["rnn", "gru"] {
        let forth = results(&format!(
            "model m(x: f32[n: 2, t: 4, i: 3]) {{
    let (ys, h) = reverse(x, along: t) |> \"net\": {layer}(hidden: 5)
    (reverse(ys, along: t), h)
}}"
        ));
        let back = results(&format!(
            "model m(x: f32[n: 2, t: 4, i: 3]) = x |> \"net\": {layer}_direction(hidden: 5, back: true)"
        ));
        for (a, b) in forth.iter().zip(&back) {
            assert_close(a, b);
        }
    }
}

#[test]
fn padded_steps_change_nothing() {
    let masked = results(
        "model m(x: f32[n: 2, t: 4, i: 3]) {
    let mask = arange[t] < 3
    let (_, h, c) = x |> \"net\": lstm(mask: mask as [t] -> [n, t], hidden: 5)
    (h, c)
}",
    );
    let cut = results(
        "model m(x: f32[n: 2, t: 4, i: 3]) {
    let (_, h, c) = x[t: 0..3] |> \"net\": lstm(hidden: 5)
    (h, c)
}",
    );
    for (a, b) in masked.iter().zip(&cut) {
        assert_close(a, b);
    }
}
