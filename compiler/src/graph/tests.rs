use std::sync::Arc;

use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;
use crate::arbitrary;
use crate::differentiate::gradient;
use crate::evaluate::Evaluator;
use crate::op::Constant;
use crate::span::Span;
use crate::types::{DType, Scalar};

/// `loss = sum(tanh(x w))` with its gradient and an update of `w`.
fn sample() -> Graph {
    let mut graph = Graph::new();
    let input = graph.declare_slot("x", SlotRole::Input, TensorType::new(DType::F32, &[2, 3]));
    let weight =
        graph.declare_slot("hidden.weight", SlotRole::Parameter, TensorType::new(DType::F32, &[3]));
    let x = graph.read_slot(input);
    let w = graph.read_slot(weight);
    let spans = |start: u32| [Span { file: 0, start, end: start + 5 }].into_iter().collect();
    let origin = Origin { spans: spans(12), path: "hidden".to_owned(), ..Origin::default() };
    graph.set_origin(Arc::new(origin.clone()));
    let product = graph.contract(x, w, &[], &[(1, 0)]);
    graph.set_origin(Arc::new(Origin { name: Some("y".to_owned()), spans: spans(30), ..origin }));
    let y = graph.apply("tanh", &[product]);
    graph.set_origin(Arc::default());
    let loss = graph.sum(y, &[0]);
    let gradient = gradient(&mut graph, loss, &[w]).unwrap()[0].unwrap();
    let node = graph.sub(w, gradient);
    graph.outputs.push(Output { name: "loss".to_owned(), node: loss });
    graph.updates.push(Update { slot: weight, node });
    graph.guards.push(loss);
    graph
}

