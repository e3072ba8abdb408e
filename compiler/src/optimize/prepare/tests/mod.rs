mod panels;

use super::*;
use crate::array::Array;
use crate::evaluate::Evaluator;
use crate::optimize::{OptimizeOptions, optimize};
use crate::types::{DType, TensorType};

fn slot(graph: &mut Graph, name: &str, role: SlotRole, shape: &[usize]) -> NodeId {
    let slot = graph.declare_slot(name, role, TensorType::new(DType::F64, shape));
    graph.read_slot(slot)
}

/// A linear layer and an affine normalization of its result, as in inference.
fn normalized() -> Graph {
    let mut g = Graph::new();
    let x = slot(&mut g, "x", SlotRole::Input, &[5, 3]);
    let weight = slot(&mut g, "weight", SlotRole::Parameter, &[4, 3]);
    let y = g.contract(x, weight, &[], &[(1, 1)]);
    let repeated = |g: &mut Graph, name: &str, role: SlotRole| {
        let row = slot(g, name, role, &[4]);
        g.broadcast(row, &[5, 4], &[1])
    };
    let mean = repeated(&mut g, "mean", SlotRole::Buffer);
    let scale = repeated(&mut g, "scale", SlotRole::Parameter);
    let bias = repeated(&mut g, "bias", SlotRole::Parameter);
    let centred = g.sub(y, mean);
    let scaled = g.mul(centred, scale);
    let result = g.add(scaled, bias);
    g.outputs.push(Output { name: "y".to_owned(), node: result });
    g
}

fn values(graph: &Graph, of: &dyn Fn(&SlotInfo) -> Array) -> Array {
    let slots: Vec<Array> = graph.slots.iter().map(of).collect();
    let values = Evaluator::new(&slots).values(graph);
    values[graph.outputs[0].node.index()].clone()
}

fn drawn(info: &SlotInfo) -> Array {
    let start = info.name.bytes().map(usize::from).sum::<usize>();
    let mut count = start;
    Array::from_fn(info.ty.clone(), |_| {
        count += 1;
        ((count * 37) % 101) as f64 / 50.0 - 1.0
    })
}

#[test]
fn an_affine_function_behind_a_product_is_folded_into_weights() {
    let graph = normalized();
    let options = OptimizeOptions { fixed_weights: true, ..OptimizeOptions::default() };
    let (optimized, _) = optimize(&graph, &options);
    let (step, preparations) = split(&optimized);
    assert_eq!(preparations.len(), 2, "{step}");
    let names: Vec<&str> = step.nodes.iter().map(|node| node.op.primitive().name()).collect();
    assert_eq!(names.iter().filter(|name| **name == "contract").count(), 1);
    assert_eq!(names.iter().filter(|name| **name == "add").count(), 1, "{step}");
    assert!(!names.contains(&"mul") && !names.contains(&"sub"), "{step}");

    let prepared: BTreeMap<&str, Array> = (preparations.iter())
        .map(|preparation| {
            let source = |slot: &SlotInfo| {
                let name = &preparation.sources[slot.name.parse::<usize>().unwrap()];
                drawn(graph.slots.iter().find(|slot| slot.name == *name).unwrap())
            };
            (preparation.result.as_str(), values(&preparation.graph, &source))
        })
        .collect();
    let of = |slot: &SlotInfo| match prepared.get(slot.name.as_str()) {
        Some(array) => array.clone(),
        None => drawn(slot),
    };
    let (expected, found) = (values(&graph, &drawn), values(&step, &of));
    for (a, b) in expected.values.iter().zip(&found.values) {
        assert!((a - b).abs() < 1e-12, "{a} {b}");
    }
}

#[test]
fn weights_that_a_step_updates_are_not_fixed() {
    let mut graph = normalized();
    let node = graph.iter().find(|(_, node)| matches!(&node.op, Op::Slot(s) if s.index == 1));
    let node = node.unwrap().0;
    graph.updates.push(crate::graph::Update { slot: 1, node });
    assert_eq!(fixed_slots(&graph), [false, false, true, true, true]);
}

#[test]
fn movement_of_weights_needs_no_preparation() {
    let mut g = Graph::new();
    let x = slot(&mut g, "x", SlotRole::Input, &[5, 3]);
    let weight = slot(&mut g, "weight", SlotRole::Parameter, &[3, 5]);
    let weight = g.permute(weight, &[1, 0]);
    let sum = g.add(x, weight);
    g.outputs.push(Output { name: "y".to_owned(), node: sum });
    let (step, preparations) = split(&g);
    assert!(preparations.is_empty());
    assert!(step.computes_the_same(&g));
}
