use proptest::prelude::*;

use super::*;
use crate::arbitrary;
use crate::differentiate::gradient;
use crate::graph::{Output, SlotRole};
use crate::optimize::samples::{assert_equal, slot_values};
use crate::types::{DType, TensorType};

/// Attention of one query a sample and head to 64 positions of `x`, with keys and values that are
/// products of `x`; its weights, and biases.
fn attention() -> (Graph, NodeId, Vec<NodeId>) {
    let mut g = Graph::new();
    let input = |g: &mut Graph, name: &str, shape: &[usize]| {
        let ty = TensorType::new(DType::F64, shape);
        let slot = g.declare_slot(name, SlotRole::Parameter, ty);
        g.read_slot(slot)
    };
    let x = input(&mut g, "x", &[2, 64, 32]);
    let query = input(&mut g, "query", &[2, 1, 4, 8]);
    let weights = ["key", "value"].map(|name| input(&mut g, name, &[32, 32]));
    let biases = ["key_bias", "value_bias"].map(|name| input(&mut g, name, &[32]));
    let [keys, values] = [0, 1].map(|which| {
        let y = g.contract(x, weights[which], &[], &[(2, 1)]);
        let bias = g.broadcast(biases[which], &[2, 64, 32], &[2]);
        let y = g.add(y, bias);
        g.reshape(y, &[2, 64, 4, 8])
    });
    let scores = g.contract(query, keys, &[(0, 0), (2, 2)], &[(3, 3)]);
    let shares = g.apply("sigmoid", &[scores]);
    let seen = g.contract(shares, values, &[(0, 0), (1, 2)], &[(3, 1)]);
    let square = g.mul(seen, seen);
    let loss = g.sum(square, &[0, 1, 2, 3]);
    let variables = [&[x, query][..], &weights, &biases].concat();
    (g, loss, variables)
}

#[test]
fn one_query_multiplies_no_keys() {
    let (mut graph, loss, variables) = attention();
    let gradients = gradient(&mut graph, loss, &variables).unwrap();
    let named = gradients.into_iter().flatten().chain([loss]).enumerate();
    graph.outputs = named.map(|(number, node)| Output { name: number.to_string(), node }).collect();
    graph.prune();
    let associated = associate_where(&graph, |new, old| new < MARGIN * old);
    associated.verify().unwrap();
    assert_equal(&associated, &graph, &slot_values(&graph), 1e-12);
    assert!(associated.flops() < 0.25 * graph.flops(), "{associated}");
}

#[test]
fn all_queries_multiply_keys_first() {
    let mut g = Graph::new();
    let input = |g: &mut Graph, name: &str, shape: &[usize]| {
        let ty = TensorType::new(DType::F32, shape);
        let slot = g.declare_slot(name, SlotRole::Input, ty);
        g.read_slot(slot)
    };
    let (x, w) = (input(&mut g, "x", &[128, 256]), input(&mut g, "w", &[256, 64]));
    let query = input(&mut g, "query", &[128, 64]);
    let keys = g.contract(x, w, &[], &[(1, 0)]);
    let scores = g.contract(query, keys, &[], &[(1, 1)]);
    g.outputs.push(Output { name: "scores".to_owned(), node: scores });
    assert!(associate(&g).computes_the_same(&g));
}

proptest! {
    #![proptest_config(arbitrary::config(256))]

    #[test]
    fn any_order_gives_the_same(random in arbitrary::training_step()) {
        let associated = associate_where(&random.graph, |_, _| true);
        associated.verify().unwrap();
        assert_equal(&associated, &random.graph, &random.slots, 1e-9);
    }
}