#[test]
fn text() {
    assert_snapshot!(sample(), @r"
    input x: f32[2, 3]
    parameter hidden.weight: f32[3]
    %0 = slot{x}: f32[2, 3]
    %1 = slot{hidden.weight}: f32[3]
    %2 = contract{over=1:0} %0 %1: f32[2]  ; hidden
    %3 = tanh %2: f32[2]  ; hidden: y
    %4 = reduce_sum{axes=[0]} %3: f32[]
    %5 = constant{1.0}: f32[]  ; d
    %6 = broadcast{shape=[2] axes=[]} %5: f32[2]  ; d
    %7 = constant{1.0}: f32[2]  ; d hidden: y
    %8 = mul %3 %3: f32[2]  ; d hidden: y
    %9 = sub %7 %8: f32[2]  ; d hidden: y
    %10 = mul %6 %9: f32[2]  ; d hidden: y
    %11 = contract{over=0:0} %0 %10: f32[3]  ; d hidden
    %12 = sub %1 %11: f32[3]
    output loss = %4
    update hidden.weight = %12
    guard %4
    ");
}

#[test]
fn text_with_places() {
    let place = |span: Span| Some(format!("byte {}", span.start));
    assert_snapshot!(sample().listing(&place), @r"
    input x: f32[2, 3]
    parameter hidden.weight: f32[3]
    %0 = slot{x}: f32[2, 3]
    %1 = slot{hidden.weight}: f32[3]
    %2 = contract{over=1:0} %0 %1: f32[2]  ; hidden, byte 12
    %3 = tanh %2: f32[2]  ; hidden: y, byte 30
    %4 = reduce_sum{axes=[0]} %3: f32[]
    %5 = constant{1.0}: f32[]  ; d
    %6 = broadcast{shape=[2] axes=[]} %5: f32[2]  ; d
    %7 = constant{1.0}: f32[2]  ; d hidden: y, byte 30
    %8 = mul %3 %3: f32[2]  ; d hidden: y, byte 30
    %9 = sub %7 %8: f32[2]  ; d hidden: y, byte 30
    %10 = mul %6 %9: f32[2]  ; d hidden: y, byte 30
    %11 = contract{over=0:0} %0 %10: f32[3]  ; d hidden, byte 12
    %12 = sub %1 %11: f32[3]
    output loss = %4
    update hidden.weight = %12
    guard %4
    ");
}

#[test]
fn json() {
    let view = serde_json::to_value(sample().view()).unwrap();
    assert_snapshot!(serde_json::to_string(&view["slots"][1]).unwrap(), @r#"{"dtype":"f32","name":"hidden.weight","role":"parameter","shape":[3]}"#);
    assert_snapshot!(serde_json::to_string(&view["nodes"][3]).unwrap(), @r#"{"attributes":"","dtype":"f32","gradient":false,"id":3,"name":"y","op":"tanh","operands":[2],"path":"hidden","rules":[],"shape":[2],"spans":[{"end":35,"file":0,"start":30}]}"#);
    assert_eq!(view["nodes"].as_array().unwrap().len(), sample().nodes.len());
    assert_eq!(view["guards"][0], view["outputs"][0]["node"]);
    assert_eq!(view["updates"][0]["slot"], "hidden.weight");
}

#[test]
fn dot() {
    let mut graph = sample();
    graph.nodes.truncate(4);
    graph.outputs = vec![Output { name: "the \"result\"".to_owned(), node: NodeId(3) }];
    graph.updates.clear();
    graph.guards.clear();
    assert_snapshot!(graph.to_dot(), @r#"
    digraph {
        0 [ shape=ellipse label="%0 slot\nx\nf32[2, 3]"]
        1 [ shape=ellipse label="%1 slot\nhidden.weight\nf32[3]"]
        2 [ shape=box label="%2 contract\nover=1:0\nf32[2]\nhidden"]
        3 [ shape=box label="%3 tanh\nf32[2]\nhidden: y\noutput the \"result\"" peripheries=2]
        0 -> 2 [ taillabel="0"]
        1 -> 2 [ taillabel="1"]
        2 -> 3 [ ]
    }
    "#);
}

/// What [`Graph::verify`] says to the sample after a change.
fn violation(change: impl FnOnce(&mut Graph)) -> String {
    let mut graph = sample();
    graph.verify().unwrap();
    change(&mut graph);
    graph.verify().unwrap_err().to_string()
}

#[test]
fn violations() {
    let found = [
        violation(|g| g.nodes.swap(2, 3)),
        violation(|g| g.nodes[3].operands[0] = NodeId(3)),
        violation(|g| g.nodes[3].ty = TensorType::new(DType::F32, &[3])),
        violation(|g| g.slots[0].ty = TensorType::scalar(DType::F32)),
        violation(|g| {
            g.slots.pop();
        }),
        violation(|g| g.slots[0].name = "hidden.weight".to_owned()),
        violation(|g| g.outputs.push(g.outputs[0].clone())),
        violation(|g| g.outputs[0].node = NodeId(99)),
        violation(|g| g.updates.push(g.updates[0])),
        violation(|g| g.updates[0].slot = 0),
        violation(|g| g.updates[0].slot = 7),
        violation(|g| g.guards.push(NodeId(0))),
    ];
    assert_snapshot!(found.join("\n"), @r"
    %2 = tanh: the operand %2 does not come before it
    %3 = tanh: the operand %3 does not come before it
    %3 = tanh: its type is f32[2], not f32[3]
    %0 = slot{0}: slot x is a f32[], read as f32[2, 3]
    %1 = slot{1}: there is no such slot
    slot hidden.weight: two slots have this name
    output loss: two outputs have this name
    results: there is no node %99
    update hidden.weight: it is updated twice
    update x: %12 is a f32[3], the slot a f32[2, 3]
    updates: there is no slot 7
    guard %0: a f32[2, 3] is not a float scalar
    ");
}

proptest! {
    #![proptest_config(arbitrary::config(64))]

    #[test]
    fn pruning_keeps_results(sample in arbitrary::training_step()) {
        let evaluator = Evaluator::new(&sample.slots);
        let before = evaluator.run(&sample.graph);
        let mut pruned = sample.graph.clone();
        let numbers = pruned.prune();
        pruned.verify().unwrap();
        prop_assert_eq!(evaluator.run(&pruned), before);
        for (id, node) in sample.graph.iter() {
            if let Some(number) = numbers[id.index()] {
                prop_assert_eq!(&pruned.node(number).op, &node.op);
            }
        }
        // What is left is needed.
        let count = pruned.nodes.len();
        pruned.prune();
        prop_assert_eq!(pruned.nodes.len(), count);
    }
}

#[test]
fn pruning_removes_what_nothing_needs() {
    let mut graph = sample();
    let count = graph.nodes.len();
    let value = Scalar::new(DType::F32, 1.0);
    graph.emit(Constant { value, shape: [].as_slice().into() }.into(), &[]);
    graph.prune();
    assert_eq!(graph.nodes.len(), count);
    graph.updates.clear();
    graph.prune();
    assert_eq!(graph.nodes.len(), 5, "{graph}");
}
