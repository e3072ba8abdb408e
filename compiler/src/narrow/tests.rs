use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::arbitrary::{self, RandomGraph};
use crate::array::Array;
use crate::differentiate::gradient;
use crate::evaluate::Evaluator;
use crate::graph::{Output, SlotRole};
use crate::types::{Axes, DType, Shape};

fn input(graph: &mut Graph, name: &str, shape: &[usize]) -> NodeId {
    let slot = graph.declare_slot(name, SlotRole::Parameter, TensorType::new(DType::F32, shape));
    graph.read_slot(slot)
}

fn results(graph: &Graph) -> Vec<Array> {
    let slots: Vec<Array> = (graph.slots.iter().enumerate())
        .map(|(slot, info)| {
            let value = |index: usize| ((slot * 31 + index * 7) as f64 * 0.61).sin();
            Array::new(info.ty.clone(), (0..info.ty.elements()).map(value).collect())
        })
        .collect();
    Evaluator::new(&slots).run(graph).outputs
}

/// The shapes of all products, in order.
fn products(graph: &Graph) -> Vec<Shape> {
    let products = graph.nodes.iter().filter(|node| matches!(node.op, Op::Contract(_)));
    products.map(|node| node.ty.shape.clone()).collect()
}

/// Two layers with attention to all 6 positions, of which the first is looked at; its weights.
fn classifier() -> (Graph, NodeId, [NodeId; 4]) {
    let mut g = Graph::new();
    let x = input(&mut g, "x", &[2, 6, 4]);
    let [query, key, dense] = ["query", "key", "dense"].map(|name| input(&mut g, name, &[4, 4]));
    let mut y = x;
    for _ in 0..2 {
        let heads = |g: &mut Graph, weight| {
            let projected = g.contract(y, weight, &[], &[(2, 1)]);
            g.reshape(projected, &[2, 6, 2, 2])
        };
        let (q, k) = (heads(&mut g, query), heads(&mut g, key));
        let scores = g.contract(q, k, &[(0, 0), (2, 2)], &[(3, 3)]);
        let seen = g.contract(scores, k, &[(0, 0), (1, 2)], &[(3, 1)]);
        let seen = g.permute(seen, &[0, 2, 1, 3]);
        let seen = g.reshape(seen, &[2, 6, 4]);
        let sum = g.add(y, seen);
        let mean = g.sum(sum, &[2]);
        let mean = g.broadcast(mean, &[2, 6, 4], &[0, 1]);
        let distance = g.sub(sum, mean);
        let next = g.contract(distance, dense, &[], &[(2, 1)]);
        y = g.apply("tanh", &[next]);
    }
    let first = g.slice(y, &[0, 0, 0], &[2, 1, 4], &[1, 1, 1]);
    let first = g.reshape(first, &[2, 4]);
    let loss = g.sum(first, &[0, 1]);
    (g, loss, [x, query, key, dense])
}

#[test]
fn a_classifier_computes_one_position_of_its_last_layer() {
    let (mut graph, loss, _) = classifier();
    graph.outputs.push(Output { name: "loss".to_owned(), node: loss });
    let narrowed = narrow_all(&graph);
    narrowed.verify().unwrap();
    assert_eq!(results(&narrowed), results(&graph));
    let shapes: Vec<Vec<usize>> = products(&narrowed).iter().map(|shape| shape.to_vec()).collect();
    let first_layer = [&[2, 6, 4][..], &[2, 6, 4], &[2, 2, 6, 6], &[2, 2, 6, 2], &[2, 6, 4]];
    assert_eq!(shapes[..5], first_layer);
    // Keys are those of all positions.
    let mut last_layer = shapes[5..].to_vec();
    last_layer.sort();
    assert_eq!(last_layer, [&[2, 1, 4][..], &[2, 1, 4], &[2, 2, 1, 2], &[2, 2, 1, 6], &[2, 6, 4]]);
}

#[test]
fn gradients_are_those_of_the_whole() {
    let (mut graph, loss, weights) = classifier();
    let gradients = |graph: &mut Graph, loss: NodeId| -> Vec<Array> {
        let gradients = gradient(graph, loss, &weights).unwrap().into_iter().flatten();
        let named = gradients.enumerate();
        graph.outputs =
            named.map(|(number, node)| Output { name: number.to_string(), node }).collect();
        graph.prune();
        results(graph)
    };
    let mut whole = graph.clone();
    let expected = gradients(&mut whole, loss);
    let narrowed = narrow(&mut graph, &[loss], &weights)[0];
    let found = gradients(&mut graph, narrowed);
    assert_eq!(found.len(), 4);
    for (found, expected) in found.iter().zip(&expected) {
        for (a, b) in found.values.iter().zip(&expected.values) {
            assert!((a - b).abs() <= 1e-12 * b.abs().max(1.0), "{a} instead of {b}");
        }
    }
    assert!(graph.flops() < 0.8 * whole.flops(), "{} of {}", graph.flops(), whole.flops());
}

#[test]
fn what_is_kept_stays_with_all_it_is_computed_from() {
    let mut graph = Graph::new();
    let x = input(&mut graph, "x", &[8, 3]);
    let y = graph.apply("exp", &[x]);
    let first = graph.slice(y, &[0, 0], &[4, 3], &[1, 1]);
    let kept = graph.apply("tanh", &[first]);
    let z = graph.apply("neg", &[kept]);
    let part = graph.slice(z, &[1, 0], &[2, 3], &[1, 1]);
    let narrowed = narrow(&mut graph, &[part], &[kept])[0];
    let mut needed = vec![narrowed];
    while let Some(id) = needed.pop() {
        if id == kept {
            return;
        }
        needed.extend(&graph.node(id).operands);
    }
    panic!("{graph}");
}

#[test]
fn a_graph_of_which_all_is_read_stays() {
    let (mut graph, _, _) = classifier();
    let last = graph.iter().rev().find(|(_, node)| node.op.primitive().name() == "tanh").unwrap();
    let node = last.0;
    graph.outputs.push(Output { name: "y".to_owned(), node });
    graph.prune();
    assert!(narrow_all(&graph).computes_the_same(&graph));
}

/// A graph of whose results parts are read, between bounds that `cuts` choose.
fn with_parts_read(mut random: RandomGraph, cuts: &[(Index, Index, bool)]) -> RandomGraph {
    let mut cuts = cuts.iter().cycle();
    for number in 0..random.graph.outputs.len() {
        let node = random.graph.outputs[number].node;
        let shape = random.graph.type_of(node).shape.clone();
        let (mut start, mut stop, mut step) = (Axes::new(), Axes::new(), Axes::new());
        for &extent in &shape {
            let (a, b, every) = cuts.next().expect("a cycle");
            let (a, b) = (a.index(extent + 1), b.index(extent + 1));
            start.push(a.min(b));
            stop.push(a.max(b));
            step.push(1 + usize::from(*every));
        }
        random.graph.outputs[number].node = random.graph.slice(node, &start, &stop, &step);
    }
    random.graph.guards.clear();
    random
}

proptest! {
    #![proptest_config(arbitrary::config(256))]

    #[test]
    fn parts_are_the_same_bits(
        random in arbitrary::graph(),
        cuts in prop::collection::vec(any::<(Index, Index, bool)>(), 8),
    ) {
        let random = with_parts_read(random, &cuts);
        let narrowed = narrow_all(&random.graph);
        narrowed.verify().unwrap();
        let evaluator = Evaluator::new(&random.slots);
        let (before, after) = (evaluator.run(&random.graph), evaluator.run(&narrowed));
        prop_assert_eq!(after.outputs, before.outputs);
    }
}
