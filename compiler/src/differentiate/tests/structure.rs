//! Which nodes differentiation makes.

use std::sync::Arc;

use super::*;
use crate::graph::Origin;
use crate::span::Span;

/// A graph with a parameter and the node that reads it.
fn with_parameter(shape: &[usize]) -> (Graph, NodeId) {
    let mut graph = Graph::new();
    let ty = TensorType::new(DType::F64, shape);
    let slot = graph.declare_slot("x", SlotRole::Parameter, ty);
    let x = graph.read_slot(slot);
    (graph, x)
}

#[test]
fn only_paths_to_the_loss_get_cotangents() {
    let (mut graph, x) = with_parameter(&[]);
    let other = graph.constant(DType::F64, &[], 2.0);
    let unrelated = graph.apply("exp", &[other]);
    let product = graph.mul(x, unrelated);
    let beside = graph.apply("sin", &[product]);
    let _ = beside;
    let before = graph.nodes.len();
    let gradients = gradient(&mut graph, product, &[x, other]).unwrap();
    assert!(gradients.iter().all(Option::is_some));
    let only_x = graph.nodes.len();
    gradient(&mut graph, product, &[x]).unwrap();
    // 1 and 1 * exp(2); for `other` also 1 * x and that times exp(2).
    assert_eq!((only_x - before, graph.nodes.len() - only_x), (4, 2), "{graph}");
}

#[test]
fn absent_where_nothing_flows() {
    let (mut graph, x) = with_parameter(&[3]);
    let stopped = graph.stop_gradient(x);
    let integer = graph.cast(x, DType::I32);
    let back = graph.cast(integer, DType::F64);
    let floor = graph.apply("floor", &[x]);
    let sum = graph.add(stopped, back);
    let sum = graph.add(sum, floor);
    let loss = graph.sum(sum, &[0]);
    let before = graph.nodes.len();
    assert_eq!(gradient(&mut graph, loss, &[x]).unwrap(), [None]);
    assert_eq!(graph.nodes.len(), before);
}

#[test]
fn products_with_zero_and_differences_of_equals_are_kept() {
    let (mut graph, x) = with_parameter(&[]);
    let zero = graph.constant_like(x, 0.0);
    let product = graph.mul(x, zero);
    let difference = graph.sub(x, x);
    let loss = graph.add(product, difference);
    let gradient = gradient(&mut graph, loss, &[x]).unwrap()[0].unwrap();
    let infinite = Evaluator::new(&[array(&[], &[f64::INFINITY])]).values(&graph);
    assert!(infinite[loss.index()].values[0].is_nan());
    assert_eq!(infinite[gradient.index()].values, [0.0]);
}

#[test]
fn interior_nodes_and_the_loss_are_variables_too() {
    let (mut graph, x) = with_parameter(&[]);
    let y = graph.apply("exp", &[x]);
    let loss = graph.mul(y, y);
    let gradients = gradient(&mut graph, loss, &[loss, y, x]).unwrap();
    let values = Evaluator::new(&[array(&[], &[0.5])]).values(&graph);
    let found: Vec<f64> =
        gradients.iter().map(|node| values[node.unwrap().index()].values[0]).collect();
    let y = 0.5f64.exp();
    assert_eq!(found, [1.0, 2.0 * y, 2.0 * y * y]);
}

#[test]
fn gradients_come_from_where_their_nodes_come_from() {
    let (mut graph, x) = with_parameter(&[]);
    let span = Span { file: 0, start: 3, end: 7 };
    let origin = Origin {
        spans: [span].into_iter().collect(),
        path: "hidden".to_owned(),
        name: Some("activation".to_owned()),
        ..Origin::default()
    };
    graph.set_origin(Arc::new(origin.clone()));
    let y = graph.apply("tanh", &[x]);
    let after = Arc::new(Origin::default());
    graph.set_origin(Arc::clone(&after));
    gradient(&mut graph, y, &[x]).unwrap();
    for (id, node) in graph.iter().skip(y.index() + 1) {
        assert_eq!(*node.origin, Origin { gradient: true, ..origin.clone() }, "{id}");
    }
    let next = graph.apply("exp", &[x]);
    assert_eq!(graph.node(next).origin, after, "the origin before is in force again");
}

#[test]
fn losses_and_variables_must_be_floats() {
    let (mut graph, x) = with_parameter(&[2]);
    let count = graph.cast(x, DType::I32);
    let errors = [
        gradient(&mut graph, x, &[x]).unwrap_err().to_string(),
        gradient(&mut graph, count, &[x]).unwrap_err().to_string(),
        {
            let loss = graph.sum(x, &[0]);
            gradient(&mut graph, loss, &[count]).unwrap_err().to_string()
        },
    ];
    insta::assert_snapshot!(errors.join("\n"), @r"
    the loss has type f64[2]; only a single number of a float type can be minimized
    the loss has type i32[2]; only a single number of a float type can be minimized
    a value of type i32[2] has no gradient; only floats can be varied
    ");
}
