//! Rules with a procedure: an instance is written out for each.

use super::{Draw, check_rule};
use crate::graph::{Emit, Graph, NodeId, SlotRole};
use crate::op::{Conv, Iota, ReduceKind, Sliding};
use crate::optimize::algebra::rules::RULES;
use crate::types::{DType, TensorType};

/// A graph that a rule has something to do in, of random extents.
type Sample = fn(&mut Graph, &mut Draw);

fn input(graph: &mut Graph, shape: &[usize]) -> NodeId {
    typed(graph, DType::F64, shape)
}

fn typed(graph: &mut Graph, dtype: DType, shape: &[usize]) -> NodeId {
    let name = format!("x{}", graph.slots.len());
    let slot = graph.declare_slot(&name, SlotRole::Input, TensorType::new(dtype, shape));
    graph.read_slot(slot)
}

/// Two or three random extents.
fn extents<const N: usize>(draw: &mut Draw) -> [usize; N] {
    std::array::from_fn(|_| 1 + draw.below(4))
}

const SAMPLES: &[(&str, Sample)] = &[
    ("a rectified value is above zero where its argument is", |g, draw| {
        let x = input(g, &[5]);
        let zero = g.constant(DType::F64, &[5], 0.0);
        let positive = g.apply("lt", &[zero, x]);
        let not_positive = g.apply("le", &[x, zero]);
        let rectified = match draw.below(3) {
            0 => g.apply("max", &[x, zero]),
            1 => g.select(positive, x, zero),
            _ => g.select(not_positive, zero, x),
        };
        g.select(positive, rectified, zero);
        g.select(not_positive, zero, rectified);
    }),
    ("a conversion by way of a type that holds every value is direct", |g, draw| {
        let (from, between, to) = draw.choose(&[
            (DType::F32, DType::F64, DType::I32),
            (DType::I32, DType::F64, DType::F32),
            (DType::U8, DType::I32, DType::F32),
            (DType::Bool, DType::F32, DType::Bool),
        ]);
        let x = typed(g, from, &[4]);
        let x = g.cast(x, between);
        g.cast(x, to);
    }),
    ("a view of a view is one view", |g, draw| {
        // Views are joined when they are made; here it is known only later that the inner one is
        // a view.
        let [a, b] = extents(draw);
        let x = input(g, &[a + 1, b]);
        let x = g.permute(x, &[1, 0]);
        let x = g.neg(x);
        let x = g.neg(x);
        g.slice(x, &[0, 1], &[b, a + 1], &[1, 1]);
    }),
    ("a part of a concatenation is a part of its operand", |g, draw| {
        let [a, b, c] = extents(draw);
        let (x, y) = (input(g, &[a, b]), input(g, &[a, c]));
        let joined = g.concat(&[x, y], 1);
        g.slice(joined, &[0, 0], &[a, b], &[1, 1]);
        g.slice(joined, &[0, b], &[a, b + c], &[1, 2]);
    }),
    ("a function of values repeated alike is computed before they are repeated", |g, draw| {
        let [a, b] = extents(draw);
        let shape = [a, b + 1];
        let (x, y) = (input(g, &[a]), input(g, &[a]));
        let (x, y) = (g.broadcast(x, &shape, &[0]), g.broadcast(y, &shape, &[0]));
        let sum = g.add(x, y);
        let three = g.constant(DType::F64, &shape, 3.0);
        g.mul(sum, three);
    }),
    ("a movement is undone before a function rather than after it", |g, draw| {
        let [a, b] = extents(draw);
        let x = input(g, &[a + 1, b + 1]);
        let x = g.permute(x, &[1, 0]);
        let two = g.constant(DType::F64, &[b + 1, a + 1], 2.0);
        let x = g.mul(x, two);
        g.permute(x, &[1, 0]);
    }),
    ("factors or summands repeated alike meet before they are repeated", |g, draw| {
        let [a, b] = extents(draw);
        let shape = [a + 1, b];
        let function = draw.choose(&["mul", "add"]);
        let (x, y, z) = (input(g, &shape), input(g, &[b]), input(g, &[b]));
        let (y, z) = (g.broadcast(y, &shape, &[1]), g.broadcast(z, &shape, &[1]));
        let first = g.apply(function, &[x, y]);
        g.apply(function, &[first, z]);
    }),
    ("dividing by a repeated value multiplies by its repeated reciprocal", |g, draw| {
        let [a, b] = extents(draw);
        let shape = [a, b + 4];
        let (x, y) = (input(g, &shape), input(g, &[a]));
        let y = g.broadcast(y, &shape, &[0]);
        g.div(x, y);
    }),
    ("a reduction over axes of length one is a reshape", |g, draw| {
        let [a, b] = extents(draw);
        let x = input(g, &[a, 1, b, 1]);
        g.reduce(draw.choose(&ReduceKind::ALL), x, &[1, 3]);
    }),
    ("a reduction of a reduction is one reduction", |g, draw| {
        let [a, b, c] = extents(draw);
        let kind = draw.choose(&ReduceKind::ALL);
        let x = input(g, &[a, b, c, 2]);
        let inner = draw.choose(&[&[1][..], &[0, 2], &[3]]);
        let x = g.reduce(kind, x, inner);
        g.reduce(kind, x, &[draw.below(2)]);
    }),
    ("a reduction of one value is a multiple of it", |g, draw| {
        let [a, b] = extents(draw);
        let x = g.constant(DType::F64, &[a, b], draw.float());
        g.reduce(draw.choose(&ReduceKind::ALL), x, &[draw.below(2)]);
    }),
    ("a reduction of values that were moved or repeated reduces the values first", |g, draw| {
        let [a, b, c] = extents(draw);
        let kind = draw.choose(&[ReduceKind::Sum, ReduceKind::Max]);
        let x = input(g, &[a, b]);
        let moved = g.permute(x, &[1, 0]);
        g.reduce(kind, moved, &[draw.below(2)]);
        let repeated = g.broadcast(moved, &[b, c, a], &[0, 2]);
        let axes = draw.choose(&[&[0][..], &[1], &[2], &[0, 1], &[1, 2], &[0, 1, 2]]);
        g.reduce(kind, repeated, axes);
    }),
    ("a sum of negated values is the negated sum", |g, draw| {
        let [a, b] = extents(draw);
        let x = input(g, &[a, b]);
        let x = g.neg(x);
        g.sum(x, &[draw.below(2)]);
    }),
    ("a constant factor of a sum multiplies the sum", |g, draw| {
        let [a, b] = extents(draw);
        let x = input(g, &[a, b]);
        let factor = g.constant(DType::F64, &[a, b], draw.float());
        let scaled = g.mul(factor, x);
        g.sum(scaled, draw.choose(&[&[0][..], &[1], &[0, 1]]));
    }),
    ("a constant factor of a contraction multiplies the result", |g, draw| {
        let [a, b] = extents(draw);
        let (x, y) = (input(g, &[a, b]), input(g, &[b, a]));
        let factor = g.constant(DType::F64, &[a, b], draw.float());
        let scaled = g.mul(factor, x);
        match draw.below(2) {
            0 => g.contract(scaled, y, &[], &[(1, 0)]),
            _ => g.contract(y, scaled, &[(1, 0)], &[(0, 1)]),
        };
    }),
    ("a factor common to all terms of a sum multiplies the sum", |g, draw| {
        let [a, b, c] = extents(draw);
        let shape = [a, b, c];
        let x = input(g, &shape);
        let factor = match draw.below(3) {
            0 => g.constant(DType::F64, &shape, 2.5),
            1 => {
                let factor = input(g, &[]);
                g.splat(factor, &shape)
            }
            _ => {
                let factor = input(g, &[a]);
                g.broadcast(factor, &shape, &[0])
            }
        };
        let scaled = g.apply(draw.choose(&["mul", "div"]), &[x, factor]);
        g.sum(scaled, draw.choose(&[&[1][..], &[2], &[1, 2]]));
    }),
    ("a sum of products of repeated values is a contraction", |g, draw| {
        let [a, b, c] = extents(draw);
        let shape = [a + 1, b, c + 1, 2];
        let (x, y) = (input(g, &[a + 1, b, 2]), input(g, &[b, c + 1, 2]));
        let (x, y) = (g.broadcast(x, &shape, &[0, 1, 3]), g.broadcast(y, &shape, &[1, 2, 3]));
        let product = g.mul(x, y);
        g.sum(product, draw.choose(&[&[1][..], &[3], &[1, 3]]));
    }),
    ("a contraction of moved or repeated values contracts the values", |g, draw| {
        let [a, b, c] = extents(draw);
        let (x, y) = (input(g, &[a, b, 3]), input(g, &[3, c, b]));
        let (x, y) = (g.permute(x, &[2, 0, 1]), g.permute(y, &[1, 2, 0]));
        g.contract(x, y, &[(2, 1)], &[(0, 2)]);
        // Repeated along a batch axis, and along an outer one.
        let (x, y) = (input(g, &[a, 3]), input(g, &[b, 3, c]));
        let repeated = g.broadcast(x, &[b, a, 2, 3], &[1, 3]);
        g.contract(repeated, y, &[(0, 0)], &[(3, 1)]);
        g.contract(y, repeated, &[(0, 0)], &[(1, 3)]);
    }),
    ("the sign of an operand is that of the product", |g, draw| {
        let [a, b] = extents(draw);
        let (x, y) = (input(g, &[a, 3]), input(g, &[3, b]));
        let operands = [(x, g.neg(y)), (g.neg(x), y)];
        let (x, y) = draw.choose(&operands);
        g.contract(x, y, &[], &[(1, 0)]);
    }),
    ("a fixed factor of a convolution or a contraction multiplies its fixed operand", |g, draw| {
        let [a, b] = extents(draw);
        let role = SlotRole::Parameter;
        let fixed = |g: &mut Graph, name: &str, shape: &[usize]| {
            let slot = g.declare_slot(name, role, TensorType::new(DType::F64, shape));
            g.read_slot(slot)
        };
        let factors = fixed(g, "factors", &[b + 1]);
        match draw.below(3) {
            0 => {
                let (x, weight) = (input(g, &[a + 1, 3]), fixed(g, "weight", &[b + 1, 3]));
                let product = g.contract(x, weight, &[], &[(1, 1)]);
                let factors = g.broadcast(factors, &[a + 1, b + 1], &[1]);
                g.mul(product, factors);
            }
            1 => {
                // The product is seen transposed.
                let (x, weight) = (input(g, &[3, a + 1]), fixed(g, "weight", &[3, b + 1]));
                let product = g.contract(x, weight, &[], &[(0, 0)]);
                let product = g.permute(product, &[1, 0]);
                let factors = g.broadcast(factors, &[b + 1, a + 1], &[0]);
                g.mul(product, factors);
            }
            _ => {
                let (x, weight) = (input(g, &[1, a, 2, 4]), fixed(g, "weight", &[1, b + 1, 2, 3]));
                let axis = Sliding { stride: 1, dilation: 1, input_dilation: 1, low: 1, high: 1 };
                let conv = Conv { axes: [axis].into_iter().collect(), reversed: false };
                let conv = g.emit(conv.into(), &[x, weight]);
                let conv = g.reshape(conv, &[a, b + 1, 4]);
                let factors = g.broadcast(factors, &[a, b + 1, 4], &[1]);
                g.mul(conv, factors);
            }
        }
    }),
    ("a factor common to all terms of a contraction multiplies the result", |g, draw| {
        let [a, b, c] = extents(draw);
        let (x, y) = (input(g, &[a, b, 3]), input(g, &[a, c, 3]));
        let factor = match draw.below(3) {
            0 => {
                let factor = input(g, &[]);
                g.splat(factor, &[a, b, 3])
            }
            1 => {
                let factor = input(g, &[a, b]);
                g.broadcast(factor, &[a, b, 3], &[0, 1])
            }
            _ => g.constant(DType::F64, &[a, b, 3], 0.5),
        };
        let scaled = g.apply(draw.choose(&["mul", "div"]), &[x, factor]);
        match draw.below(2) {
            0 => g.contract(scaled, y, &[(0, 0)], &[(2, 2)]),
            _ => g.contract(y, scaled, &[(0, 0)], &[(2, 2)]),
        };
    }),
    ("a sum over an outer axis of a contraction sums the operand first", |g, draw| {
        let [a, b, c] = extents(draw);
        let (x, y) = (input(g, &[2, a, b, 3]), input(g, &[c, 3, 2]));
        let product = g.contract(x, y, &[(0, 2)], &[(3, 1)]);
        g.sum(product, draw.choose(&[&[1][..], &[2], &[3], &[1, 3], &[1, 2, 3]]));
    }),
];

#[test]
fn every_procedure_gives_an_equal_term() {
    for (number, rule) in RULES.rules.iter().enumerate() {
        if rule.patterns().is_some() {
            continue;
        }
        let (_, sample) = SAMPLES
            .iter()
            .find(|(sentence, _)| *sentence == rule.sentence)
            .unwrap_or_else(|| panic!("no sample: {}", rule.sentence));
        let mut applied = 0;
        for seed in 1..=40 {
            let mut draw = Draw::new(seed);
            let mut graph = Graph::new();
            sample(&mut graph, &mut draw);
            applied += check_rule(number, &graph, &mut draw);
        }
        assert!(applied > 0, "never applied: {}", rule.sentence);
    }
}

#[test]
fn positions_seen_through_a_view_are_positions() {
    let mut graph = Graph::new();
    let iota = Iota { axis: 0, dtype: DType::I32, shape: [3].as_slice().into() };
    let iota = graph.emit(iota.into(), &[]);
    let repeated = graph.broadcast(iota, &[2, 3], &[1]);
    graph.outputs.push(crate::graph::Output { name: "positions".to_owned(), node: repeated });
    let (simple, _) = crate::optimize::algebra::simplify(&graph, &Default::default());
    assert_eq!(simple.nodes.len(), 1);
    assert_eq!(simple.nodes[0].op.to_string(), "iota{axis=1}");
}
